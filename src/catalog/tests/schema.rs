use super::*;
use crate::catalog::database::Database;
use crate::catalog::folder::CATALOG;
use crate::catalog::rebuild;
use crate::catalog::row::{KnownRun, Table};
use crate::catalog::schema::{VERSION, migrate, migrate_to, version};
use crate::catalog::writer::write;
use crate::error::Kind;
use duckdb::types::Value;

/// Makes a catalog of an older Amber, with a backup in it.
fn of_version(fixture: &Fixture, wanted: u32) {
    let path = fixture.path().join(CATALOG);
    let mut database = Database::open_to_work(&path).unwrap();
    assert_eq!(migrate_to(&mut database, wanted).unwrap(), 0);
    assert_eq!(version(&database).unwrap(), wanted);
    let id = Value::Text(fixture.catalog().repository_id().to_string());
    database.execute_all("INSERT INTO catalog_state VALUES (?, ?)", [vec![id, Value::Boolean(true)]]).unwrap();
    let known = KnownRun::recorded(RunId(1), &ended(Work::Kms, stored(&[("key_id", json!("k"))])));
    let rows = fixture.catalog().rows(&[known], &mut Vec::new());
    assert_eq!(write(&database, &rows).unwrap(), (2, 0));
    database.close().unwrap();
}

#[test]
fn a_catalog_of_every_older_version_is_brought_up_and_keeps_its_rows() {
    for older in 1..=VERSION {
        let fixture = Fixture::new();
        of_version(&fixture, older);
        assert_eq!(Reader::open(fixture.path()).unwrap().about().unwrap().version, older, "a reader reads what there is");
        fixture.catalog().apply(&[KnownRun::recorded(RunId(2), &ended(Work::Verification, verified()))]).unwrap();
        assert_eq!(Reader::open(fixture.path()).unwrap().about().unwrap().version, VERSION);
        assert_eq!(
            rows(fixture.path(), "SELECT run, work FROM runs ORDER BY run").concat(),
            ["0000000000000001", "kms", "0000000000000002", "verification"]
        );
        assert_eq!(rows(fixture.path(), "SELECT key_id FROM kms_key_backups"), [["k"]]);
        let versions = rows(fixture.path(), "SELECT version FROM schema_version ORDER BY version").concat();
        assert_eq!(versions, (1..=VERSION).map(|version| version.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn the_migration_alone_is_worth_publishing() {
    let fixture = Fixture::new();
    of_version(&fixture, 1);
    let error = Reader::open(fixture.path()).unwrap().history(&Default::default()).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("version 1"), "{error}");
    fixture.catalog().apply(&[]).unwrap();
    assert_eq!(Reader::open(fixture.path()).unwrap().history(&Default::default()).unwrap().len(), 1);
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    of_version(&fixture, VERSION);
    let path = fixture.path().join(CATALOG);
    let newer = Database::open_to_work(&path).unwrap();
    newer.execute(&format!("INSERT INTO schema_version VALUES ({}, 'of the future')", VERSION + 1)).unwrap();
    newer.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = |error: crate::error::Error| {
        assert_eq!(error.kind, Kind::Input, "{error}");
        assert!(error.message.contains(&format!("schema version {}", VERSION + 1)) && error.message.contains("rebuild"), "{error}");
    };
    refused(fixture.catalog().apply(&[]).unwrap_err());
    refused(Reader::open(fixture.path()).err().unwrap());
    refused(rebuild::refresh(&fixture.catalog(), &crate::progress::Silent).unwrap_err());
    assert!(std::fs::read(&path).unwrap() == before);
    // A rebuild replaces it.
    let rebuilt = rebuild::rebuild(&fixture.catalog(), &crate::progress::Silent).unwrap();
    assert!(rebuilt.differences.is_none() && rebuilt.notes[0].contains("not compared"), "{rebuilt:?}");
    assert_eq!(Reader::open(fixture.path()).unwrap().about().unwrap().version, VERSION);
}

#[test]
fn the_tables_have_the_columns_that_rows_are_made_for() {
    let fixture = Fixture::new();
    fixture.catalog().apply(&[]).unwrap();
    for table in Table::ALL {
        let columns = rows(fixture.path(), &format!("SELECT column_name FROM (DESCRIBE {})", table.name())).concat();
        assert_eq!(columns, table.columns(), "{}", table.name());
    }
    let indexes = rows(fixture.path(), "SELECT index_name FROM duckdb_indexes() ORDER BY index_name").concat();
    assert_eq!(indexes, ["backup_metadata_status", "backup_metadata_tenant", "backup_metadata_type"]);
}

#[test]
fn the_tables_refuse_what_they_must_not_hold() {
    let fixture = Fixture::new();
    let mut database = Database::open_to_work(&fixture.path().join("a")).unwrap();
    migrate(&mut database).unwrap();
    let insert = |changed: &str, value: &str| {
        let mut values: std::collections::BTreeMap<&str, String> = [
            ("id", "uuid()"),
            ("backup_type", "'file'"),
            ("backup_scope", "'full'"),
            ("start_time", "TIMESTAMP '2026-11-21 10:00:00'"),
            ("end_time", "TIMESTAMP '2026-11-21 10:00:01'"),
            ("status", "'completed'"),
            ("created_at", "TIMESTAMP '2026-11-21 10:00:00'"),
            ("run", "'00000000000000ab'"),
            ("job", "'x'"),
            ("run_by", "'y'"),
            ("evidence", "'ended'"),
        ]
        .map(|(column, value)| (column, value.to_owned()))
        .into();
        values.insert(changed, value.to_owned());
        let (columns, values): (Vec<&str>, Vec<String>) = values.into_iter().unzip();
        database.execute(&format!("INSERT INTO backup_metadata ({}) VALUES ({})", columns.join(", "), values.join(", ")))
    };
    insert("checksum", "NULL").unwrap();
    let refused = [
        ("backup_type", "'a tape'"),
        ("backup_scope", "'half'"),
        ("tenant_id", "'-1'"),
        ("status", "'done'"),
        ("checksum", "'ab'"),
        ("compression", "'lz4'"),
        ("encryption", "'rot13'"),
        ("run", "'ab'"),
        ("evidence", "'hearsay'"),
        ("end_time", "NULL"),
        ("start_time", "NULL"),
        ("created_at", "NULL"),
        ("id", "NULL"),
    ];
    for (column, value) in refused {
        let error = insert(column, value).expect_err(column);
        assert!(error.message.contains("onstraint"), "{column}: {error}");
    }
}
