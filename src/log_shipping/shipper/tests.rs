use super::*;
use crate::log_shipping::tests::store_double::{Weather, WeatherStore, eventually, segments};
use crate::tier::tigerbeetle::format::segment::SegmentReader;
use crate::units::MIB;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// No segment goes to the spool because of its age.
const NEVER: Duration = Duration::from_secs(3600);

fn options(memory_bytes: u64, spool_after: Duration) -> ShipOptions {
    let (retry_first, retry_max) = (Duration::from_millis(4), Duration::from_millis(20));
    ShipOptions { memory_bytes, spool_after, uploads: 3, retry_first, retry_max }
}

/// A shipper, the events that it reported, and whether it may ship.
struct Case {
    shipper: Shipper,
    events: Arc<Mutex<Vec<Event>>>,
    may_ship: Arc<AtomicBool>,
}

impl Case {
    fn start(repository: &Arc<Repository>, spool: Option<Spool>, options: ShipOptions) -> Case {
        let (events, may_ship) = (Arc::<Mutex<Vec<Event>>>::default(), Arc::new(AtomicBool::new(true)));
        let (reported, may) = (Arc::clone(&events), Arc::clone(&may_ship));
        let hooks = Hooks {
            may_ship: Box::new(move || may.load(Ordering::SeqCst)),
            observe: Box::new(move |event| reported.lock().unwrap().push(event)),
        };
        Case { shipper: Shipper::start(Arc::clone(repository), spool, options, hooks).unwrap(), events, may_ship }
    }

    fn spooled(repository: &Arc<Repository>, folder: &Path, options: ShipOptions) -> Case {
        Case::start(repository, Some(Spool::open(repository, folder, MIB).unwrap()), options)
    }

    fn offer(&self, segments: &[SealedSegment]) -> Vec<Offer> {
        segments.iter().map(|segment| self.shipper.offer(segment.clone())).collect()
    }

    /// The names of the segments that were reported as durable, in the order of the reports.
    fn durable(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let durable = events.iter().filter_map(|event| match event {
            Event::Durable(segment) => Some(segment.entry.name.object()),
            _ => None,
        });
        durable.collect()
    }

    fn damaged(&self) -> Vec<SegmentName> {
        let events = self.events.lock().unwrap();
        events.iter().filter_map(|event| if let Event::Damaged(damaged) = event { Some(damaged.name) } else { None }).collect()
    }

    fn alerts(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events.iter().filter_map(|event| if let Event::Alert(text) = event { Some(text.clone()) } else { None }).collect()
    }

    fn eventually_durable(&self, segments: &[SealedSegment]) {
        eventually("all is durable", || self.durable().len() >= segments.len());
        assert_eq!(self.durable(), names(segments));
        let last = segments.last().map(|segment| (segment.name, segment.last));
        assert_eq!(self.shipper.durable(), last);
    }

    fn waiting(&self) -> Waiting {
        self.shipper.counters().waiting
    }
}

fn names(segments: &[SealedSegment]) -> Vec<String> {
    segments.iter().map(|segment| segment.object.name.clone()).collect()
}

fn bytes(segments: &[SealedSegment]) -> u64 {
    segments.iter().map(|segment| segment.object.stored_bytes).sum()
}

#[test]
fn uploads_that_end_out_of_order_are_durable_in_order() {
    let (store, repository) = WeatherStore::with_repository();
    let sealed = segments(&repository, 6);
    let case = Case::start(&repository, None, options(MIB, NEVER));
    store.hold(&sealed[0].object.name);
    assert_eq!(case.offer(&sealed), [Offer::Taken; 6]);
    eventually("all others are stored", || store.created().len() == 5);
    assert_eq!((case.durable().len(), case.shipper.durable()), (0, None));
    store.release(&sealed[0].object.name);
    case.eventually_durable(&sealed);
    let entries: Vec<Event> = case.events.lock().unwrap().clone();
    for (event, segment) in entries.iter().zip(&sealed) {
        let Event::Durable(durable) = event else { panic!("{event:?}") };
        assert_eq!((&durable.entry, durable.last), (&segment.entry(), segment.last));
        assert_eq!(SegmentReader::open(&repository, &durable.entry).unwrap().rows.len(), 5);
    }
    let counters = case.shipper.counters();
    assert_eq!((counters.shipped_segments, counters.shipped_bytes), (6, bytes(&sealed)));
    assert_eq!((counters.waiting, counters.oldest_age, counters.unreachable_for), (Waiting::default(), None, None));
    assert!(case.alerts().is_empty() && counters.last_error.is_none());
}

