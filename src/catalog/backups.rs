//! Turns rows of backups back into the records that they were made from: what, according to the
//! catalog, a ledger must contain.
//!
//! This is the inverse of [`super::row`], as far as a row keeps a record: times are in
//! microseconds, and the figures of the kind of work are missing. A row that fits the tables but
//! can come from no record, because somebody has altered it, is reported with what is wrong with
//! it.

use super::row::{DAY_US, Evidence, Table};
use crate::repository::run_record::{Run, RunOutcome, RunRecord, Scope, Work};
use std::collections::BTreeMap;
use uuid::Uuid;

/// All rows of backups. In place of a row that can come from no record: its run, and what is wrong
/// with it.
pub type BackupRows = Vec<Result<BackupRow, (String, String)>>;

/// A row of the table of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRow {
    /// Its run's id, by which messages name it.
    pub run: String,
    /// The backup's id.
    pub id: Uuid,
    /// What it is based on. A row that is based on the backup alone has no record of the run's end,
    /// and so no event, until somebody records the end.
    pub evidence: Evidence,
    /// The record that it was made from.
    pub record: RunRecord,
}

/// The query whose rows [`parse`] takes: of every table of runs what events are made of, as text.
/// What is no backup stores nothing, and is kept for ever. Of a run with several rows the first has
/// the run's own id.
pub(super) fn sql() -> String {
    let of_backups = format!(
        "SELECT id::VARCHAR, run, evidence, backup_type, backup_scope, tenant_id, job, run_by, epoch_us(start_time)::VARCHAR, \
         epoch_us(end_time)::VARCHAR, epoch_us(retention_until)::VARCHAR, status, backup_size_bytes::VARCHAR, backup_location, checksum, \
         compression, encryption, reason, start_time FROM {}",
        Table::Backups.name()
    );
    let others = Work::ALL.iter().filter(|work| !work.is_backup()).map(|work| {
        format!(
            "SELECT id::VARCHAR, run, evidence, '{}', backup_scope, tenant_id, job, run_by, epoch_us(start_time)::VARCHAR, \
             epoch_us(end_time)::VARCHAR, NULL, status, CASE WHEN end_time IS NULL THEN NULL ELSE '0' END, NULL, NULL, 'none', 'none', \
             reason, start_time FROM {} QUALIFY row_number() OVER (PARTITION BY run ORDER BY id) = 1",
            work.text(),
            Table::of(*work).name()
        )
    });
    let all: Vec<String> = std::iter::once(of_backups).chain(others).collect();
    format!("SELECT * EXCLUDE (start_time) FROM ({}) ORDER BY start_time, run", all.join(" UNION ALL "))
}

/// How many columns [`sql`] selects.
pub(super) const COLUMNS: usize = 18;

/// Parses a row of [`sql`]. The error is its run and what is wrong with it.
pub(super) fn parse(row: Vec<Option<String>>) -> Result<BackupRow, (String, String)> {
    let run = row.get(1).cloned().flatten().unwrap_or_default();
    let Ok(fields) = <[Option<String>; COLUMNS]>::try_from(row) else { return Err((run, "it has not the columns of a backup".to_owned())) };
    of_fields(&run, fields).map_err(|wrong| (run, format!("the catalog's row gives no record: {wrong}")))
}

fn of_fields(name: &str, fields: [Option<String>; COLUMNS]) -> Result<BackupRow, String> {
    let [
        id,
        _,
        evidence,
        work,
        scope,
        tenant,
        job,
        by,
        started,
        ended,
        until,
        status,
        stored,
        location,
        checksum,
        compression,
        encryption,
        reason,
    ] = fields;
    let started_us = microseconds("start_time", started)?.ok_or("it has no start_time")?;
    let ended_us = microseconds("end_time", ended)?;
    let until_us = microseconds("retention_until", until)?;
    let text = |text: Option<String>| text.unwrap_or_default();
    let outcome = match (status.as_deref(), ended_us) {
        (Some("started"), None) => None,
        (Some(status @ ("completed" | "failed")), Some(ended_us)) => Some(RunOutcome {
            completed: status == "completed",
            ended_ns: ended_us * 1000,
            stored_bytes: stored.and_then(|stored| stored.parse().ok()).ok_or("it has ended and no backup_size_bytes")?,
            location: text(location),
            checksum: text(checksum),
            compression: text(compression),
            encryption: text(encryption),
            reason: text(reason),
            details: BTreeMap::new(),
        }),
        _ => return Err(format!("status {status:?} does not go with its end_time")),
    };
    let run = Run {
        work: word::<Work>("backup_type", work)?,
        scope: word::<Scope>("backup_scope", scope)?,
        tenant,
        job: text(job),
        by: text(by),
        started_ns: started_us * 1000,
        retention_days: days(ended_us.unwrap_or(started_us), until_us)?,
    };
    let id = id.and_then(|id| Uuid::parse_str(&id).ok()).ok_or("its id is no UUID")?;
    let evidence = evidence.as_deref().and_then(Evidence::parse).ok_or("its evidence is unknown")?;
    Ok(BackupRow { run: name.to_owned(), id, evidence, record: RunRecord { run, outcome } })
}

/// Parses a time, which must fit into 64 bits as nanoseconds.
fn microseconds(column: &str, text: Option<String>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(time_us) if time_us <= u64::MAX / 1000 => Ok(Some(time_us)),
        _ => Err(format!("its {column} is {text} microseconds after 1970")),
    }
}

/// Parses the word that records use for a kind of work or a scope.
fn word<T: serde::de::DeserializeOwned>(column: &str, text: Option<String>) -> Result<T, String> {
    let value = text.map_or(serde_json::Value::Null, serde_json::Value::String);
    serde_json::from_value(value.clone()).map_err(|_| format!("its {column} is {value}"))
}

/// For how many days a backup is retained; 0 is for ever.
fn days(begin_us: u64, until_us: Option<u64>) -> Result<u16, String> {
    let Some(until_us) = until_us else { return Ok(0) };
    let kept_us = until_us.checked_sub(begin_us).filter(|kept_us| kept_us.is_multiple_of(DAY_US.unsigned_abs()));
    let days = kept_us.and_then(|kept_us| u16::try_from(kept_us / DAY_US.unsigned_abs()).ok()).filter(|days| *days > 0);
    days.ok_or_else(|| "its retention_until is no whole number of days behind the end".to_owned())
}
