//! Ships segments: what is offered becomes durable in the store, in order, despite outages of the
//! store and restarts of the agent.
//!
//! Flow: [`Shipper::start`] queues what the spool holds. [`Shipper::offer`] adds a segment to the
//! backlog; if memory has no room, it writes to the spool itself. The threads (in
//! [`uploads`](super::uploads)) do the rest. [`Event::Durable`] reports each segment, in order,
//! once the store has it and everything before it. [`Shipper::drain`] ends the shipper in good
//! order. A shipper that is dropped leaves what a killed agent would leave.

use super::queue::{Admit, Backlog, Limits, Waiting};
use super::spool::Spool;
use super::uploads::{Next, Phase, STANDBY_PAUSE, Shared, State, Uploader, wait_while};
use crate::error::Result;
use crate::log_shipping::ship_options::Event;
use crate::log_shipping::ship_options::Hooks;
use crate::log_shipping::ship_options::ShipOptions;
use crate::monitor::alert::{Alert, Topic};
use crate::monitor::status::AgentStatus;
use crate::monitor::status_board::ShipperView;
use crate::repository::Repository;
use crate::repository::name::SegmentName;
use crate::threads::{lock, spawn};
use crate::tier::tigerbeetle::format::segment::{PrepareRow, SealedSegment};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long [`Shipper::drain`] waits, after its deadline, for threads that are in a request.
const JOIN_GRACE: Duration = Duration::from_secs(1);
/// No drain lasts longer.
const DRAIN_MAX: Duration = Duration::from_secs(24 * 3600);

/// The result of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It will be shipped.
    Taken,
    /// Memory and spool (or the disk) are full: the segment was dropped, and the caller records a
    /// gap.
    Full,
    /// The shipper is being drained: the segment was dropped, and the next agent reads its ops
    /// again.
    Stopped,
}

/// The shipper's counters, as they are now.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// What waits in memory and spool.
    pub waiting: Waiting,
    /// How long the oldest segment that is not durable has waited.
    pub oldest_age: Option<Duration>,
    /// The largest segment that the spool takes now, in bytes.
    pub spool_free_bytes: u64,
    /// Segments stored since the start.
    pub shipped_segments: u64,
    /// Their stored bytes.
    pub shipped_bytes: u64,
    /// For how long every put has failed, if the last one did; `None` while the store accepts puts.
    pub unreachable_for: Option<Duration>,
    /// The last error, even if it is over.
    pub last_error: Option<String>,
    /// Alerts that are raised now: a store that refuses, a spool that cannot be written.
    pub alerts: Vec<Alert>,
}

/// The result of a drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// The last segment that is durable with everything before it, and the last prepare in it.
    pub durable: Option<(SegmentName, PrepareRow)>,
    /// Segments in the spool, for the next agent.
    pub spool_segments: u64,
    /// Segments that neither store nor spool could take, in order.
    pub lost: Vec<SegmentName>,
    /// Threads that were still in a request; they end with the process or with their request.
    pub threads_left: usize,
    /// The last error.
    pub last_error: Option<String>,
}

/// The shipper; see the head of this module.
pub struct Shipper {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shipper {
    /// Starts to ship: first what the spool holds, in order, then what is offered. Segments that
    /// were found damaged in the spool are reported here.
    ///
    /// # Errors
    /// [`crate::error::Error::try_again`] when the system gives no thread.
    pub fn start(repository: Arc<Repository>, spool: Option<Spool>, options: ShipOptions, hooks: Hooks) -> Result<Shipper> {
        let shipper = Shipper::new(repository, spool, options, hooks);
        shipper.begin_threads()?;
        Ok(shipper)
    }

    /// Gives a shipper its threads.
    ///
    /// # Errors
    /// As [`Shipper::start`].
    pub fn begin_threads(&self) -> Result<()> {
        for _ in 0..self.shared.uploads() {
            let mut uploader = Uploader::default();
            self.spawn("amber-ship", move |shared| shared.follow(shared.upload_step(&mut uploader), |backlog| backlog.has_upload()))?;
        }
        if self.shared.spool().is_some() {
            self.spawn("amber-spool", |shared| shared.follow(shared.spool_step(), |backlog| shared.is_spool_due(backlog)))?;
        }
        Ok(())
    }

