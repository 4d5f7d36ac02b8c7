use super::*;
use crate::disk::read_error::SourceError;
use crate::log_shipping::tests::bench::{Bench, DataFile, HOUR};
use crate::log_shipping::tests::store_double::{Weather, eventually, segments_after};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareId;
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of};
use crate::tb_format::wal::Prepare;
use crate::tier::sample::next_checkpoint;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::timeline::Lineage;

const SOON: Duration = Duration::from_millis(5);

fn follower(bench: &Bench, data_file: &DataFile) -> Follower {
    let plan = LogPlan {
        source: LogFrom::WalRing,
        flush_interval: SOON,
        flush_bytes: 1 << 20,
        poll_idle_max: SOON,
        memory_bytes: 1 << 20,
        spool_bytes: 0,
        spool_after: HOUR,
        uploads: 2,
        merge_after_segments: 1000,
        lag_alarm: HOUR,
    };
    Follower {
        data_file: data_file.path(),
        read: ReadOptions::quick(),
        plan,
        collector: bench.collector(1 << 20, SOON),
        shipper: Arc::clone(&bench.shipper),
        board: Arc::clone(&bench.board),
        timeline: 1,
        alone: true,
        ready: Arc::default(),
        file: identity(&data_file.path()),
    }
}

fn end_of(sample: &SampleFile) -> PrepareId {
    let last = headers_of(&sample.log).pop().unwrap_or(sample.checkpoint().header());
    (last.op(), last.checksum())
}

fn checkpoint(sample: &SampleFile) -> PrepareId {
    let header = sample.checkpoint().header();
    (header.op(), header.checksum())
}

/// Follows the file while a test changes it.
fn following(bench: &Bench, data_file: &DataFile, after: PrepareId, test: impl FnOnce()) -> Ended {
    let (mut follower, stop) = (follower(bench, data_file), Stop::default());
    bench.board.lead(true, None);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| follower.run(after, &stop).unwrap());
        test();
        stop.ask();
        running.join().unwrap()
    })
}

fn is_durable(bench: &Bench, after: PrepareId, end: PrepareId) -> bool {
    let index = LogIndex::list(&bench.repository, &Lineage::first(), after.0).unwrap();
    index.resolve(after, None).is_ok_and(|resolved| resolved.end == end)
}

#[test]
fn a_growing_log_is_stored_to_its_end() {
    let (bench, sample) = (Bench::new(1 << 20), SampleFile::new(7, 3));
    let (data_file, after) = (DataFile::new(&sample), checkpoint(&sample));
    let ended = following(&bench, &data_file, after, || {
        for ops in [3, 40, 300] {
            let sample = SampleFile::new(7, ops);
            data_file.lay_out(&sample);
            eventually("the end is stored", || is_durable(&bench, after, end_of(&sample)));
        }
    });
    assert_eq!(ended, Ended::Stopped);
    let status = bench.board.status();
    assert_eq!((status.head_op, status.durable_op, status.lag_ms, status.gaps.len()), (1259, 1259, 0, 0));
}

#[test]
fn what_a_view_change_replaced_is_stored_anew() {
    let (bench, before) = (Bench::new(1 << 20), pipelined(20));
    let (data_file, after) = (DataFile::new(&before), checkpoint(&before));
    let mut replaced = before.clone();
    replaced.log.truncate(17);
    (0..3).for_each(|_| push(&mut replaced, 1));
    following(&bench, &data_file, after, || {
        eventually("the first log is stored", || is_durable(&bench, after, end_of(&before)));
        data_file.lay_out(&replaced);
        eventually("the replaced end is stored", || is_durable(&bench, after, end_of(&replaced)));
        push(&mut replaced, 1);
        data_file.lay_out(&replaced);
        eventually("it goes on", || is_durable(&bench, after, end_of(&replaced)));
    });
    assert_eq!(bench.board.status().gaps, []);
}

/// A log whose last seven prepares are not known to be committed.
fn pipelined(ops: u64) -> SampleFile {
    let mut sample = SampleFile::new(7, 0);
    (0..ops).for_each(|_| push(&mut sample, 0));
    sample
}

fn push(sample: &mut SampleFile, view: u32) {
    let last = headers_of(&sample.log).pop().unwrap_or(sample.checkpoint().header());
    let next = PrepareSample::after(&last);
    sample.log.push(PrepareSample { view, commit: next.op - 8, ..next }.bytes());
}

#[test]
fn a_ring_that_wrapped_is_a_gap_and_the_log_goes_on_behind_the_checkpoint() {
    let (bench, sample) = (Bench::new(1 << 20), SampleFile::new(7, 5));
    let (data_file, after) = (DataFile::new(&sample), checkpoint(&sample));
    let later = next_checkpoint(&SampleFile::new(7, 960), 300).unwrap();
    following(&bench, &data_file, after, || {
        eventually("the first log is stored", || is_durable(&bench, after, end_of(&sample)));
        data_file.lay_out(&later);
        eventually("the later log is stored", || is_durable(&bench, checkpoint(&later), end_of(&later)));
    });
    let gaps = bench.board.take_unrecorded();
    assert_eq!((gaps.len(), gaps[0].gap.first_op, gaps[0].gap.last_op), (1, 965, 1919));
    assert!(bench.board.wanted().is_some());
}

