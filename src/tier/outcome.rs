//! How a run went, as it follows from the backup that it left: one place for commands, for the
//! agent, and for whoever finds a backup without a record of its run.
//!
//! What is worked out here depends on nothing but the manifest and its digest, so that the catalog
//! says the same of a backup whether its run was recorded or not.

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

/// The job of a run that nothing but its backup tells of.
pub const UNRECORDED: &str = "unrecorded";
/// What the catalog itself is called among the stored files.
pub const CATALOG_FILE: &str = "amber-catalog";

/// A backup by the object that makes it exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A checkpoint of a TigerBeetle replica.
    Checkpoint(CheckpointName),
    /// A plain file.
    File(FileName),
}

impl Stored {
    /// The run that made it.
    pub fn run(&self) -> RunId {
        match self {
            Stored::Checkpoint(name) => name.run,
            Stored::File(name) => name.run,
        }
    }

    /// The object by which it exists.
    pub fn object(&self) -> String {
        match self {
            Stored::Checkpoint(name) => name.object(),
            Stored::File(name) => name.record(),
        }
    }

    /// What ran, as far as the backup tells, and how that ended.
    ///
    /// # Errors
    /// [`crate::error::Error::damaged`] when the backup is missing or not what was written.
    pub fn read(&self, repository: &Repository) -> Result<(Run, RunOutcome)> {
        match self {
            Stored::Checkpoint(name) => {
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
            Stored::File(name) => {
                let record = repository.file_record(name)?;
                let (_, digest) = digest_of(repository, &name.record())?;
                Ok((unrecorded(work_of_file(&name.name), Scope::Full, record.began_ns), of_file(name, &record, &digest)))
            }
        }
    }
}

/// Size and digest of what no record tells them of.
fn digest_of(repository: &Repository, object: &str) -> Result<(u64, Digest)> {
    fetch::until_agreed(object, || digest_stored(repository, object))
}

/// All backups that exist, by their runs.
///
/// # Errors
/// When the store cannot be read.
pub fn stored_backups(repository: &Repository) -> Result<BTreeMap<RunId, Stored>> {
    let files = repository.files(None)?.into_iter().map(Stored::File);
    let checkpoints = repository.checkpoints()?.into_iter().map(Stored::Checkpoint);
    Ok(files.chain(checkpoints).map(|stored| (stored.run(), stored)).collect())
}

fn unrecorded(work: Work, scope: Scope, started_ns: u64) -> Run {
    Run { work, scope, tenant: None, job: UNRECORDED.to_owned(), by: String::new(), started_ns, retention_days: 0 }
}

/// What the backup of a file of this name is.
pub fn work_of_file(name: &str) -> Work {
    if name == CATALOG_FILE { Work::Duckdb } else { Work::File }
}

/// A checkpoint that stores every one of its blocks itself is a full backup.
pub fn scope_of(summary: &Summary) -> Scope {
    if summary.blocks_reused == 0 { Scope::Full } else { Scope::Incremental }
}

/// A checkpoint was stored.
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

/// A file was stored.
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
