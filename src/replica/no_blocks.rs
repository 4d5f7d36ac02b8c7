//! A sink for callers that walk the manifest log and want none of its blocks.

use super::checkpoint::CheckpointSink;
use super::extent::{BlockSink, CheckedBlock};
use crate::error::Result;
use crate::tb_format::grid::BlockReference;
use crate::tb_format::superblock::SuperBlock;

/// Takes no block: the manifest log alone is enough.
pub(super) struct NoBlocks;

impl BlockSink for NoBlocks {
    fn holds(&mut self, _root: BlockReference) -> bool {
        true
    }

    fn begin_extent(&mut self, _root: BlockReference) -> Result<()> {
        Ok(())
    }

    fn block(&mut self, _reference: BlockReference, _block: CheckedBlock) -> Result<()> {
        Ok(())
    }

    fn end_extent(&mut self) -> Result<()> {
        Ok(())
    }

    fn abandon_extent(&mut self) {}
}

impl CheckpointSink for NoBlocks {
    fn begin_round(&mut self, _superblock: &SuperBlock) -> Result<()> {
        Ok(())
    }

    fn expect_extents(&mut self, _extents: u64) {}
}
