//! One session: joins the log to what is stored, and ships it until something ends that.
//!
//! ```text
//! join -> follower (this thread) -> collector -> shipper -> durable
//!         lease_holder: the lease   checkpoints: checkpoints, merging   reporter: status
//! ```
//!
//! A session has one timeline and one data file. When the file is replaced, or the log turns out to
//! be another history, the session ends and the next one joins again. In between, what waits to be
//! shipped goes to the spool.

use super::checkpoints::{CheckpointSource, CheckpointWorker, record_gaps};
use super::collector::Collector;
use super::follower::{Ended, FileIdentity, Follower, identity};
use super::lease_holder::{Holder, LeaseHolder};
use super::queue::Durable;
use super::shipper::Shipper;
use super::spool::Spool;
use crate::config::AgentConfig;
use crate::error::{Error, Kind, Result};
use crate::jobs::Jobs;
use crate::log_shipping::ship_options::Event;
use crate::log_shipping::ship_options::Hooks;
use crate::log_shipping::ship_options::ShipOptions;
use crate::monitor::alert::Topic;
use crate::monitor::status::{AgentState, CheckpointStatus, GapStatus};
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::name::{SegmentName, TIMELINE_FIRST};
use crate::stop::Stop;
use crate::tb_format::header::PrepareId;
use crate::tb_format::superblock::SuperBlock;
use crate::threads::spawn;
use crate::tier::tigerbeetle::capture::join::{Joined, checkpoint_end, join_file};
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

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

/// Pause before another try after the log could not be joined.
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// How long draining may take where another session follows.
const REJOIN_DRAIN: Duration = Duration::from_secs(5);
/// How long the end of the agent waits for the lease to be released.
const RELEASE_GRACE: Duration = Duration::from_secs(3);

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
}

/// Where reading the log begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    lineage: Lineage,
    /// Reading begins after this prepare.
    after: PrepareId,
    /// Everything up to this prepare is already stored, and must be the same.
    stored: Option<PrepareId>,
    /// The last op that is durable.
    durable_op: u64,
    gap: Option<Gap>,
    /// Why a checkpoint is wanted at once.
    wanted: Option<String>,
    /// What the repository knows of this history.
    stored_history: StoredHistory,
}

/// What the repository knows of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct StoredHistory {
    gaps: Vec<Gap>,
    checkpoint: Option<CheckpointStatus>,
}

impl Agent {
    /// Runs one session.
    ///
    /// # Errors
    /// An error that another session would not fix: the data file or the repository is not what it
    /// must be.
    pub fn session(&self, stop: &Stop) -> Result<Ended> {
        let file = identity(&self.plan.data_file);
        let folder = self.plan.state_directory.join("spool");
        let spool = Spool::open(&self.checked.repository, &folder, self.plan.log.spool_bytes)?;
        let Some(start) = self.join(&spool, stop)? else { return Ok(Ended::Stopped) };
        self.begin(&start, &spool);
        let shipper = Arc::new(self.shipper(spool, &start)?);
        let seen: Weak<Shipper> = Arc::downgrade(&shipper);
        self.board.watch(seen);
        let ready = Arc::new(AtomicBool::new(false));
        let session_stop = Stop::default();
        let lease_holder = self.start_lease_holder(&shipper, start.lineage.timeline(), &ready, &session_stop)?;
        self.checked.repository.governor().resume();
        self.start_bulk(&start, &session_stop)?;
        let followed = self.follow(&start, file, &shipper, ready, stop);
        self.board.set_idle();
        self.board.change(|status| status.state = AgentState::Stopping);
        let ends = !matches!(followed, Ok(Ended::Rejoin(_)));
        // The log grows meanwhile. If another session follows, it ships what is in the spool by
        // then.
        let drained = shipper.drain(if ends { self.plan.process.shutdown } else { self.plan.process.shutdown.min(REJOIN_DRAIN) });
        tracing::info!("{} segments wait in the spool, {} threads are still in a request", drained.spool_segments, drained.threads_left);
        if !drained.lost.is_empty() {
            tracing::warn!("{} segments could be kept nowhere; the next start reads them again", drained.lost.len());
        }
        self.board.unwatch(&*shipper);
        if self.board.is_leading() && shipper.counters().unreachable_for.is_none() {
            record_gaps(&self.checked.repository, &self.board);
        }
        // A running checkpoint is cancelled. It promises nothing any more.
        session_stop.ask();
        self.checked.repository.governor().release();
        let clock = self.board.clock();
        let began = clock.now();
        // The next session takes the lease itself, so this session must have released it. When the
        // agent ends, the end of the process also ends the lease.
        while !(lease_holder.is_finished() || ends && clock.since(began) >= RELEASE_GRACE) {
            clock.sleep(Duration::from_millis(5));
        }
        followed
    }

