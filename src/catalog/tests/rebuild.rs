use super::*;
use crate::catalog::rebuild::{Change, rebuild, refresh};
use crate::disk::file::ReadOptions;
use crate::error::Kind;
use crate::pipeline::digest::digest_of;
use crate::progress::Silent;
use crate::repository::name::{CATALOG_FILES, FilePlace, PLAIN_FILES, RunName};
use crate::repository::run_record::RunSink;
use crate::repository::sample::{Fault, FaultyStore, open};
use crate::store::Store;
use crate::tb_format::sample::SampleFile;
use crate::tier::catalog::NAME;
use crate::tier::facts::UNRECORDED;
use crate::tier::file::capture;
use crate::tier::sample::{LOG_OPS, backup, folder};
use crate::tier::tigerbeetle::facts::{outcome, scope_of};
use crate::tier::{backups_by_run, facts_of};
use crate::units::now_ns;

/// Makes a backup of a ledger and two of files, without records of their runs.
fn back_up(fixture: &Fixture) -> (RunId, RunId, RunId) {
    let folder = tempfile::tempdir_in(folder()).unwrap();
    let ledger = backup(&fixture.repository, &SampleFile::new(7, LOG_OPS), &folder.path().join("data")).unwrap();
    let file = |place: &'static FilePlace, name: &str| {
        let path = folder.path().join("file");
        std::fs::write(&path, name).unwrap();
        let request = crate::tier::file::request::FileCaptureRequest {
            path,
            place,
            name: name.to_owned(),
            tenant: None,
            journals: None,
            read: ReadOptions::quick(),
            run: None,
        };
        capture::backup(&fixture.repository, &request, &Silent).unwrap().name.run
    };
    (ledger.name.run, file(&PLAIN_FILES, "archive"), file(&CATALOG_FILES, NAME))
}

/// Writes the records of runs that an agent and commands leave, into both repository and catalog.
fn run_everything(fixture: &Fixture) {
    let catalog = fixture.catalog();
    let (ledger, archive, _) = back_up(fixture);
    let put = |run: RunId, record: &RunRecord| {
        catalog.put(run, record).unwrap();
        fixture.repository.record_run(run, record).unwrap();
    };
    // The run of the ledger has both records, that of the archive only the one of its beginning,
    // that of the catalog none.
    let stored = backups_by_run(&fixture.repository).unwrap();
    let outcome = facts_of(&fixture.repository, &stored[&ledger]).unwrap().outcome;
    put(ledger, &begun(Work::Tigerbeetle));
    put(ledger, &ended(Work::Tigerbeetle, outcome));
    put(archive, &begun(Work::File));
    for (number, work) in (1..).zip([Work::Duckdb, Work::Parquet, Work::Kms, Work::Verification, Work::Drill, Work::Retention]) {
        put(RunId(number), &begun(work));
        if number != 2 {
            put(RunId(number), &ended(work, super::stored(&[("key_id", json!("k"))])));
        }
    }
    put(RunId(9), &ended(Work::Verification, RunOutcome::failed(START_NS + SECOND_NS, "2 problems")));
}

#[test]
fn rebuilding_after_deleting_gives_equal_rows() {
    let fixture = Fixture::new();
    run_everything(&fixture);
    // A refresh brings what only the repository knows.
    let refreshed = refresh(&fixture.catalog(), &Silent).unwrap();
    assert_eq!((refreshed.applied.added, refreshed.applied.changed, refreshed.notes.len()), (1, 1, 0), "{refreshed:?}");
    let before = content(fixture.path());
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [6, 1, 2, 1, 1, 0, 0]);
    std::fs::remove_dir_all(fixture.path()).unwrap();
    let rebuilt = rebuild(&fixture.catalog(), &Silent).unwrap();
    assert_eq!(content(fixture.path()), before);
    assert_eq!((rebuilt.differences, rebuilt.kept, rebuilt.notes), (None, 0, Vec::new()));
    assert_eq!(rebuilt.rows["backup_metadata"], 6);
    // Once more, with a catalog that exists.
    let again = rebuild(&fixture.catalog(), &Silent).unwrap();
    assert_eq!((again.differences, content(fixture.path()) == before), (Some(Vec::new()), true));
    assert!(Reader::open(fixture.path()).unwrap().about().unwrap().is_complete);
    assert_eq!(fixture.files(), ["catalog.duckdb", "lock"]);
}

