//! The scheduler on simulated clocks: months pass in milliseconds.

mod clocks;
mod cluster;
mod failures;
mod properties;
pub(crate) mod simulation;

use super::cadence::Cadence;
use super::job::{Retry, Rules};
use jiff::Timestamp;
use std::time::Duration;

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(86_400);

/// A time as nanoseconds since the epoch.
pub fn at(text: &str) -> u64 {
    u64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
}

/// The time as a test writes it.
pub fn text(ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap().to_string()
}

pub fn times(expression: &str, time_zone: &str) -> Cadence {
    Cadence::times(expression, time_zone).unwrap()
}

pub fn retry(first: Duration, most: Duration, times: Option<u32>) -> Retry {
    Retry { first, most, times }
}

/// A job without jitter that tries again five times.
pub fn rules(name: &str, cadence: Cadence) -> Rules {
    let retry = retry(MINUTE, HOUR, Some(5));
    Rules { name: name.to_owned(), cadence, jitter: Duration::ZERO, salt: b"salt".to_vec(), retry, is_enabled: true }
}