#[test]
fn an_outage_longer_than_memory_goes_through_the_spool_in_order() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 12);
    let case = Case::spooled(&repository, folder.path(), options(bytes(&sealed[..2]), NEVER));
    let free_bytes = case.shipper.counters().spool_free_bytes;
    store.set(Weather::Away);
    assert_eq!(case.offer(&sealed), [Offer::Taken; 12]);
    eventually("a put failed", || case.shipper.counters().unreachable_for.is_some());
    let counters = case.shipper.counters();
    assert!((1..=2).contains(&counters.waiting.memory_segments) && counters.waiting.memory_bytes <= bytes(&sealed[..2]));
    assert_eq!(counters.waiting.memory_segments + counters.waiting.spool_segments, 12);
    assert!(counters.oldest_age.is_some() && counters.last_error.unwrap().contains("Away on purpose"));
    assert!(counters.alerts.is_empty() && case.alerts().is_empty(), "a store that is away is no alert of the shipper's");
    store.set(Weather::Fair);
    case.eventually_durable(&sealed);
    eventually("the spool is empty", || case.shipper.counters().spool_free_bytes == free_bytes);
    assert_eq!((case.shipper.counters().unreachable_for, case.waiting()), (None, Waiting::default()));
    assert!(Spool::open(&repository, folder.path(), MIB).unwrap().found().is_empty());
}

#[test]
fn a_killed_agent_ships_its_spool_first_and_nothing_twice() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 8);
    store.set(Weather::AnswerLost);
    let case = Case::spooled(&repository, folder.path(), options(MIB, Duration::ZERO));
    case.offer(&sealed[..6]);
    eventually("all is in the spool", || case.waiting().spool_segments == 6 && store.created().len() >= 2);
    drop(case);
    store.set(Weather::Away);
    let before = store.created().len();
    let spool = Spool::open(&repository, folder.path(), MIB).unwrap();
    assert_eq!(spool.found().iter().map(|found| found.name).collect::<Vec<_>>(), sealed[..6].iter().map(|s| s.name).collect::<Vec<_>>());
    assert_eq!(spool.found().last().map(|found| found.last), Some(sealed[5].last), "where the log goes on");
    let case = Case::start(&repository, Some(spool), options(MIB, NEVER));
    assert_eq!(case.offer(&sealed[6..]), [Offer::Taken; 2]);
    assert!(case.durable().is_empty());
    store.set(Weather::Fair);
    case.eventually_durable(&sealed);
    let mut created = store.created();
    created.sort();
    assert_eq!(created, names(&sealed), "each was stored once");
    assert!(before >= 2);
    // The digest of what an earlier agent spooled is reported too.
    for (event, segment) in case.events.lock().unwrap().iter().zip(&sealed) {
        assert!(matches!(event, Event::Durable(durable) if durable.entry == segment.entry()), "{event:?}");
    }
}

#[test]
fn when_memory_and_spool_are_full_offers_are_refused_until_there_is_room() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 8);
    store.set(Weather::Away);
    // There is room for the spool's header and two segments, and for two in memory.
    let spool = Spool::open(&repository, folder.path(), 3 * 4096).unwrap();
    let memory_bytes = sealed.iter().map(|segment| segment.object.stored_bytes).max().unwrap() * 2;
    let case = Case::start(&repository, Some(spool), options(memory_bytes, Duration::ZERO));
    let offers = case.offer(&sealed[..6]);
    assert_eq!(offers, [[Offer::Taken; 4].as_slice(), &[Offer::Full; 2]].concat());
    let waiting = case.waiting();
    assert_eq!((waiting.memory_segments, waiting.spool_segments), (2, 2));
    store.set(Weather::Fair);
    case.eventually_durable(&sealed[..4]);
    assert_eq!(case.offer(&sealed[6..]), [Offer::Taken; 2]);
    case.eventually_durable(&[&sealed[..4], &sealed[6..]].concat());
    let without = Case::start(&repository, None, options(bytes(&sealed[..1]) - 1, NEVER));
    assert_eq!(without.offer(&sealed[..1]), [Offer::Full], "memory alone is too small for it");
}

#[test]
fn a_segment_larger_than_memory_goes_through_the_spool_and_what_is_old_goes_there_too() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 4);
    store.hold(&sealed[0].object.name);
    let case = Case::spooled(&repository, folder.path(), options(0, NEVER));
    assert_eq!(case.offer(&sealed[..2]), [Offer::Taken; 2]);
    eventually("the second is stored", || store.created().len() == 1);
    eventually("one is left", || {
        case.waiting() == Waiting { spool_segments: 1, spool_bytes: bytes(&sealed[..1]), in_flight: 1, ..Waiting::default() }
    });
    store.release(&sealed[0].object.name);
    case.eventually_durable(&sealed[..2]);
    drop(case);
    store.hold(&sealed[2].object.name);
    let case = Case::spooled(&repository, folder.path(), options(MIB, Duration::from_millis(30)));
    case.offer(&sealed[2..]);
    eventually("what hangs is in the spool", || case.waiting().spool_segments == 1 && case.waiting().memory_segments == 0);
    let waiting_since = case.shipper.counters().oldest_age.unwrap();
    assert!(waiting_since >= Duration::from_millis(30), "{waiting_since:?}");
    store.release(&sealed[2].object.name);
    case.eventually_durable(&sealed[2..]);
}

