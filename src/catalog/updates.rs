//! Keeps the agent's catalog up to date: records of runs are gathered, and written together when
//! the limits allow it.
//!
//! ```text
//! Recorder -> CatalogQueue (a sink that accepts a record at once)
//!     -> CatalogUpdater::run -> refresh (once), Catalog::apply -> catalog
//! ```
//!
//! Opening the catalog costs more than writing a row, and nothing waits for it: a catalog can be
//! rebuilt from the repository at any time. So writing is bulk work. It begins one window of the
//! CPU budget after the agent's start, and rows that come close together are written together. When
//! the agent ends, it writes what waits. What a killed agent did not write, the next one finds in
//! its outbox (`runs::recorder`) or, with a refresh, in the repository.

use super::rebuild::refresh;
use super::row::KnownRun;
use super::writer::Catalog;
use crate::error::{Error, Kind, Result};
use crate::limits::governor::Priority;
use crate::progress::Silent;
use crate::repository::name::RunId;
use crate::repository::run_record::{RunRecord, RunSink};
use crate::stop::Stop;
use crate::threads::lock;
use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// When the first write begins: the agent's start, with its CPU cost, is over then.
pub const FIRST_AFTER: Duration = Duration::from_secs(10);
/// How long rows wait for others to be written together with them.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// As how many plain bytes of bulk work a write is admitted. It costs about 0.05 CPU seconds, as
/// much as a MiB at the most expensive level.
const WRITING_BYTES: u64 = 1 << 20;
/// When a failed write or refresh is retried: the store could not be reached, or the catalog was
/// locked.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The most rows that wait. The daily refresh brings those beyond it.
const WAITING_MAX: usize = 1024;

/// The rows that wait to be written. They are in memory only: outbox and repository have them too,
/// and the catalog can be rebuilt from those.
#[derive(Debug)]
pub struct CatalogQueue {
    waiting: Mutex<Vec<KnownRun>>,
    wake: (Sender<()>, Receiver<()>),
}

impl Default for CatalogQueue {
    fn default() -> Self {
        CatalogQueue { waiting: Mutex::default(), wake: bounded(1) }
    }
}

impl CatalogQueue {
    fn lock(&self) -> MutexGuard<'_, Vec<KnownRun>> {
        lock(&self.waiting)
    }
}

impl RunSink for CatalogQueue {
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()> {
        let mut waiting = self.lock();
        let too_many = (waiting.len() + 1).saturating_sub(WAITING_MAX);
        waiting.drain(..too_many);
        waiting.push(KnownRun::recorded(run, record));
        drop(waiting);
        // A full channel means that the updater has been woken already.
        let _ = self.wake.0.try_send(());
        Ok(())
    }
}

/// Writes the queue into the catalog; see the head of this module.
#[derive(Debug)]
pub struct CatalogUpdater {
    catalog: Arc<Catalog>,
    queue: Arc<CatalogQueue>,
    /// Whether the catalog has been brought up to date with the repository.
    is_refreshed: bool,
}

impl CatalogUpdater {
    /// An updater of this catalog.
    pub fn new(catalog: &Arc<Catalog>, queue: &Arc<CatalogQueue>) -> CatalogUpdater {
        CatalogUpdater { catalog: Arc::clone(catalog), queue: Arc::clone(queue), is_refreshed: false }
    }

    /// Writes until it is asked to stop, and then writes what waits. The first write comes after
    /// `first_after`.
    pub fn run(&mut self, first_after: Duration, stop: &Stop) {
        self.catalog.repository().governor().begin_bulk_thread();
        stop.wait(first_after);
        loop {
            let is_last = stop.is_asked();
            if !is_last {
                self.catalog.repository().governor().admit(Priority::Bulk, WRITING_BYTES);
            }
            let again = self.step();
            if is_last {
                return;
            }
            let again = again.map_or_else(never, |again| after(self.catalog.repository().clock().wait(again)));
            select! {
                recv(self.queue.wake.1) -> _ => { stop.wait(GATHERED_FOR); }
                recv(stop.asked()) -> _ => {}
                recv(again) -> _ => {}
            }
        }
    }

    /// Writes what waits, and returns when to try again what failed.
    pub fn step(&mut self) -> Option<Duration> {
        self.write();
        let is_done = self.is_refreshed && self.queue.lock().is_empty();
        (!is_done).then_some(RETRY_AFTER)
    }

    /// Writes what waits, which needs no store. Then brings the catalog up to date with the
    /// repository, if that has not been done yet.
    fn write(&mut self) {
        let waiting = std::mem::take(&mut *self.queue.lock());
        if !waiting.is_empty() {
            match self.catalog.apply(&waiting) {
                Ok(applied) => applied.unfit.iter().for_each(|unfit| tracing::warn!("catalog: {unfit}")),
                Err(error) => self.keep(waiting, &error),
            }
        }
        if !self.is_refreshed {
            match refresh(&self.catalog, &Silent) {
                Ok(refreshed) => {
                    self.is_refreshed = true;
                    refreshed.notes.iter().for_each(|note| tracing::info!("catalog: {note}"));
                }
                Err(error) => tracing::warn!("the catalog is not brought up to date now: {error}"),
            }
        }
    }

    /// Keeps rows that were not written for the next attempt, if that may succeed.
    fn keep(&self, mut rows: Vec<KnownRun>, error: &Error) {
        tracing::warn!("{} records of runs are not in the catalog: {error}", rows.len());
        if error.kind == Kind::TryAgain {
            let mut waiting = self.queue.lock();
            rows.append(&mut waiting);
            rows.drain(..rows.len().saturating_sub(WAITING_MAX));
            *waiting = rows;
        }
    }
}

#[cfg(test)]
mod tests;
