//! `amber list` and `amber show` with a catalog: no request goes to the store, so they answer at
//! once, also while the store cannot be reached.
//!
//! A catalog lists what was stored when it was last brought up to date. Only the repository shows
//! whether that is still there and intact.

use super::output::{Report, facts, table};
use crate::catalog::reader::Reader;
use crate::error::{Error, Result};
use crate::tier::facts::row;
use crate::tier::{Tier, tiers};
use crate::units::{bytes_text, time_text};
use serde_json::{Map, Value, json};

/// Backups that exist, the newest first. If there are more than an answer can hold, the oldest are
/// left out.
const STORED: &str = "SELECT run, backup_type AS type, backup_scope AS scope, tenant_id AS tenant, job, run_by, \
                      epoch_ns(start_time) AS began_ns, epoch_ns(end_time) AS ended_ns, epoch_ns(retention_until) AS retention_until_ns, \
                      backup_size_bytes AS stored_bytes, backup_location AS location, checksum, compression, encryption, evidence, details \
                      FROM backup_metadata WHERE status = 'completed' ORDER BY start_time DESC, run DESC";

/// The stored backups according to a catalog.
struct Stored {
    path: String,
    /// Why the list may be incomplete.
    notes: Vec<String>,
    /// Backups, the oldest first. Figures of the kind of work are members like the others.
    backups: Vec<Value>,
}

/// The backups of a catalog, the oldest first.
pub fn list(reader: &Reader) -> Result<Report> {
    let stored = Stored::read(reader)?;
    let mut text = format!("{} backups by the catalog {}\n", stored.backups.len(), stored.path);
    stored.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    let mut json = Map::from_iter([("catalog".to_owned(), json!(stored.path)), ("notes".to_owned(), json!(stored.notes))]);
    let mut others = Vec::new();
    for (number, tier) in tiers().iter().enumerate() {
        let backups: Vec<&Value> = stored.of(*tier).collect();
        if !backups.is_empty() {
            let rows: Vec<Vec<String>> = backups.iter().map(|backup| row(tier.columns(), backup)).collect();
            let headings: Vec<&str> = tier.columns().iter().map(|column| column.heading).collect();
            text.push_str(&format!("\n{}", table(&headings, &rows)));
        }
        if number == 0 {
            json.insert("backups".to_owned(), json!(backups));
        } else {
            others.extend(backups);
        }
    }
    json.insert("files".to_owned(), json!(others));
    Ok(Report::new(text, Value::Object(json)))
}

/// One backup of a catalog, by its run, its checkpoint op or its full name. Without any of these:
/// the checkpoint with the greatest op.
pub fn show(reader: &Reader, wanted: Option<&str>) -> Result<Report> {
    let stored = Stored::read(reader)?;
    let backup = stored.find(wanted)?;
    let mut text = shown(&stored.path, backup);
    stored.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    Ok(Report::new(text, json!({ "catalog": stored.path, "notes": stored.notes, "backup": backup })))
}

impl Stored {
    fn read(reader: &Reader) -> Result<Stored> {
        let answer = reader.query(STORED)?;
        let mut stored = Stored { path: reader.path().display().to_string(), notes: Vec::new(), backups: Vec::new() };
        if answer.is_cut {
            stored.notes.push(format!("only the newest {} backups: `amber catalog query` reaches the others", answer.rows.len()));
        }
        if !reader.about()?.is_complete {
            stored.notes.push("the catalog was begun anew and does not have all backups yet: `amber list --repo` has".to_owned());
        }
        let Some(rows) = answer.json().get_mut("rows").and_then(Value::as_array_mut).map(std::mem::take) else {
            return Err(Error::bug("the catalog's answer has no rows"));
        };
        for row in rows.into_iter().rev() {
            stored.backups.push(flat(row)?);
        }
        Ok(stored)
    }

    /// The backups of a tier.
    fn of(&self, tier: &'static dyn Tier) -> impl Iterator<Item = &Value> {
        self.backups.iter().filter(|backup| backup["type"] == tier.work().text())
    }

    fn find(&self, wanted: Option<&str>) -> Result<&Value> {
        let path = &self.path;
        let Some(wanted) = wanted else {
            let reach = |backup: &&Value| (backup["timeline"].as_u64(), backup["recovered_to_op"].as_u64(), backup["ended_ns"].as_u64());
            let newest = tiers().iter().find_map(|tier| self.of(*tier).max_by_key(reach));
            return newest.ok_or_else(|| Error::input(format!("{path}: the catalog has no backup yet")));
        };
        let is_wanted = |value: &Value| !value.is_null() && plain(value) == wanted;
        let fits = |backup: &&Value| ["run", "location", "checkpoint_op"].into_iter().any(|field| is_wanted(&backup[field]));
        let found: Vec<&Value> = self.backups.iter().filter(fits).collect();
        match found[..] {
            [backup] => Ok(backup),
            [] => Err(Error::input(format!(
                "{path}: the catalog has no backup {wanted:?}; `amber list` with the same catalog shows what it has"
            ))),
            _ => Err(Error::input(format!("{} backups fit {wanted:?}: name one by its run, as `amber list` prints it", found.len()))),
        }
    }
}

