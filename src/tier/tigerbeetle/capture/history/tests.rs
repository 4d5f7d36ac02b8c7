//! Logs that a view change rewrote, and files of another history.

use crate::error::Kind;
use crate::repository::name::SEGMENTS;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{LOG_OPS, as_replica, edited, next_checkpoint};
use crate::tier::tigerbeetle::capture::tests::{Fixture, in_view, push};

/// A log to op 1009, all of it but the last op known to be committed, followed by `bodies`, of
/// which nothing is known to be committed.
fn uncommitted(view: u32, bodies: &[&[u8]]) -> SampleFile {
    let mut sample = SampleFile::new(7, 50);
    for body in bodies {
        push(&mut sample, view, 1008, body);
    }
    sample
}

#[test]
fn a_log_that_was_replaced_is_stored_anew() {
    let fixture = Fixture::new();
    fixture.backup(&uncommitted(0, &[b"a", b"b", b"c"]));
    let replaced = in_view(&uncommitted(1, &[b"x", b"y", b"z", b"w"]), 1, 1010);
    let second = fixture.backup(&replaced);
    assert_eq!((second.summary.recovered_to_op, second.summary.commit_known_op), (1013, 1008));
    assert!(fixture.names(SEGMENTS).iter().any(|name| name.contains("00000000000000000960-00000000000000001013")));
    fixture.assert_restores(&replaced);
}

#[test]
fn a_replaced_log_that_is_shorter_than_what_is_held_is_not_mixed_with_it() {
    let fixture = Fixture::new();
    fixture.backup(&uncommitted(0, &[b"a", b"b", b"c"]));
    let replaced = in_view(&uncommitted(1, &[b"x"]), 1, 1010);
    assert_eq!(fixture.backup(&replaced).summary.recovered_to_op, 1010);
    fixture.assert_restores(&replaced);
}

#[test]
fn leftovers_of_an_older_view_are_no_part_of_the_next_backup() {
    let fixture = Fixture::new();
    // The view began with op 1009. What follows it in the ring is of the view before.
    let leftovers = in_view(&uncommitted(0, &[b"a", b"b"]), 1, 1009);
    assert_eq!(fixture.backup(&leftovers).summary.recovered_to_op, 1009);
    fixture.assert_restores(&in_view(&uncommitted(0, &[]), 1, 1009));
    let mut current = uncommitted(1, &[b"x", b"y", b"z"]);
    push(&mut current, 1, 1012, b"w");
    let current = in_view(&current, 1, 1009);
    assert_eq!(fixture.backup(&current).summary.recovered_to_op, 1013);
    fixture.assert_restores(&current);
}

#[test]
fn leftovers_that_came_to_count_are_not_stored_twice() {
    let fixture = Fixture::new();
    fixture.backup(&in_view(&uncommitted(0, &[b"a", b"b"]), 1, 1009));
    // The next view began with op 1011, so it kept them.
    let kept = in_view(&uncommitted(0, &[b"a", b"b"]), 2, 1011);
    let second = fixture.backup(&kept);
    assert_eq!((second.summary.recovered_to_op, second.summary.bytes_stored), (1011, 0));
    fixture.assert_restores(&kept);
}

#[test]
fn another_clusters_file_is_refused() {
    let fixture = Fixture::new();
    fixture.backup(&SampleFile::new(7, LOG_OPS));
    let names = fixture.store.names();
    let error = fixture.try_backup(&SampleFile::new(8, LOG_OPS)).unwrap_err();
    assert_eq!(error.kind, Kind::Input);
    assert!(error.message.contains("belongs to cluster 7, the data file to cluster 8"), "{error}");
    assert_eq!(fixture.store.names(), names);
}

#[test]
fn another_history_is_refused_wherever_the_two_can_be_compared() {
    let first = SampleFile::new(7, 965);
    let second = next_checkpoint(&first, LOG_OPS).unwrap();
    // What a restored cluster wrote at the same op: the same data, with one block more.
    let other = |sample: &SampleFile| {
        edited(sample, |bytes| {
            let size = u64::from_le_bytes(bytes[96 + 576..96 + 584].try_into().unwrap());
            bytes[96 + 576..96 + 584].copy_from_slice(&(size + 512 * 1024).to_le_bytes());
        })
    };
    let after_other = next_checkpoint(&other(&first), LOG_OPS).unwrap();
    let mut forked = SampleFile::new(7, 50);
    push(&mut forked, 1, 1009, b"x");
    push(&mut forked, 1, 1010, b"y");
    for (what, held, file) in [
        ("the same checkpoint", &first, &other(&first)),
        ("the next checkpoint", &first, &after_other),
        ("the checkpoint before", &second, &other(&first)),
        ("a committed op", &SampleFile::new(7, LOG_OPS), &forked),
    ] {
        let fixture = Fixture::new();
        fixture.backup(held);
        let names = fixture.store.names();
        let error = fixture.try_backup(&as_replica(file, 1).unwrap()).unwrap_err();
        assert_eq!(error.kind, Kind::Input, "{what}: {error}");
        assert!(error.message.contains("continues another history"), "{what}: {error}");
        assert_eq!(fixture.store.names(), names, "{what}");
    }
}