    /// A shipper without threads: [`Shipper::upload_step`] and [`Shipper::spool_step`] are theirs.
    pub fn new(repository: Arc<Repository>, spool: Option<Spool>, options: ShipOptions, hooks: Hooks) -> Shipper {
        let uploads = options.uploads.max(1);
        let mut backlog = Backlog::new(Limits { memory_bytes: options.memory_bytes, uploads });
        for found in spool.iter().flat_map(Spool::found) {
            backlog.push_spooled(found.name, found.stored_bytes, None, found.last, repository.clock().now());
        }
        let shared = Arc::new(Shared::new(repository, spool, options, hooks, backlog));
        report_findings(&shared);
        Shipper { shared, threads: Mutex::default() }
    }

    /// A step of an upload thread.
    pub fn upload_step(&self, uploader: &mut Uploader) -> Next {
        self.shared.upload_step(uploader)
    }

    /// A step of the thread that writes to the spool.
    pub fn spool_step(&self) -> Next {
        self.shared.spool_step()
    }

    /// Spawns a thread that repeats a step until it returns `false`.
    fn spawn(&self, name: &str, mut step: impl FnMut(&Shared) -> bool + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        lock(&shared.state).threads += 1;
        let spawned = spawn(name, move || {
            while step(&shared) {}
            lock(&shared.state).threads -= 1;
            shared.changed.notify_all();
        });
        lock(&self.threads).push(spawned?);
        Ok(())
    }

    /// Takes the next segment. This waits only for writes to the spool and never for the store,
    /// because the log would be overwritten meanwhile.
    pub fn offer(&self, segment: SealedSegment) -> Offer {
        let shared = &*self.shared;
        let _turn = lock(&shared.offering);
        let mut spooling = None;
        loop {
            let mut state = lock(&shared.state);
            if state.phase != Phase::Taking {
                return Offer::Stopped;
            }
            let admit = state.backlog.admit(segment.object.stored_bytes, shared.spool_free_bytes());
            if matches!(admit, Admit::Take) {
                state.backlog.push(segment, shared.clock().now());
                drop(state);
                shared.changed.notify_all();
                return Offer::Taken;
            }
            drop(state);
            match admit {
                Admit::Full => return Offer::Full,
                // Decided again while the spool is locked, because its thread may just have made
                // room.
                _ if spooling.is_none() => spooling = Some(lock(&shared.spooling)),
                Admit::SpoolFirst(ticket, object) if shared.move_to_spool(ticket, &object) => {}
                Admit::SpoolThis if shared.write(&segment.object) => {
                    let SealedSegment { name, object, last } = segment;
                    let digest = Some(object.digest);
                    lock(&shared.state).backlog.push_spooled(name, object.stored_bytes, digest, last, shared.clock().now());
                    shared.changed.notify_all();
                    return Offer::Taken;
                }
                Admit::SpoolFirst(..) | Admit::SpoolThis | Admit::Take => return Offer::Full,
            }
        }
    }

    /// Drops the waiting segments of a timeline that end at or before `op`, because another agent
    /// has stored them.
    pub fn forget_through(&self, timeline: u32, op: u64) {
        self.shared.forget_through(timeline, op);
    }

    /// The last segment since the start that is durable with everything before it, and the last
    /// prepare in it.
    pub fn durable(&self) -> Option<(SegmentName, PrepareRow)> {
        lock(&self.shared.state).durable
    }

    /// The shipper's counters, as they are now.
    pub fn counters(&self) -> Counters {
        let spool_free_bytes = self.shared.spool_free_bytes();
        let state = lock(&self.shared.state);
        Counters {
            waiting: state.backlog.waiting(),
            oldest_age: state.backlog.oldest().map(|offered| self.shared.clock().since(offered)),
            spool_free_bytes,
            shipped_segments: state.shipped_segments,
            shipped_bytes: state.shipped_bytes,
            // Where nothing waits, nothing is tried, so it is not known whether the store can be
            // reached.
            unreachable_for: state.failing_since.filter(|_| !state.backlog.is_empty()).map(|since| self.shared.clock().since(since)),
            last_error: state.last_error.clone(),
            alerts: state.alerts.iter().map(|(topic, text)| Alert::new(*topic, text)).collect(),
        }
    }

