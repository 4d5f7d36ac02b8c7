use super::Fixture;
use crate::error::{Error, Kind, Result};
use crate::progress::Silent;
use crate::repository::Repository;
use crate::repository::key::{self, Secret};
use crate::repository::name::{CHECKPOINTS, CLUSTER, HEADER, KEYS, PACKS, RECEIPTS, SEGMENTS};
use crate::repository::sample::{HookedStore, open, options, secret};
use crate::store::Store;
use crate::tier::depth::Depth;
use crate::tier::findings::VerificationReport;
use crate::tier::sample::first_difference;
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::Restored;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use crate::verify::verify;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

impl Fixture {
    fn open(&self) -> Result<Arc<Repository>> {
        open(Arc::new(self.store.clone()))
    }

    pub(crate) fn verify(&self) -> Result<VerificationReport> {
        self.open().and_then(|repository| verify(&repository, Depth::Digests, &Silent))
    }

    fn restore(&self) -> Result<Restored> {
        let request = RestoreRequest {
            point: Point::Newest,
            outputs: vec![(self.path("restored"), Role::Same)],
            overwrite: true,
            binaries: Vec::new(),
            timeline: None,
            base: None,
            fresh: false,
        };
        self.open().and_then(|repository| restore(&repository, &request, &Silent))
    }

    /// What must be true of the repository whatever was done to `objects`.
    pub(crate) fn assert_detected(&self, objects: &[&str], what: &str) {
        match self.verify() {
            Ok(report) => {
                let named = |object: &str| report.problems.iter().any(|problem| problem.object == object || problem.what.contains(object));
                assert!(objects.iter().any(|object| named(object)), "{what}: {:?}", report.problems);
            }
            Err(error) => assert_closed(&error, objects, what),
        }
    }

    /// A restore fails and leaves nothing, or it gives exactly the same image and names the object
    /// that it did not need.
    fn assert_restore_is_honest(&self, objects: &[&str], what: &str) {
        match self.restore() {
            Ok(restored) => {
                assert!(objects.iter().all(|object| *object == CLUSTER || object.starts_with(RECEIPTS)), "{what}");
                assert!(
                    objects.iter().any(|object| restored.notes.iter().any(|note| note.contains(object))),
                    "{what}: {:?}",
                    restored.notes
                );
                assert_eq!(first_difference(&self.path("restored"), &self.sample).unwrap(), None, "{what}");
                std::fs::remove_file(self.path("restored")).unwrap();
            }
            Err(error) if error.kind == Kind::Damaged => {}
            Err(error) => assert_closed(&error, objects, what),
        }
        let left: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["data"], "{what}");
    }
}

/// If the repository does not open, the damage is in the header or a key object. The error is then
/// damage, or that the secret opens nothing.
fn assert_closed(error: &Error, objects: &[&str], what: &str) {
    let bound_to_the_secret = objects.iter().any(|object| *object == HEADER || object.starts_with(KEYS));
    assert!(bound_to_the_secret, "{what}: {error}");
    assert!(
        error.kind == Kind::Damaged || (error.kind == Kind::Input && error.message.contains("none of its 1 keys opens")),
        "{what}: {error}"
    );
}

fn needed_by_a_restore(object: &str) -> bool {
    [CHECKPOINTS, PACKS, SEGMENTS].iter().any(|prefix| object.starts_with(prefix))
}

#[test]
fn a_whole_repository_has_no_problems_and_restores() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.names().len(), 7, "header, key, receipt, cluster, manifest, pack, segment");
    let report = fixture.verify().unwrap();
    assert_eq!((report.problems.as_slice(), report.notes.as_slice()), (&[][..], &[][..]));
    assert_eq!((report.backups(), report.backups_intact(), report.objects), (1, 1, 7));
    let restored = fixture.restore().unwrap();
    assert_eq!(restored.notes, [""; 0]);
    assert_eq!(first_difference(&fixture.path("restored"), &fixture.sample).unwrap(), None);
}

