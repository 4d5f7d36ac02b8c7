//! Which objects a verification found damaged, so that the next backup stores their content again
//! instead of building on it.
//!
//! An object keeps its name and its size when bytes in it change, so a listing does not show it.
//! Whoever reads everything writes down what did not open, and whoever decides what is stored
//! already leaves that out. Records are never removed: an object that is named by mistake is at
//! worst stored twice.

use super::frame::ObjectKind;
use super::name::DAMAGED;
use super::{Repository, record};
use crate::error::{Kind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Names in one record; more need another.
const NAMES_MAX: usize = 10_000;

/// What a verification found.
#[derive(Debug, Serialize, Deserialize)]
struct Damage {
    /// When, by the writer's clock.
    found_ns: u64,
    /// The names of the objects.
    objects: Vec<String>,
}

impl Repository {
    /// Records objects that were found damaged, except those that are recorded already.
    ///
    /// # Errors
    /// Those of the store.
    pub fn record_damage<'name>(&self, objects: impl IntoIterator<Item = &'name str>) -> Result<()> {
        let found: BTreeSet<&str> = objects.into_iter().collect();
        if found.is_empty() {
            return Ok(());
        }
        let known = self.known_damage()?;
        let new: Vec<&str> = found.into_iter().filter(|object| !known.contains(*object)).collect();
        for objects in new.chunks(NAMES_MAX) {
            let damage = Damage { found_ns: self.clock().now_ns(), objects: objects.iter().map(|&object| object.to_owned()).collect() };
            record::write(self, ObjectKind::Record, format!("{DAMAGED}{}", self.new_run()?), &damage)?;
        }
        Ok(())
    }

    /// The objects that verifications found damaged. A record that is damaged itself does not
    /// count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn known_damage(&self) -> Result<BTreeSet<String>> {
        let mut known = BTreeSet::new();
        for listed in self.list_all(DAMAGED)? {
            match record::read::<Damage>(self, ObjectKind::Record, &listed.name) {
                Ok(damage) => known.extend(damage.objects),
                Err(error) if error.kind == Kind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::digest::digest_of;
    use crate::repository::sample::{create, open};
    use crate::store::Store;
    use crate::store::memory::MemoryStore;
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn what_was_found_damaged_is_known_once() {
        let store = MemoryStore::new();
        create(&store).unwrap();
        let repository = open(Arc::new(store.clone())).unwrap();
        repository.record_damage([]).unwrap();
        assert_eq!(store.list(DAMAGED, None, 9).unwrap(), []);
        repository.record_damage(["b", "a", "b"]).unwrap();
        repository.record_damage(["a"]).unwrap();
        assert_eq!(store.list(DAMAGED, None, 9).unwrap().len(), 1, "nothing new is not recorded again");
        repository.record_damage(["a", "c"]).unwrap();
        store.put(&format!("{DAMAGED}junk"), &[Bytes::from_static(b"junk")], &digest_of(b"junk")).unwrap();
        assert_eq!(repository.known_damage().unwrap().into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
