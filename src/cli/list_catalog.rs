//! What `amber list` and `amber show` say by a catalog: the store is not asked, so they answer while it is away, and at once.
//!
//! A catalog tells what was stored when it was brought up to date last. Whether that is there still and whole, only the repository says.

use super::output::{Report, facts, table};
use crate::catalog::reader::Reader;
use crate::error::{Error, Result};
use crate::units::{bytes_text, time_text};
use serde_json::{Value, json};

const CHECKPOINTS: [&str; 8] = ["checkpoint", "restorable ops", "recovered to", "replica", "timeline", "blocks", "stored", "run"];
const OTHERS: [&str; 6] = ["type", "name", "stored at", "size", "stored", "run"];

/// Backups that exist, the oldest first, or the newest of them where there are more than an answer holds.
const STORED: &str = "SELECT run, backup_type AS type, backup_scope AS scope, tenant_id AS tenant, job, run_by, \
                      epoch_ns(start_time) AS began_ns, epoch_ns(end_time) AS ended_ns, epoch_ns(retention_until) AS retention_until_ns, \
                      backup_size_bytes AS stored_bytes, backup_location AS location, checksum, compression, encryption, evidence, details \
                      FROM backup_metadata WHERE status = 'completed' ORDER BY start_time DESC, run DESC";

/// The backups of a catalog, the oldest first.
pub fn list(reader: &Reader) -> Result<Report> {
    let backups = stored(reader)?;
    let (checkpoints, others): (Vec<&Value>, Vec<&Value>) = backups.iter().partition(|backup| is_checkpoint(backup));
    let path = reader.path().display().to_string();
    let mut text = format!("{} backups by the catalog {path}\n", backups.len());
    if !checkpoints.is_empty() {
        let rows: Vec<Vec<String>> = checkpoints.into_iter().map(checkpoint_row).collect();
        text.push_str(&format!("\n{}", table(&CHECKPOINTS, &rows)));
    }
    if !others.is_empty() {
        let rows: Vec<Vec<String>> = others.into_iter().map(other_row).collect();
        text.push_str(&format!("\n{}", table(&OTHERS, &rows)));
    }
    Ok(Report::new(text, json!({ "catalog": path, "backups": backups })))
}

/// One backup of a catalog: by its run, its checkpoint op or its whole name; the newest checkpoint otherwise.
pub fn show(reader: &Reader, wanted: Option<&str>) -> Result<Report> {
    let backups = stored(reader)?;
    let fits = |backup: &&Value| match wanted {
        None => is_checkpoint(backup),
        Some(wanted) => {
            [&backup["run"], &backup["location"], &backup["details"]["checkpoint_op"]].into_iter().any(|value| plain(value) == wanted)
        }
    };
    let found: Vec<&Value> = backups.iter().filter(fits).collect();
    let path = reader.path().display().to_string();
    let backup = match (&found[..], wanted) {
        ([backup], _) | ([.., backup], None) => *backup,
        ([], None) => return Err(Error::input(format!("{path}: the catalog has no checkpoint yet"))),
        ([], Some(wanted)) => {
            return Err(Error::input(format!("{path}: the catalog has no backup {wanted:?}; `amber list` shows what there is")));
        }
        (several, Some(wanted)) => {
            let fit = format!("{} backups fit {wanted:?}: name one by its run, as `amber list` prints it", several.len());
            return Err(Error::input(fit));
        }
    };
    Ok(Report::new(shown(&path, backup), json!({ "catalog": path, "backup": backup })))
}

