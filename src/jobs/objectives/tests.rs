use super::*;
use crate::catalog::writer::Catalog;
use crate::log_shipping::tests::bench::Bench;
use crate::progress::Silent;
use crate::repository::name::RunId;
use crate::repository::run_record::{Run, RunRecord, Scope, Work};
use crate::tier::toy::back_up;
use crate::units::now_ns;

const DAY_NS: u64 = 86_400_000_000_000;

struct Rig {
    bench: Bench,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        Rig { bench: Bench::new(1 << 20), folder: tempfile::tempdir().unwrap() }
    }

    fn run(&self) -> RunOutcome {
        let repository = &self.bench.repository;
        let catalog = Catalog::new(repository, self.folder.path());
        let context = Context { run: RunId(99), repository, catalog: &catalog, board: &self.bench.board, progress: &Silent };
        run(&context).unwrap()
    }

    fn of(&self, tier: &str) -> ObjectiveStatus {
        of_outcome(&self.run()).into_iter().find(|found| found.tier == tier).unwrap()
    }

    fn record(&self, id: u64, work: Work, started_ns: u64, outcome: RunOutcome) {
        let (job, by) = ("a job".to_owned(), "a test".to_owned());
        let run = Run { work, scope: Scope::Full, tenant: None, job, by, started_ns, retention_days: 0 };
        self.bench.repository.record_run(RunId(id), &RunRecord { run, outcome: Some(outcome) }).unwrap();
    }

    fn unverified(&self) -> Option<String> {
        unverified_text(&self.run(), None)
    }
}

fn verified(ended_ns: u64, problems: u64) -> RunOutcome {
    RunOutcome { details: [("problems".to_owned(), json!(problems))].into(), ..RunOutcome::completed(ended_ns) }
}

#[test]
fn the_recovery_point_is_the_age_of_the_newest_backup_and_the_time_an_estimate_until_it_is_measured() {
    let rig = Rig::new();
    let none = rig.of("toy");
    assert_eq!((none.recovery_point_seconds, none.recovery_time_seconds, none.is_measured), (None, None, false));
    assert_eq!((none.recovery_point_objective_seconds, none.recovery_time_objective_seconds), (3600.0, 60.0));
    back_up(&rig.bench.repository, "plum", "jam", RunId(1), now_ns() - 5400 * 1_000_000_000).unwrap();
    let found = rig.of("toy");
    let point = found.recovery_point_seconds.unwrap();
    assert!((5400.0..5460.0).contains(&point), "{point}");
    assert_eq!(found.recovery_time_seconds, None, "which jar, nobody can tell");
    assert_eq!(outcome_text(&rig.run()), "MISSED by toy");
    let figures = [("tier", json!("toy")), ("restore_seconds", json!(7.5))];
    let restored = RunOutcome {
        details: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..RunOutcome::completed(now_ns())
    };
    rig.record(2, Work::Restore, now_ns(), restored);
    let found = rig.of("toy");
    assert_eq!((found.recovery_time_seconds, found.is_measured), (Some(7.5), true));
    back_up(&rig.bench.repository, "plum", "jam", RunId(3), now_ns()).unwrap();
    assert_eq!(outcome_text(&rig.run()), "all objectives are met");
}

#[test]
fn a_run_that_failed_says_nothing_and_damage_is_a_miss() {
    assert_eq!(outcome_text(&RunOutcome::failed(9, "no store")), "");
    let damaged = ObjectiveStatus { tier: "toy".into(), is_damaged: true, ..ObjectiveStatus::default() };
    let outcome = RunOutcome { details: [("tiers".to_owned(), json!([damaged]))].into(), ..RunOutcome::completed(9) };
    assert_eq!(outcome_text(&outcome), "MISSED by toy");
    let at_the_limit = ObjectiveStatus {
        recovery_point_seconds: Some(5.0),
        recovery_point_objective_seconds: 5.0,
        recovery_time_seconds: Some(7.0),
        recovery_time_objective_seconds: 7.0,
        ..ObjectiveStatus::default()
    };
    assert!(!at_the_limit.is_missed());
    assert!(ObjectiveStatus { recovery_point_seconds: Some(5.1), ..at_the_limit.clone() }.is_missed());
    assert!(ObjectiveStatus { recovery_time_seconds: Some(7.1), ..at_the_limit }.is_missed());
}

#[test]
fn what_could_not_be_recorded_counts_next_time() {
    let rig = Rig::new();
    rig.bench.board.note_lag(4200);
    // The catalog's folder is a file: nothing can be refreshed.
    let blocked = rig.folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let repository = &rig.bench.repository;
    let catalog = Catalog::new(repository, &blocked);
    let context = Context { run: RunId(98), repository, catalog: &catalog, board: &rig.bench.board, progress: &Silent };
    assert!(run(&context).is_err());
    assert_eq!(rig.bench.board.take_worst_lag(), 4200);
}

#[test]
fn the_worst_lag_of_the_log_counts_once() {
    let rig = Rig::new();
    let stored =
        RunOutcome { location: "x".into(), compression: "zstd".into(), encryption: "aes256".into(), ..RunOutcome::completed(now_ns()) };
    rig.record(1, Work::Tigerbeetle, now_ns(), stored);
    [700, 4200, 30].into_iter().for_each(|lag_ms| rig.bench.board.note_lag(lag_ms));
    assert_eq!(rig.of("tigerbeetle").recovery_point_seconds, Some(4.2));
    assert_eq!(rig.of("tigerbeetle").recovery_point_seconds, Some(0.0));
}

#[test]
fn a_backup_that_nothing_verified_within_a_day_is_an_alert() {
    let rig = Rig::new();
    let now_ns = now_ns();
    back_up(&rig.bench.repository, "plum", "jam", RunId(1), now_ns - DAY_NS + 60_000_000_000).unwrap();
    assert_eq!(rig.unverified(), None, "it is not a day old");
    back_up(&rig.bench.repository, "plum", "jam", RunId(2), now_ns - DAY_NS - 1_000_000_000).unwrap();
    let text = rig.unverified().unwrap();
    assert!(text.starts_with("1 backups were made more than a day ago"), "{text}");
    // It stands until a verification has ended since.
    let found = rig.run();
    assert_eq!(unverified_text(&found, Some(found.ended_ns - 1)), Some(text));
    assert_eq!(unverified_text(&found, Some(found.ended_ns)), None);
    // One that ended before it was made, one that began before it was made, one that found nothing
    // out, and at last one that did.
    rig.record(3, Work::Verification, now_ns - 3 * DAY_NS, verified(now_ns - 2 * DAY_NS, 0));
    rig.record(4, Work::Verification, now_ns - DAY_NS - 2_000_000_000, verified(now_ns, 0));
    rig.record(5, Work::Verification, now_ns - 5, RunOutcome::failed(now_ns, "no store"));
    assert!(rig.unverified().is_some());
    rig.record(6, Work::Verification, now_ns - DAY_NS, verified(now_ns, 3));
    assert_eq!(rig.unverified(), None, "whatever it found, it looked");
}
