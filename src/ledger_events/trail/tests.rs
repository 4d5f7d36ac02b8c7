use super::*;
use crate::ledger_events::tests::{ACCOUNTS, begun, completed, failed};
use crate::repository::run_record::{Scope, Work};
use crate::repository::sample;
use crate::store::memory::MemoryStore;

fn booked(event: Event) -> Booked {
    Booked { event, timestamp_ns: 5, user_data_32: 0, pending_id: 0, timeout_s: 0, flags: 0 }
}

/// Two backups with all their events.
fn side() -> Side {
    let mut side = Side::new("the repository", ACCOUNTS);
    for (run, end) in [(1, completed(Work::Tigerbeetle, 500)), (2, failed(Work::Tigerbeetle))] {
        let (name, id) = (RunId(run).to_string(), Uuid::from_u128(run.into()));
        side.add(&name, id, &begun(Work::Tigerbeetle));
        side.add(&name, id, &end);
    }
    side.add("3", Uuid::from_u128(3), &begun(Work::Verification));
    side
}

fn all(side: &Side) -> Vec<Booked> {
    side.expected.values().map(|expected| booked(expected.event)).collect()
}

fn differences(side: &Side, events: &[Booked]) -> Vec<(DifferenceKind, String)> {
    let mut check = side.check();
    events.iter().for_each(|event| check.see(event));
    assert_eq!(check.events(), events.len() as u64);
    let (found, waiting) = check.finish(|_| false);
    assert_eq!(waiting, 0);
    found.into_iter().map(|difference| (difference.kind, format!("{}: {}", difference.subject, difference.what))).collect()
}

fn of(side: &Side, run: u128, status: Status) -> Event {
    side.expected(id_of(Uuid::from_u128(run), status)).unwrap().event
}

#[test]
fn what_both_sides_say_is_no_difference() {
    let side = side();
    assert_eq!((side.len(), side.is_empty()), (5, false));
    assert_eq!(differences(&side, &all(&side)), []);
}

#[test]
fn a_missing_event_is_one_unless_it_waits() {
    let side = side();
    let lost = of(&side, 1, Status::Completed).id;
    let events: Vec<Booked> = all(&side).into_iter().filter(|event| event.event.id != lost).collect();
    let found = differences(&side, &events);
    assert_eq!((found.len(), found[0].0), (1, DifferenceKind::Missing));
    assert!(found[0].1.starts_with("0000000000000001 completed: the repository has its record"), "{found:?}");
    let mut check = side.check();
    events.iter().for_each(|event| check.see(event));
    let outbox = BTreeSet::from([(RunId(1), true)]);
    assert_eq!(check.finish(|expected| waits_in(&outbox, expected)), (Vec::new(), 1));
    let other = BTreeSet::from([(RunId(1), false), (RunId(2), true)]);
    assert!(!waits_in(&other, side.expected(lost).unwrap()));
}

#[test]
fn every_field_that_was_altered_shows() {
    let side = side();
    let good = of(&side, 1, Status::Completed);
    let with = |change: &dyn Fn(&mut Booked)| {
        let mut one = booked(good);
        change(&mut one);
        let mut events = all(&side);
        events.retain(|event| event.event.id != good.id);
        events.push(one);
        let found = differences(&side, &events);
        assert_eq!((found.len(), found[0].0), (1, DifferenceKind::Altered), "{found:?}");
        found[0].1.clone()
    };
    assert!(with(&|one| one.event.amount += 1).contains("amount 501 instead of 500"));
    assert!(with(&|one| one.event.started_s -= 1).contains("start in seconds 1699999999 instead of 1700000000"));
    assert!(with(&|one| one.event.debit_account = 9).contains("debit account 9 instead of 1"));
    assert!(with(&|one| one.event.credit_account = 9).contains("credit account 9 instead of 2"));
    assert!(with(&|one| one.event.ledger = 9).contains("ledger 9 instead of 700"));
    assert!(with(&|one| one.event.packed += 1 << 72).contains("retention in days 31 instead of 30"));
    assert!(with(&|one| one.event.packed += 1 << 112).contains("scope incremental instead of full"));
    assert!(with(&|one| one.event.packed += 1).contains("user_data_128 0x"));
    assert!(with(&|one| one.flags = 2).contains("flags 2 instead of 0"));
    assert!(with(&|one| one.user_data_32 = 2).contains("user_data_32 2"));
    assert!(with(&|one| one.pending_id = 2).contains("pending id 2"));
    assert!(with(&|one| one.timeout_s = 2).contains("timeout 2"));
}

