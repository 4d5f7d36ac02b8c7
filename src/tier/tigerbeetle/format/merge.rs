//! Merges small segments into larger ones, so that a month of log is thousands of objects and not
//! millions.
//!
//! Flow: [`plan_merges`] looks only at names and sizes and picks groups of neighbours, tier by
//! tier, so that every byte is rewritten only a few times. [`merge`] writes one segment with the
//! content of a group, and follows the hash chain across it. [`covered`] finds segments whose whole
//! content another segment holds, after a merge or because two agents shipped the same ops. Only
//! covered segments may be deleted, and never one that a manifest names.

use super::log::{Piece, SEGMENT_OPS_MAX};
use super::segment::{FRAME_RECORD_BYTES, SegmentEntry, SegmentFrames, segment_entry};
use crate::error::Kind;
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{RunId, SegmentName};
use crate::repository::object_writer::ObjectWriter;
use crate::tb_format::wal::Chain;
use std::collections::HashMap;
use std::sync::Arc;

/// A segment does not grow beyond so many stored bytes by merging.
const MERGED_STORED_BYTES_MAX: u64 = 256 << 20;
/// Segments below this size are of the lowest tier. Each tier above is [`TIER_FACTOR`] times
/// larger.
const TIER_BYTES: u64 = 64 << 10;
const TIER_FACTOR: u64 = 64;
/// The number of tiers that are merged.
const TIERS: u32 = 3;
/// At most so many bytes of a segment are fetched for its index.
const INDEX_BYTES: u64 = 128 << 10;
/// The most segments that one merge joins.
const SEGMENTS_A_MERGE_MAX: usize = 512;

/// The tier of a segment with so many stored bytes.
fn tier(stored_bytes: u64) -> u32 {
    (0..TIERS).find(|tier| stored_bytes < TIER_BYTES * TIER_FACTOR.pow(*tier)).unwrap_or(TIERS)
}

/// Groups of neighbours to be merged. `settled` are segments of one timeline, sorted by first op. A
/// group has at least `least` segments.
pub fn plan_merges(settled: &[Piece], least: usize) -> Vec<Vec<Piece>> {
    let least = least.max(2);
    for limit in 0..TIERS {
        let merges = runs_up_to(settled, limit, least);
        if !merges.is_empty() {
            return merges;
        }
    }
    Vec::new()
}

/// Groups of at least `least` neighbours of which none is of a higher tier than `limit`.
fn runs_up_to(settled: &[Piece], limit: u32, least: usize) -> Vec<Vec<Piece>> {
    let (mut runs, mut run): (Vec<Vec<Piece>>, Vec<Piece>) = (Vec::new(), Vec::new());
    let mut stored_bytes = 0;
    for piece in settled {
        let follows = run.last().is_none_or(|last| last.last_op.checked_add(1) == Some(piece.first_op));
        let ops = run.first().map_or(0, |first| piece.last_op - first.first_op.min(piece.last_op));
        let fits =
            stored_bytes + piece.stored_bytes <= MERGED_STORED_BYTES_MAX && ops < SEGMENT_OPS_MAX && run.len() < SEGMENTS_A_MERGE_MAX;
        if tier(piece.stored_bytes) > limit || !follows || !fits {
            if run.len() >= least {
                runs.push(std::mem::take(&mut run));
            }
            run.clear();
            stored_bytes = 0;
        }
        if tier(piece.stored_bytes) <= limit {
            stored_bytes += piece.stored_bytes;
            run.push(*piece);
        }
    }
    if run.len() >= least {
        runs.push(run);
    }
    runs
}

/// Writes one segment with the content of these neighbours. It is durable when this returns. The
/// neighbours are not deleted.
///
/// # Errors
/// [`Error::damaged`] when one of them is damaged, or they are not one chain. Then no segment is
/// written that anything relies on.
pub fn merge(repository: &Arc<Repository>, run: RunId, pieces: &[Piece]) -> Result<SegmentEntry> {
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Err(Error::bug("a merge of no segments")) };
    let name = SegmentName { timeline: first.name.timeline, first_op: first.first_op, last_op: last.last_op, run };
    let mut writer = ObjectWriter::create(repository, ObjectKind::Segment, name.object())?.as_bulk();
    let (mut frames, mut chain) = (SegmentFrames::default(), None);
    for piece in pieces {
        repository.admit_fetch(Priority::Bulk, piece.stored_bytes);
        piece.open(repository)?.prepares(piece.first_op, piece.last_op, &mut |prepare| {
            let header = prepare.header();
            let mut end = chain.unwrap_or_else(|| Chain::after(header.op().saturating_sub(1), header.parent()));
            end.accept(header)
                .map_err(|error| Error::damaged(format!("{}: op {}: {error}", piece.name.object(), header.op())).caused_by(error))?;
            chain = Some(end);
            if let Some(full) = frames.push(prepare) {
                writer.push_records(full, FRAME_RECORD_BYTES)?;
            }
            Ok(())
        })?;
    }
    if chain.map(|chain| chain.op()) != Some(last.last_op) {
        return Err(Error::damaged(format!("{}: the segments to be merged do not hold all of its ops", name.object())));
    }
    if let Some(rest) = frames.rest() {
        writer.push_records(rest, FRAME_RECORD_BYTES)?;
    }
    segment_entry(name, writer.finish(frames.entries())?)
}

/// Finds the segments whose every prepare another of these segments holds. Of two segments with the
/// same content, the one with the later run is covered.
///
/// # Errors
/// When the store cannot be read. A segment that does not open neither covers another nor is
/// covered.
pub fn covered(repository: &Repository, pieces: &[Piece]) -> Result<Vec<(Piece, SegmentName)>> {
    let mut covered = Vec::new();
    let mut rows = HashMap::new();
    for (position, piece) in pieces.iter().enumerate() {
        // The pieces are sorted by first op, so the holder begins at or before this one.
        let holder = pieces.iter().enumerate().take_while(|(_, other)| other.first_op <= piece.first_op).find(|(other_position, other)| {
            let larger = (other.first_op, other.last_op) != (piece.first_op, piece.last_op);
            *other_position != position && other.last_op >= piece.last_op && (larger || other.name.run < piece.name.run)
        });
        let Some((_, holder)) = holder else { continue };
        repository.admit_fetch(Priority::Bulk, holder.stored_bytes.min(INDEX_BYTES));
        if let std::collections::hash_map::Entry::Vacant(entry) = rows.entry(holder.name) {
            // One holder often covers many segments, so only the rows of the last holder are kept.
            let Some(read) = readable(holder.open(repository).map(|reader| reader.rows))? else { continue };
            entry.insert(read);
        }
        let Some(theirs) = rows.get(&holder.name) else { continue };
        let Some(ours) = readable(piece.open(repository).map(|reader| reader.rows))? else { continue };
        let begin = usize::try_from(piece.name.first_op - holder.name.first_op).unwrap_or(usize::MAX);
        if theirs.get(begin..).is_some_and(|theirs| theirs.starts_with(&ours)) {
            covered.push((*piece, holder.name));
        }
        rows.retain(|name, _| *name == holder.name);
    }
    Ok(covered)
}

fn readable<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind == Kind::Damaged => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
