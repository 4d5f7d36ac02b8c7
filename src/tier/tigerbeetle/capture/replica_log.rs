//! The log that a replica holds itself, beside what is stored of it.

use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::HeaderRing;

/// A replica's log as its data file shows it now.
#[derive(Debug)]
pub struct Replica<'a> {
    /// Its superblock.
    pub superblock: &'a SuperBlock,
    /// The headers of its WAL ring.
    pub ring: HeaderRing<'a>,
}
