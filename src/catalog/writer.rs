//! Writes runs into the catalog: changes a copy and publishes it atomically.
//!
//! A catalog that is missing, damaged, no catalog at all or another repository's is begun anew,
//! because it is a cache and runs must be recorded. It is marked as not complete until
//! [`super::rebuild::refresh`] has added what the repository knows. Only a catalog of a newer
//! schema is refused: it is valid, and this program is too old for it.

use super::database::Database;
use super::folder::{Draft, Folder, Locked};
use super::row::{Evidence, KnownRun, Row, Table, rows_of};
use super::schema;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::{RunRecord, RunSink};
use duckdb::types::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// The catalog of a repository, for writing.
#[derive(Debug, Clone)]
pub struct Catalog {
    repository: Arc<Repository>,
    folder: Folder,
}

/// The result of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows that were not there before.
    pub added: u64,
    /// Rows about which more is known now.
    pub changed: u64,
    /// Why the catalog was begun anew, if it was.
    pub begun_anew: Option<String>,
    /// Runs that do not fit into the tables, and why.
    pub unfit: Vec<String>,
}

/// Which of all runs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coverage {
    /// Some.
    Some,
    /// All that the catalog did not have.
    Rest,
    /// All runs of the repository.
    Everything,
}

impl Catalog {
    /// The catalog in this folder.
    pub fn new(repository: &Arc<Repository>, folder: &Path) -> Catalog {
        Catalog { repository: Arc::clone(repository), folder: Folder::new(folder, repository.clock()) }
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its repository.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// Writes runs. What the catalog knows already changes nothing; if nothing is new, nothing is
    /// written.
    ///
    /// # Errors
    /// [`Error::input`] for a folder that cannot be used or a catalog of a newer schema,
    /// [`Error::try_again`] when the disk is full or the lock is taken.
    pub fn apply(&self, runs: &[KnownRun]) -> Result<Applied> {
        self.apply_of(runs, Coverage::Some)
    }

    /// The same, for a caller that knows which of all runs these are.
    pub(super) fn apply_of(&self, runs: &[KnownRun], coverage: Coverage) -> Result<Applied> {
        let mut unfit = Vec::new();
        let rows = self.rows(runs, &mut unfit);
        let locked = self.folder.lock()?;
        let applied = match self.change(&locked, &rows, coverage) {
            Err(error) if error.kind == Kind::Damaged => {
                let changed = self.begin_anew(&locked, &rows, coverage)?;
                Applied { begun_anew: Some(error.message), ..changed }
            }
            changed => changed?,
        };
        Ok(Applied { unfit, ..applied })
    }

    /// Changes a copy of the catalog, and publishes it if there is anything new in it.
    fn change(&self, locked: &Locked<'_>, rows: &[Row], coverage: Coverage) -> Result<Applied> {
        let Some(draft) = locked.copy()? else { return self.begin_anew(locked, rows, coverage) };
        let mut database = Database::open_to_work(draft.path())?;
        let version = schema::migrate(&mut database)?;
        let state = state(&database)?;
        if state.repository_id != self.repository_id() {
            return Err(Error::damaged(format!("{}: it is the catalog of another repository", self.folder.catalog().display())));
        }
        let (added, changed) = write(&database, rows)?;
        let becomes_complete = coverage != Coverage::Some && !state.is_complete;
        if becomes_complete {
            database.execute("UPDATE catalog_state SET is_complete = true")?;
        }
        if added + changed > 0 || version != schema::VERSION || becomes_complete {
            database.close()?;
            draft.publish()?;
        }
        Ok(Applied { added, changed, ..Applied::default() })
    }

    /// Publishes a new catalog with these rows only.
    fn begin_anew(&self, locked: &Locked<'_>, rows: &[Row], coverage: Coverage) -> Result<Applied> {
        let draft = locked.empty()?;
        let database = self.create(&draft, coverage == Coverage::Everything)?;
        let (added, changed) = write(&database, rows)?;
        database.close()?;
        draft.publish()?;
        Ok(Applied { added, changed, ..Applied::default() })
    }

    pub(super) fn rows(&self, runs: &[KnownRun], unfit: &mut Vec<String>) -> Vec<Row> {
        let mut rows = Vec::with_capacity(runs.len());
        for known in runs {
            match rows_of(self.repository.backup_id(known.run), known) {
                Ok(fit) => rows.extend(fit),
                Err(reason) => unfit.push(format!("run {}: {reason}", known.run)),
            }
        }
        rows
    }

    /// Makes an empty catalog.
    pub(super) fn create(&self, draft: &Draft<'_>, is_complete: bool) -> Result<Database> {
        let mut database = Database::open_to_work(draft.path())?;
        schema::migrate(&mut database)?;
        let id = Value::Text(self.repository_id().to_string());
        database.execute_all("INSERT INTO catalog_state VALUES (?, ?)", [vec![id, Value::Boolean(is_complete)]])?;
        Ok(database)
    }

    pub(super) fn repository_id(&self) -> Uuid {
        Uuid::from_bytes(self.repository.header().repository_id)
    }
}

impl RunSink for Catalog {
    fn put(&self, run: RunId, record: &RunRecord) -> Result<()> {
        let applied = self.apply(&[KnownRun::recorded(run, record)])?;
        match applied.unfit.into_iter().next() {
            None => Ok(()),
            Some(unfit) => Err(Error::bug(format!("{}: {unfit}", self.folder.catalog().display()))),
        }
    }
}

/// What a catalog says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub repository_id: Uuid,
    pub is_complete: bool,
}

