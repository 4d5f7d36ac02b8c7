//! What the record of a run says of a backup of a replica, whoever writes it: the run itself when it has stored the backup, or whoever finds the backup of a run that was killed
//! before it could say so.

use super::Backup;
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::file_object::digest_text;
use crate::repository::manifest::{Manifest, Summary};
use crate::repository::name::{CheckpointName, RunId};
use crate::repository::object_reader::digest_stored;
use crate::repository::promise::Receipt;
use crate::repository::run::{Outcome, Scope};
use serde_json::json;

/// A checkpoint that stores every one of its blocks itself is a full backup.
pub fn scope(summary: &Summary) -> Scope {
    if summary.blocks_reused == 0 { Scope::Full } else { Scope::Incremental }
}

/// How the run ended that made this backup.
pub fn outcome(backup: &Backup, ended_ns: u64) -> Outcome {
    let manifest = Receipt { size_bytes: backup.manifest_bytes, digest: backup.manifest_digest };
    of_manifest(&backup.name, &backup.summary, &manifest, ended_ns)
}

/// The backup that a run has left in the repository, if it has: its scope, and how the run ended.
///
/// # Errors
/// [`crate::error::Error::damaged`] when its manifest is not what was written, others when the store cannot be read.
pub fn left_by(repository: &Repository, run: RunId) -> Result<Option<(Scope, Outcome)>> {
    let Some(name) = repository.checkpoints()?.into_iter().find(|name| name.run == run) else { return Ok(None) };
    let summary = Manifest::read_summary(repository, &name)?;
    // A run that was killed right behind its manifest has not written the receipt.
    let manifest = if repository.store().size_bytes(&name.receipt())?.is_some() {
        repository.receipt(&name)?
    } else {
        let (size_bytes, digest) = digest_stored(repository, &name.object())?;
        Receipt { size_bytes, digest }
    };
    Ok(Some((scope(&summary), of_manifest(&name, &summary, &manifest, summary.ended_ns))))
}

fn of_manifest(name: &CheckpointName, summary: &Summary, manifest: &Receipt, ended_ns: u64) -> Outcome {
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
    Outcome {
        stored_bytes: summary.bytes_stored.saturating_add(manifest.size_bytes),
        location: name.object(),
        checksum: digest_text(&manifest.digest),
        compression: "zstd".to_owned(),
        encryption: "aes256".to_owned(),
        details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..Outcome::completed(ended_ns)
    }
}
