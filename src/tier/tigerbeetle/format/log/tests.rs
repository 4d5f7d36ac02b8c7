//! The log of a history, read from segments that overlap, disagree, are merged or missing.

use super::{LogIndex, Piece, SEGMENT_OPS_MAX, list_segments};
use crate::error::Error;
use crate::error::Kind;
use crate::repository::Repository;
use crate::repository::name::{RunId, SegmentName, TIMELINE_FIRST};
use crate::repository::sample::{HookedStore, open, store_log};
use crate::repository::tests::repository;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::tb_format::header::{PrepareHeader, PrepareId};
use crate::tb_format::sample::{PrepareSample, headers_of, log_after, root_header};
use crate::tb_format::wal::{Chain, Prepare};
use crate::tier::tigerbeetle::format::merge::merge;
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::format::timeline::{Branch, Lineage, PrepareRecord};
use std::sync::Arc;

/// Stores these prepares as a segment of a timeline.
pub(crate) fn store(repository: &Repository, timeline: u32, run: u64, log: &[Vec<u8>]) -> SegmentName {
    store_log(repository, timeline, run, log).unwrap()
}

/// A log that continues after `header` in a later view.
fn later_view(header: &PrepareHeader, count: u64, view: u32) -> Vec<Vec<u8>> {
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut last = *header;
    for _ in 0..count {
        let bytes = PrepareSample { view, ..PrepareSample::after(&last) }.bytes();
        last = *Prepare::check(&bytes).unwrap().header();
        log.push(bytes);
    }
    log
}

fn id(header: &PrepareHeader) -> PrepareId {
    (header.op(), header.checksum())
}

fn ranges(index: &LogIndex<'_>) -> Vec<(u64, u64)> {
    index.op_ranges().into_iter().map(OpRange::into).collect()
}

fn root() -> PrepareId {
    id(&root_header(7))
}

/// What the chain from `after` to `last_op` holds, as bytes.
fn chain(repository: &Repository, lineage: &Lineage, after: PrepareId, last_op: Option<u64>) -> crate::error::Result<Vec<Vec<u8>>> {
    let index = LogIndex::list(repository, lineage, after.0 + 1)?;
    let mut resolved = index.resolve(after, last_op)?;
    let (mut bytes, mut follow) = (Vec::new(), Chain::after(after.0, after.1));
    resolved.prepares(repository, 0, u64::MAX, &mut |prepare| {
        follow.accept(prepare.header()).unwrap();
        bytes.push(prepare.bytes().to_vec());
        Ok(())
    })?;
    assert_eq!(resolved.end, (follow.op(), follow.checksum()));
    Ok(bytes)
}

#[test]
fn overlapping_merged_and_repeated_segments_are_one_chain() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 40);
    for (run, range) in [(1, 0..10), (2, 10..20), (3, 5..15), (4, 0..20), (5, 20..21), (6, 18..40), (7, 20..21)] {
        store(&repository, 1, run, &log[range]);
    }
    let first = Lineage::first();
    assert_eq!(chain(&repository, &first, root(), None).unwrap(), log);
    let headers = headers_of(&log);
    for (after, last) in [(0, 1), (3, 3), (3, 4), (9, 30), (19, 40), (39, 40)] {
        let from = if after == 0 { root() } else { id(&headers[after - 1]) };
        assert_eq!(chain(&repository, &first, from, Some(last as u64)).unwrap(), log[after..last], "{after} to {last}");
    }
    let index = LogIndex::list(&repository, &first, 0).unwrap();
    assert_eq!((ranges(&index), index.reach(0), index.reach(17), index.reach(40)), (vec![(1, 40)], 40, 40, 40));
    assert!(index.resolve(root(), None).unwrap().stored_bytes() > 0);
    assert_eq!(index.resolve(root(), Some(41)).unwrap_err().kind, Kind::Input);
}

#[test]
fn a_gap_is_not_bridged() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 30);
    store(&repository, 1, 1, &log[0..10]);
    store(&repository, 1, 2, &log[12..30]);
    let index = LogIndex::list(&repository, &Lineage::first(), 0).unwrap();
    assert_eq!((ranges(&index), index.reach(0), index.reach(10), index.reach(12)), (vec![(1, 10), (13, 30)], 10, 10, 30));
    assert_eq!(chain(&repository, &Lineage::first(), root(), None).unwrap(), log[..10]);
    for op in [11, 12, 13, 30] {
        assert_eq!(index.resolve(root(), Some(op)).unwrap_err().kind, Kind::Input, "op {op}");
    }
    let headers = headers_of(&log);
    assert_eq!(chain(&repository, &Lineage::first(), id(&headers[11]), Some(20)).unwrap(), log[12..20]);
    let other = index.resolve((12, headers[3].checksum()), Some(20)).unwrap_err();
    assert!(other.kind == Kind::Input && other.message.contains("does not continue op 12"), "{other}");
}

