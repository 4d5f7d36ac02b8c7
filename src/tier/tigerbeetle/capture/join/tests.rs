//! Where a replica's log joins the stored log: every way in which the two can mislead the
//! comparison, and the leftovers of unusual earlier events.

use super::Joined;
use super::join;
use super::lineage_of;
use super::lineage_or_new;
use crate::disk::file::ReadOptions;
use crate::error::{Kind, Result};
use crate::replica::witness::Witness;
use crate::repository::sample::{create, store_log};
use crate::store::memory::MemoryStore;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::header::PrepareId;
use crate::tb_format::layout::{HEADER_BYTES, WAL_HEADERS_BYTES, WAL_SLOTS, slot_of};
use crate::tb_format::sample::{PrepareSample, Roots, SampleFile, headers_of, log_after, root_header, superblock_bytes};
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::{HeaderRing, reserved_header};
use crate::tier::sample::{LOG_OPS, edited, write_data_file};
use crate::tier::tigerbeetle::capture::replica_log::Replica;
use crate::tier::tigerbeetle::capture::tests::{Fixture, push};
use crate::tier::tigerbeetle::format::timeline::{Branch, PrepareRecord};
use std::cell::RefCell;

type Log = Vec<Vec<u8>>;

/// Ops 1 to `last_op` of the history that all tests begin with.
fn history(last_op: u64) -> Log {
    log_after(&root_header(7), last_op)
}

/// `log` up to op `op`, followed by `count` ops with another body, made in view `view` by a cluster
/// that had committed up to `commit`.
fn other(log: &[Vec<u8>], op: usize, count: u64, view: u32, commit: Option<u64>) -> Log {
    let mut log = log[..op].to_vec();
    for _ in 0..count {
        let last = headers_of(&log[log.len() - 1..])[0];
        let sample = PrepareSample::after(&last);
        let body = [vec![view as u8 + 1; 128], sample.body.clone()].concat();
        log.push(PrepareSample { view, commit: commit.unwrap_or(sample.commit), body, ..sample }.bytes());
    }
    log
}

fn id(log: &[Vec<u8>], op: usize) -> PrepareId {
    (op as u64, headers_of(&log[op - 1..op])[0].checksum())
}

fn record(log: &[Vec<u8>], op: usize) -> PrepareRecord {
    PrepareRecord { op: op as u64, checksum: id(log, op).1.to_string() }
}

fn branch(timeline: u32, parent: u32, branch: Option<PrepareRecord>, first: Option<PrepareRecord>) -> Branch {
    Branch { timeline, parent, branch, first, replica: 0, began_ns: 1, reason: "test".into() }
}

/// A replica's superblock and its ring of headers.
struct Node {
    superblock: SuperBlock,
    zone: Vec<u8>,
}

impl Node {
    /// A replica that holds this log, of a cluster of `replica_count` replicas. Its checkpoint is
    /// the last that it can have.
    fn new(log: &[Vec<u8>], replica_count: u8) -> Node {
        let headers = headers_of(log);
        let checkpoint_op = (log.len() as u64).saturating_sub(32) / 960 * 960;
        let checkpoint = if checkpoint_op == 0 { root_header(7) } else { headers[checkpoint_op as usize - 2] };
        let superblock = SuperBlock::check(&superblock_bytes(&checkpoint, &Roots::default(), replica_count)).unwrap();
        let node = Node { superblock, zone: (0..WAL_SLOTS).flat_map(|slot| reserved_header(7, slot)).collect() };
        node.with(&headers)
    }

    /// Writes these headers over those in their slots.
    fn with(mut self, headers: &[PrepareHeader]) -> Node {
        for header in headers {
            let begin = slot_of(header.op()) as usize * HEADER_BYTES;
            self.zone[begin..begin + HEADER_BYTES].copy_from_slice(header.bytes());
        }
        assert_eq!(self.zone.len(), WAL_HEADERS_BYTES);
        self
    }
}

struct Place {
    store: MemoryStore,
    repository: std::sync::Arc<crate::repository::Repository>,
    runs: RefCell<u64>,
}

impl Place {
    fn new() -> Place {
        let store = MemoryStore::new();
        Place { repository: create(&store).unwrap(), store, runs: RefCell::new(0) }
    }

    /// Stores ops `first` to `last` of a log.
    fn store(&self, timeline: u32, log: &[Vec<u8>], first: usize, last: usize) -> String {
        *self.runs.borrow_mut() += 1;
        store_log(&self.repository, timeline, *self.runs.borrow(), &log[first - 1..last]).unwrap().object()
    }

