//! Collects prepares into sealed segments, which end by size, by age, and at the end of a session.
//!
//! Flow: the follower hands each prepare to [`Collector::take`], which seals and offers the segment
//! when the next prepare would not fit. After each poll the follower calls
//! [`Collector::flush_if_due`]. Where the shipper has no room left, the prepares are dropped, and
//! the first dropped op is noted ([`Collector::dropped`]); the follower then records a gap. What an
//! earlier agent or another agent has already stored ([`Collector::skip_to`]) is only compared.

use super::shipper::{Offer, Shipper};
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::tb_format::header::PrepareId;
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::segment::SegmentBuilder;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Turns prepares into segments.
pub struct Collector {
    repository: Arc<Repository>,
    shipper: Arc<Shipper>,
    board: Arc<StatusBoard>,
    timeline: u32,
    run: RunId,
    flush_bytes: usize,
    flush_interval: Duration,
    builder: SegmentBuilder,
    oldest: Option<Instant>,
    /// Everything up to and including this prepare is already stored.
    stored: Option<PrepareId>,
    /// The last prepare of the segment that the shipper took last.
    taken: Option<PrepareId>,
    /// The first op that found no room.
    dropped: Option<u64>,
    last: (u64, u64),
}

/// Whether a prepare belongs to the log that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// It does, or nothing that is stored says otherwise.
    Fits,
    /// At its op another prepare is stored: the log is of another history.
    OtherHistory,
}

impl Collector {
    /// Creates a collector for one session.
    pub fn new(
        repository: &Arc<Repository>,
        shipper: &Arc<Shipper>,
        board: &Arc<StatusBoard>,
        timeline: u32,
        run: RunId,
        flush_bytes: u64,
        flush_interval: Duration,
    ) -> Collector {
        Collector {
            repository: Arc::clone(repository),
            shipper: Arc::clone(shipper),
            board: Arc::clone(board),
            timeline,
            run,
            flush_bytes: usize::try_from(flush_bytes).unwrap_or(usize::MAX),
            flush_interval,
            builder: SegmentBuilder::default(),
            oldest: None,
            stored: None,
            taken: None,
            dropped: None,
            last: (0, 0),
        }
    }

    /// Everything up to this prepare is already stored. It is not stored again, and must be the
    /// same.
    pub fn skip_to(&mut self, stored: PrepareId) {
        self.stored = Some(stored);
    }

    /// Whether everything that is stored has been found to belong to this history.
    pub fn has_joined(&self) -> bool {
        self.stored.is_none()
    }

    /// Takes the next prepare. Says whether it is the prepare that is stored at its op.
    ///
    /// # Errors
    /// When a segment cannot be sealed.
    pub fn take(&mut self, prepare: &Prepare<'_>) -> Result<Taken> {
        let header = prepare.header();
        self.last = (header.op(), header.timestamp());
        if let Some((op, checksum)) = self.stored {
            if header.op() == op {
                self.stored = None;
                return Ok(if header.checksum() == checksum { Taken::Fits } else { Taken::OtherHistory });
            }
            if header.op() < op {
                return Ok(Taken::Fits);
            }
        }
        if self.dropped.is_some() {
            return Ok(Taken::Fits);
        }
        if self.builder.plain_bytes() > 0 && self.builder.plain_bytes() + prepare.bytes().len() > self.flush_bytes {
            self.flush()?;
            if self.dropped.is_some() {
                return Ok(Taken::Fits);
            }
        }
        let clock = self.repository.clock();
        self.oldest.get_or_insert_with(|| clock.now());
        self.builder.push(prepare);
        Ok(Taken::Fits)
    }

    /// The last prepare that was taken: op and timestamp.
    pub fn last(&self) -> (u64, u64) {
        self.last
    }

    /// When the oldest prepare that is not yet offered was read.
    pub fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// Seals and offers the segment if its oldest prepare has waited long enough.
    ///
    /// # Errors
    /// When the segment cannot be sealed.
    pub fn flush_if_due(&mut self) -> Result<()> {
        if self.oldest.is_some_and(|oldest| self.repository.clock().since(oldest) >= self.flush_interval) { self.flush() } else { Ok(()) }
    }

    /// How long until the next segment is due; `None` when nothing waits.
    pub fn due_in(&self) -> Option<Duration> {
        self.oldest.map(|oldest| self.flush_interval.saturating_sub(self.repository.clock().since(oldest)))
    }

    /// Seals and offers everything that was collected.
    ///
    /// # Errors
    /// When the segment cannot be sealed.
    pub fn flush(&mut self) -> Result<()> {
        let oldest = self.oldest.take().unwrap_or_else(|| self.repository.clock().now());
        let builder = std::mem::take(&mut self.builder);
        self.repository.governor().admit(Priority::Log, builder.plain_bytes() as u64);
        let Some(segment) = builder.seal(&self.repository, self.timeline, self.run)? else { return Ok(()) };
        let (first_op, end) = (segment.name.first_op, (segment.last.op, segment.last.checksum));
        // The board is notified before the offer, because the segment may be durable before the
        // offer returns.
        self.board.offered(end.0, oldest);
        match self.shipper.offer(segment) {
            Offer::Taken => {
                self.taken = Some(end);
                Ok(())
            }
            Offer::Full => {
                self.dropped.get_or_insert(first_op);
                Ok(())
            }
            Offer::Stopped => Err(Error::try_again("the shipper is ending")),
        }
    }

    /// Counts bytes that were read from the log. They count, whatever the limits are.
    pub fn count_read(&self, bytes: u64) {
        self.repository.governor().admit_read(Priority::Log, bytes);
    }

    /// The first op that found no room, if there was one.
    pub fn dropped(&self) -> Option<u64> {
        self.dropped
    }

    /// Drops everything from this op on, as if there were no room for it. Returns the first op that
    /// was dropped.
    pub fn drop_from(&mut self, op: u64) -> u64 {
        *self.dropped.get_or_insert(op)
    }

    /// The prepare before the first that found no room, if it was taken in this session.
    pub fn taken_before(&self, dropped_op: u64) -> Option<PrepareId> {
        self.taken.filter(|(op, _)| op.checked_add(1) == Some(dropped_op))
    }

    /// Starts over under a new run number, because another segment of the same ops must not have
    /// the name of an older one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn begin_anew(&mut self) -> Result<()> {
        (self.taken, self.dropped, self.oldest, self.builder) = (None, None, None, SegmentBuilder::default());
        self.run = self.repository.new_shipping_run()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
