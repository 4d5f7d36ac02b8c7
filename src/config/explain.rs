//! Turns the parser's errors into words that help: the line, the nearest key, the number that was
//! meant.
//!
//! Flow: [`explain`] classifies the parser's message. An unknown key is compared with all keys
//! ([`sections`]). A value of the wrong type is compared with the unit in its key's name.
//! Everything else keeps the parser's words. Values of unknown keys are never repeated.

use super::events::EventsSection;
use super::file::{self, File};
use super::jobs::JobSection;
use super::notify::NotifySection;
use super::origin::Text;
use super::page::PageSection;
use super::telemetry::TelemetrySection;
use super::tenants::TenantSection;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::sync::LazyLock;

/// A section's name (`""` for the top) and its keys.
type Section = (&'static str, Vec<String>);

/// No key has this name. Parsing it makes the parser list all keys of a section.
const NO_KEY: &str = "no-such-key = 0";

/// Keys that are deliberately missing, and why.
const ON_PURPOSE: [(&[&str], &str); 2] = [
    (
        &["passphrase", "password", "secret", "key"],
        "secrets do not belong in this file: write passphrase_file = \"FILE\" or key_file = \"FILE\" in [repository], or set AMBER_PASSPHRASE",
    ),
    (
        &["access_key", "access_key_id", "secret_access_key", "aws_access_key_id", "aws_secret_access_key", "session_token"],
        "S3 credentials come from the usual AWS places: remove the line, and use the environment, profile = \"NAME\" or a role",
    ),
];

/// All sections and their keys, from the structs of [`file`].
static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    vec![
        ("", keys_of::<file::File>()),
        ("repository", keys_of::<file::RepositorySection>()),
        ("log", keys_of::<file::LogSection>()),
        ("checkpoint", keys_of::<file::CheckpointSection>()),
        ("lease", keys_of::<file::LeaseSection>()),
        ("limits", keys_of::<file::LimitsSection>()),
        ("events", keys_of::<EventsSection>()),
        ("tenants.NAME", keys_of::<TenantSection>()),
        ("jobs.NAME", keys_of::<JobSection>()),
        ("process", keys_of::<file::ProcessSection>()),
        ("page", keys_of::<PageSection>()),
        ("telemetry", keys_of::<TelemetrySection>()),
        ("notify", keys_of::<NotifySection>()),
    ]
});

/// All sections and their keys. The section at the top has no name, and its keys include the names
/// of the other sections.
pub fn sections() -> &'static [Section] {
    &SECTIONS
}

/// Whether a section has this key or this name.
pub fn is_known(key: &str) -> bool {
    sections().iter().any(|(_, keys)| keys.iter().any(|known| known == key))
}

/// Whether a section has this name.
fn is_section(name: &str) -> bool {
    sections().iter().any(|(section, _)| *section == name)
}

/// Whether a key with this name has a value of its own, and is no section.
pub fn has_value(key: &str) -> bool {
    is_known(key) && !is_section(key)
}

fn keys_of<T: DeserializeOwned>() -> Vec<String> {
    toml::from_str::<T>(NO_KEY).err().map(|error| expected(error.message())).unwrap_or_default()
}

/// The names in backticks behind "expected".
fn expected(message: &str) -> Vec<String> {
    let list = message.split_once("expected").map(|(_, list)| list).unwrap_or_default();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What was refused, and what to write instead.
pub fn explain(text: &Text<'_>, message: &str, span: Option<Range<usize>>) -> Error {
    let Some(span) = span else { return text.whole().refuse(message) };
    let origin = text.origin(span.clone());
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let key = rest.split('`').next().unwrap_or_default();
        return origin.refuse(unknown_key(key, &expected(rest)));
    }
    let wanted = message.starts_with("invalid type").then(|| message.rsplit_once("expected ").map(|(_, wanted)| wanted)).flatten();
    if let Some(advice) = value_advice(text, &span) {
        return origin.refuse(advice);
    }
    match wanted {
        // The parser's sentence would repeat the value, which may be a secret in the wrong place.
        Some(wanted) => origin.refuse(format!("it must be {}", kind_text(wanted))),
        None => origin.refuse(format!("this is not TOML as expected: {}", message.lines().next().unwrap_or_default())),
    }
}

fn kind_text(wanted: &str) -> String {
    match wanted {
        "i64" => "a whole number, without quotes".to_owned(),
        "a boolean" => "true or false, without quotes".to_owned(),
        "a string" => "text in double quotes".to_owned(),
        _ if wanted.starts_with("struct ") => "a section: write [name] on a line of its own, and the keys below it".to_owned(),
        _ => wanted.to_owned(),
    }
}

