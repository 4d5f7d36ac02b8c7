use super::*;
use crate::log_shipping::tests::bench::{Bench, DataFile, HOUR, jobs, put, segments_in};
use crate::log_shipping::tests::store_double::{Weather, segments, segments_after};
use crate::monitor::status::Control;
use crate::repository::name::CHECKPOINTS;
use crate::repository::sample;
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::LOG_OPS;
use std::path::Path;

fn gap() -> Gap {
    Gap { timeline: 1, first_op: 3, last_op: 12, noticed_ns: 1, reason: "r".into() }
}

fn bulk(repository: &Arc<Repository>, board: &Arc<StatusBoard>, data_file: &Path) -> CheckpointWorker {
    let plan = CheckpointPlan { interval: HOUR, replay_budget: HOUR, replay_ops_per_s: 1000, on_start: false };
    let jobs = jobs(repository, board, data_file.parent().unwrap());
    let from = CheckpointSource { data_file: data_file.to_owned(), read: ReadOptions::quick(), lineage: Lineage::first() };
    CheckpointWorker::new(repository, board, &jobs, from, plan, 4)
}

#[test]
fn a_gap_is_recorded_once_as_soon_as_the_store_takes_it() {
    let bench = Bench::new(1 << 20);
    bench.board.gap(gap());
    bench.store.set(Weather::Away);
    record_gaps(&bench.repository, &bench.board);
    assert_eq!(bench.repository.gaps().unwrap().0, []);
    bench.store.set(Weather::Fair);
    for _ in 0..2 {
        record_gaps(&bench.repository, &bench.board);
        assert_eq!(bench.repository.gaps().unwrap().0, [gap()]);
    }
    assert_eq!(bench.board.status().gaps.len(), 1);
}

#[test]
fn what_another_agent_has_stored_is_no_gap() {
    let bench = Bench::new(1 << 20);
    let log = segments(&bench.repository, 3);
    put(&bench.repository, &log[..2]);
    bench.board.gap(gap());
    record_gaps(&bench.repository, &bench.board);
    assert_eq!(bench.repository.gaps().unwrap().0, [gap()], "ops 11 and 12 are missing");
    put(&bench.repository, &log[2..]);
    bench.board.gap(Gap { first_op: 4, ..gap() });
    record_gaps(&bench.repository, &bench.board);
    assert_eq!((bench.repository.gaps().unwrap().0.len(), bench.board.status().gaps.len()), (1, 1));
}

#[test]
fn a_checkpoint_that_fails_is_an_alert_and_tried_again_later() {
    let bench = Bench::new(1 << 20);
    let data_file = DataFile::new(&SampleFile::new(7, LOG_OPS));
    let mut bulk = bulk(&bench.repository, &bench.board, &data_file.folder.path().join("nowhere"));
    let stop = Stop::default();
    bench.board.want_checkpoint("a test");
    bulk.turn(&stop);
    assert!(bench.board.status().alerts.is_empty(), "nothing is done by an agent that does not lead");
    bench.board.lead(true, None);
    bulk.turn(&stop);
    assert!(bench.board.status().alerts[0].text.contains("no checkpoint could be taken (a test)"), "{:?}", bench.board.status().alerts);
    assert_eq!(bench.board.wanted().as_deref(), Some("a test"));
    bulk.turn(&stop);
    let runs = |completed: bool| {
        let runs = bench.repository.runs().unwrap().runs;
        runs.into_iter().filter(|(_, record)| record.outcome.as_ref().unwrap().completed == completed).collect::<Vec<_>>()
    };
    assert_eq!((runs(true).len(), runs(false).len()), (0, 1), "it is not the time yet");

    bulk.from.data_file = data_file.path();
    bulk.jobs.run_now(CHECKPOINT_JOB).unwrap();
    bulk.turn(&stop);
    let status = bench.board.status();
    assert_eq!((status.last_checkpoint.map(|last| last.op), status.alerts.len(), bench.board.wanted()), (Some(959), 0, None));
    let (name, recorded) = (bench.repository.checkpoints().unwrap()[0], runs(true));
    let outcome = recorded[0].1.outcome.as_ref().unwrap();
    assert_eq!(
        (recorded.len(), recorded[0].0, &outcome.location),
        (1, name.run, &name.object()),
        "the record and the backup have one number"
    );
    let receipt = bench.repository.receipt(&name).unwrap();
    assert_eq!(outcome.checksum, crate::tier::file::format::digest_text(&receipt.digest));
    bulk.turn(&stop);
    assert_eq!(bench.repository.checkpoints().unwrap().len(), 1, "none is due");
    // Another agent leads, takes a checkpoint and falls silent.
    bench.board.change(|status| status.last_checkpoint = None);
    bench.board.lead(false, None);
    bulk.turn(&stop);
    bench.board.lead(true, None);
    bulk.turn(&stop);
    assert_eq!(bench.repository.checkpoints().unwrap().len(), 1, "that one counts");
}

