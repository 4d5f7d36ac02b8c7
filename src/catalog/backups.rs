//! Rows of backups as the records that they were made of: what the catalog says there must be in a
//! ledger.
//!
//! The opposite of [`super::row`], as far as a row keeps a record: times in microseconds, and no
//! figures of the kind of work. A row that the tables take and no record gives, one that somebody
//! has altered, is told with what is wrong with it.

use super::row::{DAY_US, Evidence, Table};
use crate::repository::run_record::{Run, RunOutcome, RunRecord, Scope, Work};
use std::collections::BTreeMap;
use uuid::Uuid;

/// All rows of backups; in place of one that no record gives, its run and what is wrong with it.
pub type BackupRows = Vec<Result<BackupRow, (String, String)>>;

/// A row of the backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRow {
    /// Its run's number, which is its name in what is said of it.
    pub run: String,
    /// The backup's id.
    pub id: Uuid,
    /// What it rests on. One that rests on the backup alone has no record, and so no event, until
    /// somebody records the end.
    pub evidence: Evidence,
    /// What it says.
    pub record: RunRecord,
}

/// What [`parse`] takes, in its order: text of every column of the table but the figures of its
/// kind of work.
pub(super) fn sql() -> String {
    format!(
        "SELECT id::VARCHAR, run, evidence, backup_type, backup_scope, tenant_id, job, run_by, epoch_us(start_time)::VARCHAR, \
         epoch_us(end_time)::VARCHAR, epoch_us(retention_until)::VARCHAR, status, backup_size_bytes::VARCHAR, backup_location, checksum, \
         compression, encryption, reason FROM {} ORDER BY start_time, run",
        Table::Backups.name()
    )
}

/// Columns of [`sql`].
pub(super) const COLUMNS: usize = 18;

/// A row of [`sql`], or the run and what is wrong with it.
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

/// A time, at most what nanoseconds in 64 bits hold.
fn microseconds(column: &str, text: Option<String>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(time_us) if time_us <= u64::MAX / 1000 => Ok(Some(time_us)),
        _ => Err(format!("its {column} is {text} microseconds after 1970")),
    }
}

/// The records' own word for a kind of work or a scope.
fn word<T: serde::de::DeserializeOwned>(column: &str, text: Option<String>) -> Result<T, String> {
    let value = text.map_or(serde_json::Value::Null, serde_json::Value::String);
    serde_json::from_value(value.clone()).map_err(|_| format!("its {column} is {value}"))
}

/// For how many days a backup is kept; 0 is for ever.
fn days(begin_us: u64, until_us: Option<u64>) -> Result<u16, String> {
    let Some(until_us) = until_us else { return Ok(0) };
    let kept_us = until_us.checked_sub(begin_us).filter(|kept_us| kept_us.is_multiple_of(DAY_US.unsigned_abs()));
    let days = kept_us.and_then(|kept_us| u16::try_from(kept_us / DAY_US.unsigned_abs()).ok()).filter(|days| *days > 0);
    days.ok_or_else(|| "its retention_until is no whole number of days behind the end".to_owned())
}
