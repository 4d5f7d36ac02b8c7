//! The log of one history, read from all the segments that its timelines hold.
//!
//! Flow: [`LogIndex::list`] lists the segments from an op on, in the order of their names. The
//! names alone show which ops are stored without a gap ([`LogIndex::reach`]). [`LogIndex::resolve`]
//! decides which prepares to take from which segment. It begins at the wanted end and follows the
//! `parent` checksums back to a prepare that is known. So it does not matter how segments overlap,
//! which replica they are from, or in which order they were written: a prepare that a view change
//! replaced is not the parent of anything that came after it.
//!
//! An agent may merge segments while they are read. Then a listed segment is gone, and its prepares
//! are in a larger one. A reader that meets this lists again and continues, a few times at the
//! most. A segment that is still listed and does not open is damaged.
//!
//! Only at the very end of a log can there be prepares that no other prepare continues yet. Where
//! segments disagree there, the one that ends in the later view wins, as among replicas.

mod listing;

pub use listing::{list_segments, op_ranges_of};

use super::op_range::OpRange;
use super::segment::{PrepareRow, SegmentReader};
use super::timeline::Lineage;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::SegmentName;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareId;
use crate::tb_format::wal::Prepare;
use std::collections::{HashMap, HashSet};

/// The most ops that a segment holds: as many as an index of its size limit can list. A listing
/// that begins so many ops earlier misses no segment.
pub const SEGMENT_OPS_MAX: u64 = 524_288;
/// So many ops around the end of a log may still be replaced: a few pipelines of 8 prepares each.
const UNSETTLED_OPS: u64 = 64;
/// How often a log is listed again because segments of it were merged meanwhile.
pub const RELISTS_MAX: usize = 5;

/// A segment of the history, and the ops to take from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The segment.
    pub name: SegmentName,
    /// Its stored size.
    pub stored_bytes: u64,
    /// The first op to take from it.
    pub first_op: u64,
    /// The last op to take from it.
    pub last_op: u64,
}

impl Piece {
    fn holds(&self, op: u64) -> bool {
        (self.first_op..=self.last_op).contains(&op)
    }

    /// Reads all of its prepares.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or damaged.
    pub fn check(&self, repository: &Repository) -> Result<()> {
        self.open(repository)?.prepares(self.first_op, self.last_op, &mut |_| Ok(()))
    }

    /// Opens the segment.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or damaged.
    pub fn open<'a>(&self, repository: &'a Repository) -> Result<SegmentReader<'a>> {
        SegmentReader::open_listed(repository, &self.name, Some(self.stored_bytes))
    }
}

/// The segments of a history.
#[derive(Debug)]
pub struct LogIndex<'a> {
    repository: &'a Repository,
    lineage: Lineage,
    from_op: u64,
    /// Sorted by first op.
    pieces: Vec<Piece>,
}

/// An unbroken chain of prepares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The segments to take it from, in order of op, without gap or overlap.
    pub pieces: Vec<Piece>,
    /// The prepare that it continues: op and checksum.
    pub after: PrepareId,
    /// Its last prepare: op and checksum.
    pub end: PrepareId,
    /// The history that it belongs to.
    lineage: Lineage,
}

impl Resolved {
    /// Stored bytes of the segments.
    pub fn stored_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.stored_bytes).sum()
    }

    /// Passes the prepares `first_op` to `last_op` of the chain to `take`, in order, each once.
    /// Returns the stored bytes that were fetched.
    ///
    /// # Errors
    /// [`Error::damaged`] when a segment does not open, and whatever `take` returns.
    pub fn prepares(
        &mut self,
        repository: &Repository,
        first_op: u64,
        last_op: u64,
        take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>,
    ) -> Result<u64> {
        let (mut next_op, mut stored_bytes) = (first_op, 0);
        self.surviving(repository, &mut |pieces| {
            let begin_op = next_op;
            for piece in pieces.iter().filter(|piece| piece.last_op >= begin_op && piece.first_op <= last_op) {
                let (first_op, last_op) = (next_op.max(piece.first_op), last_op.min(piece.last_op));
                let (reader, mut refused) = (piece.open(repository)?, false);
                stored_bytes += reader.stored_bytes_of(first_op, last_op);
                let given = reader.prepares(first_op, last_op, &mut |prepare| {
                    let taken = take(prepare);
                    refused = taken.is_err();
                    next_op = prepare.header().op().saturating_add(1);
                    taken
                });
                match given {
                    // The error came from `take`, not from the segment.
                    Err(error) if refused => return Ok(Err(error)),
                    given => given?,
                }
            }
            Ok(Ok(()))
        })??;
        Ok(stored_bytes)
    }

    /// Runs `work` on the segments of the chain. If one of them was merged meanwhile, the same
    /// chain is resolved again and `work` starts over.
    ///
    /// # Errors
    /// The errors of `work`.
    pub fn surviving<T>(&mut self, repository: &Repository, work: &mut dyn FnMut(&[Piece]) -> Result<T>) -> Result<T> {
        for _ in 0..RELISTS_MAX {
            match work(&self.pieces) {
                Err(error) if error.kind == Kind::Damaged => {
                    let index = LogIndex::list(repository, &self.lineage, self.after.0.saturating_add(1))?;
                    if index.has_all(&self.pieces) {
                        return Err(error);
                    }
                    // The end is known by its checksum, so this is the same chain. A prepare that
                    // no segment holds any more is lost.
                    self.pieces = match index.surviving(|index| index.back(self.end, self.after.0)) {
                        Ok((pieces, parent)) if parent == self.after.1 => pieces,
                        Err(other) if other.kind == Kind::TryAgain => return Err(other),
                        _ => return Err(error),
                    };
                }
                done => return done,
            }
        }
        work(&self.pieces)
    }
}

