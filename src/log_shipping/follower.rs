//! The follower: reads the log as it grows and hands it to the collector, for as long as the log
//! continues.
//!
//! Flow: poll, flush what is due, pause while the log is idle. The follower handles what can happen
//! to the log:
//!
//! - A view change replaced the last prepares: it reads them again, from the last that remains.
//! - The WAL ring has wrapped, or memory and spool are full: it records a gap, and resumes reading
//!   after the replica's newest checkpoint.
//! - The data file has been replaced, or the log differs from what is stored: the session ends, and
//!   the next one determines again where the log joins.

use super::collector::{Collector, Taken};
use super::shipper::Shipper;
use crate::config::plan::{LogFrom, LogPlan};
use crate::disk::file::ReadOptions;
use crate::error::{Error, Kind, Result};
use crate::monitor::status_board::StatusBoard;
use crate::replica::aof::AofTail;
use crate::replica::checkpoint::Walk;
use crate::replica::log::{LogSource, Loss, Polled};
use crate::replica::pace::Pace;
use crate::replica::tail::Tail;
use crate::stop::Stop;
use crate::tb_format::header::PrepareId;
use crate::tier::tigerbeetle::capture::join::checkpoint_end;
use crate::tier::tigerbeetle::format::gap::Gap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the last prepares are checked again while nothing follows them.
const REPLACED_INTERVAL: Duration = Duration::from_millis(200);
/// Pause before a log is joined again that has grown within what is stored. A replica that catches
/// up is asked a few times a second.
const BEHIND_PAUSE: Duration = Duration::from_millis(200);
/// How often the data file's identity is checked.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a failed read: the disk may come back.
const FAILED_PAUSE: Duration = Duration::from_millis(500);
/// How long reading may fail before the agent ends with an error. Its supervisor starts it again.
const FAILED_MAX: Duration = Duration::from_secs(60);

/// What follows a turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// A pause, then the next turn.
    Pause(Duration),
    /// The end of the session.
    Over(Ended),
}

/// Why following ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The agent was asked to stop.
    Stopped,
    /// Where the log joins must be determined again, for this reason.
    Rejoin(String),
}

/// A log that is followed.
pub struct Following {
    source: Box<dyn LogSource>,
    pace: Pace,
    /// Since when reading fails.
    failing: Option<Instant>,
    /// When the last prepares were checked.
    looked: Instant,
    /// When the data file's identity was checked.
    identified: Option<Instant>,
    /// Why the session is over, after one more pause.
    over: Option<Ended>,
}

/// Follows one log.
pub struct Follower {
    /// The replica's data file.
    pub data_file: PathBuf,
    /// How it is read.
    pub read: ReadOptions,
    /// How the log is followed.
    pub plan: LogPlan,
    /// Turns prepares into segments.
    pub collector: Collector,
    /// Takes segments.
    pub shipper: Arc<Shipper>,
    /// The status board that the follower writes to.
    pub board: Arc<StatusBoard>,
    /// The timeline in which gaps are recorded.
    pub timeline: u32,
    /// Set when the log has joined what is stored.
    pub ready: Arc<AtomicBool>,
    /// The cluster has only this replica, so no other agent can have read what this one has not.
    pub alone: bool,
    /// The data file whose log was joined.
    pub file: Option<FileIdentity>,
}

/// Identifies a file whatever its name is: device and inode.
pub type FileIdentity = (u64, u64);

