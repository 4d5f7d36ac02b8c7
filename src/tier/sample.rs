//! Backups for tests: a synthetic data file on the disk, and the real backup of it.
//!
//! Flow: [`write_data_file`] writes a [`SampleFile`] as the server would lay it out (its zeros stay
//! holes). [`backup`] does that and runs the real [`capture::backup`] over the file.
//! [`next_checkpoint`] is the same ledger one checkpoint later. [`edited`] and [`as_replica`]
//! change a superblock. This module is only for tests: the feature `samples` opens it to other
//! crates.

use super::tigerbeetle::capture::{self, Backup};
use crate::disk::file::ReadOptions;
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::repository::Repository;
use crate::tb_format::image::SuperBlockEdit;
use crate::tb_format::layout::{
    CHECKPOINT_OPS, HEADER_BYTES, SECTOR_BYTES, SUPERBLOCK_HEADER_BYTES, block_offset, durable_op_for_checkpoint,
};
use crate::tb_format::record::TREE_TRANSFERS;
use crate::tb_format::sample::{
    Roots, SampleFile, headers_of, index_block, log_after, manifest_block, sample_timestamp, seal_superblock, superblock_bytes, table_info,
    transfer, value_block,
};
use crate::tb_format::superblock::SuperBlock;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Ops after the first checkpoint, up to op 1011. With so many, a server starts from the end of the
/// log without the log before the checkpoint, whatever the superblock says.
pub const LOG_OPS: u64 = 52;
/// The block of a [`SampleFile`] that nothing refers to.
const UNREACHABLE_BLOCK: u64 = 9;

/// A folder for data files. It is in memory where the system has such a place, since a data file is
/// a gigabyte of holes and four megabytes of log.
pub fn folder() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

/// Writes a complete data file, as long as its superblock says.
///
/// # Errors
/// The errors of the file system.
pub fn write_data_file(sample: &SampleFile, path: &Path) -> std::io::Result<()> {
    let file = File::create(path)?;
    file.set_len(sample.checkpoint().storage_size())?;
    sample.pieces().iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset))
}

/// Writes `sample` to `path` and backs it up.
///
/// # Errors
/// The errors of [`capture::backup`].
pub fn backup(repository: &Arc<Repository>, sample: &SampleFile, path: &Path) -> Result<Backup> {
    write_data_file(sample, path).map_err(|error| Error::input(error.to_string()))?;
    capture::backup(repository, path, ReadOptions::default(), &Silent)
}

/// The first place where the file differs from the data file that `sample` describes; `None` if
/// they are equal. Block 9, which nothing refers to, is not compared.
///
/// # Errors
/// The errors of the file system.
pub fn first_difference(path: &Path, sample: &SampleFile) -> std::io::Result<Option<String>> {
    let file = File::open(path)?;
    let (length, expected_length) = (file.metadata()?.len(), sample.checkpoint().storage_size());
    if length != expected_length {
        return Ok(Some(format!("{length} bytes instead of {expected_length}")));
    }
    let mut expected: BTreeMap<u64, [u8; SECTOR_BYTES]> = BTreeMap::new();
    for (mut offset, bytes) in sample.pieces().into_iter().filter(|(offset, _)| Some(*offset) != block_offset(UNREACHABLE_BLOCK)) {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let within = (offset % SECTOR_BYTES as u64) as usize;
            let (piece, behind) = rest.split_at(rest.len().min(SECTOR_BYTES - within));
            let sector = expected.entry(offset / SECTOR_BYTES as u64).or_insert([0; SECTOR_BYTES]);
            sector[within..within + piece.len()].copy_from_slice(piece);
            (offset, rest) = (offset + piece.len() as u64, behind);
        }
    }
    let mut offset = 0;
    // Everything between two data ranges is a hole, which reads as zeros.
    while let Ok(begin) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(offset)) {
        offset = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(begin))?;
        for sector in begin / SECTOR_BYTES as u64..offset.div_ceil(SECTOR_BYTES as u64) {
            let mut found = [0; SECTOR_BYTES];
            file.read_exact_at(&mut found, sector * SECTOR_BYTES as u64)?;
            if found != expected.remove(&sector).unwrap_or([0; SECTOR_BYTES]) {
                return Ok(Some(format!("offset {}", sector * SECTOR_BYTES as u64)));
            }
        }
    }
    let missing = expected.iter().find(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
    Ok(missing.map(|(sector, _)| format!("offset {}: nothing is written", sector * SECTOR_BYTES as u64)))
}

