//! Decides at which op a backup ends.
//!
//! In: the superblock of the captured checkpoint, the superblock as it is now, and the headers of
//! the log after the checkpoint. Out: the superblock that goes into the image, and the last op that
//! a server started from it will hold. The superblock and the log were read at different moments,
//! so each is checked against the other.

use crate::error::{Error, Result};
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::{durable_op_for_checkpoint, prepare_max_for_checkpoint};
use crate::tb_format::superblock::SuperBlock;

/// Where checkpoint and log meet.
#[derive(Debug, Clone)]
pub struct CaptureWindow {
    /// The superblock for the image.
    pub superblock: SuperBlock,
    /// The last prepare of the image; the checkpoint's own prepare if none follows it.
    pub end: PrepareHeader,
    /// The highest op known to be committed.
    pub commit_known_op: u64,
    /// The log continues beyond what the WAL ring of this checkpoint can hold: a newer checkpoint
    /// exists.
    pub capped: bool,
}

impl CaptureWindow {
    /// Chooses the window. Returns `None` if a new round is needed because the log does not reach
    /// the op that is committed according to the superblock.
    ///
    /// # Errors
    /// [`Error::bug`] when the headers do not continue the checkpoint and each other.
    pub fn choose(walked: SuperBlock, newer: SuperBlock, headers: &[PrepareHeader]) -> Result<Option<CaptureWindow>> {
        // A view change rewrites the superblock without a new checkpoint. The newer superblock fits
        // prepares of the new view.
        let same_checkpoint = newer.checkpoint().checkpoint_id() == walked.checkpoint().checkpoint_id();
        let superblock = if same_checkpoint { newer } else { walked };
        let checkpoint = superblock.checkpoint().header();
        let op_max = prepare_max_for_checkpoint(checkpoint.op());
        let mut end = checkpoint;
        for header in headers {
            if header.op() != end.op() + 1 || header.parent() != end.checksum() {
                return Err(Error::bug(format!("the log skips from op {} to op {}", end.op(), header.op())));
            }
            if header.op() > op_max || !belongs(&superblock, header) {
                break;
            }
            end = *header;
        }
        if end.op() < superblock.commit_max() {
            return Ok(None);
        }
        let commits = headers.iter().map(PrepareHeader::commit);
        let commit_known_op = commits.max().unwrap_or(0).max(superblock.commit_max()).min(end.op());
        let capped = headers.last().is_some_and(|last| last.op() > op_max);
        Ok(Some(CaptureWindow { superblock, end, commit_known_op, capped }))
    }

    /// Whether a server would need the log before the checkpoint to start from this.
    pub fn ends_early(&self) -> bool {
        self.end.op() < durable_op_for_checkpoint(self.superblock.checkpoint().header().op())
    }
}

/// Whether a replica that starts from this superblock keeps this prepare. It drops prepares of a
/// view that the superblock does not know yet, and leftovers of an older view that a view change
/// has replaced (`vsr/replica.zig`, `recover_slots`: "drop header").
fn belongs(superblock: &SuperBlock, header: &PrepareHeader) -> bool {
    if header.view() > superblock.view() {
        return false;
    }
    if header.view() >= superblock.log_view() {
        return true;
    }
    let mut newest_op = 0;
    for canonical in superblock.view_headers() {
        newest_op = newest_op.max(canonical.op());
        if canonical.op() == header.op() {
            return canonical.checksum() == header.checksum();
        }
    }
    header.op() < newest_op
}

#[cfg(test)]
mod tests;
