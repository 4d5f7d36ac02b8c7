//! The scheduler's thread. Twice a second it takes requests, begins what is due, looks at what ran
//! before, and writes on the board.
//!
//! Work and looks have threads of their own, one run in each lane at a time and one look, so that a
//! request never waits for them. They are cancelled when the agent ends. What does not end within
//! the grace period is remembered as cancelled, not as killed.

use super::active::{Active, RunProgress};
use super::registry::{Runner, RunnerKind};
use super::requests::{Action, Requests};
use super::run_history::RunHistory;
use super::{Jobs, objectives, storage_totals};
use crate::cancellation::Cancellation;
use crate::error::{Error, Result};
use crate::host::work::Task;
use crate::jobs::job::Context;
use crate::monitor::alert::Topic;
use crate::monitor::status::Control;
use crate::progress::Progress;
use crate::repository::run_record::RunOutcome;
use crate::schedule::job::Ended;
use crate::schedule::plan::Lane;
use crate::schedule::state::Why;
use crate::stop::Stop;
use crate::threads::lock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two turns: a request is taken within a second.
pub const TURN: Duration = Duration::from_millis(500);
/// How long the end of the agent waits for runs to end.
const GRACE: Duration = Duration::from_secs(3);
/// How often what ran before is looked at, for the status of an agent that stands by.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// The pause after a look that failed.
const LOOK_RETRY: Duration = Duration::from_secs(10);
/// The shortest time between two counts of what the repository holds: a count lists every object.
const STORAGE_INTERVAL: Duration = Duration::from_secs(3600);
/// This many failures in a row raise an alert.
const FAILURES_ALERT: u32 = 3;

/// A run that was begun.
struct Begun {
    active: Active,
    progress: Arc<RunProgress>,
    task: Task<Result<RunOutcome>>,
}

/// What looks have found so far.
#[derive(Default)]
struct Looks {
    past: RunHistory,
}

/// What makes it look again: a change of the leader's term or of the newest checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cause {
    fence: Option<u64>,
    timeline: u32,
    checkpoint_op: Option<u64>,
}

/// The scheduler; its thread owns it.
pub struct JobRunner {
    jobs: Arc<Jobs>,
    requests: Requests,
    /// What runs, lane by lane.
    running: BTreeMap<Lane, Begun>,
    looks: Option<Looks>,
    looking: Option<Task<(Looks, Result<()>)>>,
    looked: Option<(Cause, Instant)>,
    /// The cause of the look that is in progress.
    cause: Option<Cause>,
    paused_until: Option<Instant>,
    /// Whether storage is to be counted, because the agent has begun to lead or a run has ended;
    /// below it, when it was last counted.
    counts: bool,
    counted: Option<Instant>,
}

impl JobRunner {
    /// Creates the scheduler, for the whole life of the agent.
    pub fn new(jobs: &Arc<Jobs>) -> JobRunner {
        JobRunner {
            jobs: Arc::clone(jobs),
            requests: Requests::new(jobs.repository.host().disk, &jobs.directory),
            running: BTreeMap::new(),
            looks: Some(Looks::default()),
            looking: None,
            looked: None,
            cause: None,
            paused_until: None,
            counts: false,
            counted: None,
        }
    }

    /// Works until `ended` is asked. Runs are cancelled as soon as `stop` is asked.
    pub fn run(&mut self, stop: &Stop, ended: &Stop) {
        while !ended.wait(self.jobs.repository.clock().wait(TURN)) {
            self.turn(stop);
        }
        self.jobs.ask_all_to_end("the agent ends");
        let clock = self.jobs.repository.clock();
        let began = clock.now();
        while clock.since(began) < GRACE && !lock(&self.jobs.table).active.is_empty() {
            self.finish();
            clock.sleep(Duration::from_millis(10));
        }
        for Begun { active, .. } in std::mem::take(&mut self.running).into_values() {
            active.end(Err(Error::try_again("it did not end in time")), true);
        }
        self.jobs.abandon();
        self.jobs.publish();
    }

