//! The jobs of the agent. [`crate::schedule`] decides when they run, the [`registry`] says what
//! they do, and this module brings the two together.
//!
//! ```text
//! registry ---> schedule - due -> active: begin, work, end -> records (RunSink), jobs.json
//! (name,           ^                                      +-> status: jobs, recent, verification
//! cadence,         +-- configuration [jobs.NAME]
//! what it does)    +-- requests/, Control: run, pause, resume
//!                  +-- run_history: what other agents ran
//! ```
//!
//! Flow: the [`runner`], one thread for the whole life of the agent, takes requests, begins what is
//! due on threads of their own, one job in each lane at a time, and writes on the board. The
//! session's own thread (`log_shipping::checkpoints`) begins checkpoints, because they belong to
//! the history that it follows. While a checkpoint is taken, the other job pauses ([`precedence`]).
//! What is remembered over restarts is in [`state`]. What an earlier agent did is read from the
//! repository ([`run_history`]).

pub mod active;
pub mod active_view;
pub mod catalog;
pub mod job;
pub mod objectives;
pub mod precedence;
pub mod registry;
pub mod requests;
pub mod run_history;
pub mod runner;
pub mod state;
pub mod storage_totals;
pub mod verification;

use crate::catalog::writer::Catalog;
use crate::config::AgentConfig;
use crate::error::{Error, Result};
use crate::jobs::active_view::ActiveView;
use crate::monitor::status::{Control, EndedStatus, JobStatus, StorageStatus, VerificationStatus};
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::{RunOutcome, RunRecord, RunSink, Work};
use crate::schedule::job::Moment;
use crate::schedule::plan::{Lane, Schedule, Standing, Turn};
use crate::threads::lock;
use precedence::Precedence;
use registry::{Registration, RunnerKind, unknown_job};
use run_history::{RECENT_MAX, RunHistory};
use state::{JobEntry, JobsFile};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What the jobs work with.
pub struct Parts {
    /// The repository.
    pub repository: Arc<Repository>,
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// The status board.
    pub board: Arc<StatusBoard>,
    /// Where the records of runs go.
    pub sink: Arc<dyn RunSink>,
    /// The agent that runs them, as the records name it.
    pub by: String,
    /// The jobs.
    pub registrations: Vec<Registration>,
}

/// The jobs, shared by everything that begins, requests or shows one.
pub struct Jobs {
    repository: Arc<Repository>,
    catalog: Arc<Catalog>,
    board: Arc<StatusBoard>,
    sink: Arc<dyn RunSink>,
    by: String,
    registrations: Vec<Registration>,
    directory: PathBuf,
    replay_ops_per_s: u64,
    began: Instant,
    precedence: Precedence,
    table: Mutex<Table>,
}

/// The state that changes.
#[derive(Default)]
struct Table {
    schedule: Schedule,
    /// What is remembered of jobs that this release does not know.
    strangers: BTreeMap<String, JobEntry>,
    /// Runs in progress, by job.
    active: BTreeMap<String, Arc<ActiveView>>,
    last: BTreeMap<String, EndedStatus>,
    /// How the newest run of each job went.
    outcomes: BTreeMap<String, RunOutcome>,
    /// The newest first.
    recent: Vec<EndedStatus>,
    /// The newest run of each job that was read from the repository.
    newest_recorded: BTreeMap<String, RunId>,
    /// Whether it is known what ran before this agent led.
    knows: bool,
    verification: Option<VerificationStatus>,
    last_drill_ns: Option<u64>,
    storage: Vec<StorageStatus>,
    /// Stored bytes of the newest checkpoint.
    checkpoint_bytes: Option<u64>,
    /// The content of `jobs.json` as it was last written.
    written: Vec<u8>,
    write_failed: bool,
}

impl Jobs {
    /// Opens the jobs in the state in which they were left.
    ///
    /// # Errors
    /// [`Error::input`] where the configuration or the state directory does not fit, with the line.
    pub fn open(plan: &AgentConfig, parts: Parts) -> Result<Arc<Jobs>> {
        let Parts { repository, catalog, board, sink, by, registrations } = parts;
        let disk = repository.host().disk;
        registry::check(plan, &registrations)?;
        requests::prepare(disk, &plan.state_directory).map_err(|error| error.context(&plan.origins.state_directory))?;
        let mut kept = JobsFile::read(disk, &plan.state_directory).map_err(|error| error.context(&plan.origins.state_directory))?;
        let mut table = Table::default();
        let now = Moment { wall_ns: repository.clock().now_ns(), uptime_ns: 0 };
        for registration in &registrations {
            let JobEntry { state, last } = kept.jobs.remove(registration.name).unwrap_or_default();
            if state.running.is_some() {
                tracing::warn!("{}: the agent ended before its run did: it is made up for", registration.name);
            }
            let rules = registration.rules(plan, &repository.header().repository_id)?;
            table.schedule.add(rules, registration.lane, registration.is_cluster_wide, state, now);
            table.last.extend(last.map(|last| (registration.name.to_owned(), last)));
        }
        table.strangers = kept.jobs;
        let jobs = Jobs {
            began: repository.clock().now(),
            repository,
            catalog,
            board,
            sink,
            by,
            registrations,
            directory: plan.state_directory.clone(),
            replay_ops_per_s: plan.checkpoint.replay_ops_per_s,
            precedence: Precedence::default(),
            table: Mutex::new(table),
        };
        jobs.save(&mut lock(&jobs.table));
        Ok(Arc::new(jobs))
    }

