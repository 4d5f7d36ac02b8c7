//! The last check of an image before it gets its name: it is read back from the disk, as a server
//! would read it.
//!
//! The walk that captured the checkpoint runs over the image and compares every reachable block
//! with the checksum that its parent gives. Then the log is checked, from the checkpoint to the op
//! that was asked for.

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

/// Counts the blocks that the walk passes on.
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
    /// Fallbacks that were used to read it.
    pub notes: Vec<String>,
}

/// Checks that an image holds an intact checkpoint and the log up to `op`. `blocks` is the number
/// of reachable blocks, if that is known beforehand.
///
/// # Errors
/// [`Error::damaged`], naming the address or op that is wrong.
pub fn check_image(path: &Path, blocks: Option<u64>, op: u64, progress: &dyn Progress) -> Result<Checked> {
    let mut count = Count { blocks: 0, bytes: 0, progress };
    let mut walk = Walk::open(path, ReadOptions::default())?;
    let superblock = walk.run(&mut count).map_err(|error| Error::from(error).context("the restored image is damaged"))?;
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
