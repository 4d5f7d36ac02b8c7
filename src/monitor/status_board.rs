//! What the agent's threads know of one another: one board with the status as it stands, on which
//! each writes its own facts.
//!
//! Flow: the follower says what it has read and offered, the shipper what is durable, the keeper
//! who leads, the checkpoint thread what it did. The reporter reads all of it once a second.
//! Nothing here does I/O, so no thread ever waits for another's disk or store.

use super::status::{AgentStatus, CheckpointStatus, GapStatus, LeaseStatus};
use crate::threads::lock;
use crate::tier::tigerbeetle::format::gap::Gap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};
use std::time::{Duration, Instant};

/// What an alert is about; one stands for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The log has a hole.
    Gap,
    /// Checkpoints do not succeed.
    Checkpoint,
    /// Segments are not merged.
    Merge,
    /// The lease cannot be kept.
    Lease,
    /// The recovery point is older than it may be.
    Lag,
    /// The limits leave too little for the log, or for a checkpoint in time.
    Limits,
    /// Where this agent and the repository join.
    Join,
    /// Records of runs and their events do not get on.
    Events,
    /// Jobs fail again and again.
    Jobs,
    /// What the newest verification found.
    Verification,
    /// The page cannot be served.
    Page,
}

/// What ships the log, as far as the status tells of it.
pub trait ShipperView: Send + Sync {
    /// Segments and bytes that it has shipped.
    fn shipped(&self) -> (u64, u64);
    /// Adds what waits, what was shipped and what is wrong to the status.
    fn add_to(&self, status: &mut AgentStatus);
}

#[derive(Default)]
struct Facts {
    status: AgentStatus,
    alerts: BTreeMap<Topic, String>,
    /// For each offered segment that is not durable: its last op, and when its oldest prepare was
    /// read.
    offered: VecDeque<(u64, Instant)>,
    /// When the oldest prepare was read that is not offered yet.
    collecting: Option<Instant>,
    /// When the follower turned last.
    turned: Option<Instant>,
    /// Gaps that the repository does not know of yet.
    unrecorded: Vec<Gap>,
    /// Why a checkpoint is wanted at once.
    wanted: Option<String>,
    /// What ships now, and what earlier sessions shipped: segments and bytes.
    shipper: Option<Weak<dyn ShipperView>>,
    shipped_before: (u64, u64),
}

/// The board.
#[derive(Default)]
pub struct StatusBoard {
    facts: Mutex<Facts>,
    leading: AtomicBool,
    yields: AtomicBool,
}

impl StatusBoard {
    /// Changes the status.
    pub fn change(&self, change: impl FnOnce(&mut AgentStatus)) {
        change(&mut lock(&self.facts).status);
    }

    /// The status as it stands, with the lag as it is now and all alerts.
    pub fn status(&self) -> AgentStatus {
        let facts = lock(&self.facts);
        let mut status = facts.status.clone();
        let oldest = facts.offered.front().map(|(_, read)| *read).or(facts.collecting);
        status.lag_ms = oldest.map_or(0, |read| read.elapsed().as_millis() as u64);
        status.lag_ops = status.head_op.saturating_sub(status.durable_op);
        status.alerts = facts.alerts.values().cloned().collect();
        let (shipper, (segments, bytes)) = (facts.shipper.as_ref().and_then(Weak::upgrade), facts.shipped_before);
        drop(facts);
        (status.segments_shipped, status.stored_bytes) = (segments, bytes);
        if let Some(shipper) = shipper {
            shipper.add_to(&mut status);
        }
        status
    }

    /// This is what ships now.
    pub fn watch(&self, shipper: Weak<dyn ShipperView>) {
        lock(&self.facts).shipper = Some(shipper);
    }

    /// It ships no more.
    pub fn unwatch(&self, shipper: &dyn ShipperView) {
        let (segments, bytes) = shipper.shipped();
        let mut facts = lock(&self.facts);
        facts.shipper = None;
        facts.shipped_before.0 += segments;
        facts.shipped_before.1 += bytes;
    }

    /// Raises an alert, or takes it back.
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

    /// Says whether this agent ships, and who holds the lease.
    pub fn lead(&self, leading: bool, lease: Option<LeaseStatus>) {
        self.leading.store(leading, Ordering::Release);
        lock(&self.facts).status.lease = lease;
    }

    /// Asks for the lease to be laid down, because another agent may have what this one has not.
    pub fn yield_lease(&self) {
        self.leading.store(false, Ordering::Release);
        self.yields.store(true, Ordering::Release);
    }

    /// Whether that was asked for since the last time.
    pub fn take_yield(&self) -> bool {
        self.yields.swap(false, Ordering::AcqRel)
    }

