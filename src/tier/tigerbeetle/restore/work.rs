//! The work of a restore, once the plan is made: blocks, hops, log, superblocks.
//!
//! ```text
//! blocks and replies -> one or all images
//!   -> no hops: log and superblocks
//!   -> hops: rolled forward as a solo fork (forward), copied for the other outputs,
//!      then the last log and the superblocks of the roles that were asked for
//! ```
//!
//! It fills temporary files. The caller checks them and gives them their names.

use super::binaries::Binaries;
use super::copy::copy_image;
use super::forward::CheckpointIds;
use super::forward::Hop;
use super::forward::Rolled;
use super::forward::required_releases;
use super::forward::roll_forward;
use super::forward::write_log;
use super::image::Image;
use super::superblock::{Origin, superblock_for};
use crate::disk::target::Target;
use crate::disk::writer::WriteOptions;
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::image::superblock_zone;
use crate::tb_format::layout::{checkpoint_after, durable_op_for_checkpoint};
use crate::tb_format::superblock::SuperBlock;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::restore::original_log::OriginalLog;
use crate::tier::tigerbeetle::restore::role::Role;
use std::path::{Path, PathBuf};

/// What is to be done.
#[derive(Debug)]
pub struct RestoreWork<'a> {
    /// Where the blocks are.
    pub repository: &'a Repository,
    /// The checkpoint to start from.
    pub manifest: &'a Manifest,
    /// The op that the images end with.
    pub op: u64,
    /// The hops from the checkpoint to that op.
    pub hops: Vec<Hop>,
    /// Whose data file each image becomes.
    pub roles: Vec<Role>,
    /// An older image that may hold some of the blocks.
    pub base: Option<&'a Path>,
}

/// What rolling forward took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hops {
    /// How many hops were made.
    pub count: u64,
    /// Seconds for all of them.
    pub seconds: f64,
    /// Checkpoints whose ids were compared with the original's. The backup's own and the last one
    /// are included where the log records their ids.
    pub checkpoint_ids_verified: u64,
    /// The checkpoint that the images now have.
    pub checkpoint_op: u64,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Written {
    /// The prepare that the images end with.
    pub end: PrepareHeader,
    /// The release that they need.
    pub release: u32,
    /// Blocks in each.
    pub blocks: u64,
    /// Bytes fetched from the store for blocks.
    pub bytes_fetched: u64,
    /// Stored bytes of blocks that were not fetched, because the disk already had them.
    pub bytes_kept: u64,
    /// Bytes written into each image, without those that a server wrote.
    pub bytes_written: u64,
    /// What rolling forward took.
    pub hops: Option<Hops>,
    /// Fallbacks that were used to write the images.
    pub notes: Vec<String>,
}

