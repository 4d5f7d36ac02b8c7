//! One session: from joining the log to what is stored until something ends that.
//!
//! ```text
//! join -> follower (this thread) -> collector -> shipper -> durable
//!         keeper: the lease       bulk: checkpoints, merging       reporter: status
//! ```
//!
//! A session knows one timeline and one data file. When the file is replaced, or the log turns out to be another history, the session ends and the next one
//! joins anew; what waits to be shipped goes to the spool in between.

use super::backlog::Durable;
use super::board::{Board, Topic};
use super::bulk::Bulk;
use super::check::Checked;
use super::collector::Collector;
use super::follow::{Ended, Follower};
use super::keeper::{Holder, Keeper};
use super::shipper::{Event, Hooks, ShipOptions, Shipper};
use super::signals::Stop;
use super::spool::Spool;
use super::status::{AgentState, CheckpointStatus};
use crate::config::Plan;
use crate::error::{Error, Kind, Result};
use crate::ledger::superblock::SuperBlock;
use crate::repository::gap::Gap;
use crate::repository::log::PrepareId;
use crate::repository::name::TIMELINE_FIRST;
use crate::repository::timeline::Lineage;
use crate::source::file::ReadOptions;
use crate::tier::tigerbeetle::join::{Joined, checkpoint_end, join_file};
use crate::units::now_ns;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause before what could not be joined is tried again.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// What a session is made of, and outlives it.
pub struct Agent {
    /// The configuration.
    pub plan: Plan,
    /// What the start found.
    pub checked: Checked,
    /// The board.
    pub board: Arc<Board>,
    /// How this agent calls itself.
    pub holder: Holder,
}

/// Where the log is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    lineage: Lineage,
    /// Read from behind this prepare.
    after: PrepareId,
    /// Up to here it is stored already, and must be the same.
    stored: Option<PrepareId>,
    /// What is durable.
    durable_op: u64,
    gap: Option<Gap>,
    /// Why a checkpoint is wanted at once.
    wanted: Option<String>,
}

impl Agent {
    /// Runs one session.
    ///
    /// # Errors
    /// What no further session would mend: the data file or the repository is not what it must be.
    pub fn session(&self, stop: &Stop) -> Result<Ended> {
        let folder = self.plan.state_directory.join("spool");
        let spool = Spool::open(&self.checked.repository, &folder, self.plan.log.spool_bytes)?;
        let Some(start) = self.join(&spool, stop)? else { return Ok(Ended::Stopped) };
        self.begin(&start)?;
        let shipper = Arc::new(self.shipper(spool, start.lineage.timeline())?);
        self.board.watch(&shipper);
        let ready = Arc::new(AtomicBool::new(false));
        let session_stop = Stop::default();
        let keeper = self.start_keeper(&shipper, start.lineage.timeline(), &ready, &session_stop)?;
        let bulk = self.start_bulk(&start, &session_stop)?;
        let followed = self.follow(&start, &shipper, ready, stop, &session_stop);
        self.board.change(|status| status.state = AgentState::Stopping);
        let drained = shipper.drain(self.plan.process.shutdown);
        tracing::info!("{} segments wait in the spool, {} threads are still in a request", drained.spool_segments, drained.threads_left);
        if !drained.lost.is_empty() {
            tracing::warn!("{} segments could be kept nowhere; the next start reads them again", drained.lost.len());
        }
        self.board.unwatch(&shipper);
        session_stop.ask();
        if let Ok(mut keeper) = keeper.join() {
            keeper.release();
        }
        if matches!(followed, Ok(Ended::Rejoin(_))) {
            // A checkpoint of the old history must not run on beside the new session.
            let _ = bulk.join();
        }
        followed
    }

