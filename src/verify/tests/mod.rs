//! Whether damage of any kind is found. The property tests damage every byte of a small repository.

pub(crate) mod damage;
mod report;

use crate::repository::Repository;
use crate::repository::sample::create;
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{LOG_OPS, backup, folder};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A repository with one backup.
pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) repository: Arc<Repository>,
    pub(super) sample: SampleFile,
    folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let store = MemoryStore::new();
        let (repository, sample) = (create(&store).unwrap(), SampleFile::new(7, LOG_OPS));
        let fixture = Fixture { store, repository, sample, folder: tempfile::tempdir_in(folder()).unwrap() };
        backup(&fixture.repository, &fixture.sample, &fixture.path("data")).unwrap();
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The one object under a prefix.
    pub(crate) fn object(&self, prefix: &str) -> String {
        let names = self.store.names();
        let mut under = names.iter().filter(|name| name.starts_with(prefix));
        let only = under.next().unwrap().clone();
        assert_eq!(under.next(), None, "{prefix}");
        only
    }
}
