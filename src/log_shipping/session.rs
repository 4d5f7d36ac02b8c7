//! One session: joins the log to what is stored, and ships it until something ends that.
//!
//! ```text
//! join -> follower -> collector -> shipper -> durable
//!         lease_holder: the lease   checkpoints: checkpoints, merging   reporter: status
//! ```
//!
//! A session has one timeline and one data file. When the file is replaced, or the log turns out to
//! be another history, the session ends and the next one joins again. In between, what waits to be
//! shipped goes to the spool.
//!
//! [`Session::step`] goes from state to state: it joins, follows, drains, and waits until the lease
//! is released. What works beside it ([`Beside`]) has steps of its own: [`Agent::session`] gives
//! each a thread.

use super::checkpoints::{CheckpointSource, CheckpointWorker, record_gaps};
use super::collector::Collector;
use super::follower::{Ended, FileIdentity, Follower, Following, Turn, identity};
use super::joining::Start;
use super::lease_holder::{Holder, LeaseHolder};
use super::passing;
use super::queue::Durable;
use super::shipper::Shipper;
use super::spool::Spool;
use crate::config::AgentConfig;
use crate::error::Result;
use crate::jobs::Jobs;
use crate::log_shipping::ship_options::{Event, Hooks, ShipOptions};
use crate::monitor::alert::Topic;
use crate::monitor::status::{AgentState, GapStatus};
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::name::SegmentName;
use crate::stop::Stop;
use crate::store::Store;
use crate::threads::spawn;
use crate::tier::tigerbeetle::format::gap::Gap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What the check before the start found: the repository, and the replica that the agent runs
/// beside.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The repository, open.
    pub repository: Arc<Repository>,
    /// The cluster of the data file.
    pub cluster: u128,
    /// The replica's index.
    pub replica: u8,
    /// Replicas in the cluster.
    pub replica_count: u8,
    /// The op of the checkpoint that the superblock names.
    pub checkpoint_op: u64,
    /// Fallbacks (io_uring refused, a bad superblock copy) and what the store cannot do, in
    /// sentences for the user.
    pub notes: Vec<String>,
}

/// The spool's folder in the state directory.
pub const SPOOL_FOLDER: &str = "spool";
/// Pause before another try after the log could not be joined.
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// How long draining may take where another session follows.
const REJOIN_DRAIN: Duration = Duration::from_secs(5);
/// How long the end of the agent waits for the lease to be released.
const RELEASE_GRACE: Duration = Duration::from_secs(3);
/// How often it looks whether draining, or the release of the lease, is over.
const END_PAUSE: Duration = Duration::from_millis(5);

/// What a session is made from; it outlives the session.
pub struct Agent {
    /// The configuration.
    pub plan: AgentConfig,
    /// What the check before the start found.
    pub checked: Checked,
    /// The status board.
    pub board: Arc<StatusBoard>,
    /// How this agent identifies itself.
    pub holder: Holder,
    /// The jobs. The session itself runs the checkpoint job.
    pub jobs: Arc<Jobs>,
    /// What the spool is made of: the folder of this name in the state directory.
    pub spool: Arc<dyn Store>,
}

/// What follows a step.
pub enum Next {
    /// A pause, which a stop cuts short, then the next step.
    Pause(Duration),
    /// The session is over.
    Over(Ended),
}

/// What works beside a session, until it is told to stop.
pub struct Beside {
    /// Ships what is offered.
    pub shipper: Arc<Shipper>,
    /// Holds the lease.
    pub lease_holder: LeaseHolder,
    /// Takes checkpoints, and merges.
    pub checkpoints: CheckpointWorker,
    /// Asked when it is over.
    pub stop: Stop,
}

/// A session; see the head of this module.
pub struct Session<'agent> {
    agent: &'agent Agent,
    state: State,
    /// How often the repository had come back when the session began.
    returns: u64,
    /// What works beside it, from when it follows the log until it is taken.
    beside: Option<Beside>,
}

enum State {
    /// Finding out where the log joins.
    Joining(Joining),
    /// Following the log.
    Following(Box<Shipping>),
    /// Shipping what is left.
    Draining(Draining),
    /// Waiting until the lease is released.
    Releasing(Releasing),
}

struct Joining {
    file: Option<FileIdentity>,
    /// Taken when the log has joined.
    spool: Option<Spool>,
}

