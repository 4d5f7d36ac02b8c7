//! The follower: reads the log as it grows and hands it to the collector, for as long as the log goes on.
//!
//! Flow: poll, flush what is due, pause as long as the log is idle. What can happen to the log is met here: a view change replaced the last prepares (read them
//! again, from the last that stands); the ring has wrapped, or memory and spool are full (a gap: recorded, and the log taken up again behind the replica's
//! newest checkpoint); the data file is another one than before, or the log goes on otherwise than what is stored (the session ends, and the next one
//! looks anew where the log joins).

use super::board::Board;
use super::collector::Collector;
use super::shipper::Shipper;
use super::signals::Stop;
use crate::config::plan::{LogFrom, LogPlan};
use crate::error::{Error, Kind, Result};
use crate::repository::gap::Gap;
use crate::repository::log::PrepareId;
use crate::source::aof::AofTail;
use crate::source::checkpoint::Walk;
use crate::source::file::ReadOptions;
use crate::source::log::{LogSource, Loss, Polled};
use crate::source::pace::Pace;
use crate::source::tail::Tail;
use crate::units::now_ns;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the last prepares are looked at again, while nothing follows them.
const REPLACED_INTERVAL: Duration = Duration::from_millis(200);
/// How often the data file's identity is looked at.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a read that failed: the disk may be back.
const FAILED_PAUSE: Duration = Duration::from_millis(500);
/// How long reading may fail before the agent gives up; whoever supervises it starts it again.
const FAILED_MAX: Duration = Duration::from_secs(60);

/// Why following ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// What the log joins must be looked at anew, for this reason.
    Rejoin(String),
}

/// Follows one log.
pub struct Follower {
    /// The replica's data file.
    pub data_file: PathBuf,
    /// How the log is followed.
    pub plan: LogPlan,
    /// Turns prepares into segments.
    pub collector: Collector,
    /// Takes segments.
    pub shipper: Arc<Shipper>,
    /// Where facts go.
    pub board: Arc<Board>,
    /// The timeline, for gaps.
    pub timeline: u32,
    /// Set when the log has joined what is stored.
    pub ready: Arc<AtomicBool>,
}

