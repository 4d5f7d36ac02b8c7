use super::*;
use crate::disk::file::ReadOptions;
use crate::log_shipping::tests::bench::{Bench, DataFile};
use crate::log_shipping::tests::store_double::Weather;
use crate::pipeline::digest;
use crate::progress::Silent;
use crate::repository::name::CheckpointName;
use crate::repository::run_record::{RunRecord, Work};
use crate::runs::outbox::Lane;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::LOG_OPS;
use crate::tier::tigerbeetle::capture::backup_as;
use crate::tier::tigerbeetle::format::timeline::Lineage;

fn begun(by: &str) -> RunRecord {
    let (job, by) = ("checkpoint".to_owned(), by.to_owned());
    let run = Run { work: Work::Tigerbeetle, scope: Scope::Incremental, tenant: None, job, by, started_ns: 7, retention_days: 0 };
    RunRecord { run, outcome: None }
}

fn ended(record: &RunRecord) -> RunRecord {
    RunRecord { outcome: Some(RunOutcome::completed(8)), ..record.clone() }
}

/// The runs whose end was added, and whether they completed.
fn added(bench: &Bench) -> Vec<(RunId, bool)> {
    let mut added = Vec::new();
    let outbox = &bench.recorder.outbox;
    for name in outbox.waiting(Lane::Repository).unwrap() {
        let entry = outbox.read(Lane::Repository, &name).unwrap();
        added.extend(entry.record.outcome.map(|outcome| (entry.run, outcome.completed)));
    }
    added
}

#[test]
fn killed_runs_of_this_agent_end_and_nobody_elses() {
    let bench = Bench::new(1 << 20);
    let record = |run: u64, record: &RunRecord| assert!(bench.repository.record_run(RunId(run), record).is_ok());
    record(1, &begun("agent"));
    record(2, &begun("another agent"));
    record(3, &begun("agent"));
    record(3, &ended(&begun("agent")));
    // This run is in progress in this process.
    bench.recorder.put(RunId(4), &begun("agent")).unwrap();
    record(4, &begun("agent"));
    // Ended, but the repository does not have the record of its end yet.
    record(5, &begun("agent"));
    bench.recorder.outbox.append(RunId(5), &ended(&begun("agent")), 1).unwrap();
    // Killed before the repository had the record of its beginning.
    bench.recorder.outbox.append(RunId(6), &begun("agent"), 1).unwrap();
    reconcile(&bench.recorder).unwrap();
    assert_eq!(added(&bench), [(RunId(5), true), (RunId(1), false), (RunId(6), false)]);
    let last = bench.records().pop().unwrap();
    assert_eq!(last.outcome.map(|outcome| outcome.reason).as_deref(), Some(KILLED));
    assert_eq!(last.run, begun("agent").run);
    // Reconciling again changes nothing.
    bench.recorder.put(RunId(4), &begun("agent")).unwrap();
    let before = added(&bench);
    bench.recorder.outbox.append(RunId(4), &ended(&begun("agent")), 1).unwrap();
    reconcile(&bench.recorder).unwrap();
    assert_eq!(added(&bench), [&before[..], &[(RunId(4), true)]].concat());
}

#[test]
fn a_run_that_was_killed_behind_its_manifest_has_completed() {
    let bench = Bench::new(1 << 20);
    let data_file = DataFile::new(&SampleFile::new(7, LOG_OPS));
    let run = bench.repository.new_run().unwrap();
    bench.repository.record_run(run, &begun("agent")).unwrap();
    let backup = backup_as(&bench.repository, &data_file.path(), ReadOptions::quick(), &Lineage::first(), run, &Silent).unwrap();
    reconcile(&bench.recorder).unwrap();
    let records = bench.records();
    assert_eq!((records.len(), records[0].run.scope), (1, Scope::Full), "the backup says what it is");
    let outcome = records[0].outcome.clone().unwrap();
    assert_eq!((outcome.completed, outcome.location, outcome.ended_ns), (true, backup.name.object(), backup.summary.ended_ns));
    assert_eq!(outcome.checksum.len(), 64);
}

#[test]
fn a_manifest_that_cannot_be_read_is_no_backup() {
    let bench = Bench::new(1 << 20);
    let run = RunId(9);
    bench.repository.record_run(run, &begun("agent")).unwrap();
    let name = CheckpointName { timeline: 1, checkpoint_op: 959, replica: 0, run };
    let body = [bytes::Bytes::from_static(b"no manifest")];
    let store = bench.repository.store();
    store.put(&name.object(), &body, &digest::digest(&body)).unwrap();
    reconcile(&bench.recorder).unwrap();
    let outcome = bench.records().pop().unwrap().outcome.unwrap();
    assert!(!outcome.completed && outcome.reason.contains("cannot be read"), "{outcome:?}");
}

#[test]
fn what_is_found_out_waits_while_the_store_takes_nothing() {
    let bench = Bench::new(1 << 20);
    bench.repository.record_run(RunId(1), &begun("agent")).unwrap();
    bench.store.set(Weather::Away);
    reconcile(&bench.recorder).unwrap();
    assert_eq!(added(&bench), [(RunId(1), false)]);
}
