//! The TigerBeetle formats and nothing else: bytes in, facts out, no input or output.
//!
//! How data flows through the room:
//!
//! ```text
//! superblock zone -> quorum -> SuperBlock -> CheckpointState --+-> trailers (free set, client sessions)
//!                                                              +-> ManifestBlock -> LiveTables -> IndexBlock -> ValueBlock -> records
//! WAL rings, AOF  -> Prepare -> Chain  (op after op, each naming its parent's checksum)
//! reply slots     -> Reply
//! image: a SuperBlock edited, and the prepares' headers, back to bytes that a server starts from
//! ```
//!
//! A value of a type such as [`grid::Block`], [`wal::Prepare`] or [`superblock::SuperBlock`] exists
//! only when its bytes passed the checks of TigerBeetle itself (checksums, identity, the sanity of
//! each field that this room relies on): whoever holds one need not check again, and nobody can use
//! bytes that were not checked. No input makes this room panic, overflow or allocate more than a
//! small multiple of what it was handed.
//!
//! The formats are those of TigerBeetle 0.16.78 (release configuration; 0.17.9 has the same layout,
//! and `fixtures/tigerbeetle-0.17.9` shows it). Every file names the Zig source that it was written
//! from.

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
