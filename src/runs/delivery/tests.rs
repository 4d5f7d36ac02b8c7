use super::*;
use crate::error::Error;
use crate::ledger_events::packing::Packed;
use crate::ledger_events::tests::book;
use crate::log_shipping::tests::bench::Bench;
use crate::log_shipping::tests::store_double::{Weather, eventually};
use crate::repository::name::RunId;
use crate::repository::run_record::{Run, RunOutcome, RunSink, Scope, Work};
use crate::runs::recorder::OUTBOX;
use std::collections::BTreeMap;
use std::sync::Mutex;

const ACCOUNTS: Accounts = Accounts { ledger: 700, system: 1, all_tenants: 2, tenants: BTreeMap::new() };

/// How the ledger of a test answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mood {
    #[default]
    Good,
    /// Nobody answers.
    Down,
    /// The answer takes a while.
    Late,
    /// The session is over.
    Ended,
    /// Refuses events of this amount.
    RefusesAmount(u128),
}

/// A ledger that a test can look into.
#[derive(Debug, Clone, Default)]
struct Double {
    mood: Arc<Mutex<Mood>>,
    /// In the order in which they were taken.
    events: Arc<Mutex<Vec<Event>>>,
    tries: Arc<Mutex<u64>>,
}

impl Double {
    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn tries(&self) -> u64 {
        *self.tries.lock().unwrap()
    }

    /// The moments and amounts that were taken, in order.
    fn reported(&self) -> Vec<(Status, u128)> {
        self.events.lock().unwrap().iter().map(|event| (Packed::unpack(event.packed).unwrap().status, event.amount)).collect()
    }
}

impl EventLedger for Double {
    fn deliver(&mut self, event: &Event, give_up: &dyn Fn() -> bool) -> Delivered {
        *self.tries.lock().unwrap() += 1;
        loop {
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Down if give_up() => return Delivered::GaveUp,
                Mood::Down => std::thread::sleep(Duration::from_millis(2)),
                Mood::Late => {
                    give_up();
                    break;
                }
                Mood::Ended => return Delivered::NotNow(Error::try_again("the session is over")),
                Mood::RefusesAmount(amount) if event.amount == amount => return Delivered::Refused("on purpose".into()),
                Mood::Good | Mood::RefusesAmount(_) => break,
            }
        }
        book(&mut self.events.lock().unwrap(), event)
    }

    fn known(&mut self) -> Result<HashSet<u128>> {
        if *self.mood.lock().unwrap() == Mood::Down {
            return Err(Error::try_again("nobody answers"));
        }
        Ok(self.events.lock().unwrap().iter().map(|event| event.id).collect())
    }

    fn describe(&self) -> String {
        "ledger of a test".into()
    }
}

/// A recorder that reports to a ledger, and both stages.
struct Rig {
    bench: Bench,
    recorder: Arc<Recorder>,
    ledger: Double,
    to_repository: ToRepository,
    to_ledger: ToLedger,
    stop: Stop,
}

impl Rig {
    fn new() -> Rig {
        let bench = Bench::new(1 << 20);
        // The bench has a recorder of its own, which reports to no ledger.
        std::fs::create_dir(bench.state.path().join("told")).unwrap();
        Rig::with(bench, Double::default())
    }

    fn with(bench: Bench, ledger: Double) -> Rig {
        let state = bench.state.path().join("told");
        let recorder = Arc::new(Recorder::new(&bench.repository, &bench.board, &state, "agent", Vec::new(), true).unwrap());
        let reported = reported(&ledger, Duration::from_secs(60));
        let (to_repository, to_ledger) = (ToRepository::new(&recorder, bounded(1).0), ToLedger::new(&recorder, reported));
        Rig { bench, recorder, ledger, to_repository, to_ledger, stop: Stop::default() }
    }

    /// The agent is killed and starts again.
    fn restart(self) -> Rig {
        Rig::with(self.bench, self.ledger)
    }

