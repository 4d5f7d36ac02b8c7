use super::*;
use crate::catalog::folder::{CATALOG, Folder};
use crate::catalog::row::KnownRun;
use crate::catalog::writer::Coverage;
use crate::error::Kind;
use crate::repository::run_record::RunSink;
use crate::repository::sample;
use std::time::Duration;

#[test]
fn a_backup_is_a_row_from_its_beginning_to_its_end() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    let mut begun = begun(Work::Tigerbeetle);
    begun.run.tenant = Some(u128::MAX.to_string());
    begun.run.retention_days = 30;
    catalog.put(RunId(0xab), &begun).unwrap();
    let sql = "SELECT id, backup_type, backup_scope, tenant_id, start_time, end_time, status, backup_size_bytes, backup_location, checksum, compression, \
               encryption, retention_until, created_at, run, job, run_by, reason, details, evidence FROM backup_metadata";
    let mut expected: Vec<String> = vec![
        fixture.id(RunId(0xab)),
        "tigerbeetle".into(),
        "incremental".into(),
        u128::MAX.to_string(),
        "2023-11-14 22:13:20".into(),
        String::new(),
        "started".into(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        "2023-12-14 22:13:20".into(),
        "2023-11-14 22:13:20".into(),
        "00000000000000ab".into(),
        "checkpoint".into(),
        "0123456789abcdef0123456789abcdef".into(),
        String::new(),
        String::new(),
        "started".into(),
    ];
    assert_eq!(rows(fixture.path(), sql), std::slice::from_ref(&expected));
    let outcome = stored(&[("blocks", json!(12)), ("release", json!("0.16.78"))]);
    catalog.put(RunId(0xab), &RunRecord { outcome: Some(outcome.clone()), ..begun.clone() }).unwrap();
    for (column, value) in [
        (5, "2023-11-14 22:14:50"),
        (6, "completed"),
        (7, "4096"),
        (8, &outcome.location),
        (9, &outcome.checksum),
        (10, "zstd"),
        (11, "aes256"),
        // Retention counts from its end.
        (12, "2023-12-14 22:14:50"),
        (18, r#"{"blocks":12,"release":"0.16.78"}"#),
        (19, "ended"),
    ] {
        expected[column] = value.to_owned();
    }
    assert_eq!(rows(fixture.path(), sql), std::slice::from_ref(&expected));
    // A late record of less changes nothing, so nothing is published.
    let published = std::fs::metadata(fixture.path().join(CATALOG)).unwrap();
    catalog.put(RunId(0xab), &begun).unwrap();
    assert_eq!(rows(fixture.path(), sql), [expected]);
    let inode = |metadata: &std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(metadata);
    assert_eq!(inode(&std::fs::metadata(fixture.path().join(CATALOG)).unwrap()), inode(&published));
    assert_eq!(fixture.files(), [CATALOG, "lock"]);
}

#[test]
fn every_work_has_its_table() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    let key = [("key_id", json!("arn:aws:kms:key/1")), ("key_version", json!("7")), ("wrapped_by", json!(5))];
    let drill = [("kind", json!("system")), ("restored_op", json!(u64::MAX)), ("restore_seconds", json!(1.5))];
    let removed = [("backups_removed", json!(2)), ("objects_removed", json!(-1)), ("bytes_removed", json!(1_u64 << 40))];
    let restored = [("tier", json!("toy")), ("restored_bytes", json!(7)), ("expected_seconds", json!(1.5))];
    let works = [
        (Work::Tigerbeetle, stored(&[])),
        (Work::Duckdb, stored(&[])),
        (Work::Parquet, stored(&[])),
        (Work::Kms, stored(&key)),
        (Work::File, stored(&[])),
        (Work::Catalog, stored(&[])),
        (Work::Verification, verified()),
        (Work::Drill, stored(&drill)),
        (Work::Retention, RunOutcome { reason: "the store said no".into(), completed: false, ..stored(&removed) }),
        (Work::Restore, RunOutcome { location: "an/object".into(), ..stored(&restored) }),
    ];
    for (number, (work, outcome)) in (1..).zip(&works) {
        catalog.put(RunId(number), &ended(*work, outcome.clone())).unwrap();
    }
    let path = fixture.path();
    let types = rows(path, "SELECT backup_type FROM backup_metadata ORDER BY run");
    assert_eq!(types.concat(), ["tigerbeetle", "duckdb", "parquet", "kms", "file", "catalog"]);
    let keys = rows(path, "SELECT id, key_id, key_version, wrapped_by, status FROM kms_key_backups");
    assert_eq!(keys, [[&fixture.id(RunId(4)), "arn:aws:kms:key/1", "7", "", "completed"]]);
    let verifications = rows(path, "SELECT is_full, backups, problems, objects, files FROM verification_runs");
    assert_eq!(verifications, [["true", "3", "0", "", ""]], "a figure of another kind is none");
    let drills = rows(path, "SELECT kind, restored_op, restore_seconds FROM recovery_drills");
    assert_eq!(drills, [["system", "18446744073709551615", "1.5"]]);
    let retention = rows(path, "SELECT backups_removed, objects_removed, bytes_removed, status, reason FROM retention_runs");
    assert_eq!(retention, [["2", "", "1099511627776", "failed", "the store said no"]]);
    let restores = rows(path, "SELECT tier, backup_location, restored_bytes, expected_seconds, status FROM restore_runs");
    assert_eq!(restores, [["toy", "an/object", "7", "1.5", "completed"]]);
    let all = rows(path, "SELECT work FROM runs ORDER BY run").concat();
    assert_eq!(all, works.map(|(work, _)| work.text()));
}

