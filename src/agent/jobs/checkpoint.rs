//! What the record of a checkpoint says.

use crate::repository::file_object::digest_text;
use crate::repository::run::{Outcome, Scope};
use crate::tier::tigerbeetle::Backup;
use serde_json::json;

/// A checkpoint was stored.
pub fn outcome(backup: &Backup) -> Outcome {
    let summary = &backup.summary;
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
        stored_bytes: summary.bytes_stored.saturating_add(backup.manifest_bytes),
        location: backup.name.object(),
        checksum: digest_text(&backup.manifest_digest),
        compression: "zstd".to_owned(),
        encryption: "aes256".to_owned(),
        details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..Outcome::completed(summary.ended_ns)
    }
}

/// Whether it needed nothing that an earlier one stored.
pub fn scope(backup: &Backup) -> Scope {
    if backup.summary.blocks_reused == 0 { Scope::Full } else { Scope::Incremental }
}
