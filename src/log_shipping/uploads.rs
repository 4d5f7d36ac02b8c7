//! The threads of the shipper, and the state that they share.
//!
//! Flow: each upload thread takes the oldest segment of the backlog that is not being uploaded,
//! puts it, and records the result. If the put fails, the segment returns to its place and the
//! thread pauses, longer each time up to a maximum, without giving up. A name that is already taken
//! counts as stored: it contains the number of our run, so only an earlier try of ours can have
//! taken it. The spool thread writes segments to disk that have waited in memory for too long.
//!
//! Locks, the outermost first: `offering` (whose turn it is to use the spool), `spooling` (one
//! writer of the spool, so that the oldest go first), `order` (events come in order), `state`. No
//! I/O and no foreign code runs under `state`. A panic in a thread raises an alert, and the thread
//! continues.

use super::queue::{Backlog, Durable, Ticket, Upload};
use super::spool::Spool;
use crate::backoff::Backoff;
use crate::error::{Error, Kind};
use crate::host::Clock;
use crate::limits::governor::Priority;
use crate::log_shipping::ship_options::Event;
use crate::log_shipping::ship_options::Hooks;
use crate::log_shipping::ship_options::ShipOptions;
use crate::monitor::alert::Topic;
use crate::repository::Repository;
use crate::repository::name::SegmentName;
use crate::repository::sealed::SealedObject;
use crate::store::{Digest, StoreError};
use crate::threads::lock;
use crate::tier::tigerbeetle::format::segment::PrepareRow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a shipper that may not ship asks whether it may ship now.
pub const STANDBY_PAUSE: Duration = Duration::from_millis(100);

/// The phases of a shipper's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes segments.
    Taking,
    /// It takes no more segments.
    Draining,
    /// It begins no more uploads.
    Ending,
    /// It ignores the results of uploads that are still running.
    Closed,
}

/// The state that changes while a shipper lives.
pub struct State {
    /// The segments that wait.
    pub backlog: Backlog,
    /// The current phase.
    pub phase: Phase,
    /// Threads that have not ended.
    pub threads: usize,
    /// The last segment that is durable with everything before it, and its last prepare.
    pub durable: Option<(SegmentName, PrepareRow)>,
    /// Segments stored.
    pub shipped_segments: u64,
    /// Their stored bytes.
    pub shipped_bytes: u64,
    /// When the first put failed since the last put that succeeded.
    pub failing_since: Option<Instant>,
    /// The last error.
    pub last_error: Option<String>,
    /// The alerts that are raised now.
    pub alerts: BTreeMap<Topic, String>,
}

/// What the threads of a shipper share; see the head of this module.
pub struct Shared {
    repository: Arc<Repository>,
    spool: Option<Spool>,
    options: ShipOptions,
    /// The hooks that the owner of the shipper passed in.
    pub hooks: Hooks,
    /// Held by an offer, and by the thread that writes to the spool next. So neither keeps the
    /// other waiting for more than one write.
    pub offering: Mutex<()>,
    /// Held by the thread that writes to the spool.
    pub spooling: Mutex<()>,
    order: Mutex<()>,
    /// The state that changes.
    pub state: Mutex<State>,
    /// Notified with each change.
    pub changed: Condvar,
}

/// Why a segment was not put.
enum NotPut {
    /// Another agent ships.
    Fenced,
    /// The segment is damaged in the spool.
    Lost(Error),
    /// The segment cannot be read from the spool now.
    Spool(Error),
    Store(StoreError),
}

/// What follows a step of one of the shipper's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next step.
    Step,
    /// A rest until something changes, or for this long.
    Rest(Option<Duration>),
    /// A pause, which only the end of the shipper cuts short.
    Pause(Duration),
    /// Nothing: the shipper ends.
    End,
}

/// How an upload ended.
enum Uploaded {
    Done,
    Fenced,
    Failed,
}

/// One upload thread.
#[derive(Debug, Default)]
pub struct Uploader {
    held: Option<Ticket>,
    failures: u32,
}