#[test]
fn objectives_have_a_row_for_each_tier_and_one_event() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    catalog.put(RunId(5), &begun(Work::Objectives)).unwrap();
    assert_eq!(rows(fixture.path(), "SELECT tier, status FROM objectives"), [["", "started"]]);
    let tier = |name: &str, point: f64| json!({ "tier": name, "recovery_point_seconds": point, "recovery_time_seconds": 9.5, "is_measured": true });
    let tiers = [("tiers", json!([tier("tigerbeetle", 1.5), tier("file", 70.0), tier("toy", 3.0)]))];
    catalog.put(RunId(5), &ended(Work::Objectives, stored(&tiers))).unwrap();
    let found =
        rows(fixture.path(), "SELECT tier, recovery_point_seconds, recovery_time_seconds, is_measured FROM objectives ORDER BY tier");
    assert_eq!(found, [["file", "70.0", "9.5", "true"], ["tigerbeetle", "1.5", "9.5", "true"], ["toy", "3.0", "9.5", "true"]]);
    let days = rows(fixture.path(), "SELECT tier, recovery_point_seconds FROM objectives_by_day WHERE tier = 'file'");
    assert_eq!(days, [["file", "70.0"]]);
    assert_eq!(rows(fixture.path(), "SELECT work, status FROM runs"), [["objectives", "completed"]]);
    // The ledger has the events of the run, once.
    let all = crate::catalog::reader::Reader::open(fixture.path()).unwrap().backups().unwrap();
    let ids: Vec<String> = all.iter().map(|row| row.as_ref().unwrap().id.to_string()).collect();
    assert_eq!(ids, [fixture.id(RunId(5))]);
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    let mut bad = ended(Work::File, stored(&[]));
    bad.run.tenant = Some("acme".into());
    let error = catalog.put(RunId(7), &bad).unwrap_err();
    assert!(error.kind == Kind::Bug && error.message.contains("run 0000000000000007") && error.message.contains("acme"), "{error}");
    for outcome in [
        RunOutcome { compression: "lz4".into(), ..stored(&[]) },
        RunOutcome { encryption: "rot13".into(), ..stored(&[]) },
        RunOutcome { checksum: "AB".repeat(32), ..stored(&[]) },
        RunOutcome { checksum: "ab".into(), ..stored(&[]) },
    ] {
        assert!(catalog.put(RunId(8), &ended(Work::File, outcome.clone())).is_err(), "{outcome:?}");
    }
    assert_eq!(rows(fixture.path(), "SELECT count(*) FROM runs"), [["0"]]);
}

#[test]
fn a_catalog_that_is_damaged_or_no_catalog_is_begun_anew() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    let file = fixture.path().join(CATALOG);
    let foreign = duckdb::Connection::open(fixture.path().join("foreign.duckdb")).unwrap();
    foreign.execute_batch("CREATE TABLE orders (id INTEGER)").unwrap();
    drop(foreign);
    let put = |number| catalog.apply(&[KnownRun::recorded(RunId(number), &begun(Work::File))]).unwrap();
    assert_eq!(put(1).begun_anew, None);
    let whole = std::fs::read(&file).unwrap();
    let damages: [(&str, Vec<u8>); 5] = [
        ("a few bytes", b"x".to_vec()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("zeros", vec![0; whole.len()]),
        ("a flipped bit", whole.iter().enumerate().map(|(at, byte)| if at == 4096 + 100 { byte ^ 1 } else { *byte }).collect()),
        ("another database", std::fs::read(fixture.path().join("foreign.duckdb")).unwrap()),
    ];
    for (number, (what, bytes)) in (2..).zip(damages) {
        std::fs::write(&file, bytes).unwrap();
        let applied = put(number);
        assert!(applied.begun_anew.is_some(), "{what}: {applied:?}");
        assert_eq!(rows(fixture.path(), "SELECT run FROM runs"), [[RunId(number).to_string()]], "{what}");
        assert!(!Reader::open(fixture.path()).unwrap().about().unwrap().is_complete, "{what}");
    }
    // A catalog that replaces a damaged one may lack runs. Once the rest is written, it is known to
    // have all.
    for (coverage, is_complete) in [(Coverage::Rest, false), (Coverage::Rest, true), (Coverage::Some, true)] {
        if !is_complete {
            std::fs::write(&file, b"x").unwrap();
        }
        catalog.apply_of(&[], coverage).unwrap();
        assert_eq!(Reader::open(fixture.path()).unwrap().about().unwrap().is_complete, is_complete, "{coverage:?}");
    }
    // The catalog of another repository.
    let other = sample::create(&MemoryStore::new()).unwrap();
    let applied = Catalog::new(&other, fixture.path()).apply(&[]).unwrap();
    assert!(applied.begun_anew.unwrap().contains("another repository"));
    assert_eq!(rows(fixture.path(), "SELECT count(*) FROM runs"), [["0"]]);
}

