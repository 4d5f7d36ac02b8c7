//! The catalog from the repository: brought up to date, or rebuilt from nothing and compared with
//! the old one.
//!
//! [`refresh`] reads what the catalog does not know yet. [`rebuild`] reads everything, writes a new
//! file and replaces the old one with it. Both read the repository without holding the catalog's
//! lock, so a run that ends meanwhile is written as always. A rebuild copies rows that are newer
//! than its beginning from the old file.

use super::compare::{Texts, compare, texts};
use super::database::Database;
use super::folder::{Draft, Locked};
use super::row::{Evidence, Table};
use super::schema;
use super::source::gather;
use super::writer::{Applied, Catalog, Coverage, state, write};
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::repository::name::RunId;
use duckdb::types::{TimeUnit, Value};
use std::collections::{BTreeMap, BTreeSet};

pub use super::compare::{Change, Difference, Field};

/// The result of a refresh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// The rows that were written.
    pub applied: Applied,
    /// Which parts of the repository could not be used, in sentences.
    pub notes: Vec<String>,
}

/// The result of a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many rows each table has.
    pub rows: BTreeMap<&'static str, u64>,
    /// Where the old catalog differed; `None` if there was nothing to compare with.
    pub differences: Option<Vec<Difference>>,
    /// Rows of runs that began or ended while the repository was read, as the old catalog had them.
    pub kept: u64,
    /// Which parts of the repository could not be used, and why there was nothing to compare with,
    /// in sentences.
    pub notes: Vec<String>,
}

/// Brings a catalog up to date: adds what the repository knows and the catalog does not. Makes the
/// catalog if there is none.
///
/// # Errors
/// When the store cannot be read; those of [`Catalog::apply`].
pub fn refresh(catalog: &Catalog, progress: &dyn Progress) -> Result<Refreshed> {
    let mut known = known_runs(catalog)?;
    loop {
        let coverage = if known.is_empty() { Coverage::Everything } else { Coverage::Rest };
        let gathered = gather(catalog.repository(), |run| known.get(&run).copied(), progress)?;
        let mut applied = catalog.apply_of(&gathered.runs, coverage)?;
        // The old catalog turned out to be damaged when rows were to be added, so what it knew is
        // lost and everything is read.
        if applied.begun_anew.is_some() && coverage == Coverage::Rest {
            known.clear();
            continue;
        }
        let notes = [gathered.notes, std::mem::take(&mut applied.unfit)].concat();
        return Ok(Refreshed { applied, notes });
    }
}

/// What the catalog knows about each run; empty if it cannot be used.
fn known_runs(catalog: &Catalog) -> Result<BTreeMap<RunId, Evidence>> {
    let locked = catalog.folder().lock()?;
    let Some(copy) = locked.copy_to_compare()? else { return Ok(BTreeMap::new()) };
    let read = || -> Result<BTreeMap<RunId, Evidence>> {
        let database = open_old(catalog, &copy)?;
        let mut known = BTreeMap::new();
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Keys) {
            database.each_row(&format!("SELECT run, evidence FROM {}", table.name()), &[], 2, |row| {
                if let [Some(run), Some(evidence)] = &row[..]
                    && let (Ok(run), Some(evidence)) = (u64::from_str_radix(run, 16), Evidence::parse(evidence))
                {
                    known.insert(RunId(run), evidence);
                }
                true
            })?;
        }
        Ok(known)
    };
    match read() {
        // It is begun anew when the rows are written.
        Err(error) if error.kind == Kind::Damaged => Ok(BTreeMap::new()),
        read => read,
    }
}

/// Rebuilds the catalog from the repository alone, and reports the differences from the one that it
/// replaces.
///
/// # Errors
/// When the store cannot be read, or the folder cannot be written to. The old catalog is unchanged
/// then.
pub fn rebuild(catalog: &Catalog, progress: &dyn Progress) -> Result<Rebuilt> {
    let began_ns = catalog.repository().clock().now_ns();
    let gathered = gather(catalog.repository(), |_| None, progress)?;
    let mut rebuilt = Rebuilt { notes: gathered.notes, ..Rebuilt::default() };
    let rows = catalog.rows(&gathered.runs, &mut rebuilt.notes);
    let locked = catalog.folder().lock()?;
    let old = Old::read(catalog, &locked, began_ns, &mut rebuilt.notes)?;
    let draft = locked.empty()?;
    let database = catalog.create(&draft, true)?;
    write(&database, &rows)?;
    for table in Table::ALL {
        if let Some(old) = &old {
            rebuilt.kept += old.keep(&database, table)?;
        }
        let new = texts(&database, table)?;
        if let Some(old) = &old {
            rebuilt.differences.get_or_insert_default().extend(compare(table, old.tables.get(&table).unwrap_or(&Texts::new()), &new));
        }
        rebuilt.rows.insert(table.name(), new.len() as u64);
    }
    database.close()?;
    draft.publish()?;
    Ok(rebuilt)
}

/// The catalog that is replaced.
struct Old {
    tables: BTreeMap<Table, Texts>,
    /// Keys of rows that changed after the rebuild had begun.
    young: BTreeSet<String>,
}

impl Old {
    /// Reads the old catalog. Returns `None` if there is none, and also adds a note if it cannot be
    /// used.
    fn read(catalog: &Catalog, locked: &Locked<'_>, began_ns: u64, notes: &mut Vec<String>) -> Result<Option<Old>> {
        let Some(copy) = locked.copy_to_compare()? else { return Ok(None) };
        let read = || -> Result<Old> {
            let database = open_old(catalog, &copy)?;
            let began = Value::Timestamp(TimeUnit::Microsecond, i64::try_from(began_ns / 1000).unwrap_or(i64::MAX));
            let young = database.texts("SELECT id::VARCHAR FROM runs WHERE greatest(start_time, end_time) >= $1 UNION SELECT id::VARCHAR FROM objectives WHERE greatest(start_time, end_time) >= $1", &[began])?;
            let tables = Table::ALL.into_iter().map(|table| Ok((table, texts(&database, table)?))).collect::<Result<_>>()?;
            Ok(Old { tables, young: young.into_iter().collect() })
        };
        match read() {
            Ok(old) => Ok(Some(old)),
            // Whatever is wrong with it, it is replaced without a comparison.
            Err(error) if error.kind != Kind::TryAgain => {
                notes.push(format!("the old catalog was not compared: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Copies the young rows into the new catalog.
    fn keep(&self, database: &Database, table: Table) -> Result<u64> {
        let young = self.tables.get(&table).into_iter().flatten().filter(|(id, _)| self.young.contains(*id));
        let rows: Vec<Vec<Value>> =
            young.map(|(_, row)| row.iter().map(|text| text.clone().map_or(Value::Null, Value::Text)).collect()).collect();
        let ids = rows.iter().filter_map(|row| row.first().cloned()).map(|id| vec![id]);
        database.execute_all(&format!("DELETE FROM {} WHERE id = ?", table.name()), ids)?;
        let kept = rows.len() as u64;
        database.append(table.name(), rows)?;
        Ok(kept)
    }
}

/// Opens a copy of the old catalog, and migrates it to this program's schema.
fn open_old(catalog: &Catalog, copy: &Draft<'_>) -> Result<Database> {
    let mut database = Database::open_to_work(copy.path())?;
    schema::migrate(&mut database)?;
    if state(&database)?.repository_id != catalog.repository_id() {
        return Err(Error::damaged("it is the catalog of another repository"));
    }
    Ok(database)
}