#[test]
fn a_checkpoint_of_a_session_that_is_over_promises_nothing() {
    let bench = Bench::new(1 << 20);
    let data_file = DataFile::new(&SampleFile::new(7, LOG_OPS));
    let stop = Stop::default();
    stop.ask();
    bench.board.lead(true, None);
    bench.board.want_checkpoint("a test");
    bulk(&bench.repository, &bench.board, &data_file.path()).turn(&stop);
    assert_eq!(bench.repository.checkpoints().unwrap(), []);
    assert_eq!((bench.board.wanted().as_deref(), bench.board.status().alerts.len()), (Some("a test"), 0));
}

#[test]
fn a_checkpoint_that_waits_for_room_is_cancelled_with_its_session() {
    let bench = Bench::new(1 << 20);
    let store = MemoryStore::new();
    sample::create(&store).unwrap();
    let (repository, governor) = sample::open_exhausted(&store).unwrap();
    let data_file = DataFile::new(&SampleFile::new(7, LOG_OPS));
    let stop = Stop::default();
    bench.board.lead(true, None);
    bench.board.want_checkpoint("a test");
    let mut bulk = bulk(&repository, &bench.board, &data_file.path());
    std::thread::scope(|scope| {
        let turn = scope.spawn(|| bulk.turn(&stop));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!turn.is_finished(), "nothing is left for it");
        stop.ask();
        governor.release();
        let asked = Instant::now();
        turn.join().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    });
    assert_eq!(repository.checkpoints().unwrap(), []);
    assert_eq!(bench.board.wanted().as_deref(), Some("a test"));
}

#[test]
fn settled_segments_are_merged_and_what_is_held_twice_goes() {
    let bench = Bench::new(1 << 20);
    put(&bench.repository, &segments(&bench.repository, 40));
    let mut promised = Promised::new();
    assert_eq!(merge_once(&bench.repository, &mut promised, 1, 80, 4).unwrap(), 0, "only ops up to 16 are settled");
    assert_eq!(bench.stored().len(), 40);
    assert_eq!(merge_once(&bench.repository, &mut promised, 1, 200, 4).unwrap(), 1);
    let stored = bench.stored();
    assert_eq!((stored.len(), stored[0], stored[1]), (1 + 13, (1, 135), (136, 140)));
    assert_eq!(merge_once(&bench.repository, &mut promised, 1, 200, 4).unwrap(), 0);
    assert_eq!(bench.stored(), stored);
}