    fn begin(&self, branch: Branch) {
        assert!(self.repository.begin_timeline(&branch).unwrap());
    }

    fn join(&self, node: &Node) -> Result<Joined> {
        self.join_with(node, &|_| panic!("nothing need be looked for"))
    }

    fn join_with(&self, node: &Node, find: &dyn Fn(&Witness) -> Result<bool>) -> Result<Joined> {
        let replica = Replica { superblock: &node.superblock, ring: HeaderRing::new(&node.zone).unwrap() };
        join(&self.repository, None, &replica, find)
    }

    fn continues(&self, node: &Node, timeline: u32, after: PrepareId) {
        assert_eq!(self.join(node).unwrap(), Joined::Continues { timeline, after });
    }

    /// Asserts that the replica is of another history.
    fn branches(&self, node: &Node) -> Branch {
        match self.join(node).unwrap() {
            Joined::Branches(branch) => branch,
            joined => panic!("{joined:?}"),
        }
    }

    fn undecided(&self, node: &Node, op: u64) {
        let error = self.join(node).unwrap_err();
        assert!(error.kind == Kind::TryAgain && error.message.contains(&format!("op {op} ")), "{error}");
    }
}

#[test]
fn the_first_log_and_one_that_goes_on() {
    let (place, log) = (Place::new(), history(1400));
    assert_eq!(place.join(&Node::new(&log[..20], 3)).unwrap(), Joined::Empty);
    place.store(1, &log, 1, 700);
    place.store(1, &log, 701, 1200);
    for (end, replicas) in [(1200, 1), (1201, 1), (1400, 1), (1400, 3)] {
        place.continues(&Node::new(&log[..end], replicas), 1, id(&log, 1200));
    }
    // A spool holds the ops that follow.
    let spool = Place::new();
    spool.store(1, &log, 1201, 1300);
    let node = Node::new(&log, 3);
    let replica = Replica { superblock: &node.superblock, ring: HeaderRing::new(&node.zone).unwrap() };
    let joined = join(&place.repository, Some(&spool.repository), &replica, &|_| Ok(false)).unwrap();
    assert_eq!(joined, Joined::Continues { timeline: 1, after: id(&log, 1300) });
}

#[test]
fn a_replica_that_ends_within_what_is_stored_is_behind() {
    let (place, log) = (Place::new(), history(1200));
    place.store(1, &log, 1, 1200);
    for (end, replicas) in [(1150, 3), (1199, 1), (300, 1)] {
        let joined = place.join(&Node::new(&log[..end], replicas)).unwrap();
        assert_eq!(joined, Joined::Behind { timeline: 1, after: id(&log, end), stored: id(&log, 1200) });
    }
}

#[test]
fn what_a_view_change_replaced_is_no_fork() {
    let old = other(&history(1096), 1096, 4, 0, Some(1095));
    let new = other(&old, 1096, 2, 1, Some(1096));
    let place = Place::new();
    place.store(1, &old, 1, 1100);
    place.continues(&Node::new(&new, 3), 1, id(&new, 1096));
    // What follows the new head is left over from the view before.
    place.continues(&Node::new(&new, 3).with(&headers_of(&old[1098..])), 1, id(&new, 1096));
    // The old segment still reaches further than the new one, but no log of the new view continues
    // it.
    place.store(1, &new, 1097, 1098);
    place.continues(&Node::new(&new, 3), 1, id(&new, 1098));
    let further = other(&new, 1098, 5, 1, None);
    place.continues(&Node::new(&further, 3), 1, id(&new, 1098));
    // A single replica has no view changes: it was restored.
    let branch = place.branches(&Node::new(&other(&new, 1097, 9, 2, None), 1));
    assert_eq!(branch.branch, Some(record(&new, 1097)));
}

#[test]
fn a_leftover_of_a_replaced_view_is_waited_out() {
    let old = history(1100);
    let new = other(&old, 1096, 60, 2, None);
    let place = Place::new();
    place.store(1, &new, 1, 1156);
    let prepared = other(&old, 1096, 1, 1, None);
    let leftover = |commit| Node::new(&other(&prepared, 1097, 2, 1, Some(commit)), 3);
    place.undecided(&leftover(1096), 1097);
    // This changes when it turns out that the cluster has committed it: then it never was a
    // leftover.
    assert_eq!(place.branches(&leftover(1097)).branch, Some(record(&old, 1096)));
    // A leftover that later prepares do not continue proves nothing.
    let stale = headers_of(&other(&old, 1049, 1, 9, None)[1049..]);
    place.continues(&Node::new(&new, 3).with(&stale), 1, id(&new, 1156));
}