    /// Looks where the log joins what is stored, until that is clear; `None` when it is asked to stop meanwhile.
    fn join(&self, spool: &Spool, stop: &Stop) -> Result<Option<Start>> {
        loop {
            match self.try_join(spool) {
                Ok(start) => {
                    self.board.alert(Topic::Join, None);
                    return Ok(Some(start));
                }
                Err(error) if error.kind == Kind::TryAgain => self.board.alert(Topic::Join, Some(error.message)),
                Err(error) => return Err(error),
            }
            self.board.turned();
            if stop.wait(JOIN_PAUSE) {
                return Ok(None);
            }
        }
    }

    fn try_join(&self, spool: &Spool) -> Result<Start> {
        let repository = &self.checked.repository;
        let (superblock, joined) = join_file(repository, Some(spool.repository()), &self.plan.data_file, ReadOptions::default())?;
        self.check_replicas(&superblock)?;
        let lineage = |timeline| repository.timelines().and_then(|timelines| Lineage::of(&timelines, timeline));
        let behind_checkpoint = |timeline: u32, durable_op: u64, wanted: &str| -> Result<Start> {
            let after = checkpoint_end(&superblock);
            Ok(Start { lineage: lineage(timeline)?, after, stored: None, durable_op, gap: None, wanted: Some(wanted.to_owned()) })
        };
        Ok(match joined {
            Joined::Empty => behind_checkpoint(TIMELINE_FIRST, checkpoint_end(&superblock).0, "nothing is stored yet")?,
            Joined::Continues { timeline, after } => {
                Start { lineage: lineage(timeline)?, after, stored: None, durable_op: after.0, gap: None, wanted: None }
            }
            Joined::Behind { timeline, after, stored } => {
                Start { lineage: lineage(timeline)?, after, stored: Some(stored), durable_op: stored.0, gap: None, wanted: None }
            }
            Joined::Gap { timeline, stored_op } => {
                let mut start = behind_checkpoint(timeline, stored_op, "a gap")?;
                start.gap = Some(Gap {
                    timeline,
                    first_op: stored_op.saturating_add(1),
                    last_op: start.after.0,
                    noticed_ns: now_ns(),
                    reason: "the ring was overwritten before an agent read it".into(),
                });
                start
            }
            Joined::Branches(branch) => {
                if !repository.begin_timeline(&branch)? {
                    return Err(Error::try_again("another agent has begun a timeline just now: joining that"));
                }
                tracing::warn!("timeline {} begins: {}", branch.timeline, branch.reason);
                return Err(Error::try_again(format!("timeline {} has begun: joining it", branch.timeline)));
            }
        })
    }

    /// A fork of another size would be taken for the cluster.
    fn check_replicas(&self, superblock: &SuperBlock) -> Result<()> {
        let Some((name, summary)) = self.checked.repository.newest_checkpoint()?.best else { return Ok(()) };
        if summary.replica_count == superblock.replica_count() {
            return Ok(());
        }
        Err(Error::input(format!(
            "{}: it is of a cluster of {} replicas, {} of one of {}: a fork to look into (--solo) needs a repository of its own",
            self.plan.data_file.display(),
            superblock.replica_count(),
            name.object(),
            summary.replica_count
        )))
    }

    /// Puts on the board what the session begins with.
    fn begin(&self, start: &Start) -> Result<()> {
        let repository = &self.checked.repository;
        repository.bind_cluster(self.checked.cluster)?;
        let timeline = start.lineage.timeline();
        self.board.begin(timeline, start.durable_op);
        let (gaps, damaged) = repository.gaps()?;
        for name in damaged {
            tracing::warn!("{name}: the record of a gap is damaged; `amber verify` says more");
        }
        self.board.known_gaps(&gaps.into_iter().filter(|gap| start.lineage.holds(gap.timeline, gap.first_op)).collect::<Vec<_>>());
        let newest = repository.newest_checkpoint_of(&start.lineage)?.best;
        let last = newest.map(|(_, summary)| CheckpointStatus {
            op: summary.checkpoint_op,
            timeline: summary.timeline,
            ended_ns: summary.ended_ns,
        });
        self.board.change(|status| status.last_checkpoint = last);
        if let Some(gap) = start.gap.clone() {
            self.board.gap(gap);
        }
        if let Some(wanted) = &start.wanted {
            self.board.want_checkpoint(wanted.clone());
        }
        tracing::info!("following timeline {timeline} behind op {}; durable up to op {}", start.after.0, start.durable_op);
        Ok(())
    }

