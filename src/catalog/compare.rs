//! The differences between two catalogs of the same runs.

use super::database::Database;
use super::row::Table;
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column.
    pub name: &'static str,
    /// What the old catalog says.
    pub was: Option<String>,
    /// What the repository says.
    pub is: Option<String>,
}

/// How a row differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The old catalog did not have it.
    Missing,
    /// The repository does not know it.
    Extra,
    /// Some fields differ.
    Fields(Vec<Field>),
}

/// A row that differs between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its table.
    pub table: &'static str,
    /// Its key.
    pub id: String,
    /// Its run.
    pub run: String,
    /// How it differs.
    pub change: Change,
}

/// The rows of a table by their keys; each row has a text for every column.
pub(super) type Texts = BTreeMap<String, Vec<Option<String>>>;

/// Reads a table.
pub(super) fn texts(database: &Database, table: Table) -> Result<Texts> {
    let mut texts = Texts::new();
    let columns = table.columns();
    let sql = format!(
        "SELECT {} FROM {}",
        columns.iter().map(|column| format!("{column}::VARCHAR")).collect::<Vec<_>>().join(", "),
        table.name()
    );
    database.each_row(&sql, &[], columns.len(), |row| {
        if let Some(Some(id)) = row.first() {
            texts.insert(id.clone(), row);
        }
        true
    })?;
    Ok(texts)
}

/// Compares a table, in the order of its keys.
pub(super) fn compare(table: Table, old: &Texts, new: &Texts) -> Vec<Difference> {
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    ids.into_iter().filter_map(|id| Some(difference(table, id, old.get(id), new.get(id))).flatten()).collect()
}

fn difference(table: Table, id: &str, old: Option<&Vec<Option<String>>>, new: Option<&Vec<Option<String>>>) -> Option<Difference> {
    let change = match (old, new) {
        (None, Some(_)) => Change::Missing,
        (Some(_), None) => Change::Extra,
        (Some(old), Some(new)) if old != new => {
            let fields = table.columns().iter().zip(old.iter().zip(new)).filter(|(_, (was, is))| was != is);
            Change::Fields(fields.map(|(name, (was, is))| Field { name, was: was.clone(), is: is.clone() }).collect())
        }
        _ => return None,
    };
    let run = table.columns().iter().position(|column| *column == "run").and_then(|position| old.or(new)?.get(position)?.clone());
    Some(Difference { table: table.name(), id: id.to_owned(), run: run.unwrap_or_default(), change })
}
