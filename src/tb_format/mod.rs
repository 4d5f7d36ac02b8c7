//! The TigerBeetle formats and nothing else: it turns bytes into values, without input or output.
//!
//! How data flows through the module:
//!
//! ```text
//! superblock zone -> quorum -> SuperBlock -> CheckpointState
//! CheckpointState -> trailers (free set, client sessions)
//! CheckpointState -> ManifestBlock -> LiveTables -> IndexBlock -> ValueBlock -> records
//! WAL rings, AOF  -> Prepare -> Chain  (op after op, each naming its parent's checksum)
//! reply slots     -> Reply
//! image: an edited SuperBlock, and the prepares' headers, back to bytes from which a server starts
//! ```
//!
//! A value of a type such as [`grid::Block`], [`wal::Prepare`] or [`superblock::SuperBlock`] exists
//! only if its bytes passed the checks of TigerBeetle itself: checksums, identity, and the sanity
//! of each field on which this module relies. Code that has one need not check again, and no code
//! can use bytes that were not checked. No input makes this module panic, overflow or allocate more
//! than a small multiple of what it was given.
//!
//! The formats are those of TigerBeetle 0.16.78 (release configuration; 0.17.9 has the same layout,
//! and `fixtures/tigerbeetle-0.17.9` shows it). Every file names the Zig source from which it was
//! written.

pub mod aof;
mod bytes;
pub mod checkpoint_state;
pub mod checksum;
pub mod error;
mod frame;
pub mod grid;
pub mod header;
pub mod image;
pub mod layout;
pub mod manifest_log;
pub mod quorum;
pub mod record;
pub mod reply;
pub mod request;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
pub mod superblock;
pub mod table;
pub mod trailer;
pub mod wal;

pub use checksum::Checksum;
pub use error::LedgerError;

#[cfg(test)]
mod tests;
