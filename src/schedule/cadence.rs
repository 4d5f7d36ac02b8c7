//! When a job is due by itself: after an interval, or at the times of a cron expression in a time
//! zone.
//!
//! Times are nanoseconds since the epoch. An interval is counted from the previous run, so daylight
//! saving time does not affect it. A cron expression names times of the wall clock. A change of
//! clock skips some of them and repeats others:
//!
//! - **One minute and one hour** (`30 2 * * *`) name a time of day. If the clock skips it, the job
//!   is due at the first moment after the gap; if the clock repeats it, the job is due once, at the
//!   first of the two. So the job runs every day, and once.
//! - **Anything else** (`*/15 * * * *`, `0 2,14 * * *`) is a rhythm, and follows real time: what
//!   the clock skips is left out, and what it repeats is due both times.
//!
//! Time zones have their IANA names. If the system has the time zone database, it is used, so that
//! its updates take effect; otherwise the copy inside the program is used.

use crate::error::{Error, Result};
use crate::pipeline::digest::digest_of;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// The time zone if none is named: the same on every machine, and without changes of clock.
pub const TIME_ZONE_DEFAULT: &str = "UTC";

/// A zone that moves over the date line skips a day, and a time in such a gap is not found. The
/// search is repeated from this much later on, then from twice as much, this often: until the next
/// year's time.
const SKIP_NS: u64 = 6 * 3_600_000_000_000;
const SKIPS_MAX: u32 = 12;

/// When a job is due by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cadence {
    /// This long after its last run began.
    Interval(Duration),
    /// At times of the wall clock.
    Times(Box<Times>),
}

/// The times of a cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    expression: String,
    cron: Cron,
    time_zone: TimeZone,
    zone: String,
}

impl Cadence {
    /// The times that a cron expression names. It has five fields (minute, hour, day of the month,
    /// month, day of the week), or is `@daily` and the like.
    ///
    /// # Errors
    /// [`Error::input`] for an invalid expression, a time that never comes, or an unknown time
    /// zone; with what to write instead.
    pub fn times(expression: &str, time_zone: &str) -> Result<Cadence> {
        let zone = TimeZone::get(time_zone).map_err(|_| {
            Error::input(format!(
                "{time_zone:?} is no time zone: write its name as the IANA database has it, for example \"Europe/Berlin\" or \"UTC\""
            ))
        })?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| {
            Error::input(format!(
                "{expression:?} is no cron expression ({error}): write five fields, minute hour day month weekday, for example \"30 2 * * *\" for half past two every day"
            )).caused_by(error)
        })?;
        let times = Times { expression: expression.trim().to_owned(), cron, time_zone: zone, zone: time_zone.to_owned() };
        if times.next_after(0).is_none() {
            return Err(Error::input(format!("{expression:?} names a time that never comes: look at its day and its month")));
        }
        Ok(Cadence::Times(Box::new(times)))
    }

    /// The first time after `after_ns` at which the job is due, jitter aside. `None` if there is
    /// none any more.
    pub fn next_after(&self, after_ns: u64) -> Option<u64> {
        match self {
            Cadence::Interval(interval) => after_ns.checked_add(nanoseconds(*interval)),
            Cadence::Times(times) => times.next_after(after_ns),
        }
    }

    /// The distance from one time at which the job is due to the next one.
    pub fn spacing(&self, occurrence_ns: u64) -> Duration {
        let next_ns = self.next_after(occurrence_ns).unwrap_or(u64::MAX);
        Duration::from_nanos(next_ns.saturating_sub(occurrence_ns))
    }

    /// In words: `every 6 h`, `At 02:30 (30 2 * * *, Europe/Berlin)`.
    pub fn text(&self) -> String {
        match self {
            Cadence::Interval(interval) => format!("every {}", duration_text(*interval)),
            Cadence::Times(times) => {
                format!("{} ({}, {})", times.cron.describe().trim_end_matches('.'), times.expression, times.zone)
            }
        }
    }
}

impl Times {
    fn next_after(&self, after_ns: u64) -> Option<u64> {
        let later = (0..SKIPS_MAX).map(|skip| SKIP_NS << skip);
        let mut found = std::iter::once(0).chain(later).filter_map(|skip_ns| self.search(after_ns.checked_add(skip_ns)?));
        found.find(|next_ns| *next_ns > after_ns)
    }

    fn search(&self, after_ns: u64) -> Option<u64> {
        let after = Timestamp::from_nanosecond(i128::from(after_ns)).ok()?.to_zoned(self.time_zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        u64::try_from(next.timestamp().as_nanosecond()).ok()
    }
}

/// By how much later a job is due than its cadence says: less than `most`, different for each job
/// and occurrence and, by `salt`, for each repository, and always the same for the same ones. So a
/// restart does not move it, and agents that were set up alike are not all due at once.
pub fn jitter(salt: &[u8], job: &str, occurrence_ns: u64, most: Duration) -> Duration {
    let most_ns = nanoseconds(most);
    if most_ns == 0 {
        return Duration::ZERO;
    }
    let digest = digest_of(&[b"amber/1/jitter", salt, job.as_bytes(), &occurrence_ns.to_le_bytes()].concat());
    let mut number = [0; 8];
    number.copy_from_slice(&digest[..8]);
    Duration::from_nanos(u64::from_le_bytes(number) % most_ns)
}

/// A span of time in the largest unit of which it is a whole number: `90 days`, `24 h`, `15 min`,
/// `90 s`.
pub fn duration_text(duration: Duration) -> String {
    const UNITS: [(u64, u64, &str); 3] = [(86_400, 2, "days"), (3600, 1, "h"), (60, 2, "min")];
    let seconds = duration.as_secs();
    let whole = UNITS.iter().find(|(unit, least, _)| seconds / unit >= *least && seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds} s"), |(unit, _, name)| format!("{} {name}", seconds / unit))
}

/// A span in nanoseconds. A span longer than 584 years counts as 584 years.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
