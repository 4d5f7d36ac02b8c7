//! Records what the agent's jobs did, and passes it on: to the catalog soon, to the repository and
//! the ledger when they can be reached.
//!
//! Flow: a job (`jobs::active`) puts the record of its beginning, works, and puts the
//! record of its end. [`Recorder::put`] makes a record durable in the [`Outbox`] and passes it to
//! the local sinks; [`super::delivery`] delivers what waits there. Nothing here waits for a store
//! or a ledger, so no job does. A job that is killed leaves a beginning without an end, and
//! [`super::reconcile`] adds the end at the next start.

use super::outbox::{Lane, Outbox};
use crate::error::{Kind, Result};
use crate::monitor::alert::Topic;
use crate::monitor::status::EventsStatus;
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::{RunRecord, RunSink};
use crate::threads::lock;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The outbox in the state directory.
pub const OUTBOX: &str = "outbox";
/// How many records are kept in memory while the disk takes none. Beyond that the oldest beginnings
/// are dropped first, because an end contains everything that its beginning says.
const UNSAVED_MAX: usize = 1000;

/// Why records are not passed on. Each is reported until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The disk takes no entries.
    Disk,
    /// The repository takes no records.
    Repository,
    /// The ledger takes no events.
    Ledger,
    /// The runs that were killed could not be looked up.
    Reconcile,
    /// It could not be checked whether the ledger lacks events of runs that the repository has.
    Sweep,
}

struct State {
    /// Records that the disk has not taken, in order.
    unsaved: VecDeque<(RunId, RunRecord)>,
    /// Runs that this process has begun, so that they are not mistaken for killed ones. `None` once
    /// the killed ones are known.
    begun: Option<HashSet<RunId>>,
    trouble: BTreeMap<Trouble, String>,
    delivered: u64,
}

/// Takes records.
pub struct Recorder {
    pub(super) repository: Arc<Repository>,
    pub(crate) outbox: Outbox,
    sinks: Vec<Arc<dyn RunSink>>,
    board: Arc<StatusBoard>,
    by: String,
    /// Whether a ledger is configured.
    has_ledger: bool,
    state: Mutex<State>,
    wake: (Sender<()>, Receiver<()>),
}

impl Recorder {
    /// Creates a recorder with its outbox in the state directory. `by` is the token by which this
    /// agent recognises itself, `sinks` take every record at once, and with `tells` events wait for
    /// a ledger.
    ///
    /// # Errors
    /// [`crate::error::Error::input`] where the outbox cannot be used.
    pub fn new(
        repository: &Arc<Repository>,
        board: &Arc<StatusBoard>,
        state_directory: &Path,
        by: &str,
        sinks: Vec<Arc<dyn RunSink>>,
        has_ledger: bool,
    ) -> Result<Recorder> {
        let recorder = Recorder {
            repository: Arc::clone(repository),
            outbox: Outbox::open(repository.host().disk, &state_directory.join(OUTBOX))?,
            sinks,
            board: Arc::clone(board),
            by: by.to_owned(),
            has_ledger,
            state: Mutex::new(State { unsaved: VecDeque::new(), begun: Some(HashSet::new()), trouble: BTreeMap::new(), delivered: 0 }),
            wake: bounded(1),
        };
        recorder.notify_sinks();
        recorder.publish();
        Ok(recorder)
    }

    /// Passes to the sinks what a killed process had recorded, because they may not have kept it.
    fn notify_sinks(&self) {
        let reported = self.outbox.each(&mut |entry| self.hand_on(entry.run, &entry.record));
        if let Err(error) = reported {
            tracing::warn!("the outbox is not read now: {error}");
        }
    }

    /// Passes a record to the sinks. A sink that fails does not stop a job, because its content can
    /// be rebuilt from the repository.
    fn hand_on(&self, run: RunId, record: &RunRecord) {
        for sink in &self.sinks {
            if let Err(error) = sink.put(run, record) {
                tracing::warn!("the record of run {run} was not taken: {error}");
            }
        }
    }

    /// The repository to which its runs' backups and records go.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// The token by which this agent recognises itself.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Whether a ledger is configured.
    pub fn has_ledger(&self) -> bool {
        self.has_ledger
    }

