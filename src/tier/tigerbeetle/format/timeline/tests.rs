//! Timelines, gaps and leases: records that are written once and read strictly.

use super::{Branch, Era, Lineage, PrepareRecord};
use crate::error::Kind;
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{RunId, timeline_object};
use crate::repository::sample::open;
use crate::repository::sealed;
use crate::repository::tests::hiding::HidingStore;
use crate::repository::tests::repository;
use crate::store::Store;
use crate::tier::tigerbeetle::format::gap::Gap;
use std::sync::Arc;

fn branch(timeline: u32, parent: u32, op: Option<u64>) -> Branch {
    Branch {
        timeline,
        parent,
        branch: op.map(|op| PrepareRecord { op, checksum: "00".into() }),
        first: None,
        replica: 1,
        began_ns: 5,
        reason: "restored".into(),
    }
}

fn era(timeline: u32, first_op: u64, last_op: u64) -> Era {
    Era { timeline, first_op, last_op }
}

#[test]
fn a_number_is_given_once_and_lineages_follow_the_branches() {
    let (_, repository) = repository();
    assert_eq!(repository.timelines().unwrap().numbers(), [1]);
    assert!(repository.begin_timeline(&branch(2, 1, Some(100))).unwrap());
    assert!(!repository.begin_timeline(&branch(2, 1, Some(90))).unwrap(), "the number is taken");
    assert!(repository.begin_timeline(&branch(3, 2, Some(150))).unwrap());
    // Timeline 4 branches off timeline 3 at an op that 3 has from timeline 2.
    assert!(repository.begin_timeline(&branch(4, 3, Some(120))).unwrap());
    assert!(repository.begin_timeline(&branch(5, 4, None)).unwrap());
    let timelines = repository.timelines().unwrap();
    assert_eq!((timelines.numbers(), timelines.newest()), (vec![1, 2, 3, 4, 5], 5));
    assert_eq!(timelines.branches[&2], branch(2, 1, Some(100)));
    let of = |timeline| Lineage::of(&timelines, timeline).unwrap();
    assert_eq!(of(1), Lineage::first());
    assert_eq!(of(3).eras(), [era(1, 0, 100), era(2, 101, 150), era(3, 151, u64::MAX)]);
    assert_eq!(of(4).eras(), [era(1, 0, 100), era(2, 101, 120), era(4, 121, u64::MAX)]);
    assert_eq!(of(5).eras(), [era(5, 0, u64::MAX)], "nothing is known to be common");
    assert_eq!((of(4).timeline(), of(5).timeline()), (4, 5));
    let four = of(4);
    assert!(four.holds(1, 100) && four.holds(2, 120) && four.holds(4, 121));
    assert!(!four.holds(1, 101) && !four.holds(2, 121) && !four.holds(3, 110));
    let unknown = Lineage::of(&timelines, 6).unwrap_err();
    assert!(unknown.kind == Kind::Input && unknown.message.contains("1, 2, 3, 4, 5"), "{unknown}");
}

/// What is said of it. All else is used, and its number is not used again.
fn only_the_second_is_damaged(repository: &Repository) -> String {
    let timelines = repository.timelines().unwrap();
    assert_eq!((timelines.numbers(), timelines.newest(), timelines.next()), (vec![1], 1, 3));
    assert_eq!(Lineage::of(&timelines, 1).unwrap(), Lineage::first());
    let error = Lineage::of(&timelines, 2).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("timeline 2"), "{error}");
    let trouble = timelines.trouble().unwrap();
    assert!(trouble.contains(&timeline_object(2)), "{trouble}");
    trouble
}

#[test]
fn of_a_timeline_whose_parent_does_not_open_the_parents_own_part_is_used() {
    let (store, repository) = repository();
    for branch in [branch(2, 1, Some(100)), branch(3, 2, Some(150))] {
        assert!(repository.begin_timeline(&branch).unwrap());
    }
    assert_eq!(repository.timelines().unwrap().trouble(), None);
    store.replace(&timeline_object(2), &b"junk"[..]);
    let timelines = repository.timelines().unwrap();
    assert_eq!((timelines.numbers(), timelines.newest(), timelines.next()), (vec![1, 3], 3, 4));
    assert_eq!(Lineage::of(&timelines, 3).unwrap().eras(), [era(2, 0, 150), era(3, 151, u64::MAX)]);
}