/// A row with the figures of its kind of work as members of its own, named as `amber list` names
/// them without a catalog.
fn flat(mut row: Value) -> Result<Value> {
    let Value::Object(fields) = &mut row else { return Err(Error::bug("the catalog's row is no object")) };
    if let Some(text) = fields.remove("details").as_ref().and_then(Value::as_str) {
        let details: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let run = fields.get("run").map(plain).unwrap_or_default();
            Error::damaged(format!("the catalog's details of run {run} are no JSON ({error}): `amber catalog rebuild` makes it again"))
                .caused_by(error)
        })?;
        for (name, value) in details {
            fields.entry(name).or_insert(value);
        }
    }
    let location = fields.get("location").cloned().unwrap_or_default();
    fields.entry("name").or_insert(location);
    Ok(row)
}

fn shown(path: &str, backup: &Value) -> String {
    let fields = backup.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let mut rows = vec![("catalog".to_owned(), path.to_owned())];
    rows.extend(fields.map(|(name, value)| (label(name), said(name, value))));
    let rows: Vec<(&str, String)> = rows.iter().map(|(label, value)| (label.as_str(), value.clone())).collect();
    facts(&rows)
}

/// A field's name for people: times carry no unit.
fn label(name: &str) -> String {
    name.strip_suffix("_ns").unwrap_or(name).replace('_', " ")
}

/// A value for people: a time or a size according to its field's unit.
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
    use crate::repository::run_record::{Run, RunOutcome, RunRecord, RunSink, Scope, Work};
    use crate::repository::sample::create;
    use crate::store::memory::MemoryStore;

    const START_NS: u64 = 1_700_000_000_000_000_000;

    fn put(catalog: &Catalog, run: u64, work: Work, completed: bool, details: &Value) {
        let details = details.as_object().unwrap().clone().into_iter().collect();
        let outcome = if completed { RunOutcome::completed(START_NS + 90_000_000_000) } else { RunOutcome::failed(START_NS, "on purpose") };
        let stored = RunOutcome {
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
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("note: the catalog was begun anew"), "{said}");
        let none = show(&reader(), None).map(|report| report.text).unwrap_err();
        assert!(none.message.contains("no backup yet"), "{none}");

        put(&catalog, 3, Work::File, true, &json!({ "name": "archive", "file_bytes": 2048 }));
        put(&catalog, 2, Work::Tigerbeetle, true, &checkpoint(1919));
        put(&catalog, 1, Work::Tigerbeetle, true, &checkpoint(959));
        put(&catalog, 4, Work::Tigerbeetle, false, &json!({}));
        let said = list(&reader()).unwrap().text;
        let lines: Vec<Vec<&str>> =
            said.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect()).collect();
        assert!(lines[0][0].starts_with("3 backups by the catalog "), "{said}");
        let headings = ["checkpoint", "restorable ops", "recovered to", "replica", "timeline", "blocks", "stored", "run"];
        assert_eq!(lines[3], headings);
        assert_eq!(lines[4], ["959", "960..999", "2023-11-14T22:13:20Z", "2", "1", "7", "4.0 KiB", "0000000000000001"]);
        assert_eq!(lines[5][0], "1919");
        assert_eq!(lines[7], ["file", "stored at", "size", "stored", "from", "run"]);
        assert_eq!(lines[8], ["archive", "2023-11-14T22:14:50Z", "2.0 KiB", "4.0 KiB", "-", "0000000000000003"]);

        let shown = |wanted| show(&reader(), wanted).unwrap().text;
        let newest = shown(None);
        assert!(newest.contains("1919") && newest.contains("recovered to timestamp  2023-11-14T22:13:20Z"), "{newest}");
        assert!(shown(Some("959")).contains("0000000000000001"));
        assert!(shown(Some("an/object/3")).contains("archive"));
        let none = show(&reader(), Some("4")).map(|report| report.text).unwrap_err();
        assert!(none.message.contains("no backup \"4\""), "{none}");
        assert!(show(&reader(), Some("-")).is_err(), "what a backup does not have is no name of it");
    }

    #[test]
    fn the_newest_reaches_furthest_on_the_newest_timeline() {
        let backup = |timeline: u64, op: u64| json!({ "type": "tigerbeetle", "timeline": timeline, "recovered_to_op": op });
        let mut stored = Stored { path: String::new(), notes: Vec::new(), backups: Vec::new() };
        stored.backups = vec![backup(1, 900), backup(2, 500), backup(2, 700), backup(2, 600)];
        assert_eq!(stored.find(None).unwrap(), &backup(2, 700));
    }

    #[test]
    fn details_that_are_no_json_are_damage() {
        let error = flat(json!({ "run": "0b", "details": "{" })).unwrap_err();
        assert!(error.message.contains("details of run 0b"), "{error}");
        assert_eq!(flat(json!({ "location": "a", "details": null })).unwrap(), json!({ "location": "a", "name": "a" }));
        assert_eq!(flat(json!({ "location": "a", "details": "{\"name\": 1}" })).unwrap(), json!({ "location": "a", "name": 1 }));
    }
}