    fn moment(&self) -> Moment {
        let clock = self.repository.clock();
        Moment { wall_ns: clock.now_ns(), uptime_ns: u64::try_from(clock.since(self.began).as_nanos()).unwrap_or(u64::MAX) }
    }

    fn registration(&self, name: &str) -> Result<&Registration> {
        let found = self.registrations.iter().find(|registration| registration.name == name);
        found.ok_or_else(|| unknown_job(name, &self.registrations.iter().map(|registration| registration.name).collect::<Vec<_>>()))
    }

    /// Decides which job of a lane begins, of those that the caller runs, and asks those to end
    /// that must. `wish` says why a job is wanted now, apart from its cadence.
    pub fn turn(&self, lane: Lane, by: RunnerKind, wish: impl Fn(&str) -> Option<String>) -> Turn {
        let mut table = lock(&self.table);
        // A session knows its history from the join.
        let standing = Standing { leads: self.board.is_leading(), knows: table.knows || by == RunnerKind::Session };
        let runs = |name: &str| self.registration(name).is_ok_and(|job| job.runner.by() == by);
        let turn = table.schedule.turn(lane, self.moment(), standing, runs, wish);
        for name in &turn.stop {
            if let Some(shown) = table.active.get(name) {
                shown.ask_to_end("another agent leads now");
            }
        }
        self.save(&mut table);
        turn
    }

    /// When a job runs next, in words.
    pub fn next_text(&self, name: &str) -> String {
        lock(&self.table).schedule.job(name).map_or_else(String::new, |job| job.next_text(self.repository.clock().now_ns()))
    }

    /// Whether a job is paused or switched off, so that it does not run by itself.
    pub fn is_held_back(&self, name: &str) -> bool {
        lock(&self.table).schedule.job(name).is_some_and(|job| job.state().is_paused || !job.rules().is_enabled)
    }

    /// Whether a job of a lane runs.
    pub fn is_lane_busy(&self, lane: Lane) -> bool {
        let table = lock(&self.table);
        self.registrations.iter().any(|job| job.lane == lane && table.active.contains_key(job.name))
    }

    /// Records a run that another agent made, or that was made before this agent knew.
    pub fn record_elsewhere(&self, name: &str, started_ns: u64, ended: Option<(u64, bool)>) {
        let mut table = lock(&self.table);
        let now = self.moment();
        if let Some(job) = table.schedule.job_mut(name) {
            job.record_elsewhere(now, started_ns, ended);
        }
        self.save(&mut table);
    }

    /// Asks everything that runs to end.
    fn ask_all_to_end(&self, why: &'static str) {
        lock(&self.table).active.values().for_each(|shown| shown.ask_to_end(why));
    }

    /// Writes what is remembered to `jobs.json`, if it has changed.
    fn save(&self, table: &mut Table) {
        let mut kept = JobsFile { jobs: table.strangers.clone() };
        for (name, state) in table.schedule.states() {
            let last = table.last.get(&name).cloned();
            kept.jobs.insert(name, JobEntry { state, last });
        }
        let written = kept.text().and_then(|text| {
            if text != table.written {
                state::write(self.repository.host().disk, &self.directory, &text)?;
                table.written = text;
            }
            Ok(())
        });
        match written {
            Ok(()) => table.write_failed = false,
            Err(error) if !table.write_failed => {
                tracing::warn!("{error}");
                table.write_failed = true;
            }
            Err(_) => {}
        }
    }

    /// Learns earlier runs from the repository's records.
    fn record_history(&self, past: &RunHistory) {
        let mut table = lock(&self.table);
        let now = self.moment();
        for registration in self.registrations.iter().filter(|registration| registration.is_cluster_wide) {
            let name = registration.name;
            let Some((id, record)) = past.newest_of(name) else { continue };
            let is_new = table.newest_recorded.insert(name.to_owned(), id) != Some(id);
            let Some(job) = table.schedule.job_mut(name) else { continue };
            if is_new {
                let ended = record.outcome.as_ref().map(|outcome| (outcome.ended_ns, outcome.completed));
                job.record_elsewhere(now, record.run.started_ns, ended);
            }
            job.record_success(past.last_done_ns(name, registration.work));
        }
        for (id, record) in past.runs() {
            table.ended(id, record);
        }
        table.last_drill_ns = table.last_drill_ns.max(past.last_drill_ns());
        self.save(&mut table);
    }

