//! The last look at an image before it gets its name: read back from the disk, as a server would
//! read it.
//!
//! The same walk that captured the checkpoint runs over the image: every reachable block against
//! the checksum that its parent gives; then the log, from the checkpoint to the op that was asked
//! for.

use crate::disk::file::ReadOptions;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::replica::checkpoint::{CheckpointSink, Walk};
use crate::replica::extent::{BlockSink, CheckedBlock};
use crate::replica::log::{LogSource, Polled};
use crate::replica::tail::Tail;
use crate::tb_format::grid::BlockReference;
use crate::tb_format::superblock::SuperBlock;
use std::path::Path;

/// Counts what the walk hands on.
struct Count<'a> {
    blocks: u64,
    bytes: u64,
    progress: &'a dyn Progress,
}

impl BlockSink for Count<'_> {
    fn holds(&mut self, _root: BlockReference) -> bool {
        false
    }

    fn begin_extent(&mut self, _root: BlockReference) -> Result<()> {
        Ok(())
    }

    fn block(&mut self, _reference: BlockReference, _block: CheckedBlock) -> Result<()> {
        self.blocks += 1;
        self.bytes += 512 * 1024;
        self.progress.position(self.bytes);
        Ok(())
    }

    fn end_extent(&mut self) -> Result<()> {
        Ok(())
    }

    fn abandon_extent(&mut self) {}
}

impl CheckpointSink for Count<'_> {
    fn begin_round(&mut self, _superblock: &SuperBlock) -> Result<()> {
        self.blocks = 0;
        Ok(())
    }

    fn expect_extents(&mut self, _extents: u64) {}
}

/// What was found in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Reachable blocks.
    pub blocks: u64,
    /// What was fallen back to when it was read.
    pub notes: Vec<String>,
}

/// Checks one image that must hold a whole checkpoint and the log up to `op`; and so many blocks,
/// if that is known beforehand.
///
/// # Errors
/// [`Error::damaged`] with the address or op that is not as it must be.
pub fn check_image(path: &Path, blocks: Option<u64>, op: u64, progress: &dyn Progress) -> Result<Checked> {
    let mut count = Count { blocks: 0, bytes: 0, progress };
    let mut walk = Walk::open(path, ReadOptions::default())?;
    let superblock = walk.run(&mut count).map_err(|error| Error::from(error).context("the restored image is not whole"))?;
    if let Some(expected) = blocks.filter(|expected| count.blocks != *expected) {
        return Err(Error::damaged(format!("the restored image has {} reachable blocks, the backup had {expected}", count.blocks)));
    }
    let checkpoint = superblock.checkpoint().header();
    let mut tail = Tail::open(path, ReadOptions::default(), checkpoint.op(), checkpoint.checksum())?;
    while matches!(tail.poll(&mut |_| Ok(()))?, Polled::Prepares(_)) {}
    if tail.op() == op {
        Ok(Checked { blocks: count.blocks, notes: walk.notes() })
    } else {
        Err(Error::damaged(format!("the restored image's log ends at op {}, not at op {op}", tail.op())))
    }
}
