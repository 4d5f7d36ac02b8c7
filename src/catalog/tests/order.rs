//! The order in which records come, and how often, makes no difference.

use super::*;
use crate::catalog::compare::{Texts, texts};
use crate::catalog::database::Database;
use crate::catalog::row::{Evidence, KnownRun, Table};
use crate::catalog::writer::write;
use proptest::prelude::*;

const WORKS: [Work; 4] = [Work::Tigerbeetle, Work::Kms, Work::Verification, Work::Retention];
const RUNS: u64 = 5;

/// All that is known about a few runs: the first has only a beginning, the second has a backup but
/// no end, the others have an end too.
fn all() -> Vec<KnownRun> {
    let mut all = Vec::new();
    for number in 0..RUNS {
        let work = WORKS[number as usize % WORKS.len()];
        let run = RunId(number);
        let mut begun = begun(work);
        begun.run.started_ns += number * SECOND_NS;
        begun.run.retention_days = number as u16;
        all.push(KnownRun::recorded(run, &begun));
        let backup = RunRecord { outcome: Some(stored(&[("of", json!("the manifest"))])), ..begun.clone() };
        if number > 0 {
            all.push(KnownRun { run, record: backup.clone(), evidence: Evidence::Backup });
        }
        if number > 1 {
            let outcome = if number == 3 { RunOutcome::failed(START_NS + SECOND_NS, "no") } else { stored(&[("of", json!("the record"))]) };
            all.push(KnownRun::recorded(run, &RunRecord { outcome: Some(outcome), ..begun }));
        }
    }
    all
}

/// The content of all tables after these batches.
fn written(fixture: &Fixture, batches: &[Vec<KnownRun>]) -> Vec<Texts> {
    let locked = fixture.catalog().folder().clone();
    let locked = locked.lock().unwrap();
    let draft = locked.empty().unwrap();
    let database: Database = fixture.catalog().create(&draft, false).unwrap();
    for batch in batches {
        write(&database, &fixture.catalog().rows(batch, &mut Vec::new())).unwrap();
    }
    Table::ALL.into_iter().map(|table| texts(&database, table).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_any_repetition_gives_equal_rows(
        order in Just((0..all().len()).collect::<Vec<_>>()).prop_shuffle(),
        again in prop::collection::vec((0..all().len(), 0..30_usize), 0..12),
        batch in 1..6_usize,
    ) {
        let fixture = Fixture::new();
        let mut sequence = order;
        for (which, place) in again {
            sequence.insert(place.min(sequence.len()), which);
        }
        let all = all();
        let batches: Vec<Vec<KnownRun>> = sequence.chunks(batch).map(|part| part.iter().map(|which| all[*which].clone()).collect()).collect();
        prop_assert_eq!(written(&fixture, &batches), written(&fixture, &[all]));
    }
}

#[test]
fn what_has_ended_stays_as_it_ended_first() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    let first = KnownRun::recorded(RunId(1), &ended(Work::File, RunOutcome::failed(START_NS, "the first")));
    let second = KnownRun::recorded(RunId(1), &ended(Work::File, stored(&[])));
    assert_eq!(catalog.apply(std::slice::from_ref(&first)).unwrap().added, 1);
    let applied = catalog.apply(&[second.clone(), first.clone()]).unwrap();
    assert_eq!((applied.added, applied.changed), (0, 0));
    assert_eq!(rows(fixture.path(), "SELECT status, reason FROM runs"), [["failed", "the first"]]);
    // The first record wins, as in the repository.
    let other = Fixture::new();
    other.catalog().apply(&[first, second]).unwrap();
    assert_eq!(rows(other.path(), "SELECT status, reason FROM runs"), [["failed", "the first"]]);
}