#[test]
fn another_committed_op_is_a_fork_at_the_last_that_both_hold() {
    let old = history(1200);
    for (replicas, view, count) in [(1, 0, 1), (1, 0, 500), (3, 1, 1), (3, 1, 500), (3, 0, 100)] {
        let place = Place::new();
        place.store(1, &old, 1, 600);
        place.store(1, &old, 601, 1200);
        let fork = other(&old, 1000, count, view, None);
        let branch = place.branches(&Node::new(&fork, replicas));
        assert_eq!((branch.timeline, branch.parent), (2, 1));
        assert_eq!((branch.branch, branch.first), (Some(record(&old, 1000)), Some(record(&fork, 1001))), "{replicas} {view} {count}");
    }
    // A view prepares an op once, committed or not.
    let (place, tail) = (Place::new(), other(&old, 1100, 4, 3, Some(1100)));
    place.store(1, &tail, 1, 1104);
    let mut fork = PrepareSample { view: 3, commit: 1100, ..PrepareSample::after(&headers_of(&old)[1099]) };
    fork.body.push(9);
    let fork = [&old[..1100], &[fork.bytes()]].concat();
    assert_eq!(place.branches(&Node::new(&fork, 3)).branch, Some(record(&old, 1100)));
    // Nothing in common at all: a cluster that was formatted again under its old id.
    let anew = log_after(&root_header(8), 1)[0].clone();
    let mut first = PrepareSample::after(&root_header(7));
    first.body = vec![5; anew.len()];
    let anew = other(&[first.bytes()], 1, 300, 0, None);
    let branch = place.branches(&Node::new(&anew, 1));
    assert_eq!((branch.branch, branch.first), (None, Some(record(&anew, 1))));
}

#[test]
fn lost_ops_are_a_gap_only_where_the_last_thing_stored_is_found() {
    let log = history(1500);
    let asked = RefCell::new(Vec::new());
    let find = |answer: bool| {
        let asked = &asked;
        move |witness: &Witness| {
            asked.borrow_mut().push(witness.op);
            Ok(answer)
        }
    };
    let place = Place::new();
    place.store(1, &log, 1, 150);
    place.store(1, &log, 151, 200);
    let node = Node::new(&log, 3);
    // With three replicas the last op is only prepared, so the witness is the op before it.
    assert_eq!(place.join_with(&node, &find(true)).unwrap(), Joined::Gap { timeline: 1, stored_op: 200 });
    assert_eq!(place.join_with(&Node::new(&log, 1), &find(true)).unwrap(), Joined::Gap { timeline: 1, stored_op: 200 });
    assert_eq!(*asked.borrow(), [199, 200]);
    let Joined::Branches(unproven) = place.join_with(&node, &find(false)).unwrap() else { panic!("nothing shows it") };
    assert_eq!((unproven.timeline, unproven.parent, unproven.branch), (2, 1, None));
    assert_eq!(unproven.first, Some(record(&log, 959)), "the checkpoint");
}

#[test]
fn only_the_very_last_thing_stored_is_a_witness() {
    let base = history(200);
    let with = |operations: &[u8]| {
        let mut log = base.clone();
        for operation in operations {
            let sample = PrepareSample::after(&headers_of(&log[log.len() - 1..])[0]);
            log.push(PrepareSample { operation: *operation, ..sample }.bytes());
        }
        log
    };
    let reads: Vec<u8> = std::iter::repeat_n([140, 128, 2, 145], 20).flatten().collect();
    let node = Node::new(&history(1500), 1);
    for (operations, expected) in [(vec![140, 128, 2], Some(200)), (reads, Some(200)), (vec![138, 141], Some(201)), (vec![250, 141], None)]
    {
        let (place, log) = (Place::new(), with(&operations));
        place.store(1, &log, 1, log.len());
        let asked = RefCell::new(None);
        let joined = place.join_with(&node, &|witness| {
            *asked.borrow_mut() = Some(witness.op);
            Ok(true)
        });
        assert_eq!(*asked.borrow(), expected, "{operations:?}");
        assert_eq!(matches!(joined.unwrap(), Joined::Gap { .. }), expected.is_some());
    }
    // A hole before the end may have held something later.
    let (place, log) = (Place::new(), with(&[140, 140]));
    place.store(1, &log, 1, 200);
    place.store(1, &log, 202, 202);
    assert!(matches!(place.join(&node).unwrap(), Joined::Branches(_)));
}

