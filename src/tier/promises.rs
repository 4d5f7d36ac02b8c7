//! Checks the promises of a tier: that every record is the one of its receipt, and every receipt
//! has its record.

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::name::Promised;
use crate::repository::object_reader::digest_stored;
use crate::repository::promise::Receipt;
use crate::repository::{Repository, fetch};
use crate::tier::findings::{VerificationReport, check_wanted};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What was listed of a tier's promises.
#[derive(Debug)]
pub struct Listed<N> {
    /// The backups that have a receipt.
    pub receipts: BTreeSet<N>,
    /// The backups that have a record.
    pub records: BTreeSet<N>,
}

impl<N: Promised + Ord + Clone> Listed<N> {
    /// Lists records and receipts. The receipts come first, because they are written last: a backup
    /// that is promised meanwhile has its record then, and not the other way around.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(repository: &Repository, prefixes: (&str, &str), parse: impl Fn(&str) -> [Option<N>; 2]) -> Result<Listed<N>> {
        let (records, receipts) = prefixes;
        let receipts = repository.list_all(receipts)?.iter().filter_map(|listed| parse(&listed.name)[1].clone()).collect();
        let records = repository.list_all(records)?.iter().filter_map(|listed| parse(&listed.name)[0].clone()).collect();
        Ok(Listed { receipts, records })
    }

    /// All of them: a lost record must not make an older backup the newest.
    pub fn all(&self) -> BTreeSet<N> {
        self.receipts.union(&self.records).cloned().collect()
    }
}

/// Compares every record with its receipt. `take` gets each one that is what was promised, with its
/// stored size. Returns how many backups there are or should be.
///
/// # Errors
/// When the store cannot be read, or the work is cancelled. Damage goes into the report.
pub fn check_promises<N: Promised + Ord + Clone>(
    repository: &Arc<Repository>,
    listed: &Listed<N>,
    progress: &dyn Progress,
    report: &mut VerificationReport,
    take: &mut dyn FnMut(&N, u64, &mut VerificationReport) -> Result<()>,
) -> Result<u64> {
    let all = listed.all();
    for name in &all {
        check_wanted(progress)?;
        let (record, receipt_object) = (name.record_object(), name.receipt_object());
        let receipt = if listed.receipts.contains(name) {
            report.objects += 1;
            report.judge(&receipt_object, repository.receipt(name))?
        } else if repository.object_bytes(&receipt_object)?.is_some() {
            // A backup that was promised while the listings were read.
            continue;
        } else {
            report.problem(
                &receipt_object,
                "the receipt is missing: the backup was cut short in its last moment, or the receipt was removed; the next backup writes it again",
            );
            None
        };
        if !listed.records.contains(name) && repository.object_bytes(&record)?.is_none() {
            report.problem(record, "the manifest is missing though its receipt promises it: this backup is lost");
            continue;
        }
        report.objects += 1;
        let promised = receipt.map(|receipt| (receipt.size_bytes, receipt.digest));
        let read = fetch::until_expected(promised, || digest_stored(repository, &record));
        let Some((size_bytes, digest)) = report.judge(&record, read)? else { continue };
        report.bytes_read += size_bytes;
        if promised.is_some_and(|promised| promised != (size_bytes, digest)) {
            report.problem(record, "the manifest is not the one that its receipt promises: it was changed");
            continue;
        }
        take(name, size_bytes, report)?;
    }
    Ok(all.len() as u64)
}

/// Writes the receipts that are missing: a run that was killed between a record and its receipt
/// left a backup without one. `open` checks that a record of this size is intact; what it finds
/// damaged is handed to `damaged` and gets no receipt.
///
/// # Errors
/// When the store cannot be read or written.
pub fn write_missing_receipts<N: Promised + Ord + Clone>(
    repository: &Arc<Repository>,
    listed: &Listed<N>,
    open: &dyn Fn(&N, u64) -> Result<()>,
    damaged: &mut dyn FnMut(&N, Error),
) -> Result<()> {
    for name in listed.records.difference(&listed.receipts) {
        let object = name.record_object();
        let digested = fetch::until_agreed(&object, || digest_stored(repository, &object));
        match digested.and_then(|(size_bytes, digest)| open(name, size_bytes).map(|()| Receipt { size_bytes, digest })) {
            Ok(receipt) => repository.write_receipt(name, &receipt)?,
            Err(error) if error.kind == crate::error::Kind::Damaged => damaged(name, error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
