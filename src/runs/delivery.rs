//! Brings the records that wait in the outbox to the repository, and from there to the ledger, in
//! order.
//!
//! Flow: there is one thread for each, so that neither waits for the other. `ToRepository` records
//! what arrives, and passes on what must be reported to the ledger. `ToLedger` delivers the events.
//! When it has nothing else to do, it checks whether the ledger lacks the event of a run that this
//! agent did not report: a command or an agent without a ledger recorded the run, or the ledger was
//! restored to an earlier point. A thread that cannot proceed retries, after a longer pause each
//! time, and says why on the board.
//!
//! Everything may happen twice: a record is created once under its name, and an event has one id.
//! So a kill at any moment costs a repetition and nothing else.

use super::outbox::{Entry, EntryName, Lane};
use super::reconcile::reconcile;
use super::recorder::{Recorder, Trouble};
use crate::backoff::Backoff;
use crate::error::{Kind, Result};
use crate::host::{Clock, Random};
use crate::ledger_events::event::{Accounts, Event, id_of};
use crate::ledger_events::packing::Status;
use crate::ledger_events::{Delivered, EventLedger};
use crate::repository::name::{self, RunName};
use crate::repository::run_record::RunRecord;
use crate::stop::Stop;
use crate::store::PutOutcome;
use crate::threads::spawn;
use crate::units::time_text;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The pauses after failures.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// How often the ledger is checked for events that it lacks.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// How long the end of the agent waits for a request that is in progress.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// The longest time without a turn, in case a wake-up was missed.
const REST: Duration = Duration::from_secs(3600);

/// The ledger to which events are reported, the accounts they are booked to, and how long an answer
/// may take before that raises an alert.
pub struct LedgerDelivery {
    /// What takes events.
    pub teller: Box<dyn EventLedger>,
    /// Where they are booked.
    pub accounts: Accounts,
    /// An answer that takes longer than this is late.
    pub late_after: Duration,
}

/// What the threads do: each stage has steps of its own.
pub struct Stages {
    /// From the outbox to the repository.
    pub repository: ToRepository,
    /// From the outbox to the ledger, if there is one.
    pub ledger: Option<ToLedger>,
    /// Says that something has come for the ledger.
    passed_on: Receiver<()>,
}

impl Stages {
    /// The stages behind a recorder.
    pub fn new(recorder: &Arc<Recorder>, reported: Option<LedgerDelivery>) -> Stages {
        let (pass_on, passed_on) = bounded(1);
        let ledger = reported.map(|reported| ToLedger::new(recorder, reported));
        Stages { repository: ToRepository::new(recorder, pass_on), ledger, passed_on }
    }
}

