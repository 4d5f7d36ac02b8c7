use super::{Run, RunOutcome, RunRecord, Scope, Work};
use crate::error::Kind;
use crate::repository::name::{RunId, RunName};
use crate::repository::tests::repository;
use crate::store::{PutOutcome, Store};
use serde_json::json;

fn run(work: Work) -> Run {
    Run {
        work,
        scope: Scope::Incremental,
        tenant: Some("340282366920938463463374607431768211455".into()),
        job: "checkpoint".into(),
        by: "agent".into(),
        started_ns: 7,
        retention_days: 30,
    }
}

fn record(work: Work, outcome: Option<RunOutcome>) -> RunRecord {
    RunRecord { run: run(work), outcome }
}

#[test]
fn runs_are_read_back_each_as_far_as_it_is_recorded() {
    let (_, repository) = repository();
    assert_eq!(repository.runs().unwrap(), Default::default());
    let begun = record(Work::Tigerbeetle, None);
    assert_eq!(repository.record_run(RunId(9), &begun), Ok(PutOutcome::Created));
    assert_eq!(repository.record_run(RunId(2), &begun), Ok(PutOutcome::Created));
    let outcome = RunOutcome { details: [("ops".to_owned(), json!(5))].into(), stored_bytes: 8, ..RunOutcome::completed(11) };
    let ended = record(Work::Tigerbeetle, Some(outcome));
    assert_eq!(repository.record_run(RunId(2), &ended), Ok(PutOutcome::Created));
    let other = record(Work::Tigerbeetle, Some(RunOutcome::failed(12, "no")));
    assert_eq!(repository.record_run(RunId(2), &other), Ok(PutOutcome::AlreadyExists), "what was recorded stays");
    let alone = record(Work::Verification, Some(RunOutcome::failed(13, "damaged: see verify")));
    repository.record_run(RunId(5), &alone).unwrap();
    let runs = repository.runs().unwrap();
    assert_eq!(runs.runs.into_iter().collect::<Vec<_>>(), [(RunId(2), ended), (RunId(5), alone), (RunId(9), begun)]);
    assert_eq!(runs.damaged, Vec::<String>::new());
}

#[test]
fn damaged_records_are_named_and_leave_the_rest_readable() {
    let (store, repository) = repository();
    repository.record_run(RunId(1), &record(Work::Drill, None)).unwrap();
    let (begun, ended) = (RunName { run: RunId(2), has_ended: false }, RunName { run: RunId(2), has_ended: true });
    repository.record_run(RunId(2), &record(Work::Drill, None)).unwrap();
    assert!(store.corrupt(&begun.object(), 100, 1));
    // A record of another moment than its name says.
    crate::repository::record::write(&repository, crate::repository::frame::ObjectKind::Run, ended.object(), &record(Work::Drill, None))
        .unwrap();
    let runs = repository.runs().unwrap();
    assert_eq!(runs.runs.keys().collect::<Vec<_>>(), [&RunId(1)]);
    assert_eq!(runs.damaged, [ended.object(), begun.object()]);
    assert_eq!(repository.run_record(&ended).unwrap_err().kind, Kind::Damaged);
    assert!(store.size_bytes("catalog/runs/0000000000000001/started").unwrap().is_some());
}

#[test]
fn ids_follow_from_repository_and_run() {
    let (_, first) = repository();
    let (_, second) = repository();
    let id = first.backup_id(RunId(7));
    assert_eq!((id, id.get_version_num()), (first.backup_id(RunId(7)), 8));
    assert_ne!(id, first.backup_id(RunId(8)));
    assert_ne!(id, second.backup_id(RunId(7)));
}

#[test]
fn every_work_has_its_name() {
    let works = [
        (Work::Tigerbeetle, true),
        (Work::Duckdb, true),
        (Work::Parquet, true),
        (Work::Kms, true),
        (Work::File, true),
        (Work::Verification, false),
        (Work::Drill, false),
        (Work::Retention, false),
    ];
    for (work, is_backup) in works {
        assert_eq!(serde_json::to_value(work).unwrap(), json!(work.text()));
        assert_eq!(work.is_backup(), is_backup, "{work:?}");
    }
    for scope in [Scope::Full, Scope::Incremental] {
        assert_eq!(serde_json::to_value(scope).unwrap(), json!(scope.text()));
    }
}
