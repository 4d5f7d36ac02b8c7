//! The schema by version: `schema_version` has a row for each migration that was applied, and
//! missing ones are applied in order.
//!
//! A catalog of a newer version is refused and left unchanged. The SQL of a released version never
//! changes; a change is a new version.

use super::database::Database;
use crate::error::{Error, Result};

/// Each migration's name and SQL. Its version is its position, counted from 1.
const MIGRATIONS: [(&str, &str); 3] = [
    ("backups and keys", include_str!("migrations/1-backups.sql")),
    ("verifications, drills and retention", include_str!("migrations/2-other-runs.sql")),
    ("restores and objectives", include_str!("migrations/3-restores.sql")),
];
/// The version that this program works with.
pub const VERSION: u32 = MIGRATIONS.len() as u32;

const VERSIONS_TABLE: &str = "CREATE TABLE schema_version (version UINTEGER PRIMARY KEY, what VARCHAR NOT NULL)";

/// The version of a catalog; 0 for a file without tables.
///
/// # Errors
/// [`Error::damaged`] if there are tables, but not those of a catalog.
pub(super) fn version(database: &Database) -> Result<u32> {
    let tables: Vec<String> = database.texts("SELECT table_name FROM duckdb_tables() WHERE NOT internal", &[])?;
    if tables.is_empty() {
        return Ok(0);
    }
    if !tables.iter().any(|table| table == "schema_version") {
        return Err(Error::damaged(format!("{}: this is a DuckDB database, but no catalog", database.describe())));
    }
    let found: Vec<String> = database.texts("SELECT max(version)::VARCHAR FROM schema_version", &[])?;
    let version = found.first().and_then(|version| version.parse().ok()).filter(|version| *version > 0);
    version.ok_or_else(|| Error::damaged(format!("{}: its schema has no version", database.describe())))
}

/// Refuses a version of a newer program.
///
/// # Errors
/// [`Error::input`] with what to do.
pub(super) fn check(database: &Database, version: u32) -> Result<()> {
    if version <= VERSION {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: the catalog has schema version {version}, this Amber knows {VERSION}: use the Amber that made it, or let `amber catalog rebuild` make it anew as version {VERSION}",
        database.describe()
    )))
}

/// Migrates a catalog, or an empty file, to [`VERSION`]. Returns the version that it had.
///
/// # Errors
/// [`Error::input`] for a newer version, [`Error::damaged`] for a file that is no catalog.
pub(super) fn migrate(database: &mut Database) -> Result<u32> {
    migrate_to(database, VERSION)
}

/// The same up to an older version, for tests of later migrations.
pub(super) fn migrate_to(database: &mut Database, wanted: u32) -> Result<u32> {
    let found = version(database)?;
    check(database, found)?;
    if found == 0 {
        database.execute(VERSIONS_TABLE)?;
    }
    for (number, (what, sql)) in (1..=wanted).zip(MIGRATIONS).skip(found as usize) {
        database.in_transaction(|connection| {
            connection.execute_batch(sql)?;
            connection.execute("INSERT INTO schema_version VALUES (?, ?)", duckdb::params![number, what]).map(|_| ())
        })?;
    }
    Ok(found)
}
