use super::*;
use crate::catalog::reader::{Filter, ROWS_MAX};
use crate::error::Kind;
use crate::repository::run_record::RunSink;

fn filled() -> Fixture {
    let fixture = Fixture::new();
    let catalog = fixture.catalog();
    catalog.put(RunId(1), &begun(Work::Tigerbeetle)).unwrap();
    catalog.put(RunId(2), &ended(Work::File, stored(&[("name", json!("it's"))]))).unwrap();
    let mut late = ended(Work::Verification, RunOutcome::failed(START_NS + 3 * SECOND_NS, "3 problems"));
    late.run.started_ns += 2 * SECOND_NS;
    catalog.put(RunId(3), &late).unwrap();
    fixture
}

#[test]
fn answers_have_types_and_json_has_numbers() {
    let fixture = filled();
    let sql = "SELECT 1 AS one, 1.5::DOUBLE AS half, 18446744073709551615::UBIGINT AS big, sum(backup_size_bytes) AS sum, true AS yes, NULL AS none, \
               'it''s' AS said, [1, 2] AS list, {'a': 1} AS struct, TIMESTAMP '2026-11-21 10:00:00.5' AS at, 'nan'::DOUBLE AS nan, \
               340282366920938463463374607431768211455::UHUGEINT AS huge, '\\x00'::BLOB AS blob, INTERVAL 1 DAY AS day, 1.50::DECIMAL(5, 2) AS exact \
               FROM backup_metadata";
    let answer = ask(fixture.path(), sql);
    let json = answer.json();
    let expected = json!({
        "one": 1, "half": 1.5, "big": u64::MAX, "sum": 4096, "yes": true, "none": null, "said": "it's", "list": "[1, 2]", "struct": "{'a': 1}",
        "at": "2026-11-21 10:00:00.5", "nan": "nan", "huge": u128::MAX.to_string(), "blob": "\\x00", "day": "1 day", "exact": "1.50",
    });
    assert_eq!(json["rows"], json!([expected]));
    assert_eq!(json["columns"][2], json!({ "name": "big", "type": "UBIGINT" }));
    assert_eq!((answer.columns.len(), &json["is_cut"]), (15, &json!(false)));
}

#[test]
fn the_order_of_the_query_is_the_order_of_the_answer() {
    let fixture = filled();
    let numbers = rows(fixture.path(), "SELECT range FROM range(5000) ORDER BY hash(range)").concat();
    let hashes = rows(fixture.path(), "SELECT hash(range) FROM range(5000) ORDER BY 1").concat();
    let mut by_number: Vec<String> = numbers.clone();
    by_number.sort_by_key(|number| number.parse::<u64>().unwrap());
    assert_eq!(by_number.len(), 5000);
    assert_ne!(by_number, numbers);
    assert!(hashes.iter().map(|hash| hash.parse::<u64>().unwrap()).is_sorted());
}

#[test]
fn statements_that_only_ask_are_answered() {
    let fixture = filled();
    for sql in [
        "FROM runs",
        "SELECT * FROM runs;",
        "-- a comment\nSELECT 'a;b' AS x",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "VALUES (1), (2)",
        "SHOW TABLES",
        "DESCRIBE backup_metadata",
        "SUMMARIZE backup_metadata",
        "SELECT count(*) FROM runs WHERE start_time > now() - INTERVAL 7 DAYS",
        "SELECT date_trunc('day', start_time), count(*) FROM runs GROUP BY ALL",
    ] {
        let answer = Reader::open(fixture.path()).unwrap().query(sql);
        assert!(answer.as_ref().is_ok_and(|answer| !answer.rows.is_empty()), "{sql}: {answer:?}");
    }
    let twice = ask(fixture.path(), "SELECT 1 AS a, 2 AS a");
    assert_eq!(twice.json()["rows"][0].as_object().unwrap().len(), 2, "columns of one name are told apart");
}

