//! The log before the checkpoint, for the rare backup that ends right behind it.
//!
//! For some 40 ops after a checkpoint's own, a server takes the checkpoint for not durable on a quorum yet and refuses to start without the prepares since
//! the checkpoint before. Under load the next prepares come in a moment; on a node that rests just there they do not, and then the whole
//! earlier interval is still in the ring: it is read and stored too.

use crate::error::{Error, Result};
use crate::ledger::header::{PrepareHeader, root_prepare};
use crate::ledger::layout::{HEADER_BYTES, earlier_log_first_op, slot_of};
use crate::ledger::wal::Prepare;
use crate::repository::Repository;
use crate::repository::name::{RunId, TIMELINE_FIRST};
use crate::repository::segment::{SegmentBuilder, SegmentEntry, segment_entry};
use crate::source::file::ReadOptions;
use crate::source::log::{Polled, Tail, header_ring};
use std::path::Path;
use std::sync::Arc;

/// The stored log from [`earlier_log_first_op`] to the checkpoint's own op, and how many bytes were read for it.
#[derive(Debug)]
pub struct EarlierLog {
    /// Its first op.
    pub first_op: u64,
    /// The segments that hold it.
    pub segments: Vec<SegmentEntry>,
    /// Bytes read from the data file.
    pub bytes_read: u64,
}

/// Reads and stores the log that leads to `checkpoint`; `None` when the ring has moved on, and with it the need.
///
/// # Errors
/// When file or store fail.
pub fn store(
    repository: &Arc<Repository>,
    data_file: &Path,
    options: ReadOptions,
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
                writing.extend(std::mem::take(&mut builder).write(repository, TIMELINE_FIRST, run)?);
            }
            Ok(())
        })?;
        if !matches!(polled, Polled::Prepares(_)) {
            break;
        }
    }
    writing.extend(builder.write(repository, TIMELINE_FIRST, run)?);
    let mut segments = Vec::with_capacity(writing.len());
    for (name, finishing) in writing {
        segments.push(segment_entry(name, finishing)?);
    }
    if leads_there {
        return Ok(Some(EarlierLog { first_op, segments, bytes_read: tail.bytes_read() }));
    }
    super::take_back(repository, segments.iter().map(|segment| segment.name.object()));
    Ok(None)
}

/// The parent of prepare `first_op`, if that prepare is still in the ring.
fn parent_of(
    data_file: &Path,
    options: ReadOptions,
    checkpoint: &PrepareHeader,
    first_op: u64,
) -> Result<Option<crate::ledger::checksum::Checksum>> {
    if first_op == 1 {
        let root = PrepareHeader::check(&root_prepare(checkpoint.cluster()));
        return root.map(|root| Some(root.checksum())).map_err(|error| Error::bug(format!("the root prepare: {error}")));
    }
    let ring = header_ring(data_file, options)?;
    let bytes = ring.get(slot_of(first_op) as usize * HEADER_BYTES..).unwrap_or_default();
    let header = PrepareHeader::check(bytes).ok().filter(|header| header.op() == first_op && !header.is_reserved());
    Ok(header.map(|header| header.parent()))
}
