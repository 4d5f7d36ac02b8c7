//! Brings the records that wait in the outbox to the repository, and from there to the ledger, in
//! order.
//!
//! Flow: one thread for each, so that neither waits for the other. `ToRepository` records what
//! comes, and passes on what the ledger is to be told; `ToLedger` delivers the events, and, when
//! there is nothing else to do, looks whether the ledger lacks an event of a run that somebody else
//! has recorded: a command, or an agent without a ledger, or because the ledger was restored to an
//! earlier point. Whoever cannot get on tries again, later each time, and says why on the board.
//!
//! Everything may happen twice: a record is created once under its name, an event has one id. So a
//! kill at any instant costs a repetition and nothing else.

use super::outbox::{Entry, EntryName, Lane};
use super::reconcile::reconcile;
use super::recorder::{Recorder, Trouble};
use crate::backoff::Backoff;
use crate::error::{Kind, Result};
use crate::ledger_events::event::{Accounts, Event, id_of, is_told};
use crate::ledger_events::packing::Status;
use crate::ledger_events::{Delivered, Teller};
use crate::repository::key::random;
use crate::repository::name::{self, RunName};
use crate::repository::run_record::RunRecord;
use crate::stop::Stop;
use crate::store::PutOutcome;
use crate::threads::spawn;
use crate::units::{now_ns, time_text};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pauses after failures.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// How often the ledger is looked through for what it lacks.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How long the end of the agent waits for a request that is under way.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// Nothing happens for so long at the most, whatever is missed.
const REST: Duration = Duration::from_secs(3600);

/// A ledger that is told, how it books, and how long an answer may take before that is an alert.
pub struct LedgerDelivery {
    /// Who takes events.
    pub teller: Box<dyn Teller>,
    /// Where they are booked.
    pub accounts: Accounts,
    /// From then on it is late.
    pub late_after: Duration,
}