/// Which file it is, whatever its name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Follower {
    fn open(&self, (op, checksum): PrepareId) -> Result<Box<dyn LogSource>> {
        Ok(match &self.plan.source {
            LogFrom::Ring => Box::new(Tail::open(&self.data_file, ReadOptions::default(), op, checksum)?),
            LogFrom::Aof { file } => Box::new(AofTail::open(file, op, checksum)?),
        })
    }

    /// Follows the log behind a prepare until something ends that. What was collected is offered.
    ///
    /// # Errors
    /// When the data file cannot be read for longer than a moment, or is damaged.
    pub fn run(&mut self, after: PrepareId, stop: &Stop) -> Result<Ended> {
        let mut source = self.open(after)?;
        for note in source.notes() {
            tracing::info!("{note}");
        }
        let file = identity(&self.data_file);
        let (mut pace, mut failing): (Pace, Option<Instant>) = (Pace::new(self.plan.poll_idle_max), None);
        let (mut looked, mut identified) = (Instant::now(), Instant::now());
        loop {
            let pause = match self.turn(&mut *source, &mut pace) {
                Ok(Ok(pause)) => {
                    failing = None;
                    pause
                }
                Ok(Err(ended)) => return self.end(ended),
                Err(error) if error.kind == Kind::Bug || failing.is_some_and(|since| since.elapsed() > FAILED_MAX) => return Err(error),
                Err(error) => {
                    if failing.is_none() {
                        tracing::warn!("{error}; trying again");
                    }
                    failing.get_or_insert_with(Instant::now);
                    FAILED_PAUSE
                }
            };
            if looked.elapsed() >= REPLACED_INTERVAL {
                looked = Instant::now();
                if let Some(loss) = source.replaced()?
                    && let Some(ended) = self.meet(loss, "a view change replaced the last prepares", &mut *source)?
                {
                    return self.end(ended);
                }
            }
            if identified.elapsed() >= IDENTITY_INTERVAL {
                identified = Instant::now();
                if identity(&self.data_file) != file {
                    return self.end(Ended::Rejoin("the data file is another one than before".into()));
                }
            }
            let pause = self.collector.due_in().map_or(pause, |due| due.min(pause));
            if stop.wait(pause) {
                return self.end(Ended::Stopped);
            }
        }
    }

    fn end(&mut self, ended: Ended) -> Result<Ended> {
        self.collector.flush()?;
        Ok(ended)
    }

    /// One poll and what follows from it; how long to pause then, or why it is over.
    fn turn(&mut self, source: &mut dyn LogSource, pace: &mut Pace) -> Result<std::result::Result<Duration, Ended>> {
        let (collector, mut other) = (&mut self.collector, false);
        let polled = source.poll(&mut |prepare| {
            if collector.take(prepare)?.is_err() {
                other = true;
                return Err(Error::try_again("the log is not the one that is stored"));
            }
            Ok(())
        });
        if other {
            return Ok(Err(Ended::Rejoin("the log goes on otherwise than what is stored".into())));
        }
        let polled = polled?;
        self.collector.flush_if_due()?;
        if self.collector.has_joined() {
            self.ready.store(true, Ordering::Release);
        }
        let any = matches!(polled, Polled::Prepares(1..));
        if any {
            self.board.read(self.collector.last(), source.commit_known_op(), source.bytes_read(), self.collector.oldest());
        } else {
            self.board.turned();
        }
        if let Polled::Lost { loss, reason, .. } = polled
            && let Some(ended) = self.meet(loss, &reason, source)?
        {
            return Ok(Err(ended));
        }
        if let Some(first_op) = self.collector.dropped()
            && self.has_room()
        {
            self.take_up_again(first_op, "the store was away for longer than memory and spool could hold the log", source)?;
        }
        Ok(Ok(pace.after(any)))
    }

    /// What to do about a log that does not go on; `Some` if the session is over.
    fn meet(&mut self, loss: Loss, reason: &str, source: &mut dyn LogSource) -> Result<Option<Ended>> {
        match loss {
            Loss::Replaced { restart: Some((op, checksum)) } if op >= source.commit_known_op() && self.collector.has_joined() => {
                tracing::info!("the log is read again behind op {op}: {reason}");
                self.collector.flush()?;
                self.collector.begin_anew()?;
                source.restart(op, checksum);
                Ok(None)
            }
            Loss::Replaced { .. } => Ok(Some(Ended::Rejoin(reason.to_owned()))),
            Loss::Wrapped { .. } if !self.collector.has_joined() => Ok(Some(Ended::Rejoin(reason.to_owned()))),
            Loss::Wrapped { .. } => {
                self.collector.flush()?;
                let first_op = self.collector.dropped().unwrap_or(source.op().saturating_add(1));
                self.take_up_again(first_op, reason, source)?;
                Ok(None)
            }
        }
    }

    /// Whether the shipper has room again: half of its memory, and a store that answers.
    fn has_room(&self) -> bool {
        let counters = self.shipper.counters();
        let memory_free = counters.waiting.memory_bytes < self.plan.memory_bytes / 2;
        if self.board.is_leading() {
            counters.unreachable_for.is_none() && memory_free && counters.waiting.spool_bytes == 0
        } else {
            memory_free
        }
    }

    /// Takes the log up again behind the replica's newest checkpoint; what lies before it, from `first_op` on, is a gap.
    fn take_up_again(&mut self, first_op: u64, reason: &str, source: &mut dyn LogSource) -> Result<()> {
        let superblock = Walk::open(&self.data_file, ReadOptions::default())?.superblock()?;
        let checkpoint = superblock.checkpoint().header();
        // Within the interval that the checkpoint begins the ring holds everything, so nothing need be lost.
        let (op, checksum) = (checkpoint.op(), checkpoint.checksum());
        if first_op <= op {
            self.board.gap(Gap { timeline: self.timeline, first_op, last_op: op, noticed_ns: now_ns(), reason: reason.to_owned() });
        }
        self.collector.begin_anew()?;
        source.restart(op, checksum);
        Ok(())
    }
}
