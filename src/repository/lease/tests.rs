use super::*;
use crate::repository::tests::repository;

/// The beats that are stored, as fencing number and beat.
fn beats(repository: &Repository, timeline: u32) -> Vec<(u64, u64)> {
    repository.beats(timeline).unwrap().iter().map(|name| (name.fence, name.beat)).collect()
}

#[test]
fn each_number_is_taken_once_and_each_beat_replaces_the_one_before() {
    let (_, repository) = repository();
    assert_eq!(repository.lease(1).unwrap(), None);
    let mut first = repository.take_lease(1, 0, "a", "token").unwrap().unwrap();
    let seen = Seen { fence: 1, beat: 0, holder: "a".into(), token: "token".into(), released: false };
    assert_eq!((first.fence(), repository.lease(1).unwrap()), (1, Some(seen.clone())));
    assert!(repository.take_lease(1, 0, "b", "other").unwrap().is_none(), "the first number is gone");
    assert_eq!(repository.lease(1).unwrap(), Some(seen.clone()), "who was too late has changed nothing");
    assert_eq!(repository.lease(2).unwrap(), None, "each timeline has a lease of its own");
    for beat in 1..=2 {
        assert!(first.beat().unwrap());
        assert_eq!(beats(&repository, 1), [(1, beat)]);
    }
    first.release().unwrap();
    assert_eq!(repository.lease(1).unwrap(), Some(Seen { beat: 3, released: true, ..seen }));
    assert_eq!(beats(&repository, 1), [(1, 3)]);
}

#[test]
fn a_higher_number_ends_a_lease_and_a_lower_one_does_not() {
    let (_, repository) = repository();
    let mut first = repository.take_lease(1, 0, "a", "a").unwrap().unwrap();
    let mut other = repository.take_lease(2, 7, "b", "b").unwrap().unwrap();
    assert!(first.beat().unwrap() && other.beat().unwrap(), "the higher number is of another timeline");
    let mut second = repository.take_lease(1, 1, "b", "b").unwrap().unwrap();
    assert_eq!((second.fence(), beats(&repository, 1)), (2, vec![(2, 0)]), "the beats before its own are gone");
    assert!(!first.beat().unwrap(), "one number higher is enough");
    assert_eq!(beats(&repository, 1), [(2, 0)], "and nothing more is written");
    // A beat that was on its way when the lease was lost.
    first.step(false).unwrap();
    assert!(second.beat().unwrap());
    assert_eq!(repository.lease(1).unwrap().map(|seen| (seen.fence, seen.beat)), Some((2, 1)));
    assert_eq!(beats(&repository, 2), [(8, 1)]);
}

#[test]
fn a_number_counts_although_its_beat_does_not_open() {
    let (store, repository) = repository();
    let lease = repository.take_lease(1, 0, "a", "a").unwrap().unwrap();
    assert!(store.corrupt(&lease.name(0).object(), 40, 1));
    let seen = repository.lease(1).unwrap().unwrap();
    assert_eq!((seen.fence, seen.beat, seen.token.as_str(), seen.released), (1, 0, "", false));
    assert!(repository.take_lease(1, 1, "b", "b").unwrap().is_some());
}

#[test]
fn where_a_store_overwrites_who_reads_back_a_stranger_has_not_taken_it() {
    let (store, repository) = repository();
    repository.take_lease(1, 0, "a", "a").unwrap().unwrap();
    let name = LeaseName { timeline: 1, fence: 1, beat: 0 }.object();
    let theirs = store.remove(&name).unwrap();
    let hooked = crate::repository::sample::HookedStore::new(&store);
    let late = crate::repository::sample::open(Arc::new(hooked.clone())).unwrap();
    hooked.before_reads(move |read, _| {
        if read == name {
            store.replace(read, theirs.clone());
        }
        true
    });
    assert!(late.take_lease(1, 0, "b", "b").unwrap().is_none());
    assert_eq!(repository.lease(1).unwrap().unwrap().token, "a");
}
