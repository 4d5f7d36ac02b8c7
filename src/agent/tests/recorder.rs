use super::*;
use crate::agent::bench::Bench;
use crate::error::Kind;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Takes everything, or nothing.
#[derive(Default)]
struct Sink {
    taken: Mutex<Vec<(RunId, bool)>>,
    refuses: bool,
}

impl RunSink for Sink {
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()> {
        lock(&self.taken).push((run, record.outcome.is_some()));
        if self.refuses { Err(Error::try_again("on purpose")) } else { Ok(()) }
    }
}

fn task() -> Task<'static> {
    Task { work: Work::Tigerbeetle, scope: Scope::Full, tenant: None, job: "checkpoint", retention_days: 30 }
}

fn ended(stored_bytes: u64) -> Ended {
    Ended { scope: Scope::Incremental, outcome: Outcome { stored_bytes, ..Outcome::completed(9) } }
}

/// Whether each record that waits tells of an end, and of which.
fn told(bench: &Bench) -> Vec<Option<(bool, String)>> {
    bench.records().into_iter().map(|record| record.outcome.map(|outcome| (outcome.completed, outcome.reason))).collect()
}

#[test]
fn a_job_is_put_down_before_it_begins_and_when_it_has_ended() {
    let bench = Bench::new(1 << 20);
    let mut number = None;
    let made = recorded(&bench.recorder, task(), |run| {
        assert_eq!(told(&bench), [None], "the beginning is durable before the work is");
        number = Some(run);
        Ok((7, ended(5)))
    });
    assert_eq!((made, bench.recorder.has_begun(number.unwrap())), (Ok(7), true));
    let records = bench.records();
    assert_eq!(told(&bench), [None, Some((true, String::new()))]);
    let (begun, over) = (&records[0].run, &records[1].run);
    assert_eq!((begun.scope, over.scope, begun.by.as_str(), begun.retention_days), (Scope::Full, Scope::Incremental, "agent", 30));
    assert_eq!((begun.started_ns, &begun.job), (over.started_ns, &over.job));
    assert_eq!(records[1].outcome.as_ref().map(|outcome| outcome.stored_bytes), Some(5));
}

#[test]
fn a_job_that_fails_or_breaks_off_has_an_end_with_its_reason() {
    let bench = Bench::new(1 << 20);
    let failed = recorded(&bench.recorder, task(), |_| Err::<((), Ended), _>(Error::damaged("block 7 is bad")));
    assert_eq!(failed.unwrap_err().kind, Kind::Damaged);
    let broke_off = || recorded(&bench.recorder, task(), |_| -> Result<((), Ended)> { panic!("on purpose") });
    catch_unwind(AssertUnwindSafe(broke_off)).unwrap_err();
    let told = told(&bench);
    assert_eq!((told.len(), &told[1]), (4, &Some((false, "block 7 is bad".to_owned()))));
    assert!(told[3].as_ref().is_some_and(|(completed, reason)| !completed && reason.contains("broke off")), "{told:?}");
}

#[test]
fn sinks_hear_of_everything_at_once_and_hold_nothing_up() {
    let bench = Bench::new(1 << 20);
    let (good, bad) = (Arc::new(Sink::default()), Arc::new(Sink { refuses: true, ..Sink::default() }));
    let sinks: Vec<Arc<dyn RunSink>> = vec![Arc::<Sink>::clone(&bad), Arc::<Sink>::clone(&good)];
    let state = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(&bench.repository, &bench.board, state.path(), ("agent", sinks, false)).unwrap();
    recorded(&recorder, task(), |run| {
        assert_eq!(*lock(&good.taken), [(run, false)]);
        Ok(((), ended(1)))
    })
    .unwrap();
    assert_eq!(lock(&good.taken).iter().map(|(_, ended)| *ended).collect::<Vec<_>>(), [false, true]);
    assert_eq!((lock(&bad.taken).len(), recorder.outbox.count(Lane::Repository)), (2, Ok(2)));
}

#[test]
fn what_the_disk_does_not_take_is_kept_and_written_in_order() {
    let bench = Bench::new(1 << 20);
    let lane = bench.state.path().join(OUTBOX).join("repository");
    recorded(&bench.recorder, task(), |_| Ok(((), ended(1)))).unwrap();
    let aside = bench.state.path().join("aside");
    std::fs::rename(&lane, &aside).unwrap();
    recorded(&bench.recorder, task(), |_| Ok(((), ended(2)))).unwrap();
    let alerts = bench.board.status().alerts;
    assert!(
        alerts.len() == 1 && alerts[0].starts_with("2 records of runs wait: ") && alerts[0].contains("cannot be written"),
        "{alerts:?}"
    );
    assert!(bench.recorder.has_unsaved());
    assert!(bench.recorder.save().is_err() && bench.recorder.has_unsaved(), "there is still no room");
    std::fs::rename(&aside, &lane).unwrap();
    // What comes now goes behind what waits.
    recorded(&bench.recorder, task(), |_| Ok(((), ended(3)))).unwrap();
    let stored: Vec<Option<u64>> =
        bench.records().iter().map(|record| record.outcome.as_ref().map(|outcome| outcome.stored_bytes)).collect();
    assert_eq!(stored, [None, Some(1), None, Some(2), None, Some(3)]);
    assert_eq!((bench.recorder.has_unsaved(), bench.board.status().alerts.len()), (false, 0));
}

#[test]
fn a_disk_that_is_full_for_ever_does_not_fill_the_memory() {
    let bench = Bench::new(1 << 20);
    std::fs::remove_dir(bench.state.path().join(OUTBOX).join("repository")).unwrap();
    let run = Run {
        work: Work::Drill,
        scope: Scope::Full,
        tenant: None,
        job: "drill".into(),
        by: "agent".into(),
        started_ns: 1,
        retention_days: 0,
    };
    for number in 0..UNSAVED_MAX as u64 {
        bench.recorder.begin(RunId(number), &run);
        bench.recorder.end(RunId(number), run.clone(), Outcome::completed(2));
    }
    let state = lock(&bench.recorder.state);
    assert_eq!(state.unsaved.len(), UNSAVED_MAX);
    assert!(state.unsaved.iter().all(|(_, record)| record.outcome.is_some()), "the ends say everything");
}