/// Whatever is damaged, a run is written, and a query gets an answer or an error that says what
/// helps.
#[test]
fn damage_anywhere_stops_no_writer_and_is_told_to_readers() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    catalog.put(RunId(1), &ended(Work::File, stored(&[("name", json!("x".repeat(20_000)))]))).unwrap();
    let path = fixture.path().join(CATALOG);
    let whole = std::fs::read(&path).unwrap();
    let ask = || Reader::open(fixture.path()).and_then(|reader| reader.query("SELECT max(concat(*COLUMNS(*))) FROM backup_metadata"));
    let (mut reported, mut begun_anew) = (0, 0);
    // Blocks after the three headers: each has a checksum, and some are free.
    for offset in (12_288 + 64..whole.len()).step_by(16_384) {
        let mut damaged = whole.clone();
        damaged[offset..offset + 16].fill(0x5a);
        std::fs::write(&path, damaged).unwrap();
        if let Err(error) = ask() {
            assert!(error.kind == Kind::Damaged && error.message.contains("amber catalog rebuild"), "{offset}: {error}");
            reported += 1;
        }
        let applied = catalog.apply(&[KnownRun::recorded(RunId(2), &begun(Work::File))]).unwrap();
        assert_eq!(applied.added, 1, "{offset}");
        begun_anew += usize::from(applied.begun_anew.is_some());
        // Damage that no writer came across may still be there.
        if let Err(error) = ask() {
            assert_eq!(error.kind, Kind::Damaged, "{offset}: {error}");
        }
    }
    assert!(reported > 0 && begun_anew > 0, "{reported} {begun_anew}");
}

#[test]
fn leftovers_of_a_kill_are_cleared_and_one_writer_waits_for_the_other() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    catalog.put(RunId(1), &begun(Work::File)).unwrap();
    // What a process that was killed midway may leave: a draft of garbage and its log.
    std::fs::write(fixture.path().join("draft.duckdb"), b"garbage").unwrap();
    std::fs::write(fixture.path().join("draft.duckdb.wal"), b"garbage").unwrap();
    assert_eq!(rows(fixture.path(), "SELECT count(*) FROM runs"), [["1"]]);
    catalog.put(RunId(2), &begun(Work::File)).unwrap();
    assert_eq!(fixture.files(), [CATALOG, "lock"]);
    let folder = Folder::new(fixture.path(), crate::host::Clock::SYSTEM);
    let held = folder.lock().unwrap();
    let error = folder.lock_within(Duration::from_millis(30)).unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("another process"), "{error}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| catalog.put(RunId(3), &begun(Work::File)));
        std::thread::sleep(Duration::from_millis(30));
        drop(held);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(rows(fixture.path(), "SELECT count(*) FROM runs"), [["3"]]);
}

#[test]
fn a_reader_keeps_its_catalog_while_others_are_published() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    catalog.put(RunId(1), &begun(Work::File)).unwrap();
    let before = Reader::open(fixture.path()).unwrap();
    for number in 2..6 {
        catalog.put(RunId(number), &begun(Work::File)).unwrap();
        assert_eq!(rows(fixture.path(), "SELECT count(*) FROM runs"), [[number.to_string()]]);
    }
    let counted = before.query("SELECT count(*) FROM runs").unwrap();
    assert_eq!(counted.rows, [[Some("1".to_owned())]]);
}

#[test]
fn what_is_held_stays_the_same() {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    assert_eq!(catalog.folder().hold().unwrap_err().kind, Kind::Input);
    catalog.put(RunId(1), &begun(Work::File)).unwrap();
    let first = std::fs::read(fixture.path().join(CATALOG)).unwrap();
    let held = catalog.folder().hold().unwrap();
    catalog.put(RunId(2), &begun(Work::File)).unwrap();
    assert!(std::fs::read(held.path()).unwrap() == first && std::fs::read(fixture.path().join(CATALOG)).unwrap() != first);
    drop(held);
    assert_eq!(fixture.files(), [CATALOG, "lock"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let fixture = Fixture::new();
    let file = fixture.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Catalog::new(&fixture.repository, &file.join("catalog")).put(RunId(1), &begun(Work::File)).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("file/catalog"), "{error}");
    let error = Reader::open(fixture.path()).err().unwrap();
    assert!(error.kind == Kind::Input && error.message.contains("amber catalog rebuild"), "{error}");
}
