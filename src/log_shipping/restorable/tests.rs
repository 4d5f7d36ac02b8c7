//! What can be restored, compared with what a restore selects: both ends can be restored, and what
//! lies beyond them cannot.

use super::*;
use crate::monitor::status::AgentStatus;
use crate::monitor::status::{CheckpointStatus, GapStatus};
use crate::repository::name::RunId;
use crate::repository::sample::{Fault, FaultyStore, create, open, store_log};
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of, log_after, sample_timestamp};
use crate::tier::sample::{LOG_OPS, backup, folder, next_checkpoint};
use crate::tier::tigerbeetle::format::timeline::{Branch, PrepareRecord};
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::select::select;

fn back_up(repository: &Arc<Repository>, sample: &SampleFile) {
    let place = tempfile::tempdir_in(folder()).unwrap();
    backup(repository, sample, &place.path().join("data")).unwrap();
}

/// Stores prepares in segments of 100, as an agent ships them.
fn ship(repository: &Repository, timeline: u32, log: &[Vec<u8>]) {
    for part in log.chunks(100) {
        store_log(repository, timeline, RunId::SHIPS | 1, part).unwrap();
    }
}

/// The ranges, after checking that both ends of each can be selected and that what lies beyond is
/// refused.
fn checked(repository: &Arc<Repository>) -> Vec<(u32, u64, u64)> {
    let found = ranges(repository).unwrap();
    for range in &found {
        let timeline = Some(range.timeline);
        for op in [range.first_op, range.last_op] {
            assert_eq!(select(repository, Point::Op(op), timeline).unwrap().op, op, "{range:?}");
        }
        assert!(select(repository, Point::Op(range.last_op + 1), timeline).is_err(), "{range:?}");
        let expected = (sample_timestamp(range.first_op), sample_timestamp(range.last_op));
        assert_eq!((range.first_timestamp_ns, range.last_timestamp_ns), expected, "{range:?}");
    }
    found.iter().map(|range| (range.timeline, range.first_op, range.last_op)).collect()
}

#[test]
fn ranges_begin_with_a_backup_and_end_with_the_log() {
    let repository = create(&MemoryStore::new()).unwrap();
    let whole = SampleFile::new(7, 960);
    assert_eq!(checked(&repository), []);
    ship(&repository, 1, &whole.log[41..541]);
    assert_eq!(checked(&repository), [], "a log without a backup restores to nothing");
    back_up(&repository, &SampleFile::new(7, LOG_OPS));
    let found = checked(&repository);
    assert_eq!((found.len(), found[0].2), (1, 1500), "{found:?}");
    let first_op = found[0].1;
    assert!(select(&repository, Point::Op(first_op - 1), None).is_err());
    // A gap: what comes after it needs a backup of its own.
    ship(&repository, 1, &whole.log[641..]);
    assert_eq!(checked(&repository), [(1, first_op, 1500)]);
    back_up(&repository, &next_checkpoint(&whole, LOG_OPS).unwrap());
    assert_eq!(checked(&repository), [(1, first_op, 1500), (1, 1960, 1971)]);
    // Another agent had the missing ops, so the gap disappears.
    ship(&repository, 1, &whole.log[541..641]);
    assert_eq!(checked(&repository), [(1, first_op, 1971)]);
}

#[test]
fn a_backup_alone_is_a_range() {
    let repository = create(&MemoryStore::new()).unwrap();
    back_up(&repository, &SampleFile::new(7, LOG_OPS));
    let found = checked(&repository);
    assert_eq!((found.len(), found[0].2), (1, 959 + LOG_OPS), "{found:?}");
}

#[test]
fn a_backup_that_ends_with_its_checkpoint_is_a_range_of_one_op() {
    let repository = create(&MemoryStore::new()).unwrap();
    back_up(&repository, &SampleFile::new(7, 0));
    assert_eq!(checked(&repository), [(1, 959, 959)]);
}

#[test]
fn each_timeline_has_its_own_ops() {
    let repository = create(&MemoryStore::new()).unwrap();
    let log = SampleFile::new(7, 541).log;
    back_up(&repository, &SampleFile::new(7, LOG_OPS));
    ship(&repository, 1, &log[41..]);
    let common = headers_of(&log)[1300 - 960];
    let first = PrepareSample { view: 3, body: vec![5; 128], ..PrepareSample::after(&common) }.bytes();
    let other = [vec![first.clone()], log_after(&headers_of(&[first])[0], 149)].concat();
    let branch = Branch {
        timeline: 2,
        parent: 1,
        branch: Some(PrepareRecord { op: 1300, checksum: common.checksum().to_string() }),
        first: None,
        replica: 0,
        began_ns: 1,
        reason: "a test".into(),
    };
    repository.begin_timeline(&branch).unwrap();
    ship(&repository, 2, &other);
    let found = checked(&repository);
    assert_eq!((found.len(), found[0].0, found[0].2, found[1]), (2, 1, 1500, (2, 1301, 1450)), "{found:?}");
}

