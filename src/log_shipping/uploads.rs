//! The threads of the shipper and what they share.
//!
//! Flow: each upload thread takes the oldest segment of the backlog that nobody uploads, puts it,
//! and says what became of it; a put that fails goes back to its place and the thread pauses,
//! longer each time, without end. A name that is taken counts as stored: it carries the number of
//! our run, so only an earlier try of ours can have taken it. The spool thread writes down what has
//! waited in memory for too long.
//!
//! Locks, the outermost first: `offering` (whose turn it is to use the spool), `spooling` (one
//! writer of the spool, so that the oldest go first), `order` (events come in order), `state`. No
//! I/O and no foreign code runs under `state`. A panic in a thread is an alert, and the thread goes
//! on.

use super::queue::{Backlog, Durable, Ticket, Upload};
use super::shipper::{Event, Hooks, ShipOptions};
use super::spool::Spool;
use crate::backoff::Backoff;
use crate::error::{Error, Kind};
use crate::limits::governor::Priority;
use crate::repository::Repository;
use crate::repository::name::SegmentName;
use crate::repository::sealed::SealedObject;
use crate::store::{Digest, StoreError};
use crate::threads::lock;
use crate::tier::tigerbeetle::format::segment::PrepareRow;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a shipper that may not ship asks whether it may.
pub const STANDBY_PAUSE: Duration = Duration::from_millis(100);

/// How far a shipper is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes segments.
    Taking,
    /// Nothing is taken any more.
    Draining,
    /// No upload begins any more.
    Ending,
    /// What an upload still says is not heard.
    Closed,
}

/// What an alert is about: one stands for each.
#[derive(Debug, Clone, Copy)]
enum About {
    Store,
    Spool,
    Bug,
}

/// What changes while a shipper lives.
pub struct State {
    /// What waits.
    pub backlog: Backlog,
    /// How far it is.
    pub phase: Phase,
    /// Threads that have not ended.
    pub threads: usize,
    /// The last that is durable with everything before it.
    pub durable: Option<(SegmentName, PrepareRow)>,
    /// Segments stored.
    pub shipped_segments: u64,
    /// Their stored bytes.
    pub shipped_bytes: u64,
    /// When the first put failed of those since the last that did not.
    pub failing_since: Option<Instant>,
    /// The last error.
    pub last_error: Option<String>,
    /// The alerts that stand.
    pub alerts: [Option<String>; 3],
}

/// What the threads of a shipper share; see the head of this module.
pub struct Shared {
    repository: Arc<Repository>,
    spool: Option<Spool>,
    options: ShipOptions,
    /// What the owner of the shipper gave it.
    pub hooks: Hooks,
    /// Held by an offer, and by whoever is next to write to the spool: neither keeps the other
    /// waiting for more than one write.
    pub offering: Mutex<()>,
    /// Held by whoever writes to the spool.
    pub spooling: Mutex<()>,
    order: Mutex<()>,
    /// What changes.
    pub state: Mutex<State>,
    /// Notified with each change.
    pub changed: Condvar,
}

/// Why a segment was not put.
enum NotPut {
    /// Another agent ships.
    Fenced,
    /// The spool does not give it back, and never will.
    Lost(Error),
    /// The spool does not give it back now.
    Spool(Error),
    Store(StoreError),
}