    fn put(&self, run: u64, work: Work, outcome: Option<RunOutcome>) {
        self.recorder.put(RunId(run), &record(work, outcome)).unwrap();
    }

    /// A backup from start to end.
    fn backup(&self, run: u64) {
        self.put(run, Work::Tigerbeetle, None);
        self.put(run, Work::Tigerbeetle, Some(stored(run)));
    }

    fn turn(&mut self) -> (Result<()>, Result<()>) {
        (self.to_repository.turn(&self.stop), self.to_ledger.turn(&self.stop))
    }

    fn waiting(&self) -> (u64, u64) {
        let count = |lane| self.recorder.outbox.count(lane).unwrap();
        (count(Lane::Repository), count(Lane::Ledger))
    }

    fn alerts(&self) -> Vec<String> {
        self.bench.board.status().alerts.into_iter().map(|alert| alert.text).collect()
    }
}

fn reported(ledger: &Double, late_after: Duration) -> LedgerDelivery {
    LedgerDelivery { teller: Box::new(ledger.clone()), accounts: ACCOUNTS, late_after }
}

fn record(work: Work, outcome: Option<RunOutcome>) -> RunRecord {
    let (job, by) = ("checkpoint".to_owned(), "somebody".to_owned());
    RunRecord { run: Run { work, scope: Scope::Full, tenant: None, job, by, started_ns: 5_000_000_000, retention_days: 0 }, outcome }
}

fn stored(stored_bytes: u64) -> RunOutcome {
    RunOutcome { stored_bytes, compression: "zstd".into(), encryption: "aes256".into(), ..RunOutcome::completed(9_000_000_000) }
}

#[test]
fn records_come_to_the_repository_and_to_the_ledger_once_and_in_order() {
    let mut rig = Rig::new();
    rig.backup(7);
    rig.put(8, Work::Verification, Some(RunOutcome::completed(9)));
    rig.put(3, Work::Kms, Some(stored(500)));
    rig.put(4, Work::Duckdb, Some(RunOutcome::failed(9, "no")));
    assert_eq!(rig.bench.board.status().events.unwrap().waiting, 5);
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!(
        rig.ledger.reported(),
        [(Status::Started, 0), (Status::Completed, 7), (Status::Completed, 0), (Status::Completed, 1), (Status::Failed, 0)]
    );
    assert_eq!(rig.bench.repository.runs().unwrap().runs.len(), 4);
    let events = rig.bench.board.status().events.unwrap();
    assert_eq!((events.waiting, events.oldest_ns, events.delivered, events.reason.as_str()), (0, None, 5, ""));
    assert_eq!((rig.turn(), rig.ledger.tries()), ((Ok(()), Ok(())), 5), "nothing is left to do");
}

#[test]
fn a_store_that_is_away_is_waited_for_and_said() {
    let mut rig = Rig::new();
    rig.bench.store.set(Weather::Away);
    rig.backup(1);
    assert!(rig.turn().0.is_err());
    assert_eq!(rig.waiting(), (2, 0));
    let events = rig.bench.board.status().events.unwrap();
    assert!(events.waiting == 2 && events.reason.contains("Away on purpose") && events.oldest_ns.is_some(), "{events:?}");
    assert!(rig.alerts()[0].starts_with("2 records of runs wait: "), "{:?}", rig.alerts());
    // Stored, but the answer is lost: the next try finds it there.
    rig.bench.store.set(Weather::AnswerLost);
    assert!(rig.turn().0.is_err());
    rig.bench.store.set(Weather::Fair);
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!((rig.ledger.reported(), rig.alerts()), (vec![(Status::Started, 0), (Status::Completed, 1)], Vec::new()));
}