impl Shared {
    /// Creates a shipper that has no thread yet.
    pub fn new(repository: Arc<Repository>, spool: Option<Spool>, options: ShipOptions, hooks: Hooks, backlog: Backlog) -> Shared {
        let state = State {
            backlog,
            phase: Phase::Taking,
            threads: 0,
            durable: None,
            shipped_segments: 0,
            shipped_bytes: 0,
            failing_since: None,
            last_error: None,
            alerts: BTreeMap::new(),
        };
        let (offering, spooling, order, changed) = (Mutex::default(), Mutex::default(), Mutex::default(), Condvar::new());
        Shared { repository, spool, options, hooks, offering, spooling, order, state: Mutex::new(state), changed }
    }

    /// How many upload threads it is to have.
    pub fn uploads(&self) -> usize {
        self.options.uploads.max(1)
    }

    /// The clock of the machine.
    pub fn clock(&self) -> Clock {
        self.repository.clock()
    }

    /// The spool, if there is one.
    pub fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// The largest segment that the spool takes now, in bytes.
    pub fn spool_free_bytes(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::free_bytes)
    }

    /// Advances to a phase, and never goes back.
    pub fn enter(&self, phase: Phase) {
        let mut state = lock(&self.state);
        state.phase = state.phase.max(phase);
        drop(state);
        self.changed.notify_all();
    }

    /// Reports an event, unless the shipper is closed. If the observer panics, that becomes the
    /// last error, because there is no one else to report it to.
    pub fn report(&self, event: Event) {
        if lock(&self.state).phase == Phase::Closed {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| (self.hooks.observe)(event))).is_err() {
            lock(&self.state).last_error = Some("the observer of the shipper's events panicked".to_owned());
        }
    }

    /// Raises an alert. It is reported only if there is none about the same subject.
    fn raise(&self, topic: Topic, text: String) {
        let mut state = lock(&self.state);
        state.last_error = Some(text.clone());
        let standing = state.alerts.insert(topic, text.clone());
        drop(state);
        if standing.is_none() {
            self.report(Event::Alert(text));
        }
    }

    /// Runs a step of a thread. A panic in it raises an alert and returns `None`.
    fn guarded<T>(&self, step: impl FnOnce(&Shared) -> T) -> Option<T> {
        let panic = match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => return Some(done),
            Err(panic) => panic,
        };
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("a panic without a text");
        self.raise(Topic::Bug, format!("the shipper hit a bug and continues; report it: {said}"));
        None
    }

    /// Does what follows a step: waits where that is said. `false` if it was the last one.
    pub fn follow(&self, next: Next, waits_for: impl Fn(&mut Backlog) -> bool) -> bool {
        match next {
            Next::Step => {}
            Next::Pause(pause) => {
                let pause = self.clock().wait(pause);
                drop(wait_while(&self.changed, lock(&self.state), pause, |state| state.phase < Phase::Ending));
            }
            Next::Rest(at_most) => {
                // What it waits for may have come since the step.
                let nothing = |state: &mut State| state.phase < Phase::Ending && !waits_for(&mut state.backlog);
                match at_most.map(|at_most| self.clock().wait(at_most)) {
                    Some(at_most) => drop(self.changed.wait_timeout_while(lock(&self.state), at_most, nothing)),
                    None => drop(self.changed.wait_while(lock(&self.state), nothing)),
                }
            }
            Next::End => return false,
        }
        true
    }

    /// Half of the pause after this many failures, plus up to as much again at random, so that the
    /// threads do not all retry at once.
    fn pause_after(&self, failures: u32) -> Duration {
        let pause = Backoff { first: self.options.retry_first, longest: self.options.retry_max }.after(failures);
        // Without chance the threads merely retry together.
        let chance = u32::from(u16::from_le_bytes(self.repository.host().random.bytes().unwrap_or([0; 2])) % 1024);
        pause / 2 + pause / 2048 * chance
    }

    /// Uploads a segment, if one waits and this agent may.
    pub fn upload_step(&self, uploader: &mut Uploader) -> Next {
        let state = lock(&self.state);
        if state.phase >= Phase::Ending {
            return Next::End;
        }
        if !state.backlog.has_upload() {
            return Next::Rest(None);
        }
        drop(state);
        if !(self.hooks.may_ship)() {
            return Next::Pause(STANDBY_PAUSE);
        }
        let Some(upload) = lock(&self.state).backlog.take_upload() else { return Next::Step };
        uploader.held = Some(upload.ticket);
        let uploaded = self.guarded(|shared| shared.upload(uploader, &upload)).unwrap_or(Uploaded::Failed);
        // The segment returns to the queue before the pause, so that the first thread that reaches
        // the store begins with the oldest.
        if let Some(ticket) = uploader.held.take() {
            lock(&self.state).backlog.put_back(ticket);
            self.changed.notify_all();
        }
        match uploaded {
            Uploaded::Done => uploader.failures = 0,
            Uploaded::Fenced => {}
            Uploaded::Failed => {
                uploader.failures = uploader.failures.saturating_add(1);
                return Next::Pause(self.pause_after(uploader.failures));
            }
        }
        Next::Step
    }

    fn upload(&self, uploader: &mut Uploader, upload: &Upload) -> Uploaded {
        match self.put(upload) {
            Ok(digest) => {
                uploader.held = None;
                self.stored(upload, digest);
                return Uploaded::Done;
            }
            Err(NotPut::Lost(error)) => {
                uploader.held = None;
                self.lost(upload, &error);
                return Uploaded::Done;
            }
            Err(NotPut::Fenced) => return Uploaded::Fenced,
            Err(NotPut::Spool(error)) => self.raise(Topic::Spool, error.message),
            Err(NotPut::Store(error)) => self.store_failed(&error),
        }
        Uploaded::Failed
    }

    fn put(&self, upload: &Upload) -> Result<Digest, NotPut> {
        let object = match (&upload.object, &self.spool) {
            (Some(object), _) => Arc::clone(object),
            (None, Some(spool)) => {
                let sort = |error: Error| if error.kind == Kind::Damaged { NotPut::Lost(error) } else { NotPut::Spool(error) };
                Arc::new(spool.read(&upload.name, upload.stored_bytes, upload.digest.as_ref()).map_err(sort)?)
            }
            (None, None) => return Err(NotPut::Spool(Error::bug("a segment is in a spool that does not exist"))),
        };
        // Asked last, because reading the spool may have taken a while.
        if !(self.hooks.may_ship)() {
            return Err(NotPut::Fenced);
        }
        self.repository.governor().admit_upload(Priority::Log, object.stored_bytes);
        self.repository.put_sealed(&object).map_err(NotPut::Store)?;
        Ok(object.digest)
    }

    fn stored(&self, upload: &Upload, digest: Digest) {
        let order = lock(&self.order);
        let mut state = lock(&self.state);
        if state.phase == Phase::Closed {
            return;
        }
        let advance = state.backlog.stored(upload.ticket, digest);
        state.shipped_segments += 1;
        state.shipped_bytes += upload.stored_bytes;
        state.failing_since = None;
        drop(state.alerts.remove(&Topic::Refused));
        self.report_durable(state, advance.durable);
        drop(order);
        if advance.in_spool {
            self.forget(&upload.name.object(), upload.stored_bytes);
        }
    }

    /// Drops what another agent has stored.
    pub fn forget_through(&self, timeline: u32, op: u64) {
        let order = lock(&self.order);
        let mut state = lock(&self.state);
        let (spooled, durable) = state.backlog.forget_through(timeline, op);
        self.report_durable(state, durable);
        drop(order);
        for (name, stored_bytes) in spooled {
            self.forget(&name.object(), stored_bytes);
        }
    }

    fn lost(&self, upload: &Upload, error: &Error) {
        let order = lock(&self.order);
        if lock(&self.state).phase == Phase::Closed {
            return;
        }
        if let Some(spool) = &self.spool {
            self.report(Event::Damaged(spool.set_aside(&upload.name, error)));
        }
        let mut state = lock(&self.state);
        let durable = state.backlog.lost(upload.ticket);
        self.report_durable(state, durable);
        drop(order);
    }

    fn report_durable(&self, mut state: MutexGuard<'_, State>, durable: Vec<Durable>) {
        if let Some(last) = durable.last() {
            state.durable = Some((last.entry.name, last.last));
        }
        drop(state);
        self.changed.notify_all();
        for segment in durable {
            self.report(Event::Durable(segment));
        }
    }

    fn store_failed(&self, error: &StoreError) {
        let text = error.to_string();
        let mut state = lock(&self.state);
        state.failing_since.get_or_insert_with(|| self.clock().now());
        state.last_error = Some(text.clone());
        drop(state);
        if !matches!(error, StoreError::Unavailable { .. } | StoreError::Corrupted { .. }) {
            self.raise(Topic::Refused, format!("{text}; the log waits here until the store takes it"));
        }
    }

    /// Removes a segment from the spool that the store has.
    fn forget(&self, name: &str, stored_bytes: u64) {
        let Some(spool) = &self.spool else { return };
        match spool.remove(name, stored_bytes) {
            Ok(()) => drop(lock(&self.state).alerts.remove(&Topic::Spool)),
            Err(error) => self.raise(Topic::Spool, error.message),
        }
        self.changed.notify_all();
    }

    /// Writes a segment to the spool; the caller holds `spooling`. `false` if that failed, which
    /// raises an alert.
    pub fn write(&self, object: &SealedObject) -> bool {
        let Some(spool) = &self.spool else { return false };
        match spool.put(object) {
            Ok(()) => {
                drop(lock(&self.state).alerts.remove(&Topic::Spool));
                true
            }
            Err(error) => {
                self.raise(Topic::Spool, error.message);
                false
            }
        }
    }

    /// Writes a segment of the backlog to the spool; the caller holds `spooling`.
    pub fn move_to_spool(&self, ticket: Ticket, object: &SealedObject) -> bool {
        let written = self.write(object);
        if written {
            let needed = lock(&self.state).backlog.spooled(ticket);
            self.changed.notify_all();
            if !needed {
                self.forget(&object.name, object.stored_bytes);
            }
        }
        written
    }

    /// Writes everything in memory to the spool, as far as there is room.
    pub fn spool_all(&self) {
        while self.spool_oldest(|_| true) == Some(true) {}
    }

    /// Writes the oldest segment in memory to the spool, if there is one and it is `wanted` there.
    /// `Some(false)` if that failed.
    fn spool_oldest(&self, wanted: impl Fn(&mut Backlog) -> bool) -> Option<bool> {
        self.spool.as_ref()?;
        let turn = lock(&self.offering);
        let _spooling = lock(&self.spooling);
        drop(turn);
        let mut state = lock(&self.state);
        if !wanted(&mut state.backlog) {
            return None;
        }
        let (ticket, object, _) = state.backlog.oldest_in_memory()?;
        drop(state);
        Some(self.move_to_spool(ticket, &object))
    }

    /// Writes the oldest segment in memory to the spool, if it has waited long enough and there is
    /// room for it.
    pub fn spool_step(&self) -> Next {
        let mut state = lock(&self.state);
        if state.phase >= Phase::Ending {
            return Next::End;
        }
        match self.spool_wait(&mut state.backlog) {
            Some(Duration::ZERO) => drop(state),
            at_most => return Next::Rest(at_most),
        }
        let written = self.guarded(|shared| shared.spool_oldest(|backlog| shared.is_spool_due(backlog)));
        match written {
            Some(Some(true) | None) => Next::Step,
            // The step panicked, or the segment could not be written.
            None | Some(Some(false)) => Next::Pause(self.options.retry_max),
        }
    }

    /// Whether a segment must go to the spool now.
    pub fn is_spool_due(&self, backlog: &mut Backlog) -> bool {
        self.spool_wait(backlog) == Some(Duration::ZERO)
    }

    /// How long until the oldest segment in memory must go to the spool, or until to check again if
    /// there is no room for it. `None` if nothing is in memory.
    fn spool_wait(&self, backlog: &mut Backlog) -> Option<Duration> {
        let (_, object, offered) = backlog.oldest_in_memory()?;
        let left = self.options.spool_after.saturating_sub(self.clock().since(offered));
        Some(if left.is_zero() && object.stored_bytes > self.spool_free_bytes() { self.options.retry_max } else { left })
    }
}

/// Waits while `condition` holds, but no longer than `longest`.
pub fn wait_while<'a>(
    changed: &Condvar,
    state: MutexGuard<'a, State>,
    longest: Duration,
    condition: impl Fn(&State) -> bool,
) -> MutexGuard<'a, State> {
    let waited = changed.wait_timeout_while(state, longest, |state| condition(state));
    waited.unwrap_or_else(PoisonError::into_inner).0
}
