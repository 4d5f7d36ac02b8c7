//! Keeps the catalog beside the agent: what ran is gathered, and written down in one go when there
//! is room for it.
//!
//! ```text
//! Recorder -> CatalogQueue (a sink, takes a record at once) -> CatalogUpdater::run -> refresh (once), Catalog::apply -> catalog
//! ```
//!
//! To open the catalog costs more than to write a row, and nothing waits for it: a catalog can be
//! made again from the repository at any time. So it is bulk work that begins when the agent's
//! start lies a window of the CPU budget back, and rows that come close together share one writing.
//! The end of the agent writes what waits; what a killed agent did not write, the next one finds in
//! its outbox ([`crate::runs::recorder`]) or, with a refresh, in the repository.

use super::rebuild::refresh;
use super::row::Known;
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

/// When the first writing begins: the start is behind the agent then, with what it costs.
pub const FIRST_AFTER: Duration = Duration::from_secs(10);
/// How long rows wait for others to be written with.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// What a writing is admitted as, in plain bytes of bulk work: it costs about 0.05 CPU seconds, as
/// much as a MiB at the dearest level.
const WRITING_BYTES: u64 = 1 << 20;
/// When that is tried again which could not be done: the store was away, or the catalog not free.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Rows that wait at the most. The daily refresh brings those that are more.
const WAITING_MAX: usize = 1024;

/// What waits to be written down. Kept in memory only: outbox and repository have it, too, and the
/// catalog can be made again from them.
#[derive(Debug)]
pub struct CatalogQueue {
    waiting: Mutex<Vec<Known>>,
    wake: (Sender<()>, Receiver<()>),
}

impl Default for CatalogQueue {
    fn default() -> Self {
        CatalogQueue { waiting: Mutex::default(), wake: bounded(1) }
    }
}

impl CatalogQueue {
    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        lock(&self.waiting)
    }
}

impl RunSink for CatalogQueue {
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()> {
        let mut waiting = self.lock();
        let too_many = (waiting.len() + 1).saturating_sub(WAITING_MAX);
        waiting.drain(..too_many);
        waiting.push(Known::recorded(run, record));
        drop(waiting);
        // It is full when somebody has been woken already.
        let _ = self.wake.0.try_send(());
        Ok(())
    }
}

/// Writes it down; see the head of this module.
#[derive(Debug)]
pub struct CatalogUpdater {
    catalog: Arc<Catalog>,
    queue: Arc<CatalogQueue>,
    /// Whether the repository's runs are in the catalog.
    is_refreshed: bool,
}

impl CatalogUpdater {
    /// A keeper of this catalog.
    pub fn new(catalog: &Arc<Catalog>, queue: &Arc<CatalogQueue>) -> CatalogUpdater {
        CatalogUpdater { catalog: Arc::clone(catalog), queue: Arc::clone(queue), is_refreshed: false }
    }

    /// Writes until it is asked to stop, and then what waits; the first time after `first_after`.
    pub fn run(&mut self, first_after: Duration, stop: &Stop) {
        self.catalog.repository().governor().begin_bulk_thread();
        stop.wait(first_after);
        loop {
            let is_last = stop.is_asked();
            if !is_last {
                self.catalog.repository().governor().admit(Priority::Bulk, WRITING_BYTES);
            }
            self.write();
            if is_last {
                return;
            }
            let is_done = self.is_refreshed && self.queue.lock().is_empty();
            let again = if is_done { never() } else { after(RETRY_AFTER) };
            select! {
                recv(self.queue.wake.1) -> _ => { stop.wait(GATHERED_FOR); }
                recv(stop.asked()) -> _ => {}
                recv(again) -> _ => {}
            }
        }
    }

    /// Writes what waits, which needs no store; then brings the catalog up to date with the
    /// repository, if that was not done yet.
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

    /// Keeps what was not written for the next time, where that may go better.
    fn keep(&self, mut rows: Vec<Known>, error: &Error) {
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
