//! A restore as every tier understands it. What a tier can do beyond this has a command of its own.

use super::objective::Estimate;
use crate::repository::name::{BackupName, RunId};
use std::path::PathBuf;

/// What is restored: the state as of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The newest that there is.
    Newest,
    /// The last at or before this time, in nanoseconds since the epoch.
    Time(u64),
    /// What this run stored.
    Run(RunId),
}

/// A restore.
#[derive(Debug, Clone)]
pub struct TierRestoreRequest {
    /// The state as of when.
    pub as_of: AsOf,
    /// Which of the tier's sources, for tiers that have several: a file's name.
    pub name: Option<String>,
    /// Where it is written.
    pub output: PathBuf,
    /// Whether something of that name may be replaced.
    pub overwrite: bool,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq)]
pub struct TierRestored {
    /// The backup that was used.
    pub backup: BackupName,
    /// What was restored, in words: "op 1234 at 2026-11-21T10:00:00Z".
    pub state: String,
    /// What had been expected.
    pub estimate: Estimate,
    /// Stored bytes that were fetched.
    pub bytes_fetched: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Problems that did not matter for this restore.
    pub notes: Vec<String>,
}
