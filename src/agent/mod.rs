//! The agent: what follows a replica's log and keeps its repository up to date, for as long as the replica runs.
//!
//! Flow of a segment: sealed in memory it is offered to [`shipper`]; [`backlog`] decides what waits where and what goes next; [`spool`] keeps
//! on the disk what memory has no room for while the store is away.

pub mod backlog;
pub mod shipper;
mod shipping;
pub mod spool;

#[cfg(test)]
#[path = "tests/store_double.rs"]
mod store_double;