#[test]
fn a_fork_and_a_stale_agent_of_the_dead_cluster_each_find_their_own() {
    let old = history(1400);
    // The fork's ops are committed, only prepared, or only its record exists.
    for (stored, replicas) in [(1100, 1), (1100, 3), (1002, 3), (1000, 1), (1000, 3)] {
        let place = Place::new();
        let fork = other(&old, 1000, 300, 1, None);
        place.store(1, &old, 1, 1200);
        place.begin(branch(2, 1, Some(record(&old, 1000)), Some(record(&fork, 1001))));
        if stored > 1000 {
            place.store(2, &fork, 1001, stored);
        }
        place.continues(&Node::new(&old, replicas), 1, id(&old, 1200));
        place.continues(&Node::new(&fork, replicas), 2, id(&fork, stored));
        // Restored again, to the same op and to an op that only the fork has.
        let third = place.branches(&Node::new(&other(&old, 1000, 50, 2, None), replicas));
        assert_eq!((third.timeline, third.parent, third.branch), (3, 1, Some(record(&old, 1000))));
        if stored == 1100 {
            let later = place.branches(&Node::new(&other(&fork, 1050, 80, 2, None), replicas));
            assert_eq!((later.timeline, later.parent, later.branch), (3, 2, Some(record(&fork, 1050))));
        }
        // Restored and not continued yet: nothing can be decided.
        let idle = place.join(&Node::new(&old[..990], replicas)).unwrap();
        assert_eq!(idle, Joined::Behind { timeline: 1, after: id(&old, 990), stored: id(&old, 1200) });
        assert!(matches!(place.join(&Node::new(&old[..1000], replicas)).unwrap(), Joined::Behind { .. }));
    }
}

#[test]
fn a_timeline_of_which_only_the_record_exists_is_known_by_its_first_prepare() {
    let log = history(1500);
    let place = Place::new();
    place.store(1, &log, 1, 100);
    place.begin(branch(2, 1, None, Some(record(&log, 959))));
    place.continues(&Node::new(&log, 3), 2, id(&log, 958));
    // The ring has wrapped past it: nothing is left to recognise it by.
    let later = history(3000);
    assert!(matches!(place.join_with(&Node::new(&later, 3), &|_| Ok(false)).unwrap(), Joined::Branches(Branch { timeline: 3, .. })));
    assert_eq!(place.join_with(&Node::new(&later, 3), &|_| Ok(true)).unwrap(), Joined::Gap { timeline: 1, stored_op: 100 });
}

#[test]
fn of_several_timelines_with_a_gap_the_one_that_is_shown_counts() {
    let old = history(300);
    let fork = other(&old, 200, 50, 1, None);
    let place = Place::new();
    place.store(1, &old, 1, 300);
    place.begin(branch(2, 1, Some(record(&old, 200)), Some(record(&fork, 201))));
    place.store(2, &fork, 201, 250);
    let node = Node::new(&history(1500), 1);
    for (op, timeline) in [(300, 1), (250, 2)] {
        let joined = place.join_with(&node, &|witness| Ok(witness.op == op)).unwrap();
        assert_eq!(joined, Joined::Gap { timeline, stored_op: op });
    }
    let Joined::Branches(unproven) = place.join_with(&node, &|_| Ok(false)).unwrap() else { panic!("nothing shows it") };
    assert_eq!((unproven.timeline, unproven.branch), (3, None));
}

#[test]
fn what_a_ring_keeps_of_rounds_long_past_is_not_its_log() {
    // The replica was disconnected, and fetched its state from its peers.
    let log = history(3000);
    let mut node = Node::new(&log[..2950], 3).with(&headers_of(&log[100..200]));
    for slot in (0..WAL_SLOTS).filter(|slot| !(101..=200).contains(slot) && !(2900..=2950).map(slot_of).any(|used| used == *slot)) {
        let begin = slot as usize * HEADER_BYTES;
        node.zone[begin..begin + HEADER_BYTES].copy_from_slice(&reserved_header(7, slot));
    }
    let place = Place::new();
    place.store(1, &log, 1, 250);
    assert_eq!(place.join_with(&node, &|_| Ok(true)).unwrap(), Joined::Gap { timeline: 1, stored_op: 250 });
    // The stored log ends within a hole that the replica has yet to fill.
    place.store(1, &log, 251, 2890);
    assert_eq!(place.join(&node).unwrap(), Joined::Behind { timeline: 1, after: id(&log, 2879), stored: id(&log, 2890) });
}

