//! Reading a running replica's data file: the pre-copy walk, the log's tail, and its objects.
//!
//! [`crate::disk::file::Reader`] reads through io_uring with O_DIRECT where the system allows it,
//! and reports the fallback otherwise. [`checkpoint`] walks the blocks reachable from the newest
//! checkpoint while the server continues to write. [`log`] defines what every source of prepares
//! can do. [`tail`] follows them in the data file and [`aof`] in a server's append-only file, at
//! the [`pace`] of the load. [`objects`] decodes accounts and transfers. All hand on checked bytes;
//! none knows where the bytes go.

pub mod aof;
pub mod checkpoint;
pub mod extent;
pub mod log;
mod no_blocks;
pub mod objects;
pub mod pace;
pub mod quiet;
pub mod tail;
pub mod witness;

#[cfg(test)]
pub(crate) mod tests;
