//! One run, from its beginning to its end: its number, its records, and its progress.
//!
//! Flow: [`Jobs::begin`] draws the number, remembers that the run is in progress and records its
//! beginning. The work reports its progress to [`RunProgress`] and asks it whether the run is still
//! wanted. [`Active::end`] records the result, and then remembers it. A kill in between runs the
//! job again, which does no harm. Records that cannot be written are logged, and do not stop the
//! work.

use super::registry::{Registration, RunnerKind};
use super::verification::DAMAGED;
use super::{Jobs, run_history};
use crate::cancellation::Cancellation;
use crate::error::{Error, Kind, Result};
use crate::jobs::active_view::ActiveView;
use crate::monitor::log::LoggedProgress;
use crate::progress::Progress;
use crate::repository::name::RunId;
use crate::repository::run_record::{RunOutcome, RunRecord, Scope};
use crate::runs::recording::{Recording, RunBy};
use crate::schedule::job::Ended;
use crate::schedule::plan::Lane;
use crate::schedule::state::Why;
use crate::stop::Stop;
use crate::threads::lock;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A run in progress. If it is dropped without [`Active::end`], it counts as failed.
pub struct Active {
    jobs: Arc<Jobs>,
    lane: Lane,
    by: RunnerKind,
    id: RunId,
    recording: Recording,
    shown: Arc<ActiveView>,
    has_ended: bool,
}

impl Jobs {
    /// Begins a run of a job.
    ///
    /// # Errors
    /// [`Error::input`] where there is no such job, [`Error::try_again`] where the system gives no
    /// random number.
    pub fn begin(self: &Arc<Self>, name: &str, why: Why) -> Result<Active> {
        let registration = self.registration(name)?;
        let (id, lane) = (self.repository.new_run()?, registration.lane);
        let who = RunBy { job: name.to_owned(), by: self.by.clone() };
        let recording = Recording::new(registration.work, registration.scope, who, None, self.repository.clock().now_ns());
        let shown = Arc::new(ActiveView { started_ns: recording.run().started_ns, ..ActiveView::default() });
        {
            let mut table = lock(&self.table);
            // Two threads may have been told to begin jobs of one lane at the same moment.
            let is_other = |job: &Registration| job.lane == lane && table.active.contains_key(job.name);
            if let Some(other) = self.registrations.iter().find(|job| is_other(job)) {
                return Err(Error::try_again(format!("{} runs in its lane", other.name)));
            }
            table.schedule.begin(name, self.moment(), why);
            table.active.insert(name.to_owned(), Arc::clone(&shown));
            self.save(&mut table);
        }
        if lane == Lane::Backup {
            self.precedence.enter();
        }
        not_kept(name, id, recording.begin(&*self.sink, id));
        Ok(Active { jobs: Arc::clone(self), lane, by: registration.runner.by(), id, recording, shown, has_ended: false })
    }
}

/// Says that a record could not be kept. The work goes on without it.
fn not_kept(job: &str, id: RunId, put: Result<()>) {
    if let Err(error) = put {
        tracing::warn!("{job}: the record of run {id} cannot be kept: {error}");
    }
}

impl Active {
    /// The number of the run.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The progress to which the work reports. The run is cancelled when `stop` is asked.
    pub fn progress(&self, stop: &Stop) -> RunProgress {
        let (jobs, shown) = (Arc::clone(&self.jobs), Arc::clone(&self.shown));
        RunProgress { logged: LoggedProgress::default(), jobs, shown, pauses: self.lane == Lane::Maintenance, stop: stop.clone() }
    }

    /// Sets how much its backup holds by itself, where that is known only now.
    pub fn set_scope(&mut self, scope: Scope) {
        self.recording.set_scope(scope);
    }

    /// Ends the run. An error of a run that is cancelled is not a failure.
    pub fn end(mut self, result: Result<RunOutcome>, is_cancelled: bool) {
        self.conclude(result, is_cancelled);
    }

    fn conclude(&mut self, result: Result<RunOutcome>, is_cancelled: bool) {
        self.has_ended = true;
        let now_ns = self.jobs.repository.clock().now_ns();
        let (outcome, ended) = match result {
            Ok(outcome) if outcome.completed => (outcome, Ended::Completed),
            Ok(outcome) => (outcome, Ended::Failed { is_final: true }),
            Err(_) if is_cancelled => {
                let usual = if self.by == RunnerKind::Session { "the agent stops following this history" } else { "the agent ends" };
                let why = self.shown.reported.get().copied().unwrap_or(usual);
                (RunOutcome::failed(now_ns, format!("cancelled: {why}")), Ended::Cancelled)
            }
            Err(error) if error.kind == Kind::Damaged => {
                (RunOutcome::failed(now_ns, format!("{DAMAGED}{error}")), Ended::Failed { is_final: false })
            }
            Err(error) => (RunOutcome::failed(now_ns, error.message), Ended::Failed { is_final: false }),
        };
        let (record, put) = self.recording.end(&*self.jobs.sink, self.id, outcome);
        not_kept(&record.run.job, self.id, put);
        if self.lane == Lane::Backup {
            self.jobs.precedence.leave();
        }
        let mut table = lock(&self.jobs.table);
        table.schedule.end(&record.run.job, self.jobs.moment(), ended);
        table.active.remove(&record.run.job);
        table.ended(self.id, &record);
        self.jobs.save(&mut table);
        log_result(&record, run_history::ended(self.id, &record).is_some_and(|ended| ended.completed));
    }
}

fn log_result(record: &RunRecord, completed: bool) {
    let job = &record.run.job;
    match &record.outcome {
        _ if completed => tracing::info!("{job} is done"),
        Some(outcome) => tracing::warn!("{job}: {}", outcome.reason),
        None => {}
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if !self.has_ended {
            self.conclude(Err(Error::bug("it ended without a result")), false);
        }
    }
}

/// Reports the progress of a run to the log and the status, and tells the run whether it is still
/// wanted.
pub struct RunProgress {
    logged: LoggedProgress,
    jobs: Arc<Jobs>,
    shown: Arc<ActiveView>,
    pauses: bool,
    stop: Stop,
}

impl Progress for RunProgress {
    fn begin(&self, step: &str, total_bytes: Option<u64>) {
        step.clone_into(&mut lock(&self.shown.step));
        self.shown.position_bytes.store(0, Ordering::Relaxed);
        self.shown.total_bytes.store(total_bytes.unwrap_or(0), Ordering::Relaxed);
        self.logged.begin(step, total_bytes);
    }

    fn total(&self, total_bytes: u64) {
        self.shown.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.logged.total(total_bytes);
    }

    fn position(&self, position_bytes: u64) {
        self.shown.position_bytes.store(position_bytes, Ordering::Relaxed);
        self.logged.position(position_bytes);
    }

    fn note(&self, text: &str) {
        self.logged.note(text);
    }

    fn end(&self) {
        self.logged.end();
    }
}

impl Cancellation for RunProgress {
    fn is_cancelled(&self) -> bool {
        self.shown.reported.get().is_some() || self.stop.is_asked()
    }

    fn pause(&self) {
        if self.pauses {
            self.jobs.precedence.pause(|| self.is_cancelled());
        }
    }
}
