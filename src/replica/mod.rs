//! Reading a running replica's data file: the ring, the pre-copy walk, the log's tail.
//!
//! [`crate::disk::file::Reader`] reads through io_uring with O_DIRECT where the system allows it,
//! and says what it fell back to where not. [`checkpoint`] walks the blocks reachable from the
//! newest checkpoint while the server goes on writing. [`log`] is what every source of prepares can
//! do; [`tail`] follows them in the data file, [`aof`] in a server's append-only file, at the
//! [`pace`] of the load. [`objects`] decodes accounts and transfers. All hand checked bytes on;
//! none knows where they go.

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
