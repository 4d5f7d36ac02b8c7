//! What the agent's threads know about one another: one board with the current status, to which
//! each thread writes its own facts.
//!
//! Flow: the follower reports what it has read and offered, the shipper what is durable, the lease
//! holder who leads, the checkpoint thread what it did. The reporter reads all of it once a second.
//! Nothing here does I/O, so no thread ever waits for another's disk or store.

use super::alert::{Alert, Topic};
use super::status::{AgentStatus, CheckpointStatus, GapStatus, LeaseStatus};
use crate::host::Clock;
use crate::threads::lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};
use std::time::{Duration, Instant};

/// A gap that was noticed, and the timeline that lacks its ops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticedGap {
    /// The timeline.
    pub timeline: u32,
    /// The gap.
    pub gap: GapStatus,
}

/// The shipper as the status sees it.
pub trait ShipperView: Send + Sync {
    /// How many segments and bytes it has shipped.
    fn shipped(&self) -> (u64, u64);
    /// Adds to the status what waits, what was shipped and what is wrong.
    fn add_to(&self, status: &mut AgentStatus);
}

#[derive(Default)]
struct Facts {
    status: AgentStatus,
    alerts: BTreeMap<Topic, String>,
    /// For each offered segment that is not durable: its last op, and when its oldest prepare was
    /// read.
    offered: VecDeque<(u64, Instant)>,
    /// When the oldest prepare that is not offered yet was read.
    collecting: Option<Instant>,
    /// When the follower last completed a turn.
    turned: Option<Instant>,
    /// Gaps that are not recorded in the repository yet.
    unrecorded: Vec<NoticedGap>,
    /// The worst lag since it was last asked for.
    worst_lag_ms: u64,
    /// Why a checkpoint is wanted at once.
    wanted: Option<String>,
    /// The current shipper. `shipped_before` holds the segments and bytes that earlier sessions
    /// shipped.
    shipper: Option<Weak<dyn ShipperView>>,
    shipped_before: (u64, u64),
}

/// The facts of all threads; see the head of this module.
#[derive(Default)]
pub struct StatusBoard {
    clock: Clock,
    facts: Mutex<Facts>,
    leading: AtomicBool,
    yields: AtomicBool,
}

impl StatusBoard {
    /// An empty board, whose times come from this clock.
    pub fn new(clock: Clock) -> StatusBoard {
        StatusBoard { clock, ..StatusBoard::default() }
    }

    /// The clock of its times.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Changes the status.
    pub fn change(&self, change: impl FnOnce(&mut AgentStatus)) {
        change(&mut lock(&self.facts).status);
    }

    /// The current status, with the lag at this moment and all alerts.
    pub fn status(&self) -> AgentStatus {
        let facts = lock(&self.facts);
        let mut status = facts.status.clone();
        let oldest = facts.offered.front().map(|(_, read)| *read).or(facts.collecting);
        status.lag_ms = oldest.map_or(0, |read| self.clock.since(read).as_millis() as u64);
        status.lag_ops = status.head_op.saturating_sub(status.durable_op);
        status.alerts = facts.alerts.iter().map(|(topic, text)| Alert::new(*topic, text)).collect();
        let (shipper, (segments, bytes)) = (facts.shipper.as_ref().and_then(Weak::upgrade), facts.shipped_before);
        drop(facts);
        (status.segments_shipped, status.stored_bytes) = (segments, bytes);
        if let Some(shipper) = shipper {
            shipper.add_to(&mut status);
        }
        status
    }

    /// Notes the lag of this moment, for [`StatusBoard::take_worst_lag`].
    pub fn note_lag(&self, lag_ms: u64) {
        let mut facts = lock(&self.facts);
        facts.worst_lag_ms = facts.worst_lag_ms.max(lag_ms);
    }

    /// The worst lag that was noted since this was last asked for, in milliseconds.
    pub fn take_worst_lag(&self) -> u64 {
        std::mem::take(&mut lock(&self.facts).worst_lag_ms)
    }

    /// Sets the shipper whose figures the status shows.
    pub fn watch(&self, shipper: Weak<dyn ShipperView>) {
        lock(&self.facts).shipper = Some(shipper);
    }

    /// Removes the shipper, and adds its totals to those of earlier sessions.
    pub fn unwatch(&self, shipper: &dyn ShipperView) {
        let (segments, bytes) = shipper.shipped();
        let mut facts = lock(&self.facts);
        facts.shipper = None;
        facts.shipped_before.0 += segments;
        facts.shipped_before.1 += bytes;
    }

    /// Raises an alert (with a text) or clears it (without one).
    pub fn alert(&self, topic: Topic, text: Option<String>) {
        let mut facts = lock(&self.facts);
        match text {
            Some(text) => {
                if facts.alerts.insert(topic, text.clone()).as_ref() != Some(&text) {
                    tracing::warn!("{text}");
                }
            }
            None => drop(facts.alerts.remove(&topic)),
        }
    }

    /// Whether this agent ships.
    pub fn is_leading(&self) -> bool {
        self.leading.load(Ordering::Acquire)
    }

    /// The fencing number under which this agent ships, while it does.
    pub fn fence(&self) -> Option<u64> {
        let facts = lock(&self.facts);
        facts.status.lease.as_ref().filter(|lease| lease.is_ours && self.is_leading()).map(|lease| lease.fence)
    }

    /// Sets whether this agent ships, and who holds the lease.
    pub fn lead(&self, leading: bool, lease: Option<LeaseStatus>) {
        self.leading.store(leading, Ordering::Release);
        lock(&self.facts).status.lease = lease;
    }

    /// Asks for the lease to be released, because another agent may have ops that this one lacks.
    pub fn yield_lease(&self) {
        self.leading.store(false, Ordering::Release);
        self.yields.store(true, Ordering::Release);
    }