#[test]
fn a_backup_without_records_tells_what_its_manifest_says() {
    let fixture = Fixture::new();
    let (ledger, archive, catalog_file) = back_up(&fixture);
    let refreshed = refresh(&fixture.catalog(), &Silent).unwrap();
    assert_eq!(refreshed.applied.added, 3);
    let sql = "SELECT id, backup_type, backup_scope, status, job, evidence, compression, encryption FROM backup_metadata ORDER BY run";
    let expected = |run, kind: &str| {
        [
            fixture.id(run),
            kind.to_owned(),
            "full".into(),
            "completed".into(),
            UNRECORDED.into(),
            "backup".into(),
            "zstd".into(),
            "aes256".into(),
        ]
    };
    assert_eq!(rows(fixture.path(), sql), [expected(ledger, "tigerbeetle"), expected(archive, "file"), expected(catalog_file, "catalog")]);
    let stored = rows(fixture.path(), "SELECT backup_location, checksum, backup_size_bytes FROM backup_metadata ORDER BY run");
    for row in &stored {
        let bytes = fixture.store.bytes(&row[0]).unwrap();
        let digest: String = digest_of(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row[1], digest, "{}: the checksum is that of the object's bytes", row[0]);
    }
    let packs: u64 = fixture
        .store
        .names()
        .iter()
        .filter(|name| name.contains("packs/") || name.contains("-logs/") || name.contains("/checkpoints/"))
        .map(|name| fixture.store.bytes(name).unwrap().len() as u64)
        .sum();
    assert_eq!(stored[0][2], packs.to_string(), "packs, segments and manifest");
    // Without its receipt, the manifest gives the same row.
    let receipt = fixture.store.names().into_iter().find(|name| name.contains("receipts")).unwrap();
    fixture.store.delete(&receipt).unwrap();
    assert_eq!(rebuild(&fixture.catalog(), &Silent).unwrap().differences, Some(Vec::new()));
    // The record comes later, and replaces what the backup says.
    let names = backups_by_run(&fixture.repository).unwrap();
    let facts = facts_of(&fixture.repository, &names[&ledger]).unwrap();
    let record = RunRecord { run: Run { job: "command line".into(), ..facts.run }, outcome: Some(facts.outcome) };
    fixture.repository.record_run(ledger, &record).unwrap();
    assert_eq!(refresh(&fixture.catalog(), &Silent).unwrap().applied.changed, 1);
    assert_eq!(
        rows(fixture.path(), "SELECT job, evidence FROM backup_metadata WHERE backup_type = 'tigerbeetle'"),
        [["command line", "ended"]]
    );
}

#[test]
fn a_command_and_its_manifest_say_the_same() {
    let fixture = Fixture::new();
    let place = tempfile::tempdir_in(folder()).unwrap();
    let backup = backup(&fixture.repository, &SampleFile::new(7, LOG_OPS), &place.path().join("data")).unwrap();
    let of_command = outcome(&backup.name, &backup.summary, &backup.receipt());
    let facts = facts_of(&fixture.repository, &backups_by_run(&fixture.repository).unwrap()[&backup.name.run]).unwrap();
    assert_eq!((of_command, scope_of(&backup.summary)), (facts.outcome, facts.run.scope));
}

#[test]
fn what_differs_is_told_and_made_right() {
    let fixture = Fixture::new();
    run_everything(&fixture);
    refresh(&fixture.catalog(), &Silent).unwrap();
    let right = content(fixture.path());
    let file = fixture.path().join("catalog.duckdb");
    let forged = duckdb::Connection::open(&file).unwrap();
    forged.execute_batch("DELETE FROM verification_runs WHERE run = '0000000000000009'").unwrap();
    forged.execute_batch("UPDATE backup_metadata SET backup_size_bytes = 1, reason = 'forged' WHERE run = '0000000000000001'").unwrap();
    forged
        .execute_batch(
            "INSERT INTO retention_runs SELECT uuid(), * EXCLUDE (id) REPLACE ('00000000000000ff' AS run) FROM retention_runs; CHECKPOINT",
        )
        .unwrap();
    drop(forged);
    let differences = rebuild(&fixture.catalog(), &Silent).unwrap().differences.unwrap();
    let reported: Vec<(&str, &str)> = differences.iter().map(|difference| (difference.table, difference.run.as_str())).collect();
    let expected =
        [("backup_metadata", "0000000000000001"), ("verification_runs", "0000000000000009"), ("retention_runs", "00000000000000ff")];
    assert_eq!(reported, expected);
    let Change::Fields(fields) = &differences[0].change else { panic!("{differences:?}") };
    let fields: Vec<_> = fields.iter().map(|field| (field.name, field.was.as_deref(), field.is.as_deref())).collect();
    assert_eq!(fields, [("backup_size_bytes", Some("1"), Some("4096")), ("reason", Some("forged"), None)]);
    assert_eq!((&differences[1].change, &differences[2].change), (&Change::Missing, &Change::Extra));
    assert_eq!(content(fixture.path()), right);
}