    /// Takes no more segments and ships until nothing waits, the deadline has passed or another
    /// agent ships. Then it writes the rest to the spool and ends the threads. While the store
    /// fails, what waits is written to the spool first.
    pub fn drain(&self, deadline: Duration) -> Drained {
        let shared = &*self.shared;
        let until = self.begin_drain(deadline);
        while !self.has_drained(until) {
            let left = until.saturating_duration_since(shared.clock().now());
            let waits = |state: &State| !state.backlog.is_empty();
            drop(wait_while(&shared.changed, lock(&shared.state), shared.clock().wait(left.min(STANDBY_PAUSE)), waits));
        }
        self.end_drain()
    }

    /// The first step of [`Shipper::drain`]. Returns when it is over at the latest.
    pub fn begin_drain(&self, deadline: Duration) -> Instant {
        self.shared.enter(Phase::Draining);
        if lock(&self.shared.state).failing_since.is_some() {
            self.shared.spool_all();
        }
        let now = self.shared.clock().now();
        // A deadline beyond all times is none.
        now.checked_add(deadline).unwrap_or(now + DRAIN_MAX)
    }

    /// Whether there is nothing more to wait for.
    pub fn has_drained(&self, until: Instant) -> bool {
        !(self.shared.hooks.may_ship)() || self.shared.clock().now() >= until || lock(&self.shared.state).backlog.is_empty()
    }

    /// The last step of [`Shipper::drain`].
    pub fn end_drain(&self) -> Drained {
        let shared = &*self.shared;
        shared.enter(Phase::Ending);
        shared.spool_all();
        let grace = shared.clock().wait(JOIN_GRACE);
        drop(wait_while(&shared.changed, lock(&shared.state), grace, |state| state.threads > 0));
        shared.enter(Phase::Closed);
        let threads_left = lock(&shared.state).threads;
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if threads_left == 0 || thread.is_finished() {
                // Its panics were reported when they happened.
                let _ = thread.join();
            }
        }
        let state = lock(&shared.state);
        Drained {
            durable: state.durable,
            spool_segments: state.backlog.waiting().spool_segments,
            lost: state.backlog.in_memory(),
            threads_left,
            last_error: state.last_error.clone(),
        }
    }
}

/// Reports what is wrong in the spool.
fn report_findings(shared: &Shared) {
    let Some(spool) = shared.spool() else { return };
    for damaged in spool.damaged() {
        shared.report(Event::Damaged(damaged.clone()));
    }
    if let Some(first) = spool.foreign().first() {
        let count = spool.foreign().len();
        shared.report(Event::Alert(format!("the spool holds {count} files that are not Amber's, first {first}: move them elsewhere")));
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        // The threads end by themselves; one may be in a request that takes minutes.
        self.shared.enter(Phase::Closed);
    }
}

impl ShipperView for Shipper {
    fn shipped(&self) -> (u64, u64) {
        let counters = self.counters();
        (counters.shipped_segments, counters.shipped_bytes)
    }

    fn add_to(&self, status: &mut AgentStatus) {
        let counters = self.counters();
        let waiting = counters.waiting;
        (status.backlog_segments, status.backlog_bytes) = (waiting.memory_segments, waiting.memory_bytes);
        (status.spool_segments, status.spool_bytes) = (waiting.spool_segments, waiting.spool_bytes);
        status.segments_shipped += counters.shipped_segments;
        status.stored_bytes += counters.shipped_bytes;
        status.store_reachable = counters.unreachable_for.is_none();
        if let (Some(since), Some(error)) = (counters.unreachable_for, counters.last_error) {
            let text = format!("the store has taken nothing for {} s: {error}", since.as_secs());
            status.alerts.push(Alert::new(Topic::Store, text));
        }
        status.alerts.extend(counters.alerts);
    }
}

#[cfg(test)]
mod tests;
