//! The log as a source: prepares in the order of their ops, each continuing the hash chain of the
//! one before.
//!
//! Flow: whoever ships the log says behind which prepare it wants it and calls [`LogSource::poll`]
//! again and again; each poll hands on what has come since. Two sources give it:
//! [`super::tail::Tail`] out of the WAL ring of a running replica's data file, and
//! [`super::aof::AofTail`] out of the append-only file that a server writes on request. Neither
//! ever hands on a prepare that does not continue the last one. When none can follow any more, the
//! poll says which of two things happened ([`Loss`]), and goes on saying so until it is started
//! again elsewhere.
//!
//! What stands in the ring is only prepared: a view change may put another prepare into its place
//! as long as it is not committed. What is certain is told by [`LogSource::commit_known_op`]; what
//! was replaced behind the tail's back by [`LogSource::replaced`].

use crate::disk::read_error::SourceError;
use crate::error::Result;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::wal::Prepare;
use std::collections::VecDeque;

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// So many prepares were handed on, and more may be behind them. 0 when only what is known
    /// already was passed over.
    Prepares(u64),
    /// Nothing new.
    Idle,
    /// The op that should come next cannot be had any more.
    Lost {
        /// That op.
        op: u64,
        /// What became of it.
        loss: Loss,
        /// The same in words.
        reason: String,
    },
}

/// Why the log cannot go on behind the last prepare that was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The source has moved on and no longer holds the next op: there is a gap.
    Wrapped {
        /// The op that stands in its place.
        found_op: u64,
    },
    /// The log continues another prepare than the last that was handed on: a view change replaced
    /// that one, or the history forked.
    Replaced {
        /// The newest prepare, op and checksum, that was handed on and still stands: the place to
        /// start again behind. `None` when none of those that the source remembers does.
        restart: Option<(u64, Checksum)>,
    },
}

/// A log that is followed as it grows.
pub trait LogSource: Send {
    /// Hands on what has come since the last poll, in order.
    ///
    /// # Errors
    /// [`SourceError::Io`]; [`SourceError::Damaged`] where the source does not heal by itself; and
    /// whatever `take` returns, in which case that prepare comes again at the next poll.
    fn poll(&mut self, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<Polled, SourceError>;

    /// Starts again behind op `op`, whose prepare has this checksum.
    fn restart(&mut self, op: u64, checksum: Checksum);

    /// The last op that was handed on, or the one that the source was started behind.
    fn op(&self) -> u64;

    /// The checksum of that op's prepare.
    fn checksum(&self) -> Checksum;

    /// The highest op of this log that is known to be committed, at most [`LogSource::op`]: it and
    /// all before it are certain, what comes after it is only prepared. 0 when nothing is known
    /// yet.
    fn commit_known_op(&self) -> u64;

    /// Whether one of the last prepares that were handed on has been replaced since, which no poll
    /// sees before the next op comes: always a [`Loss::Replaced`], with the place to start again
    /// behind. `None` when all stand as far as the source shows.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    fn replaced(&mut self) -> Result<Option<Loss>, SourceError>;

    /// Bytes read so far.
    fn bytes_read(&self) -> u64;

    /// What was fallen back to, in sentences for the user.
    fn notes(&self) -> Vec<String>;
}

/// The last prepares that were handed on, oldest first, without a gap: what they are compared with
/// when the log seems to have changed.
#[derive(Debug)]
pub(super) struct Recent {
    prepares: VecDeque<(u64, Checksum)>,
    capacity: usize,
    commit_op: u64,
}

impl Recent {
    /// Remembers `capacity` prepares (at least one), and at first only the one that the log is
    /// wanted behind.
    pub fn new(capacity: usize, op: u64, checksum: Checksum) -> Recent {
        Recent { prepares: VecDeque::from([(op, checksum)]), capacity, commit_op: 0 }
    }

    /// Forgets what comes behind `op`, and everything if that prepare is not remembered: what was
    /// known to be committed is so on the same history only.
    pub fn restart(&mut self, op: u64, checksum: Checksum) {
        match self.checksum_of(op) {
            Some(known) if known == checksum => {
                self.prepares.retain(|(kept, _)| *kept <= op);
                self.commit_op = self.commit_op.min(op);
            }
            _ => *self = Recent::new(self.capacity, op, checksum),
        }
    }

    /// Takes the next prepare, which says that everything up to `commit` is committed.
    pub fn push(&mut self, op: u64, checksum: Checksum, commit: u64) {
        if self.is_full() {
            self.prepares.pop_front();
        }
        self.prepares.push_back((op, checksum));
        self.commit_op = self.commit_op.max(commit);
    }

    /// The last prepare.
    pub fn last(&self) -> (u64, Checksum) {
        self.prepares.back().copied().unwrap_or((0, Checksum(0)))
    }

    /// The checksum of a prepare that is remembered.
    pub fn checksum_of(&self, op: u64) -> Option<Checksum> {
        let (first, _) = self.prepares.front()?;
        let index = usize::try_from(op.checked_sub(*first)?).ok()?;
        self.prepares.get(index).map(|(_, checksum)| *checksum)
    }

    /// The last `count` of them, newest first.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = (u64, Checksum)> + '_ {
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
