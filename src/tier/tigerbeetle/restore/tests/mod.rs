//! Restores of real backups: exactly the same image, the right op, and nothing under the target's
//! name when the restore fails.

mod bulk;
mod delta;
mod faults;
mod point;

use super::RestoreRequest;
use super::Restored;
use super::restore;
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::repository::Repository;
use crate::repository::name::{CheckpointName, RunId};
use crate::repository::sample::create;
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{backup, first_difference, folder};
use crate::tier::tigerbeetle::capture::Backup;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::role::Role;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A repository, and a folder for data files and images.
pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) repository: Arc<Repository>,
    source: TempDir,
    folder: TempDir,
}

impl Fixture {
    pub(crate) fn empty() -> Fixture {
        let store = MemoryStore::new();
        let repository = create(&store).unwrap();
        let new_folder = || tempfile::tempdir_in(folder()).unwrap();
        Fixture { store, repository, source: new_folder(), folder: new_folder() }
    }

    pub(crate) fn of(sample: &SampleFile) -> Fixture {
        let fixture = Fixture::empty();
        fixture.backup(sample);
        fixture
    }

    pub(crate) fn backup(&self, sample: &SampleFile) -> Backup {
        backup(&self.repository, sample, &self.source.path().join("data")).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn request(&self, point: Point, role: Role) -> RestoreRequest {
        RestoreRequest {
            point,
            outputs: vec![(self.path("image"), role)],
            overwrite: true,
            binaries: Vec::new(),
            timeline: None,
            base: None,
            fresh: false,
        }
    }

    pub(crate) fn restore(&self, point: Point) -> Result<Restored> {
        restore(&self.repository, &self.request(point, Role::Same), &Silent)
    }

    /// The restore must fail and leave nothing.
    pub(crate) fn refused(&self, point: Point) -> Error {
        let error = self.restore(point).unwrap_err();
        assert_eq!(self.files(), [""; 0]);
        error
    }

    pub(crate) fn assert_image(&self, expected: &SampleFile) {
        assert_eq!(first_difference(&self.path("image"), expected).unwrap(), None);
    }

    /// Replaces the manifest of `backup` by one that differs as `change` says. No writer of Amber
    /// would write it.
    pub(crate) fn replace_manifest(&self, backup: &Backup, change: impl FnOnce(&mut Manifest)) {
        let mut manifest = Manifest::read(&self.repository, &backup.name, None).unwrap();
        change(&mut manifest);
        let name = CheckpointName { run: RunId(backup.name.run.0 + 1), ..backup.name };
        self.repository.promise(&name, &manifest).unwrap();
        for name in [backup.name.object(), backup.name.receipt()] {
            self.store.remove(&name).unwrap();
        }
    }
}