#[test]
fn a_replaced_end_gives_way_to_the_later_view() {
    let (_, repository) = repository();
    let old = log_after(&root_header(7), 20);
    let headers = headers_of(&old);
    // Ops 16 to 20 of the first view were never committed. The next view continued with fewer ops.
    let new = later_view(&headers[14], 3, headers[14].view() + 1);
    store(&repository, 1, 1, &old[0..12]);
    store(&repository, 1, 2, &old[12..20]);
    store(&repository, 1, 3, &new);
    let expected = [&old[..15], &new].concat();
    assert_eq!(chain(&repository, &Lineage::first(), root(), None).unwrap(), expected);
    assert_eq!(chain(&repository, &Lineage::first(), root(), Some(16)).unwrap(), expected[..16]);
    assert_eq!(chain(&repository, &Lineage::first(), root(), Some(15)).unwrap(), old[..15]);
    let replaced = chain(&repository, &Lineage::first(), root(), Some(19)).unwrap_err();
    assert!(replaced.kind == Kind::Input && replaced.message.contains("a view change replaced it"), "{replaced}");
    // An op of a later view may be lost again when the view after it starts from the older log.
    // What follows decides.
    let survived = later_view(&headers[15], 4, headers[14].view() + 2);
    store(&repository, 1, 4, &survived);
    assert_eq!(chain(&repository, &Lineage::first(), root(), None).unwrap(), [&old[..16], &survived].concat());
    assert_eq!(chain(&repository, &Lineage::first(), root(), Some(16)).unwrap(), old[..16]);
}

#[test]
fn a_lineage_takes_the_ancestors_up_to_the_branch() {
    let (_, repository) = repository();
    let old = log_after(&root_header(7), 30);
    let headers = headers_of(&old);
    let new = later_view(&headers[19], 15, 9);
    store(&repository, 1, 1, &old[0..25]);
    store(&repository, 1, 2, &old[25..30]);
    let branch = Branch {
        timeline: 2,
        parent: 1,
        branch: Some(PrepareRecord { op: 20, checksum: headers[19].checksum().to_string() }),
        first: None,
        replica: 0,
        began_ns: 1,
        reason: "test".into(),
    };
    assert!(repository.begin_timeline(&branch).unwrap());
    store(&repository, 2, 3, &new[..10]);
    store(&repository, 2, 4, &new[10..]);
    let timelines = repository.timelines().unwrap();
    let second = Lineage::of(&timelines, 2).unwrap();
    assert_eq!(chain(&repository, &second, root(), None).unwrap(), [&old[..20], &new].concat());
    assert_eq!(chain(&repository, &second, root(), Some(18)).unwrap(), old[..18]);
    let first = Lineage::of(&timelines, TIMELINE_FIRST).unwrap();
    assert_eq!(chain(&repository, &first, root(), None).unwrap(), old);
    assert_eq!(list_segments(&repository, 2, 32).unwrap().len(), 1);
}

#[test]
fn times_are_found_between_the_prepares() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 30);
    for (run, range) in [(1, 0..10), (2, 8..28), (3, 10..11), (4, 11..12), (5, 28..30)] {
        store(&repository, 1, run, &log[range]);
    }
    let headers = headers_of(&log);
    let index = LogIndex::list(&repository, &Lineage::first(), 0).unwrap();
    assert_eq!(index.at_time(headers[0].timestamp() - 1).unwrap(), None);
    for (position, header) in headers.iter().enumerate() {
        let found = index.at_time(header.timestamp()).unwrap().unwrap();
        assert_eq!((found.op, found.checksum), (position as u64 + 1, header.checksum()));
        assert_eq!(index.at_time(header.timestamp() + 1).unwrap().unwrap().op, header.op());
    }
    assert_eq!(index.at_time(u64::MAX).unwrap().unwrap().op, 30);
}

