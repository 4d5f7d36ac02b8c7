//! The rows of a run: one in the table of its work, and another in the table of keys if it backs
//! one up.
//!
//! A row follows from the run's record alone, so it is the same whoever writes it. [`Evidence`]
//! says what a row is based on. More evidence replaces less, and equal evidence changes nothing, so
//! the order in which records come does not matter.

use crate::repository::name::RunId;
use crate::repository::run_record::{RunOutcome, RunRecord, Work};
use duckdb::types::{TimeUnit, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Microseconds of a day.
pub(super) const DAY_US: i64 = 86_400_000_000;

/// What is known about a run, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The record of its beginning.
    Started,
    /// The backup that it made; there is no record of its end.
    Backup,
    /// The record of its end.
    Ended,
}

impl Evidence {
    const ALL: [Evidence; 3] = [Evidence::Started, Evidence::Backup, Evidence::Ended];

    /// The word for it in the tables.
    pub fn text(self) -> &'static str {
        match self {
            Evidence::Started => "started",
            Evidence::Backup => "backup",
            Evidence::Ended => "ended",
        }
    }

    /// Parses the word for it in the tables.
    pub fn parse(text: &str) -> Option<Evidence> {
        Evidence::ALL.into_iter().find(|evidence| evidence.text() == text)
    }
}

/// A run, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRun {
    /// Its id.
    pub run: RunId,
    /// Its record; where there is none of its end, the record that the backup leads to.
    pub record: RunRecord,
    /// What that is based on.
    pub evidence: Evidence,
}

impl KnownRun {
    /// A run by its record.
    pub fn recorded(run: RunId, record: &RunRecord) -> KnownRun {
        let evidence = if record.outcome.is_some() { Evidence::Ended } else { Evidence::Started };
        KnownRun { run, record: record.clone(), evidence }
    }
}

/// A table of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Backups.
    Backups,
    /// Backed-up keys.
    Keys,
    /// Verifications.
    Verifications,
    /// Drills.
    Drills,
    /// Deletions of what has expired.
    Retention,
    /// Restores.
    Restores,
    /// What was aimed for and met.
    Objectives,
}

/// Adds the key in front of a table's own columns, and behind them those that every table of runs
/// ends with.
macro_rules! with_run {
    ($($column:literal),*) => {
        &["id", $($column,)* "created_at", "run", "job", "run_by", "reason", "details", "evidence"]
    };
}