/// The sample with its superblock changed by `edit` and its checksum computed again.
pub fn edited(sample: &SampleFile, edit: impl FnOnce(&mut [u8; SUPERBLOCK_HEADER_BYTES])) -> SampleFile {
    let mut changed = sample.clone();
    edit(&mut changed.superblock);
    seal_superblock(&mut changed.superblock);
    changed
}

/// The data file of another replica of the same cluster.
///
/// # Errors
/// When the cluster has no such replica.
pub fn as_replica(sample: &SampleFile, index: u8) -> Result<SampleFile> {
    let refused = |error: crate::tb_format::LedgerError| Error::bug(error.to_string());
    let superblock = SuperBlock::check(&sample.superblock).map_err(refused)?;
    let other = SuperBlockEdit::new(&superblock).replica(index).and_then(SuperBlockEdit::finish).map_err(refused)?;
    Ok(SampleFile { superblock: *other.bytes(), ..sample.clone() })
}

/// The ledger of `sample` one checkpoint later, followed by `log_ops` ops. It has one more table
/// (blocks 10 and 11) and one more block of the manifest log (12); all else is as it was.
///
/// # Errors
/// When the log of `sample` does not reach the next checkpoint.
pub fn next_checkpoint(sample: &SampleFile, log_ops: u64) -> Result<SampleFile> {
    let header = headers_of(&sample.log).into_iter().nth(CHECKPOINT_OPS as usize - 1);
    let header = header.ok_or_else(|| Error::bug("the sample's log ends before the next checkpoint"))?;
    let [oldest, newest, _, _, _, _, sessions, free_set, ..] = &sample.blocks[..] else {
        return Err(Error::bug("the sample has too few blocks"));
    };
    let (cluster, time) = (header.cluster(), sample_timestamp(header.op()));
    let values = value_block(cluster, 10, TREE_TRANSFERS, &[&transfer(13, 1, 2, 30, time)]);
    let index = index_block(cluster, 11, TREE_TRANSFERS, &[values.0]);
    let manifest = manifest_block(cluster, 12, Some(newest.0), &[table_info(index.0, TREE_TRANSFERS, 0, 1)]);
    let body = |bytes: &[u8]| bytes.iter().skip(HEADER_BYTES).copied().collect::<Vec<u8>>();
    let roots = Roots {
        free_set_acquired: Some((free_set.0, body(&free_set.1))),
        client_sessions: Some((sessions.0, body(&sessions.1))),
        manifest: Some((oldest.0, manifest.0, 3)),
        grid_blocks: 12,
    };
    let parent = sample.checkpoint().checkpoint_id();
    let mut blocks = sample.blocks.clone();
    blocks.extend([values, index, manifest]);
    let superblock = superblock_bytes(&header, &roots, 3);
    let wants_earlier = header.op() + log_ops < durable_op_for_checkpoint(header.op());
    let earlier = if wants_earlier { sample.log.iter().take(CHECKPOINT_OPS as usize).cloned().collect() } else { Vec::new() };
    let next = SampleFile { superblock, blocks, earlier, log: log_after(&header, log_ops), reply: sample.reply.clone() };
    Ok(edited(&next, |bytes| {
        bytes[40..48].copy_from_slice(&2_u64.to_le_bytes());
        bytes[96 + 496..96 + 512].copy_from_slice(&parent.to_bytes());
    }))
}