struct Shipping {
    follower: Follower,
    following: Following,
    links: Links,
}

struct Draining {
    until: Instant,
    /// Why following the log ended, given back at the end.
    followed: Result<Ended>,
    links: Links,
}

struct Releasing {
    /// When the end of the agent waits no longer.
    until: Instant,
    followed: Result<Ended>,
    links: Links,
}

/// What a session has in common with what works beside it.
#[derive(Clone)]
struct Links {
    shipper: Arc<Shipper>,
    /// Set once the lease is released.
    released: Arc<AtomicBool>,
    /// Asked when the session is over.
    stop: Stop,
}

impl Session<'_> {
    /// Does the next thing.
    ///
    /// # Errors
    /// An error that another session would not fix: the data file or the repository is not what it
    /// must be.
    pub fn step(&mut self, stop: &Stop) -> Result<Next> {
        match &mut self.state {
            State::Joining(joining) => {
                let Some(spool) = joining.spool.take() else { return Ok(Next::Over(Ended::Stopped)) };
                let file = joining.file;
                if let Some(start) = self.agent.join(&spool)? {
                    self.state = self.follow(&start, file, spool);
                    return Ok(Next::Pause(Duration::ZERO));
                }
                joining.spool = Some(spool);
                Ok(if stop.is_asked() { Next::Over(Ended::Stopped) } else { Next::Pause(JOIN_PAUSE) })
            }
            State::Following(shipping) => {
                let has_returned = self.agent.checked.repository.returns() != self.returns;
                let followed = match shipping.follower.step(&mut shipping.following) {
                    Ok(Turn::Pause(_)) if has_returned && !stop.is_asked() => {
                        // What was stored shortly before it went away may be elsewhere.
                        shipping.follower.end(Ended::Rejoin("the repository was away and is back".into()))
                    }
                    Ok(Turn::Pause(_)) if stop.is_asked() => shipping.follower.end(Ended::Stopped),
                    Ok(Turn::Pause(pause)) => return Ok(Next::Pause(pause)),
                    Ok(Turn::Over(ended)) => Ok(ended),
                    Err(error) => Err(error),
                };
                let draining = self.agent.drain(&shipping.links, followed);
                self.state = State::Draining(draining);
                Ok(Next::Pause(Duration::ZERO))
            }
            State::Draining(draining) => {
                if !draining.links.shipper.has_drained(draining.until) {
                    return Ok(Next::Pause(END_PAUSE));
                }
                let releasing = self.agent.release(draining);
                self.state = State::Releasing(releasing);
                Ok(Next::Pause(Duration::ZERO))
            }
            State::Releasing(releasing) => {
                // The next session takes the lease itself, so this session must have released it.
                // When the agent ends, the end of the process also ends the lease.
                let ends = !matches!(releasing.followed, Ok(Ended::Rejoin(_)));
                if releasing.links.released.load(Ordering::Acquire) || ends && self.agent.board.clock().now() >= releasing.until {
                    return std::mem::replace(&mut releasing.followed, Ok(Ended::Stopped)).map(Next::Over);
                }
                Ok(Next::Pause(END_PAUSE))
            }
        }
    }

    /// What works beside it, once it follows the log: whoever takes it sees to its steps.
    pub fn take_beside(&mut self) -> Option<Beside> {
        self.beside.take()
    }

    fn follow(&mut self, start: &Start, file: Option<FileIdentity>, spool: Spool) -> State {
        let agent = self.agent;
        agent.begin(start, &spool);
        let shipper = Arc::new(agent.shipper(spool, start));
        let seen: Weak<Shipper> = Arc::downgrade(&shipper);
        agent.board.watch(seen);
        let ready = Arc::new(AtomicBool::new(false));
        let lease_holder = agent.lease_holder(&shipper, start.lineage.timeline(), &ready);
        let links = Links { shipper, released: lease_holder.released(), stop: Stop::default() };
        self.beside = Some(Beside {
            shipper: Arc::clone(&links.shipper),
            lease_holder,
            checkpoints: agent.checkpoints(start),
            stop: links.stop.clone(),
        });
        agent.checked.repository.governor().resume();
        let begun = agent.follower(start, file, &links.shipper, ready).and_then(|follower| Ok((follower.begin(start.after)?, follower)));
        match begun {
            Ok((following, follower)) => State::Following(Box::new(Shipping { follower, following, links })),
            Err(error) => State::Draining(agent.drain(&links, Err(error))),
        }
    }
}