/// How an upload thread's turn ended.
enum Turn {
    Last,
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
    /// A shipper that has no thread yet.
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
            alerts: [None, None, None],
        };
        let (offering, spooling, order, changed) = (Mutex::default(), Mutex::default(), Mutex::default(), Condvar::new());
        Shared { repository, spool, options, hooks, offering, spooling, order, state: Mutex::new(state), changed }
    }

    /// The spool, if there is one.
    pub fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// The largest segment that the spool takes now, in bytes.
    pub fn spool_free_bytes(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::free_bytes)
    }

    /// Goes on to a phase, never back.
    pub fn enter(&self, phase: Phase) {
        let mut state = lock(&self.state);
        state.phase = state.phase.max(phase);
        drop(state);
        self.changed.notify_all();
    }

    /// Tells an event, unless the shipper is gone. An observer that panics is an error, but nobody
    /// is left to tell it to.
    pub fn tell(&self, event: Event) {
        if lock(&self.state).phase == Phase::Closed {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| (self.hooks.observe)(event))).is_err() {
            lock(&self.state).last_error = Some("whoever is told of the shipper's events panicked".to_owned());
        }
    }

    /// Raises an alert; it is told only if none stands about the same.
    fn raise(&self, about: About, text: String) {
        let mut state = lock(&self.state);
        state.last_error = Some(text.clone());
        let standing = state.alerts[about as usize].replace(text.clone());
        drop(state);
        if standing.is_none() {
            self.tell(Event::Alert(text));
        }
    }

    /// Runs a step of a thread; a panic in it is an alert, and `None`.
    fn guarded<T>(&self, step: impl FnOnce(&Shared) -> T) -> Option<T> {
        let panic = match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => return Some(done),
            Err(panic) => panic,
        };
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("a panic without a text");
        self.raise(About::Bug, format!("the shipper met a bug and goes on; report it: {said}"));
        None
    }

    /// Waits, unless the shipper ends.
    fn pause(&self, duration: Duration) {
        drop(wait_while(&self.changed, lock(&self.state), duration, |state| state.phase < Phase::Ending));
    }

    /// Half of the pause after so many failures, and up to as much again by chance, so that the
    /// threads do not knock together.
    fn pause_after(&self, failures: u32) -> Duration {
        let pause = Backoff { first: self.options.retry_first, longest: self.options.retry_max }.after(failures);
        let chance = (RandomState::new().hash_one(failures) % 1024) as u32;
        pause / 2 + pause / 2048 * chance
    }

    /// One turn of an upload thread; `false` if it was the last.
    pub fn upload_turn(&self, uploader: &mut Uploader) -> bool {
        let turn = self.guarded(|shared| shared.upload_one(uploader)).unwrap_or(Turn::Failed);
        // The segment goes back before the pause: whoever reaches the store first begins with the
        // oldest.
        if let Some(ticket) = uploader.held.take() {
            lock(&self.state).backlog.put_back(ticket);
            self.changed.notify_all();
        }
        match turn {
            Turn::Last => return false,
            Turn::Done => uploader.failures = 0,
            Turn::Fenced => {}
            Turn::Failed => {
                uploader.failures = uploader.failures.saturating_add(1);
                self.pause(self.pause_after(uploader.failures));
            }
        }
        true
    }

    fn upload_one(&self, uploader: &mut Uploader) -> Turn {
        let Some(upload) = self.next_upload() else { return Turn::Last };
        uploader.held = Some(upload.ticket);
        match self.put(&upload) {
            Ok(digest) => {
                uploader.held = None;
                self.stored(&upload, digest);
                return Turn::Done;
            }
            Err(NotPut::Lost(error)) => {
                uploader.held = None;
                self.lost(&upload, &error);
                return Turn::Done;
            }
            Err(NotPut::Fenced) => return Turn::Fenced,
            Err(NotPut::Spool(error)) => self.raise(About::Spool, error.message),
            Err(NotPut::Store(error)) => self.store_failed(&error),
        }
        Turn::Failed
    }

    /// Waits for something to upload; `None` when no upload begins any more.
    fn next_upload(&self) -> Option<Upload> {
        loop {
            let nothing = |state: &mut State| state.phase < Phase::Ending && !state.backlog.has_upload();
            let state = self.changed.wait_while(lock(&self.state), nothing).unwrap_or_else(PoisonError::into_inner);
            if state.phase >= Phase::Ending {
                return None;
            }
            drop(state);
            if !(self.hooks.may_ship)() {
                self.pause(STANDBY_PAUSE);
                continue;
            }
            let upload = lock(&self.state).backlog.take_upload();
            if upload.is_some() {
                return upload;
            }
        }
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
        // Asked last: reading the spool may have taken a while.
        if !(self.hooks.may_ship)() {
            return Err(NotPut::Fenced);
        }
        self.repository.governor().admit_upload(Priority::Log, object.stored_bytes);
        object.put(&**self.repository.store()).map_err(NotPut::Store)?;
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
        state.alerts[About::Store as usize] = None;
        self.tell_durable(state, advance.durable);
        drop(order);
        if advance.in_spool {
            self.forget(&upload.name.object(), upload.stored_bytes);
        }
    }

    /// Lets go of what another agent has stored.
    pub fn forget_through(&self, timeline: u32, op: u64) {
        let order = lock(&self.order);
        let mut state = lock(&self.state);
        let (spooled, durable) = state.backlog.forget_through(timeline, op);
        self.tell_durable(state, durable);
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
            self.tell(Event::Damaged(spool.set_aside(&upload.name, error)));
        }
        let mut state = lock(&self.state);
        let durable = state.backlog.lost(upload.ticket);
        self.tell_durable(state, durable);
        drop(order);
    }

    fn tell_durable(&self, mut state: MutexGuard<'_, State>, durable: Vec<Durable>) {
        if let Some(last) = durable.last() {
            state.durable = Some((last.entry.name, last.last));
        }
        drop(state);
        self.changed.notify_all();
        for segment in durable {
            self.tell(Event::Durable(segment));
        }
    }

    fn store_failed(&self, error: &StoreError) {
        let text = error.to_string();
        let mut state = lock(&self.state);
        state.failing_since.get_or_insert_with(Instant::now);
        state.last_error = Some(text.clone());
        drop(state);
        if !matches!(error, StoreError::Unavailable { .. } | StoreError::Corrupted { .. }) {
            self.raise(About::Store, format!("{text}; the log waits here until the store takes it"));
        }
    }

    /// Removes from the spool what the store has.
    fn forget(&self, name: &str, stored_bytes: u64) {
        let Some(spool) = &self.spool else { return };
        match spool.remove(name, stored_bytes) {
            Ok(()) => lock(&self.state).alerts[About::Spool as usize] = None,
            Err(error) => self.raise(About::Spool, error.message),
        }
        self.changed.notify_all();
    }

    /// Writes a segment to the spool; the caller holds `spooling`. `false` if that failed, which is
    /// an alert.
    pub fn write(&self, object: &SealedObject) -> bool {
        let Some(spool) = &self.spool else { return false };
        match spool.put(object) {
            Ok(()) => {
                lock(&self.state).alerts[About::Spool as usize] = None;
                true
            }
            Err(error) => {
                self.raise(About::Spool, error.message);
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

    /// Writes everything that is in memory to the spool, as far as it has room.
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

    /// One turn of the spool thread; `false` if it was the last.
    pub fn spool_turn(&self) -> bool {
        let turn = self.guarded(|shared| {
            shared.wait_until_due().then(|| shared.spool_oldest(|backlog| shared.spool_wait(backlog) == Some(Duration::ZERO)))
        });
        match turn {
            Some(None) => return false,
            Some(Some(Some(true) | None)) => {}
            // It panicked, or could not be written.
            None | Some(Some(Some(false))) => self.pause(self.options.retry_max),
        }
        true
    }

    /// Waits until a segment has to go to the spool, and has room there. `false` when the shipper
    /// ends.
    fn wait_until_due(&self) -> bool {
        let mut state = lock(&self.state);
        while state.phase < Phase::Ending {
            state = match self.spool_wait(&mut state.backlog) {
                Some(Duration::ZERO) => return true,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        false
    }

    /// For how long the oldest segment in memory need not go to the spool, or has no room there.
    /// `None` if there is none.
    fn spool_wait(&self, backlog: &mut Backlog) -> Option<Duration> {
        let (_, object, offered) = backlog.oldest_in_memory()?;
        let left = self.options.spool_after.saturating_sub(offered.elapsed());
        Some(if left.is_zero() && object.stored_bytes > self.spool_free_bytes() { self.options.retry_max } else { left })
    }
}

/// Waits while `condition` holds, but not for longer than this.
pub fn wait_while<'a>(
    changed: &Condvar,
    state: MutexGuard<'a, State>,
    longest: Duration,
    condition: impl Fn(&State) -> bool,
) -> MutexGuard<'a, State> {
    let waited = changed.wait_timeout_while(state, longest, |state| condition(state));
    waited.unwrap_or_else(PoisonError::into_inner).0
}
