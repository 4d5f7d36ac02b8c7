//! Sizes, times and rates, as people and machines read them.
//!
//! Inside the program every quantity carries its unit in its name (`size_bytes`, `timestamp_ns`).
//! This module turns them into text and back. Times are nanoseconds since the Unix epoch, as
//! TigerBeetle stamps its prepares.

use crate::error::{Error, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One kibibyte.
pub const KIB: u64 = 1024;
/// One mebibyte.
pub const MIB: u64 = 1024 * KIB;
/// One gibibyte.
pub const GIB: u64 = 1024 * MIB;

/// A size for people: `512 B`, `1.5 MiB`.
pub fn bytes_text(size_bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if size_bytes < KIB {
        return format!("{size_bytes} B");
    }
    let mut value = size_bytes as f64 / KIB as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time for people and machines: RFC 3339 in UTC with all nine digits of the nanoseconds, so that
/// nothing is lost.
pub fn time_text(timestamp_ns: u64) -> String {
    let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp_ns)).ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{timestamp_ns} ns"))
}

/// Reads a time given by a person: nanoseconds since the epoch, or RFC 3339
/// (`2026-11-21T10:00:00Z`).
///
/// # Errors
/// [`Error::input`] when it is neither, or lies before the epoch.
pub fn parse_time(text: &str) -> Result<u64> {
    if let Ok(timestamp_ns) = text.parse::<u64>() {
        return Ok(timestamp_ns);
    }
    let wrong = |reason: String| {
        Error::input(format!(
            "{text:?} is no time ({reason}): give nanoseconds since the epoch or RFC 3339, for example 2026-11-21T10:00:00Z"
        ))
    };
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| wrong(error.to_string()))?;
    u64::try_from(time.unix_timestamp_nanos()).map_err(|_| wrong("before 1970 or after 2554".into()))
}

/// Now, in nanoseconds since the epoch; 0 if the clock is set to a time before it.
pub fn now_ns() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes_text(0), "0 B");
        assert_eq!(bytes_text(1023), "1023 B");
        assert_eq!(bytes_text(1536), "1.5 KiB");
        assert_eq!(bytes_text(GIB), "1.0 GiB");
        assert_eq!(bytes_text(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn times_go_there_and_back() {
        let timestamp_ns = 1_700_000_000_123_456_789;
        assert_eq!(time_text(timestamp_ns), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(parse_time(&time_text(timestamp_ns)).unwrap(), timestamp_ns);
        assert_eq!(parse_time("1700000000123456789").unwrap(), timestamp_ns);
        assert_eq!(parse_time("2023-11-14T23:13:20+01:00").unwrap(), 1_700_000_000_000_000_000);
    }

    #[test]
    fn a_time_that_is_none_is_an_input_error() {
        for text in ["", "yesterday", "-5", "1969-12-31T23:59:59Z", "2026-11-21"] {
            let error = parse_time(text).unwrap_err();
            assert_eq!(error.kind, Kind::Input, "{text}");
            assert!(error.message.contains("RFC 3339"), "{error}");
        }
    }
}
