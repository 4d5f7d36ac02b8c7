//! What a verification finds: every tier adds to one [`VerificationReport`].

use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::tier::tigerbeetle::check::log::LogRuns;

/// Something that is not as it was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// What is wrong with it, and what follows.
    pub what: String,
}

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerificationReport {
    /// Backups whose manifest and every object it names were checked and are whole.
    pub backups_whole: u64,
    /// All backups that are promised or found.
    pub backups: u64,
    /// Objects checked.
    pub objects: u64,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Segments of the log that are listed.
    pub segments: u64,
    /// Their stored bytes.
    pub log_bytes: u64,
    /// Timelines.
    pub timelines: u64,
    /// Records of gaps.
    pub gaps: u64,
    /// Beats of leases.
    pub leases: u64,
    /// Records of runs.
    pub runs: u64,
    /// The log of every timeline.
    pub log_runs: Vec<LogRuns>,
    /// Stored files.
    pub files: u64,
    /// Of these, those whose record and object are whole.
    pub files_whole: u64,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// What is no damage but should be known.
    pub notes: Vec<String>,
}

impl VerificationReport {
    pub(crate) fn problem(&mut self, object: impl Into<String>, what: impl ToString) {
        self.problems.push(Problem { object: object.into(), what: what.to_string() });
    }

    /// Notes a result: damage becomes a problem, everything else (the store is away) ends the
    /// verification, because then nothing is known.
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

/// A place at which the work may wait, or end because nobody wants it any more.
pub(crate) fn wanted(progress: &dyn Progress) -> Result<()> {
    progress.rest();
    if progress.is_given_up() { Err(Error::try_again("the verification was given up before its end")) } else { Ok(()) }
}

/// The error that a report with problems becomes.
pub fn error_of(report: &VerificationReport, place: &str) -> Option<Error> {
    let first = report.problems.first()?;
    Some(Error::damaged(format!(
        "{place}: {} problems; {} of {} backups are whole. The first: {}: {}",
        report.problems.len(),
        report.backups_whole + report.files_whole,
        report.backups + report.files,
        first.object,
        first.what
    )))
}
