//! The records of runs: one when a run begins and one when it has ended, so that what the catalog
//! shows can be made again from the repository alone.
//!
//! A run is a backup, a verification, or any other job. Its number is drawn before it begins
//! ([`Repository::new_run`]) and is also that of the backup that it makes. So a manifest and the
//! records of its run find one another without naming one another, and a run that was killed after
//! it wrote its manifest has a backup all the same.
//!
//! A run that began and has no end was killed. Whoever may say so (its own agent, at its next
//! start) records the end. Both records are written once. A run of the command line, whose
//! beginning nobody needs to see, has only the end, which contains everything that the beginning
//! does.

use super::frame::ObjectKind;
use super::name::{self, RunId, RunName};
use super::{Repository, record};
use crate::error::{Error, Kind, Result};
use crate::pipeline::digest::digest_of;
use crate::store::PutOutcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The job name of runs of the command line.
pub const COMMAND_LINE: &str = "command line";

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Backs up a TigerBeetle replica.
    Tigerbeetle,
    /// Backs up a DuckDB database.
    Duckdb,
    /// Backs up Parquet archives.
    Parquet,
    /// Backs up a key.
    Kms,
    /// Backs up a plain file.
    File,
    /// Backs up the catalog.
    Catalog,
    /// Backs up a jar: the tier that tests add.
    #[cfg(test)]
    Toy,
    /// Checks what the repository holds.
    Verification,
    /// Restores, to see that it can be done.
    Drill,
    /// Removes what has outlived its time.
    Retention,
    /// Restores, because somebody needs what is restored.
    Restore,
    /// Compares what was aimed for with what was met.
    Objectives,
}

impl Work {
    /// All kinds.
    pub const ALL: &[Work] = &[
        Work::Tigerbeetle,
        Work::Duckdb,
        Work::Parquet,
        Work::Kms,
        Work::File,
        Work::Catalog,
        Work::Verification,
        Work::Drill,
        Work::Retention,
        Work::Restore,
        Work::Objectives,
        #[cfg(test)]
        Work::Toy,
    ];

    /// Its number in events. The first four are the backups of the design; backups of other tiers
    /// follow, and what is no backup begins at 16. A number is never changed or used again.
    pub fn event_number(self) -> u8 {
        match self {
            Work::Tigerbeetle => 1,
            Work::Duckdb => 2,
            Work::Parquet => 3,
            Work::Kms => 4,
            Work::File => 5,
            Work::Catalog => 6,
            Work::Verification => 16,
            Work::Drill => 17,
            Work::Retention => 18,
            Work::Restore => 19,
            Work::Objectives => 20,
            #[cfg(test)]
            Work::Toy => 15,
        }
    }

    /// Its name in records and in the catalog.
    pub fn text(self) -> &'static str {
        match self {
            Work::Tigerbeetle => "tigerbeetle",
            Work::Duckdb => "duckdb",
            Work::Parquet => "parquet",
            Work::Kms => "kms",
            Work::File => "file",
            Work::Catalog => "catalog",
            #[cfg(test)]
            Work::Toy => "toy",
            Work::Verification => "verification",
            Work::Drill => "drill",
            Work::Retention => "retention",
            Work::Restore => "restore",
            Work::Objectives => "objectives",
        }
    }

    /// Whether it makes a backup.
    pub fn is_backup(self) -> bool {
        !matches!(self, Work::Verification | Work::Drill | Work::Retention | Work::Restore | Work::Objectives)
    }
}

/// How much of its source a backup holds by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of it.
    Full,
    /// Only what an earlier one does not hold; it needs that one.
    Incremental,
}

impl Scope {
    /// Its name in records and in the catalog.
    pub fn text(self) -> &'static str {
        match self {
            Scope::Full => "full",
            Scope::Incremental => "incremental",
        }
    }
}