#[test]
fn a_damaged_copy_is_passed_over_and_a_damaged_only_copy_is_told() {
    let (memory, repository) = repository();
    let log = log_after(&root_header(7), 20);
    let damaged = store(&repository, 1, 1, &log[0..20]);
    store(&repository, 1, 2, &log[0..12]);
    let mut bytes = memory.bytes(&damaged.object()).unwrap().to_vec();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    memory.replace(&damaged.object(), bytes);
    let error = chain(&repository, &Lineage::first(), root(), Some(15)).unwrap_err();
    assert_eq!(error.kind, Kind::Damaged, "{error}");
    let index = LogIndex::list(&repository, &Lineage::first(), 0).unwrap();
    let whole = headers_of(&log)[9];
    let found = index.resolve(root(), Some(10));
    // The damaged segment overlaps the intact one, so its content cannot be compared. That is
    // reported, not guessed.
    assert!(found.is_err() || found.unwrap().end == id(&whole));
}

#[test]
fn listings_begin_early_enough_for_the_longest_segment() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 3);
    store(&repository, 1, 1, &log);
    assert_eq!(list_segments(&repository, 1, 3).unwrap().len(), 1);
    assert_eq!(list_segments(&repository, 1, 4).unwrap().len(), 0);
    assert_eq!(list_segments(&repository, 1, 3 + SEGMENT_OPS_MAX).unwrap().len(), 0);
    assert_eq!(list_segments(&repository, 2, 0).unwrap().len(), 0);
}

/// All segments are merged into one just before the segment read with this number, counted from 1.
fn merge_before_reading(memory: &MemoryStore, repository: &Arc<Repository>, hooked: &HookedStore, at_read: u32) {
    let (memory, repository, mut reads) = (memory.clone(), Arc::clone(repository), 0);
    hooked.before_reads(move |name, _| {
        reads += u32::from(SegmentName::parse(name).is_some());
        if reads < at_read {
            return true;
        }
        let pieces: Vec<Piece> = LogIndex::list(&repository, &Lineage::first(), 0).unwrap().pieces().to_vec();
        merge(&repository, RunId(100 + u64::from(at_read)), &pieces).unwrap();
        for piece in pieces {
            memory.remove(&piece.name.object()).unwrap();
        }
        false
    });
}

#[test]
fn segments_that_are_merged_away_while_the_log_is_read_are_found_again() {
    let log = log_after(&root_header(7), 40);
    let headers = headers_of(&log);
    for at_read in 1..40 {
        let (memory, inner) = repository();
        for (run, range) in [(1, 0..10), (2, 10..20), (3, 20..30), (4, 30..40)] {
            store(&inner, 1, run, &log[range]);
        }
        let hooked = HookedStore::new(&memory);
        let reader = open(Arc::new(hooked.clone()) as Arc<dyn Store>).unwrap();
        merge_before_reading(&memory, &inner, &hooked, at_read);
        let index = LogIndex::list(&reader, &Lineage::first(), 0).unwrap();
        assert_eq!(index.at_time(headers[24].timestamp()).unwrap().unwrap().op, 25, "read {at_read}");
        let mut resolved = index.resolve(root(), Some(35)).unwrap();
        let mut bytes = Vec::new();
        let mut take = |prepare: &Prepare<'_>| {
            bytes.push(prepare.bytes().to_vec());
            Ok(())
        };
        assert!(resolved.prepares(&reader, 6, 35, &mut take).unwrap() > 0);
        assert_eq!(bytes, log[5..35], "read {at_read}");
        assert_eq!(index.row(35).unwrap().unwrap().checksum, headers[34].checksum());
    }
}

#[test]
fn what_is_gone_for_good_or_still_listed_is_damage() {
    let (memory, repository) = repository();
    let log = log_after(&root_header(7), 20);
    store(&repository, 1, 1, &log[..10]);
    let second = store(&repository, 1, 2, &log[10..]);
    let mut resolved = LogIndex::list(&repository, &Lineage::first(), 0).unwrap().resolve(root(), None).unwrap();
    let whole = memory.bytes(&second.object()).unwrap();
    for damage in [None, Some(whole.slice(..whole.len() - 1))] {
        memory.remove(&second.object());
        if let Some(cut) = damage {
            memory.replace(&second.object(), cut);
        }
        let mut given = 0;
        let error = resolved.prepares(&repository, 1, 20, &mut |_| {
            given += 1;
            Ok(())
        });
        assert_eq!((error.unwrap_err().kind, given), (Kind::Damaged, 10));
    }
    memory.replace(&second.object(), whole);
    // An error of `take` is returned as it is, and nothing is tried again.
    let mut given = 0;
    let error = resolved.prepares(&repository, 1, 20, &mut |_| {
        given += 1;
        Err(Error::damaged("refused"))
    });
    assert_eq!((error.unwrap_err().message.as_str(), given), ("refused", 1));
}

