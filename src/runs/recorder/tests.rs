use super::*;
use crate::error::Error;
use crate::log_shipping::tests::bench::Bench;
use crate::repository::run_record::{Run, RunOutcome, Scope, Work};

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

fn begun() -> RunRecord {
    let (job, by) = ("checkpoint".to_owned(), "agent".to_owned());
    let run = Run { work: Work::Tigerbeetle, scope: Scope::Full, tenant: None, job, by, started_ns: 7, retention_days: 30 };
    RunRecord { run, outcome: None }
}

/// Records what a job does: its beginning, and its end after `work`.
fn recorded(recorder: &Recorder, stored_bytes: u64, work: impl FnOnce(RunId)) -> (Result<()>, Result<()>) {
    let (run, began) = (recorder.repository.new_run().unwrap(), begun());
    let first = recorder.put(run, &began);
    work(run);
    let outcome = Some(RunOutcome { stored_bytes, ..RunOutcome::completed(9) });
    (first, recorder.put(run, &RunRecord { outcome, ..began }))
}

#[test]
fn a_run_is_put_down_before_it_begins_and_when_it_has_ended() {
    let bench = Bench::new(1 << 20);
    let put = recorded(&bench.recorder, 5, |run| {
        assert_eq!(bench.records(), [begun()], "the beginning is durable before the work is");
        assert!(bench.recorder.has_begun(run));
    });
    assert_eq!(put, (Ok(()), Ok(())));
    let records = bench.records();
    assert_eq!((records.len(), &records[0].run), (2, &records[1].run));
    assert_eq!(records[1].outcome.as_ref().map(|outcome| outcome.stored_bytes), Some(5));
}

#[test]
fn sinks_hear_of_everything_at_once_and_hold_nothing_up() {
    let bench = Bench::new(1 << 20);
    let (good, bad) = (Arc::new(Sink::default()), Arc::new(Sink { refuses: true, ..Sink::default() }));
    let sinks: Vec<Arc<dyn RunSink>> = vec![Arc::<Sink>::clone(&bad), Arc::<Sink>::clone(&good)];
    let state = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(&bench.repository, &bench.board, state.path(), "agent", sinks, false).unwrap();
    let put = recorded(&recorder, 1, |run| assert_eq!(*lock(&good.taken), [(run, false)]));
    assert_eq!(put, (Ok(()), Ok(())));
    assert_eq!(lock(&good.taken).iter().map(|(_, ended)| *ended).collect::<Vec<_>>(), [false, true]);
    assert_eq!((lock(&bad.taken).len(), recorder.outbox.count(Lane::Repository)), (2, Ok(2)));
}

#[test]
fn what_the_disk_does_not_take_is_kept_and_written_in_order() {
    let bench = Bench::new(1 << 20);
    let lane = bench.state.path().join(OUTBOX).join("repository");
    let _ = recorded(&bench.recorder, 1, |_| ());
    let aside = bench.state.path().join("aside");
    std::fs::rename(&lane, &aside).unwrap();
    let _ = recorded(&bench.recorder, 2, |_| ());
    let alerts = bench.board.status().alerts;
    assert!(
        alerts.len() == 1 && alerts[0].text.starts_with("2 records of runs wait: ") && alerts[0].text.contains("cannot be written"),
        "{alerts:?}"
    );
    assert!(bench.recorder.has_unsaved());
    assert!(bench.recorder.save().is_err() && bench.recorder.has_unsaved(), "there is still no room");
    std::fs::rename(&aside, &lane).unwrap();
    // A new record goes after those that already wait.
    let _ = recorded(&bench.recorder, 3, |_| ());
    let stored: Vec<Option<u64>> =
        bench.records().iter().map(|record| record.outcome.as_ref().map(|outcome| outcome.stored_bytes)).collect();
    assert_eq!(stored, [None, Some(1), None, Some(2), None, Some(3)]);
    assert_eq!((bench.recorder.has_unsaved(), bench.board.status().alerts.len()), (false, 0));
}

#[test]
fn a_disk_that_is_full_for_ever_does_not_fill_the_memory() {
    let bench = Bench::new(1 << 20);
    std::fs::remove_dir(bench.state.path().join(OUTBOX).join("repository")).unwrap();
    let ended = RunRecord { outcome: Some(RunOutcome::completed(2)), ..begun() };
    for number in 0..UNSAVED_MAX as u64 {
        assert!(bench.recorder.put(RunId(number), &begun()).is_err() && bench.recorder.put(RunId(number), &ended).is_err());
    }
    let state = lock(&bench.recorder.state);
    assert_eq!(state.unsaved.len(), UNSAVED_MAX);
    assert!(state.unsaved.iter().all(|(_, record)| record.outcome.is_some()), "the ends say everything");
}
