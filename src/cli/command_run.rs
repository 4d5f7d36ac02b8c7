//! Records in the repository that a command ran, when it has ended: for the catalog, and for anyone
//! who wants to know.
//!
//! The command's result matters more than its record: if the record cannot be written, a note says
//! so, and the command does not fail.

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::{COMMAND_LINE, RunOutcome, Scope, Work};
use crate::runs::recording::{Recording, RepositorySink, RunBy};
use crate::units::now_ns;

/// A run of the command line that has begun.
#[derive(Debug)]
pub struct CommandRun {
    work: Work,
    tenant: Option<String>,
    started_ns: u64,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// The run's id, which is that of the backup it made; a random one is drawn if it made none.
    pub run: Option<RunId>,
    /// How much the backup contains by itself.
    pub scope: Scope,
    /// The outcome of the run.
    pub outcome: RunOutcome,
}

impl CommandRun {
    /// A run that begins now.
    pub fn begin(work: Work) -> CommandRun {
        CommandRun { work, tenant: None, started_ns: now_ns() }
    }

    /// The same for a tenant's data.
    pub fn of_tenant(self, tenant: Option<&str>) -> CommandRun {
        CommandRun { tenant: tenant.map(str::to_owned), ..self }
    }

    /// Records how the run ended, whether it succeeded or failed, and returns its result. If it
    /// could not be recorded, a note is shown and returned too.
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
            Err(error) => Ended { run: None, scope: Scope::Full, outcome: RunOutcome::failed(now_ns(), error.message.clone()) },
        };
        let note = self.record(repository, how).err().map(|error| format!("this run is not recorded in the repository: {error}"));
        if let Some(note) = &note {
            progress.note(note);
        }
        result.map(|done| (done, note))
    }

    fn record(self, repository: &Repository, ended: Ended) -> Result<()> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let who = RunBy { job: COMMAND_LINE.to_owned(), by: format!("{host}, process {}", std::process::id()) };
        let number = ended.run.map_or_else(|| repository.new_run(), Ok)?;
        let recording = Recording::new(self.work, ended.scope, who, self.tenant, self.started_ns);
        recording.end(&RepositorySink(repository), number, ended.outcome).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};
    use crate::progress::Silent;
    use crate::repository::sample::{Fault, FaultyStore, create, open};
    use crate::store::memory::MemoryStore;
    use std::sync::Arc;

    fn ended(run: RunId) -> Ended {
        Ended { run: Some(run), scope: Scope::Incremental, outcome: RunOutcome::completed(9) }
    }

    #[test]
    fn what_a_command_did_is_recorded_under_the_number_of_its_backup() {
        let repository = create(&MemoryStore::new()).unwrap();
        let done = CommandRun::begin(Work::Tigerbeetle).end(&repository, &Silent, Ok(7_u64), |run| ended(RunId(*run)));
        assert_eq!(done, Ok((7, None)));
        let runs = repository.runs().unwrap().runs;
        let record = &runs[&RunId(7)];
        assert_eq!((record.run.work, record.run.scope, record.run.job.as_str()), (Work::Tigerbeetle, Scope::Incremental, "command line"));
        assert!(record.run.by.ends_with(&format!("process {}", std::process::id())));
        assert_eq!(record.outcome, Some(RunOutcome::completed(9)));
    }

    #[test]
    fn a_failure_is_recorded_with_its_reason_and_stays_a_failure() {
        let repository = create(&MemoryStore::new()).unwrap();
        let failed: Result<()> = Err(Error::input("no such file"));
        let error = CommandRun::begin(Work::File).end(&repository, &Silent, failed, |()| ended(RunId(1))).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (Kind::Input, "no such file"));
        let runs = repository.runs().unwrap().runs;
        let outcome = runs.values().next().and_then(|record| record.outcome.clone()).unwrap();
        assert_eq!((runs.len(), outcome.completed, outcome.reason.as_str()), (1, false, "no such file"));
    }

    #[test]
    fn a_repository_that_takes_no_record_is_a_note_and_nothing_else() {
        let store = MemoryStore::new();
        create(&store).unwrap();
        let faulty = FaultyStore::new(&store);
        let repository = open(Arc::new(faulty.clone())).unwrap();
        faulty.fail(1, Fault::Gone);
        let (done, note) = CommandRun::begin(Work::Verification).end(&repository, &Silent, Ok(5), |_| ended(RunId(1))).unwrap();
        assert!(done == 5 && note.unwrap().starts_with("this run is not recorded in the repository: "));
    }
}
