use super::*;
use crate::catalog::backups::{COLUMNS, parse};
use crate::catalog::database::Database;
use crate::catalog::folder::Folder;
use crate::catalog::row::Evidence;
use crate::repository::run_record::RunSink;
use proptest::prelude::*;

/// The part of a record that a row keeps.
fn kept(record: &RunRecord) -> RunRecord {
    let mut kept = record.clone();
    let microseconds = |time_ns: u64| time_ns / 1000 * 1000;
    kept.run.started_ns = microseconds(kept.run.started_ns);
    if let Some(outcome) = &mut kept.outcome {
        outcome.ended_ns = microseconds(outcome.ended_ns);
        outcome.details.clear();
    }
    kept
}

fn records() -> impl Strategy<Value = RunRecord> {
    let works = prop::sample::select(vec![Work::Tigerbeetle, Work::Duckdb, Work::Parquet, Work::Kms, Work::File]);
    let outcome = (
        any::<bool>(),
        0..u64::MAX / 4,
        0..1u64 << 50,
        prop::sample::select(vec!["", "catalog/x"]),
        prop::sample::select(vec!["zstd", "none"]),
    );
    let outcome = prop::option::of(outcome);
    let run = (works, any::<bool>(), prop::option::of(any::<u128>()), any::<u16>(), 0..1u64 << 60);
    (run, outcome).prop_map(|((work, is_full, tenant, retention_days, started_ns), outcome)| {
        let run = Run {
            work,
            scope: if is_full { Scope::Full } else { Scope::Incremental },
            tenant: tenant.map(|tenant| tenant.to_string()),
            job: "checkpoint".into(),
            by: "an agent".into(),
            started_ns,
            retention_days,
        };
        let outcome = outcome.map(|(completed, stored_bytes, more_ns, location, compression)| RunOutcome {
            completed,
            stored_bytes,
            location: location.into(),
            compression: compression.into(),
            encryption: "aes256".into(),
            reason: if completed { String::new() } else { "no".into() },
            ..RunOutcome::completed(started_ns + more_ns % (1 << 50))
        });
        RunRecord { run, outcome }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_row_gives_back_its_record(records in prop::collection::vec(records(), 1..6)) {
        let fixture = Fixture::new();
        let catalog = fixture.catalog();
        for (run, record) in (1..).zip(&records) {
            catalog.put(RunId(run), record).unwrap();
        }
        let rows = Reader::open(fixture.path()).unwrap().backups().unwrap();
        prop_assert_eq!(rows.len(), records.len());
        for row in rows {
            let row = row.unwrap();
            let run = u64::from_str_radix(&row.run, 16).unwrap();
            let record = &records[usize::try_from(run).unwrap() - 1];
            prop_assert_eq!(&row.record, &kept(record));
            prop_assert_eq!(row.id, fixture.repository.backup_id(RunId(run)));
            prop_assert_eq!(row.evidence, if record.outcome.is_some() { Evidence::Ended } else { Evidence::Started });
        }
    }
}

#[test]
fn a_row_that_somebody_altered_is_told_by_its_run() {
    let fixture = Fixture::new();
    let record = ended(Work::Tigerbeetle, stored(&[]));
    for (change, said) in [
        ("backup_size_bytes = NULL", "no backup_size_bytes"),
        ("retention_until = end_time + INTERVAL 36 HOURS", "no whole number of days"),
        ("retention_until = end_time - INTERVAL 1 DAY", "no whole number of days"),
        ("retention_until = end_time", "no whole number of days"),
        ("start_time = TIMESTAMP '1960-01-01 00:00:00'", "its start_time is -"),
        ("end_time = TIMESTAMP '9999-01-01 00:00:00'", "its end_time is "),
        ("status = 'started', end_time = NULL", ""),
    ] {
        fixture.catalog().put(RunId(5), &record).unwrap();
        let folder = Folder::new(fixture.path(), crate::host::Clock::SYSTEM);
        let database = Database::open_to_work(&folder.catalog()).unwrap();
        database.execute(&format!("UPDATE backup_metadata SET {change}")).unwrap();
        database.close().unwrap();
        let rows = Reader::open(fixture.path()).unwrap().backups().unwrap();
        match &rows[0] {
            Err((run, wrong)) => assert!(run == "0000000000000005" && !said.is_empty() && wrong.contains(said), "{change}: {run} {wrong}"),
            Ok(row) => assert!(said.is_empty() && row.record.outcome.is_none(), "{change}: {row:?}"),
        }
        std::fs::remove_file(folder.catalog()).unwrap();
    }
}

#[test]
fn rows_that_the_tables_would_not_take_are_told_too() {
    let mut row: Vec<Option<String>> = [
        Some("5d0c3b5e-0000-4000-8000-000000000001"),
        Some("0000000000000005"),
        Some("ended"),
        Some("duckdb"),
        Some("full"),
        None,
        Some("job"),
        Some("by"),
        Some("5"),
        Some("7"),
        None,
        Some("completed"),
        Some("1"),
        None,
        None,
        Some("zstd"),
        Some("aes256"),
        None,
    ]
    .map(|text: Option<&str>| text.map(str::to_owned))
    .to_vec();
    assert_eq!(row.len(), COLUMNS);
    assert_eq!(parse(row.clone()).unwrap().record.outcome.unwrap().ended_ns, 7000);
    for (column, value, said) in [
        (0, "5", "no UUID"),
        (2, "hearsay", "evidence"),
        (3, "tape", "backup_type is \"tape\""),
        (4, "half", "backup_scope"),
        (8, "", "start_time"),
        (11, "lost", "status Some(\"lost\")"),
    ] {
        let before = row[column].replace(value.to_owned());
        let (run, wrong) = parse(row.clone()).unwrap_err();
        assert!(run == "0000000000000005" && wrong.contains(said), "{wrong}");
        row[column] = before;
    }
    row[8] = None;
    assert!(parse(row.clone()).unwrap_err().1.contains("no start_time"));
    row.pop();
    assert!(parse(row).unwrap_err().1.contains("columns"));
}