#[test]
fn a_ledger_that_is_away_holds_nothing_else_up() {
    let mut rig = Rig::new();
    rig.ledger.set(Mood::Ended);
    rig.backup(1);
    let (repository, ledger) = rig.turn();
    assert!(repository.is_ok() && ledger.is_err());
    assert_eq!((rig.waiting(), rig.bench.repository.runs().unwrap().runs.len()), ((0, 2), 1));
    assert!(rig.alerts()[0].contains("the session is over"), "{:?}", rig.alerts());
    rig = rig.restart();
    rig.ledger.set(Mood::Good);
    rig.backup(2);
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!(rig.ledger.reported(), [(Status::Started, 0), (Status::Completed, 1), (Status::Started, 0), (Status::Completed, 2)]);
    assert_eq!((rig.waiting(), rig.alerts().len()), ((0, 0), 0));
}

#[test]
fn what_the_ledger_refuses_stands_in_nobodys_way() {
    let mut rig = Rig::new();
    rig.ledger.set(Mood::RefusesAmount(1));
    rig.backup(1);
    rig.backup(2);
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!(rig.ledger.reported(), [(Status::Started, 0), (Status::Started, 0), (Status::Completed, 2)]);
    assert!(rig.alerts()[0].contains("1 events that the ledger refused lie in "), "{:?}", rig.alerts());
    let tries = rig.ledger.tries();
    assert_eq!((rig.turn().1, rig.ledger.tries()), (Ok(()), tries), "not again and again");
    // Someone corrects the configuration and starts the agent again.
    rig.ledger.set(Mood::Good);
    let mut rig = rig.restart();
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!((rig.ledger.reported().len(), rig.alerts()), (4, Vec::new()));
}

#[test]
fn a_record_that_no_event_can_tell_is_refused_too() {
    let mut rig = Rig::new();
    let mut odd = record(Work::Tigerbeetle, Some(stored(1)));
    odd.run.tenant = Some("acme".into());
    rig.recorder.put(RunId(1), &odd).unwrap();
    rig.backup(2);
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!((rig.ledger.reported().len(), rig.waiting()), (2, (0, 0)));
    assert!(rig.alerts()[0].contains("refused"));
}

#[test]
fn a_damaged_entry_is_moved_aside_and_the_rest_gets_on() {
    let mut rig = Rig::new();
    rig.backup(1);
    let lane = rig.bench.state.path().join("told").join(OUTBOX).join("repository");
    let first = rig.recorder.outbox.waiting(Lane::Repository).unwrap().remove(0);
    std::fs::write(lane.join(first.to_string()), "torn").unwrap();
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!(rig.ledger.reported(), [(Status::Completed, 1)]);
    assert!(rig.alerts()[0].contains("1 records of runs that cannot be read lie in "), "{:?}", rig.alerts());
}

#[test]
fn a_kill_between_two_steps_repeats_and_changes_nothing() {
    let mut rig = Rig::new();
    rig.backup(1);
    // Killed after the repository had the record and before the outbox knew.
    rig.bench.repository.record_run(RunId(1), &record(Work::Tigerbeetle, None)).unwrap();
    // Killed after the ledger had the event and before the outbox knew.
    let backup_id = rig.bench.repository.backup_id(RunId(1));
    let event = Event::of(backup_id, &record(Work::Tigerbeetle, None), &ACCOUNTS).unwrap();
    assert_eq!(rig.ledger.clone().deliver(&event, &|| false), Delivered::Yes);
    rig = rig.restart();
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!((rig.ledger.reported(), rig.waiting(), rig.alerts().len()), (vec![(Status::Started, 0), (Status::Completed, 1)], (0, 0), 0));
}

#[test]
fn what_the_repository_has_counts() {
    let mut rig = Rig::new();
    // Someone else has already recorded the end, with another result.
    rig.bench.repository.record_run(RunId(1), &record(Work::Tigerbeetle, Some(stored(77)))).unwrap();
    rig.put(1, Work::Tigerbeetle, Some(RunOutcome::failed(9, "no")));
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!(rig.ledger.reported(), [(Status::Completed, 77)], "the two must not contradict one another");
}