#[test]
fn checkpoints_too_far_apart_cannot_be_compared() {
    let first = SampleFile::new(7, 965);
    let third = next_checkpoint(&next_checkpoint(&first, 960).unwrap(), LOG_OPS).unwrap();
    let fixture = Fixture::new();
    fixture.backup(&first);
    assert_eq!(fixture.backup(&third).summary.checkpoint_op, 2879);
    fixture.assert_restores(&third);
}

#[test]
fn the_same_history_is_accepted_in_any_order() {
    let first = SampleFile::new(7, 965);
    let second = next_checkpoint(&first, LOG_OPS).unwrap();
    let other = as_replica(&second, 1).unwrap();
    for [held, file] in [[&first, &other], [&other, &first]] {
        let fixture = Fixture::new();
        fixture.backup(held);
        fixture.backup(file);
        fixture.assert_restores(&other);
    }
    let fixture = Fixture::new();
    fixture.backup(&first);
    let far = edited(&second, |bytes| bytes[96 + 496..96 + 512].fill(0));
    let error = fixture.try_backup(&far).unwrap_err();
    assert!(error.message.contains("checkpoint op 959"), "{error}");
}

#[test]
fn a_fork_of_fewer_replicas_is_refused() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    fixture.backup(&sample);
    let names = fixture.store.names();
    let error = fixture.try_backup(&edited(&sample, |bytes| bytes[1364] = 1)).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("a cluster of 1 replicas, the repository of one of 3"), "{error}");
    assert_eq!(fixture.store.names(), names);
}

#[test]
fn a_file_far_behind_all_that_is_stored_is_refused() {
    let (fixture, first) = (Fixture::new(), SampleFile::new(7, 965));
    fixture.backup(&next_checkpoint(&next_checkpoint(&first, 960).unwrap(), LOG_OPS).unwrap());
    let names = fixture.store.names();
    let error = fixture.try_backup(&first).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("holds checkpoint 2879, the data file ends at op 1924"), "{error}");
    assert_eq!(fixture.store.names(), names);
}

#[test]
fn a_fork_that_has_made_its_next_checkpoint_is_told_by_what_its_ring_still_holds() {
    // Both histories have checkpoint 959 in common and branch at op 1005. The repository knows the
    // ops up to 1010 as committed.
    let mut forked = SampleFile::new(7, 45);
    for op in 1005..=1919 {
        push(&mut forked, 0, op - 1, b"another history");
    }
    for (origin, accepted) in [(SampleFile::new(7, 960), true), (forked, false)] {
        let fixture = Fixture::new();
        fixture.backup(&SampleFile::new(7, LOG_OPS));
        let mut next = next_checkpoint(&origin, LOG_OPS).unwrap();
        next.earlier = origin.log.clone();
        let outcome = fixture.try_backup(&next);
        assert_eq!(outcome.is_ok(), accepted, "{outcome:?}");
        if let Err(error) = outcome {
            assert!(error.kind == Kind::Input && error.message.contains("op 1010, which is committed, has checksum"), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_read_any_more_is_not_compared() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    let first = fixture.backup(&sample);
    for damaged in [first.name.object(), fixture.names(SEGMENTS)[0].clone()] {
        let offset = fixture.store.bytes(&damaged).unwrap().len() - 40;
        fixture.store.corrupt(&damaged, offset, 1);
        let again = fixture.backup(&sample);
        fixture.assert_newest_is(&again, &sample);
        fixture.store.corrupt(&damaged, offset, 1);
    }
}

#[test]
fn a_replica_behind_the_newest_backup_is_compared_with_an_older_one() {
    let fixture = Fixture::new();
    fixture.backup(&SampleFile::new(7, LOG_OPS));
    fixture.backup(&next_checkpoint(&SampleFile::new(7, 960), LOG_OPS).unwrap());
    let behind = as_replica(&SampleFile::new(7, LOG_OPS + 10), 1).unwrap();
    let summary = fixture.backup(&behind).summary;
    assert_eq!((summary.checkpoint_op, summary.recovered_to_op), (959, 1021));
}
