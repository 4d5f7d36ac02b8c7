//! One run, from its beginning to its end, as its records say it: the same for the agent's jobs and
//! for commands.
//!
//! Flow: [`Recording::new`] says what begins. [`Recording::begin`] puts the record of the beginning
//! where somebody may need it (an agent that is killed is missed by it; a command that is killed is
//! seen by whoever started it). [`Recording::end`] puts the record of the end, which contains all
//! that the beginning does.

use crate::error::Result;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::{Run, RunOutcome, RunRecord, RunSink, Scope, Work};
use crate::tier::retention_days_of;

/// Who runs something, as records name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunBy {
    /// The job of the schedule, or `command line`.
    pub job: String,
    /// The agent's token, or host and process.
    pub by: String,
}

/// A run that has begun.
#[derive(Debug, Clone)]
pub struct Recording {
    run: Run,
}

impl Recording {
    /// A run that begins. What it stores is kept as long as its tier says.
    pub fn new(work: Work, scope: Scope, who: RunBy, tenant: Option<String>, started_ns: u64) -> Recording {
        let RunBy { job, by } = who;
        Recording { run: Run { work, scope, tenant, job, by, started_ns, retention_days: retention_days_of(work) } }
    }

    /// What begins.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Sets how much its backup holds by itself, where that is known only later.
    pub fn set_scope(&mut self, scope: Scope) {
        self.run.scope = scope;
    }

    /// Records the beginning.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn begin(&self, sink: &dyn RunSink, id: RunId) -> Result<()> {
        sink.put(id, &RunRecord { run: self.run.clone(), outcome: None })
    }

    /// Records the end, and returns the record, whether it could be put or not.
    pub fn end(&self, sink: &dyn RunSink, id: RunId, outcome: RunOutcome) -> (RunRecord, Result<()>) {
        let record = RunRecord { run: self.run.clone(), outcome: Some(outcome) };
        let put = sink.put(id, &record);
        (record, put)
    }
}

/// Puts records into a repository at once, for commands: nobody delivers them later.
#[derive(Debug)]
pub struct RepositorySink<'a>(pub &'a Repository);

impl RunSink for RepositorySink<'_> {
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()> {
        self.0.record_run(run, record).map(|_| ())
    }
}
