//! Keeps the process within its limits: CPU time, upload and read bandwidth. It is the thin shell
//! around [`super::pacer`]: the clocks, the lock and the waiting.
//!
//! Flow: work asks before it begins ([`Governor::admit`], [`Governor::admit_upload`],
//! [`Governor::admit_read`]). The log is counted and continues; bulk work waits until there is
//! room. Nobody holds the governor's lock while waiting, and callers hold none of their own locks.
//! Threads that do bulk work report what they have used ([`Governor::meter`]), so that the log's
//! share can be told from the bulk work's. What a thread uses between two admissions of bulk work
//! counts as bulk, too.
//!
//! A process without limits pays one comparison for each question. [`Governor::release`] lets
//! everybody pass, so that a waiting thread notices that its work is given up.

use super::forecast::Forecast;
pub use super::pacer::Priority;
use super::pacer::{Clocks, Pacer};
use crate::host::Clock;
pub use crate::limits::limit::Limit;
pub use crate::limits::limit::Limits;
use crate::threads::lock;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

thread_local! {
    /// CPU time of this thread that is counted already, in nanoseconds.
    static METERED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The governor; see the head of this module.
#[derive(Debug)]
pub struct Governor {
    /// Whether there is a limit at all.
    limited: bool,
    /// Whether bulk work has to wait at present.
    paces: AtomicBool,
    /// How far below the priority of other threads the threads are that do bulk work.
    bulk_nice: u8,
    clock: Clock,
    began: Instant,
    /// CPU time of bulk threads, in nanoseconds.
    bulk_ns: AtomicU64,
    pacer: Mutex<Pacer>,
    changed: Condvar,
}

impl Default for Governor {
    fn default() -> Governor {
        Governor::new(Limits::default(), 0, Clock::default())
    }
}

impl Governor {
    /// A governor for this process. `bulk_nice` is how much bulk threads yield to all others when
    /// cores are short: 0 (not) to 19. `clock` is the one that bandwidth is counted by.
    pub fn new(limits: Limits, bulk_nice: u8, clock: Clock) -> Governor {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let clocks = Clocks { at_s: 0.0, cpu_s: clock_ns(ClockId::ProcessCPUTime) as f64 / 1e9, bulk_s: 0.0 };
        let pacer = Pacer::new(limits, cores, clocks);
        let limited = pacer.is_limited();
        Governor {
            limited,
            paces: AtomicBool::new(limited),
            bulk_nice,
            clock,
            began: clock.now(),
            bulk_ns: AtomicU64::new(0),
            pacer: Mutex::new(pacer),
            changed: Condvar::new(),
        }
    }

    /// A governor without limits.
    pub fn unlimited() -> Arc<Governor> {
        Arc::new(Governor::default())
    }

    /// Called before work on this many plain bytes. Bulk work waits until the CPU budget has room
    /// for it.
    pub fn admit(&self, priority: Priority, plain_bytes: u64) {
        self.wait_for(priority, Limit::Cpu, plain_bytes);
    }

    /// Called before this many bytes are sent to the store.
    pub fn admit_upload(&self, priority: Priority, stored_bytes: u64) {
        self.wait_for(priority, Limit::Upload, stored_bytes);
    }

    /// Called before, or right after, this many bytes are read: from the node's disk, or by
    /// verification from the store.
    pub fn admit_read(&self, priority: Priority, bytes: u64) {
        self.wait_for(priority, Limit::Read, bytes);
    }

    fn wait_for(&self, priority: Priority, limit: Limit, bytes: u64) {
        if !self.limited {
            return;
        }
        if priority == Priority::Bulk {
            self.meter();
        }
        let mut pacer = self.lock();
        loop {
            let Err(seconds) = pacer.admit(self.clocks(), priority, limit, bytes) else { return };
            if !self.paces.load(Ordering::Acquire) {
                return;
            }
            let began = self.clock.now();
            pacer = self
                .changed
                .wait_timeout(pacer, self.clock.wait(Duration::from_secs_f64(seconds.clamp(0.001, 1.0))))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            pacer.waited(limit, self.clock.since(began).as_secs_f64());
        }
    }

    /// Counts what this thread has used since the last call as bulk work. The first call counts
    /// nothing, because what came before is not known to be bulk work.
    pub fn meter(&self) {
        if self.limited {
            let used_ns = clock_ns(ClockId::ThreadCPUTime);
            let before_ns = METERED.replace(Some(used_ns)).unwrap_or(used_ns);
            self.bulk_ns.fetch_add(used_ns.saturating_sub(before_ns), Ordering::Relaxed);
        }
    }

    /// Called by a thread that does bulk work and nothing else: it yields to all others. If the
    /// system refuses that, the budget still holds.
    pub fn begin_bulk_thread(&self) {
        self.meter();
        if self.bulk_nice > 0 {
            // Without a process id this means the calling thread: on Linux every thread has a
            // priority of its own. A thread that already yields more keeps its priority.
            let own = rustix::process::getpriority_process(None).unwrap_or(0);
            let _ = rustix::process::setpriority_process(None, own.max(i32::from(self.bulk_nice)));
        }
    }

    /// From now on nobody waits, until [`Governor::resume`]: the work that waits is given up.
    pub fn release(&self) {
        self.paces.store(false, Ordering::Release);
        // A thread that has just decided to wait holds the lock until it waits.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Bulk work has to wait again.
    pub fn resume(&self) {
        self.paces.store(self.limited, Ordering::Release);
    }

    /// Reports the progress of bulk work with a deadline. `due` counts from now.
    pub fn goal(&self, done_bytes: u64, total_bytes: Option<u64>, due: Duration) {
        if self.limited {
            self.lock().goal(done_bytes, total_bytes, due.as_secs_f64());
        }
    }

    /// The bulk work with a deadline is over.
    pub fn no_goal(&self) {
        self.lock().no_goal();
    }

    /// The current use, and what will not fit.
    pub fn forecast(&self) -> Forecast {
        let mut pacer = self.lock();
        pacer.forecast(self.clocks())
    }

    fn clocks(&self) -> Clocks {
        // The bulk threads' time is read first: what is counted in it is in the process's time,
        // too.
        let bulk_s = self.bulk_ns.load(Ordering::Relaxed) as f64 / 1e9;
        Clocks { at_s: self.clock.since(self.began).as_secs_f64(), cpu_s: clock_ns(ClockId::ProcessCPUTime) as f64 / 1e9, bulk_s }
    }

    fn lock(&self) -> MutexGuard<'_, Pacer> {
        lock(&self.pacer)
    }
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests;