    /// Writes on the board what the status shows of the jobs.
    fn publish(&self) {
        let table = lock(&self.table);
        let jobs = self.registrations.iter().filter_map(|registration| table.job_status(registration)).collect();
        let (recent, verification, storage) = (table.recent.clone(), table.verification.clone(), table.storage.clone());
        let objectives = table.outcomes.values().map(objectives::of_outcome).find(|found| !found.is_empty()).unwrap_or_default();
        let (last_drill_ns, checkpoint_bytes) = (table.last_drill_ns, table.checkpoint_bytes);
        drop(table);
        let traffic = self.repository.traffic();
        let replay_ops_per_s = self.replay_ops_per_s;
        self.board.change(|status| {
            (status.jobs, status.recent, status.verification, status.storage) = (jobs, recent, verification, storage);
            status.last_drill_ns = last_drill_ns;
            status.objectives = objectives;
            let store = &mut status.store;
            (store.attempts, store.retries, store.slow_downs, store.lost) =
                (traffic.attempts, traffic.retries, traffic.slow_downs, traffic.lost);
            status.restore_estimate_seconds = match (checkpoint_bytes, &status.last_checkpoint) {
                (Some(bytes), Some(last)) => {
                    storage_totals::restore_seconds(bytes, status.durable_op.saturating_sub(last.op), replay_ops_per_s)
                }
                _ => 0,
            };
        });
    }
}

impl Table {
    /// Remembers a run that has ended, now or earlier. Only the newest runs are kept.
    fn ended(&mut self, id: RunId, record: &RunRecord) {
        let Some(ended) = run_history::ended(id, record) else { return };
        let last = self.last.get(&ended.job);
        if last.is_none_or(|last| last.started_ns <= ended.started_ns) {
            self.last.insert(ended.job.clone(), ended.clone());
            self.outcomes.extend(record.outcome.clone().map(|outcome| (ended.job.clone(), outcome)));
        }
        if let Some(found) = run_history::verification_of(record)
            && self.verification.as_ref().is_none_or(|known| known.ended_ns <= found.ended_ns)
        {
            self.verification = Some(found);
        }
        if record.run.work == Work::Drill && ended.completed {
            self.last_drill_ns = self.last_drill_ns.max(Some(ended.ended_ns));
        }
        self.recent.retain(|recent| recent.run != ended.run);
        let place = self.recent.partition_point(|recent| (recent.ended_ns, &recent.run) > (ended.ended_ns, &ended.run));
        self.recent.insert(place, ended);
        self.recent.truncate(RECENT_MAX);
    }

    fn job_status(&self, registration: &Registration) -> Option<JobStatus> {
        let job = self.schedule.job(registration.name)?;
        let running = self.active.get(registration.name).map(|shown| shown.status());
        let (next_ns, next_reason) = match &running {
            Some(_) => (None, "it runs".to_owned()),
            None => (job.next().at_ns, job.next().reason.clone()),
        };
        Some(JobStatus {
            name: registration.name.to_owned(),
            title: registration.title.to_owned(),
            cadence: job.cadence_text().to_owned(),
            is_paused: job.state().is_paused,
            running,
            next_ns,
            next_reason,
            last: self.last.get(registration.name).cloned(),
            last_success_ns: job.state().last_success_ns,
            stale_after_s: registration.staleness.map(|staleness| staleness.after.as_secs()),
            stale_text: registration.staleness.map_or("", |staleness| staleness.text).to_owned(),
            stale_advice: registration.staleness.map_or("", |staleness| staleness.advice).to_owned(),
            outcome: self.outcomes.get(registration.name).map(|outcome| (registration.outcome_text)(outcome)).unwrap_or_default(),
            failures_in_a_row: job.state().failures_in_a_row,
        })
    }
}

impl Control for Jobs {
    fn run_now(&self, job: &str) -> Result<()> {
        let is_cluster_wide = self.registration(job)?.is_cluster_wide;
        if is_cluster_wide && !self.board.is_leading() {
            return Err(Error::try_again(format!("{job} runs on the agent that leads, and this one does not: ask there")));
        }
        let mut table = lock(&self.table);
        let now = self.moment();
        if let Some(job) = table.schedule.job_mut(job) {
            job.ask(now);
        }
        self.save(&mut table);
        Ok(())
    }

    fn pause(&self, job: &str, is_paused: bool) -> Result<()> {
        self.registration(job)?;
        let mut table = lock(&self.table);
        let now = self.moment();
        if let Some(job) = table.schedule.job_mut(job) {
            job.pause(now, is_paused);
        }
        tracing::info!("{job} is {}", if is_paused { "paused" } else { "no longer paused" });
        self.save(&mut table);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