    /// One turn.
    pub fn turn(&mut self, stop: &Stop) {
        self.take_requests();
        if stop.is_asked() {
            self.jobs.ask_all_to_end("the agent ends");
        }
        self.finish();
        for lane in Lane::ALL {
            let turn = self.jobs.turn(lane, RunnerKind::Scheduler, |_| None);
            if let Some((name, why)) = turn.begin
                && !self.running.contains_key(&lane)
                && !stop.is_asked()
                && let Err(error) = self.begin(lane, &name, why, stop)
            {
                tracing::warn!("{name} cannot begin: {error}");
            }
        }
        if !self.jobs.board.is_leading() {
            // While the agent does not lead, no session asks for its jobs.
            self.jobs.turn(Lane::Backup, RunnerKind::Session, |_| None);
        }
        self.look();
        self.jobs.publish();
        self.alert();
    }

    fn take_requests(&mut self) {
        for request in self.requests.take() {
            let done = match request.action {
                Action::Run => self.jobs.run_now(&request.job),
                Action::Pause => self.jobs.pause(&request.job, true),
                Action::Resume => self.jobs.pause(&request.job, false),
            };
            self.requests.done(&request, done.as_ref().err());
        }
    }

    fn begin(&mut self, lane: Lane, name: &str, why: Why, stop: &Stop) -> Result<()> {
        let Runner::Scheduler(task) = self.jobs.registration(name)?.runner.clone() else { return Ok(()) };
        tracing::info!("{name} begins");
        let active = self.jobs.begin(name, why)?;
        let progress = Arc::new(active.progress(stop));
        let (run, jobs, reported) = (active.id(), Arc::clone(&self.jobs), Arc::clone(&progress));
        let work = move || {
            jobs.repository.governor().begin_bulk_thread();
            task(&Context { run, repository: &jobs.repository, catalog: &jobs.catalog, board: &jobs.board, progress: &*reported })
        };
        let task = self.jobs.repository.host().workers.begin("amber-job", work)?;
        self.running.insert(lane, Begun { active, progress, task });
        Ok(())
    }

    /// Takes the results of runs that have ended.
    fn finish(&mut self) {
        for lane in Lane::ALL {
            if self.running.get(&lane).is_none_or(|running| !running.task.is_finished()) {
                continue;
            }
            let Some(Begun { active, progress, task }) = self.running.remove(&lane) else { continue };
            progress.end();
            let result = task.join().and_then(|result| result);
            active.end(result, progress.is_cancelled());
            self.counts = true;
        }
    }

    /// Takes the result of a finished look. Then begins a look at what ran before and at what is
    /// stored, if there is a reason to.
    fn look(&mut self) {
        if let Some(looking) = self.looking.take_if(|looking| looking.is_finished()) {
            let (looks, result) = looking.join().unwrap_or_else(|error| (Looks::default(), Err(error)));
            self.looks = Some(looks);
            match result {
                Ok(()) => {
                    self.looked = self.cause.map(|cause| (cause, self.jobs.repository.clock().now()));
                    // The same fencing number shows that no other agent has led in between.
                    let fence = self.cause.and_then(|cause| cause.fence);
                    lock(&self.jobs.table).knows = fence.is_some() && fence == self.jobs.board.fence();
                }
                Err(error) => {
                    tracing::warn!("what ran before and what is stored is not known: {error}");
                    (self.counts, self.counted) = (true, None);
                    self.paused_until = Some(self.jobs.repository.clock().now() + LOOK_RETRY);
                }
            }
        }
        if self.looks.is_none() {
            return;
        }
        let status = self.jobs.board.status();
        let checkpoint_op = status.last_checkpoint.map(|checkpoint| checkpoint.op);
        let cause = Cause { fence: self.jobs.board.fence(), timeline: status.timeline, checkpoint_op };
        if cause.fence.is_none() {
            lock(&self.jobs.table).knows = false;
        }
        let begins_to_lead = cause.fence.is_some() && self.looked.is_none_or(|(looked, _)| looked.fence != cause.fence);
        self.counts |= begins_to_lead;
        // A repository without a checkpoint is still being filled, so it is not counted.
        let may_count = cause.fence.is_some()
            && checkpoint_op.is_some()
            && self.counted.is_none_or(|at| self.jobs.repository.clock().since(at) >= STORAGE_INTERVAL);
        let counts = self.counts && may_count;
        let stands =
            self.looked.is_some_and(|(looked, at)| looked == cause && self.jobs.repository.clock().since(at) < LOOK_INTERVAL && !counts);
        let is_paused = self.paused_until.is_some_and(|until| self.jobs.repository.clock().now() < until);
        if stands || is_paused {
            return;
        }
        let Some(looks) = self.looks.take() else { return };
        if counts {
            (self.counts, self.counted) = (false, Some(self.jobs.repository.clock().now()));
        }
        let jobs = Arc::clone(&self.jobs);
        let work = move || looks.look(&jobs, cause, counts);
        match self.jobs.repository.host().workers.begin("amber-look", work) {
            Ok(task) => (self.looking, self.cause) = (Some(task), Some(cause)),
            Err(error) => {
                tracing::warn!("{error}");
                (self.looks, self.paused_until) = (Some(Looks::default()), Some(self.jobs.repository.clock().now() + LOOK_RETRY));
            }
        }
    }

