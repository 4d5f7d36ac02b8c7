//! The catalog: what ran, when, how large it is, where it is and whether it verified, as DuckDB
//! tables that anybody can query.
//!
//! ```text
//! a run ends -> writer::Catalog (put) ----------------------+
//! repository -> source (records, manifests)                 |
//!                   -> refresh | rebuild -------------------+-> row
//!     -> database: a draft, changed -> folder: published by rename
//!                                          |
//! reader: SELECT and lists <-- read-only --+
//! ```
//!
//! It is a cache: every row follows from records and manifests of the repository ([`row`],
//! [`crate::tier::facts_of`]). So the same runs give the same rows, whatever the order and however
//! often they come.
//!
//! DuckDB lets one process write, and no other read meanwhile. So nobody ever works on the
//! published file. Whoever changes the catalog takes the folder's lock, changes a copy and renames
//! it over the file ([`folder`]). Readers in other processes always open a complete file, and a
//! kill at any moment leaves either the old or the new one.
//!
//! Times in the tables are UTC and have no time zone of their own. Functions of `TIMESTAMPTZ` need
//! DuckDB's ICU extension, which not every build of DuckDB has, and their results depend on the
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