/// The threads.
pub struct Delivery {
    clock: Clock,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Delivery {
    /// Starts to deliver.
    ///
    /// # Errors
    /// [`crate::error::Error::try_again`] when the system gives no threads.
    pub fn start(stages: Stages) -> Result<Delivery> {
        let Stages { mut repository, ledger, passed_on } = stages;
        let (clock, stop) = (repository.recorder.repository.clock(), Stop::default());
        let stopping = stop.clone();
        let mut threads = vec![spawn("amber-records", move || repository.run(&stopping))?];
        if let Some(mut ledger) = ledger {
            let stopping = stop.clone();
            threads.push(spawn("amber-events", move || ledger.run(&passed_on, &stopping))?);
        }
        Ok(Delivery { clock, stop, threads })
    }

    /// Ends the threads. What waits is delivered after the next start.
    pub fn stop(self) {
        self.stop.ask();
        let asked = self.clock.now();
        // A thread that is still in a request by then ends with the process.
        while self.threads.iter().any(|thread| !thread.is_finished()) && self.clock.since(asked) < STOP_GRACE {
            self.clock.sleep(Duration::from_millis(5));
        }
    }
}

/// Counts failures in a row.
#[derive(Default)]
struct Failures(u32);

impl Failures {
    /// The pause after one more failure, lengthened by up to a quarter at random, so that several
    /// agents do not retry all at once.
    fn pause(&mut self, random: Random) -> Duration {
        self.0 = self.0.saturating_add(1);
        let pause = RETRY.after(self.0);
        let jitter = random.bytes::<1>().map_or(0, |[byte]| u32::from(byte));
        pause + pause * jitter / 1024
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Waits until something arrives, the time is over, or the agent ends. Returns whether it ends.
fn rest(woken: &Receiver<()>, at_most: Duration, stop: &Stop) -> bool {
    select! {
        recv(woken) -> _ => stop.is_asked(),
        recv(stop.asked()) -> _ => true,
        default(at_most) => stop.is_asked(),
    }
}

/// The first stage: from the outbox to the repository.
pub struct ToRepository {
    recorder: Arc<Recorder>,
    passed_on: Sender<()>,
    reconciled: bool,
    failures: Failures,
}

impl ToRepository {
    pub(super) fn new(recorder: &Arc<Recorder>, passed_on: Sender<()>) -> ToRepository {
        ToRepository { recorder: Arc::clone(recorder), passed_on, reconciled: false, failures: Failures::default() }
    }

    fn run(&mut self, stop: &Stop) {
        loop {
            let pause = self.recorder.repository.clock().wait(self.step(stop));
            if rest(self.recorder.woken(), pause, stop) {
                return;
            }
        }
    }

    /// Does everything that can be done now, and returns when to do so again at the latest.
    pub(crate) fn step(&mut self, stop: &Stop) -> Duration {
        match self.turn(stop) {
            Ok(()) => {
                self.failures.reset();
                // A full disk does not notify when it has room again.
                if self.recorder.has_unsaved() { RETRY.longest } else { REST }
            }
            Err(_) => self.failures.pause(self.recorder.repository.host().random),
        }
    }

    /// Does everything that can be done now. What keeps the rest from proceeding is written on the
    /// board.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(super) fn turn(&mut self, stop: &Stop) -> Result<()> {
        // What the disk does not take is reported, and does not delay what the disk already has.
        let _ = self.recorder.save();
        let reconciled = self.reconcile();
        let delivered = self.deliver(stop);
        self.recorder.trouble(Trouble::Repository, delivered.as_ref().err().map(|error| error.message.clone()));
        self.recorder.publish();
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
        if !self.recorder.has_ledger() {
            return outbox.remove(Lane::Repository, name);
        }
        outbox.pass_on(name, entry, &record)?;
        // The channel is full when the other thread has already been woken.
        let _ = self.passed_on.try_send(());
        Ok(())
    }
}

/// What the repository already has under a record's name: usually the same record, from a try whose
/// answer was lost. The record that was stored first counts.
fn recorded_before(recorder: &Recorder, entry: &Entry) -> Result<RunRecord> {
    let name = RunName { run: entry.run, has_ended: entry.record.outcome.is_some() };
    match recorder.repository.run_record(&name) {
        // A damaged record cannot be replaced; `amber verify` reports it.
        Err(error) if error.kind == Kind::Damaged => Ok(entry.record.clone()),
        found => found,
    }
}

/// Reads an entry; `None` for one that was damaged and is now set aside.
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

/// The second stage: from the outbox to the ledger.
pub struct ToLedger {
    recorder: Arc<Recorder>,
    reported: LedgerDelivery,
    /// When the ledger was last checked for events that it lacks.
    swept: Option<Instant>,
    /// Events that a sweep found missing and the ledger refused. This process does not try them
    /// again.
    refused: HashSet<u128>,
    failures: Failures,
}

impl ToLedger {
    pub(super) fn new(recorder: &Arc<Recorder>, reported: LedgerDelivery) -> ToLedger {
        ToLedger { recorder: Arc::clone(recorder), reported, swept: None, refused: HashSet::new(), failures: Failures::default() }
    }

