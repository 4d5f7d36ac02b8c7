//! The outcome of a run, derived from the backup that it left. Commands, the agent and the code
//! that finds a backup without a record of its run all use this one place.
//!
//! The result depends on nothing but the manifest and its digest. So the catalog says the same
//! about a backup whether its run was recorded or not.

use super::file::format::{FileRecord, digest_text};
use super::tigerbeetle::format::manifest::{Manifest, Summary};
use super::tigerbeetle::format::promise::Receipt;
use crate::error::Result;
use crate::repository::name::{CheckpointName, FileName, RunId};
use crate::repository::object_reader::digest_stored;
use crate::repository::run_record::{Run, RunOutcome, Scope, Work};
use crate::repository::{Repository, fetch};
use crate::store::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The job name of a run that left a backup but no record of itself.
pub const UNRECORDED: &str = "unrecorded";
/// The name of the catalog itself among the stored files.
pub const CATALOG_FILE: &str = "amber-catalog";

/// A backup, identified by the object that makes it exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredBackup {
    /// A checkpoint of a TigerBeetle replica.
    Checkpoint(CheckpointName),
    /// A plain file.
    File(FileName),
}

impl StoredBackup {
    /// The run that made it.
    pub fn run(&self) -> RunId {
        match self {
            StoredBackup::Checkpoint(name) => name.run,
            StoredBackup::File(name) => name.run,
        }
    }

    /// The object that makes it exist.
    pub fn object(&self) -> String {
        match self {
            StoredBackup::Checkpoint(name) => name.object(),
            StoredBackup::File(name) => name.record(),
        }
    }

    /// The run that made the backup, as far as the backup shows it, and its outcome.
    ///
    /// # Errors
    /// [`crate::error::Error::damaged`] when the backup is missing or not what was written.
    pub fn read(&self, repository: &Repository) -> Result<(Run, RunOutcome)> {
        match self {
            StoredBackup::Checkpoint(name) => {
                let summary = Manifest::read_summary(repository, name)?;
                let manifest = if repository.store().size_bytes(&name.receipt())?.is_some() {
                    repository.receipt(name)?
                } else {
                    let (size_bytes, digest) = digest_of(repository, &name.object())?;
                    Receipt { size_bytes, digest }
                };
                let run = unrecorded(Work::Tigerbeetle, scope_of(&summary), summary.began_ns);
                Ok((run, of_checkpoint(name, &summary, &manifest)))
            }
            StoredBackup::File(name) => {
                let record = repository.file_record(name)?;
                let (_, digest) = digest_of(repository, &name.record())?;
                Ok((unrecorded(work_of_file(&name.name), Scope::Full, record.began_ns), of_file(name, &record, &digest)))
            }
        }
    }
}

/// Size and digest of an object for which no record states them.
fn digest_of(repository: &Repository, object: &str) -> Result<(u64, Digest)> {
    fetch::until_agreed(object, || digest_stored(repository, object))
}

/// All backups that exist, by their runs.
///
/// # Errors
/// When the store cannot be read.
pub fn stored_backups(repository: &Repository) -> Result<BTreeMap<RunId, StoredBackup>> {
    let files = repository.files(None)?.into_iter().map(StoredBackup::File);
    let checkpoints = repository.checkpoints()?.into_iter().map(StoredBackup::Checkpoint);
    Ok(files.chain(checkpoints).map(|stored| (stored.run(), stored)).collect())
}

fn unrecorded(work: Work, scope: Scope, started_ns: u64) -> Run {
    Run { work, scope, tenant: None, job: UNRECORDED.to_owned(), by: String::new(), started_ns, retention_days: 0 }
}

/// The kind of work that the backup of a file of this name is.
pub fn work_of_file(name: &str) -> Work {
    if name == CATALOG_FILE { Work::Duckdb } else { Work::File }
}

/// A checkpoint that stores every one of its blocks itself is a full backup.
pub fn scope_of(summary: &Summary) -> Scope {
    if summary.blocks_reused == 0 { Scope::Full } else { Scope::Incremental }
}

/// The outcome of a run that stored a checkpoint.
pub fn of_checkpoint(name: &CheckpointName, summary: &Summary, manifest: &Receipt) -> RunOutcome {
    let details = [
        ("timeline", json!(summary.timeline)),
        ("replica", json!(summary.replica)),
        ("release", json!(summary.release)),
        ("checkpoint_op", json!(summary.checkpoint_op)),
        ("first_restorable_op", json!(summary.first_restorable_op)),
        ("recovered_to_op", json!(summary.recovered_to_op)),
        ("recovered_to_timestamp_ns", json!(summary.recovered_to_timestamp_ns)),
        ("data_file_bytes", json!(summary.data_file_bytes)),
        ("blocks", json!(summary.blocks)),
        ("blocks_stored", json!(summary.blocks_stored)),
        ("blocks_reused", json!(summary.blocks_reused)),
        ("bytes_read", json!(summary.bytes_read)),
    ];
    let stored_bytes = summary.bytes_stored.saturating_add(manifest.size_bytes);
    stored(summary.ended_ns, stored_bytes, name.object(), &manifest.digest, details)
}

/// The outcome of a run that stored a file.
pub fn of_file(name: &FileName, record: &FileRecord, record_digest: &Digest) -> RunOutcome {
    let details = [
        ("name", json!(name.name)),
        ("path", json!(record.path)),
        ("file_bytes", json!(record.file_bytes)),
        ("modified_ns", json!(record.modified_ns)),
        ("digest", json!(record.digest)),
    ];
    stored(record.ended_ns, record.stored_bytes, name.record(), record_digest, details)
}

fn stored<const N: usize>(
    ended_ns: u64,
    stored_bytes: u64,
    location: String,
    digest: &Digest,
    details: [(&'static str, Value); N],
) -> RunOutcome {
    RunOutcome {
        stored_bytes,
        location,
        checksum: digest_text(digest),
        compression: "zstd".to_owned(),
        encryption: "aes256".to_owned(),
        details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..RunOutcome::completed(ended_ns)
    }
}