    /// The follower is alive.
    pub fn turned(&self) {
        lock(&self.facts).turned = Some(Instant::now());
    }

    /// How long ago the follower turned last; `None` before its first turn and after its last.
    pub fn since_turn(&self) -> Option<Duration> {
        lock(&self.facts).turned.map(|turned| turned.elapsed())
    }

    /// The follower has read up to a prepare; `collecting` is when it read the oldest that it has
    /// not offered.
    pub fn read(&self, (op, timestamp_ns): (u64, u64), commit_known_op: u64, bytes_read: u64, collecting: Option<Instant>) {
        let mut facts = lock(&self.facts);
        facts.collecting = collecting;
        facts.turned = Some(Instant::now());
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

    /// Everything up to an op is durable. How long ago the oldest of what became durable was read,
    /// if this session read it.
    pub fn durable(&self, op: u64, timestamp_ns: u64) -> Option<Duration> {
        let mut facts = lock(&self.facts);
        // After a view change a later segment may end at an earlier op: it is not durable because
        // the one before it is.
        let count = match facts.offered.iter().position(|(last_op, _)| *last_op == op) {
            Some(position) => position + 1,
            None => facts.offered.iter().take_while(|(last_op, _)| *last_op <= op).count(),
        };
        let oldest_read = facts.offered.drain(..count).next().map(|(_, read)| read);
        // After a view change the log may go on from an earlier op.
        (facts.status.durable_op, facts.status.durable_timestamp_ns) = (op, timestamp_ns);
        oldest_read.map(|read| read.elapsed())
    }

    /// Where a session begins: this is what the repository holds, and up to here the log has been
    /// read.
    pub fn begin(&self, timeline: u32, durable_op: u64, head_op: u64) {
        let mut facts = lock(&self.facts);
        facts.offered.clear();
        (facts.collecting, facts.turned) = (None, None);
        let status = &mut facts.status;
        (status.timeline, status.durable_op, status.durable_timestamp_ns) = (timeline, durable_op, 0);
        (status.head_op, status.head_timestamp_ns) = (head_op.max(durable_op), 0);
    }

    /// Nobody follows the log just now, so nobody turns.
    pub fn rests(&self) {
        lock(&self.facts).turned = None;
    }

    /// A checkpoint was taken.
    pub fn checkpoint(&self, checkpoint: CheckpointStatus) {
        lock(&self.facts).status.last_checkpoint = Some(checkpoint);
    }

    /// Wants a checkpoint at once.
    pub fn want_checkpoint(&self, why: impl Into<String>) {
        lock(&self.facts).wanted.get_or_insert(why.into());
    }

    /// Why a checkpoint is wanted at once.
    pub fn wanted(&self) -> Option<String> {
        lock(&self.facts).wanted.clone()
    }

    /// Takes the wish for a checkpoint that begins now. What is wished while it runs stays, and
    /// whoever fails wishes again.
    pub fn take_wanted(&self) -> Option<String> {
        lock(&self.facts).wanted.take()
    }

    /// A hole in the log was noticed: it is told, recorded when the store can be reached, and
    /// closed by a checkpoint.
    pub fn gap(&self, gap: Gap) {
        let text = format!(
            "ops {} to {} are lost to the log ({}): they cannot be restored one by one; a checkpoint closes the gap",
            gap.first_op, gap.last_op, gap.reason
        );
        self.alert(Topic::Gap, Some(text));
        let mut facts = lock(&self.facts);
        facts.status.gaps.push(gap_status(&gap));
        facts.wanted.get_or_insert(format!("a gap at op {}", gap.first_op));
        facts.unrecorded.push(gap);
    }

    /// Gaps that the repository already knows; those that it does not know yet stay.
    pub fn known_gaps(&self, gaps: &[Gap]) {
        let mut facts = lock(&self.facts);
        facts.status.gaps = gaps.iter().chain(&facts.unrecorded).map(gap_status).collect();
    }

    /// What looked like a gap is none: somebody has stored it.
    pub fn no_gap(&self, gap: &Gap) {
        lock(&self.facts).status.gaps.retain(|known| *known != gap_status(gap));
    }

    /// Gaps that must be recorded; they are the caller's now, who gives back what it could not
    /// record.
    pub fn take_unrecorded(&self) -> Vec<Gap> {
        std::mem::take(&mut lock(&self.facts).unrecorded)
    }

    /// Gives gaps back that could not be recorded.
    pub fn give_back(&self, gaps: Vec<Gap>) {
        lock(&self.facts).unrecorded.splice(..0, gaps);
    }
}

fn gap_status(gap: &Gap) -> GapStatus {
    GapStatus { first_op: gap.first_op, last_op: gap.last_op, noticed_ns: gap.noticed_ns, reason: gap.reason.clone() }
}

#[cfg(test)]
mod tests;
