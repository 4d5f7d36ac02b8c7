//! Detects two histories under one cluster id.
//!
//! A cluster that was restored to an earlier op continues with other prepares under the same id,
//! and so does a solo fork. In one timeline, one history could be mistaken for the other. So a
//! capture is compared with every stored log that overlaps it: where both hold a committed op, it
//! must be the same prepare. A capture that ends before the newest stored checkpoint, with nothing
//! to compare, is refused too: to accept an unknown history would be worse than to refuse the right
//! one. A fork that has run on beyond everything stored shares no op with it and cannot be detected
//! this way. [`super::join`] looks for the trace of the ops that it lost.

use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::CheckpointName;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::{WAL_SLOTS, prepare_max_for_checkpoint, slot_of};
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::{HeaderRing, SlotHeader};
use crate::tier::tigerbeetle::format::manifest::{Manifest, Summary};
use crate::tier::tigerbeetle::format::segment::SegmentReader;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use std::collections::BTreeMap;

/// Refuses a capture of another history than the repository's. `headers` are the prepares after the
/// checkpoint, of which those up to `end_op` count. `ring` shows older ones too.
///
/// # Errors
/// [`Error::input`] when a committed op differs, when the cluster has another number of replicas,
/// or when nothing can be compared.
pub fn refuse_fork(
    repository: &Repository,
    lineage: &Lineage,
    superblock: &SuperBlock,
    headers: &[PrepareHeader],
    end_op: u64,
    ring: &HeaderRing<'_>,
) -> Result<()> {
    let checkpoint = superblock.checkpoint().header();
    // One backup of each checkpoint is enough: the backups of one checkpoint were compared with
    // each other when they were made.
    let by_checkpoint: BTreeMap<u64, CheckpointName> =
        repository.backups_of(lineage)?.into_iter().map(|name| (name.checkpoint_op, name)).collect();
    let Some(newest_op) = by_checkpoint.keys().next_back().copied() else { return Ok(()) };
    let mut compared = newest_op <= end_op;
    for (op, name) in by_checkpoint.range(..=end_op).rev() {
        if prepare_max_for_checkpoint(*op).saturating_add(u64::from(WAL_SLOTS)) < end_op {
            break;
        }
        let (summary, theirs) = match Manifest::read_head(repository, name) {
            Ok(head) => head,
            Err(error) if error.kind == Kind::Damaged => continue,
            Err(error) => return Err(error),
        };
        if theirs.replica_count() != superblock.replica_count() {
            return Err(Error::input(format!(
                "the data file is of a cluster of {} replicas, the repository of one of {}: a fork needs a repository of its own",
                superblock.replica_count(),
                theirs.replica_count()
            )));
        }
        // After a branch, an ancestor continues with another history.
        let common_op = end_op.min(summary.commit_known_op).min(lineage.last_op_of(name.timeline));
        let ours = header_at(&checkpoint, headers, common_op).or_else(|| in_ring(ring, common_op));
        let stored = if common_op == *op {
            Some(theirs.checkpoint().header().checksum())
        } else {
            stored_at(repository, name, &summary, common_op)?
        };
        if let Some((ours, stored)) = ours.zip(stored) {
            if ours != stored {
                return Err(other_history(common_op, ours, stored));
            }
            compared = true;
        }
    }
    if compared {
        return Ok(());
    }
    Err(Error::input(format!(
        "the repository holds checkpoint {newest_op}, the data file ends at op {end_op}, and nothing stored shows that both are of one history: an old file, a replica far \
         behind, or a cluster restored to an earlier op: --new-timeline stores that beside the old history"
    )))
}

fn other_history(op: u64, here: Checksum, there: Checksum) -> Error {
    Error::input(format!(
        "the data file continues another history than the repository: op {op}, which is committed, has checksum {here} here and {there} there. If the \
         cluster was restored to an earlier op and went on from there, --new-timeline stores it beside the old history"
    ))
}

/// The checksum of the prepare at `op` in this capture.
fn header_at(checkpoint: &PrepareHeader, headers: &[PrepareHeader], op: u64) -> Option<Checksum> {
    if op == checkpoint.op() {
        return Some(checkpoint.checksum());
    }
    headers.iter().find(|header| header.op() == op).map(PrepareHeader::checksum)
}

/// The checksum of the prepare at `op` if it is still in the WAL ring, which reaches back further
/// than the checkpoint.
fn in_ring(ring: &HeaderRing<'_>, op: u64) -> Option<Checksum> {
    match ring.slot(slot_of(op)) {
        SlotHeader::Valid(header) if header.op() == op => Some(header.checksum()),
        _ => None,
    }
}

/// The checksum of the prepare at `op` in a stored backup; `None` if the backup does not hold it,
/// or it cannot be read any more.
fn stored_at(repository: &Repository, name: &CheckpointName, summary: &Summary, op: u64) -> Result<Option<Checksum>> {
    if !(summary.log_first_op..=summary.recovered_to_op).contains(&op) {
        return Ok(None);
    }
    let read = Manifest::read(repository, name, None).and_then(|manifest| {
        let entry = manifest.segments.into_iter().find(|segment| (segment.name.first_op..=segment.name.last_op).contains(&op));
        let rows = entry.map(|entry| SegmentReader::open(repository, &entry).map(|segment| segment.rows)).transpose()?;
        Ok(rows.and_then(|rows| rows.into_iter().find(|row| row.op == op).map(|row| row.checksum)))
    });
    match read {
        Err(error) if error.kind == Kind::Damaged => Ok(None),
        read => read,
    }
}

#[cfg(test)]
mod tests;