/// The same with what a run of any kind has, as the tables of runs that are no backups end.
macro_rules! with_scope {
    ($($column:literal),*) => {
        &["id", $($column,)* "created_at", "run", "job", "run_by", "reason", "details", "evidence", "backup_scope", "tenant_id"]
    };
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 7] =
        [Table::Backups, Table::Keys, Table::Verifications, Table::Drills, Table::Retention, Table::Restores, Table::Objectives];

    /// Its name in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Table::Backups => "backup_metadata",
            Table::Keys => "kms_key_backups",
            Table::Verifications => "verification_runs",
            Table::Drills => "recovery_drills",
            Table::Retention => "retention_runs",
            Table::Restores => "restore_runs",
            Table::Objectives => "objectives",
        }
    }

    /// Its columns, in the order of a row's values. The first is the key.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Backups => with_run!(
                "backup_type",
                "backup_scope",
                "tenant_id",
                "start_time",
                "end_time",
                "status",
                "backup_size_bytes",
                "backup_location",
                "checksum",
                "compression",
                "encryption",
                "retention_until"
            ),
            Table::Keys => {
                &["id", "key_id", "key_version", "wrapped_by", "status", "backup_location", "checksum", "created_at", "run", "evidence"]
            }
            Table::Verifications => with_scope!(
                "start_time",
                "end_time",
                "status",
                "is_full",
                "backups",
                "backups_whole",
                "files",
                "files_whole",
                "objects",
                "bytes_read",
                "problems"
            ),
            Table::Drills => {
                with_scope!(
                    "start_time",
                    "end_time",
                    "status",
                    "kind",
                    "backup_location",
                    "restored_op",
                    "restored_bytes",
                    "restore_seconds"
                )
            }
            Table::Retention => with_scope!("start_time", "end_time", "status", "backups_removed", "objects_removed", "bytes_removed"),
            Table::Objectives => with_scope!(
                "tier",
                "start_time",
                "end_time",
                "status",
                "recovery_point_seconds",
                "recovery_point_objective_seconds",
                "recovery_time_seconds",
                "recovery_time_objective_seconds",
                "is_measured"
            ),
            Table::Restores => with_scope!(
                "start_time",
                "end_time",
                "status",
                "tier",
                "backup_location",
                "restored_bytes",
                "restore_seconds",
                "expected_seconds"
            ),
        }
    }

    pub(super) fn of(work: Work) -> Table {
        match work {
            Work::Verification => Table::Verifications,
            Work::Drill => Table::Drills,
            Work::Retention => Table::Retention,
            Work::Restore => Table::Restores,
            Work::Objectives => Table::Objectives,
            // Every tier's backups, also those of tiers that this table never hears of.
            _ => Table::Backups,
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub id: Uuid,
    /// What it is based on.
    pub evidence: Evidence,
    /// A value for each column of the table.
    pub values: Vec<Value>,
}

/// The rows of a run whose backup has this id. The error says what does not fit into the tables.
pub(super) fn rows_of(id: Uuid, known: &KnownRun) -> Result<Vec<Row>, String> {
    if known.record.run.work == Work::Objectives {
        return rows_of_objectives(id, known);
    }
    let facts = Facts { id, known };
    facts.check()?;
    let table = Table::of(known.record.run.work);
    let keys = (known.record.run.work == Work::Kms).then_some(Table::Keys);
    Ok(std::iter::once(table).chain(keys).map(|table| facts.row(table)).collect())
}

/// A row for each tier that was looked at; one without a tier until the run has ended. The row of
/// the first tier takes the place of that one.
fn rows_of_objectives(id: Uuid, known: &KnownRun) -> Result<Vec<Row>, String> {
    let details = known.record.outcome.as_ref().and_then(|outcome| outcome.details.get("tiers")).and_then(|tiers| tiers.as_array());
    let mut rows = Vec::new();
    for (number, tier) in (0_u64..).zip(details.map_or(&[][..], Vec::as_slice)) {
        let mut of_tier = known.clone();
        if let Some(outcome) = &mut of_tier.record.outcome {
            outcome.details = tier.as_object().map(|figures| figures.clone().into_iter().collect()).unwrap_or_default();
        }
        let id = if number == 0 { id } else { Uuid::from_u128(id.as_u128().wrapping_add(u128::from(number) << 64)) };
        rows.push(Facts { id, known: &of_tier }.row(Table::Objectives));
    }
    if rows.is_empty() {
        rows.push(Facts { id, known }.row(Table::Objectives));
    }
    Ok(rows)
}

struct Facts<'a> {
    id: Uuid,
    known: &'a KnownRun,
}

