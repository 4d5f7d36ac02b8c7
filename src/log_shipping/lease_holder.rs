//! The lease: which of several agents ships.
//!
//! Flow: while this agent leads, [`LeaseHolder::run`] sends heartbeats. Otherwise it watches the
//! heartbeats of the leader. When it sees no new one for the time-out, by its own monotonic clock,
//! it takes the lease. While it stands by, it also learns how far the leader has stored the log, so
//! that this agent can drop what it has collected up to there. What remains when it takes over is
//! what the leader did not get to, and is shipped at once.
//!
//! A leader may send heartbeats and yet make no progress, because its replica is down while the
//! cluster continues. So an agent also takes the lease when it has held log for the time-out while
//! nothing more was stored. And a leader releases the lease when its replica's WAL ring was
//! overwritten before it was read, because another agent may have read what it has not. If no other
//! agent takes the lease, it takes the lease again.

use super::shipper::Shipper;
use crate::config::plan::LeasePlan;
use crate::error::Result;
use crate::monitor::alert::Topic;
use crate::monitor::status::LeaseStatus;
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::lease::{Lease, Seen};
use crate::stop::Stop;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest pause between two checks until the log has joined: at a start every moment counts.
const START_PAUSE: Duration = Duration::from_millis(250);
/// This many ops before the end of what the leader has stored are kept. A view change may still
/// replace them, and names do not show whether the leader has already stored their replacements.
const UNSETTLED_OPS: u64 = 64;

/// Watches the lease, and holds it when it can.
pub struct LeaseHolder {
    repository: Arc<Repository>,
    shipper: Arc<Shipper>,
    board: Arc<StatusBoard>,
    plan: LeasePlan,
    timeline: u32,
    holder: Holder,
    /// Set by the follower once its log is known to join what is stored; before that this agent
    /// must not lead.
    ready: Arc<AtomicBool>,
    /// Set when this agent holds no lease any more, and will take none in this session.
    released: Arc<AtomicBool>,
    lease: Option<Lease>,
    watched: Option<(Seen, Instant)>,
    /// The last op that was stored, and when this agent last saw it change or last had nothing more
    /// to store.
    stalled: (u64, Instant),
    /// Until then this agent leaves the lease to others.
    paused_until: Option<Instant>,
}

/// How this agent identifies itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// A text for people.
    pub text: String,
    /// A token that is the same at every start with one state directory, and that no other agent
    /// has.
    pub token: String,
}

impl LeaseHolder {
    /// Creates a lease holder for one session.
    pub fn new(
        repository: &Arc<Repository>,
        shipper: &Arc<Shipper>,
        board: &Arc<StatusBoard>,
        plan: LeasePlan,
        timeline: u32,
        holder: Holder,
        ready: &Arc<AtomicBool>,
    ) -> LeaseHolder {
        LeaseHolder {
            repository: Arc::clone(repository),
            shipper: Arc::clone(shipper),
            board: Arc::clone(board),
            plan,
            timeline,
            holder,
            ready: Arc::clone(ready),
            released: Arc::default(),
            lease: None,
            watched: None,
            stalled: (0, repository.clock().now()),
            paused_until: None,
        }
    }

