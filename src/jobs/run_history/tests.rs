use super::*;
use crate::repository::name::RunName;
use crate::repository::run_record::{Run, RunOutcome, Scope};
use crate::repository::sample::create;
use crate::store::memory::MemoryStore;
use serde_json::json;

fn record(work: Work, job: &str, started_ns: u64, outcome: Option<RunOutcome>) -> RunRecord {
    let run = Run { work, scope: Scope::Full, tenant: None, job: job.into(), by: "b".into(), started_ns, retention_days: 0 };
    RunRecord { run, outcome }
}

#[test]
fn the_newest_run_of_each_job_is_found_and_nothing_is_read_twice() {
    let store = MemoryStore::new();
    let repository = create(&store).unwrap();
    let put = |number: u64, record: &RunRecord| assert!(repository.record_run(RunId(number), record).is_ok());
    let mut past = RunHistory::default();
    past.look(&repository, &["checkpoint"]).unwrap();
    assert_eq!(past.runs().count(), 0);
    put(1, &record(Work::Drill, "drill", 1, Some(RunOutcome::completed(2))));
    put(2, &record(Work::Drill, "drill", 3, Some(RunOutcome::failed(4, "no"))));
    for number in 10..80 {
        put(number, &record(Work::Tigerbeetle, "checkpoint", number, None));
        put(number, &record(Work::Tigerbeetle, "checkpoint", number, Some(RunOutcome::completed(number))));
    }
    put(80, &record(Work::Verification, "verification", 80, None));
    past.look(&repository, &["checkpoint", "drill", "verification"]).unwrap();
    assert_eq!(past.newest_of("checkpoint").map(|(run, record)| (run, record.outcome.is_some())), Some((RunId(79), true)));
    assert_eq!(past.newest_of("verification").map(|(run, record)| (run, record.outcome.is_some())), Some((RunId(80), false)));
    assert_eq!((past.newest_of("drill").map(|(run, _)| run), past.last_drill_ns()), (Some(RunId(2)), None), "no further than it must");
    assert_eq!((past.last_done_ns("checkpoint", Work::Tigerbeetle), past.last_done_ns("drill", Work::Drill)), (Some(79), None));
    assert_eq!(past.runs().next().map(|(run, _)| run), Some(RunId(80)));
    past.look(&repository, &["checkpoint"]).unwrap();
    assert_eq!(past.runs().count(), RECENT_MAX);

    // A record that was read is kept, although it has been damaged since; a run that has ended
    // since is read.
    store.corrupt(&RunName { run: RunId(79), has_ended: true }.object(), 100, 1);
    let details = [("backups", json!(3)), ("backups_whole", json!(2)), ("problems", json!(4)), ("is_full", json!(false))];
    let details = details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    put(80, &record(Work::Verification, "verification", 80, Some(RunOutcome { details, ..RunOutcome::failed(90, "damaged") })));
    past.look(&repository, &[]).unwrap();
    let found = past.verification().unwrap();
    assert_eq!((found.ended_ns, found.is_whole, found.backups, found.backups_whole, found.problems), (90, false, 3, 2, 4));
    assert!(past.newest_of("checkpoint").is_some_and(|(run, _)| run == RunId(79)));
    // A verification that found damage has looked, and so has a command.
    assert_eq!(past.last_done_ns("verification", Work::Verification), Some(90));
    put(81, &record(Work::Verification, COMMAND_LINE, 91, Some(RunOutcome::completed(95))));
    put(82, &record(Work::Verification, "another job", 96, Some(RunOutcome::completed(97))));
    past.look(&repository, &[]).unwrap();
    assert_eq!(past.last_done_ns("verification", Work::Verification), Some(95));
    let mut anew = RunHistory::default();
    anew.look(&repository, &["checkpoint"]).unwrap();
    assert_eq!(anew.newest_of("checkpoint").map(|(run, _)| run), Some(RunId(78)), "a damaged record is passed over");
}

#[test]
fn a_verification_that_found_nothing_out_says_nothing() {
    assert_eq!(verification_of(&record(Work::Verification, "verification", 1, Some(RunOutcome::failed(2, "the store is away")))), None);
    assert_eq!(verification_of(&record(Work::Verification, "verification", 1, None)), None);
    assert_eq!(ended(RunId(5), &record(Work::Drill, "drill", 1, None)), None);
}
