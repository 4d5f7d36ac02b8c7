//! That a command ran is recorded in the repository, when it has ended: for the catalog, and for whoever wants to know.
//!
//! What the command did counts more than its record: where that cannot be written, a note says so and nothing else follows.

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run::{Outcome, Run, RunRecord, Scope, Work};
use crate::units::now_ns;

/// The job that runs of the command line belong to.
pub const JOB: &str = "command line";

/// A run of the command line, as it begins.
#[derive(Debug)]
pub struct Recording {
    work: Work,
    started_ns: u64,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its number, which the backup has that it made; one is drawn where it made none.
    pub run: Option<RunId>,
    /// How much a backup holds by itself.
    pub scope: Scope,
    /// What came of it.
    pub outcome: Outcome,
}

impl Recording {
    /// A run that begins now.
    pub fn begin(work: Work) -> Recording {
        Recording { work, started_ns: now_ns() }
    }

    /// Records how the run ended, whatever came of it, and gives that back with a note if it could not be recorded; the note has been said then.
    ///
    /// # Errors
    /// That of the run.
    pub fn end<T>(
        self,
        repository: &Repository,
        progress: &dyn Progress,
        result: Result<T>,
        ended: impl FnOnce(&T) -> Ended,
    ) -> Result<(T, Option<String>)> {
        let how = match &result {
            Ok(done) => ended(done),
            Err(error) => Ended { run: None, scope: Scope::Full, outcome: Outcome::failed(now_ns(), error.message.clone()) },
        };
        let note = self.record(repository, how).err().map(|error| format!("this run is not recorded in the repository: {error}"));
        if let Some(note) = &note {
            progress.note(note);
        }
        result.map(|done| (done, note))
    }

    fn record(self, repository: &Repository, ended: Ended) -> Result<()> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let run = Run {
            work: self.work,
            scope: ended.scope,
            tenant: None,
            job: JOB.to_owned(),
            by: format!("{host}, process {}", std::process::id()),
            started_ns: self.started_ns,
            retention_days: 0,
        };
        let number = ended.run.map_or_else(|| repository.new_run(), Ok)?;
        repository.record_run(number, &RunRecord { run, outcome: Some(ended.outcome) }).map(|_| ())
    }
}
