//! What is remembered of a job, over restarts: the scheduler's memory as it is kept on disk.
//!
//! Everything in it may be missing (a file of an older release, or none), and nothing in it is
//! trusted to lie in the past: clocks are set back.

use serde::{Deserialize, Serialize};

/// The memory of one job. Times are nanoseconds since the epoch, by the agent's wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobState {
    /// Its cadence counts from here; none until the job was first seen.
    pub anchor_ns: Option<u64>,
    /// When the newest run began that is known of, whoever ran it.
    pub known_ns: Option<u64>,
    /// Somebody has paused it.
    pub is_paused: bool,
    /// When somebody asked for a run that has not begun yet.
    pub asked_ns: Option<u64>,
    /// The run that is under way; after a start of the agent, one that was killed.
    pub running: Option<Running>,
    /// When the newest run that did what it was to do ended.
    pub last_success_ns: Option<u64>,
    /// Runs that failed since then.
    pub failures_in_a_row: u32,
    /// The failure that is tried again.
    pub failed: Option<Failed>,
}

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// When it began.
    pub started_ns: u64,
    /// Why.
    pub why: Why,
    /// What the cadence counted from before it began: a run that is given up counts as none.
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
    /// Something else wants it now, and says why.
    Wish(String),
}

/// A failure that is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failed {
    /// When the run ended.
    pub at_ns: u64,
    /// Runs that failed since the job was due by its cadence.
    pub attempts: u32,
    /// Trying again would change nothing: the next one is that of the cadence.
    pub is_final: bool,
}