    /// Set when this agent holds no lease any more, and will take none in this session: also when
    /// the holder is dropped, because its thread has ended.
    pub fn released(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.released)
    }

    /// Holds or watches the lease until it is asked to stop; then releases it.
    pub fn run(&mut self, stop: &Stop) {
        while let Some(pause) = self.step(stop) {
            stop.wait(self.repository.clock().wait(pause));
        }
    }

    /// Checks the lease once, and returns when to do so again. When it is asked to stop, it
    /// releases the lease, and there is no next time.
    pub fn step(&mut self, stop: &Stop) -> Option<Duration> {
        if stop.is_asked() {
            self.release();
            self.released.store(true, Ordering::Release);
            return None;
        }
        let placed = self.repository.confirm_place();
        let away = placed.as_ref().err().filter(|_| self.repository.is_away()).map(|error| error.message.clone());
        self.board.alert(Topic::Place, away);
        let turned = placed.and_then(|()| self.turn());
        let trouble = turned.err().map(|error| format!("the lease cannot be looked at: {error}"));
        self.board.alert(Topic::Lease, trouble);
        Some(if self.ready.load(Ordering::Acquire) { self.plan.heartbeat } else { START_PAUSE.min(self.plan.heartbeat / 8) })
    }

    /// Releases the lease, if it is held.
    pub fn release(&mut self) {
        self.board.lead(false, None);
        if let Some(lease) = self.lease.take()
            && let Err(error) = lease.release()
        {
            tracing::warn!("the lease could not be given up, others wait for its time-out: {error}");
        }
    }

    /// Checks the lease once, and takes it where it may.
    ///
    /// # Errors
    /// When the store cannot be reached. A leader continues to lead, because no other agent can
    /// take the lease either.
    pub fn turn(&mut self) -> Result<()> {
        if self.board.take_yield() && self.lease.is_some() {
            tracing::warn!("the lease is released: another agent may have read what this one has not");
            self.paused_until = Some(self.repository.clock().now() + 2 * self.plan.timeout);
            self.release();
        }
        if let Some(lease) = &mut self.lease {
            if lease.beat()? {
                return Ok(());
            }
            tracing::warn!("another agent has taken the lease (fencing number {} is over): standing by", lease.fence());
            self.lease = None;
            self.board.lead(false, None);
        }
        let seen = self.repository.lease(self.timeline)?;
        let stood_still = self.stood_still(seen.as_ref());
        let is_paused = self.paused_until.is_some_and(|until| self.repository.clock().now() < until);
        if self.ready.load(Ordering::Acquire) && !is_paused {
            match &seen {
                None => self.take(0)?,
                // It is our own lease, from before this process began. That process is dead,
                // because two processes cannot share a state directory.
                Some(seen) if seen.released || seen.token == self.holder.token => self.take(seen.fence)?,
                Some(seen) if stood_still >= self.plan.timeout => self.take(seen.fence)?,
                Some(seen) if self.leader_stalls() => {
                    tracing::warn!("{} leads, but stores nothing of what this agent has read", seen.holder);
                    self.take(seen.fence)?;
                }
                Some(_) => {}
            }
        }
        if self.lease.is_none() {
            let lease = seen.map(|seen| LeaseStatus { holder: seen.holder, fence: seen.fence, is_ours: false });
            self.board.lead(false, lease);
            self.follow_leader()?;
        }
        Ok(())
    }

    /// For how long no new heartbeat has been seen.
    fn stood_still(&mut self, seen: Option<&Seen>) -> Duration {
        match (seen, &self.watched) {
            (Some(seen), Some((watched, since))) if seen == watched => self.repository.clock().since(*since),
            _ => {
                self.watched = seen.cloned().map(|seen| (seen, self.repository.clock().now()));
                Duration::ZERO
            }
        }
    }

    /// Whether nothing more has been stored for the time-out, although there is more to store.
    fn leader_stalls(&mut self) -> bool {
        let status = self.board.status();
        if status.durable_op != self.stalled.0 || status.head_op <= status.durable_op {
            self.stalled = (status.durable_op, self.repository.clock().now());
        }
        self.repository.clock().since(self.stalled.1) >= self.plan.timeout
    }

    fn take(&mut self, after: u64) -> Result<()> {
        let Some(lease) = self.repository.take_lease(self.timeline, after, &self.holder.text, &self.holder.token)? else { return Ok(()) };
        tracing::info!("leading: this agent ships timeline {} under fencing number {}", self.timeline, lease.fence());
        // What the previous leader has stored need not be stored again.
        self.follow_leader()?;
        let status = LeaseStatus { holder: self.holder.text.clone(), fence: lease.fence(), is_ours: true };
        self.lease = Some(lease);
        self.board.lead(true, Some(status));
        Ok(())
    }

    /// Drops what the leader has stored. Segments after a hole in the stored log do not count.
    fn follow_leader(&self) -> Result<()> {
        let durable_op = self.board.status().durable_op;
        let reach = LogIndex::list(&self.repository, &Lineage::only(self.timeline), durable_op)?.reach(durable_op);
        self.shipper.forget_through(self.timeline, reach.saturating_sub(UNSETTLED_OPS));
        if reach > durable_op {
            self.board.durable(reach, 0);
        }
        Ok(())
    }
}

impl Drop for LeaseHolder {
    fn drop(&mut self) {
        self.released.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