fn stored(reader: &Reader) -> Result<Vec<Value>> {
    let mut rows = match reader.query(STORED)?.json() {
        Value::Object(mut answer) => match answer.remove("rows") {
            Some(Value::Array(rows)) => rows,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    for row in &mut rows {
        let details = row["details"].as_str().and_then(|text| serde_json::from_str(text).ok());
        row["details"] = details.unwrap_or_else(|| json!({}));
    }
    rows.reverse();
    Ok(rows)
}

fn is_checkpoint(backup: &Value) -> bool {
    backup["type"] == "tigerbeetle"
}

fn checkpoint_row(backup: &Value) -> Vec<String> {
    let of = |name: &str| plain(&backup["details"][name]);
    vec![
        of("checkpoint_op"),
        format!("{}..{}", of("first_restorable_op"), of("recovered_to_op")),
        said("recovered_to_timestamp_ns", &backup["details"]["recovered_to_timestamp_ns"]),
        of("replica"),
        of("timeline"),
        of("blocks"),
        said("stored_bytes", &backup["stored_bytes"]),
        plain(&backup["run"]),
    ]
}

fn other_row(backup: &Value) -> Vec<String> {
    let details = &backup["details"];
    vec![
        plain(&backup["type"]),
        plain(&details["name"]),
        said("ended_ns", &backup["ended_ns"]),
        said("file_bytes", &details["file_bytes"]),
        said("stored_bytes", &backup["stored_bytes"]),
        plain(&backup["run"]),
    ]
}

fn shown(path: &str, backup: &Value) -> String {
    let fields = |of: &Value| -> Vec<(String, String)> {
        let fields = of.as_object().into_iter().flatten().filter(|(name, value)| *name != "details" && !value.is_null());
        fields.map(|(name, value)| (label(name), said(name, value))).collect()
    };
    let mut rows = vec![("catalog".to_owned(), path.to_owned())];
    rows.extend(fields(backup));
    rows.extend(fields(&backup["details"]));
    let rows: Vec<(&str, String)> = rows.iter().map(|(label, value)| (label.as_str(), value.clone())).collect();
    facts(&rows)
}

/// A field's name without its unit, which its text has.
fn label(name: &str) -> String {
    name.strip_suffix("_ns").unwrap_or(name).replace('_', " ")
}

/// A value for people: a time or a size by its field's unit.
fn said(name: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(time_ns) if name.ends_with("_ns") => time_text(time_ns),
        Some(bytes) if name.ends_with("_bytes") => bytes_text(bytes),
        _ => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::writer::Catalog;
    use crate::repository::name::RunId;
    use crate::repository::run::{Outcome, Run, RunRecord, RunSink, Scope, Work};
    use crate::repository::sample::create;
    use crate::store::memory::MemoryStore;

    const START_NS: u64 = 1_700_000_000_000_000_000;

    fn put(catalog: &Catalog, run: u64, work: Work, completed: bool, details: &Value) {
        let details = details.as_object().unwrap().clone().into_iter().collect();
        let outcome = if completed { Outcome::completed(START_NS + 90_000_000_000) } else { Outcome::failed(START_NS, "on purpose") };
        let stored = Outcome {
            stored_bytes: 4096,
            location: format!("an/object/{run}"),
            checksum: "ab".repeat(32),
            compression: "zstd".to_owned(),
            encryption: "aes256".to_owned(),
            details,
            ..outcome
        };
        let run_of = Run {
            work,
            scope: Scope::Full,
            tenant: None,
            job: "checkpoint".to_owned(),
            by: "a test".to_owned(),
            started_ns: START_NS + run,
            retention_days: 0,
        };
        catalog.put(RunId(run), &RunRecord { run: run_of, outcome: Some(stored) }).unwrap();
    }

    fn checkpoint(op: u64) -> Value {
        json!({ "checkpoint_op": op, "first_restorable_op": op + 1, "recovered_to_op": op + 40, "recovered_to_timestamp_ns": START_NS,
                "replica": 2, "timeline": 1, "blocks": 7 })
    }

    #[test]
    fn a_catalog_is_listed_without_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::new(&create(&MemoryStore::new()).unwrap(), folder.path());
        put(&catalog, 9, Work::Verification, true, &json!({}));
        let reader = || Reader::open(folder.path()).unwrap();
        let said = list(&reader()).unwrap().text;
        assert_eq!(said.lines().count(), 1, "{said}");
        let none = show(&reader(), None).map(|report| report.text).unwrap_err();
        assert!(none.message.contains("no checkpoint yet"), "{none}");

        put(&catalog, 3, Work::File, true, &json!({ "name": "archive", "file_bytes": 2048 }));
        put(&catalog, 2, Work::Tigerbeetle, true, &checkpoint(1919));
        put(&catalog, 1, Work::Tigerbeetle, true, &checkpoint(959));
        put(&catalog, 4, Work::Tigerbeetle, false, &json!({}));
        let said = list(&reader()).unwrap().text;
        let lines: Vec<Vec<&str>> =
            said.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect()).collect();
        assert!(lines[0][0].starts_with("3 backups by the catalog "), "{said}");
        assert_eq!(lines[2], CHECKPOINTS);
        assert_eq!(lines[3], ["959", "960..999", "2023-11-14T22:13:20Z", "2", "1", "7", "4.0 KiB", "0000000000000001"]);
        assert_eq!(lines[4][0], "1919");
        assert_eq!(lines[6], OTHERS);
        assert_eq!(lines[7], ["file", "archive", "2023-11-14T22:14:50Z", "2.0 KiB", "4.0 KiB", "0000000000000003"]);

        let shown = |wanted| show(&reader(), wanted).unwrap().text;
        let newest = shown(None);
        assert!(newest.contains("1919") && newest.contains("recovered to timestamp  2023-11-14T22:13:20Z"), "{newest}");
        assert!(shown(Some("959")).contains("0000000000000001"));
        assert!(shown(Some("an/object/3")).contains("archive"));
        let none = show(&reader(), Some("4")).map(|report| report.text).unwrap_err();
        assert!(none.message.contains("no backup \"4\""), "{none}");
    }
}