/// The threads.
pub struct Delivery {
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Delivery {
    /// Starts to deliver.
    ///
    /// # Errors
    /// [`Error::try_again`] when the system gives no threads.
    pub fn start(recorder: &Arc<Recorder>, told: Option<LedgerDelivery>) -> Result<Delivery> {
        let (stop, passed_on) = (Stop::default(), bounded(1));
        let mut repository = ToRepository::new(recorder, passed_on.0);
        let stopping = stop.clone();
        let mut threads = vec![spawn("amber-records", move || repository.run(&stopping))?];
        if let Some(told) = told {
            let (mut ledger, stopping) = (ToLedger::new(recorder, told), stop.clone());
            threads.push(spawn("amber-events", move || ledger.run(&passed_on.1, &stopping))?);
        }
        Ok(Delivery { stop, threads })
    }

    /// Ends; what waits goes on at the next start.
    pub fn stop(self) {
        self.stop.ask();
        let asked = Instant::now();
        // A thread that is still in a request then ends with the process.
        while self.threads.iter().any(|thread| !thread.is_finished()) && asked.elapsed() < STOP_GRACE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Counts failures in a row.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    /// The pause after one more: up to a quarter longer by chance, so that several agents do not
    /// come all at once.
    fn pause(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        let pause = RETRY.after(self.0);
        let jitter = random::<1>().map_or(0, |[byte]| u32::from(byte));
        pause + pause * jitter / 1024
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Until something comes, or it is time, or the agent ends; whether it ends.
fn rest(woken: &Receiver<()>, at_most: Duration, stop: &Stop) -> bool {
    select! {
        recv(woken) -> _ => stop.is_asked(),
        recv(stop.asked()) -> _ => true,
        default(at_most) => stop.is_asked(),
    }
}

/// The first stage.
pub(super) struct ToRepository {
    recorder: Arc<Recorder>,
    passed_on: Sender<()>,
    reconciled: bool,
}

impl ToRepository {
    pub(super) fn new(recorder: &Arc<Recorder>, passed_on: Sender<()>) -> ToRepository {
        ToRepository { recorder: Arc::clone(recorder), passed_on, reconciled: false }
    }

    fn run(&mut self, stop: &Stop) {
        let recorder = Arc::clone(&self.recorder);
        let mut failures = Failures::default();
        loop {
            let pause = match self.turn(stop) {
                Ok(()) => {
                    failures.reset();
                    // A full disk does not tell when it has room again.
                    if recorder.has_unsaved() { RETRY.longest } else { REST }
                }
                Err(_) => failures.pause(),
            };
            if rest(recorder.woken(), pause, stop) {
                return;
            }
        }
    }

    /// Everything that can be done now. What keeps the rest from getting on is on the board.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(super) fn turn(&mut self, stop: &Stop) -> Result<()> {
        // What the disk does not take is told, and holds nothing up that it has.
        let _ = self.recorder.save();
        let reconciled = self.reconcile();
        let delivered = self.deliver(stop);
        self.recorder.trouble(Trouble::Repository, delivered.as_ref().err().map(|error| error.message.clone()));
        self.recorder.tell();
        reconciled.and(delivered)
    }

    fn reconcile(&mut self) -> Result<()> {
        if self.reconciled {
            return Ok(());
        }
        let reconciled = reconcile(&self.recorder);
        let trouble = reconciled.as_ref().err().map(|error| format!("runs that were killed cannot be looked for: {error}"));
        self.recorder.trouble(Trouble::Reconcile, trouble);
        self.reconciled = reconciled.is_ok();
        reconciled
    }

    fn deliver(&self, stop: &Stop) -> Result<()> {
        let outbox = &self.recorder.outbox;
        loop {
            let names = outbox.waiting(Lane::Repository)?;
            for name in &names {
                if stop.is_asked() {
                    return Ok(());
                }
                if let Some(entry) = read(&self.recorder, Lane::Repository, name)? {
                    self.record(name, &entry)?;
                }
            }
            if names.is_empty() {
                return Ok(());
            }
        }
    }

    fn record(&self, name: &EntryName, entry: &Entry) -> Result<()> {
        let Recorder { repository, outbox, .. } = &*self.recorder;
        let record = match repository.record_run(entry.run, &entry.record)? {
            PutOutcome::Created => entry.record.clone(),
            PutOutcome::AlreadyExists => recorded_before(&self.recorder, entry)?,
        };
        if !(self.recorder.tells() && is_told(record.run.work)) {
            return outbox.remove(Lane::Repository, name);
        }
        outbox.pass_on(name, entry, &record)?;
        // It is full when somebody has been woken already.
        let _ = self.passed_on.try_send(());
        Ok(())
    }
}

/// What the repository has under a record's name already: mostly the same, from a try whose answer
/// was lost. What was recorded first counts.
fn recorded_before(recorder: &Recorder, entry: &Entry) -> Result<RunRecord> {
    let name = RunName { run: entry.run, has_ended: entry.record.outcome.is_some() };
    match recorder.repository.run_record(&name) {
        // Nothing can be put in its place; `amber verify` tells of it.
        Err(error) if error.kind == Kind::Damaged => Ok(entry.record.clone()),
        found => found,
    }
}

/// An entry, or `None` for one that was damaged and is out of the way now.
fn read(recorder: &Recorder, lane: Lane, name: &EntryName) -> Result<Option<Entry>> {
    match recorder.outbox.read(lane, name) {
        Err(error) if error.kind == Kind::Damaged => {
            let place = recorder.outbox.set_aside(lane, name)?;
            tracing::error!("{error}; it was moved to {}", place.display());
            Ok(None)
        }
        entry => entry.map(Some),
    }
}

/// The second stage.
pub(super) struct ToLedger {
    recorder: Arc<Recorder>,
    told: LedgerDelivery,
    /// When the ledger was looked through last.
    swept: Option<Instant>,
    /// Events that the ledger refused, found by looking: they are not tried again by this process.
    refused: HashSet<u128>,
}

impl ToLedger {
    pub(super) fn new(recorder: &Arc<Recorder>, told: LedgerDelivery) -> ToLedger {
        ToLedger { recorder: Arc::clone(recorder), told, swept: None, refused: HashSet::new() }
    }

    fn run(&mut self, passed_on: &Receiver<()>, stop: &Stop) {
        let mut failures = Failures::default();
        loop {
            let pause = match self.turn(stop) {
                Ok(()) => {
                    failures.reset();
                    self.swept.map_or(REST, |swept| SWEEP_INTERVAL.saturating_sub(swept.elapsed()))
                }
                Err(_) => failures.pause(),
            };
            if rest(passed_on, pause, stop) {
                return;
            }
        }
    }

    /// Everything that can be done now. What keeps the rest from getting on is on the board.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(super) fn turn(&mut self, stop: &Stop) -> Result<()> {
        let delivered = self.deliver(stop);
        self.recorder.trouble(Trouble::Ledger, delivered.as_ref().err().map(|error| error.message.clone()));
        let mut swept = Ok(());
        if delivered.is_ok() && !stop.is_asked() && self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL) {
            swept = self.sweep(stop);
            let trouble = swept.as_ref().err().map(|error| format!("events that the ledger lacks cannot be looked for: {error}"));
            self.recorder.trouble(Trouble::Sweep, trouble);
        }
        self.recorder.tell();
        delivered.and(swept)
    }

    fn deliver(&mut self, stop: &Stop) -> Result<()> {
        let recorder = Arc::clone(&self.recorder);
        loop {
            let names = recorder.outbox.waiting(Lane::Ledger)?;
            for name in &names {
                if stop.is_asked() {
                    return Ok(());
                }
                let Some(entry) = read(&recorder, Lane::Ledger, name)? else { continue };
                let event = Event::of(recorder.repository.backup_id(entry.run), &entry.record, &self.told.accounts);
                let told = match event {
                    Ok(Some(event)) => self.tell(&event, stop),
                    Ok(None) => Delivered::Yes,
                    Err(error) => Delivered::Refused(error.message),
                };
                match told {
                    Delivered::Yes => recorder.outbox.remove(Lane::Ledger, name)?,
                    Delivered::Refused(reason) => {
                        let place = recorder.outbox.refuse(name)?;
                        tracing::error!(
                            "the event of run {} is not delivered: {reason}; it waits in {} for the next start",
                            entry.run,
                            place.display()
                        );
                    }
                    Delivered::NotNow(error) => return Err(error),
                    Delivered::GaveUp => return Ok(()),
                }
            }
            if names.is_empty() {
                return Ok(());
            }
        }
    }

    /// Delivers one event, for as long as that takes; once it is late that is told.
    fn tell(&mut self, event: &Event, stop: &Stop) -> Delivered {
        let (began, asked_ns, told_late, recorder) = (Instant::now(), now_ns(), Cell::new(false), &self.recorder);
        let (late_after, place) = (self.told.late_after, self.told.teller.describe());
        let give_up = || {
            if !told_late.get() && began.elapsed() >= late_after {
                told_late.set(true);
                recorder.trouble(Trouble::Ledger, Some(format!("the {place} has not answered since {}", time_text(asked_ns))));
                recorder.tell();
            }
            stop.is_asked()
        };
        let delivered = self.told.teller.deliver(event, &give_up);
        if delivered == Delivered::Yes {
            recorder.delivered();
        }
        if told_late.get() && !matches!(delivered, Delivered::NotNow(_) | Delivered::GaveUp) {
            recorder.trouble(Trouble::Ledger, None);
        }
        delivered
    }

    /// Delivers what the repository has a record of and the ledger no event.
    fn sweep(&mut self, stop: &Stop) -> Result<()> {
        let known = self.told.teller.known()?;
        let repository = Arc::clone(&self.recorder.repository);
        let mut names: Vec<RunName> = repository.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)).collect();
        names.sort_unstable();
        // What waits comes in its turn. Looked at last: what the repository has got from here is
        // still in the outbox.
        let mut waits = HashSet::new();
        self.recorder.outbox.each(&mut |entry| {
            waits.insert(RunName { run: entry.run, has_ended: entry.record.outcome.is_some() });
        })?;
        for name in names.into_iter().filter(|name| !waits.contains(name)) {
            let backup_id = repository.backup_id(name.run);
            let ids: &[Status] = if name.has_ended { &[Status::Completed, Status::Failed] } else { &[Status::Started] };
            if ids.iter().any(|status| known.contains(&id_of(backup_id, *status))) {
                continue;
            }
            let record = match repository.run_record(&name) {
                // `amber verify` and `amber events` tell of it.
                Err(error) if error.kind == Kind::Damaged => continue,
                record => record?,
            };
            if stop.is_asked() {
                return Ok(());
            }
            let Ok(Some(event)) = Event::of(backup_id, &record, &self.told.accounts) else { continue };
            if self.refused.contains(&event.id) {
                continue;
            }
            match self.tell(&event, stop) {
                Delivered::Yes => {}
                Delivered::Refused(reason) => {
                    tracing::error!("the event of run {} is not delivered: {reason}", name.run);
                    self.refused.insert(event.id);
                }
                Delivered::NotNow(error) => return Err(error),
                Delivered::GaveUp => return Ok(()),
            }
        }
        self.swept = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
