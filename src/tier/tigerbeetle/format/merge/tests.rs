//! Merging: which segments become one, that the result has the same content, and which segments may
//! be deleted afterwards.

use super::{MERGED_STORED_BYTES_MAX, SEGMENT_OPS_MAX, SEGMENTS_A_MERGE_MAX, TIERS, covered, merge, plan_merges, tier};
use crate::error::Kind;
use crate::repository::Repository;
use crate::repository::name::{RunId, SegmentName};
use crate::repository::tests::repository;
use crate::tb_format::sample::{log_after, root_header};
use crate::tier::tigerbeetle::format::log::tests::store;
use crate::tier::tigerbeetle::format::log::{LogIndex, Piece};
use crate::tier::tigerbeetle::format::segment::SegmentReader;
use crate::tier::tigerbeetle::format::timeline::Lineage;

fn piece(first_op: u64, last_op: u64, stored_bytes: u64) -> Piece {
    Piece { name: SegmentName { timeline: 1, first_op, last_op, run: RunId(first_op) }, stored_bytes, first_op, last_op }
}

fn pieces(repository: &Repository) -> Vec<Piece> {
    LogIndex::list(repository, &Lineage::only(1), 0).unwrap().pieces().to_vec()
}

fn ops(runs: &[Vec<Piece>]) -> Vec<(u64, u64)> {
    runs.iter().map(|run| (run[0].first_op, run[run.len() - 1].last_op)).collect()
}

#[test]
fn neighbours_of_one_tier_are_merged_and_no_others() {
    let small: Vec<Piece> = (0..10).map(|number| piece(number * 5 + 1, number * 5 + 5, 2000)).collect();
    assert_eq!(ops(&plan_merges(&small, 10)), [(1, 50)]);
    assert!(plan_merges(&small, 11).is_empty());
    let mut with_hole = small.clone();
    with_hole.remove(4);
    assert_eq!(ops(&plan_merges(&with_hole, 4)), [(1, 20), (26, 50)]);
    // A large one between them is left alone as long as there is enough to merge in the lower tier.
    let mut with_large = small.clone();
    with_large[5].stored_bytes = 1 << 20;
    assert_eq!(ops(&plan_merges(&with_large, 4)), [(1, 25), (31, 50)]);
    assert_eq!(ops(&plan_merges(&with_large, 8)), [(1, 50)], "the next tier takes the smaller ones along");
    with_large[5].stored_bytes = 300 << 20;
    assert!(plan_merges(&with_large, 8).is_empty(), "large enough");
    let many: Vec<Piece> = (0..2000).map(|number| piece(number + 1, number + 1, 1000)).collect();
    assert_eq!(ops(&plan_merges(&many, 64))[0], (1, 512));
    let wide = [piece(1, 500_000, 1000), piece(500_001, 600_000, 1000), piece(600_001, 700_000, 1000)];
    assert_eq!(ops(&plan_merges(&wide, 2)), [(500_001, 700_000)], "no index lists more than so many ops");
}

#[test]
fn each_bound_of_a_merge_is_reached_and_not_passed() {
    // The last size of a tier, and the first of the next.
    for (number, (below, above)) in [(65_535, 65_536), (4_194_303, 4_194_304), (268_435_455, 268_435_456)].into_iter().enumerate() {
        assert_eq!((tier(below), tier(above)), (number as u32, number as u32 + 1));
    }
    assert_eq!(tier(u64::MAX), TIERS);
    // A group of two is the least, whatever is asked for.
    let two = [piece(1, 5, 2000), piece(6, 6, 2000)];
    for least in 0..=2 {
        assert_eq!(ops(&plan_merges(&two, least)), [(1, 6)], "{least}");
    }
    assert!(plan_merges(&two[..1], 0).is_empty());
    for next_op in [5, 7] {
        assert!(plan_merges(&[two[0], piece(next_op, 9, 2000)], 2).is_empty(), "neither twice nor with a hole");
    }
    // As many ops as an index lists, and as many bytes as a merged segment may have.
    assert_eq!(ops(&plan_merges(&[piece(1, 9, 1), piece(10, SEGMENT_OPS_MAX, 1)], 2)), [(1, SEGMENT_OPS_MAX)]);
    assert!(plan_merges(&[piece(1, 9, 1), piece(10, SEGMENT_OPS_MAX + 1, 1)], 2).is_empty());
    let half = MERGED_STORED_BYTES_MAX / 2;
    assert_eq!(ops(&plan_merges(&[piece(1, 1, half), piece(2, 2, half)], 2)), [(1, 2)]);
    assert!(plan_merges(&[piece(1, 1, half), piece(2, 2, half + 1)], 2).is_empty());
    // What one group takes does not count in the next.
    let three = [piece(1, 1, half), piece(2, 2, half), piece(3, 3, half), piece(4, 4, half)];
    assert_eq!(ops(&plan_merges(&three, 2)), [(1, 2), (3, 4)]);
    let many: Vec<Piece> = (1..=SEGMENTS_A_MERGE_MAX as u64 + 2).map(|op| piece(op, op, 1)).collect();
    assert_eq!(ops(&plan_merges(&many, 2)), [(1, 512), (513, 514)]);
}