    /// Whether this process has begun a run.
    pub(super) fn has_begun(&self, run: RunId) -> bool {
        lock(&self.state).begun.as_ref().is_some_and(|known| known.contains(&run))
    }

    /// Forgets which runs this process has begun. The killed runs are known, so this is not needed
    /// any more.
    pub(super) fn forget_begun(&self) {
        lock(&self.state).begun = None;
    }

    /// Wakes the delivery when there is something new.
    pub(super) fn woken(&self) -> &Receiver<()> {
        &self.wake.1
    }

    /// Writes the records that wait in memory to the outbox, in order.
    ///
    /// # Errors
    /// [`Error::try_again`] when the disk does not take all of it now.
    pub(super) fn save(&self) -> Result<()> {
        let mut state = lock(&self.state);
        let mut saved = Ok(());
        while saved.is_ok()
            && let Some((run, record)) = state.unsaved.front()
        {
            saved = match self.outbox.append(*run, record, self.repository.clock().now_ns()) {
                // The outbox will never take this record, and it must not block the others.
                Err(error) if error.kind == Kind::Bug => {
                    tracing::error!("{error}");
                    Ok(())
                }
                appended => appended,
            };
            if saved.is_ok() {
                state.unsaved.pop_front();
            }
        }
        if state.unsaved.len() > UNSAVED_MAX {
            let begun = state.unsaved.iter().position(|(_, record)| record.outcome.is_none()).unwrap_or(0);
            state.unsaved.remove(begun);
        }
        drop(state);
        self.trouble(Trouble::Disk, saved.as_ref().err().map(|error| error.message.clone()));
        saved
    }

    /// Whether records wait in memory because the disk takes none.
    pub(super) fn has_unsaved(&self) -> bool {
        !lock(&self.state).unsaved.is_empty()
    }

    /// Notes what keeps records from being passed on, or that it is over.
    pub(super) fn trouble(&self, trouble: Trouble, text: Option<String>) {
        let mut state = lock(&self.state);
        match text {
            Some(text) => drop(state.trouble.insert(trouble, text)),
            None => drop(state.trouble.remove(&trouble)),
        }
    }

    /// Counts an event that was delivered.
    pub(super) fn delivered(&self) {
        lock(&self.state).delivered += 1;
    }

    /// Writes on the board what waits, and why.
    pub(super) fn publish(&self) {
        let (unsaved, delivered, trouble) = {
            let state = lock(&self.state);
            (state.unsaved.len() as u64, state.delivered, state.trouble.values().cloned().collect::<Vec<_>>().join("; "))
        };
        let count = |lane| self.outbox.count(lane).unwrap_or(0);
        let waiting = unsaved + count(Lane::Repository) + count(Lane::Ledger);
        let alerts: Vec<String> = [trouble.clone()].into_iter().chain(self.outbox.trouble()).filter(|text| !text.is_empty()).collect();
        let waits = if waiting > 0 { format!("{waiting} records of runs wait: ") } else { String::new() };
        let alert = (!alerts.is_empty()).then(|| format!("{waits}{}", alerts.join("; ")));
        self.board.alert(Topic::Events, alert);
        let oldest_ns = self.oldest_ns();
        let status = self.has_ledger.then_some(EventsStatus { waiting, oldest_ns, delivered, reason: trouble });
        self.board.change(|board| board.events = status);
    }

    /// Since when the oldest record waits.
    fn oldest_ns(&self) -> Option<u64> {
        // Entries in the ledger's lane have waited longer.
        [Lane::Ledger, Lane::Repository].into_iter().find_map(|lane| {
            let first = self.outbox.waiting(lane).ok()?.into_iter().next()?;
            self.outbox.read(lane, &first).ok().map(|entry| entry.appended_ns)
        })
    }
}

impl RunSink for Recorder {
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()> {
        if let (None, Some(known)) = (&record.outcome, &mut lock(&self.state).begun) {
            known.insert(run);
        }
        // The record goes after those that already wait, so that the order is kept.
        lock(&self.state).unsaved.push_back((run, record.clone()));
        let saved = self.save();
        self.hand_on(run, record);
        self.publish();
        // The channel is full when the delivery has already been woken.
        let _ = self.wake.0.try_send(());
        saved
    }
}

#[cfg(test)]
mod tests;
