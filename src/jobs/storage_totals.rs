//! How much the repository holds, by kind, and how long a restore from it would take.
//!
//! Both are estimates for people. Objects of each kind are counted from listings, page by page, so
//! that memory use does not grow with the number of objects. The time of a restore to the newest op
//! is the sum of two: fetching and writing the checkpoint at [`RESTORE_BYTES_PER_S`], and replaying
//! the log after it at `replay_ops_per_s` of the configuration. `amber restore --dry-run` reads
//! every segment, so its estimate is better.

use crate::error::{Kind, Result};
use crate::monitor::status::StorageStatus;
use crate::repository::Repository;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use crate::tier::tigerbeetle::restore::image::stored_bytes;
use crate::tier::{classes, top_prefixes};
use std::collections::BTreeMap;

/// The rate at which a store is expected to deliver and a disk to write; `amber restore --dry-run`
/// expects the same.
pub const RESTORE_BYTES_PER_S: u64 = 100_000_000;
/// Names in one listing request.
const LIST_PAGE: usize = 1000;

/// Objects and bytes of every kind of which there are objects.
///
/// # Errors
/// When the store cannot be read.
pub fn storage(repository: &Repository) -> Result<Vec<StorageStatus>> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for prefix in top_prefixes() {
        let mut after: Option<String> = None;
        loop {
            let page = repository.list_page(&prefix, after.as_deref(), LIST_PAGE)?;
            for listed in &page {
                let class = classes().find(|class| listed.name.starts_with(class.prefix)).map_or("other", |class| class.name);
                let sum = sums.entry(class).or_default();
                *sum = (sum.0 + 1, sum.1.saturating_add(listed.size_bytes));
            }
            match page.last() {
                Some(last) if page.len() == LIST_PAGE => after = Some(last.name.clone()),
                _ => break,
            }
        }
    }
    Ok(sums.into_iter().map(|(class, (objects, bytes))| StorageStatus { class: class.to_owned(), objects, bytes }).collect())
}

/// Stored bytes that a restore of the newest checkpoint of a timeline's history fetches; `None`
/// where there is none that can be opened.
///
/// # Errors
/// When the store cannot be read.
pub fn checkpoint_bytes(repository: &Repository, timeline: u32) -> Result<Option<u64>> {
    let read = || -> Result<Option<u64>> {
        let lineage = Lineage::of(&repository.timelines()?, timeline)?;
        let Some((name, _)) = repository.newest_checkpoint_of(&lineage)?.best else { return Ok(None) };
        Ok(Some(stored_bytes(&Manifest::read(repository, &name, None)?)))
    };
    match read() {
        Err(error) if error.kind == Kind::Damaged => Ok(None),
        bytes => bytes,
    }
}

/// Seconds that a restore is expected to take.
pub fn restore_seconds(checkpoint_bytes: u64, replay_ops: u64, replay_ops_per_s: u64) -> u64 {
    (checkpoint_bytes / RESTORE_BYTES_PER_S).saturating_add(replay_ops / replay_ops_per_s.max(1)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::name;
    use crate::repository::sample::create;
    use crate::store::memory::MemoryStore;
    use crate::tb_format::sample::SampleFile;
    use crate::tier::sample::{LOG_OPS, backup, folder};

    #[test]
    fn kinds_are_counted_and_a_checkpoint_is_weighed() {
        let store = MemoryStore::new();
        let repository = create(&store).unwrap();
        assert_eq!(checkpoint_bytes(&repository, 1).unwrap(), None);
        let folder = tempfile::tempdir_in(folder()).unwrap();
        backup(&repository, &SampleFile::new(7, LOG_OPS), &folder.path().join("d")).unwrap();
        let storage = storage(&repository).unwrap();
        let kinds: Vec<(&str, u64)> = storage.iter().map(|kind| (kind.class.as_str(), kind.objects)).collect();
        assert_eq!(kinds, [("checkpoints", 3), ("log", 1), ("other", 3)]);
        let size = |name: &str| store.bytes(name).unwrap().len() as u64;
        let all: u64 = store.names().iter().map(|name| size(name)).sum();
        assert_eq!(storage.iter().map(|kind| kind.bytes).sum::<u64>(), all);
        let pack = store.names().into_iter().find(|name| name.starts_with(name::PACKS)).unwrap();
        assert_eq!(checkpoint_bytes(&repository, 1).unwrap(), Some(size(&pack)));
        assert_eq!(restore_seconds(5 * RESTORE_BYTES_PER_S, 2400, 240), 16);
        assert_eq!(restore_seconds(0, 10, 0), 11);
        let manifest = store.names().into_iter().find(|name| name.starts_with(name::CHECKPOINTS)).unwrap();
        store.corrupt(&manifest, 200, 1);
        assert_eq!(checkpoint_bytes(&repository, 1).unwrap(), None);
    }
}