#[test]
fn what_a_backup_promises_stays_and_a_damaged_manifest_keeps_everything() {
    let store = MemoryStore::new();
    let repository = sample::create(&store).unwrap();
    let file = SampleFile::new(7, LOG_OPS);
    let folder = tempfile::tempdir_in(crate::tier::sample::folder()).unwrap();
    crate::tier::sample::backup(&repository, &file, &folder.path().join("d")).unwrap();
    let before = segments_in(&repository);
    assert_eq!(before, [(960, 1011)]);
    put(&repository, &segments_after(&repository, &file.checkpoint().header(), 1, 40));
    let all = segments_in(&repository);

    let manifest = store.names().into_iter().find(|name| name.starts_with(CHECKPOINTS)).unwrap();
    let whole = store.bytes(&manifest).unwrap();
    assert!(store.corrupt(&manifest, whole.len() / 2, 1));
    merge_once(&repository, &mut Promised::new(), 1, 1159, 4).unwrap_err();
    assert_eq!(segments_in(&repository), all);

    store.replace(&manifest, whole);
    assert_eq!(merge_once(&repository, &mut Promised::new(), 1, 1159, 4).unwrap(), 1);
    let stored = segments_in(&repository);
    assert_eq!((stored[0], stored[1], stored[2]), ((960, 1011), (960, 1094), (1095, 1099)), "the backup's own stays beside it");
}

#[test]
fn a_failed_merge_is_told_until_one_succeeds() {
    let bench = Bench::new(1 << 20);
    let data_file = DataFile::new(&SampleFile::new(7, LOG_OPS));
    let mut bulk = bulk(&bench.repository, &bench.board, &data_file.path());
    put(&bench.repository, &segments(&bench.repository, 40));
    bench.board.begin(1, 200, 200);
    bench.store.set(Weather::Away);
    assert!(bulk.merge_if_due(200, 40).is_some_and(|merged| merged.is_err()));
    assert!(bulk.merge_if_due(200, 40).is_none(), "not again at once");
    bench.store.set(Weather::Fair);
    bulk.merged = Some((Instant::now().checked_sub(MERGE_INTERVAL).unwrap(), bulk.merged.unwrap().1));
    assert!(bulk.merge_if_due(200, 40).is_some_and(|merged| merged.is_ok()), "though nothing was shipped since");
    assert_eq!(bench.stored().len(), 14);
}

#[test]
fn one_op_decides_whether_a_gap_is_one() {
    for (last_op, recorded) in [(9, 0), (10, 0), (11, 1)] {
        let bench = Bench::new(1 << 20);
        put(&bench.repository, &segments(&bench.repository, 2));
        bench.board.gap(Gap { last_op, ..gap() });
        record_gaps(&bench.repository, &bench.board);
        assert_eq!(bench.repository.gaps().unwrap().0.len(), recorded, "ops 1 to 10 are stored, ops 3 to {last_op} were missed");
        assert_eq!(bench.board.status().gaps.len(), recorded);
    }
}

#[test]
fn a_segment_is_settled_sixty_four_ops_before_the_durable_end() {
    for (durable_op, merged) in [(20 + UNSETTLED_OPS - 1, 0), (20 + UNSETTLED_OPS, 1)] {
        let bench = Bench::new(1 << 20);
        put(&bench.repository, &segments(&bench.repository, 40));
        assert_eq!(merge_once(&bench.repository, &mut Promised::new(), 1, durable_op, 4).unwrap(), merged, "durable to op {durable_op}");
    }
}

#[test]
fn merging_is_due_after_its_pause_and_as_many_segments_as_it_wants() {
    let bench = Bench::new(1 << 20);
    let data_file = DataFile::new(&SampleFile::new(7, LOG_OPS));
    let mut bulk = bulk(&bench.repository, &bench.board, &data_file.path());
    assert!(bulk.merge_if_due(0, 100).is_some_and(|merged| merged.is_ok()), "the first time is at once");
    let long_ago = Instant::now().checked_sub(MERGE_INTERVAL).unwrap();
    for (at, shipped, is_due) in [(long_ago, 103, false), (Instant::now(), 104, false), (long_ago, 104, true)] {
        bulk.merged = Some((at, 100));
        assert_eq!(bulk.merge_if_due(0, shipped).is_some(), is_due, "{shipped}");
    }
    assert_eq!(bulk.merged.unwrap().1, 104, "nothing was merged, so the next four count");
}
