//! Reads the catalog: any SELECT, and the list of what ran.
//!
//! The published file is opened read-only, so several processes can read at once while another one
//! publishes the next file. Only one SELECT (or SHOW, DESCRIBE, SUMMARIZE) is allowed, which
//! DuckDB's `query` checks before anything runs. It can change nothing and reach no other file,
//! because of how the database was opened (`database`). That alone would be enough; the check makes
//! the error clear.

use super::backups::{self, BackupRows};
use super::database::{Database, message};
use super::folder::Folder;
use super::row::Table;
use super::schema;
use super::writer::state;
use crate::error::{Error, Kind, Result};
use crate::host::Clock;
use crate::units::time_text;
use duckdb::types::{TimeUnit, Value};
use serde_json::{Number, json};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The most rows that an answer has.
pub const ROWS_MAX: usize = 100_000;
/// DuckDB's integer types that JSON can hold.
const INTEGERS: [&str; 8] = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"];
/// Prefixes of the names of table functions that change the process or run SQL that no plan shows.
const FUNCTIONS_THAT_ACT: [&str; 6] = ["ENABLE_", "DISABLE_", "TRUNCATE_", "CHECKPOINT", "FORCE_", "JSON_EXECUTE"];
/// Wide integers, which sums have: a number in JSON as long as it fits.
const WIDE_INTEGERS: [&str; 2] = ["HUGEINT", "UHUGEINT"];

/// An open catalog.
pub struct Reader {
    database: Database,
    folder: Folder,
    version: u32,
}

/// What a catalog says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The version of its schema.
    pub version: u32,
    /// The id of the repository that it belongs to.
    pub repository_id: Uuid,
    /// Whether it contains all that the repository knew when it was last brought up to date.
    pub is_complete: bool,
    /// Rows of each table.
    pub rows: Vec<(&'static str, u64)>,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as DuckDB calls it.
    pub kind: String,
}

/// The result of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows; NULL is `None`.
    pub rows: Vec<Vec<Option<String>>>,
    /// There are more rows than [`ROWS_MAX`], and the rest is cut off.
    pub is_cut: bool,
}

/// Which runs are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only runs of this kind of work.
    pub work: Option<String>,
    /// Only runs with this status.
    pub status: Option<String>,
    /// Only those that began at or after this time, in nanoseconds since the epoch.
    pub since_ns: Option<u64>,
    /// At most this many; all if it is `None`.
    pub limit: Option<u64>,
}

/// A run as it is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its backup's key.
    pub id: String,
    /// Its id.
    pub run: String,
    /// What it does.
    pub work: String,
    /// How much a backup holds by itself.
    pub scope: Option<String>,
    /// The job that it belongs to.
    pub job: String,
    /// Who ran it.
    pub run_by: String,
    /// When it began, in nanoseconds since the epoch.
    pub started_ns: u64,
    /// When it ended.
    pub ended_ns: Option<u64>,
    /// `started`, `completed` or `failed`.
    pub status: String,
    /// What a backup stored.
    pub stored_bytes: Option<u64>,
    /// The object that makes a backup exist.
    pub location: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

