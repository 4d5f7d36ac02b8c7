//! Complete backups of synthetic data files: what they store, what they refuse, and what they leave
//! behind when something fails.

mod backup;
mod faults;
mod log_capture;
mod refused;

use super::Backup;
use crate::error::Result;
use crate::progress::Silent;
use crate::repository::Repository;
use crate::repository::sample::create;
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of};
use crate::tier::depth::Depth;
use crate::tier::sample::{backup, edited, first_difference, folder};
use crate::tier::tigerbeetle::capture::log_capture::{Captured, CapturedLog};
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use crate::verify::verify;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) repository: Arc<Repository>,
    folder: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let store = MemoryStore::new();
        Fixture { repository: create(&store).unwrap(), store, folder: tempfile::tempdir_in(folder()).unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn try_backup(&self, sample: &SampleFile) -> Result<Backup> {
        backup(&self.repository, sample, &self.path())
    }

    pub(crate) fn backup(&self, sample: &SampleFile) -> Backup {
        self.try_backup(sample).unwrap()
    }

    /// The names under a prefix.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.store.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
    }

    /// Asserts that everything is intact and that the newest backup restores to exactly this file.
    pub(crate) fn assert_restores(&self, expected: &SampleFile) {
        let report = verify(&self.repository, Depth::Full, &Silent).unwrap();
        assert_eq!(report.problems, []);
        self.assert_newest(expected);
    }

    /// Asserts that this is the newest backup and that it restores to exactly this file, although
    /// older ones may be damaged.
    pub(crate) fn assert_newest_is(&self, backup: &Backup, expected: &SampleFile) {
        let op = Point::Op(backup.summary.recovered_to_op);
        let image = self.folder.path().join("image");
        let request = RestoreRequest {
            point: op,
            outputs: vec![(image.clone(), Role::Same)],
            overwrite: true,
            binaries: Vec::new(),
            timeline: None,
            base: None,
            fresh: false,
        };
        assert_eq!(restore(&self.repository, &request, &Silent).unwrap().name, backup.name);
        assert_eq!(first_difference(&image, expected).unwrap(), None);
    }

    fn assert_newest(&self, expected: &SampleFile) {
        let image = self.folder.path().join("image");
        let request = RestoreRequest {
            point: Point::Newest,
            outputs: vec![(image.clone(), Role::Same)],
            overwrite: true,
            binaries: Vec::new(),
            timeline: None,
            base: None,
            fresh: false,
        };
        restore(&self.repository, &request, &Silent).unwrap();
        assert_eq!(first_difference(&image, expected).unwrap(), None);
    }
}

/// Adds a prepare to a sample's log.
pub(crate) fn push(sample: &mut SampleFile, view: u32, commit: u64, body: &[u8]) {
    let last = headers_of(&sample.log).pop().unwrap_or(sample.checkpoint().header());
    sample.log.push(PrepareSample { view, commit, body: body.to_vec(), ..PrepareSample::after(&last) }.bytes());
}

/// A superblock in view `view`, which began with the prepare of the log at op `head`.
pub(crate) fn in_view(sample: &SampleFile, view: u32, head: u64) -> SampleFile {
    let head = headers_of(&sample.log).into_iter().find(|header| header.op() == head).unwrap();
    edited(sample, |bytes| {
        bytes[40..48].copy_from_slice(&(u64::from(view) + 1).to_le_bytes());
        bytes[1356..1360].copy_from_slice(&view.to_le_bytes());
        bytes[1360..1364].copy_from_slice(&view.to_le_bytes());
        bytes[4096..4096 + 256].copy_from_slice(head.bytes());
    })
}

/// The captured log, which must be complete.
pub(crate) fn complete(captured: CapturedLog) -> Captured {
    match captured {
        CapturedLog::Complete(captured) => captured,
        CapturedLog::Unusable(reason) => panic!("{reason}"),
    }
}