#[test]
fn the_merged_segment_holds_what_the_small_ones_held() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 100);
    for (number, prepares) in log.chunks(7).enumerate() {
        store(&repository, 1, number as u64, prepares);
    }
    let small = pieces(&repository);
    let merged = merge(&repository, RunId(99), &small).unwrap();
    assert_eq!((merged.name.first_op, merged.name.last_op, merged.name.run), (1, 100, RunId(99)));
    let mut read = Vec::new();
    SegmentReader::open(&repository, &merged)
        .unwrap()
        .prepares(0, u64::MAX, &mut |prepare| {
            read.push(prepare.bytes().to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(read, log);
    let mut gone: Vec<Piece> = covered(&repository, &pieces(&repository)).unwrap().into_iter().map(|(piece, _)| piece).collect();
    gone.sort_by_key(|piece| piece.first_op);
    assert_eq!(gone, small);
}

#[test]
fn what_is_no_chain_is_not_merged() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 20);
    let other = log_after(&root_header(8), 20);
    store(&repository, 1, 1, &log[..10]);
    store(&repository, 1, 2, &other[10..]);
    assert_eq!(merge(&repository, RunId(9), &pieces(&repository)).unwrap_err().kind, Kind::Damaged);
    assert_eq!(pieces(&repository).len(), 2, "nothing was written");
    let missing = merge(&repository, RunId(9), &[piece(1, 30, 1)]).unwrap_err();
    assert_eq!(missing.kind, Kind::Damaged);
    assert_eq!(merge(&repository, RunId(9), &[]).unwrap_err().kind, Kind::Bug);
}

#[test]
fn only_what_another_segment_holds_entirely_is_covered() {
    let (memory, repository) = repository();
    let log = log_after(&root_header(7), 30);
    let other = log_after(&root_header(8), 30);
    store(&repository, 1, 1, &log[..20]);
    let inside = store(&repository, 1, 2, &log[5..10]);
    store(&repository, 1, 3, &log[15..25]);
    store(&repository, 1, 4, &other[5..10]);
    let repeated = store(&repository, 1, 5, &log[..20]);
    let names = |pieces: Vec<(Piece, SegmentName)>| pieces.into_iter().map(|(piece, _)| piece.name).collect::<Vec<_>>();
    assert_eq!(names(covered(&repository, &pieces(&repository)).unwrap()), [repeated, inside]);
    // Nothing is covered by a segment that does not open.
    memory.corrupt(&SegmentName { timeline: 1, first_op: 1, last_op: 20, run: RunId(1) }.object(), 70, 1);
    memory.remove(&repeated.object());
    let left = pieces(&repository);
    let truncated = memory.bytes(&left[0].name.object()).unwrap().len() - 33;
    memory.corrupt(&left[0].name.object(), truncated, 1);
    assert!(covered(&repository, &left).unwrap().is_empty());
}

#[test]
fn one_op_decides_whether_a_segment_is_covered() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 20);
    let names = |pieces: Vec<(Piece, SegmentName)>| pieces.into_iter().map(|(piece, into)| (piece.name, into)).collect::<Vec<_>>();
    // The last op of the second is in no other; nor is the first op of the first.
    store(&repository, 1, 1, &log[..9]);
    let second = store(&repository, 1, 2, &log[2..10]);
    assert_eq!(names(covered(&repository, &pieces(&repository)).unwrap()), []);
    // One that begins an op later does not cover it either, and ending an op later makes it no
    // smaller.
    let later = store(&repository, 1, 3, &log[3..11]);
    assert_eq!(names(covered(&repository, &pieces(&repository)).unwrap()), []);
    // One that ends with it covers it, although another that ends an op earlier comes first.
    let holder = store(&repository, 1, 4, &log[1..10]);
    assert_eq!(names(covered(&repository, &pieces(&repository)).unwrap()), [(second, holder)]);
    // So does one that begins with it and goes on for an op.
    let longer = store(&repository, 1, 5, &log[2..11]);
    assert_eq!(names(covered(&repository, &pieces(&repository)).unwrap()), [(second, holder), (later, longer)]);
}
