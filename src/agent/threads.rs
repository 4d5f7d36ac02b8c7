//! The threads that run beside the log for as long as the agent does. Each is started once, in an
//! order in which none misses what came before it. At the end the threads that do work end first,
//! then those that record and show it.

use super::parts::{AgentParts, Beginning};
use super::{page, telemetry};
use crate::catalog::updates;
use crate::error::Result;
use crate::host::Clock;
use crate::limits::governor::Governor;
use crate::monitor::web::Server;
use crate::runs::delivery::Delivery;
use crate::stop::Stop;
use crate::threads;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the end of the agent waits for its jobs to end, and as long again for the catalog.
const GRACE: Duration = Duration::from_secs(5);
/// The pause between two checks whether a thread has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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

impl Threads {
    /// Gives each part a thread, and notifies the service manager when the jobs are open. `stop`
    /// asks the whole agent to stop.
    ///
    /// # Errors
    /// When a port is taken, or a thread cannot be started.
    pub(super) fn start(parts: AgentParts, beginning: &Beginning<'_>, stop: &Stop) -> Result<Threads> {
        let AgentParts { mut runner, stages, mut catalog, mut reporter, mut ranges, beats, live, .. } = parts;
        let Beginning { plan, checked, board, notifier, .. } = beginning;
        let delivery = Delivery::start(stages)?;
        notifier.ready(&format!("following replica {} of cluster {}", checked.replica, checked.cluster));
        let telemetry = Stop::default();
        telemetry::start(plan.telemetry.as_ref(), &live, &telemetry)?;
        beats.start(&telemetry)?;
        let page = page::serve(page::options(&plan.page)?, &live, board)?;
        let (agent_stop, shown) = (stop.clone(), Stop::default());
        let ranges_stop = shown.clone();
        let report = Running::start("amber-report", shown, move |stop| reporter.run(stop))?;
        threads::spawn("amber-ranges", move || ranges.run(&ranges_stop))?;
        Ok(Threads {
            clock: checked.repository.clock(),
            governor: Arc::clone(checked.repository.governor()),
            delivery,
            page,
            telemetry,
            report,
            catalog: Running::start("amber-catalog", Stop::default(), move |stop| catalog.run(updates::FIRST_AFTER, stop))?,
            runner: Running::start("amber-jobs", Stop::default(), move |stop| runner.run(&agent_stop, stop))?,
        })
    }

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
    fn start(name: &str, stop: Stop, work: impl FnOnce(&Stop) + Send + 'static) -> Result<Running> {
        let stopping = stop.clone();
        Ok(Running { thread: threads::spawn(name, move || work(&stopping))?, stop })
    }

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