#[test]
fn what_ends_while_the_repository_is_read_stays() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    let future = |record: RunRecord| {
        let run = Run { started_ns: now_ns() + 3600 * SECOND_NS, retention_days: 2, ..record.run };
        RunRecord { run, ..record }
    };
    // Written by an agent, and not in the repository yet; the second run began long ago.
    catalog.put(RunId(1), &future(begun(Work::Kms))).unwrap();
    let outcome = RunOutcome { ended_ns: now_ns() + 3600 * SECOND_NS, ..super::stored(&[("key_id", json!("k"))]) };
    catalog.put(RunId(2), &ended(Work::Kms, outcome)).unwrap();
    fixture.repository.record_run(RunId(2), &begun(Work::Kms)).unwrap();
    catalog.put(RunId(3), &begun(Work::File)).unwrap();
    let before = content(fixture.path());
    let rebuilt = rebuild(&catalog, &Silent).unwrap();
    assert_eq!(rebuilt.kept, 4, "two backups and what is known of their keys");
    let differences = rebuilt.differences.unwrap();
    assert_eq!((differences.len(), &differences[0].change), (1, &Change::Extra));
    let without: Vec<Vec<Vec<String>>> =
        before.into_iter().map(|table| table.into_iter().filter(|row| row[0] != fixture.id(RunId(3))).collect()).collect();
    assert_eq!(content(fixture.path()), without);
}

#[test]
fn damaged_records_are_notes_and_the_next_best_counts() {
    let fixture = Fixture::new();
    let repository = &fixture.repository;
    let (ledger, archive, _) = back_up(&fixture);
    for run in [RunId(1), RunId(2), archive] {
        repository.record_run(run, &begun(Work::File)).unwrap();
        repository.record_run(run, &ended(Work::File, super::stored(&[]))).unwrap();
    }
    let mut unfit = ended(Work::File, super::stored(&[]));
    unfit.run.tenant = Some("acme".into());
    repository.record_run(RunId(4), &unfit).unwrap();
    let corrupt = |run: RunId, has_ended: bool| assert!(fixture.store.corrupt(&RunName { run, has_ended }.object(), 100, 1));
    corrupt(RunId(1), true);
    corrupt(RunId(2), true);
    corrupt(RunId(2), false);
    corrupt(archive, true);
    let manifest = fixture.store.names().into_iter().find(|name| name.contains("/checkpoints/") && !name.contains("receipts")).unwrap();
    assert!(fixture.store.corrupt(&manifest, 100, 1));
    let rebuilt = rebuild(&fixture.catalog(), &Silent).unwrap();
    assert_eq!(rebuilt.notes.len(), 6, "{:?}", rebuilt.notes);
    for part in
        ["0000000000000001/ended", "0000000000000002/ended", "0000000000000002/started", &format!("{archive}/ended"), &manifest, "acme"]
    {
        assert!(rebuilt.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", rebuilt.notes);
    }
    let found = rows(fixture.path(), "SELECT run, evidence FROM backup_metadata WHERE job <> 'unrecorded' ORDER BY run");
    assert_eq!(found, [["0000000000000001".to_owned(), "started".into()], [archive.to_string(), "backup".into()]]);
    assert_eq!(rows(fixture.path(), &format!("SELECT count(*) FROM runs WHERE run = '{ledger}'")), [["0"]]);
}

#[test]
fn a_store_that_goes_away_changes_nothing() {
    let fixture = Fixture::new();
    run_everything(&fixture);
    refresh(&fixture.catalog(), &Silent).unwrap();
    let before = content(fixture.path());
    let faulty = FaultyStore::new(&fixture.store);
    let catalog = Catalog::new(&open(Arc::new(faulty.clone())).unwrap(), fixture.path());
    faulty.fail(u64::MAX, Fault::Refused);
    rebuild(&catalog, &Silent).unwrap();
    let calls = faulty.calls();
    assert!(calls > 20, "{calls} calls");
    for at_call in 1..=calls {
        faulty.fail(at_call, Fault::Gone);
        assert_eq!(rebuild(&catalog, &Silent).unwrap_err().kind, Kind::TryAgain, "call {at_call}");
        assert_eq!(fixture.files(), ["catalog.duckdb", "lock"]);
    }
    assert_eq!(content(fixture.path()), before);
    // A refresh that finds nothing new lists the names and reads nothing else.
    faulty.fail(u64::MAX, Fault::Refused);
    assert_eq!(refresh(&catalog, &Silent).unwrap().applied, Default::default());
    assert!(faulty.calls() <= 8, "{} calls", faulty.calls());
}
