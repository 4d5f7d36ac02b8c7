//! Captures the log while the checkpoint is walked: a thread follows the WAL ring and stores what
//! it reads. So checkpoint and log meet, whatever the ring has overwritten meanwhile.
//!
//! Flow: [`LogCapture::follow`] says after which checkpoint the log is wanted. Older prepares are
//! dropped, and the segments that hold only such prepares are deleted. The thread polls the ring,
//! collects prepares into segments and writes full ones. [`LogCapture::finish`] returns everything
//! from the followed checkpoint on, durable. What is kept is bounded: when the walk takes long, the
//! oldest log is dropped first, and the walk then needs a newer checkpoint.

use super::stored_log::StoredLog;
use crate::disk::file::ReadOptions;
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::limits::governor::Priority;
use crate::replica::log::{LogSource, Polled};
use crate::replica::tail::{Tail, header_ring};
use crate::repository::Repository;
use crate::repository::name::{RunId, SegmentName};
use crate::repository::object_writer::Finishing;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::{PrepareHeader, PrepareId};
use crate::tb_format::layout::WAL_SLOTS;
use crate::tb_format::wal::{HeaderRing, Prepare, SlotHeader};
use crate::threads::{lock, spawn};
use crate::tier::tigerbeetle::format::segment::{SegmentBuilder, SegmentEntry, segment_entry};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Prepares kept during the walk: some sixteen checkpoint intervals, at 256 bytes of memory each.
const KEPT_PREPARES_MAX: usize = 16_384;
/// The pause before the next poll when nothing was new. At 2300 prepares a second the WAL ring
/// wraps in 450 ms.
const IDLE_PAUSE: Duration = Duration::from_millis(3);
/// A poll that finds fewer prepares than this has reached the head of the log.
const PREPARES_BEHIND_MAX: u64 = 64;
/// How long to wait for the next prepare that is known to be committed.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

/// What came of following the log.
#[derive(Debug)]
pub enum CapturedLog {
    /// It reaches the op that was asked for.
    Complete(Captured),
    /// It does not continue what was captured, and why: the capture begins anew.
    Unusable(String),
}

/// The log after a checkpoint.
#[derive(Debug)]
pub struct Captured {
    /// Headers of all prepares after the checkpoint, in order.
    pub headers: Vec<PrepareHeader>,
    /// The segments that hold them.
    pub segments: Vec<SegmentEntry>,
    /// The runs under which this capture stored segments. Segments of other runs were stored
    /// before.
    pub runs: Vec<RunId>,
    /// The client replies.
    pub replies: Vec<(u32, Vec<u8>)>,
    /// Bytes read from the data file for the log.
    pub bytes_read: u64,
}

/// What the thread is asked.
enum Command {
    Follow { op: u64, checksum: Checksum },
    Finish { at_least_op: u64, answer: Sender<Result<CapturedLog>> },
}

/// A thread that follows the log; or what follows it when it is asked, where there are no threads.
pub enum LogCapture {
    /// On a thread of its own, while the blocks are read.
    Thread(LogThread),
    /// When it is asked for the log. In between, none of it may be overwritten.
    Inline(Mutex<Box<Follower>>),
}

/// A thread that follows the log.
pub struct LogThread {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl LogCapture {
    /// Starts the thread. It is idle until [`LogCapture::follow`] is called.
    pub fn start(
        repository: &Arc<Repository>,
        data_file: &Path,
        options: ReadOptions,
        timeline: u32,
        run: RunId,
        held: StoredLog,
    ) -> Result<LogCapture> {
        let follower = Follower::new(Arc::clone(repository), data_file.to_owned(), options, timeline, run, held);
        if repository.host().workers == Workers::Inline {
            return Ok(LogCapture::Inline(Mutex::new(Box::new(follower))));
        }
        let (commands, received) = crossbeam_channel::unbounded();
        let thread = spawn("amber-log", move || follower.run(&received))?;
        Ok(LogCapture::Thread(LogThread { commands: Some(commands), thread: Some(thread) }))
    }

