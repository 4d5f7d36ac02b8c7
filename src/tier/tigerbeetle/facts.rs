//! What is said of a checkpoint.

use super::format::manifest::{Manifest, Summary};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::name::{BackupName, CheckpointName, Promised};
use crate::repository::promise::Receipt;
use crate::repository::run_record::{RunOutcome, Scope, Work};
use crate::tier::facts::{BackupDetails, BackupFacts, Column, size_of, stored, text_of, time_of, unrecorded};
use crate::units::{bytes_text, time_text};
use serde_json::{Value, json};

/// The columns of a table of checkpoints.
pub static COLUMNS: [Column; 8] = [
    Column { heading: "checkpoint", cell: |backup| text_of(backup, &["checkpoint_op"]) },
    Column { heading: "restorable ops", cell: restorable },
    Column { heading: "recovered to", cell: |backup| time_of(backup, &["recovered_to_timestamp_ns"]) },
    Column { heading: "replica", cell: |backup| text_of(backup, &["replica"]) },
    Column { heading: "timeline", cell: |backup| text_of(backup, &["timeline"]) },
    Column { heading: "blocks", cell: |backup| text_of(backup, &["blocks"]) },
    // A manifest says what the backup stored besides itself, a run's record all of it.
    Column { heading: "stored", cell: |backup| size_of(backup, &["stored_bytes", "bytes_stored"]) },
    Column { heading: "run", cell: |backup| text_of(backup, &["run"]) },
];

fn restorable(backup: &Value) -> String {
    if !backup["error"].is_null() {
        return "damaged or lost".to_owned();
    }
    format!("{}..{}", text_of(backup, &["first_restorable_op"]), text_of(backup, &["recovered_to_op"]))
}

/// A checkpoint that stores every one of its blocks itself is a full backup.
pub fn scope_of(summary: &Summary) -> Scope {
    if summary.blocks_reused == 0 { Scope::Full } else { Scope::Incremental }
}

/// The outcome of a run that stored a checkpoint.
pub fn outcome(name: &CheckpointName, summary: &Summary, manifest: &Receipt) -> RunOutcome {
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
    stored(summary.ended_ns, stored_bytes, name.object(), manifest, details)
}

/// The checkpoint that a backup is.
///
/// # Errors
/// [`Error::bug`] for a backup of another tier.
pub fn checkpoint_of(backup: &BackupName) -> Result<CheckpointName> {
    let record = backup.record_object();
    CheckpointName::parse(&record).ok_or_else(|| Error::bug(format!("{record} is no checkpoint")))
}

/// What a checkpoint says of itself.
///
/// # Errors
/// [`Error::damaged`] when it is missing or not what was written.
pub fn facts(repository: &Repository, backup: &BackupName) -> Result<BackupFacts> {
    let name = checkpoint_of(backup)?;
    let summary = Manifest::read_summary(repository, &name)?;
    let outcome = outcome(&name, &summary, &repository.receipt_or_digest(&name)?);
    let run = unrecorded(Work::Tigerbeetle, scope_of(&summary), summary.began_ns);
    Ok(BackupFacts { run, outcome, json: listed_json(&name, &summary) })
}

/// A checkpoint as lists have it.
pub fn listed_json(name: &CheckpointName, summary: &Summary) -> Value {
    let mut json = summary_json(summary);
    if let Value::Object(fields) = &mut json {
        fields.insert("name".into(), json!(name.object()));
        fields.insert("run".into(), json!(name.run.to_string()));
    }
    json
}

/// Everything about a checkpoint.
///
/// # Errors
/// [`Error::damaged`] when it is missing or not what was written.
pub fn show(repository: &Repository, backup: &BackupName) -> Result<BackupDetails> {
    let name = checkpoint_of(backup)?;
    let manifest = Manifest::read(repository, &name, None)?;
    let mut rows = summary_rows(&manifest.summary);
    rows.insert(0, ("backup", name.object()));
    rows.push(("checkpoint id", manifest.summary.checkpoint_id.clone()));
    rows.push(("client replies", manifest.replies.len().to_string()));
    rows.push(("extents", manifest.extents.len().to_string()));
    let packs: Vec<Vec<String>> = manifest
        .packs
        .iter()
        .enumerate()
        .map(|(number, pack)| {
            let of_pack = manifest.extents.iter().filter(|extent| extent.location.pack as usize == number);
            let used: u64 = of_pack.map(|extent| u64::from(extent.location.blocks)).sum();
            vec![pack.name.object(), bytes_text(pack.stored_bytes), format!("{used} of {}", pack.blocks)]
        })
        .collect();
    let segments = manifest.segments.iter().map(|segment| vec![segment.name.object(), bytes_text(segment.stored_bytes)]).collect();
    let tables = vec![(vec!["pack", "stored", "blocks used"], packs), (vec!["log segment", "stored"], segments)];
    let mut json = listed_json(&name, &manifest.summary);
    if let Value::Object(fields) = &mut json {
        fields.insert("extents".into(), json!(manifest.extents.len()));
        fields.insert("client_replies".into(), json!(manifest.replies.len()));
        let packs = manifest
            .packs
            .iter()
            .map(|pack| json!({ "name": pack.name.object(), "stored_bytes": pack.stored_bytes, "blocks": pack.blocks }));
        fields.insert("packs".into(), packs.collect());
        let segments =
            manifest.segments.iter().map(|segment| json!({ "name": segment.name.object(), "stored_bytes": segment.stored_bytes }));
        fields.insert("segments".into(), segments.collect());
    }
    Ok(BackupDetails { rows, tables, json })
}

/// A manifest's summary as text for people.
pub fn summary_rows(summary: &Summary) -> Vec<(&'static str, String)> {
    let from = format!("op {} to op {}", summary.first_restorable_op, summary.recovered_to_op);
    let unsure = summary.recovered_to_op - summary.commit_known_op;
    let certainty = if unsure == 0 || summary.replica_count == 1 {
        String::new()
    } else {
        format!(" (the last {unsure} prepared, commit not yet seen)")
    };
    vec![
        (
            "cluster",
            format!("{}, replica {} of {}, release {}", decimal(&summary.cluster), summary.replica, summary.replica_count, summary.release),
        ),
        ("checkpoint", format!("op {}, timeline {}", summary.checkpoint_op, summary.timeline)),
        ("recovered to", format!("op {} at {}{certainty}", summary.recovered_to_op, time_text(summary.recovered_to_timestamp_ns))),
        ("restorable", from),
        ("data file", bytes_text(summary.data_file_bytes)),
        ("blocks", format!("{} in all, {} stored, {} stored before", summary.blocks, summary.blocks_stored, summary.blocks_reused)),
        (
            "bytes",
            format!("{} read, {} stored, in {} rounds", bytes_text(summary.bytes_read), bytes_text(summary.bytes_stored), summary.rounds),
        ),
        ("captured", format!("{} to {}", time_text(summary.began_ns), time_text(summary.ended_ns))),
    ]
}

/// A manifest's summary as JSON.
pub fn summary_json(summary: &Summary) -> Value {
    serde_json::to_value(summary).unwrap_or_else(|error| json!({ "error": Error::bug(error.to_string()).message }))
}

/// A cluster id as TigerBeetle writes it.
pub fn decimal(hexadecimal: &str) -> String {
    u128::from_str_radix(hexadecimal, 16).map_or_else(|_| hexadecimal.to_owned(), |number| number.to_string())
}