#[test]
fn a_drain_ships_what_it_can_and_spools_the_rest() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 6);
    let case = Case::spooled(&repository, folder.path(), options(MIB, NEVER));
    case.offer(&sealed[..2]);
    let drained = case.shipper.drain(NEVER);
    assert_eq!(drained.durable, Some((sealed[1].name, sealed[1].last)));
    assert_eq!((drained.spool_segments, drained.lost.len(), drained.threads_left), (0, 0, 0));
    assert_eq!(case.durable(), names(&sealed[..2]));
    assert_eq!(case.offer(&sealed[2..3]), [Offer::Stopped]);
    store.set(Weather::Away);
    let case = Case::spooled(&repository, folder.path(), options(MIB, NEVER));
    case.offer(&sealed[2..]);
    let drained = case.shipper.drain(Duration::from_millis(50));
    assert_eq!((drained.durable, drained.spool_segments, drained.lost.len(), drained.threads_left), (None, 4, 0, 0));
    assert!(drained.last_error.unwrap().contains("Away"));
    let puts = store.puts();
    assert_eq!(Spool::open(&repository, folder.path(), MIB).unwrap().found().len(), 4);
    let case = Case::start(&repository, None, options(MIB, NEVER));
    case.offer(&sealed[2..4]);
    let drained = case.shipper.drain(Duration::from_millis(20));
    assert_eq!(drained.lost, [sealed[2].name, sealed[3].name], "without a spool there is nowhere to go");
    assert!(store.puts() > puts);
    store.set(Weather::Fair);
    let case = Case::spooled(&repository, folder.path(), options(MIB, NEVER));
    case.eventually_durable(&sealed[2..]);
}

#[test]
fn a_put_that_hangs_holds_up_neither_drain_nor_drop() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 3);
    store.hold(&sealed[0].object.name);
    let case = Case::spooled(&repository, folder.path(), options(MIB, NEVER));
    case.offer(&sealed);
    eventually("the others are stored", || store.created().len() == 2);
    let began = Instant::now();
    let drained = case.shipper.drain(Duration::from_millis(10));
    assert_eq!((drained.threads_left, drained.spool_segments, drained.lost.len()), (1, 1, 0));
    drop(case);
    assert!(began.elapsed() < Duration::from_secs(10));
    // The late answer is ignored. The segment is still there for the next agent, which finds its
    // name taken in the store.
    store.release(&sealed[0].object.name);
    eventually("it is stored late", || store.created().len() == 3);
    let case = Case::spooled(&repository, folder.path(), options(MIB, NEVER));
    case.eventually_durable(&sealed[..1]);
    assert_eq!(store.created().len(), 3);
}

