//! What a verification finds: every tier adds to one [`VerificationReport`].

use crate::cancellation::Cancellation;
use crate::error::{Error, Kind, Result};

/// Something in the repository that is not as its manifest or record promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// What is wrong with it, and the consequence.
    pub what: String,
}

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerificationReport {
    /// Backups that are intact: their manifest and every object that it names were checked.
    pub backups_whole: u64,
    /// All backups that a receipt promises or that were found.
    pub backups: u64,
    /// Objects checked.
    pub objects: u64,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Listed segments of the log.
    pub segments: u64,
    /// Their stored bytes.
    pub log_bytes: u64,
    /// Timelines.
    pub timelines: u64,
    /// Records of gaps.
    pub gaps: u64,
    /// Records of lease renewals.
    pub leases: u64,
    /// Records of runs.
    pub runs: u64,
    /// The op ranges that the log of every timeline holds.
    pub log_runs: Vec<LogRanges>,
    /// Stored files.
    pub files: u64,
    /// Of these, those whose record and object are intact.
    pub files_whole: u64,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// Findings that are no damage, but that the user should know.
    pub notes: Vec<String>,
}

impl VerificationReport {
    pub(crate) fn problem(&mut self, object: impl Into<String>, what: impl ToString) {
        self.problems.push(Problem { object: object.into(), what: what.to_string() });
    }

    /// Unwraps a result. Damage becomes a problem of the report. Any other error (the store is not
    /// reachable) ends the verification, because then nothing is known.
    pub(crate) fn judge<T>(&mut self, object: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind == Kind::Damaged => {
                self.problem(object, error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A point at which the work may pause for more urgent work, and at which it ends with an error if
/// it was cancelled.
pub(crate) fn check_wanted(cancellation: &dyn Cancellation) -> Result<()> {
    cancellation.pause();
    if cancellation.is_cancelled() { Err(Error::try_again("the verification was cancelled before its end")) } else { Ok(()) }
}

/// The error for a report with problems; `None` if it has none.
pub fn error_of(report: &VerificationReport, place: &str) -> Option<Error> {
    let first = report.problems.first()?;
    Some(Error::damaged(format!(
        "{place}: {} problems; {} of {} backups are intact. The first: {}: {}",
        report.problems.len(),
        report.backups_whole + report.files_whole,
        report.backups + report.files,
        first.object,
        first.what
    )))
}

/// A timeline's log, by the names of its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRanges {
    /// The timeline.
    pub timeline: u32,
    /// Op ranges without a gap: first and last op.
    pub runs: Vec<(u64, u64)>,
}
