//! DuckDB, opened in the two ways that the catalog needs: a private file to work on, and a
//! published one to read.
//!
//! Neither reaches beyond its file. Access to anything outside is switched off, extensions are not
//! loaded, nothing is spilled to the disk, and memory is limited. The settings are locked, so that
//! no SQL can change that.

use crate::error::{Error, Kind, Result};
use duckdb::types::Value;
use duckdb::{AccessMode, Config, Connection, appender_params_from_iter, params_from_iter};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The most memory that reading takes.
const MEMORY_TO_READ: &str = "256MB";
/// The most memory that writing takes: the indexes of some million rows.
const MEMORY_TO_WORK: &str = "512MB";
/// Size of the blocks of a new file. Each column of each table takes one at least; with DuckDB's
/// own 256 KiB an empty catalog would have megabytes.
const BLOCK_BYTES: &str = "16384";
/// Where DuckDB's messages are cut off: the hints that follow are for users who can change the
/// settings.
const MESSAGE_END: [&str; 3] = ["\n\nLINE ", "\n\nPossible solutions", "\nLINE "];

/// An open database.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens a file that no other process uses, or makes it.
    pub(super) fn open_to_work(path: &Path) -> Result<Database> {
        let config = config(MEMORY_TO_WORK).and_then(|config| config.with("default_block_size", BLOCK_BYTES));
        Database::open(path, config)
    }

    /// Opens a file that nobody changes.
    pub(super) fn open_to_read(path: &Path) -> Result<Database> {
        // If the file cannot be opened at all, the system's error says why more clearly than
        // DuckDB's.
        File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Error::input(format!("{}: there is no catalog; `amber catalog rebuild` makes it from the repository", path.display()))
            }
            _ => Error::input(format!("{}: {error}", path.display())).caused_by(error),
        })?;
        Database::open(path, config(MEMORY_TO_READ).and_then(|config| config.access_mode(AccessMode::ReadOnly)))
    }

    fn open(path: &Path, config: duckdb::Result<Config>) -> Result<Database> {
        let failed = |error: duckdb::Error| failure(path, &error);
        let config = config.map_err(|error| Error::bug(format!("DuckDB: {}", message(&error))))?;
        let database = Database { connection: Connection::open_with_flags(path, config).map_err(failed)?, path: path.to_owned() };
        // A build of DuckDB without ICU has no time zones, and treats every time as UTC anyway.
        let _ = database.connection.execute_batch("SET TimeZone = 'UTC'");
        database.execute("SET temp_directory = ''; SET enable_external_access = false; SET lock_configuration = true")?;
        Ok(database)
    }

    /// The file, for messages.
    pub(super) fn describe(&self) -> String {
        self.path.display().to_string()
    }

    /// An error of DuckDB, with the file's name.
    pub(super) fn failed(&self, error: &duckdb::Error) -> Error {
        failure(&self.path, error)
    }

    /// The connection, for what has no method here.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs statements that return nothing.
    pub(super) fn execute(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|error| self.failed(&error))
    }

    /// Runs a statement for each of these rows of parameters.
    pub(super) fn execute_all(&self, sql: &str, rows: impl IntoIterator<Item = Vec<Value>>) -> Result<()> {
        let failed = |error: duckdb::Error| self.failed(&error);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        rows.into_iter().try_for_each(|row| statement.execute(params_from_iter(row)).map(|_| ()).map_err(failed))
    }

    /// Runs `work` in a transaction: all of it takes effect, or nothing does.
    pub(super) fn in_transaction(&mut self, work: impl FnOnce(&Connection) -> duckdb::Result<()>) -> Result<()> {
        let path = self.path.clone();
        let run = || {
            let transaction = self.connection.transaction()?;
            work(&transaction)?;
            transaction.commit()
        };
        run().map_err(|error| failure(&path, &error))
    }

    /// The first column of a query, without its NULLs.
    pub(super) fn texts(&self, sql: &str, parameters: &[Value]) -> Result<Vec<String>> {
        Ok(self.rows(sql, parameters, 1)?.into_iter().filter_map(|row| row.into_iter().flatten().next()).collect())
    }

    /// The rows of a query whose first `columns` columns are text.
    pub(super) fn rows(&self, sql: &str, parameters: &[Value], columns: usize) -> Result<Vec<Vec<Option<String>>>> {
        let mut all = Vec::new();
        self.each_row(sql, parameters, columns, |row| {
            all.push(row);
            true
        })?;
        Ok(all)
    }

    /// Passes the rows one by one to `take`, until it wants no more.
    pub(super) fn each_row(
        &self,
        sql: &str,
        parameters: &[Value],
        columns: usize,
        mut take: impl FnMut(Vec<Option<String>>) -> bool,
    ) -> Result<()> {
        let failed = |error: duckdb::Error| self.failed(&error);
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(parameters)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let texts: duckdb::Result<Vec<Option<String>>> = (0..columns).map(|column| row.get(column)).collect();
            if !take(texts.map_err(failed)?) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Appends rows to a table; each has a value for every column. Constraints are checked when all
    /// rows are appended.
    pub(super) fn append(&self, table: &str, rows: impl IntoIterator<Item = Vec<Value>>) -> Result<()> {
        let failed = |error: duckdb::Error| self.failed(&error);
        let mut appender = self.connection.appender(table).map_err(failed)?;
        rows.into_iter().try_for_each(|row| appender.append_row(appender_params_from_iter(row))).map_err(failed)?;
        appender.flush().map_err(failed)
    }

    /// Writes everything into the one file, and closes it.
    pub(super) fn close(self) -> Result<()> {
        self.execute("CHECKPOINT")?;
        let Database { connection, path } = self;
        connection.close().map_err(|(_, error)| failure(&path, &error))
    }
}

fn config(memory: &str) -> duckdb::Result<Config> {
    // One thread: the tables are small, and the query may run on the machine of a database server.
    Config::default().enable_autoload_extension(false)?.max_memory(memory)?.threads(1)
}

/// DuckDB's message without the hints that follow it.
pub(super) fn message(error: &duckdb::Error) -> String {
    let text = error.to_string();
    let end = MESSAGE_END.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].replace('\n', " ")
}

/// The error for a file that DuckDB cannot work with: it is damaged, unless the disk or the memory
/// is full.
fn failure(path: &Path, error: &duckdb::Error) -> Error {
    let text = message(error);
    let kind = if ["No space", "Out of Memory", "Disk quota", "Could not set lock"].iter().any(|sign| text.contains(sign)) {
        Kind::TryAgain
    } else {
        Kind::Damaged
    };
    Error::new(kind, format!("{}: {text}", path.display()))
}
