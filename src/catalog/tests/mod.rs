//! The catalog over a repository in memory: rows and their order, migrations, damage, SQL that
//! tries to do more than read.

mod backups;
mod order;
mod query;
mod rebuild;
mod schema;
mod writer;

use super::reader::{Answer, Reader};
use super::writer::Catalog;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::{Run, RunOutcome, RunRecord, Scope, Work};
use crate::repository::sample::create;
use crate::store::memory::MemoryStore;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A time without fractions of a second, so that times are short in the tables.
const START_NS: u64 = 1_700_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

struct Fixture {
    pub(crate) store: MemoryStore,
    pub(crate) repository: Arc<Repository>,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let store = MemoryStore::new();
        Fixture { repository: create(&store).unwrap(), store, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn catalog(&self) -> Catalog {
        Catalog::new(&self.repository, self.path())
    }

    fn id(&self, run: RunId) -> String {
        self.repository.backup_id(run).to_string()
    }

    /// The names of the files in the folder.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn ask(folder: &Path, sql: &str) -> Answer {
    Reader::open(folder).unwrap().query(sql).unwrap()
}

/// The rows of an answer as text; NULL is empty.
fn rows(folder: &Path, sql: &str) -> Vec<Vec<String>> {
    ask(folder, sql).rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect()
}

/// The content of all tables.
fn content(folder: &Path) -> Vec<Vec<Vec<String>>> {
    super::row::Table::ALL.iter().map(|table| rows(folder, &format!("SELECT * FROM {} ORDER BY id", table.name()))).collect()
}

fn begun(work: Work) -> RunRecord {
    let run = Run {
        work,
        scope: Scope::Incremental,
        tenant: None,
        job: "checkpoint".to_owned(),
        by: "0123456789abcdef0123456789abcdef".to_owned(),
        started_ns: START_NS,
        retention_days: 0,
    };
    RunRecord { run, outcome: None }
}

fn ended(work: Work, outcome: RunOutcome) -> RunRecord {
    RunRecord { outcome: Some(outcome), ..begun(work) }
}

/// The outcome of a backup that succeeded.
fn stored(details: &[(&str, Value)]) -> RunOutcome {
    RunOutcome {
        stored_bytes: 4096,
        location: "tigerbeetle/checkpoints/00000001/00000000000000000959-00-0000000000000001".to_owned(),
        checksum: "ab".repeat(32),
        compression: "zstd".to_owned(),
        encryption: "aes256".to_owned(),
        details: details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        ..RunOutcome::completed(START_NS + 90 * SECOND_NS)
    }
}

fn verified() -> RunOutcome {
    let details = [("is_full", json!(true)), ("backups", json!(3)), ("problems", json!(0)), ("objects", json!("many"))];
    RunOutcome {
        details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..RunOutcome::completed(START_NS + SECOND_NS)
    }
}
