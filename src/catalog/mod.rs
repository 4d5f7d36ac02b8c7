//! The catalog: what ran, when, how large, where it is and whether it verified, as DuckDB tables
//! that anybody can ask.
//!
//! ```text
//! a run ends -> writer::Catalog (put) -> row -> database: a draft, changed -> folder: published by rename
//! repository -> source (records, manifests) -> refresh | rebuild ----------------^      |
//!                                            reader: SELECT and lists <-- read-only ----+
//! ```
//!
//! It is a cache: every row follows from records and manifests of the repository ([`row`],
//! [`outcome`]), so the same runs give the same rows, whatever the order and however often they
//! come. DuckDB lets one process write, and none read meanwhile; so nobody ever works on the file
//! that is read. Whoever changes the catalog takes the folder's lock, changes a copy and renames it
//! over the file ([`folder`]): readers in other processes open a whole file, whenever they come,
//! and a kill at any moment leaves the one or the other.
//!
//! Times in the tables are UTC and have no time zone of their own: functions of `TIMESTAMPTZ` need
//! DuckDB's ICU extension, which not every build of DuckDB has, and what they give depends on the
//! reader's settings.

pub mod backups;
mod compare;
mod database;
pub mod folder;
pub mod ledger_check;
pub mod reader;
pub mod rebuild;
pub mod row;
pub mod schema;
pub mod source;
pub mod updates;
pub mod writer;

#[cfg(test)]
mod tests;
