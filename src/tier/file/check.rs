//! Checks plain files: every record must be the one of its receipt, and its object the one that the
//! record promises.

use super::format::{FileReader, FileRecord};
use crate::error::Result;
use crate::limits::governor::Priority;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{FileName, FilePlace};
use crate::tier::depth::Depth;
use crate::tier::findings::{TierFindings, VerificationReport};
use crate::tier::object_check::{Expected, ObjectCheck, check_all};
use crate::tier::promises::check_promises;
use crate::tier::reference::PromisedBytes;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A stored file.
struct StoredFile(FileName, FileRecord);

/// What a record promises of the object that holds the file.
pub fn promised(record: &FileRecord) -> PromisedBytes {
    PromisedBytes { size_bytes: record.stored_bytes, digest: record.digest_bytes(), part_bytes: record.part_bytes }
}

impl ObjectCheck for StoredFile {
    fn name(&self) -> String {
        self.0.data()
    }

    fn expected(&self) -> Expected {
        Expected::Promised(promised(&self.1))
    }

    fn open(&self, repository: &Repository) -> Result<()> {
        let file = FileReader::open(repository, &self.0, &self.1)?;
        let fingerprinter = repository.fingerprinter()?;
        (0..file.layout.frames()).try_for_each(|number| {
            repository.admit_fetch(Priority::Bulk, file.object().stored_bytes(number, 1).unwrap_or_default());
            file.frame(number, &fingerprinter).map(drop)
        })
    }
}

/// Checks all files of a place. Returns what it found.
///
/// # Errors
/// When the store cannot be read, or the work is cancelled.
pub fn check_files(
    repository: &Arc<Repository>,
    place: &'static FilePlace,
    depth: Depth,
    progress: &dyn Progress,
    report: &mut VerificationReport,
) -> Result<TierFindings> {
    let mut files = Vec::new();
    let listed = repository.listed_files(place)?;
    let backups = check_promises(repository, &listed, progress, report, &mut |name, _, report| {
        let record = report.judge(&name.record(), repository.file_record(name))?;
        files.extend(record.map(|record| StoredFile(name.clone(), record)));
        Ok(())
    })?;
    let mut intact = 0;
    if !files.is_empty() {
        progress.begin("verify files", Some(files.iter().map(|file| file.1.stored_bytes).sum()));
        for outcome in check_all(repository, &files, depth, progress) {
            report.objects += 1;
            report.bytes_read += outcome.bytes_read;
            intact += u64::from(report.judge(&outcome.name, outcome.result)?.is_some());
        }
        progress.end();
    }
    leftovers(repository, place, report)?;
    Ok(TierFindings { backups, intact, ..TierFindings::default() })
}

/// Counts the objects that no record promises.
fn leftovers(repository: &Repository, place: &'static FilePlace, report: &mut VerificationReport) -> Result<()> {
    let listed = repository.list_all(place.data)?;
    // The records are listed after the objects. Otherwise an object whose record is written
    // meanwhile would be taken for a leftover.
    let promised: BTreeSet<String> = repository.listed_files(place)?.all().iter().map(FileName::data).collect();
    let unpromised = listed.iter().filter(|object| FileName::parse_data(place, &object.name).is_some() && !promised.contains(&object.name));
    unpromised.for_each(|object| report.leftover(object.size_bytes));
    Ok(())
}