#[test]
fn every_flipped_byte_is_detected() {
    let fixture = Fixture::new();
    let mut positions = 0;
    for object in fixture.store.names() {
        let size = fixture.store.bytes(&object).unwrap().len();
        assert!(size < 32 * 1024, "{object} has {size} bytes: too many to try each of them");
        for offset in 0..size {
            let (mask, what) = (1 << (offset % 8), format!("{object}, byte {offset} of {size}"));
            assert!(fixture.store.corrupt(&object, offset, mask));
            fixture.assert_detected(&[&object], &what);
            // A restore succeeds without what it does not need, which takes a while: not for every
            // byte.
            if needed_by_a_restore(&object) || offset % 128 == 0 {
                fixture.assert_restore_is_honest(&[&object], &what);
            }
            assert!(fixture.store.corrupt(&object, offset, mask));
            positions += 1;
        }
    }
    assert!(positions > 4000, "{positions}");
    assert_eq!(fixture.verify().unwrap().problems, []);
}

#[test]
fn every_cut_object_is_detected() {
    let fixture = Fixture::new();
    for object in fixture.store.names() {
        let whole = fixture.store.bytes(&object).unwrap();
        let lengths = (0..whole.len()).filter(|length| *length < 100 || *length + 100 > whole.len() || length % 50 == 0);
        for (number, length) in lengths.enumerate() {
            fixture.store.replace(&object, whole.slice(..length));
            let what = format!("{object}, cut to {length} of {}", whole.len());
            fixture.assert_detected(&[&object], &what);
            if needed_by_a_restore(&object) || number % 32 == 0 {
                fixture.assert_restore_is_honest(&[&object], &what);
            }
        }
        fixture.store.replace(&object, [&whole[..], &[0]].concat());
        fixture.assert_detected(&[&object], &format!("{object}, one byte longer"));
        fixture.store.replace(&object, whole);
    }
    assert_eq!(fixture.verify().unwrap().problems, []);
}

#[test]
fn every_missing_object_is_detected() {
    let fixture = Fixture::new();
    for object in fixture.store.names() {
        let whole = fixture.store.remove(&object).unwrap();
        fixture.assert_detected_or_lost(&object);
        fixture.store.replace(&object, whole);
    }
    assert_eq!(fixture.verify().unwrap().problems, []);
}

impl Fixture {
    fn assert_detected_or_lost(&self, object: &str) {
        let what = format!("{object}, removed");
        match self.verify() {
            Err(error) => assert_eq!(error.kind, Kind::Damaged, "{what}: {error}"),
            Ok(_) => self.assert_detected(&[object], &what),
        }
        match self.restore() {
            Err(error) => assert_eq!(error.kind, Kind::Damaged, "{what}: {error}"),
            Ok(restored) => {
                assert!(object == CLUSTER || object.starts_with(RECEIPTS), "{what}");
                assert_eq!(restored.notes.len(), 1, "{what}");
            }
        }
    }
}

#[test]
fn every_pair_of_swapped_objects_is_detected() {
    let fixture = Fixture::new();
    let names = fixture.store.names();
    for (position, left) in names.iter().enumerate() {
        for right in &names[position + 1..] {
            let swap = || {
                let (first, second) = (fixture.store.bytes(left).unwrap(), fixture.store.bytes(right).unwrap());
                fixture.store.replace(left, second);
                fixture.store.replace(right, first);
            };
            swap();
            let what = format!("{left} swapped with {right}");
            fixture.assert_detected(&[left, right], &what);
            fixture.assert_restore_is_honest(&[left, right], &what);
            swap();
        }
    }
    assert_eq!(fixture.verify().unwrap().problems, []);
}

/// A name of the same kind that the object does not have.
pub(crate) fn sibling(object: &str) -> String {
    let last = object.chars().last().unwrap();
    format!("{}{}", &object[..object.len() - 1], if last == '1' { '2' } else { '1' })
}