impl Facts<'_> {
    /// Checks what the tables would refuse too. Here the error can name the run.
    fn check(&self) -> Result<(), String> {
        let record = &self.known.record;
        if let Some(tenant) = &record.run.tenant
            && (tenant.parse::<u128>().is_err() || tenant.bytes().any(|byte| !byte.is_ascii_digit()))
        {
            return Err(format!("its tenant {tenant:?} is no number of 128 bits"));
        }
        let Some(outcome) = &record.outcome else { return Ok(()) };
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let known = |text: &str, words: &[&str]| words.contains(&text);
        if !known(&outcome.compression, &["none", "gzip", "zstd"]) || !known(&outcome.encryption, &["none", "aes256"]) {
            return Err(format!("its compression {:?} or encryption {:?} is unknown", outcome.compression, outcome.encryption));
        }
        if !outcome.checksum.is_empty() && !is_digest(&outcome.checksum) {
            return Err(format!("its checksum {:?} is no SHA-256", outcome.checksum));
        }
        Ok(())
    }

    fn row(&self, table: Table) -> Row {
        let values = table.columns().iter().map(|column| self.value(column)).collect();
        Row { table, id: self.id, evidence: self.known.evidence, values }
    }

    fn value(&self, column: &str) -> Value {
        let (run, outcome) = (&self.known.record.run, self.known.record.outcome.as_ref());
        let of_outcome = |value: fn(&RunOutcome) -> Value| outcome.map_or(Value::Null, value);
        match column {
            "id" => text(&self.id.to_string()),
            "backup_type" => text(run.work.text()),
            "backup_scope" => text(run.scope.text()),
            "tenant_id" => run.tenant.as_deref().map_or(Value::Null, text),
            // The time of creation is the beginning of the run, so that a row that is made again is
            // the same.
            "start_time" | "created_at" => time(run.started_ns),
            "end_time" => of_outcome(|outcome| time(outcome.ended_ns)),
            "status" => text(outcome.map_or("started", |outcome| if outcome.completed { "completed" } else { "failed" })),
            "backup_size_bytes" => of_outcome(|outcome| Value::UBigInt(outcome.stored_bytes)),
            "backup_location" => of_outcome(|outcome| text_or_null(&outcome.location)),
            "checksum" => of_outcome(|outcome| text_or_null(&outcome.checksum)),
            "compression" => of_outcome(|outcome| text(&outcome.compression)),
            "encryption" => of_outcome(|outcome| text(&outcome.encryption)),
            "retention_until" => self.retention_until(),
            "run" => text(&self.known.run.to_string()),
            "job" => text(&run.job),
            "run_by" => text(&run.by),
            "reason" => of_outcome(|outcome| text_or_null(&outcome.reason)),
            "details" => of_outcome(|outcome| details_text(&outcome.details)),
            "evidence" => text(self.known.evidence.text()),
            // Every other column is a figure of the kind of work.
            figure => outcome.and_then(|outcome| outcome.details.get(figure)).map_or(Value::Null, |value| figure_of(figure, value)),
        }
    }

    fn retention_until(&self) -> Value {
        let run = &self.known.record.run;
        if run.retention_days == 0 {
            return Value::Null;
        }
        let begin_ns = self.known.record.outcome.as_ref().map_or(run.started_ns, |outcome| outcome.ended_ns);
        Value::Timestamp(TimeUnit::Microsecond, microseconds(begin_ns).saturating_add(i64::from(run.retention_days) * DAY_US))
    }
}

fn microseconds(time_ns: u64) -> i64 {
    i64::try_from(time_ns / 1000).unwrap_or(i64::MAX)
}

fn time(time_ns: u64) -> Value {
    Value::Timestamp(TimeUnit::Microsecond, microseconds(time_ns))
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn text_or_null(value: &str) -> Value {
    if value.is_empty() { Value::Null } else { text(value) }
}

fn details_text(details: &BTreeMap<String, serde_json::Value>) -> Value {
    if details.is_empty() {
        return Value::Null;
    }
    serde_json::to_string(details).map_or(Value::Null, Value::Text)
}

/// The value of a figure in its column's type; NULL if the figure has another type.
fn figure_of(column: &str, value: &serde_json::Value) -> Value {
    match column {
        "is_full" | "is_measured" => value.as_bool().map_or(Value::Null, Value::Boolean),
        "restore_seconds"
        | "expected_seconds"
        | "recovery_point_seconds"
        | "recovery_point_objective_seconds"
        | "recovery_time_seconds"
        | "recovery_time_objective_seconds" => value.as_f64().map_or(Value::Null, Value::Double),
        "key_id" | "key_version" | "wrapped_by" | "kind" | "tier" => value.as_str().map_or(Value::Null, text),
        _ => value.as_u64().map_or(Value::Null, Value::UBigInt),
    }
}