#[test]
fn strangers_and_doubles_show() {
    let side = side();
    let mut events = all(&side);
    events.push(booked(Event { id: 77, ..of(&side, 1, Status::Completed) }));
    events.push(booked(Event { id: 78, amount: 3, ..of(&side, 1, Status::Completed) }));
    events.push(booked(Event { id: 79, packed: 5, ..of(&side, 1, Status::Completed) }));
    let found = differences(&side, &events);
    assert_eq!(
        found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        [DifferenceKind::Doubled, DifferenceKind::Unknown, DifferenceKind::Unknown]
    );
    assert!(found[0].1.contains("0000000000000001 completed"), "{found:?}");
    assert!(found[1].1.contains("a tigerbeetle run completed") && found[2].1.contains("lowest 72 bits"), "{found:?}");
    // The record of a run's end was altered later: the ledger's event of the old end is unknown,
    // and the new end has no event.
    let mut altered = side.clone();
    altered.expected.remove(&of(&side, 2, Status::Failed).id);
    altered.add(&RunId(2).to_string(), Uuid::from_u128(2), &completed(Work::Tigerbeetle, 9));
    let kinds: Vec<DifferenceKind> = differences(&altered, &all(&side)).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [DifferenceKind::Unknown, DifferenceKind::Missing]);
}

#[test]
fn a_catalog_knows_the_newest_moment_only() {
    let repository = side();
    let mut catalog = Side::new("the catalog", ACCOUNTS);
    catalog.add_newest(&RunId(1).to_string(), Uuid::from_u128(1), &completed(Work::Tigerbeetle, 500));
    catalog.add_newest(&RunId(2).to_string(), Uuid::from_u128(2), &failed(Work::Tigerbeetle));
    catalog.add_newest(&RunId(3).to_string(), Uuid::from_u128(3), &begun(Work::Verification));
    assert_eq!(differences(&catalog, &all(&repository)), []);
    let mut altered = Side::new("the catalog", ACCOUNTS);
    altered.add_newest(&RunId(1).to_string(), Uuid::from_u128(1), &completed(Work::Tigerbeetle, 501));
    let found = differences(&altered, &all(&repository));
    assert_eq!(found.iter().filter(|(kind, _)| *kind == DifferenceKind::Unknown).count(), 3, "the others have no row: {found:?}");
    assert!(
        found.iter().any(|(kind, what)| *kind == DifferenceKind::Altered && what.contains("the catalog differ: amount 500 instead of 501"))
    );
}

#[test]
fn the_repository_says_what_its_records_do_and_damage_is_a_difference() {
    let store = MemoryStore::new();
    let repository = sample::create(&store).unwrap();
    let mut incremental = completed(Work::Tigerbeetle, 5);
    incremental.run.scope = Scope::Incremental;
    for (run, record) in [(1, begun(Work::Tigerbeetle)), (1, incremental.clone()), (2, completed(Work::Drill, 0)), (3, failed(Work::Kms))] {
        repository.record_run(RunId(run), &record).unwrap();
    }
    let side = Side::of_repository(&repository, ACCOUNTS).unwrap();
    assert_eq!(side.len(), 4);
    let last = side.expected(id_of(repository.backup_id(RunId(1)), Status::Completed)).unwrap();
    assert_eq!(Packed::unpack(last.event.packed).unwrap().scope, Scope::Incremental);
    assert_eq!(last.backup, RunId(1).to_string());
    // A record that no event can express is reported, and so is one that cannot be read.
    incremental.run.tenant = Some("acme".into());
    repository.record_run(RunId(4), &incremental).unwrap();
    let object = RunName { run: RunId(3), has_ended: true }.object();
    assert!(store.corrupt(&object, 100, 1));
    let side = Side::of_repository(&repository, ACCOUNTS).unwrap();
    let found = differences(&side, &all(&side));
    assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [DifferenceKind::Unreadable; 2]);
    assert!(found[0].1.starts_with(&object) && found[1].1.contains("tenant \"acme\""), "{found:?}");
}
