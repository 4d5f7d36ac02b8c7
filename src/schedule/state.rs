//! What is remembered of a job, over restarts: the scheduler's memory as it is kept on disk.
//!
//! Any field may be missing (a file of an older release, or none), and no time is trusted to lie in
//! the past: clocks are set back.

use serde::{Deserialize, Serialize};

/// The memory of one job. Times are nanoseconds since the epoch, by the agent's wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobState {
    /// The cadence counts from here; `None` until the job was first seen.
    pub anchor_ns: Option<u64>,
    /// When the newest known run began, whichever agent ran it.
    pub known_ns: Option<u64>,
    /// Somebody has paused it.
    pub is_paused: bool,
    /// When somebody asked for a run that has not begun yet.
    pub asked_ns: Option<u64>,
    /// The run that is under way. After a start of the agent, this is a run that was killed.
    pub running: Option<Running>,
    /// When the newest successful run ended.
    pub last_success_ns: Option<u64>,
    /// Runs that failed since then.
    pub failures_in_a_row: u32,
    /// The failure that is to be retried.
    pub failed: Option<Failed>,
}

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// When it began.
    pub started_ns: u64,
    /// Why it began.
    pub why: Why,
    /// What the cadence counted from before the run began: a run that is cancelled does not count.
    pub anchor_before_ns: Option<u64>,
}

/// Why a run begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It is due.
    Cadence,
    /// The run before failed.
    Retry,
    /// Somebody asked for it.
    Asked,
    /// Something else wants it now, for this reason.
    Wish(String),
}

/// A failure that is to be retried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failed {
    /// When the run ended.
    pub at_ns: u64,
    /// Runs that failed since the job was due by its cadence.
    pub attempts: u32,
    /// A retry would change nothing: the next run is that of the cadence.
    pub is_final: bool,
}