#[test]
fn every_renamed_object_is_detected() {
    let fixture = Fixture::new();
    for object in fixture.store.names().into_iter().filter(|name| name != HEADER && name != CLUSTER) {
        let other = sibling(&object);
        assert!(fixture.store.rename(&object, &other));
        let what = format!("{object} renamed to {other}");
        fixture.assert_detected(&[&object, &other], &what);
        fixture.assert_restore_is_honest(&[&object, &other], &what);
        assert!(fixture.store.rename(&other, &object));
    }
    assert_eq!(fixture.verify().unwrap().problems, []);
}

#[test]
fn another_backups_object_under_this_name_is_detected() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    for prefix in [HEADER, KEYS, RECEIPTS, CLUSTER, CHECKPOINTS, PACKS, SEGMENTS] {
        let object = fixture.object(prefix);
        let whole = fixture.store.bytes(&object).unwrap();
        fixture.store.replace(&object, other.store.bytes(&other.object(prefix)).unwrap());
        fixture.assert_detected(&[&object], &format!("{object} of another repository"));
        fixture.assert_restore_is_honest(&[&object], &format!("{object} of another repository"));
        fixture.store.replace(&object, whole);
    }
}

#[test]
fn a_wrong_secret_opens_nothing() {
    let fixture = Fixture::new();
    let store: Arc<dyn Store> = Arc::new(fixture.store.clone());
    for (wrong, hint) in [
        (Secret::KeyFile(Zeroizing::new(vec![8; 32])), "wrong passphrase or key file"),
        (Secret::Passphrase(Zeroizing::new(b"passphrase".to_vec())), "opened another way"),
    ] {
        let error = Repository::open(Arc::clone(&store), &wrong, options()).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        assert!(error.message.contains(hint), "{error}");
    }
    // A second key object that another secret opens does not keep the first from opening, and the
    // other way round.
    let header = fixture.repository.header();
    let name = format!("{KEYS}0000000000000000");
    let stranger =
        key::RepositoryKey::generate().unwrap().wrap(&Secret::KeyFile(Zeroizing::new(vec![9; 32])), &header.repository_id, &name).unwrap();
    fixture.store.replace(&name, stranger);
    assert!(Repository::open(store, &secret(), options()).is_ok());
}

/// One of every five reads of an object returns another byte at this tenth of it.
fn changing_on_the_way(fixture: &Fixture, tenth: usize) -> HookedStore {
    let (store, hooked) = (fixture.store.clone(), HookedStore::new(&fixture.store));
    let whole: BTreeMap<String, _> = store.names().into_iter().map(|name| (name.clone(), store.bytes(&name).unwrap())).collect();
    let mut reads: BTreeMap<String, u32> = BTreeMap::new();
    hooked.before_reads(move |name, length| {
        if let Some(bytes) = whole.get(name).filter(|_| length > 0) {
            let reads = reads.entry(name.to_owned()).or_default();
            let mut arrives = bytes.to_vec();
            if reads.is_multiple_of(5) {
                arrives[bytes.len() * tenth / 10] ^= 8;
            }
            *reads += 1;
            store.replace(name, arrives);
        }
        true
    });
    hooked
}

#[test]
fn what_is_changed_on_the_way_is_no_damage() {
    let fixture = Fixture::new();
    for tenth in 0..10 {
        let repository = open(Arc::new(changing_on_the_way(&fixture, tenth))).unwrap();
        for full in [false, true] {
            let report = verify(&repository, depth_of(full), &Silent).unwrap();
            assert_eq!((report.problems.as_slice(), report.backups_intact()), (&[][..], 1), "tenth {tenth}, full: {full}");
        }
    }
}

fn depth_of(full: bool) -> Depth {
    if full { Depth::Full } else { Depth::Digests }
}