/// Reads it.
///
/// # Errors
/// [`Error::damaged`] if it is not exactly one row.
pub(super) fn state(database: &Database) -> Result<State> {
    let rows = database.rows("SELECT repository_id::VARCHAR, is_complete::VARCHAR FROM catalog_state", &[], 2)?;
    let state = match &rows[..] {
        [row] => match &row[..] {
            [Some(id), Some(is_complete)] => {
                id.parse().ok().map(|repository_id| State { repository_id, is_complete: is_complete == "true" })
            }
            _ => None,
        },
        _ => None,
    };
    state.ok_or_else(|| Error::damaged(format!("{}: it does not say whose catalog it is", database.describe())))
}

/// Writes the rows that say more than the catalog does. Returns how many were added, and how many
/// were changed.
pub(super) fn write(database: &Database, rows: &[Row]) -> Result<(u64, u64)> {
    let mut tables: BTreeMap<Table, BTreeMap<Uuid, &Row>> = BTreeMap::new();
    for row in rows {
        let of_table = tables.entry(row.table).or_default();
        if of_table.get(&row.id).is_none_or(|other| other.evidence < row.evidence) {
            of_table.insert(row.id, row);
        }
    }
    let (mut added, mut changed) = (0, 0);
    for (table, mut rows) in tables {
        let known = known_of(database, table, &rows)?;
        rows.retain(|id, row| known.get(id).is_none_or(|evidence| *evidence < row.evidence));
        let replaced: Vec<Vec<Value>> = rows.keys().filter(|id| known.contains_key(id)).map(|id| vec![id_value(id)]).collect();
        changed += replaced.len() as u64;
        added += (rows.len() - replaced.len()) as u64;
        // This is not one transaction, because DuckDB considers a key taken until the transaction
        // that deletes it has ended. Nobody sees the draft in between.
        database.execute_all(&format!("DELETE FROM {} WHERE id = ?", table.name()), replaced)?;
        database.append(table.name(), rows.into_values().map(|row| row.values.clone()))?;
    }
    Ok((added, changed))
}

/// What the catalog knows already about these rows.
fn known_of(database: &Database, table: Table, rows: &BTreeMap<Uuid, &Row>) -> Result<BTreeMap<Uuid, Evidence>> {
    let mut known = BTreeMap::new();
    let name = table.name();
    if database.texts(&format!("SELECT evidence FROM {name} LIMIT 1"), &[])?.is_empty() {
        return Ok(known);
    }
    let sql = format!("SELECT evidence FROM {name} WHERE id = ?");
    for id in rows.keys() {
        let found = database.texts(&sql, &[id_value(id)])?;
        if let Some(evidence) = found.first().and_then(|text| Evidence::parse(text)) {
            known.insert(*id, evidence);
        }
    }
    Ok(known)
}

fn id_value(id: &Uuid) -> Value {
    Value::Text(id.to_string())
}