fn unknown_key(key: &str, here: &[String]) -> String {
    for (keys, why) in ON_PURPOSE {
        if keys.contains(&key.to_ascii_lowercase().as_str()) {
            return why.to_owned();
        }
    }
    let section = sections().iter().find(|(_, keys)| keys.as_slice() == here).map_or("", |(name, _)| name);
    let place = if section.is_empty() { "above the first section".to_owned() } else { format!("in [{section}]") };
    if let Some((name, _)) = sections().iter().find(|(_, keys)| keys.iter().any(|known| known == key)) {
        let there = if name.is_empty() { "above the first section".to_owned() } else { format!("in [{name}]") };
        return format!("{key} does not belong {place} but {there}: move the line");
    }
    if let Some(meant) = nearest(key, here.iter().map(String::as_str)) {
        return format!("there is no key {key} {place}: did you mean {meant}?");
    }
    let elsewhere = sections().iter().filter(|(name, _)| !name.is_empty());
    for (name, keys) in elsewhere {
        if let Some(meant) = nearest(key, keys.iter().map(String::as_str)) {
            return format!("there is no key {key} {place}: did you mean {meant} in [{name}]?");
        }
    }
    format!("there is no key {key} {place}: remove it, or write one of {}", here.join(", "))
}

/// The name that was probably meant: a third of the letters may differ, or an ending may be
/// missing.
pub fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    let distance = |name: &str| {
        let ending_differs = !written.is_empty() && name.starts_with(&format!("{written}_"));
        if ending_differs { 1 } else { strsim::damerau_levenshtein(&written, name) }
    };
    let near = names.map(|name| (distance(name), name)).min_by_key(|(distance, _)| *distance)?;
    (near.0 <= written.len().div_ceil(3)).then_some(near.1)
}

/// What to write for a value whose key names a unit, if the value is not a whole number.
fn value_advice(text: &Text<'_>, span: &Range<usize>) -> Option<String> {
    let (line, column) = text.line_at(span.start);
    let equals = line.get(..column)?.rfind('=').or_else(|| line.find('='))?;
    let (before, after) = (line.get(..equals)?, line.get(equals + 1..)?);
    let key = before.trim().rsplit(|character: char| !character.is_ascii_alphanumeric() && character != '_').next()?;
    let unit = Unit::of(key)?;
    // For a value of the wrong type the parser gives the exact place. For text that is no TOML at
    // all, only the rest of the line is certain.
    let value = match text.text.get(span.clone()) {
        Some(value) if value.starts_with(['"', '\'']) || value.parse::<f64>().is_ok() => value,
        _ => after.split('#').next().unwrap_or_default(),
    };
    if value.trim().parse::<i64>().is_ok() {
        return None;
    }
    Some(match unit.number(value.trim().trim_matches(['"', '\'']).trim()) {
        Some(number) => format!("write the number of {}: {key} = {number}", unit.name()),
        None => format!("write the whole number of {}, without quotes and unit", unit.name()),
    })
}

/// The unit in a key's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Milliseconds,
    Seconds,
    Bytes,
}

impl Unit {
    fn of(key: &str) -> Option<Unit> {
        if !is_known(key) {
            return None;
        }
        key.split('_').find_map(|part| match part {
            "ms" => Some(Unit::Milliseconds),
            // `ops_per_s` is a rate: the word after `per` is not the unit of the value.
            "s" if !key.contains("_per_") => Some(Unit::Seconds),
            "bytes" => Some(Unit::Bytes),
            _ => None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "milliseconds",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }

    /// The number of this unit that `value` (`500ms`, `0.5 s`, `7 MiB`) means, if it is whole.
    fn number(self, value: &str) -> Option<u64> {
        let digits =
            value.find(|character: char| !character.is_ascii_digit() && character != '.' && character != '_').unwrap_or(value.len());
        let (number, unit) = value.split_at(digits);
        let number: f64 = number.replace('_', "").parse().ok()?;
        let factor = match self {
            Unit::Bytes => bytes_in(unit.trim())?,
            // A number without a unit has the unit of the key.
            Unit::Milliseconds if unit.trim().is_empty() => 1.0,
            Unit::Milliseconds => milliseconds_in(unit.trim())?,
            Unit::Seconds if unit.trim().is_empty() => 1.0,
            Unit::Seconds => milliseconds_in(unit.trim())? / 1000.0,
        };
        let exact = number * factor;
        let whole = exact.round();
        (number.is_finite() && (exact - whole).abs() < 1e-6 && whole < 1e15).then_some(whole as u64)
    }
}

fn milliseconds_in(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" | "µs" => 0.001,
        "ms" | "msec" | "millis" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        _ => return None,
    })
}

fn bytes_in(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1000.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "mb" => 1e6,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "gb" => 1e9,
        _ => return None,
    })
}

/// Parses the text.
///
/// # Errors
/// [`Error::input`] with the line and what to write instead.
pub fn parse(text: &Text<'_>) -> Result<File> {
    toml::from_str(text.text).map_err(|error| explain(text, error.message(), error.span()))
}
