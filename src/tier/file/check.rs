//! Checks plain files: every record must open, and its object must be the one that the record
//! promises.

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{FILES, FileName};
use crate::tier::findings::VerificationReport;
use crate::tier::object_check::{ObjectCheck, check_all};
use std::collections::BTreeSet;

/// Checks all files. With `full`, every frame of them is checked.
///
/// # Errors
/// When the store cannot be read.
pub fn check_files(repository: &Repository, full: bool, progress: &dyn Progress, report: &mut VerificationReport) -> Result<()> {
    let names = repository.files(None)?;
    let mut jobs = Vec::new();
    let mut stored_bytes = 0;
    for name in &names {
        report.objects += 1;
        if let Some(record) = report.judge(&name.record(), repository.file_record(name))? {
            stored_bytes += record.stored_bytes;
            jobs.push(ObjectCheck::File(name.clone(), record));
        }
    }
    report.files = names.len() as u64;
    if jobs.is_empty() {
        return Ok(());
    }
    progress.begin("verify files", Some(stored_bytes));
    for outcome in check_all(repository, &jobs, full, progress) {
        report.objects += 1;
        report.bytes_read += outcome.bytes_read;
        report.files_whole += u64::from(report.judge(&outcome.name, outcome.result)?.is_some());
    }
    progress.end();
    Ok(())
}

/// The number of file objects that no record promises, and their stored bytes.
///
/// # Errors
/// When the store cannot be read.
pub fn leftovers(repository: &Repository) -> Result<(u64, u64)> {
    let listed = repository.list_all(FILES)?;
    // The records are listed after the objects. Otherwise an object whose record is written
    // meanwhile would be taken for a leftover.
    let promised: BTreeSet<String> = repository.files(None)?.iter().map(FileName::data).collect();
    let unpromised = listed.iter().filter(|object| FileName::parse_data(&object.name).is_some() && !promised.contains(&object.name));
    Ok(unpromised.fold((0, 0), |(count, bytes), object| (count + 1, bytes + object.size_bytes)))
}
