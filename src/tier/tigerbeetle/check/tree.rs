//! Checks that a backup's extents are exactly the tree that its superblock roots.
//!
//! The walk that captured the checkpoint is repeated over the repository. It follows the trailers
//! and the manifest log from the superblock and gathers the live tables. The set of all these roots
//! must be the set of the extents. For each table the value blocks that its index block names must
//! be the ones that follow it in the pack. Only index blocks and lists are opened here; every block
//! was checked before.

use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::repository::Repository;
use crate::tb_format::error::LedgerError;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::manifest_log::{LiveTables, ManifestBlock};
use crate::tb_format::table::IndexBlock;
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::manifest::{Extent, Manifest};
use crate::tier::tigerbeetle::format::pack::PackReader;
use crate::tier::tigerbeetle::restore::log;

/// Checks one backup: its tree, and its log from the checkpoint to the op that it promises.
///
/// # Errors
/// [`Error::damaged`], naming what is missing or too much.
pub fn check(repository: &Repository, manifest: &Manifest) -> Result<()> {
    let checkpoint = manifest.superblock.checkpoint();
    let blocks: u64 = manifest.extents.iter().map(|extent| u64::from(extent.location.blocks)).sum();
    let mut roots = Vec::new();
    for trailer in [checkpoint.free_set_acquired(), checkpoint.free_set_released(), checkpoint.client_sessions()] {
        chain(repository, manifest, trailer.last, u64::MAX, &mut roots, &mut |block| block.trailer_previous())?;
    }
    let mut live = LiveTables::new();
    let count = u64::from(checkpoint.manifest_block_count());
    chain(repository, manifest, checkpoint.manifest_newest(), count, &mut roots, &mut |block| {
        let log_block = ManifestBlock::from_block(block)?;
        live.absorb(&log_block)?;
        Ok(log_block.previous())
    })?;
    let singles = roots.len();
    roots.extend(live.into_tables().into_iter().map(|table| table.reference));
    let mut tables: Vec<&Extent> = Vec::with_capacity(roots.len() - singles);
    for root in &roots[singles..] {
        tables.push(find(manifest, *root)?);
    }
    if roots.len() != manifest.extents.len() {
        return Err(Error::damaged(format!(
            "the superblock reaches {} extents, the manifest lists {}",
            roots.len(),
            manifest.extents.len()
        )));
    }
    check_tables(repository, manifest, tables)?;
    if blocks != manifest.summary.blocks {
        return Err(Error::damaged(format!("its extents have {blocks} blocks, its summary says {}", manifest.summary.blocks)));
    }
    if manifest.summary.log_first_op <= manifest.summary.checkpoint_op {
        log::earlier(repository, manifest, &mut |_| Ok(()))?;
    }
    let mut take = |prepare: &Prepare<'_>| {
        repository.admit_fetch(Priority::Bulk, prepare.bytes().len() as u64);
        Ok(())
    };
    log::prepares(repository, manifest, manifest.summary.recovered_to_op, &mut take).map(|_| ())
}

fn find(manifest: &Manifest, root: BlockReference) -> Result<&Extent> {
    let position = manifest.extents.binary_search_by_key(&root.address, |extent| extent.root.address).ok();
    let extent = position.and_then(|position| manifest.extents.get(position)).filter(|extent| extent.root == root);
    extent.ok_or_else(|| {
        Error::damaged(format!("the block at address {} is part of the checkpoint, but the backup does not hold it", root.address))
    })
}

/// Follows a linked list of single-block extents.
fn chain(
    repository: &Repository,
    manifest: &Manifest,
    last: Option<BlockReference>,
    count: u64,
    roots: &mut Vec<BlockReference>,
    previous: &mut dyn FnMut(Block<'_>) -> Result<Option<BlockReference>, LedgerError>,
) -> Result<()> {
    // The limit is one more than there are extents. So the block after the last extent of a list
    // that is too long is looked for, and not found.
    let limit = roots.len() as u64 + count.min(manifest.extents.len() as u64 + 1);
    let mut next = last;
    while let Some(reference) = next.filter(|_| (roots.len() as u64) < limit) {
        let location = find(manifest, reference)?.location;
        let pack = PackReader::open(repository, &manifest.packs[location.pack as usize])?;
        repository.admit_fetch(Priority::Bulk, pack.stored_bytes(location.first_frame, location.blocks).unwrap_or(0));
        let mut blocks = pack.blocks(location.first_frame, location.blocks)?;
        let (found, bytes) = blocks.pop().filter(|_| location.blocks == 1).ok_or_else(|| wrong_extent(reference))?;
        if found != reference {
            return Err(wrong_extent(reference));
        }
        let link = Block::check(&bytes, reference).and_then(&mut *previous);
        next = link.map_err(|error| Error::damaged(format!("block at address {}: {error}", reference.address)).caused_by(error))?;
        roots.push(reference);
    }
    Ok(())
}

fn check_tables(repository: &Repository, manifest: &Manifest, mut tables: Vec<&Extent>) -> Result<()> {
    tables.sort_unstable_by_key(|extent| (extent.location.pack, extent.location.first_frame));
    for of_pack in tables.chunk_by(|left, right| left.location.pack == right.location.pack) {
        let Some(first) = of_pack.first() else { continue };
        let pack = PackReader::open(repository, &manifest.packs[first.location.pack as usize])?;
        for extent in of_pack {
            let location = extent.location;
            repository.admit_fetch(Priority::Bulk, pack.stored_bytes(location.first_frame, 1).unwrap_or(0));
            let index = pack.blocks(location.first_frame, 1)?;
            let references = pack.references(location.first_frame, location.blocks).unwrap_or_default();
            let mut expected = Vec::with_capacity(references.len());
            for (reference, bytes) in &index {
                expected.push(*reference);
                let values = Block::check(bytes, *reference).and_then(IndexBlock::from_block);
                let values =
                    values.map_err(|error| Error::damaged(format!("block at address {}: {error}", reference.address)).caused_by(error))?;
                expected.extend(values.value_blocks());
            }
            if expected.first() != Some(&extent.root) || expected != references {
                return Err(wrong_extent(extent.root));
            }
        }
    }
    Ok(())
}

fn wrong_extent(root: BlockReference) -> Error {
    Error::damaged(format!("the extent at address {} does not hold the blocks that its root names", root.address))
}