    fn run(&mut self, passed_on: &Receiver<()>, stop: &Stop) {
        loop {
            let pause = self.recorder.repository.clock().wait(self.step(stop));
            if rest(passed_on, pause, stop) {
                return;
            }
        }
    }

    /// Does everything that can be done now, and returns when to do so again at the latest.
    pub(crate) fn step(&mut self, stop: &Stop) -> Duration {
        match self.turn(stop) {
            Ok(()) => {
                self.failures.reset();
                self.swept.map_or(REST, |swept| SWEEP_INTERVAL.saturating_sub(self.recorder.repository.clock().since(swept)))
            }
            Err(_) => self.failures.pause(self.recorder.repository.host().random),
        }
    }

    /// Does everything that can be done now. What keeps the rest from proceeding is written on the
    /// board.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(super) fn turn(&mut self, stop: &Stop) -> Result<()> {
        let delivered = self.deliver(stop);
        self.recorder.trouble(Trouble::Ledger, delivered.as_ref().err().map(|error| error.message.clone()));
        let mut swept = Ok(());
        if delivered.is_ok()
            && !stop.is_asked()
            && self.swept.is_none_or(|swept| self.recorder.repository.clock().since(swept) >= SWEEP_INTERVAL)
        {
            swept = self.sweep(stop);
            let trouble = swept.as_ref().err().map(|error| format!("events that the ledger lacks cannot be looked for: {error}"));
            self.recorder.trouble(Trouble::Sweep, trouble);
        }
        self.recorder.publish();
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
                let event = Event::of(recorder.repository.backup_id(entry.run), &entry.record, &self.reported.accounts);
                let reported = match event {
                    Ok(event) => self.deliver_event(&event, stop),
                    Err(error) => Delivered::Refused(error.message),
                };
                match reported {
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

    /// Delivers one event, however long that takes. Once the answer is late, that is reported.
    fn deliver_event(&mut self, event: &Event, stop: &Stop) -> Delivered {
        let clock = self.recorder.repository.clock();
        let (began, asked_ns, told_late, recorder) = (clock.now(), clock.now_ns(), Cell::new(false), &self.recorder);
        let (late_after, place) = (self.reported.late_after, self.reported.teller.describe());
        let give_up = || {
            if !told_late.get() && clock.since(began) >= late_after {
                told_late.set(true);
                recorder.trouble(Trouble::Ledger, Some(format!("the {place} has not answered since {}", time_text(asked_ns))));
                recorder.publish();
            }
            stop.is_asked()
        };
        let delivered = self.reported.teller.deliver(event, &give_up);
        if delivered == Delivered::Yes {
            recorder.delivered();
        }
        if told_late.get() && !matches!(delivered, Delivered::NotNow(_) | Delivered::GaveUp) {
            recorder.trouble(Trouble::Ledger, None);
        }
        delivered
    }

    /// Delivers the events that the ledger lacks of records in the repository.
    fn sweep(&mut self, stop: &Stop) -> Result<()> {
        let known = self.reported.teller.known()?;
        let repository = Arc::clone(&self.recorder.repository);
        let mut names: Vec<RunName> = repository.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)).collect();
        names.sort_unstable();
        // What waits in the outbox is delivered in its turn. The outbox is read last, so that it
        // still contains what the repository has got from here.
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
                // `amber verify` and `amber events` report it.
                Err(error) if error.kind == Kind::Damaged => continue,
                record => record?,
            };
            if stop.is_asked() {
                return Ok(());
            }
            let Ok(event) = Event::of(backup_id, &record, &self.reported.accounts) else { continue };
            if self.refused.contains(&event.id) {
                continue;
            }
            match self.deliver_event(&event, stop) {
                Delivered::Yes => {}
                Delivered::Refused(reason) => {
                    tracing::error!("the event of run {} is not delivered: {reason}", name.run);
                    self.refused.insert(event.id);
                }
                Delivered::NotNow(error) => return Err(error),
                Delivered::GaveUp => return Ok(()),
            }
        }
        self.swept = Some(self.recorder.repository.clock().now());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