#[test]
fn holes_in_what_is_stored_are_read_again() {
    let log = history(1200);
    let place = Place::new();
    place.store(1, &log, 1, 1000);
    place.store(1, &log, 1021, 1040);
    place.store(1, &log, 1051, 1100);
    place.store(1, &log, 1031, 1100);
    place.continues(&Node::new(&log, 1), 1, id(&log, 1000));
    let behind = place.join(&Node::new(&log[..1090], 1)).unwrap_err();
    assert!(behind.kind == Kind::TryAgain && behind.message.contains("with a hole"), "{behind}");
    // The first segments of a fork are missing.
    let fork = other(&log, 1010, 150, 1, None);
    place.begin(branch(2, 1, Some(record(&log, 1010)), Some(record(&fork, 1011))));
    place.store(2, &fork, 1050, 1100);
    place.continues(&Node::new(&fork, 1), 2, id(&log, 1010));
    // Ops that the ring has lost too cannot be read again.
    let (place, log) = (Place::new(), history(2000));
    place.store(1, &log, 1, 500);
    place.store(1, &log, 1500, 1600);
    place.continues(&Node::new(&log, 1), 1, id(&log, 1600));
}

#[test]
fn what_a_damaged_segment_held_is_stored_again_where_it_is_the_one_that_tells() {
    let (place, log) = (Place::new(), history(1200));
    let earlier = place.store(1, &log, 900, 1100);
    let last = place.store(1, &log, 1101, 1200);
    let flip = |name: &str| assert!(place.store.corrupt(name, place.store.bytes(name).unwrap().len() - 40, 1));
    flip(&earlier);
    place.continues(&Node::new(&log, 1), 1, id(&log, 1200));
    flip(&last);
    // Of all that is stored, nothing opens; the replica still shows where it began.
    place.store(1, &log, 800, 899);
    place.continues(&Node::new(&log, 1), 1, id(&log, 899));
    place.store(1, &log, 900, 1150);
    place.continues(&Node::new(&log, 1), 1, id(&log, 1150));
}

#[test]
fn a_file_older_than_all_that_is_stored_is_refused() {
    let (place, log) = (Place::new(), history(1200));
    place.store(1, &log, 1000, 1200);
    let error = place.join(&Node::new(&log[..900], 1)).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("ops 0 to 900"), "{error}");
}

#[test]
fn a_timeline_is_begun_once_and_only_for_a_history_of_its_own() {
    let fixture = Fixture::new();
    fixture.backup(&SampleFile::new(7, LOG_OPS));
    let join = |sample: &SampleFile| {
        write_data_file(sample, &fixture.path()).unwrap();
        lineage_or_new(&fixture.repository, &fixture.path(), ReadOptions::quick())
    };
    let timelines = || fixture.repository.timelines().unwrap().numbers();
    let (same, begun) = join(&SampleFile::new(7, LOG_OPS + 4)).unwrap();
    assert!(same.timeline() == 1 && begun.is_none());
    // Another cluster and another size are refused before any timeline is begun.
    let mut fork = SampleFile::new(7, 20);
    for _ in 0..40 {
        let commit = fork.log.len() as u64 + 958;
        push(&mut fork, 1, commit, b"fork");
    }
    assert!(join(&SampleFile::new(8, LOG_OPS)).unwrap_err().message.contains("belongs to cluster 7"));
    let solo = join(&edited(&fork, |bytes| bytes[1364] = 1)).unwrap_err();
    assert!(solo.kind == Kind::Input && solo.message.contains("another history") && solo.message.contains("1 replicas"), "{solo}");
    assert_eq!(timelines(), [1]);
    let (lineage, begun) = join(&fork).unwrap();
    assert_eq!((lineage.timeline(), begun.unwrap().branch.unwrap().op, timelines()), (2, 979, vec![1, 2]));
    let (lineage, begun) = join(&fork).unwrap();
    assert!((lineage.timeline(), begun, timelines()) == (2, None, vec![1, 2]));
    let again = lineage_of(&fixture.repository, &fixture.path(), ReadOptions::quick()).unwrap();
    assert_eq!(again.timeline(), 2);
}

#[test]
fn a_hole_of_one_op_is_read_again_while_the_ring_still_holds_what_it_continues() {
    let log = history(1200);
    let place = Place::new();
    place.store(1, &log, 1, 1000);
    place.store(1, &log, 1001, 1050);
    place.continues(&Node::new(&log, 1), 1, id(&log, 1050));
    place.store(1, &log, 1052, 1100);
    place.continues(&Node::new(&log, 1), 1, id(&log, 1050));
    // The oldest op that the ring of 1024 slots shows is 977.
    for (before, resumes) in [(977, 977), (976, 2000)] {
        let (place, log) = (Place::new(), history(2000));
        place.store(1, &log, 1, before);
        place.store(1, &log, before + 2, 2000);
        place.continues(&Node::new(&log, 1), 1, id(&log, resumes));
    }
}
