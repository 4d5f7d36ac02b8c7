//! Stores the log before the checkpoint, for the rare backup that ends right after its checkpoint.
//!
//! For some 40 ops after a checkpoint's own op, a server assumes that the checkpoint is not durable
//! on a quorum yet, and refuses to start without the prepares since the checkpoint before. Under
//! load the next prepares arrive in a moment. On a node that is idle at this point they do not. The
//! whole earlier interval is then still in the WAL ring, so it is read and stored too.

use crate::disk::file::ReadOptions;
use crate::error::{Error, Result};
use crate::replica::log::{LogSource, Polled};
use crate::replica::tail::{Tail, header_ring};
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::{PrepareHeader, root_prepare};
use crate::tb_format::layout::{HEADER_BYTES, earlier_log_first_op, slot_of};
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::segment::{SegmentBuilder, SegmentEntry, segment_entry};
use std::path::Path;
use std::sync::Arc;

/// The stored log from [`earlier_log_first_op`] to the checkpoint's own op, and how many bytes were
/// read for it.
#[derive(Debug)]
pub struct EarlierLog {
    /// Its first op.
    pub first_op: u64,
    /// The segments that hold it.
    pub segments: Vec<SegmentEntry>,
    /// Bytes read from the data file.
    pub bytes_read: u64,
    /// The checksum of the checkpoint's own prepare.
    checksum: Checksum,
}

impl EarlierLog {
    /// The earlier log that `base` holds, if it is complete. So the backups of a node that is idle
    /// right after its checkpoint store it once.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn held(repository: &Repository, base: &Manifest) -> Result<Option<EarlierLog>> {
        let checkpoint = base.superblock.checkpoint().header();
        let first_op = base.summary.log_first_op;
        if first_op > earlier_log_first_op(checkpoint.op()) || first_op > checkpoint.op() {
            return Ok(None);
        }
        let segments: Vec<SegmentEntry> = base.segments.iter().filter(|segment| segment.name.last_op <= checkpoint.op()).cloned().collect();
        if segments.last().is_none_or(|segment| segment.name.last_op != checkpoint.op()) {
            return Ok(None);
        }
        for segment in &segments {
            if repository.object_bytes(&segment.name.object())? != Some(segment.stored_bytes) {
                return Ok(None);
            }
        }
        Ok(Some(EarlierLog { first_op, segments, bytes_read: 0, checksum: checkpoint.checksum() }))
    }

    /// Whether this is the log before this checkpoint.
    pub fn leads_to(&self, checkpoint: &PrepareHeader) -> bool {
        self.checksum == checkpoint.checksum()
    }
}

/// Reads and stores the log that leads to `checkpoint`. Returns `None` when the WAL ring has moved
/// on; then this log is not needed any more.
///
/// # Errors
/// When the data file or the store fails.
pub fn store(
    repository: &Arc<Repository>,
    data_file: &Path,
    options: ReadOptions,
    timeline: u32,
    run: RunId,
    checkpoint: &PrepareHeader,
) -> Result<Option<EarlierLog>> {
    let first_op = earlier_log_first_op(checkpoint.op());
    let Some(parent) = parent_of(data_file, options, checkpoint, first_op)? else { return Ok(None) };
    let mut tail = Tail::open(data_file, options, first_op - 1, parent)?;
    let (mut builder, mut writing, mut leads_there) = (SegmentBuilder::default(), Vec::new(), false);
    while tail.op() < checkpoint.op() {
        let polled = tail.poll(&mut |prepare: &Prepare<'_>| {
            let header = prepare.header();
            leads_there |= (header.op(), header.checksum()) == (checkpoint.op(), checkpoint.checksum());
            if header.op() <= checkpoint.op() {
                builder.push(prepare);
            }
            if builder.is_full() {
                writing.extend(std::mem::take(&mut builder).write(repository, timeline, run)?);
            }
            Ok(())
        })?;
        if !matches!(polled, Polled::Prepares(_)) {
            break;
        }
    }
    writing.extend(builder.write(repository, timeline, run)?);
    let mut segments = Vec::with_capacity(writing.len());
    for (name, finishing) in writing {
        segments.push(segment_entry(name, finishing)?);
    }
    if leads_there {
        return Ok(Some(EarlierLog { first_op, segments, bytes_read: tail.bytes_read(), checksum: checkpoint.checksum() }));
    }
    super::cleanup::delete_objects(repository, run, segments.iter().map(|segment| segment.name.object()));
    Ok(None)
}

/// The checksum of the parent of prepare `first_op`, if that prepare is still in the WAL ring.
fn parent_of(data_file: &Path, options: ReadOptions, checkpoint: &PrepareHeader, first_op: u64) -> Result<Option<Checksum>> {
    if first_op == 1 {
        let root = PrepareHeader::check(&root_prepare(checkpoint.cluster()));
        return root.map(|root| Some(root.checksum())).map_err(|error| Error::bug(format!("the root prepare: {error}")).caused_by(error));
    }
    let ring = header_ring(data_file, options)?;
    let bytes = ring.get(slot_of(first_op) as usize * HEADER_BYTES..).unwrap_or_default();
    let header = PrepareHeader::check(bytes).ok().filter(|header| header.op() == first_op && !header.is_reserved());
    Ok(header.map(|header| header.parent()))
}
