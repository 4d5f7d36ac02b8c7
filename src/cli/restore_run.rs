//! The record that a restore leaves: when it began and ended, from which backup, how much, how
//! long.
//!
//! A place that may only be read takes no record. Then a note says so, and the restore is none the
//! worse for it.

use super::command_run::{CommandRun, Ended};
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::Promises;
use crate::repository::run_record::{RunOutcome, Scope, Work};
use crate::units::now_ns;
use serde_json::json;
use std::time::Instant;

/// A restore that has begun.
#[derive(Debug)]
pub struct RestoreRun {
    tier: &'static str,
    command: CommandRun,
    began: Instant,
}

/// What its record says of a restore.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreFacts {
    /// The record of the backup that was restored.
    pub location: String,
    /// Bytes written.
    pub restored_bytes: u64,
    /// How long it had been expected to take.
    pub expected_seconds: Option<f64>,
}

impl RestoreRun {
    /// A restore that begins now, from a tier that promises its backups there.
    pub fn begin(promises: &'static Promises) -> RestoreRun {
        RestoreRun { tier: promises.tier, command: CommandRun::begin(Work::Restore), began: Instant::now() }
    }

    /// Records how it ended, and returns its result, with a note if it could not be recorded.
    ///
    /// # Errors
    /// That of the restore.
    pub fn end<T>(
        self,
        repository: &Repository,
        progress: &dyn Progress,
        result: Result<T>,
        facts: impl FnOnce(&T) -> RestoreFacts,
    ) -> Result<(T, Option<String>)> {
        let (tier, seconds) = (self.tier, self.began.elapsed().as_secs_f64());
        self.command.end(repository, progress, result, |done| {
            let facts = facts(done);
            let figures = [
                ("tier", json!(tier)),
                ("restored_bytes", json!(facts.restored_bytes)),
                ("restore_seconds", json!(seconds)),
                ("expected_seconds", json!(facts.expected_seconds)),
            ];
            let details = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let outcome = RunOutcome { location: facts.location, details, ..RunOutcome::completed(now_ns()) };
            Ended { run: None, scope: Scope::Full, outcome }
        })
    }
}