#[test]
fn what_others_have_recorded_is_told_too() {
    let mut rig = Rig::new();
    for (run, work, outcome) in [
        (1, Work::Tigerbeetle, Some(stored(11))),
        (2, Work::Tigerbeetle, None),
        (3, Work::File, Some(stored(1))),
        (4, Work::Tigerbeetle, Some(stored(44))),
    ] {
        rig.bench.repository.record_run(RunId(run), &record(work, outcome)).unwrap();
    }
    rig.ledger.set(Mood::RefusesAmount(44));
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!(rig.ledger.reported(), [(Status::Completed, 11), (Status::Started, 0), (Status::Completed, 1)]);
    let tries = rig.ledger.tries();
    // A sweep happens only once an hour, and does not retry what was refused.
    rig.bench.repository.record_run(RunId(5), &record(Work::Tigerbeetle, Some(stored(55)))).unwrap();
    assert_eq!((rig.turn(), rig.ledger.tries()), ((Ok(()), Ok(())), tries));
    rig.to_ledger.swept = None;
    assert_eq!((rig.turn(), rig.ledger.tries()), ((Ok(()), Ok(())), tries + 1));
    assert_eq!(rig.ledger.reported().last(), Some(&(Status::Completed, 55)));
    rig.to_ledger.swept = None;
    rig.ledger.set(Mood::Down);
    assert!(rig.turn().1.is_err());
    assert!(rig.alerts()[0].contains("cannot be looked for: nobody answers"), "{:?}", rig.alerts());
}

#[test]
fn the_threads_deliver_by_themselves_and_end_at_once() {
    let rig = Rig::new();
    rig.ledger.set(Mood::Down);
    let Rig { bench, recorder, ledger, .. } = &rig;
    let delivery = Delivery::start(Stages::new(recorder, Some(reported(ledger, Duration::from_millis(50))))).unwrap();
    rig.backup(1);
    eventually("an alert", || rig.alerts().iter().any(|alert| alert.contains("ledger of a test has not answered since")));
    assert_eq!(bench.repository.runs().unwrap().runs.len(), 1);
    ledger.set(Mood::Good);
    eventually("both events", || ledger.reported().len() == 2 && rig.alerts().is_empty());
    rig.backup(2);
    eventually("two more", || ledger.reported().len() == 4);
    eventually("an empty outbox", || rig.waiting() == (0, 0));
    ledger.set(Mood::Down);
    rig.backup(3);
    eventually("a try", || ledger.tries() == 5);
    let asked = Instant::now();
    delivery.stop();
    assert!(asked.elapsed() < STOP_GRACE, "{:?}", asked.elapsed());
    let (repository, ledger) = rig.waiting();
    assert_eq!(repository + ledger, 2, "they wait for the next start");
}

#[test]
fn pauses_grow_to_their_end_and_differ() {
    let mut backoff = Failures::default();
    let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause(Random::SYSTEM)).collect();
    for (number, pause) in pauses.iter().enumerate() {
        let least = (RETRY.first * (1 << number.min(10))).min(RETRY.longest);
        assert!((least..=least + least / 4).contains(pause), "{number}: {pause:?}");
    }
    backoff.reset();
    assert!(backoff.pause(Random::SYSTEM) < RETRY.first * 2);
}

#[test]
fn an_answer_that_came_late_is_no_trouble_any_more() {
    let mut rig = Rig::new();
    rig.to_ledger = ToLedger::new(&rig.recorder, reported(&rig.ledger, Duration::ZERO));
    // Another agent has recorded it, so only a look at the ledger finds that its event is missing.
    rig.bench.repository.record_run(RunId(9), &record(Work::Tigerbeetle, Some(stored(9)))).unwrap();
    rig.ledger.set(Mood::Late);
    assert_eq!(rig.turn(), (Ok(()), Ok(())));
    assert_eq!((rig.ledger.reported(), rig.alerts()), (vec![(Status::Completed, 9)], vec![]));
    assert_eq!(rig.bench.board.status().events.unwrap().reason, "");
}