/// No SQL changes anything, or reads or writes another file.
#[test]
fn hostile_statements_are_refused() {
    let fixture = filled();
    let place = tempfile::tempdir().unwrap();
    let secret = place.path().join("secret.csv");
    std::fs::write(&secret, "secret,1\n").unwrap();
    let (secret, out) = (secret.display().to_string(), place.path().join("out").display().to_string());
    let statements = [
        "INSERT INTO backup_metadata DEFAULT VALUES".to_owned(),
        "UPDATE backup_metadata SET status = 'failed'".to_owned(),
        "DELETE FROM backup_metadata".to_owned(),
        "DROP TABLE backup_metadata".to_owned(),
        "ALTER TABLE backup_metadata ADD COLUMN x INTEGER".to_owned(),
        "CREATE TABLE x (a INTEGER)".to_owned(),
        "CREATE TEMP TABLE x AS SELECT 1".to_owned(),
        "CREATE VIEW x AS SELECT 1".to_owned(),
        "CREATE MACRO f(x) AS x".to_owned(),
        "SELECT 1; DELETE FROM backup_metadata".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "select 1') ; DELETE FROM backup_metadata; SELECT ('1".to_owned(),
        "CHECKPOINT".to_owned(),
        "VACUUM".to_owned(),
        "BEGIN".to_owned(),
        "PREPARE q AS SELECT 1".to_owned(),
        "SET enable_external_access = true".to_owned(),
        "RESET enable_external_access".to_owned(),
        "SET lock_configuration = false".to_owned(),
        "SET memory_limit = '100GB'".to_owned(),
        "PRAGMA enable_profiling".to_owned(),
        "CALL enable_logging()".to_owned(),
        "INSTALL httpfs".to_owned(),
        "LOAD httpfs".to_owned(),
        "DETACH catalog".to_owned(),
        format!("ATTACH '{out}' AS x"),
        format!("COPY backup_metadata TO '{out}'"),
        format!("COPY (SELECT 1) TO '{out}'"),
        format!("EXPORT DATABASE '{out}'"),
        format!("COPY backup_metadata FROM '{secret}'"),
        format!("FROM '{secret}'"),
        format!("SELECT * FROM read_csv('{secret}')"),
        format!("SELECT * FROM read_text('{secret}')"),
        format!("SELECT * FROM read_blob(['{secret}'])"),
        format!("SELECT * FROM read_parquet('{secret}')"),
        format!("SELECT * FROM read_json('{secret}')"),
        format!("SELECT * FROM sniff_csv('{secret}')"),
        format!("SELECT * FROM glob('{}/*')", place.path().display()),
        format!("SELECT * FROM query('SELECT * FROM read_text(''{secret}'')')"),
        format!("SELECT * FROM read_duckdb('{secret}')"),
        "SELECT * FROM '/proc/self/environ'".to_owned(),
        format!("SELECT * FROM enable_logging(storage = 'file', storage_config = {{'path': '{out}'}})"),
        format!("SELECT 1, (SELECT count(*) FROM system.main.enable_logging(storage = 'file', storage_config = {{'path': '{out}'}}))"),
        format!("WITH x AS (SELECT * FROM enable_profiling(format = 'json', save_location = '{out}.json')) SELECT 1 FROM x"),
        "SELECT * FROM query('SELECT * FROM disable_' || 'logging()')".to_owned(),
        "SELECT * FROM force_checkpoint()".to_owned(),
        "SELECT * FROM truncate_duckdb_logs()".to_owned(),
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM enable_logging()'))".to_owned(),
        "SELECT getenv('AMBER_PASSPHRASE')".to_owned(),
        "SELECT * FROM which_secret('s3://x', 's3')".to_owned(),
        "SELECT $1".to_owned(),
        "SELECT ?".to_owned(),
        "SELECT".to_owned(),
        String::new(),
        "SELECT 1\0".to_owned(),
        "SELECT * FROM nowhere".to_owned(),
        "SELECT list(range) FROM range(1000000000)".to_owned(),
    ];
    let before = std::fs::read(fixture.path().join("catalog.duckdb")).unwrap();
    let reader = Reader::open(fixture.path()).unwrap();
    for sql in statements {
        let error = reader.query(&sql).expect_err(&sql);
        assert_eq!(error.kind, Kind::Input, "{sql}: {error}");
        assert!(!error.message.contains("secret,1"), "{sql}: {error}");
        // The same reader still works.
        assert_eq!(reader.query("SELECT count(*) FROM runs").unwrap().rows, [[Some("3".to_owned())]], "after {sql}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "something was written");
    assert!(std::fs::read(fixture.path().join("catalog.duckdb")).unwrap() == before);
    assert_eq!(fixture.files(), ["catalog.duckdb", "lock"]);
}

#[test]
fn refusals_say_what_is_wrong_in_a_line() {
    let fixture = filled();
    let reader = Reader::open(fixture.path()).unwrap();
    let said = |sql: &str| reader.query(sql).unwrap_err().message;
    assert!(said("DELETE FROM runs").contains("one SELECT at a time"));
    let unknown = said("SELECT nothing FROM runs");
    assert!(unknown.contains("nothing") && !unknown.contains('\n') && !unknown.contains("query("), "{unknown}");
}

#[test]
fn a_long_answer_is_cut_and_says_so() {
    let fixture = filled();
    let exactly = ask(fixture.path(), &format!("SELECT * FROM range({ROWS_MAX})"));
    assert_eq!((exactly.rows.len(), exactly.is_cut), (ROWS_MAX, false));
    let more = ask(fixture.path(), &format!("SELECT * FROM range({})", ROWS_MAX + 1));
    assert_eq!((more.rows.len(), more.is_cut), (ROWS_MAX, true));
}

#[test]
fn the_history_is_filtered_newest_first() {
    let fixture = filled();
    let reader = Reader::open(fixture.path()).unwrap();
    let runs = |filter: Filter| reader.history(&filter).unwrap().into_iter().map(|run| run.run[15..].to_owned()).collect::<Vec<_>>();
    assert_eq!(runs(Filter::default()), ["3", "2", "1"]);
    assert_eq!(runs(Filter { limit: Some(2), ..Filter::default() }), ["3", "2"]);
    assert_eq!(runs(Filter { work: Some("file".into()), ..Filter::default() }), ["2"]);
    assert_eq!(runs(Filter { status: Some("started".into()), ..Filter::default() }), ["1"]);
    assert_eq!(runs(Filter { since_ns: Some(START_NS + SECOND_NS), ..Filter::default() }), ["3"]);
    assert_eq!(runs(Filter { work: Some("' OR 1 = 1".into()), ..Filter::default() }), Vec::<String>::new());
    let newest = &reader.history(&Filter::default()).unwrap()[0];
    assert_eq!(
        (newest.work.as_str(), newest.scope.as_deref(), newest.reason.as_deref()),
        ("verification", Some("incremental"), Some("3 problems"))
    );
    assert_eq!((newest.started_ns, newest.ended_ns), (START_NS + 2 * SECOND_NS, Some(START_NS + 3 * SECOND_NS)));
    let json = reader.history(&Filter::default()).unwrap()[1].json();
    assert_eq!((&json["type"], &json["stored_bytes"], &json["ended"]), (&json!("file"), &json!(4096), &json!("2023-11-14T22:14:50Z")));
}
