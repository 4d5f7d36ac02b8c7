//! Stores the walk's blocks in packs, unless the repository holds their extent already.
//!
//! The repository holds every extent of the manifest that this backup builds on, and every extent
//! that an earlier round of this run stored. In both cases the extent's root alone decides. So
//! neither an unchanged table nor its index block is read again.

use super::log_capture::LogCapture;
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::progress::Progress;
use crate::replica::checkpoint::CheckpointSink;
use crate::replica::extent::{BlockSink, CheckedBlock};
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::tb_format::grid::BlockReference;
use crate::tb_format::layout::GRID_OFFSET;
use crate::tb_format::superblock::SuperBlock;
use crate::tier::tigerbeetle::format::manifest::{Extent, Manifest};
use crate::tier::tigerbeetle::format::pack::{Location, PackEntry, PackWriter};
use std::collections::HashMap;
use std::sync::Arc;

/// What a backup stored, and what was stored before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks of the checkpoint in packs of this run.
    pub blocks_stored: u64,
    /// Blocks of the checkpoint in packs of earlier runs.
    pub blocks_reused: u64,
    /// Stored bytes of this run's packs.
    pub bytes_stored: u64,
}

/// Takes the blocks of a checkpoint.
pub struct PackSink<'a> {
    repository: Arc<Repository>,
    packs: PackWriter,
    base_packs: Vec<PackEntry>,
    base_extents: Vec<Extent>,
    written: HashMap<BlockReference, Location>,
    round: Vec<Extent>,
    open: Option<BlockReference>,
    log: &'a LogCapture,
    progress: &'a dyn Progress,
    bytes_taken: u64,
}

impl<'a> PackSink<'a> {
    /// Creates a sink for one run that builds on `base`.
    pub fn new(
        repository: &Arc<Repository>,
        run: RunId,
        superblock: &SuperBlock,
        base: Option<Manifest>,
        log: &'a LogCapture,
        progress: &'a dyn Progress,
    ) -> PackSink<'a> {
        let (base_packs, base_extents) = base.map(|base| (base.packs, base.extents)).unwrap_or_default();
        PackSink {
            repository: Arc::clone(repository),
            packs: PackWriter::new(repository, run, superblock.checkpoint().header().op(), base_packs.len() as u32),
            base_packs,
            base_extents,
            written: HashMap::new(),
            round: Vec::new(),
            open: None,
            log,
            progress,
            bytes_taken: 0,
        }
    }

    fn find(&self, root: BlockReference) -> Option<Location> {
        self.written.get(&root).copied().or_else(|| {
            let position = self.base_extents.binary_search_by_key(&root.address, |extent| extent.root.address).ok()?;
            self.base_extents.get(position).filter(|extent| extent.root == root).map(|extent| extent.location)
        })
    }

    /// Returns the pack table and the extents of the complete round, with positions in that table.
    /// Waits until all packs are durable.
    pub fn finish(self) -> Result<(Vec<PackEntry>, Vec<Extent>, Counts)> {
        let base = self.base_packs.len();
        let mut all = self.base_packs;
        all.extend(self.packs.finish()?);
        let mut extents = self.round;
        extents.sort_unstable_by_key(|extent| extent.root.address);
        let mut used = vec![false; all.len()];
        let mut counts = Counts::default();
        for extent in &extents {
            let pack = extent.location.pack as usize;
            *used.get_mut(pack).ok_or_else(|| Error::bug("an extent in a pack that is not there"))? = true;
            let blocks = u64::from(extent.location.blocks);
            if pack < base {
                counts.blocks_reused += blocks;
            } else {
                counts.blocks_stored += blocks;
            }
        }
        let mut positions = Vec::with_capacity(all.len());
        let (mut packs, mut unused) = (Vec::new(), Vec::new());
        for (number, (pack, used)) in all.into_iter().zip(used).enumerate() {
            positions.push(packs.len() as u32);
            match (used, number >= base) {
                (true, new) => {
                    counts.bytes_stored += if new { pack.stored_bytes } else { 0 };
                    packs.push(pack);
                }
                (false, true) => unused.push(pack.name),
                (false, false) => {}
            }
        }
        for extent in &mut extents {
            extent.location.pack = positions[extent.location.pack as usize];
        }
        unused.iter().for_each(|pack| super::cleanup::delete_objects(&self.repository, pack.run, [pack.object()]));
        Ok((packs, extents, counts))
    }
}

impl BlockSink for PackSink<'_> {
    fn holds(&mut self, root: BlockReference) -> bool {
        let Some(location) = self.find(root) else { return false };
        self.round.push(Extent { root, location });
        true
    }

    fn begin_extent(&mut self, root: BlockReference) -> Result<()> {
        self.open = Some(root);
        self.packs.begin_extent()
    }

    fn block(&mut self, reference: BlockReference, block: CheckedBlock) -> Result<()> {
        self.bytes_taken += block.as_ref().len() as u64;
        self.progress.position(self.bytes_taken);
        // This block was read already. The next read waits until this one is admitted.
        self.repository.governor().admit_read(Priority::Bulk, block.as_ref().len() as u64);
        crate::tier::tigerbeetle::capture::cleanup::check_wanted(self.progress)?;
        self.packs.block(reference, block)
    }

    fn end_extent(&mut self) -> Result<()> {
        let root = self.open.take().ok_or_else(|| Error::bug("an extent ends that never began"))?;
        let location = self.packs.end_extent()?;
        self.written.insert(root, location);
        self.round.push(Extent { root, location });
        Ok(())
    }

    fn abandon_extent(&mut self) {
        // Its blocks stay in the pack as bytes that no extent names.
        self.open = None;
    }
}

impl CheckpointSink for PackSink<'_> {
    fn begin_round(&mut self, superblock: &SuperBlock) -> Result<()> {
        self.round.clear();
        let checkpoint = superblock.checkpoint();
        let header = checkpoint.header();
        self.log.follow(header.op(), header.checksum())?;
        self.progress.begin(&format!("checkpoint {}", header.op()), Some(checkpoint.storage_size() - GRID_OFFSET));
        Ok(())
    }

    fn expect_extents(&mut self, extents: u64) {
        // Extents that the repository holds cost nothing. The others are as large as those seen so
        // far, on average.
        if self.base_extents.is_empty() || extents == 0 {
            return;
        }
        let held = self.round.len() as u64;
        let missing = extents.saturating_sub(held).max(1);
        self.progress.total(self.bytes_taken + missing * (8 << 20));
    }
}