impl Reader {
    /// Opens the catalog in a folder.
    ///
    /// # Errors
    /// [`Error::input`] if there is none, if it may not be read, or if it has a newer schema;
    /// [`Error::damaged`] for a file that is no catalog.
    pub fn open(folder: &Path) -> Result<Reader> {
        let folder = Folder::new(folder, Clock::SYSTEM);
        let opened = Database::open_to_read(&folder.catalog()).and_then(|database| {
            let version = schema::version(&database)?;
            schema::check(&database, version)?;
            Ok((database, version))
        });
        let (database, version) = opened.map_err(advise)?;
        Ok(Reader { database, folder, version })
    }

    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        self.folder.catalog()
    }

    /// What the catalog says about itself.
    ///
    /// # Errors
    /// [`Error::damaged`] when it cannot be read.
    pub fn about(&self) -> Result<About> {
        let state = state(&self.database).map_err(advise)?;
        let mut rows = Vec::new();
        for table in Table::ALL {
            // A catalog of an older schema has fewer tables.
            let sql = "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND table_name = ?";
            if self.database.texts(sql, &[Value::Text(table.name().to_owned())]).map_err(advise)?.is_empty() {
                continue;
            }
            let count = self.database.texts(&format!("SELECT count(*)::VARCHAR FROM {}", table.name()), &[]).map_err(advise)?;
            rows.push((table.name(), count.first().and_then(|count| count.parse().ok()).unwrap_or(0)));
        }
        Ok(About { version: self.version, repository_id: state.repository_id, is_complete: state.is_complete, rows })
    }

    /// Answers one SELECT.
    ///
    /// # Errors
    /// [`Error::input`] for anything else, and for SQL that DuckDB does not understand or may not
    /// run; [`Error::damaged`] when the catalog is damaged.
    pub fn query(&self, sql: &str) -> Result<Answer> {
        let quoted = sql.replace('\'', "''");
        self.check_plan(&quoted)?;
        let described = self.rows_of_user(&format!("DESCRIBE SELECT * FROM query('{quoted}')"), 2, usize::MAX)?.0;
        let columns: Vec<Column> = described
            .into_iter()
            .filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
                Ok([Some(name), Some(kind)]) => Some(Column { name, kind }),
                _ => None,
            })
            .collect();
        // All values are read as text, because DuckDB can convert every type to text.
        let sql = format!("SELECT COLUMNS(*)::VARCHAR FROM query('{quoted}')");
        let (rows, is_cut) = self.rows_of_user(&sql, columns.len(), ROWS_MAX)?;
        Ok(Answer { columns, rows, is_cut })
    }

    /// Refuses what is no SELECT, and functions that do more than return rows. No setting switches
    /// them off, and logging into a file that must not be written ends the process.
    fn check_plan(&self, quoted: &str) -> Result<()> {
        let explained = self.rows_of_user(&format!("EXPLAIN (FORMAT json) SELECT * FROM query('{quoted}')"), 2, usize::MAX)?.0;
        for plan in explained.iter().filter_map(|row| serde_json::from_str(row.get(1)?.as_deref()?).ok()) {
            if let Some(function) = function_that_acts(&plan) {
                return Err(Error::input(format!("the catalog gives no access to the function {}", function.to_lowercase())));
            }
        }
        Ok(())
    }

    /// The rows of a user's SQL, at most `rows_max`, and whether there are more.
    fn rows_of_user(&self, sql: &str, columns: usize, rows_max: usize) -> Result<(Vec<Vec<Option<String>>>, bool)> {
        let (mut rows, mut is_cut) = (Vec::new(), false);
        self.try_rows(sql, columns, |row| {
            is_cut = rows.len() >= rows_max;
            if !is_cut {
                rows.push(row);
            }
            !is_cut
        })
        .map_err(|error| self.refused(&error))?;
        Ok((rows, is_cut))
    }

    fn try_rows(&self, sql: &str, columns: usize, mut take: impl FnMut(Vec<Option<String>>) -> bool) -> duckdb::Result<()> {
        let mut statement = self.database.connection().prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let texts: duckdb::Result<Vec<Option<String>>> = (0..columns).map(|column| row.get(column)).collect();
            if !take(texts?) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The error for a query that was not answered.
    fn refused(&self, error: &duckdb::Error) -> Error {
        let text = message(error);
        if text.contains("Corrupt database file") || text.starts_with("IO Error") {
            return advise(self.database.failed(error));
        }
        if text.contains("Expected a single SELECT statement") {
            return Error::input(
                "the catalog takes one SELECT at a time (SHOW TABLES, DESCRIBE and SUMMARIZE too), and nothing that changes or reaches anything else",
            );
        }
        Error::input(format!("the query was not answered: {text}"))
    }

    /// The rows of backups, the oldest first.
    ///
    /// # Errors
    /// [`Error::input`] for a catalog of an older schema, [`Error::damaged`] when it cannot be
    /// read.
    pub fn backups(&self) -> Result<BackupRows> {
        if self.version < schema::VERSION {
            return Err(Error::input(format!(
                "{}: a catalog of schema version {} cannot be held against a ledger: the agent brings it to version {} at its start, or `amber catalog rebuild` does",
                self.folder.catalog().display(),
                self.version,
                schema::VERSION
            )));
        }
        let rows = self.database.rows(&backups::sql(), &[], backups::COLUMNS).map_err(advise)?;
        Ok(rows.into_iter().map(backups::parse).collect())
    }

    /// The runs that match a filter, the newest first.
    ///
    /// # Errors
    /// [`Error::input`] for a catalog of a schema without them, [`Error::damaged`] when it cannot
    /// be read.
    pub fn history(&self, filter: &Filter) -> Result<Vec<Listed>> {
        if self.version < 2 {
            return Err(Error::input(format!(
                "{}: a catalog of schema version {} has no list of runs: the agent brings it to version {} at its start, or `amber catalog rebuild` does",
                self.folder.catalog().display(),
                self.version,
                schema::VERSION
            )));
        }
        let sql = "SELECT id::VARCHAR, run, work, scope, job, run_by, epoch_us(start_time)::VARCHAR, epoch_us(end_time)::VARCHAR, status, \
                   stored_bytes::VARCHAR, location, reason FROM runs \
                   WHERE ($1::VARCHAR IS NULL OR work = $1::VARCHAR) AND ($2::VARCHAR IS NULL OR status = $2::VARCHAR) \
                   AND ($3::TIMESTAMP IS NULL OR start_time >= $3::TIMESTAMP) \
                   ORDER BY start_time DESC, run DESC LIMIT $4";
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        let since = filter
            .since_ns
            .map_or(Value::Null, |since_ns| Value::Timestamp(TimeUnit::Microsecond, i64::try_from(since_ns / 1000).unwrap_or(i64::MAX)));
        let limit = Value::BigInt(filter.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX));
        let rows = self.database.rows(sql, &[text(&filter.work), text(&filter.status), since, limit], 12).map_err(advise)?;
        Ok(rows.into_iter().filter_map(listed).collect())
    }
}