    /// Determines where the log joins what is stored, and retries until that is clear. `None` when
    /// it is asked to stop meanwhile.
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
            if stop.wait(JOIN_PAUSE) {
                return Ok(None);
            }
        }
    }

    fn try_join(&self, spool: &Spool) -> Result<Start> {
        let repository = &self.checked.repository;
        let (superblock, joined) = join_file(repository, Some(spool.repository()), &self.plan.data_file, self.plan.read)?;
        self.check_replicas(&superblock)?;
        let timelines = repository.timelines()?;
        let start = |timeline: u32, after: PrepareId| -> Result<Start> {
            let lineage = Lineage::of(&timelines, timeline)?;
            let stored_history = self.stored_history(&lineage)?;
            Ok(Start { lineage, after, stored: None, durable_op: after.0, gap: None, wanted: None, stored_history })
        };
        let behind_checkpoint = checkpoint_end(&superblock);
        let mut start = match joined {
            Joined::Empty => Start { wanted: Some("nothing is stored yet".to_owned()), ..start(TIMELINE_FIRST, behind_checkpoint)? },
            Joined::Continues { timeline, after } => start(timeline, after)?,
            Joined::Behind { timeline, after, stored } => {
                check_whole(&[repository, spool.repository()], timeline, after.0, stored.0)?;
                Start { stored: Some(stored), durable_op: stored.0, ..start(timeline, after)? }
            }
            Joined::Gap { timeline, stored_op } => {
                let gap = Gap {
                    timeline,
                    first_op: stored_op.saturating_add(1),
                    last_op: behind_checkpoint.0,
                    noticed_ns: self.board.clock().now_ns(),
                    reason: "the ring was overwritten before an agent read it".into(),
                };
                let wanted = Some("a gap".to_owned());
                Start { durable_op: stored_op, gap: Some(gap), wanted, ..start(timeline, behind_checkpoint)? }
            }
            Joined::Branches(branch) => {
                if !repository.begin_timeline(&branch)? {
                    return Err(Error::try_again("another agent has begun a timeline just now: joining that"));
                }
                tracing::warn!("timeline {} begins: {}", branch.timeline, branch.reason);
                return Err(Error::try_again(format!("timeline {} has begun: joining it", branch.timeline)));
            }
        };
        repository.bind_cluster(self.checked.cluster)?;
        // What is in the spool is durable only when the store has it.
        let timeline = start.lineage.timeline();
        if let Some(first) = spool.found().iter().find(|found| found.name.timeline == timeline) {
            start.durable_op = start.durable_op.min(first.name.first_op.saturating_sub(1));
        }
        Ok(start)
    }

    fn stored_history(&self, lineage: &Lineage) -> Result<StoredHistory> {
        let repository = &self.checked.repository;
        let (mut gaps, damaged) = repository.gaps()?;
        for name in damaged {
            tracing::warn!("{name}: the record of a gap is damaged; `amber verify` says more");
        }
        gaps.retain(|gap| lineage.holds(gap.timeline, gap.first_op));
        let newest = repository.newest_checkpoint_of(lineage)?.best;
        Ok(StoredHistory { gaps, checkpoint: newest.map(|(_, summary)| CheckpointStatus::from(&summary)) })
    }

    /// Refuses a fork with another number of replicas, which would otherwise be taken for the
    /// cluster.
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

    /// Writes the state at the beginning of the session on the board.
    fn begin(&self, start: &Start, spool: &Spool) {
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

    fn shipper(&self, spool: Spool, start: &Start) -> Result<Shipper> {
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
        let shipper = Shipper::start(Arc::clone(&self.checked.repository), Some(spool), options, hooks)?;
        started.store(true, Ordering::Release);
        Ok(shipper)
    }

    fn start_lease_holder(&self, shipper: &Arc<Shipper>, timeline: u32, ready: &Arc<AtomicBool>, stop: &Stop) -> Result<JoinHandle<()>> {
        let stop = stop.clone();
        let (repository, plan, holder) = (&self.checked.repository, self.plan.lease.clone(), self.holder.clone());
        let mut lease_holder = LeaseHolder::new(repository, shipper, &self.board, plan, timeline, holder, ready);
        spawn("amber-lease", move || lease_holder.run(&stop))
    }

    fn start_bulk(&self, start: &Start, stop: &Stop) -> Result<()> {
        let stop = stop.clone();
        let from = CheckpointSource { data_file: self.plan.data_file.clone(), read: self.plan.read, lineage: start.lineage.clone() };
        let (repository, plan, merge_after_segments) =
            (&self.checked.repository, self.plan.checkpoint.clone(), self.plan.log.merge_after_segments);
        let mut bulk = CheckpointWorker::new(repository, &self.board, &self.jobs, from, plan, merge_after_segments);
        spawn("amber-bulk", move || bulk.run(&stop)).map(|_| ())
    }

    fn follow(
        &self,
        start: &Start,
        file: Option<FileIdentity>,
        shipper: &Arc<Shipper>,
        ready: Arc<AtomicBool>,
        stop: &Stop,
    ) -> Result<Ended> {
        let log = &self.plan.log;
        let timeline = start.lineage.timeline();
        let run = self.checked.repository.new_shipping_run()?;
        let repository = &self.checked.repository;
        let mut collector = Collector::new(repository, shipper, &self.board, timeline, run, log.flush_bytes, log.flush_interval);
        if let Some(stored) = start.stored {
            collector.skip_to(stored);
        }
        let mut follower = Follower {
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
        };
        follower.run(start.after, stop)
    }
}

/// Checks that the stored log has no hole up to `stored_op`. A replica that is behind what is
/// stored does not read again what is already there, so all of it must be there. Segments after a
/// hole may be what a killed agent left.
fn check_whole(repositories: &[&Repository], timeline: u32, after_op: u64, stored_op: u64) -> Result<()> {
    let mut reach_op = after_op;
    loop {
        let before_op = reach_op;
        for repository in repositories {
            reach_op = reach_op.max(LogIndex::list(repository, &Lineage::only(timeline), reach_op)?.reach(reach_op));
        }
        if reach_op >= stored_op {
            return Ok(());
        }
        if reach_op == before_op {
            return Err(Error::try_again(format!(
                "op {} is not stored, what comes after it is, and the replica has not come so far yet: waiting for it",
                reach_op.saturating_add(1)
            )));
        }
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
