//! The threads that run beside the log for as long as the agent does. Each is started once, in an
//! order in which none misses what came before it. At the end the threads that do work end first,
//! then those that record and show it.
//!
//! Flow: the [`Recorder`] is created first, because all others record what they do with it.
//! [`Delivery`] brings the records to repository and ledger, the [`CatalogUpdater`] brings them to
//! the catalog. The [`Jobs`] and their [`JobRunner`] run what is due. [`Reporter`] and
//! [`RestorableRanges`] write on the board, which page and telemetry read.

use super::{heartbeat, page, telemetry};
use crate::catalog::folder::STATE_FOLDER;
use crate::catalog::updates::{self, CatalogQueue, CatalogUpdater};
use crate::catalog::writer::Catalog;
use crate::config::AgentConfig;
use crate::error::Result;
use crate::host::Clock;
use crate::jobs::registry::registrations;
use crate::jobs::runner::JobRunner;
use crate::jobs::{Jobs, Parts};
use crate::limits::governor::Governor;
use crate::log_shipping::restorable::RestorableRanges;
use crate::log_shipping::session::Checked;
use crate::monitor::live::Live;
use crate::monitor::reporter::Reporter;
use crate::monitor::status::AgentStatus;
use crate::monitor::status::Control;
use crate::monitor::status_board::StatusBoard;
use crate::monitor::systemd::Notifier;
use crate::monitor::web::Server;
use crate::repository::run_record::RunSink;
use crate::runs::delivery::{Delivery, LedgerDelivery};
use crate::runs::recorder::Recorder;
use crate::stop::Stop;
use crate::threads;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the end of the agent waits for its jobs to end, and as long again for the catalog.
const GRACE: Duration = Duration::from_secs(5);
/// The pause between two checks whether a thread has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the threads are started with.
pub(super) struct AgentThreads<'agent> {
    pub plan: &'agent AgentConfig,
    pub checked: &'agent Checked,
    pub board: &'agent Arc<StatusBoard>,
    /// The token by which the agent recognises itself.
    pub token: &'agent str,
    pub notifier: &'agent Notifier,
    /// Asks the whole agent to stop.
    pub stop: &'agent Stop,
}

/// A thread, and the stop that asks it to end.
struct Running {
    thread: JoinHandle<()>,
    stop: Stop,
}

/// The running threads, until [`Threads::end`].
pub(super) struct Threads {
    clock: Clock,
    governor: Arc<Governor>,
    delivery: Delivery,
    page: Option<Server>,
    telemetry: Stop,
    runner: Running,
    catalog: Running,
    report: Running,
}

impl AgentThreads<'_> {
    /// Starts all threads, and notifies the service manager when the jobs are open.
    ///
    /// # Errors
    /// When something on the disk cannot be read, a port is taken, or a thread cannot be started.
    pub(super) fn start(&self, reported: Option<LedgerDelivery>) -> Result<(Arc<Jobs>, Threads)> {
        let repository = &self.checked.repository;
        let catalog = Arc::new(Catalog::new(repository, &self.plan.state_directory.join(STATE_FOLDER)));
        let queue = Arc::new(CatalogQueue::default());
        let sinks = vec![Arc::clone(&queue) as Arc<dyn RunSink>];
        let recorder = Recorder::new(repository, self.board, &self.plan.state_directory, self.token, sinks, reported.is_some())?;
        let recorder = Arc::new(recorder);
        let delivery = Delivery::start(&recorder, reported)?;
        let jobs = self.jobs(&catalog, recorder)?;
        let runner = JobRunner::new(&jobs);
        self.notifier.ready(&format!("following replica {} of cluster {}", self.checked.replica, self.checked.cluster));
        let live = Arc::new(Live::default());
        live.set_control(Arc::clone(&jobs) as Arc<dyn Control>);
        let telemetry = Stop::default();
        telemetry::start(self.plan.telemetry.as_ref(), &live, &telemetry)?;
        heartbeat::start(&self.plan.notify, &self.plan.state_directory, &live, &telemetry)?;
        let page = page::serve(page::options(&self.plan.page)?, &live, self.board)?;
        let threads = Threads {
            clock: repository.clock(),
            governor: Arc::clone(repository.governor()),
            delivery,
            page,
            telemetry,
            report: self.report(&live)?,
            catalog: update_catalog(CatalogUpdater::new(&catalog, &queue))?,
            runner: self.run_jobs(runner)?,
        };
        Ok((jobs, threads))
    }

    fn jobs(&self, catalog: &Arc<Catalog>, sink: Arc<Recorder>) -> Result<Arc<Jobs>> {
        let parts = Parts {
            repository: Arc::clone(&self.checked.repository),
            catalog: Arc::clone(catalog),
            board: Arc::clone(self.board),
            sink,
            by: self.token.to_owned(),
            registrations: registrations(self.plan),
        };
        Jobs::open(self.plan, parts)
    }

    /// Starts the threads that write on the board.
    fn report(&self, live: &Arc<Live>) -> Result<Running> {
        let (plan, governor) = (self.plan, self.checked.repository.governor());
        let mut reporter = Reporter::new(self.board, live, plan.state_directory.clone(), *self.notifier, plan.log.lag_alarm, governor);
        // While an agent that shipped the log was away, nothing was stored, unless another one took
        // over. That this one cannot know: it counts what it may have been.
        let led = |status: &AgentStatus| status.lease.as_ref().is_some_and(|lease| lease.is_ours);
        if let Some(before) = AgentStatus::read(&plan.state_directory).ok().filter(led) {
            self.board.note_lag(self.board.clock().now_ns().saturating_sub(before.written_ns) / 1_000_000);
        }
        let mut window = RestorableRanges::new(&self.checked.repository, self.board);
        let stop = Stop::default();
        let (reporting, looking) = (stop.clone(), stop.clone());
        let thread = threads::spawn("amber-report", move || reporter.run(&reporting))?;
        threads::spawn("amber-ranges", move || window.run(&looking))?;
        Ok(Running { thread, stop })
    }

    fn run_jobs(&self, mut runner: JobRunner) -> Result<Running> {
        let stop = Stop::default();
        let (agent_stop, stopping) = (self.stop.clone(), stop.clone());
        let thread = threads::spawn("amber-jobs", move || runner.run(&agent_stop, &stopping))?;
        Ok(Running { thread, stop })
    }
}

fn update_catalog(mut updater: CatalogUpdater) -> Result<Running> {
    let stop = Stop::default();
    let stopping = stop.clone();
    let thread = threads::spawn("amber-catalog", move || updater.run(updates::FIRST_AFTER, &stopping))?;
    Ok(Running { thread, stop })
}

impl Threads {
    /// Ends the threads: jobs first, then those that record and show how the jobs ended.
    pub(super) fn end(self) {
        // Work that waits for the governor must see that it is no longer wanted.
        self.governor.release();
        self.runner.end_within(GRACE, self.clock);
        self.catalog.end_within(GRACE, self.clock);
        self.delivery.stop();
        self.report.stop.ask();
        self.telemetry.ask();
        let _ = self.report.thread.join();
        drop(self.page);
    }
}

impl Running {
    /// Asks the thread to end, and waits no longer than `grace`: a store that does not answer must
    /// not keep the process alive.
    fn end_within(&self, grace: Duration, clock: Clock) {
        self.stop.ask();
        let began = clock.now();
        while !self.thread.is_finished() && clock.since(began) < grace {
            clock.sleep(LOOK_AGAIN);
        }
    }
}