/// Which file has this name now; `None` if there is none, or if that cannot be determined.
pub fn identity(path: &Path) -> Option<FileIdentity> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Follower {
    fn open(&self, (op, checksum): PrepareId) -> Result<Box<dyn LogSource>> {
        Ok(match &self.plan.source {
            LogFrom::WalRing => Box::new(Tail::open(&self.data_file, self.read, op, checksum)?),
            LogFrom::Aof { file } => Box::new(AofTail::open(file, op, checksum)?),
        })
    }

    /// Follows the log after a prepare until something ends that. What was collected by then is
    /// offered.
    ///
    /// # Errors
    /// As [`Follower::step`].
    pub fn run(&mut self, after: PrepareId, stop: &Stop) -> Result<Ended> {
        let mut following = self.begin(after)?;
        loop {
            match self.step(&mut following)? {
                Turn::Pause(pause) => {
                    if stop.wait(self.board.clock().wait(pause)) {
                        return self.end(Ended::Stopped);
                    }
                }
                Turn::Over(ended) => return Ok(ended),
            }
        }
    }

    /// Opens the log, to follow it after a prepare.
    ///
    /// # Errors
    /// When the data file cannot be read.
    pub fn begin(&self, after: PrepareId) -> Result<Following> {
        let source = self.open(after)?;
        for note in source.notes() {
            tracing::info!("{note}");
        }
        let pace = Pace::new(self.plan.poll_idle_max);
        Ok(Following { source, pace, failing: None, looked: self.board.clock().now(), identified: None, over: None })
    }

    /// Polls once, and does what is due. Returns how long to pause, or why the session is over.
    ///
    /// # Errors
    /// When the data file has been unreadable for more than a minute, or is damaged.
    pub fn step(&mut self, following: &mut Following) -> Result<Turn> {
        if let Some(ended) = following.over.take() {
            return Ok(Turn::Over(ended));
        }
        let clock = self.board.clock();
        if following.identified.is_none_or(|at| clock.since(at) >= IDENTITY_INTERVAL) {
            following.identified = Some(clock.now());
            if self.is_another_file() {
                return self.end(Ended::Rejoin("the data file is another one than before".into())).map(Turn::Over);
            }
        }
        let looks = clock.since(following.looked) >= REPLACED_INTERVAL;
        if looks {
            following.looked = clock.now();
        }
        let pause = match self.turn(&mut *following.source, &mut following.pace, looks) {
            Ok(Turn::Pause(pause)) => {
                following.failing = None;
                pause
            }
            Ok(Turn::Over(ended)) => {
                let ended = self.end(ended)?;
                if self.collector.has_joined() {
                    return Ok(Turn::Over(ended));
                }
                following.over = Some(ended);
                return Ok(Turn::Pause(BEHIND_PAUSE));
            }
            Err(error) if error.kind == Kind::Bug || following.failing.is_some_and(|since| clock.since(since) > FAILED_MAX) => {
                // What was read before the error is intact.
                let _ = self.collector.flush();
                return Err(error);
            }
            Err(error) => {
                if following.failing.is_none() {
                    tracing::warn!("{error}; trying again");
                }
                following.failing.get_or_insert_with(|| clock.now());
                self.board.turned();
                FAILED_PAUSE
            }
        };
        Ok(Turn::Pause(self.collector.due_in().map_or(pause, |due| due.min(pause))))
    }

    /// Whether another file has the data file's name now. A missing name proves nothing, because
    /// the replica may still write to the file that had it.
    fn is_another_file(&self) -> bool {
        identity(&self.data_file).is_some_and(|now| self.file != Some(now))
    }

    /// Offers what was collected.
    ///
    /// # Errors
    /// When the segment cannot be sealed.
    pub fn end(&mut self, ended: Ended) -> Result<Ended> {
        self.collector.flush()?;
        Ok(ended)
    }

    /// Polls once and handles the result; with `looks` it also checks the last prepares. Returns
    /// how long to pause, or why the session is over.
    fn turn(&mut self, source: &mut dyn LogSource, pace: &mut Pace, looks: bool) -> Result<Turn> {
        let (collector, mut other, read_before) = (&mut self.collector, false, source.bytes_read());
        let polled = source.poll(&mut |prepare| {
            if collector.take(prepare)? == Taken::OtherHistory {
                other = true;
                return Err(Error::try_again("the log is not the one that is stored"));
            }
            Ok(())
        });
        if other {
            return Ok(Turn::Over(Ended::Rejoin("the log differs from what is stored".into())));
        }
        // What has been read is flushed when it is due, whether or not more follows.
        self.collector.flush_if_due()?;
        let polled = polled?;
        if self.collector.has_joined() {
            self.ready.store(true, Ordering::Release);
        }
        let any = matches!(polled, Polled::Prepares(1..));
        if any {
            self.collector.count_read(source.bytes_read().saturating_sub(read_before));
            let (op, timestamp_ns) = self.collector.last();
            self.board.read(op, timestamp_ns, source.commit_known_op(), source.bytes_read(), self.collector.oldest());
        } else {
            self.board.turned();
        }
        if any && !self.collector.has_joined() {
            // The log is still within what is stored. The op that has just arrived may differ from
            // the stored one, and then none of the log may be skipped.
            return Ok(Turn::Over(Ended::Rejoin("the log has gone on within what is stored".into())));
        }
        if let Polled::Lost { loss, reason, .. } = polled
            && let Some(ended) = self.meet(loss, &reason, source)?
        {
            return Ok(Turn::Over(ended));
        }
        if looks
            && let Some(loss) = source.replaced()?
            && let Some(ended) = self.meet(loss, "a view change replaced the last prepares", source)?
        {
            return Ok(Turn::Over(ended));
        }
        if let Some(first_op) = self.collector.dropped()
            && (looks || self.board.is_leading())
            && self.may_take_up()?
            && let Some(ended) =
                self.take_up_again(first_op, "the store was away for longer than memory and spool could hold the log", source)?
        {
            return Ok(Turn::Over(ended));
        }
        Ok(Turn::Pause(pace.after(any)))
    }

    /// Handles a log that does not continue; `Some` if the session is over.
    fn meet(&mut self, loss: Loss, reason: &str, source: &mut dyn LogSource) -> Result<Option<Ended>> {
        match loss {
            Loss::Replaced { restart: Some((op, checksum)) } if op >= source.commit_known_op() && self.collector.has_joined() => {
                tracing::info!("the log is read again behind op {op}: {reason}");
                self.collector.flush()?;
                // Ops that found no room before that stay lost until there is room again.
                if self.collector.dropped().is_none_or(|first_op| first_op > op) {
                    self.collector.begin_anew()?;
                }
                source.restart(op, checksum);
                Ok(None)
            }
            Loss::Replaced { .. } => Ok(Some(Ended::Rejoin(reason.to_owned()))),
            Loss::Wrapped { .. } if !self.collector.has_joined() => Ok(Some(Ended::Rejoin(reason.to_owned()))),
            Loss::Wrapped { .. } => {
                self.collector.flush()?;
                // There is one gap, which ends when there is room again, and not one gap for each
                // time that the WAL ring wraps until then.
                let at_once = self.collector.dropped().is_none() && self.board.is_leading() && self.alone;
                if self.board.is_leading() && !self.alone {
                    self.board.yield_lease();
                }
                let first_op = self.collector.drop_from(source.op().saturating_add(1));
                if at_once || self.may_take_up()? {
                    return self.take_up_again(first_op, reason, source);
                }
                let (op, checksum) = self.checkpoint()?;
                source.restart(op, checksum);
                Ok(None)
            }
        }
    }

    /// Whether reading the log may be resumed. The shipper must have half of its memory free. In
    /// addition, if this agent leads, the store must answer and the spool must be empty; if another
    /// agent leads, that agent must have stored what would be missing.
    fn may_take_up(&self) -> Result<bool> {
        let counters = self.shipper.counters();
        let memory_free = counters.waiting.memory_bytes < self.plan.memory_bytes / 2;
        if self.board.is_leading() {
            return Ok(counters.unreachable_for.is_none() && memory_free && counters.waiting.spool_bytes == 0);
        }
        Ok(memory_free && self.checkpoint()?.0 <= self.board.status().durable_op)
    }

    /// The replica's newest checkpoint. The WAL ring holds everything within the interval that
    /// begins with it.
    fn checkpoint(&self) -> Result<PrepareId> {
        let superblock = Walk::for_superblock(&self.data_file, self.read)?.superblock()?;
        Ok(checkpoint_end(&superblock))
    }

    /// Resumes reading the log where nothing need be lost, or else after the replica's newest
    /// checkpoint. What lies before that, from `first_op` on, is a gap, unless another agent has
    /// stored it.
    fn take_up_again(&mut self, first_op: u64, reason: &str, source: &mut dyn LogSource) -> Result<Option<Ended>> {
        let (op, checksum) = self.checkpoint()?;
        if self.is_another_file() {
            return Ok(Some(Ended::Rejoin("the data file is another one than before".into())));
        }
        let after = self.collector.taken_before(first_op).filter(|taken| taken.0 >= op).unwrap_or((op, checksum));
        let first_op = first_op.max(self.board.status().durable_op.saturating_add(1));
        if first_op <= op {
            self.board.gap(Gap {
                timeline: self.timeline,
                first_op,
                last_op: op,
                noticed_ns: self.board.clock().now_ns(),
                reason: reason.to_owned(),
            });
        }
        self.collector.begin_anew()?;
        source.restart(after.0, after.1);
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
