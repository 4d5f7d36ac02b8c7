//! Plain files: captured as streams of frames, restored under their names.

pub mod capture;
pub mod check;
pub mod format;
pub mod place;
pub mod request;
pub mod restore;
pub mod upload;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{BackupName, FileName, PLAIN_FILES, Promises};
use crate::repository::run_record::Work;
use crate::tier::Tier;
use crate::tier::depth::Depth;
use crate::tier::facts::{BackupDetails, BackupFacts, Column, Listing};
use crate::tier::findings::{TierFindings, VerificationReport};
use crate::tier::object_class::{ObjectClass, Role};
use crate::tier::objective::{Estimate, Objective};
use crate::tier::reference::ObjectReference;
use crate::tier::request::{AsOf, TierRestoreRequest, TierRestored};
use place::COLUMNS;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The tier of plain files.
#[derive(Debug)]
pub struct PlainFiles;

static OBJECTS: [ObjectClass; 3] = [
    ObjectClass {
        prefix: PLAIN_FILES.promises.receipts,
        name: "files",
        role: Role::Promise,
        is_ours: |name| FileName::parse_receipt(&PLAIN_FILES, name).is_some(),
    },
    ObjectClass {
        prefix: PLAIN_FILES.promises.records,
        name: "files",
        role: Role::Promise,
        is_ours: |name| FileName::parse_record(&PLAIN_FILES, name).is_some(),
    },
    ObjectClass {
        prefix: PLAIN_FILES.data,
        name: "files",
        role: Role::Data,
        is_ours: |name| FileName::parse_data(&PLAIN_FILES, name).is_some(),
    },
];

impl Tier for PlainFiles {
    fn name(&self) -> &'static str {
        PLAIN_FILES.promises.tier
    }

    fn title(&self) -> &'static str {
        "files"
    }

    fn work(&self) -> Work {
        Work::File
    }

    fn promises(&self) -> &'static Promises {
        &PLAIN_FILES.promises
    }

    fn objects(&self) -> &'static [ObjectClass] {
        &OBJECTS
    }

    fn objective(&self) -> Objective {
        Objective { recovery_time: Duration::from_secs(300), recovery_point: Duration::from_secs(86_400) }
    }

    fn retention_days(&self) -> u16 {
        0
    }

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }

    fn backups(&self, repository: &Repository) -> Result<Vec<BackupName>> {
        place::backups(repository, &PLAIN_FILES)
    }

    fn facts(&self, repository: &Repository, backup: &BackupName) -> Result<BackupFacts> {
        place::facts(repository, &PLAIN_FILES, self.work(), backup)
    }

    fn show(&self, repository: &Repository, backup: &BackupName) -> Result<BackupDetails> {
        place::show(repository, &PLAIN_FILES, self.work(), backup)
    }

    fn references(&self, repository: &Repository, backup: &BackupName, take: &mut dyn FnMut(ObjectReference) -> Result<()>) -> Result<()> {
        place::references(repository, &PLAIN_FILES, backup, take)
    }

    fn check(&self, repository: &Arc<Repository>, depth: Depth, progress: &dyn Progress, report: &mut VerificationReport) -> Result<()> {
        let found = check::check_files(repository, &PLAIN_FILES, depth, progress, report)?;
        let figures = vec![("files", json!(found.backups)), ("files_whole", json!(found.intact))];
        let rows = vec![("files", format!("{} of {} intact", found.intact, found.backups))];
        report.tiers.insert(self.name(), TierFindings { figures, rows, ..found });
        Ok(())
    }

    fn estimate(&self, repository: &Repository, as_of: AsOf, name: Option<&str>) -> Result<Estimate> {
        place::estimate(repository, &PLAIN_FILES, as_of, named(name)?)
    }

    fn restore(&self, repository: &Arc<Repository>, request: &TierRestoreRequest, progress: &dyn Progress) -> Result<TierRestored> {
        place::restore(repository, &PLAIN_FILES, request, named(request.name.as_deref())?, progress)
    }

    fn newest(&self, _repository: &Repository) -> Result<Option<BackupName>> {
        // Which of the files is meant, nobody can tell.
        Ok(None)
    }

    fn list(&self, repository: &Repository) -> Result<Listing> {
        let mut listing = crate::tier::list_backups(self, repository)?;
        listing.json.iter_mut().for_each(|(member, _)| *member = "files");
        Ok(listing)
    }
}

fn named(name: Option<&str>) -> Result<&str> {
    name.ok_or_else(|| Error::input("which file? Give its name, as `amber list` prints it"))
}
