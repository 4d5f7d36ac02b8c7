//! Every deletion of a stored object. Each has a [`Reason`], and is refused unless the reason holds
//! for that object: a mistake elsewhere must not delete what a record promises.
//!
//! Where the store forbids deleting (Object Lock, a role without that right) objects stay, which
//! costs space and nothing else. So callers go on, whatever [`Removal`] says.

use super::Repository;
use super::name::{self, BackupName, CATALOG_FILES, FileName, LeaseName, PLAIN_FILES, PackName, Promised, RunId, SegmentName};
use crate::error::{Error, Result};
use crate::store::StoreError;

/// Why an object may go.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    /// It holds data of a run that has promised nothing: it ended early, or left this object out.
    /// The run is this process's own, or can never promise anything any more.
    Unpromised(RunId),
    /// It holds data of a backup that was never promised, of any tier: its name ends like that of
    /// the backup's record.
    NeverPromised(&'a BackupName),
    /// Another segment holds all of its prepares.
    Merged {
        /// That segment.
        into: &'a SegmentName,
    },
    /// A later beat of the same lease, or a lease with a higher number, has taken its place.
    PassedBy(&'a LeaseName),
    /// It is damaged, and its intact bytes are about to be put in its place.
    Damaged,
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// The store keeps it, for this reason.
    Kept(StoreError),
}

impl Repository {
    /// Deletes an object, if the reason holds for it.
    ///
    /// # Errors
    /// [`Error::bug`] where the reason does not hold; nothing is deleted then. [`Error::try_again`]
    /// where that cannot be found out now.
    pub fn remove(&self, object: &str, reason: Reason<'_>) -> Result<Removal> {
        if !self.holds(object, reason)? {
            return Err(Error::bug(format!("{object} was to be deleted ({reason:?}), and must not be")));
        }
        Ok(match self.store.delete(object) {
            Ok(()) => Removal::Removed,
            Err(error) => Removal::Kept(error),
        })
    }

    fn holds(&self, object: &str, reason: Reason<'_>) -> Result<bool> {
        match reason {
            Reason::Unpromised(run) => self.is_unpromised(object, run),
            Reason::NeverPromised(backup) => {
                let (record, receipt) = (backup.record_object(), backup.receipt_object());
                let is_data = object.ends_with(&backup.tail) && ![&record, &receipt].contains(&&object.to_owned());
                Ok(is_data && self.object_bytes(&record)?.is_none() && self.object_bytes(&receipt)?.is_none())
            }
            Reason::Merged { into } => {
                let Some(piece) = SegmentName::parse(object) else { return Ok(false) };
                let is_within = piece.timeline == into.timeline && piece.first_op >= into.first_op && piece.last_op <= into.last_op;
                Ok(is_within && piece != *into && piece.run.ships() && self.object_bytes(&into.object())?.is_some())
            }
            Reason::PassedBy(later) => {
                let passed = |beat: LeaseName| beat.timeline == later.timeline && (beat.fence, beat.beat) < (later.fence, later.beat);
                Ok(LeaseName::parse(object).is_some_and(passed))
            }
            // Nothing that says what belongs together is ever replaced.
            Reason::Damaged => Ok(object != name::HEADER && !object.starts_with(name::KEYS)),
        }
    }

    /// Whether an object holds data of this run, and no record promises it. Packs and segments are
    /// promised by manifests that only their own run, or a later one that found the manifest of
    /// their run, can write: so no manifest of the run is what has to be shown.
    fn is_unpromised(&self, object: &str, run: RunId) -> Result<bool> {
        for place in [&PLAIN_FILES, &CATALOG_FILES] {
            if let Some(name) = FileName::parse_data(place, object) {
                let is_promised =
                    self.object_bytes(&name.record_object())?.is_some() || self.object_bytes(&name.receipt_object())?.is_some();
                return Ok(name.run == run && !is_promised);
            }
        }
        let of_run = PackName::parse(object).map(|pack| pack.run).or(SegmentName::parse(object).map(|segment| segment.run));
        Ok(of_run == Some(run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::sample::create;
    use crate::store::Store;
    use crate::store::memory::MemoryStore;
    use bytes::Bytes;

    fn put(store: &MemoryStore, object: &str) {
        store.put(object, &[Bytes::from_static(b"x")], &crate::pipeline::digest::digest_of(b"x")).unwrap();
    }

    fn segment(first_op: u64, last_op: u64, run: u64) -> SegmentName {
        SegmentName { timeline: 1, first_op, last_op, run: RunId(run) }
    }

    #[test]
    fn a_reason_that_does_not_hold_deletes_nothing() {
        let store = MemoryStore::new();
        let repository = create(&store).unwrap();
        let file = FileName { place: &PLAIN_FILES, name: "a".into(), run: RunId(5) };
        let (merged, whole) = (segment(10, 20, RunId::SHIPS), segment(5, 30, RunId::SHIPS | 1));
        let beat = |fence, beat| LeaseName { timeline: 1, fence, beat };
        let of_backup = segment(10, 20, 7);
        for object in [&file.data(), &file.record(), &merged.object(), &of_backup.object(), &beat(2, 9).object()] {
            put(&store, object);
        }
        let (before, later) = (store.names(), beat(2, 10));
        let (same, earlier) = (beat(2, 9), beat(1, 10));
        let (too_late, too_short) = (segment(11, 30, RunId::SHIPS | 1), segment(5, 19, RunId::SHIPS | 1));
        let refused = |object: &str, reason| assert!(repository.remove(object, reason).is_err(), "{object}: {reason:?}");
        refused(&file.data(), Reason::Unpromised(RunId(5)));
        refused(&file.record(), Reason::Unpromised(RunId(5)));
        refused(&merged.object(), Reason::Merged { into: &whole });
        refused(&merged.object(), Reason::Merged { into: &merged });
        refused(&of_backup.object(), Reason::Unpromised(RunId(8)));
        refused(&beat(2, 9).object(), Reason::PassedBy(&same));
        refused(&beat(2, 9).object(), Reason::PassedBy(&earlier));
        refused(name::HEADER, Reason::Damaged);
        put(&store, &whole.object());
        refused(&of_backup.object(), Reason::Merged { into: &whole });
        refused(&merged.object(), Reason::Merged { into: &too_late });
        refused(&merged.object(), Reason::Merged { into: &too_short });
        assert_eq!(store.names().len(), before.len() + 1);

        for (object, reason) in [
            (merged.object(), Reason::Merged { into: &whole }),
            (of_backup.object(), Reason::Unpromised(RunId(7))),
            (beat(2, 9).object(), Reason::PassedBy(&later)),
        ] {
            assert_eq!(repository.remove(&object, reason), Ok(Removal::Removed), "{object}");
            assert!(!store.names().contains(&object));
        }
        repository.remove(&file.record(), Reason::Damaged).unwrap();
        assert_eq!(repository.remove(&file.data(), Reason::Unpromised(RunId(5))), Ok(Removal::Removed));
    }

    #[test]
    fn the_last_that_holds_and_the_first_that_does_not() {
        let store = MemoryStore::new();
        let repository = create(&store).unwrap();
        let holds = |object: &str, reason| {
            put(&store, object);
            let holds = repository.holds(object, reason).unwrap();
            assert_eq!(repository.remove(object, reason).is_ok(), holds, "{object}: {reason:?}");
            assert_eq!(store.names().contains(&object.to_owned()), !holds, "{object}: {reason:?}");
            holds
        };
        // A segment of which an end lies at the end of the other is within it, one op more is not.
        let into = segment(10, 20, RunId::SHIPS | 1);
        put(&store, &into.object());
        for (first_op, last_op, is_within) in [(10, 20, true), (10, 19, true), (11, 20, true), (9, 20, false), (10, 21, false)] {
            let piece = segment(first_op, last_op, RunId::SHIPS | 2);
            assert_eq!(holds(&piece.object(), Reason::Merged { into: &into }), is_within, "{first_op} to {last_op}");
        }
        let of_another = SegmentName { timeline: 2, ..segment(10, 20, RunId::SHIPS | 2) };
        assert!(!holds(&of_another.object(), Reason::Merged { into: &into }));
        assert!(!holds(&segment(10, 20, 2).object(), Reason::Merged { into: &into }), "a backup's own");
        assert!(!holds(&PackName { checkpoint_op: 0, run: RunId(5), sequence: 0 }.object(), Reason::Merged { into: &into }));

        let beat = |timeline, fence, beat| LeaseName { timeline, fence, beat };
        let later = beat(1, 3, 5);
        for (earlier, is_passed) in [
            (beat(1, 3, 4), true),
            (beat(1, 3, 6), false),
            (beat(1, 2, 9), true),
            (beat(1, 4, 0), false),
            (beat(2, 3, 4), false),
            (beat(0, 2, 4), false),
        ] {
            assert_eq!(holds(&earlier.object(), Reason::PassedBy(&later)), is_passed, "{earlier:?}");
        }
        assert!(!holds(&into.object(), Reason::PassedBy(&later)));
        assert!(!holds(&format!("{}1", name::KEYS), Reason::Damaged));
        assert!(holds(name::CLUSTER, Reason::Damaged));
    }

    #[test]
    fn what_a_record_or_a_receipt_promises_stays() {
        let store = MemoryStore::new();
        let repository = create(&store).unwrap();
        let file = FileName { place: &PLAIN_FILES, name: "a".into(), run: RunId(5) };
        let other = FileName { run: RunId(6), ..file.clone() };
        let backup = BackupName::from(&file);
        let holds = |object: &str, reason| repository.holds(object, reason).unwrap();
        for promise in [file.record(), file.receipt_object()] {
            put(&store, &promise);
            assert!(!holds(&file.data(), Reason::NeverPromised(&backup)), "{promise} is there");
            assert!(!holds(&file.data(), Reason::Unpromised(RunId(5))), "{promise} is there");
            store.remove(&promise);
        }
        assert!(holds(&file.data(), Reason::NeverPromised(&backup)) && holds(&file.data(), Reason::Unpromised(RunId(5))));
        for object in [file.record(), file.receipt_object(), other.data()] {
            assert!(!holds(&object, Reason::NeverPromised(&backup)), "{object}");
        }
        assert!(!holds(&other.data(), Reason::Unpromised(RunId(5))));
        let pack = PackName { checkpoint_op: 0, run: RunId(5), sequence: 0 }.object();
        assert!(holds(&pack, Reason::Unpromised(RunId(5))) && !holds(&pack, Reason::Unpromised(RunId(6))));
        assert!(!holds(name::HEADER, Reason::Unpromised(RunId(5))));
    }
}