/// The name of a function in the plan that does more than return rows.
fn function_that_acts(plan: &serde_json::Value) -> Option<&str> {
    let acts = |name: &&str| FUNCTIONS_THAT_ACT.iter().any(|acting| name.starts_with(acting));
    match plan {
        serde_json::Value::Array(parts) => parts.iter().find_map(function_that_acts),
        serde_json::Value::Object(fields) => {
            let own = fields.get("Function").and_then(serde_json::Value::as_str).filter(acts);
            own.or_else(|| fields.values().find_map(function_that_acts))
        }
        _ => None,
    }
}

/// Adds to an error what helps with a catalog that cannot be read.
fn advise(mut error: Error) -> Error {
    if error.kind == Kind::Damaged {
        error.message.push_str("; the catalog is only a cache: `amber catalog rebuild` makes it again from the repository");
    }
    error
}

fn listed(row: Vec<Option<String>>) -> Option<Listed> {
    let [id, run, work, scope, job, run_by, started, ended, status, stored, location, reason] =
        <[Option<String>; 12]>::try_from(row).ok()?;
    let time_ns = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok()).map(|time_us| time_us.saturating_mul(1000));
    Some(Listed {
        id: id?,
        run: run?,
        work: work?,
        scope,
        job: job?,
        run_by: run_by?,
        started_ns: time_ns(started)?,
        ended_ns: time_ns(ended),
        status: status?,
        stored_bytes: stored.and_then(|text| text.parse().ok()),
        location,
        reason,
    })
}

impl Listed {
    /// For machines.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "id": self.id,
            "run": self.run,
            "type": self.work,
            "scope": self.scope,
            "job": self.job,
            "run_by": self.run_by,
            "started": time_text(self.started_ns),
            "started_ns": self.started_ns,
            "ended": self.ended_ns.map(time_text),
            "ended_ns": self.ended_ns,
            "status": self.status,
            "stored_bytes": self.stored_bytes,
            "location": self.location,
            "reason": self.reason,
        })
    }
}

impl Answer {
    /// For machines: rows as objects, numbers as numbers where JSON holds them.
    pub fn json(&self) -> serde_json::Value {
        let columns: Vec<_> = self.columns.iter().map(|column| json!({ "name": column.name, "type": column.kind })).collect();
        let object = |row: &Vec<Option<String>>| -> serde_json::Value {
            let fields = self.columns.iter().zip(row);
            fields
                .map(|(column, text)| (column.name.clone(), value(&column.kind, text.as_deref())))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({ "columns": columns, "rows": self.rows.iter().map(object).collect::<Vec<_>>(), "is_cut": self.is_cut })
    }
}

fn value(kind: &str, text: Option<&str>) -> serde_json::Value {
    let Some(text) = text else { return serde_json::Value::Null };
    let number = || text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok();
    let parsed = match kind {
        "BOOLEAN" => Some(json!(text == "true")),
        "FLOAT" | "DOUBLE" => text.parse().ok().and_then(Number::from_f64).map(serde_json::Value::Number),
        kind if INTEGERS.contains(&kind) || WIDE_INTEGERS.contains(&kind) => number().map(serde_json::Value::Number),
        _ => None,
    };
    parsed.unwrap_or_else(|| json!(text))
}