/// A run as it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it does.
    pub work: Work,
    /// How much a backup holds by itself.
    pub scope: Scope,
    /// The tenant whose data it is, in decimal; `None` where it is everybody's.
    pub tenant: Option<String>,
    /// The job of the schedule that it belongs to, or `command line`.
    pub job: String,
    /// Who runs it: the agent's token, or host and process of a command.
    pub by: String,
    /// When it began, in nanoseconds since the epoch by its machine's clock.
    pub started_ns: u64,
    /// For how many days a backup is to be kept; 0 means for ever.
    pub retention_days: u16,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Whether it did what it was meant to do.
    pub completed: bool,
    /// When it ended, in nanoseconds since the epoch.
    pub ended_ns: u64,
    /// What a backup stored.
    pub stored_bytes: u64,
    /// The object by which a backup exists; empty where there is none.
    pub location: String,
    /// SHA-256 of that object's stored bytes: 64 hexadecimal digits. It authenticates everything
    /// that the object names. Empty where there is none.
    pub checksum: String,
    /// How stored bytes are compressed: `none`, `gzip` or `zstd`.
    pub compression: String,
    /// How they are encrypted: `none` or `aes256`.
    pub encryption: String,
    /// Why it failed, and what to do; empty where it did not.
    pub reason: String,
    /// Figures that belong to its kind of work.
    pub details: BTreeMap<String, serde_json::Value>,
}

impl RunOutcome {
    /// A run that failed.
    pub fn failed(ended_ns: u64, reason: impl Into<String>) -> RunOutcome {
        RunOutcome { completed: false, ended_ns, reason: reason.into(), ..RunOutcome::completed(ended_ns) }
    }

    /// A run that made no backup and went well.
    pub fn completed(ended_ns: u64) -> RunOutcome {
        let (compression, encryption) = ("none".to_owned(), "none".to_owned());
        let (location, checksum, reason) = (String::new(), String::new(), String::new());
        RunOutcome {
            completed: true,
            ended_ns,
            stored_bytes: 0,
            location,
            checksum,
            compression,
            encryption,
            reason,
            details: BTreeMap::new(),
        }
    }
}

/// The record of a run. That of its beginning has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// What began.
    #[serde(flatten)]
    pub run: Run,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
}

/// Where the records of runs go: a repository, a catalog, or an outbox before both. Putting the
/// same record again changes nothing.
pub trait RunSink: Send + Sync {
    /// Puts a record. It is stored when this returns.
    ///
    /// # Errors
    /// [`Error::try_again`] when it could not be stored now.
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()>;
}

/// All runs that the repository knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    /// By their numbers, so the oldest comes first.
    pub runs: BTreeMap<RunId, RunRecord>,
    /// Objects that are damaged.
    pub damaged: Vec<String>,
}

impl Repository {
    /// The id that a run's backup has in the catalog. It is a custom UUID (version 8) of the
    /// repository's id and the run's number, so it is the same whoever computes it.
    pub fn backup_id(&self, run: RunId) -> Uuid {
        let digest = digest_of(&[b"amber/1/backup-id", &self.header().repository_id[..], &run.0.to_le_bytes()].concat());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Records that a run begins, or has ended. An earlier record of the same name stays.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn record_run(&self, run: RunId, record: &RunRecord) -> Result<PutOutcome> {
        let name = RunName { run, has_ended: record.outcome.is_some() };
        record::write(self, ObjectKind::Run, name.object(), record)
    }

    /// One record of a run.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or not what was written.
    pub fn run_record(&self, name: &RunName) -> Result<RunRecord> {
        let record: RunRecord = record::read(self, ObjectKind::Run, &name.object())?;
        if record.outcome.is_some() != name.has_ended {
            return Err(Error::damaged(format!("{}: it describes another moment of the run", name.object())));
        }
        Ok(record)
    }

    /// All runs, each as far as it is recorded.
    ///
    /// # Errors
    /// When the store cannot be read. Damage is not an error here; it is part of the result.
    pub fn runs(&self) -> Result<Runs> {
        let mut found = Runs::default();
        for name in self.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)) {
            match self.run_record(&name) {
                // The end comes first in the listing, and contains everything that the beginning
                // does.
                Ok(record) => drop(found.runs.entry(name.run).or_insert(record)),
                Err(error) if error.kind == Kind::Damaged => found.damaged.push(name.object()),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