impl Agent {
    /// Begins a session.
    ///
    /// # Errors
    /// When the spool cannot be used.
    pub fn begin_session(&self) -> Result<Session<'_>> {
        let file = identity(&self.plan.data_file);
        let (folder, store) = (self.plan.state_directory.join(SPOOL_FOLDER), Arc::clone(&self.spool));
        let returns = self.checked.repository.returns();
        let spool = Some(Spool::over(&self.checked.repository, store, &folder, self.plan.log.spool_bytes)?);
        Ok(Session { agent: self, state: State::Joining(Joining { file, spool }), returns, beside: None })
    }

    /// Runs one session on this thread, and what works beside it on threads of their own.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn session(&self, stop: &Stop) -> Result<Ended> {
        let (mut session, clock) = (self.begin_session()?, self.board.clock());
        loop {
            let next = session.step(stop);
            if let Some(beside) = session.take_beside() {
                beside.spawn()?;
            }
            match next? {
                Next::Over(ended) => return Ok(ended),
                Next::Pause(pause) if stop.is_asked() => clock.sleep(pause.min(END_PAUSE)),
                Next::Pause(pause) => drop(stop.wait(clock.wait(pause))),
            }
        }
    }

    /// Determines where the log joins what is stored; `None` while that is not clear.
    fn join(&self, spool: &Spool) -> Result<Option<Start>> {
        match self.try_join(spool) {
            Ok(start) => {
                self.board.alert(Topic::Join, None);
                Ok(Some(start))
            }
            Err(error) if passing::while_running(&error) => {
                self.board.alert(Topic::Join, Some(error.message));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn drain(&self, links: &Links, followed: Result<Ended>) -> Draining {
        self.board.set_idle();
        self.board.change(|status| status.state = AgentState::Stopping);
        // The log grows meanwhile. If another session follows, it ships what is in the spool by
        // then.
        let rejoins = matches!(followed, Ok(Ended::Rejoin(_)));
        let deadline = if rejoins { self.plan.process.shutdown.min(REJOIN_DRAIN) } else { self.plan.process.shutdown };
        Draining { until: links.shipper.begin_drain(deadline), followed, links: links.clone() }
    }

    fn release(&self, draining: &mut Draining) -> Releasing {
        let shipper = &draining.links.shipper;
        let drained = shipper.end_drain();
        tracing::info!("{} segments wait in the spool, {} threads are still in a request", drained.spool_segments, drained.threads_left);
        if !drained.lost.is_empty() {
            tracing::warn!("{} segments could be kept nowhere; the next start reads them again", drained.lost.len());
        }
        self.board.unwatch(&**shipper);
        if self.board.is_leading() && shipper.counters().unreachable_for.is_none() {
            record_gaps(&self.checked.repository, &self.board);
        }
        // A running checkpoint is cancelled. It promises nothing any more.
        draining.links.stop.ask();
        self.checked.repository.governor().release();
        Releasing {
            until: self.board.clock().now() + RELEASE_GRACE,
            followed: std::mem::replace(&mut draining.followed, Ok(Ended::Stopped)),
            links: draining.links.clone(),
        }
    }

    /// Writes the state at the beginning of the session on the board.
    pub(super) fn begin(&self, start: &Start, spool: &Spool) {
        let timeline = start.lineage.timeline();
        self.board.begin(timeline, start.durable_op, start.after.0);
        for found in spool.found().iter().filter(|found| found.name.timeline == timeline) {
            self.board.offered(found.name.last_op, self.board.clock().now());
        }
        self.board.known_gaps(start.stored_history.gaps.iter().cloned().map(GapStatus::from).collect());
        self.board.change(|status| status.last_checkpoint = start.stored_history.checkpoint.clone());
        if let Some(gap) = start.gap.clone() {
            self.board.gap(gap);
        }
        if let Some(wanted) = &start.wanted {
            self.board.want_checkpoint(wanted.clone());
        }
        tracing::info!("following timeline {timeline} behind op {}; durable up to op {}", start.after.0, start.durable_op);
    }

    fn shipper(&self, spool: Spool, start: &Start) -> Shipper {
        let (log, timeline) = (&self.plan.log, start.lineage.timeline());
        // Segments that were found damaged before the log was joined are read again as far as they
        // lie after the place where it joins.
        let (after_op, started) = (start.after.0, Arc::new(AtomicBool::new(false)));
        let is_started = Arc::clone(&started);
        let options =
            ShipOptions { memory_bytes: log.memory_bytes, spool_after: log.spool_after, uploads: log.uploads, ..ShipOptions::default() };
        let (board, leading) = (Arc::clone(&self.board), Arc::clone(&self.board));
        let observe = move |event: Event| match event {
            Event::Durable(durable) => {
                // Segments of another history that an earlier session left are stored too, but say
                // nothing about this history.
                if durable.entry.name.timeline == timeline {
                    let read = board.durable(durable.last.op, durable.last.timestamp_ns);
                    log_durable(&durable, board.clock().since(durable.offered), read);
                }
            }
            Event::Damaged(damaged) => {
                let SegmentName { first_op, mut last_op, .. } = damaged.name;
                tracing::error!("{}: {}", damaged.name.object(), damaged.reason);
                if !is_started.load(Ordering::Acquire) {
                    last_op = last_op.min(after_op);
                }
                if damaged.name.timeline == timeline && first_op <= last_op {
                    board.gap(Gap { timeline, first_op, last_op, noticed_ns: board.clock().now_ns(), reason: damaged.reason });
                }
            }
            Event::Alert(text) => tracing::warn!("{text}"),
        };
        let hooks = Hooks { may_ship: Box::new(move || leading.is_leading()), observe: Box::new(observe) };
        let shipper = Shipper::new(Arc::clone(&self.checked.repository), Some(spool), options, hooks);
        started.store(true, Ordering::Release);
        shipper
    }

    fn lease_holder(&self, shipper: &Arc<Shipper>, timeline: u32, ready: &Arc<AtomicBool>) -> LeaseHolder {
        let (repository, plan, holder) = (&self.checked.repository, self.plan.lease.clone(), self.holder.clone());
        LeaseHolder::new(repository, shipper, &self.board, plan, timeline, holder, ready)
    }

    fn checkpoints(&self, start: &Start) -> CheckpointWorker {
        let from = CheckpointSource { data_file: self.plan.data_file.clone(), read: self.plan.read, lineage: start.lineage.clone() };
        let (repository, plan, merge_after_segments) =
            (&self.checked.repository, self.plan.checkpoint.clone(), self.plan.log.merge_after_segments);
        CheckpointWorker::new(repository, &self.board, &self.jobs, from, plan, merge_after_segments)
    }

    fn follower(&self, start: &Start, file: Option<FileIdentity>, shipper: &Arc<Shipper>, ready: Arc<AtomicBool>) -> Result<Follower> {
        let (log, timeline, repository) = (&self.plan.log, start.lineage.timeline(), &self.checked.repository);
        let run = repository.new_shipping_run()?;
        let mut collector = Collector::new(repository, shipper, &self.board, timeline, run, log.flush_bytes, log.flush_interval);
        if let Some(stored) = start.stored {
            collector.skip_to(stored);
        }
        Ok(Follower {
            data_file: self.plan.data_file.clone(),
            read: self.plan.read,
            plan: log.clone(),
            collector,
            shipper: Arc::clone(shipper),
            board: Arc::clone(&self.board),
            timeline,
            ready,
            alone: self.checked.replica_count == 1,
            file,
        })
    }
}

impl Beside {
    /// Gives each a thread.
    fn spawn(self) -> Result<()> {
        let Beside { shipper, mut lease_holder, mut checkpoints, stop } = self;
        shipper.begin_threads()?;
        let stopping = stop.clone();
        spawn("amber-lease", move || lease_holder.run(&stopping))?;
        spawn("amber-bulk", move || checkpoints.run(&stop)).map(drop)
    }
}

/// Logs what `perf/lag` measures: `waited_ms` is the time since the segment's oldest prepare was
/// read, and `shipping_ms` is the part of it since the segment was sealed.
fn log_durable(durable: &Durable, shipping: Duration, read: Option<Duration>) {
    let (waited_ms, shipping_ms) = (read.unwrap_or(shipping).as_millis() as u64, shipping.as_millis() as u64);
    let (first_op, last_op) = (durable.entry.name.first_op, durable.entry.name.last_op);
    tracing::debug!(first_op, last_op, stored_bytes = durable.entry.stored_bytes, waited_ms, shipping_ms, "durable");
}

#[cfg(test)]
mod tests;