#[test]
fn a_record_that_is_not_what_its_name_says_is_damage() {
    for record in [branch(3, 1, None), branch(2, 2, None)] {
        let (_, repository) = repository();
        let json = serde_json::to_vec(&record).unwrap();
        let object = sealed::seal(&repository, ObjectKind::Timeline, timeline_object(2), &[json], None, Vec::new()).unwrap();
        object.put(&**repository.store()).unwrap();
        only_the_second_is_damaged(&repository);
    }
    let (store, repository) = repository();
    let object = sealed::seal(&repository, ObjectKind::Timeline, timeline_object(2), &[b"{}"], None, Vec::new()).unwrap();
    object.put(&store).unwrap();
    assert!(only_the_second_is_damaged(&repository).contains("not the record"));
    store.replace(&timeline_object(2), vec![0; 100_000]);
    only_the_second_is_damaged(&repository);
    store.remove(&timeline_object(2));
    store.replace("tigerbeetle/timelines/stranger", &b"x"[..]);
    assert_eq!(repository.timelines().unwrap().newest(), 1);
}

#[test]
fn gaps_read_back_and_damaged_records_are_named() {
    let (store, repository) = repository();
    let gap = |timeline, first_op| Gap { timeline, first_op, last_op: first_op + 5, noticed_ns: 9, reason: "the ring wrapped".into() };
    for (run, gap) in [(1, gap(1, 50)), (2, gap(2, 10)), (3, gap(1, 7))] {
        repository.record_gap(&gap, RunId(run)).unwrap();
    }
    assert_eq!(repository.gaps().unwrap(), (vec![gap(1, 7), gap(1, 50), gap(2, 10)], vec![]));
    let damaged = "tigerbeetle/gaps/00000001/00000000000000000050-0000000000000001";
    assert!(store.corrupt(damaged, 70, 1));
    assert_eq!(repository.gaps().unwrap(), (vec![gap(1, 7), gap(2, 10)], vec![damaged.to_owned()]));
}

#[test]
fn one_agent_holds_the_lease_until_a_higher_number_is_taken() {
    let (store, repository) = repository();
    assert_eq!(repository.lease(1).unwrap(), None);
    let mut first = repository.take_lease(1, 0, "first", "token of first").unwrap().unwrap();
    assert!(repository.take_lease(1, 0, "second", "token of second").unwrap().is_none(), "the number is taken");
    let seen = repository.lease(1).unwrap().unwrap();
    assert_eq!((seen.fence, seen.beat, seen.holder.as_str(), seen.released), (1, 0, "first", false));
    assert_eq!(seen.token, "token of first");
    assert!(first.beat().unwrap() && first.beat().unwrap());
    assert_eq!(repository.lease(1).unwrap().unwrap().beat, 2);
    assert_eq!(store.list("amber/leases/", None, 10).unwrap().len(), 1, "earlier beats are removed");
    assert!(repository.lease(2).unwrap().is_none(), "each timeline has its own");

    let second = repository.take_lease(1, seen.fence, "second", "token of second").unwrap().unwrap();
    assert_eq!(second.fence(), 2);
    assert!(!first.beat().unwrap(), "a higher number is held");
    let seen = repository.lease(1).unwrap().unwrap();
    assert_eq!((seen.fence, seen.holder.as_str()), (2, "second"));
    second.release().unwrap();
    let seen = repository.lease(1).unwrap().unwrap();
    assert!(seen.released && seen.fence == 2);
    assert!(repository.take_lease(1, seen.fence, "third", "token of third").unwrap().is_some());
}

#[test]
fn a_beat_that_cannot_be_read_still_counts() {
    let (store, repository) = repository();
    repository.take_lease(1, 6, "first", "token of first").unwrap().unwrap();
    let name = store.list("amber/leases/", None, 10).unwrap().remove(0).name;
    assert!(store.corrupt(&name, 70, 1));
    let seen = repository.lease(1).unwrap().unwrap();
    assert_eq!((seen.fence, seen.holder.as_str(), seen.released), (7, "unknown", false));
    // If a store overwrites instead of refusing, an agent that does not read its own words back
    // does not have the lease.
    let hiding = HidingStore::new(&store, "amber/leases/tigerbeetle/00000001/00000000000000000009-00000000000000000000");
    let other = open(Arc::new(hiding)).unwrap();
    assert!(other.take_lease(1, 8, "second", "token of second").unwrap().is_none());
}