    fn shipper(&self, spool: Spool, timeline: u32) -> Result<Shipper> {
        let log = &self.plan.log;
        let options =
            ShipOptions { memory_bytes: log.memory_bytes, spool_after: log.spool_after, uploads: log.uploads, ..ShipOptions::default() };
        let (board, leading) = (Arc::clone(&self.board), Arc::clone(&self.board));
        let observe = move |event: Event| match event {
            Event::Durable(durable) => {
                // What an earlier session left of another history is stored too, and says nothing of this one.
                if durable.entry.name.timeline == timeline {
                    let read = board.durable(durable.last.op, durable.last.timestamp_ns);
                    log_durable(&durable, read);
                }
            }
            Event::Damaged(damaged) => tracing::error!("{}: {}", damaged.name.object(), damaged.reason),
            Event::Alert(text) => tracing::warn!("{text}"),
        };
        let hooks = Hooks { may_ship: Box::new(move || leading.is_leading()), observe: Box::new(observe) };
        Shipper::start(Arc::clone(&self.checked.repository), Some(spool), options, hooks)
    }

    fn start_keeper(&self, shipper: &Arc<Shipper>, timeline: u32, ready: &Arc<AtomicBool>, stop: &Stop) -> Result<JoinHandle<Keeper>> {
        let stop = stop.clone();
        let parts = (self.plan.lease.clone(), timeline, self.holder.clone());
        let mut keeper = Keeper::new(&self.checked.repository, shipper, &self.board, parts, ready);
        spawn("amber-lease", move || {
            keeper.run(&stop);
            keeper
        })
    }

    fn start_bulk(&self, start: &Start, stop: &Stop) -> Result<JoinHandle<()>> {
        let stop = stop.clone();
        let place = (self.plan.data_file.clone(), start.lineage.clone());
        let plan = (self.plan.checkpoint.clone(), self.plan.log.merge_after_segments);
        let mut bulk = Bulk::new(&self.checked.repository, &self.board, place, plan);
        spawn("amber-bulk", move || bulk.run(&stop))
    }

    fn follow(&self, start: &Start, shipper: &Arc<Shipper>, ready: Arc<AtomicBool>, stop: &Stop, session_stop: &Stop) -> Result<Ended> {
        let log = &self.plan.log;
        let timeline = start.lineage.timeline();
        let run = self.checked.repository.new_run()?;
        let flush = (log.flush_bytes, log.flush_interval);
        let mut collector = Collector::new(&self.checked.repository, shipper, &self.board, (timeline, run), flush);
        if let Some(stored) = start.stored {
            collector.skip_to(stored);
        }
        let mut follower = Follower {
            data_file: self.plan.data_file.clone(),
            plan: log.clone(),
            collector,
            shipper: Arc::clone(shipper),
            board: Arc::clone(&self.board),
            timeline,
            ready,
        };
        let followed = follower.run(start.after, stop);
        if followed.is_err() {
            session_stop.ask();
        }
        followed
    }
}

/// What `perf/lag` measures by: `waited_ms` since the segment's oldest prepare was read, `shipping_ms` of them since it was sealed.
fn log_durable(durable: &Durable, read: Option<Duration>) {
    let shipping = durable.offered.elapsed();
    let (waited_ms, shipping_ms) = (read.unwrap_or(shipping).as_millis() as u64, shipping.as_millis() as u64);
    let (first_op, last_op) = (durable.entry.name.first_op, durable.entry.name.last_op);
    tracing::debug!(first_op, last_op, stored_bytes = durable.entry.stored_bytes, waited_ms, shipping_ms, "durable");
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|error| Error::try_again(format!("the system gives no more threads: {error}")))
}