impl<'a> LogIndex<'a> {
    /// Lists the segments of the history from `from_op` on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(repository: &'a Repository, lineage: &Lineage, from_op: u64) -> Result<LogIndex<'a>> {
        let mut index = LogIndex::list_once(repository, lineage, from_op)?;
        // Segments that were merged between two pages of a listing look like a gap. A real gap
        // shows up again in the next listing.
        for _ in 0..RELISTS_MAX {
            if index.op_ranges().len() <= 1 {
                break;
            }
            let again = LogIndex::list_once(repository, lineage, from_op)?;
            let is_same = again.op_ranges() == index.op_ranges();
            index = again;
            if is_same {
                break;
            }
        }
        Ok(index)
    }

    fn list_once(repository: &'a Repository, lineage: &Lineage, from_op: u64) -> Result<LogIndex<'a>> {
        let mut pieces = Vec::new();
        for era in lineage.eras().iter().filter(|era| era.last_op >= from_op) {
            let first_op = era.first_op.max(from_op);
            for (name, stored_bytes) in list_segments(repository, era.timeline, first_op)? {
                let piece = Piece { name, stored_bytes, first_op: name.first_op.max(era.first_op), last_op: name.last_op.min(era.last_op) };
                if piece.first_op <= piece.last_op && piece.last_op >= from_op {
                    pieces.push(piece);
                }
            }
        }
        pieces.sort_by_key(|piece| (piece.first_op, std::cmp::Reverse(piece.last_op)));
        Ok(LogIndex { repository, lineage: lineage.clone(), from_op, pieces })
    }

    /// Whether all these segments were listed.
    pub fn has_all(&self, pieces: &[Piece]) -> bool {
        let listed: HashSet<SegmentName> = self.pieces.iter().map(|piece| piece.name).collect();
        pieces.iter().all(|piece| listed.contains(&piece.name))
    }

    /// Runs `work` on the listed segments, and again if one of them was merged meanwhile.
    fn surviving<T>(&self, work: impl Fn(&LogIndex<'_>) -> Result<T>) -> Result<T> {
        let mut newer: Option<LogIndex<'_>> = None;
        for _ in 0..RELISTS_MAX {
            let index = newer.as_ref().unwrap_or(self);
            match work(index) {
                Err(error) if error.kind == Kind::Damaged => {
                    let again = LogIndex::list(self.repository, &self.lineage, self.from_op)?;
                    if again.has_all(&index.pieces) {
                        return Err(error);
                    }
                    newer = Some(again);
                }
                done => return done,
            }
        }
        work(newer.as_ref().unwrap_or(self))
    }

    /// The segments, sorted by first op.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The op ranges that are stored without a gap, according to the names of the segments.
    pub fn op_ranges(&self) -> Vec<OpRange> {
        op_ranges_of(&self.pieces)
    }

    /// The last op up to which the log continues without a gap after op `after_op`, according to
    /// the names of the segments.
    pub fn reach(&self, after_op: u64) -> u64 {
        let next_op = after_op.saturating_add(1);
        self.op_ranges().into_iter().find(|range| range.contains(next_op)).map_or(after_op, |range| range.last_op)
    }

    /// The chain of prepares after `after` up to `last_op`. If `last_op` is `None`, the chain goes
    /// as far as it is stored.
    ///
    /// # Errors
    /// [`Error::input`] when it does not go so far, [`Error::damaged`] when a segment is damaged.
    pub fn resolve(&self, after: PrepareId, last_op: Option<u64>) -> Result<Resolved> {
        self.surviving(|index| {
            let wanted_op = last_op.unwrap_or_else(|| index.reach(after.0));
            if wanted_op <= after.0 {
                return Ok(Resolved { pieces: Vec::new(), after, end: after, lineage: index.lineage.clone() });
            }
            index.resolve_from((after.0, Some(after.1)), wanted_op, last_op)
        })
    }

    /// The chain of prepares in an op range ([`LogIndex::op_ranges`]), whatever prepare it
    /// continues.
    ///
    /// # Errors
    /// [`Error::input`] when the segments do not continue each other, [`Error::damaged`] when one
    /// is damaged.
    pub fn resolve_range(&self, OpRange { first_op, last_op }: OpRange) -> Result<Resolved> {
        self.surviving(|index| index.resolve_from((first_op.saturating_sub(1), None), last_op, None))
    }

    fn resolve_from(&self, after: (u64, Option<Checksum>), wanted_op: u64, last_op: Option<u64>) -> Result<Resolved> {
        let mut why = None;
        for head in self.heads(wanted_op)? {
            let (pieces, parent) = match self.back(head, after.0) {
                Ok((_, parent)) if after.1.is_some_and(|checksum| checksum != parent) => {
                    why.get_or_insert_with(|| other_history(head.0, after.0));
                    continue;
                }
                Err(error) if error.kind == Kind::Input => {
                    why.get_or_insert(error);
                    continue;
                }
                found => found?,
            };
            let end = match last_op {
                // The head lies after the wanted end, so what follows that end is cut off again.
                Some(op) if op < head.0 => (op, self.checksum_in(&pieces, op)?),
                Some(op) if op > head.0 => {
                    return Err(Error::input(format!(
                        "op {op} was prepared, but a view change replaced it: the log goes on from op {} at the most",
                        head.0
                    )));
                }
                _ => head,
            };
            return Ok(Resolved { pieces: cut(pieces, end.0), after: (after.0, parent), end, lineage: self.lineage.clone() });
        }
        Err(why.unwrap_or_else(|| gap_at(wanted_op)))
    }

    /// The prepares from which the chain can be followed back, the most likely first.
    fn heads(&self, wanted_op: u64) -> Result<Vec<PrepareId>> {
        let near = |piece: &&Piece| {
            piece.first_op <= wanted_op.saturating_add(UNSETTLED_OPS) && piece.last_op >= wanted_op.saturating_sub(UNSETTLED_OPS)
        };
        let near: Vec<&Piece> = self.pieces.iter().filter(near).collect();
        if !self.disputed(&near)? {
            let holder = near.iter().filter(|piece| piece.holds(wanted_op)).max_by_key(|piece| piece.last_op);
            let Some(piece) = holder else { return Ok(Vec::new()) };
            let rows = piece.open(self.repository)?.rows;
            return Ok(row_at(&rows, wanted_op).map(|row| (row.op, row.checksum)).into_iter().collect());
        }
        let mut heads = Vec::new();
        for piece in near {
            let reader = piece.open(self.repository)?;
            let last_op = piece.last_op.min(wanted_op.saturating_add(UNSETTLED_OPS));
            reader.prepares(last_op, last_op, &mut |prepare| {
                let header = prepare.header();
                heads.push((header.view(), header.op(), header.checksum()));
                Ok(())
            })?;
        }
        heads.sort_by_key(|(view, op, _)| std::cmp::Reverse((*view, *op)));
        Ok(heads.into_iter().map(|(_, op, checksum)| (op, checksum)).collect())
    }

    /// Whether two of these segments hold different prepares of one op.
    fn disputed(&self, pieces: &[&Piece]) -> Result<bool> {
        let overlaps = |piece: &Piece| {
            pieces.iter().any(|other| other.name != piece.name && other.first_op <= piece.last_op && piece.first_op <= other.last_op)
        };
        let mut seen: HashMap<u64, Checksum> = HashMap::new();
        for piece in pieces.iter().filter(|piece| overlaps(piece)) {
            for row in piece.open(self.repository)?.rows.iter().filter(|row| piece.holds(row.op)) {
                if seen.insert(row.op, row.checksum).is_some_and(|other| other != row.checksum) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Follows the chain from `head` back to op `after_op`. Returns its segments and the checksum
    /// of the parent of its first prepare.
    fn back(&self, head: PrepareId, after_op: u64) -> Result<(Vec<Piece>, Checksum)> {
        let (mut wanted, mut pieces) = (head, Vec::new());
        while wanted.0 > after_op {
            let (piece, parent) = self.holder(wanted, after_op)?.ok_or_else(|| gap_at(wanted.0))?;
            wanted = (piece.first_op.saturating_sub(1), parent);
            pieces.push(piece);
        }
        if wanted.0 != after_op {
            return Err(other_history(head.0, after_op));
        }
        pieces.reverse();
        Ok((pieces, wanted.1))
    }

    /// The segment that holds this prepare and reaches back furthest, limited to ops after
    /// `after_op`, and the checksum of the parent of its first prepare.
    fn holder(&self, (op, checksum): PrepareId, after_op: u64) -> Result<Option<(Piece, Checksum)>> {
        let mut damaged = None;
        for piece in self.pieces.iter().filter(|piece| piece.holds(op)) {
            let found = self.parent_in(piece, (op, checksum), after_op);
            match found {
                Ok(Some((first_op, parent))) => return Ok(Some((Piece { first_op, last_op: op, ..*piece }, parent))),
                Ok(None) => {}
                // Another segment may hold the same prepare.
                Err(error) if error.kind == Kind::Damaged => damaged = Some(error),
                Err(error) => return Err(error),
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    fn parent_in(&self, piece: &Piece, (op, checksum): PrepareId, after_op: u64) -> Result<Option<PrepareId>> {
        let reader = piece.open(self.repository)?;
        if row_at(&reader.rows, op).is_none_or(|row| row.checksum != checksum) {
            return Ok(None);
        }
        let first_op = piece.first_op.max(after_op.saturating_add(1));
        if let Some(before) = first_op.checked_sub(1).and_then(|before| row_at(&reader.rows, before)) {
            return Ok(Some((first_op, before.checksum)));
        }
        let mut parent = None;
        reader.prepares(first_op, first_op, &mut |prepare| {
            parent = Some((first_op, prepare.header().parent()));
            Ok(())
        })?;
        Ok(parent)
    }

    fn checksum_in(&self, pieces: &[Piece], op: u64) -> Result<Checksum> {
        let piece = pieces.iter().find(|piece| piece.holds(op)).ok_or_else(|| gap_at(op))?;
        let rows = piece.open(self.repository)?.rows;
        row_at(&rows, op).map(|row| row.checksum).ok_or_else(|| Error::bug(format!("op {op} is not in its segment")))
    }

    /// The last prepare at or before this time among the listed segments; `None` if all prepares
    /// are later.
    ///
    /// # Errors
    /// [`Error::damaged`] when a segment that has to be read is damaged.
    pub fn at_time(&self, timestamp_ns: u64) -> Result<Option<PrepareRow>> {
        self.surviving(|index| index.at_time_once(timestamp_ns))
    }

    fn at_time_once(&self, timestamp_ns: u64) -> Result<Option<PrepareRow>> {
        let (mut low, mut high) = (0, self.pieces.len());
        let mut found: Option<PrepareRow> = None;
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.last_until(&self.pieces[middle], timestamp_ns)? {
                Some(row) => {
                    found = Some(found.filter(|found| found.op > row.op).unwrap_or(row));
                    low = middle + 1;
                }
                None => high = middle,
            }
        }
        // An earlier, longer segment may continue where the one that was found ends.
        while let Some(row) = found {
            let next_op = row.op.saturating_add(1);
            let Some(piece) = self.pieces.iter().find(|piece| piece.holds(next_op)) else { break };
            match self.last_until(piece, timestamp_ns)?.filter(|later| later.op > row.op) {
                Some(later) => found = Some(later),
                None => break,
            }
        }
        Ok(found)
    }

    /// The row of this op in the first segment that holds it; `None` if no segment does.
    ///
    /// # Errors
    /// [`Error::damaged`] when that segment is damaged.
    pub fn row(&self, op: u64) -> Result<Option<PrepareRow>> {
        self.surviving(|index| {
            let Some(piece) = index.pieces.iter().find(|piece| piece.holds(op)) else { return Ok(None) };
            Ok(row_at(&piece.open(index.repository)?.rows, op).copied())
        })
    }

    fn last_until(&self, piece: &Piece, timestamp_ns: u64) -> Result<Option<PrepareRow>> {
        let rows = piece.open(self.repository)?.rows;
        Ok(rows.iter().rev().find(|row| piece.holds(row.op) && row.timestamp_ns <= timestamp_ns).copied())
    }
}

fn row_at(rows: &[PrepareRow], op: u64) -> Option<&PrepareRow> {
    let position = op.checked_sub(rows.first()?.op)?;
    rows.get(usize::try_from(position).ok()?)
}

/// Leaves out what lies after `last_op`.
fn cut(pieces: Vec<Piece>, last_op: u64) -> Vec<Piece> {
    let within = pieces.into_iter().filter(|piece| piece.first_op <= last_op);
    within.map(|piece| Piece { last_op: piece.last_op.min(last_op), ..piece }).collect()
}

fn other_history(head_op: u64, after_op: u64) -> Error {
    Error::input(format!(
        "the log that ends with op {head_op} does not continue op {after_op}: it is of another history, or a view change replaced that op"
    ))
}

fn gap_at(op: u64) -> Error {
    Error::input(format!("op {op} is not in the stored log"))
}

#[cfg(test)]
pub(crate) mod tests;
