//! What the agent's jobs did, on its way to everybody who must know: the catalog soon, the
//! repository and the ledger when they can be reached.
//!
//! Flow: a job ([`crate::jobs::active`]) puts the record of its beginning, works, and puts the
//! record of its end. [`Recorder::put`] makes a record durable in the [`Outbox`] and hands it to
//! the local sinks; [`super::delivery`] brings what waits there further. Nothing here waits for a
//! store or a ledger, so no job does. A job that is killed leaves a beginning without an end, which
//! [`super::reconcile`] adds at the next start.

use super::outbox::{Lane, Outbox};
use crate::error::{Kind, Result};
use crate::monitor::status::EventsStatus;
use crate::monitor::status_board::{StatusBoard, Topic};
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::{RunRecord, RunSink};
use crate::threads::lock;
use crate::units::now_ns;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The outbox in the state directory.
pub const OUTBOX: &str = "outbox";
/// Records that are held in memory while the disk takes none. With more the oldest beginnings go
/// first: an end says everything that they do.
const UNSAVED_MAX: usize = 1000;

/// Why records do not get on, each told until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The disk takes no entries.
    Disk,
    /// The repository takes no records.
    Repository,
    /// The ledger takes no events.
    Ledger,
    /// What was killed could not be looked for.
    Reconcile,
    /// Events that the repository knows of could not be looked for in the ledger.
    Sweep,
}

struct State {
    /// Records that the disk has not taken, in order.
    unsaved: VecDeque<(RunId, RunRecord)>,
    /// Runs that this process has begun: they are not to be taken for killed ones. `None` once
    /// those are known.
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
    /// A ledger is configured.
    tells: bool,
    state: Mutex<State>,
    wake: (Sender<()>, Receiver<()>),
}

impl Recorder {
    /// A recorder with its outbox in the state directory. `by` is what this agent knows itself by,
    /// `sinks` take every record at once, and with `tells` events wait for a ledger.
    ///
    /// # Errors
    /// [`crate::error::Error::input`] where the outbox cannot be used.
    pub fn new(
        repository: &Arc<Repository>,
        board: &Arc<StatusBoard>,
        state_directory: &Path,
        (by, sinks, tells): (&str, Vec<Arc<dyn RunSink>>, bool),
    ) -> Result<Recorder> {
        let recorder = Recorder {
            repository: Arc::clone(repository),
            outbox: Outbox::open(&state_directory.join(OUTBOX))?,
            sinks,
            board: Arc::clone(board),
            by: by.to_owned(),
            tells,
            state: Mutex::new(State { unsaved: VecDeque::new(), begun: Some(HashSet::new()), trouble: BTreeMap::new(), delivered: 0 }),
            wake: bounded(1),
        };
        recorder.tell_sinks();
        recorder.tell();
        Ok(recorder)
    }

    /// Gives sinks what a killed process had put down: they may not have kept it.
    fn tell_sinks(&self) {
        let told = self.outbox.each(&mut |entry| self.hand_on(entry.run, &entry.record));
        if let Err(error) = told {
            tracing::warn!("the outbox is not read now: {error}");
        }
    }

    /// Gives sinks a record. One that can be made again from the repository does not keep a job
    /// from running.
    fn hand_on(&self, run: RunId, record: &RunRecord) {
        for sink in &self.sinks {
            if let Err(error) = sink.put(run, record) {
                tracing::warn!("the record of run {run} was not taken: {error}");
            }
        }
    }

    /// Where its runs' backups and records go.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// What this agent knows itself by.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Whether a ledger is configured.
    pub fn tells(&self) -> bool {
        self.tells
    }

    /// Whether this process has begun a run.
    pub(super) fn has_begun(&self, run: RunId) -> bool {
        lock(&self.state).begun.as_ref().is_some_and(|known| known.contains(&run))
    }

    /// What was killed is known; from now on nobody asks which runs are this process's own.
    pub(super) fn forget_begun(&self) {
        lock(&self.state).begun = None;
    }

    /// Given to whoever delivers: there is something new.
    pub(super) fn woken(&self) -> &Receiver<()> {
        &self.wake.1
    }

    /// Writes what waits in memory, in order.
    ///
    /// # Errors
    /// [`Error::try_again`] when the disk does not take all of it now.
    pub(super) fn save(&self) -> Result<()> {
        let mut state = lock(&self.state);
        let mut saved = Ok(());
        while saved.is_ok()
            && let Some((run, record)) = state.unsaved.front()
        {
            saved = match self.outbox.append(*run, record, now_ns()) {
                // It never will be, and must not stand in the way of the others.
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

    /// Says what keeps records from getting on, or that it no longer does.
    pub(super) fn trouble(&self, trouble: Trouble, text: Option<String>) {
        let mut state = lock(&self.state);
        match text {
            Some(text) => drop(state.trouble.insert(trouble, text)),
            None => drop(state.trouble.remove(&trouble)),
        }
    }

    /// An event was delivered.
    pub(super) fn delivered(&self) {
        lock(&self.state).delivered += 1;
    }

    /// Puts on the board what waits, and why.
    pub(super) fn tell(&self) {
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
        let status = self.tells.then_some(EventsStatus { waiting, oldest_ns, delivered, reason: trouble });
        self.board.change(|board| board.events = status);
    }

    /// Since when the oldest record waits.
    fn oldest_ns(&self) -> Option<u64> {
        // What has come further has waited for longer.
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
        // Behind what waits already, so that the order is kept.
        lock(&self.state).unsaved.push_back((run, record.clone()));
        let saved = self.save();
        self.hand_on(run, record);
        self.tell();
        // It is full when somebody has been woken already.
        let _ = self.wake.0.try_send(());
        saved
    }
}

#[cfg(test)]
mod tests;
