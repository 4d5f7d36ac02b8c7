//! What a tier aims for, and what a restore of it is expected to take.

use std::time::Duration;

/// What a tier aims for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objective {
    /// How long a restore may take.
    pub recovery_time: Duration,
    /// How much of the newest data may be lost.
    pub recovery_point: Duration,
}

/// What a restore is expected to take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// Stored bytes that are fetched.
    pub bytes: u64,
    /// Requests that are made for them.
    pub requests: u64,
    /// Seconds from the beginning to the end.
    pub seconds: f64,
}

/// How fast a store is expected to deliver and a disk to write, where nothing is known yet.
pub const BYTES_PER_S_ESTIMATE: f64 = 100e6;
/// Seconds for what does not depend on the size: opening the repository, reading back.
pub const SECONDS_ESTIMATE: f64 = 1.0;
/// Bytes that one request fetches.
const REQUEST_BYTES: u64 = 8 << 20;

impl Estimate {
    /// The estimate for fetching this many bytes from this many objects, and writing them.
    pub fn of(bytes: u64, objects: u64) -> Estimate {
        Estimate {
            bytes,
            requests: objects.saturating_add(bytes / REQUEST_BYTES),
            seconds: SECONDS_ESTIMATE + bytes as f64 / BYTES_PER_S_ESTIMATE,
        }
    }
}