#[test]
fn segments_disagree_where_they_hold_different_prepares_of_one_op() {
    let log = log_after(&root_header(7), 40);
    let other = log_after(&root_header(8), 40);
    // The other segment, from and to an op, and whether it disagrees with ops 11 to 20.
    let cases = [
        (&log, 5, 10, false),
        (&other, 5, 10, false),
        (&other, 5, 11, true),
        (&log, 5, 11, false),
        (&other, 20, 25, true),
        (&other, 21, 25, false),
        (&other, 15, 15, true),
        (&log, 15, 15, false),
    ];
    for (theirs, first, last, expected) in cases {
        let (_, repository) = repository();
        store(&repository, 1, 1, &log[10..20]);
        store(&repository, 1, 2, &theirs[first - 1..last]);
        let index = LogIndex::list(&repository, &Lineage::first(), 0).unwrap();
        let pieces: Vec<&Piece> = index.pieces().iter().collect();
        assert_eq!(index.disputed(&pieces).unwrap(), expected, "ops {first} to {last}");
        // Where nothing is disputed, the wanted op is the only one to begin with.
        let heads = index.heads(20).unwrap();
        let wanted = (20, headers_of(&log)[19].checksum());
        assert!(heads.contains(&wanted) && (expected || heads.len() == 1), "ops {first} to {last}: {heads:?}");
    }
}

#[test]
fn what_is_near_the_end_of_the_log_ends_sixty_four_ops_from_it_at_the_most() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 300);
    let other = log_after(&root_header(8), 300);
    store(&repository, 1, 1, &log[..200]);
    // Each of one op, which the long one holds another prepare of.
    let far = [200 - super::UNSETTLED_OPS, 199 - super::UNSETTLED_OPS];
    for (run, op) in far.into_iter().enumerate() {
        store(&repository, 1, 2 + run as u64, &other[op as usize - 1..op as usize]);
    }
    let index = LogIndex::list(&repository, &Lineage::first(), 0).unwrap();
    let heads: Vec<u64> = index.heads(200).unwrap().into_iter().map(|(op, _)| op).collect();
    assert_eq!(heads, [200, 136], "op 135 is settled");
    assert_eq!(index.heads(201).unwrap(), [], "no segment holds it");
    assert_eq!(chain(&repository, &Lineage::first(), root(), Some(200)).unwrap(), log[..200]);
}

#[test]
fn only_the_segments_that_hold_what_is_wanted_are_read() {
    let (memory, repository) = repository();
    let log = log_after(&root_header(7), 30);
    let names = [0, 10, 20].map(|from| store(&repository, 1, from as u64 + 1, &log[from..from + 10]).object());
    let index = LogIndex::list(&repository, &Lineage::first(), 0).unwrap();
    let resolved = index.resolve(root(), None).unwrap();
    for name in [&names[0], &names[2]] {
        assert!(memory.corrupt(name, 70, 1));
    }
    let read = |first_op, last_op| {
        let mut ops = Vec::new();
        let taken = resolved.clone().prepares(&repository, first_op, last_op, &mut |prepare| {
            ops.push(prepare.header().op());
            Ok(())
        });
        taken.map(|_| ops).map_err(|error| error.kind)
    };
    assert_eq!(read(11, 20), Ok((11..=20).collect()));
    assert_eq!(read(20, 20), Ok(vec![20]));
    assert_eq!((read(10, 20), read(11, 21)), (Err(Kind::Damaged), Err(Kind::Damaged)), "an op more needs another segment");
}

#[test]
fn a_listing_that_begins_with_the_last_common_op_holds_it() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 30);
    let headers = headers_of(&log);
    store(&repository, 1, 1, &log[..25]);
    store(&repository, 2, 2, &later_view(&headers[19], 10, 3));
    let record = Some(PrepareRecord { op: 20, checksum: headers[19].checksum().to_string() });
    let branch = Branch { timeline: 2, parent: 1, branch: record, first: None, replica: 0, began_ns: 1, reason: "a test".into() };
    assert!(repository.begin_timeline(&branch).unwrap());
    let lineage = Lineage::of(&repository.timelines().unwrap(), 2).unwrap();
    let listed = |from_op| {
        let index = LogIndex::list(&repository, &lineage, from_op).unwrap();
        index.pieces().iter().map(|piece| (piece.name.timeline, piece.first_op, piece.last_op)).collect::<Vec<_>>()
    };
    assert_eq!(listed(20), [(1, 1, 20), (2, 21, 30)]);
    assert_eq!((listed(21), listed(30)), (vec![(2, 21, 30)], vec![(2, 21, 30)]));
    assert_eq!(listed(31), []);
}