impl RestoreWork<'_> {
    /// Fills the images, one for each role.
    ///
    /// # Errors
    /// Those of its steps; the images are useless then.
    pub fn write(
        &self,
        targets: &mut [Target],
        log: &mut dyn OriginalLog,
        binaries: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Written> {
        // Report what is missing before gigabytes are fetched.
        let binaries = Binaries::ask(if self.hops.is_empty() { &[] } else { binaries })?;
        let captured = &self.manifest.superblock;
        for needed in required_releases(&self.hops, captured.checkpoint().release(), log)? {
            binaries.for_release(needed)?;
        }
        for role in &self.roles {
            superblock_for(Origin { captured, rolled: None }, *role, &[])?;
        }
        let count = if self.hops.is_empty() { targets.len() } else { 1 };
        let image = self.begin(targets.get(..count).unwrap_or_default(), progress)?;
        let notes = image.notes();
        notes.iter().for_each(|note| progress.note(note));
        progress.begin("blocks", Some(image.total_bytes()));
        image.write_blocks(progress)?;
        progress.end();
        image.write_replies()?;
        let moved = image.end();
        let rolled = self.roll(targets, log, &binaries, progress)?;
        let mut ids = rolled.as_ref().map(|rolled| rolled.ids.clone()).unwrap_or_default();
        let superblock = rolled.as_ref().map_or(captured, |rolled| &rolled.superblock);
        progress.begin("log", None);
        let (headers, log_bytes) = self.write_end(targets, superblock, rolled.is_some(), log, &mut ids, progress)?;
        progress.end();
        if rolled.is_some() {
            verify_last(superblock, self.op, log, &mut ids)?;
        }
        Ok(Written {
            end: headers.last().copied().unwrap_or(superblock.checkpoint().header()),
            release: superblock.checkpoint().release(),
            blocks: self.manifest.summary.blocks,
            bytes_fetched: moved.bytes_fetched,
            bytes_kept: moved.bytes_kept,
            bytes_written: moved.bytes_written + log_bytes + rolled.as_ref().map_or(0, |rolled| rolled.bytes_written),
            hops: rolled.as_ref().map(|rolled| hops_of(rolled, &ids)),
            notes,
        })
    }

    fn begin<'image>(&'image self, targets: &'image [Target], progress: &dyn Progress) -> Result<Image<'image>> {
        for target in targets.iter().filter(|target| target.is_adopted()) {
            progress.note(&format!("{}: what a restore before this one left is looked through first", target.temporary().display()));
        }
        Image::begin(self.repository, self.manifest, targets, self.base, WriteOptions::default())
    }

    fn roll(
        &self,
        targets: &mut [Target],
        log: &mut dyn OriginalLog,
        binaries: &Binaries,
        progress: &dyn Progress,
    ) -> Result<Option<Rolled>> {
        let Some((first, others)) = targets.split_first_mut().filter(|_| !self.hops.is_empty()) else { return Ok(None) };
        first.write(0, &superblock_zone(&self.manifest.superblock))?;
        let rolled = roll_forward(first, &self.hops, log, binaries, progress)?;
        progress.begin("copy for the other replicas", None);
        copy_image(first, others, progress)?;
        progress.end();
        Ok(Some(rolled))
    }

    /// Writes the log that the images end with, and the superblocks.
    fn write_end(
        &self,
        targets: &[Target],
        superblock: &SuperBlock,
        is_rolled: bool,
        log: &mut dyn OriginalLog,
        ids: &mut CheckpointIds,
        progress: &dyn Progress,
    ) -> Result<(Vec<PrepareHeader>, u64)> {
        let checkpoint = superblock.checkpoint().header();
        // If the log ends so early that a server would not start without the prepares before the
        // checkpoint, these are written too.
        let needs_earlier = self.op < durable_op_for_checkpoint(checkpoint.op());
        let first_op = if needs_earlier { self.manifest.summary.log_first_op.min(checkpoint.op()) } else { checkpoint.op() + 1 };
        let written = write_log(targets, checkpoint, OpRange { first_op, last_op: self.op }, log, ids, progress)?;
        let origin = Origin { captured: &self.manifest.superblock, rolled: is_rolled.then_some(superblock) };
        for (target, role) in targets.iter().zip(&self.roles) {
            target.write(0, &superblock_zone(&superblock_for(origin, *role, &written.headers)?))?;
        }
        Ok((written.headers, written.bytes_written))
    }
}

fn hops_of(rolled: &Rolled, ids: &CheckpointIds) -> Hops {
    Hops {
        count: rolled.hops,
        seconds: rolled.seconds,
        checkpoint_ids_verified: ids.verified(),
        checkpoint_op: rolled.superblock.checkpoint().header().op(),
    }
}

/// Verifies the id of the last checkpoint, if the log holds an op that records it. Such ops may lie
/// beyond the target.
fn verify_last(superblock: &SuperBlock, op: u64, log: &mut dyn OriginalLog, ids: &mut CheckpointIds) -> Result<()> {
    let teller_op = checkpoint_after(superblock.checkpoint().header().op()) + 1;
    if op >= teller_op || log.last_op() < teller_op {
        return Ok(());
    }
    log.prepares(teller_op, teller_op, &mut |prepare| ids.verify(prepare.header()))
}