#[test]
fn damage_in_the_spool_is_told_before_what_comes_after_it() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 5);
    store.set(Weather::Away);
    let case = Case::spooled(&repository, folder.path(), options(0, NEVER));
    case.offer(&sealed);
    case.shipper.drain(Duration::ZERO);
    let flip = |number: usize, offset: usize| {
        let path = folder.path().join(&sealed[number].object.name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[offset] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    // Damage that the start finds, and damage that only reading the whole segment finds.
    flip(1, sealed[1].object.stored_bytes as usize - 40);
    flip(2, 70);
    let case = Case::spooled(&repository, folder.path(), options(0, NEVER));
    // The spool's thread may have found the other damage already.
    assert_eq!(case.damaged()[0], sealed[1].name);
    eventually("the other is found", || case.damaged().len() == 2);
    store.set(Weather::Fair);
    eventually("the rest is durable", || case.durable().len() == 3);
    assert_eq!(case.damaged(), [sealed[1].name, sealed[2].name]);
    assert_eq!(case.durable(), names(&[&sealed[..1], &sealed[3..]].concat()));
    let events = case.events.lock().unwrap();
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let damaged = at(&|event| matches!(event, Event::Damaged(damaged) if damaged.name == sealed[2].name));
    assert!(damaged < at(&|event| matches!(event, Event::Durable(durable) if durable.entry.name == sealed[3].name)));
}

#[test]
fn a_store_that_refuses_is_an_alert_and_loses_nothing() {
    let (store, repository) = WeatherStore::with_repository();
    let sealed = segments(&repository, 3);
    let case = Case::start(&repository, None, options(MIB, NEVER));
    store.set(Weather::Refusing);
    case.offer(&sealed);
    eventually("it was tried often", || store.puts() > 10);
    // The store sees a put before the shipper reports its result.
    eventually("an alert is told", || !case.alerts().is_empty());
    assert!(case.alerts().len() == 1 && case.alerts()[0].contains("Refusing on purpose; the log waits here"), "{:?}", case.alerts());
    // All three segments are tried. The alert may name another one now than when it was first
    // raised.
    let alerts = case.shipper.counters().alerts;
    assert!(alerts.len() == 1 && alerts[0].text.contains("Refusing on purpose; the log waits here"), "{alerts:?}");
    store.set(Weather::Fair);
    case.eventually_durable(&sealed);
    assert!(case.shipper.counters().alerts.is_empty());
}

#[test]
fn a_panic_is_an_alert_and_the_threads_go_on() {
    let (store, repository) = WeatherStore::with_repository();
    let sealed = segments(&repository, 3);
    let case = Case::start(&repository, None, options(MIB, NEVER));
    store.set(Weather::Panicking);
    case.offer(&sealed);
    eventually("it was tried often", || store.puts() > 5);
    eventually("it is told", || case.alerts().len() == 1);
    assert!(case.alerts()[0].contains("report it: Panicking on purpose"), "{:?}", case.alerts());
    store.set(Weather::Fair);
    case.eventually_durable(&sealed);
    let hooks = Hooks { may_ship: Box::new(|| true), observe: Box::new(|_| panic!("the observer, on purpose")) };
    let shipper = Shipper::start(Arc::clone(&repository), None, options(MIB, NEVER), hooks).unwrap();
    assert_eq!(shipper.offer(sealed[0].clone()), Offer::Taken);
    eventually("it is durable all the same", || shipper.durable().is_some());
    eventually("it is said", || shipper.counters().last_error.is_some_and(|error| error.contains("panicked")));
    assert_eq!(shipper.drain(NEVER).threads_left, 0);
}

#[test]
fn without_the_lease_nothing_is_put() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 3);
    let case = Case::spooled(&repository, folder.path(), options(MIB, NEVER));
    case.may_ship.store(false, Ordering::SeqCst);
    assert_eq!(case.offer(&sealed[..2]), [Offer::Taken; 2]);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!((store.puts(), case.waiting().memory_segments), (0, 2));
    case.may_ship.store(true, Ordering::SeqCst);
    case.eventually_durable(&sealed[..2]);
    case.may_ship.store(false, Ordering::SeqCst);
    case.offer(&sealed[2..]);
    let drained = case.shipper.drain(NEVER);
    assert_eq!((drained.spool_segments, store.puts(), drained.threads_left), (1, 2, 0), "it does not wait for a lease that another holds");
}

#[test]
fn a_spool_that_cannot_be_written_is_full_and_an_alert() {
    let (store, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 4);
    let case = Case::spooled(&repository, folder.path(), options(bytes(&sealed[..1]), NEVER));
    store.set(Weather::Away);
    let obstacle = folder.path().join("tigerbeetle-logs");
    std::fs::write(&obstacle, "in the way").unwrap();
    assert_eq!(case.offer(&sealed[..3]), [Offer::Taken, Offer::Full, Offer::Full]);
    assert!(case.alerts().len() == 1 && case.alerts()[0].starts_with("spool: "), "{:?}", case.alerts());
    std::fs::remove_file(&obstacle).unwrap();
    assert_eq!(case.offer(&sealed[3..]), [Offer::Taken]);
    assert!(case.shipper.counters().alerts.is_empty());
    store.set(Weather::Fair);
    case.eventually_durable(&[&sealed[..1], &sealed[3..]].concat());
}

#[test]
fn a_drain_waits_and_does_not_ask_all_the_time() {
    let (store, repository) = WeatherStore::with_repository();
    let sealed = segments(&repository, 1);
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let may_ship = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        true
    };
    let hooks = Hooks { may_ship: Box::new(may_ship), observe: Box::new(|_| ()) };
    let shipper = Shipper::start(Arc::clone(&repository), None, options(MIB, NEVER), hooks).unwrap();
    store.hold(&sealed[0].object.name);
    assert_eq!(shipper.offer(sealed[0].clone()), Offer::Taken);
    eventually("the put hangs", || store.puts() == 1);
    let before = asked.load(Ordering::SeqCst);
    let drained = std::thread::scope(|scope| {
        let draining = scope.spawn(|| shipper.drain(Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(300));
        store.release(&sealed[0].object.name);
        draining.join().unwrap()
    });
    assert_eq!(drained.durable, Some((sealed[0].name, sealed[0].last)));
    let asked = asked.load(Ordering::SeqCst) - before;
    assert!(asked < 100, "asked {asked} times whether it may ship");
}
