//! What is said of a backup: in the catalog and in events ([`BackupFacts`]), in lists ([`Column`],
//! [`Listing`]) and alone ([`BackupDetails`]).

use crate::error::Error;
use crate::repository::name::RunId;
use crate::repository::promise::Receipt;
use crate::repository::run_record::{Run, RunOutcome, Scope, Work};
use crate::tier::retention_days_of;
use crate::units::{bytes_text, time_text};
use serde_json::{Value, json};

/// The job name of a run that left a backup but no record of itself.
pub const UNRECORDED: &str = "unrecorded";

/// A backup, as far as it shows that itself.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupFacts {
    /// The run that made it.
    pub run: Run,
    /// How that run ended. It depends on nothing but the backup, so the catalog says the same
    /// whether the run was recorded or not.
    pub outcome: RunOutcome,
    /// The same and more, flat, as `amber list --json` has it. [`Column`]s are made of it.
    pub json: Value,
}

/// The run of a backup of which nothing but the backup is known.
pub fn unrecorded(work: Work, scope: Scope, started_ns: u64) -> Run {
    Run { work, scope, tenant: None, job: UNRECORDED.to_owned(), by: String::new(), started_ns, retention_days: retention_days_of(work) }
}

/// The outcome of a run that stored a backup, whose record is at `location` and has this receipt.
pub fn stored<const N: usize>(
    ended_ns: u64,
    stored_bytes: u64,
    location: String,
    record: &Receipt,
    details: [(&'static str, Value); N],
) -> RunOutcome {
    RunOutcome {
        stored_bytes,
        location,
        checksum: crate::store::hex(&record.digest),
        compression: "zstd".to_owned(),
        encryption: "aes256".to_owned(),
        details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..RunOutcome::completed(ended_ns)
    }
}

/// A column of the table in which a tier's backups are listed.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub heading: &'static str,
    /// The cell of a backup, from what [`BackupFacts::json`] or a row of the catalog has.
    pub cell: fn(&Value) -> String,
}

/// A part of what a tier lists: a table, and lines below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// How deep it lies below others.
    pub depth: usize,
    /// What stands above it.
    pub title: Option<String>,
    /// The headings of the table.
    pub headings: Vec<&'static str>,
    /// The rows of the table; without any there is no table.
    pub rows: Vec<Vec<String>>,
    /// Lines below the table.
    pub lines: Vec<String>,
}

/// What a tier lists.
#[derive(Debug, Default)]
pub struct Listing {
    /// How many backups there are.
    pub backups: usize,
    /// What they are called: "2 backups of cluster 7".
    pub title: String,
    /// The text, part by part.
    pub sections: Vec<Section>,
    /// Members of the JSON object. Each is this tier's own.
    pub json: Vec<(&'static str, Value)>,
    /// The first damage that was met.
    pub failure: Option<Error>,
}

/// Everything about one backup, for people and as JSON.
#[derive(Debug, Default)]
pub struct BackupDetails {
    /// Facts: label and text.
    pub rows: Vec<(&'static str, String)>,
    /// Tables: headings and rows.
    pub tables: Vec<(Vec<&'static str>, Vec<Vec<String>>)>,
    /// The same for machines.
    pub json: Value,
}

/// The row of a backup in its tier's table.
pub fn row(columns: &[Column], backup: &Value) -> Vec<String> {
    columns.iter().map(|column| (column.cell)(backup)).collect()
}

/// The JSON of a backup that cannot be read, of which its name shows this much.
pub fn damaged_json(location: &str, run: RunId, error: &Error) -> Value {
    json!({ "name": location, "run": run.to_string(), "error": error.message })
}

/// The first of these fields that a backup has, as text; `-` where it has none.
pub fn text_of(backup: &Value, fields: &[&str]) -> String {
    match first(backup, fields) {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// The first of these fields as a size.
pub fn size_of(backup: &Value, fields: &[&str]) -> String {
    first(backup, fields).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), bytes_text)
}

/// The first of these fields as a time; they are in nanoseconds since the epoch.
pub fn time_of(backup: &Value, fields: &[&str]) -> String {
    first(backup, fields).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), time_text)
}

fn first<'a>(backup: &'a Value, fields: &[&str]) -> Option<&'a Value> {
    fields.iter().map(|field| &backup[*field]).find(|value| !value.is_null())
}