    fn alert(&self) {
        let table = lock(&self.jobs.table);
        let failing = self.jobs.registrations.iter().filter(|registration| registration.runner.by() == RunnerKind::Scheduler).filter_map(
            |registration| {
                let failures = table.schedule.job(registration.name)?.state().failures_in_a_row;
                let reason = table.last.get(registration.name).map_or("", |last| last.reason.as_str());
                (failures >= FAILURES_ALERT).then(|| format!("{} has failed {failures} times in a row: {reason}", registration.name))
            },
        );
        let failing: Vec<String> = failing.collect();
        let damage = table.verification.as_ref().filter(|found| !found.is_whole).map(|found| {
            format!(
                "verification found {} objects that are not what was stored; {} of {} backups are intact: `amber verify` names them all, and what to do",
                found.problems, found.backups_whole, found.backups
            )
        });
        let verified_ns = table.verification.as_ref().map(|found| found.ended_ns);
        let unverified = table.outcomes.values().find_map(|outcome| objectives::unverified_text(outcome, verified_ns));
        drop(table);
        let unverified = unverified.filter(|_| self.jobs.board.is_leading());
        self.jobs.board.alert(Topic::Unverified, unverified);
        self.jobs.board.alert(Topic::Jobs, (!failing.is_empty()).then(|| failing.join("; ")));
        self.jobs.board.alert(Topic::Verification, damage);
    }
}

impl Looks {
    fn look(mut self, jobs: &Jobs, cause: Cause, counts: bool) -> (Looks, Result<()>) {
        jobs.repository.governor().begin_bulk_thread();
        let result = self.look_at(jobs, cause, counts);
        (self, result)
    }

    fn look_at(&mut self, jobs: &Jobs, cause: Cause, counts: bool) -> Result<()> {
        let names: Vec<&str> = jobs.registrations.iter().filter(|job| job.is_cluster_wide).map(|job| job.name).collect();
        self.past.look(&jobs.repository, &names)?;
        jobs.record_history(&self.past);
        if cause.timeline > 0 {
            let bytes = storage_totals::checkpoint_bytes(&jobs.repository, cause.timeline)?;
            lock(&jobs.table).checkpoint_bytes = bytes;
        }
        if counts {
            let storage = storage_totals::storage(&jobs.repository)?;
            lock(&jobs.table).storage = storage;
        }
        Ok(())
    }
}

impl Jobs {
    /// Marks what still runs as cancelled, because it ends with the process.
    fn abandon(&self) {
        let mut table = lock(&self.table);
        let names: Vec<String> = table.active.keys().cloned().collect();
        for name in names {
            tracing::warn!("{name} did not end in time; it ends with the agent");
            table.schedule.end(&name, self.moment(), Ended::Cancelled);
        }
        self.save(&mut table);
    }
}