#[test]
fn the_board_keeps_what_was_found_while_the_store_is_away() {
    let memory = MemoryStore::new();
    create(&memory).unwrap();
    let store = FaultyStore::new(&memory);
    let repository = open(Arc::new(store.clone())).unwrap();
    back_up(&repository, &SampleFile::new(7, LOG_OPS));
    let board = Arc::new(StatusBoard::default());
    let mut window = RestorableRanges::new(&repository, &board);
    window.turn();
    assert_eq!(board.status().restorable, [], "nothing has been joined yet");
    board.change(|status| status.timeline = 1);
    window.turn();
    let found = board.status().restorable;
    assert_eq!(found.len(), 1);
    // A new checkpoint is a reason to look, but the store is away.
    board.checkpoint(CheckpointStatus { op: 5, ..CheckpointStatus::default() });
    store.fail(1, Fault::Gone);
    window.paused_until = Instant::now();
    window.turn();
    assert_eq!((board.status().restorable, window.looked.unwrap().0.1), (found, None));
    store.fail(u64::MAX, Fault::Gone);
    window.paused_until = Instant::now();
    window.turn();
    assert_eq!(window.looked.unwrap().0.1, Some(5));
}

#[test]
fn the_newest_range_follows_what_is_durable_up_to_a_gap() {
    let range = |timeline: u32, first_op: u64, last_op: u64| RangeStatus { timeline, first_op, last_op, ..RangeStatus::default() };
    let status = AgentStatus {
        timeline: 2,
        durable_op: 150,
        durable_timestamp_ns: 7,
        restorable: vec![range(1, 1, 50), range(2, 51, 60), range(2, 80, 100)],
        gaps: vec![GapStatus { first_op: 61, last_op: 79, ..GapStatus::default() }],
        ..AgentStatus::default()
    };
    let followed = |change: fn(&mut AgentStatus)| {
        let mut status = status.clone();
        change(&mut status);
        status.extend_restorable();
        status.restorable.iter().map(|range| (range.last_op, range.last_timestamp_ns)).collect::<Vec<_>>()
    };
    assert_eq!(followed(|_| {}), [(50, 0), (60, 0), (150, 7)]);
    assert_eq!(followed(|status| status.gaps.push(GapStatus { first_op: 120, last_op: 130, ..GapStatus::default() }))[2], (119, 0));
    assert_eq!(followed(|status| status.durable_op = 90)[2], (100, 0), "what is stored stays");
    assert_eq!(followed(|status| status.timeline = 3), [(50, 0), (60, 0), (100, 0)]);
    assert_eq!(followed(|status| status.restorable.clear()), []);
}

#[test]
fn spans_join_where_no_op_lies_between_them() {
    let span = |first_op, last_op| Span { first_op, first_timestamp_ns: Some(first_op), last_op, last_timestamp_ns: Some(last_op) };
    for (second, expected) in [
        (span(3, 4), vec![(1, 5, 5)]),
        (span(3, 5), vec![(1, 5, 5)]),
        (span(5, 6), vec![(1, 6, 6)]),
        (span(6, 6), vec![(1, 6, 6)]),
        (span(7, 9), vec![(1, 5, 5), (7, 9, 9)]),
    ] {
        let found = joined(vec![span(1, 5), second]);
        let found: Vec<(u64, u64, u64)> = found.iter().map(|span| (span.first_op, span.last_op, span.last_timestamp_ns.unwrap())).collect();
        assert_eq!(found, expected, "{second:?}");
    }
    assert!(joined(Vec::new()).is_empty());
}

#[test]
fn a_log_continues_a_checkpoint_that_it_begins_behind() {
    let name = CheckpointName { timeline: 1, checkpoint_op: 959, replica: 0, run: RunId(1) };
    for (first_op, last_op, expected) in
        [(960, 960, true), (961, 999, false), (900, 959, false), (900, 960, true), (959, 1000, true), (1, 958, false)]
    {
        assert_eq!(continues(&name, OpRange { first_op, last_op }), expected, "{first_op} to {last_op}");
    }
}

#[test]
fn a_look_stands_for_an_hour_and_the_newest_ranges_are_shown() {
    let repository = create(&MemoryStore::new()).unwrap();
    back_up(&repository, &SampleFile::new(7, LOG_OPS));
    let board = Arc::new(StatusBoard::default());
    board.change(|status| status.timeline = 1);
    let mut window = RestorableRanges::new(&repository, &board);
    window.turn();
    let (cause, at) = window.looked.unwrap();
    let looked_again = |window: &mut RestorableRanges, ago: Duration, pause: Duration| {
        let (looked, now) = (Instant::now().checked_sub(ago).unwrap(), Instant::now());
        (window.looked, window.paused_until) = (Some((cause, looked)), now + pause);
        window.turn();
        window.looked.unwrap().1 != looked
    };
    assert!(!looked_again(&mut window, STANDS - Duration::from_secs(5), Duration::ZERO));
    assert!(!looked_again(&mut window, STANDS, Duration::from_secs(5)), "not so soon after the last look");
    assert!(looked_again(&mut window, STANDS, Duration::ZERO));
    assert!(window.looked.unwrap().1 > at && window.paused_until > Instant::now() + PAUSE - Duration::from_secs(5));
}