    /// From now on only the log after this op is wanted.
    pub fn follow(&self, op: u64, checksum: Checksum) -> Result<()> {
        match self {
            LogCapture::Thread(thread) => thread.send(Command::Follow { op, checksum }),
            LogCapture::Inline(follower) => lock(follower).follow(op, checksum),
        }
    }

    /// Returns the log after the followed op, at least up to `at_least_op`, durable. The inner
    /// error says why the log does not reach back to that op.
    pub fn finish(&self, at_least_op: u64) -> Result<CapturedLog> {
        let thread = match self {
            LogCapture::Thread(thread) => thread,
            LogCapture::Inline(follower) => return lock(follower).finish(at_least_op),
        };
        let (answer, answered) = crossbeam_channel::bounded(1);
        thread.send(Command::Finish { at_least_op, answer })?;
        answered.recv().unwrap_or_else(|_| Err(Error::bug("the log thread ended early")))
    }
}

impl LogThread {
    fn send(&self, command: Command) -> Result<()> {
        let sent = self.commands.as_ref().is_some_and(|commands| commands.send(command).is_ok());
        if sent { Ok(()) } else { Err(Error::bug("the log thread ended early")) }
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Segment {
    Writing(SegmentName, Finishing),
    Durable(SegmentEntry),
}

impl Segment {
    fn name(&self) -> SegmentName {
        match self {
            Segment::Writing(name, _) => *name,
            Segment::Durable(entry) => entry.name,
        }
    }
}

/// Follows the log.
pub struct Follower {
    repository: Arc<Repository>,
    path: PathBuf,
    options: ReadOptions,
    timeline: u32,
    run: RunId,
    /// All runs that segments were written under.
    runs: Vec<RunId>,
    /// Prepares up to its end are read for their headers, but not stored again.
    held: StoredLog,
    tail: Option<Tail>,
    /// The prepare after which the log is wanted.
    followed: Option<PrepareId>,
    headers: VecDeque<PrepareHeader>,
    builder: SegmentBuilder,
    segments: VecDeque<Segment>,
    /// Why the log after the followed op is not available any more.
    lost: Option<String>,
    /// The first failure; reported at the next finish.
    failed: Option<Error>,
    /// The captured log was handed over. Until the next follow nothing of it may be dropped,
    /// because a manifest is about to promise it.
    resting: bool,
}

impl Follower {
    fn new(repository: Arc<Repository>, path: PathBuf, options: ReadOptions, timeline: u32, run: RunId, held: StoredLog) -> Follower {
        Follower {
            repository,
            path,
            options,
            timeline,
            run,
            runs: vec![run],
            held,
            tail: None,
            followed: None,
            headers: VecDeque::new(),
            builder: SegmentBuilder::default(),
            segments: VecDeque::new(),
            lost: None,
            failed: None,
            resting: false,
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        let mut pause = IDLE_PAUSE;
        loop {
            match commands.recv_timeout(pause) {
                Ok(Command::Follow { op, checksum }) => {
                    let followed = self.follow(op, checksum);
                    self.keep_failure(followed);
                }
                Ok(Command::Finish { at_least_op, answer }) => {
                    let _ = answer.send(self.finish(at_least_op));
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let polled = self.poll();
            pause = if matches!(polled, Ok(Polled::Prepares(_))) { Duration::ZERO } else { IDLE_PAUSE };
            self.keep_failure(polled.map(|_| ()));
        }
    }

    fn keep_failure(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    fn follow(&mut self, op: u64, checksum: Checksum) -> Result<()> {
        self.followed = Some((op, checksum));
        self.resting = false;
        let position = self.headers.iter().position(|header| header.op() == op && header.checksum() == checksum);
        let begins_behind = self.headers.front().is_some_and(|header| header.op() == op.saturating_add(1) && header.parent() == checksum);
        if self.lost.is_some() || self.tail.is_none() || (position.is_none() && !begins_behind) {
            return self.begin_at(op, checksum);
        }
        if let Some(position) = position {
            self.headers.drain(..=position);
        }
        self.builder.forget_through(op);
        self.forget_segments_through(op);
        Ok(())
    }

    fn begin_at(&mut self, op: u64, checksum: Checksum) -> Result<()> {
        self.headers.clear();
        self.builder = SegmentBuilder::default();
        self.forget_segments_through(u64::MAX);
        self.lost = None;
        match &mut self.tail {
            Some(tail) => {
                tail.restart(op, checksum);
                // The same ops are stored again under another name, so that segments that could not
                // be deleted are not in the way.
                self.run = self.repository.new_run()?;
                self.runs.push(self.run);
            }
            none => *none = Some(Tail::open(&self.path, self.options, op, checksum)?),
        }
        Ok(())
    }

    fn forget_segments_through(&mut self, op: u64) {
        while self.segments.front().is_some_and(|segment| segment.name().last_op <= op) {
            let Some(segment) = self.segments.pop_front() else { return };
            let name = segment.name();
            if let Segment::Writing(_, finishing) = segment {
                let _ = finishing.wait();
            }
            super::cleanup::delete_objects(&self.repository, name.run, [name.object()]);
        }
    }

    fn poll(&mut self) -> Result<Polled> {
        let stopped = self.resting || self.lost.is_some() || self.failed.is_some();
        let Some(tail) = self.tail.as_mut().filter(|_| !stopped) else { return Ok(Polled::Idle) };
        let (builder, headers, segments) = (&mut self.builder, &mut self.headers, &mut self.segments);
        let (repository, timeline, run, held) = (&self.repository, self.timeline, self.run, &self.held);
        let (mut fork, read_before) = (false, tail.bytes_read());
        let polled = tail.poll(&mut |prepare: &Prepare<'_>| {
            let header = prepare.header();
            headers.push_back(*header);
            if held.covers(header) {
                fork |= held.forks_at(header);
                return held.check_history(header);
            }
            builder.push(prepare);
            if builder.is_full()
                && let Some((name, finishing)) = std::mem::take(builder).write(repository, timeline, run)?
            {
                segments.push_back(Segment::Writing(name, finishing));
            }
            Ok(())
        })?;
        repository.governor().admit_read(Priority::Log, tail.bytes_read().saturating_sub(read_before));
        if fork {
            self.forget_held();
        }
        if let Polled::Lost { op, reason, .. } = &polled {
            self.lost = Some(format!("op {op}: {reason}"));
        }
        if self.headers.len() > KEPT_PREPARES_MAX
            && let Some(oldest) = self.segments.front().map(Segment::name)
        {
            self.headers.retain(|header| header.op() > oldest.last_op);
            self.forget_segments_through(oldest.last_op);
        }
        Ok(polled)
    }

    /// The stored log held prepares that a view change replaced. The log is stored again from the
    /// checkpoint on.
    fn forget_held(&mut self) {
        self.held = StoredLog::default();
        self.lost = Some("the log that an earlier backup ended with was replaced in a view change".into());
    }

    /// Whether the stored log agrees with the log that was read. If the read log continues beyond
    /// it, the two were compared when the end of the stored log was read.
    fn held_agrees(&self) -> Result<bool> {
        match (self.held.end, self.headers.back()) {
            (Some((end, _)), Some(last)) if last.op() < end => self.held.agrees_with(&self.repository, last),
            _ => Ok(true),
        }
    }

    /// Whether every prepare after the followed op is in memory. The oldest are dropped when too
    /// many arrive.
    fn reaches_back(&self) -> bool {
        let Some((op, checksum)) = self.followed else { return false };
        self.headers.front().is_none_or(|first| first.op() == op.saturating_add(1) && first.parent() == checksum)
    }

    /// The highest op that the WAL ring itself shows to be committed. If the captured log lacks ops
    /// up to it, they are damaged or have not arrived yet. The log must not be treated as if it
    /// ended before them.
    fn committed_in_ring(&self) -> Result<u64> {
        let zone = header_ring(&self.path, self.options)?;
        let ring = HeaderRing::new(&zone)
            .map_err(|error| Error::damaged(format!("{}: log ring: {error}", self.path.display())).caused_by(error))?;
        let commits = (0..WAL_SLOTS).filter_map(|slot| match ring.slot(slot) {
            SlotHeader::Valid(header) => Some(header.commit()),
            SlotHeader::Reserved | SlotHeader::Invalid => None,
        });
        Ok(commits.max().unwrap_or(0))
    }

    fn finish(&mut self, at_least_op: u64) -> Result<CapturedLog> {
        let clock = self.options.clock;
        let mut deadline = clock.now() + FINISH_DEADLINE;
        let at_least_op = at_least_op.max(self.committed_in_ring()?);
        self.resting = false;
        loop {
            let polled = self.poll()?;
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if let Some(reason) = &self.lost {
                return Ok(CapturedLog::Unusable(reason.clone()));
            }
            let Some(tail) = &self.tail else { return Err(Error::bug("the log is finished before it is followed")) };
            // A poll that found many prepares may have left more unread. Under load the head keeps
            // moving, so being a few prepares behind counts as caught up.
            let behind = matches!(polled, Polled::Prepares(prepares) if prepares >= PREPARES_BEHIND_MAX);
            if tail.op() >= at_least_op && !behind {
                break;
            }
            if tail.op() < at_least_op && matches!(polled, Polled::Prepares(_)) {
                // The log is arriving, however slowly.
                deadline = clock.now() + FINISH_DEADLINE;
            }
            if clock.now() >= deadline {
                if tail.op() >= at_least_op {
                    break;
                }
                let next_op = tail.op() + 1;
                let reason = format!(
                    "op {at_least_op} is committed, but the log ends at op {}: op {next_op} is missing or damaged in the ring",
                    tail.op()
                );
                return Ok(CapturedLog::Unusable(reason));
            }
            if polled == Polled::Idle {
                clock.sleep(IDLE_PAUSE);
            }
        }
        if !self.held_agrees()? {
            self.forget_held();
        } else if !self.reaches_back() {
            self.lost = Some(format!("more than {KEPT_PREPARES_MAX} prepares came while the checkpoint was copied"));
        }
        if let Some(reason) = &self.lost {
            return Ok(CapturedLog::Unusable(reason.clone()));
        }
        let mut bytes_read = 0;
        let mut replies = Vec::new();
        if let Some(tail) = &mut self.tail {
            replies = tail.client_replies()?;
            bytes_read = tail.bytes_read();
        }
        if let Some((name, finishing)) = std::mem::take(&mut self.builder).write(&self.repository, self.timeline, self.run)? {
            self.segments.push_back(Segment::Writing(name, finishing));
        }
        let first_op = self.headers.front().map(PrepareHeader::op);
        let mut segments: Vec<SegmentEntry> = self
            .held
            .segments
            .iter()
            .filter(|segment| first_op.is_some_and(|first_op| segment.name.last_op >= first_op))
            .cloned()
            .collect();
        for segment in std::mem::take(&mut self.segments) {
            let entry = match segment {
                Segment::Writing(name, finishing) => segment_entry(name, finishing)?,
                Segment::Durable(entry) => entry,
            };
            segments.push(entry.clone());
            self.segments.push_back(Segment::Durable(entry));
        }
        self.resting = true;
        Ok(CapturedLog::Complete(Captured {
            headers: self.headers.iter().copied().collect(),
            segments,
            runs: self.runs.clone(),
            replies,
            bytes_read,
        }))
    }
}

#[cfg(test)]
mod tests;
