//! Copies of the catalog of what ran. The catalog can be made again from the repository, so a copy
//! only saves time. But it keeps what the catalog held of records that have since been removed.
//!
//! A copy is stored as a plain file is, in a place of its own. The job that makes it is
//! `jobs::catalog`.

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{BackupName, CATALOG_FILES, FileName, Promises};
use crate::repository::run_record::Work;
use crate::tier::Tier;
use crate::tier::depth::Depth;
use crate::tier::facts::{BackupDetails, BackupFacts, Column};
use crate::tier::file::place::{self, COLUMNS};
use crate::tier::findings::VerificationReport;
use crate::tier::object_class::{ObjectClass, Role};
use crate::tier::objective::{Estimate, Objective};
use crate::tier::reference::ObjectReference;
use crate::tier::request::{AsOf, TierRestoreRequest, TierRestored};
use std::sync::Arc;
use std::time::Duration;

/// What a copy is called.
pub const NAME: &str = "catalog";

/// The tier of copies of the catalog.
#[derive(Debug)]
pub struct CatalogCopies;

static OBJECTS: [ObjectClass; 3] = [
    ObjectClass {
        prefix: CATALOG_FILES.promises.receipts,
        name: "catalog",
        role: Role::Promise,
        is_ours: |name| FileName::parse_receipt(&CATALOG_FILES, name).is_some(),
    },
    ObjectClass {
        prefix: CATALOG_FILES.promises.records,
        name: "catalog",
        role: Role::Promise,
        is_ours: |name| FileName::parse_record(&CATALOG_FILES, name).is_some(),
    },
    ObjectClass {
        prefix: CATALOG_FILES.data,
        name: "catalog",
        role: Role::Data,
        is_ours: |name| FileName::parse_data(&CATALOG_FILES, name).is_some(),
    },
];

impl Tier for CatalogCopies {
    fn name(&self) -> &'static str {
        CATALOG_FILES.promises.tier
    }

    fn title(&self) -> &'static str {
        "copies of the catalog"
    }

    fn work(&self) -> Work {
        Work::Catalog
    }

    fn promises(&self) -> &'static Promises {
        &CATALOG_FILES.promises
    }

    fn objects(&self) -> &'static [ObjectClass] {
        &OBJECTS
    }

    fn objective(&self) -> Objective {
        Objective { recovery_time: Duration::from_secs(300), recovery_point: Duration::from_secs(86_400) }
    }

    fn retention_days(&self) -> u16 {
        365
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn backups(&self, repository: &Repository) -> Result<Vec<BackupName>> {
        place::backups(repository, &CATALOG_FILES)
    }

    fn facts(&self, repository: &Repository, backup: &BackupName) -> Result<BackupFacts> {
        place::facts(repository, &CATALOG_FILES, self.work(), backup)
    }

    fn show(&self, repository: &Repository, backup: &BackupName) -> Result<BackupDetails> {
        place::show(repository, &CATALOG_FILES, self.work(), backup)
    }

    fn references(&self, repository: &Repository, backup: &BackupName, take: &mut dyn FnMut(ObjectReference) -> Result<()>) -> Result<()> {
        place::references(repository, &CATALOG_FILES, backup, take)
    }

    fn check(&self, repository: &Arc<Repository>, depth: Depth, progress: &dyn Progress, report: &mut VerificationReport) -> Result<()> {
        let found = crate::tier::file::check::check_files(repository, &CATALOG_FILES, depth, progress, report)?;
        report.tiers.insert(self.name(), found);
        Ok(())
    }

    fn estimate(&self, repository: &Repository, as_of: AsOf, _name: Option<&str>) -> Result<Estimate> {
        place::estimate(repository, &CATALOG_FILES, as_of, NAME)
    }

    fn restore(&self, repository: &Arc<Repository>, request: &TierRestoreRequest, progress: &dyn Progress) -> Result<TierRestored> {
        place::restore(repository, &CATALOG_FILES, request, NAME, progress)
    }
}