    /// Whether the release was asked for since the last call.
    pub fn take_yield(&self) -> bool {
        self.yields.swap(false, Ordering::AcqRel)
    }

    /// The follower has completed a turn, so it is alive.
    pub fn turned(&self) {
        lock(&self.facts).turned = Some(self.clock.now());
    }

    /// How long ago the follower last completed a turn; `None` before its first turn and after its
    /// last.
    pub fn since_turn(&self) -> Option<Duration> {
        lock(&self.facts).turned.map(|turned| self.clock.since(turned))
    }

    /// The follower has read up to a prepare; `collecting` is when it read the oldest that it has
    /// not offered.
    pub fn read(&self, op: u64, timestamp_ns: u64, commit_known_op: u64, bytes_read: u64, collecting: Option<Instant>) {
        let mut facts = lock(&self.facts);
        facts.collecting = collecting;
        facts.turned = Some(self.clock.now());
        let status = &mut facts.status;
        (status.head_op, status.head_timestamp_ns, status.commit_known_op, status.log_bytes_read) =
            (op, timestamp_ns, commit_known_op, bytes_read);
    }

    /// A segment was offered.
    pub fn offered(&self, last_op: u64, oldest_read: Instant) {
        let mut facts = lock(&self.facts);
        facts.collecting = None;
        facts.offered.push_back((last_op, oldest_read));
    }

    /// Everything up to an op is durable. Returns how long ago the oldest prepare that became
    /// durable was read, if this session read it.
    pub fn durable(&self, op: u64, timestamp_ns: u64) -> Option<Duration> {
        let mut facts = lock(&self.facts);
        // After a view change a later segment may end at an earlier op. So a segment is not durable
        // merely because an earlier segment with a higher op is.
        let count = match facts.offered.iter().position(|(last_op, _)| *last_op == op) {
            Some(position) => position + 1,
            None => facts.offered.iter().take_while(|(last_op, _)| *last_op <= op).count(),
        };
        let oldest_read = facts.offered.drain(..count).next().map(|(_, read)| read);
        // After a view change the log may continue from an earlier op.
        (facts.status.durable_op, facts.status.durable_timestamp_ns) = (op, timestamp_ns);
        oldest_read.map(|read| self.clock.since(read))
    }

    /// A session begins: sets up to which op the repository holds the log, and up to which op the
    /// log has been read.
    pub fn begin(&self, timeline: u32, durable_op: u64, head_op: u64) {
        let mut facts = lock(&self.facts);
        facts.offered.clear();
        (facts.collecting, facts.turned) = (None, None);
        let status = &mut facts.status;
        (status.timeline, status.durable_op, status.durable_timestamp_ns) = (timeline, durable_op, 0);
        (status.head_op, status.head_timestamp_ns) = (head_op.max(durable_op), 0);
    }

    /// The follower pauses, so it completes no turns and is not taken for hung.
    pub fn set_idle(&self) {
        lock(&self.facts).turned = None;
    }

    /// A checkpoint was taken.
    pub fn checkpoint(&self, checkpoint: CheckpointStatus) {
        lock(&self.facts).status.last_checkpoint = Some(checkpoint);
    }

    /// Requests a checkpoint at once. A reason that is there already is kept.
    pub fn want_checkpoint(&self, why: impl Into<String>) {
        lock(&self.facts).wanted.get_or_insert(why.into());
    }

    /// Why a checkpoint is wanted at once.
    pub fn wanted(&self) -> Option<String> {
        lock(&self.facts).wanted.clone()
    }

    /// Takes the request for a checkpoint that begins now. A request made while it runs is kept. A
    /// caller whose checkpoint fails requests it again.
    pub fn take_wanted(&self) -> Option<String> {
        lock(&self.facts).wanted.take()
    }

    /// A gap in the log was noticed. It is reported at once, recorded when the store can be
    /// reached, and closed by a checkpoint.
    pub fn gap(&self, gap: impl Into<NoticedGap>) {
        let gap: NoticedGap = gap.into();
        let text = format!(
            "ops {} to {} are lost to the log ({}): they cannot be restored one by one; a checkpoint closes the gap",
            gap.gap.first_op, gap.gap.last_op, gap.gap.reason
        );
        self.alert(Topic::Gap, Some(text));
        let mut facts = lock(&self.facts);
        facts.status.gaps.push(gap.gap.clone());
        facts.wanted.get_or_insert(format!("a gap at op {}", gap.gap.first_op));
        facts.unrecorded.push(gap);
    }

    /// Sets the gaps that the repository has recorded. Those that it has not recorded yet stay.
    pub fn known_gaps(&self, gaps: Vec<GapStatus>) {
        let mut facts = lock(&self.facts);
        let unrecorded: Vec<GapStatus> = facts.unrecorded.iter().map(|noticed| noticed.gap.clone()).collect();
        facts.status.gaps = [gaps, unrecorded].concat();
    }

    /// A suspected gap is none: another agent has stored these ops.
    pub fn no_gap(&self, gap: &NoticedGap) {
        lock(&self.facts).status.gaps.retain(|known| *known != gap.gap);
    }

    /// Takes the gaps that must be recorded. The caller returns those that it could not record with
    /// [`StatusBoard::return_unrecorded`].
    pub fn take_unrecorded(&self) -> Vec<NoticedGap> {
        std::mem::take(&mut lock(&self.facts).unrecorded)
    }

    /// Returns gaps that could not be recorded, to be taken again.
    pub fn return_unrecorded(&self, gaps: Vec<NoticedGap>) {
        lock(&self.facts).unrecorded.splice(..0, gaps);
    }
}

#[cfg(test)]
mod tests;