#[test]
fn another_file_and_another_history_end_the_session() {
    let (bench, sample) = (Bench::new(1 << 20), SampleFile::new(7, 5));
    let (data_file, stop) = (DataFile::new(&sample), Stop::default());
    let mut other_file = follower(&bench, &data_file);
    other_file.file = Some((0, 0));
    assert!(matches!(other_file.run(checkpoint(&sample), &stop).unwrap(), Ended::Rejoin(reason) if reason.contains("another one")));
    assert_eq!(bench.board.status().head_op, 0, "nothing of it was read");
    let mut other_history = follower(&bench, &data_file);
    other_history.collector.skip_to((962, Checksum(1)));
    let ended = other_history.run(checkpoint(&sample), &stop).unwrap();
    assert!(matches!(ended, Ended::Rejoin(reason) if reason.contains("differs")) && !other_history.ready.load(Ordering::Acquire));
    let mut no_name = follower(&bench, &data_file);
    no_name.data_file = data_file.folder.path().join("nowhere");
    assert!(!no_name.is_another_file(), "a name that nothing has says nothing");
}

/// A source that only records where it was restarted.
struct Restarted(PrepareId);

impl LogSource for Restarted {
    fn poll(&mut self, _: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<Polled, SourceError> {
        Ok(Polled::Idle)
    }

    fn restart(&mut self, op: u64, checksum: Checksum) {
        self.0 = (op, checksum);
    }

    fn op(&self) -> u64 {
        self.0.0
    }

    fn checksum(&self) -> Checksum {
        self.0.1
    }

    fn commit_known_op(&self) -> u64 {
        0
    }

    fn replaced(&mut self) -> Result<Option<Loss>, SourceError> {
        Ok(None)
    }

    fn bytes_read(&self) -> u64 {
        0
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn a_view_change_does_not_forget_what_found_no_room() {
    let (bench, sample) = (Bench::new(1 << 20), SampleFile::new(7, 50));
    let data_file = DataFile::new(&sample);
    let (mut follower, mut source) = (follower(&bench, &data_file), Restarted((1009, Checksum(1))));
    follower.collector.drop_from(1000);
    let replaced = |op: u64| Loss::Replaced { restart: Some((op, Checksum(2))) };
    assert_eq!(follower.meet(replaced(1005), "r", &mut source).unwrap(), None);
    assert_eq!((follower.collector.dropped(), source.0), (Some(1000), (1005, Checksum(2))));
    assert_eq!(follower.meet(replaced(999), "r", &mut source).unwrap(), None);
    assert_eq!(follower.collector.dropped(), None, "all that was dropped is read again");
    assert!(matches!(follower.meet(Loss::Replaced { restart: None }, "r", &mut source).unwrap(), Some(Ended::Rejoin(_))));
}

#[test]
fn a_ring_that_wraps_again_and_again_while_nothing_has_room_is_one_gap() {
    let (bench, sample) = (Bench::new(1 << 20), SampleFile::new(7, 960));
    let data_file = DataFile::new(&next_checkpoint(&sample, 300).unwrap());
    let mut follower = follower(&bench, &data_file);
    let mut source = Restarted((800, Checksum(1)));
    bench.board.lead(true, None);
    bench.store.set(Weather::Away);
    bench.shipper.offer(segments_after(&bench.repository, &sample.checkpoint().header(), 1, 1).remove(0));
    eventually("the store is found to be away", || bench.shipper.counters().unreachable_for.is_some());
    follower.collector.drop_from(700);
    for _ in 0..3 {
        assert_eq!(follower.meet(Loss::Wrapped { found_op: 1824 }, "r", &mut source).unwrap(), None);
        assert_eq!((follower.collector.dropped(), source.0.0, bench.board.take_unrecorded().len()), (Some(700), 1919, 0));
        source.0.0 = 800;
    }
    bench.store.set(Weather::Fair);
    eventually("there is room again", || follower.may_take_up().unwrap());
    // The shipper's own report of it must not come later than the next line.
    eventually("what was offered is durable", || bench.board.status().durable_op > 960);
    bench.board.durable(600, 0);
    follower.meet(Loss::Wrapped { found_op: 1824 }, "r", &mut source).unwrap();
    let gaps = bench.board.take_unrecorded();
    assert_eq!((gaps.len(), gaps[0].gap.first_op, gaps[0].gap.last_op, follower.collector.dropped()), (1, 700, 1919, None));
}

#[test]
fn what_the_leader_has_stored_is_no_gap_of_a_standby() {
    let (bench, sample) = (Bench::new(1 << 20), SampleFile::new(7, 5));
    let data_file = DataFile::new(&sample);
    let (mut follower, mut source) = (follower(&bench, &data_file), Restarted((800, Checksum(1))));
    let mut wrapped = || follower.meet(Loss::Wrapped { found_op: 1824 }, "r", &mut source).map(|_| follower.collector.dropped()).unwrap();
    bench.board.durable(900, 0);
    assert_eq!(wrapped(), Some(801), "the leader has not come so far yet");
    bench.board.durable(959, 0);
    assert_eq!(wrapped(), None);
    assert!(bench.board.status().gaps.is_empty() && bench.board.status().alerts.is_empty());
}
