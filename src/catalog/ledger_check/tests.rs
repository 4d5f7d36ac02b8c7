use super::*;
use crate::catalog::backups::BackupRow;
use crate::ledger_events::event::{Event, id_of};
use crate::ledger_events::tests::{ACCOUNTS, begun, completed, failed};
use crate::repository::name::RunId;
use crate::repository::run_record::{RunRecord, Work};
use crate::repository::sample;
use crate::store::memory::MemoryStore;
use std::sync::Arc;

/// A repository with two backups, one of which failed, and a verification; and the rows of a
/// catalog for them.
fn both() -> (Arc<Repository>, Vec<BackupRow>) {
    let repository = sample::create(&MemoryStore::new()).unwrap();
    let runs = [(1, completed(Work::Tigerbeetle, 500)), (2, failed(Work::Tigerbeetle)), (3, failed(Work::Verification))];
    let rows = runs.map(|(run, end)| {
        let run = RunId(run);
        repository.record_run(run, &begun(end.run.work)).unwrap();
        repository.record_run(run, &end).unwrap();
        BackupRow { run: run.to_string(), id: repository.backup_id(run), evidence: Evidence::Ended, record: end }
    });
    (repository, rows.to_vec())
}

fn sides(repository: &Repository, rows: &[BackupRow]) -> Sides {
    Sides::new(repository, Some(rows.iter().cloned().map(Ok).collect()), ACCOUNTS).unwrap()
}

/// The ledger with the events that the repository's records lead to.
fn ledger(sides: &Sides) -> Vec<Booked> {
    let booked = |event: Event| Booked { event, timestamp_ns: 5, user_data_32: 0, pending_id: 0, timeout_s: 0, flags: 0 };
    sides.repository.all().map(|expected| booked(expected.event)).collect()
}

fn differences(sides: &Sides, events: &[Booked]) -> Vec<(DifferenceKind, String)> {
    let mut checks = sides.check();
    events.iter().for_each(|event| checks.see(event));
    assert_eq!(checks.events(), events.len() as u64);
    let found = checks.finish(|_| false).0;
    found.into_iter().map(|difference| (difference.kind, format!("{}: {}", difference.subject, difference.what))).collect()
}

#[test]
fn three_that_say_the_same_do_not_differ() {
    let (repository, rows) = both();
    let all = sides(&repository, &rows);
    assert_eq!((differences(&all, &ledger(&all)), all.behind().len()), (Vec::new(), 0));
    let without = Sides::new(&repository, None, ACCOUNTS).unwrap();
    assert_eq!((differences(&without, &ledger(&without)), without.behind().len()), (Vec::new(), 0));
}

#[test]
fn a_row_that_was_altered_is_told() {
    let (repository, rows) = both();
    type Alter = fn(&mut RunRecord);
    let altered: [(Alter, &str); 4] = [
        (|record| record.outcome.as_mut().unwrap().stored_bytes = 501, "the ledger and the catalog differ: amount 500 instead of 501"),
        (|record| record.run.started_ns += 1_000_000_000, "start in seconds"),
        (|record| record.run.retention_days = 31, "retention in days 30 instead of 31"),
        (|record| record.run.tenant = Some("7".into()), "credit account 2 instead of 7"),
    ];
    for (alter, said) in altered {
        let mut rows = rows.clone();
        alter(&mut rows[0].record);
        let all = sides(&repository, &rows);
        let found = differences(&all, &ledger(&all));
        assert_eq!((found.len(), found[0].0), (1, DifferenceKind::Altered), "{found:?}");
        assert!(found[0].1.contains(said), "{found:?}");
    }
}

#[test]
fn a_backup_that_only_the_catalog_knows_is_missing_in_the_ledger() {
    let (repository, mut rows) = both();
    let id = uuid::Uuid::from_u128(9);
    rows.push(BackupRow { run: RunId(9).to_string(), id, evidence: Evidence::Ended, record: completed(Work::Duckdb, 7) });
    let all = sides(&repository, &rows);
    let found = differences(&all, &ledger(&all));
    assert_eq!(
        found,
        [(DifferenceKind::Missing, "0000000000000009 completed: the catalog has its record, the ledger no event".to_owned())]
    );
    // A failure that was altered to a success.
    let (repository, mut rows) = both();
    rows[1].record = completed(Work::Tigerbeetle, 1);
    let all = sides(&repository, &rows);
    let found = differences(&all, &ledger(&all));
    assert_eq!((found.len(), found[0].0), (1, DifferenceKind::Missing), "{found:?}");
    assert_eq!(all.behind(), BTreeSet::from(["0000000000000002"]));
}

#[test]
fn a_catalog_that_is_behind_is_no_difference() {
    let (repository, mut rows) = both();
    rows[0].evidence = Evidence::Backup;
    rows[1] = BackupRow { evidence: Evidence::Started, record: begun(Work::Tigerbeetle), ..rows[1].clone() };
    let all = sides(&repository, &rows);
    assert_eq!(differences(&all, &ledger(&all)), []);
    assert_eq!(all.behind(), BTreeSet::from(["0000000000000001", "0000000000000002"]));
}

#[test]
fn what_the_repository_says_is_not_said_again() {
    let (repository, rows) = both();
    let all = sides(&repository, &rows);
    let mut events = ledger(&all);
    let lost = id_of(rows[0].id, Status::Completed);
    events.retain(|booked| booked.event.id != lost);
    let mut forged = events[0].clone();
    forged.event = Event { id: 77, amount: 3, ..forged.event };
    events.push(forged);
    let kinds: Vec<DifferenceKind> = differences(&all, &events).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [DifferenceKind::Unknown, DifferenceKind::Missing]);
}

#[test]
fn a_row_that_gives_no_record_is_told() {
    let (repository, _) = both();
    let all = Sides::new(&repository, Some(vec![Err(("000000000000000a".into(), "its id is no UUID".into()))]), ACCOUNTS).unwrap();
    let found = differences(&all, &ledger(&all));
    assert_eq!(found, [(DifferenceKind::Unreadable, "000000000000000a in the catalog: its id is no UUID".to_owned())]);
}
