//! The log as a source: prepares in the order of their ops, each continuing the hash chain of the
//! one before.
//!
//! Flow: the caller that ships the log names the prepare after which it wants the log, and calls
//! [`LogSource::poll`] again and again. Each poll hands on what has come since. There are two
//! sources: [`super::tail::Tail`] reads the WAL ring of a running replica's data file, and
//! [`super::aof::AofTail`] reads the append-only file that a server writes on request. Neither ever
//! hands on a prepare that does not continue the last one. When none can follow any more, the poll
//! reports which of two things happened ([`Loss`]), and repeats this until the source is restarted
//! elsewhere.
//!
//! An op in the WAL ring is only prepared: as long as it is not committed, a view change may put
//! another prepare in its place. [`LogSource::commit_known_op`] says which ops are certain.
//! [`LogSource::replaced`] says which were replaced after they had been handed on.

use crate::disk::read_error::SourceError;
use crate::error::Result;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareId;
use crate::tb_format::wal::Prepare;
use std::collections::VecDeque;

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// This many prepares were handed on, and more may follow. 0 when only known ones were skipped.
    Prepares(u64),
    /// Nothing new.
    Idle,
    /// The op that should come next can no longer be read.
    Lost {
        /// The op that is lost.
        op: u64,
        /// Why it is lost.
        loss: Loss,
        /// The same in words.
        reason: String,
    },
}

/// Why the log cannot continue after the last prepare that was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The source has moved on and no longer holds the next op: there is a gap.
    Wrapped {
        /// The op that is in its place.
        found_op: u64,
    },
    /// The log continues from another prepare than the last that was handed on: a view change
    /// replaced that one, or the history forked.
    Replaced {
        /// The newest prepare, op and checksum, that was handed on and is still in the log: the
        /// place after which to restart. `None` when none of those that the source remembers is.
        restart: Option<PrepareId>,
    },
}

/// A log that is followed as it grows.
pub trait LogSource: Send {
    /// Hands on the prepares that have come since the last poll, in order.
    ///
    /// # Errors
    /// [`SourceError::Io`]; [`SourceError::Damaged`] where the source does not recover by itself;
    /// and whatever `take` returns, in which case that prepare comes again at the next poll.
    fn poll(&mut self, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<Polled, SourceError>;

    /// Restarts after op `op`, whose prepare has this checksum.
    fn restart(&mut self, op: u64, checksum: Checksum);

    /// The last op that was handed on, or the op after which the source was started.
    fn op(&self) -> u64;

    /// The checksum of that op's prepare.
    fn checksum(&self) -> Checksum;

    /// The highest op of this log that is known to be committed, at most [`LogSource::op`]. It and
    /// all ops before it are certain; later ones are only prepared. 0 when nothing is known yet.
    fn commit_known_op(&self) -> u64;

    /// Whether one of the last prepares that were handed on has been replaced since; a poll does
    /// not see that before the next op comes. The result is always a [`Loss::Replaced`], with the
    /// place after which to restart. `None` when all are still in place, as far as the source
    /// shows.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    fn replaced(&mut self) -> Result<Option<Loss>, SourceError>;

    /// Bytes read so far.
    fn bytes_read(&self) -> u64;

    /// The fallbacks that were used, in sentences for the user.
    fn notes(&self) -> Vec<String>;
}

/// The last prepares that were handed on, oldest first, without a gap. The log is compared with
/// them when it seems to have changed.
#[derive(Debug)]
pub(super) struct Recent {
    prepares: VecDeque<PrepareId>,
    capacity: usize,
    commit_op: u64,
}

impl Recent {
    /// Remembers `capacity` prepares (at least one). At first it holds only the one after which the
    /// log is wanted.
    pub fn new(capacity: usize, op: u64, checksum: Checksum) -> Recent {
        Recent { prepares: VecDeque::from([(op, checksum)]), capacity, commit_op: 0 }
    }

    /// Forgets what comes after `op`, and everything if that prepare is not remembered. Ops that
    /// were known to be committed are certain only on the same history.
    pub fn restart(&mut self, op: u64, checksum: Checksum) {
        match self.checksum_of(op) {
            Some(known) if known == checksum => {
                self.prepares.retain(|(kept, _)| *kept <= op);
                self.commit_op = self.commit_op.min(op);
            }
            _ => *self = Recent::new(self.capacity, op, checksum),
        }
    }

    /// Adds the next prepare, which says that everything up to `commit` is committed.
    pub fn push(&mut self, op: u64, checksum: Checksum, commit: u64) {
        if self.is_full() {
            self.prepares.pop_front();
        }
        self.prepares.push_back((op, checksum));
        self.commit_op = self.commit_op.max(commit);
    }

    /// The last prepare.
    pub fn last(&self) -> PrepareId {
        self.prepares.back().copied().unwrap_or((0, Checksum(0)))
    }

    /// The checksum of a prepare, if it is remembered.
    pub fn checksum_of(&self, op: u64) -> Option<Checksum> {
        let (first, _) = self.prepares.front()?;
        let index = usize::try_from(op.checked_sub(*first)?).ok()?;
        self.prepares.get(index).map(|(_, checksum)| *checksum)
    }

    /// The last `count` of them, newest first.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = PrepareId> + '_ {
        self.prepares.iter().rev().take(count).copied()
    }

    /// Whether it remembers as many as it can.
    pub fn is_full(&self) -> bool {
        self.prepares.len() >= self.capacity
    }

    /// The highest op known to be committed, at most the last.
    pub fn commit_op(&self) -> u64 {
        self.commit_op.min(self.last().0)
    }
}
