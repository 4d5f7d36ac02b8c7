//! The log of one history, out of all the segments that its timelines hold.
//!
//! Flow: [`LogIndex::list`] lists the segments from an op on, in the order of their names; which ops are there without a gap follows from the names alone
//! ([`LogIndex::reach`]). [`LogIndex::resolve`] says which prepares to take from which segment: it begins at the end that is wanted and follows `parent` after
//! `parent` back to a prepare that is known. So it does not matter how segments overlap, which replica they are from, or in which order they were
//! written: a prepare that a view change replaced is no parent of what came after it.
//!
//! Only at the very end of a log there may be prepares that nothing follows yet. Where segments disagree there, the one that ends in the later view counts,
//! as when replicas choose between their logs.

use super::Repository;
use super::name::{SegmentName, segment_prefix};
use super::segment::{PrepareRow, SegmentReader};
use super::timeline::Lineage;
use crate::error::{Error, Kind, Result};
use crate::ledger::checksum::Checksum;
use crate::ledger::wal::Prepare;
use std::collections::HashMap;

/// The most ops that a segment holds: what an index of its size limit can list. A listing that begins so many ops earlier misses no segment.
pub const SEGMENT_OPS_MAX: u64 = 524_288;
/// So many ops around the end of a log may still be replaced: a few pipelines of 8 prepares.
const UNSETTLED_OPS: u64 = 64;
/// Objects asked for in one listing request: S3 answers at most so many.
const LIST_PAGE: usize = 1000;

/// A prepare by its op and its checksum.
pub type PrepareId = (u64, Checksum);

/// A segment of the history, and the ops of it that belong there.
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
    /// By first op.
    pieces: Vec<Piece>,
}

/// An unbroken chain of prepares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Where to take it from, in order of op, neither gap nor overlap.
    pub pieces: Vec<Piece>,
    /// Its last prepare: op and checksum.
    pub end: PrepareId,
}

impl Resolved {
    /// Stored bytes of the segments.
    pub fn stored_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.stored_bytes).sum()
    }

    /// Gives the prepares `first_op` to `last_op` of the chain to `take`, in order.
    ///
    /// # Errors
    /// [`Error::damaged`] when a segment does not open, and whatever `take` returns.
    pub fn prepares(
        &self,
        repository: &Repository,
        first_op: u64,
        last_op: u64,
        take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>,
    ) -> Result<()> {
        for piece in self.pieces.iter().filter(|piece| piece.first_op <= last_op && piece.last_op >= first_op) {
            piece.open(repository)?.prepares(first_op.max(piece.first_op), last_op.min(piece.last_op), take)?;
        }
        Ok(())
    }
}

impl<'a> LogIndex<'a> {
    /// Lists what the history holds from `from_op` on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(repository: &'a Repository, lineage: &Lineage, from_op: u64) -> Result<LogIndex<'a>> {
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
        Ok(LogIndex { repository, pieces })
    }

    /// The segments, by first op.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The runs of ops that are there without a gap, by their names.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for piece in &self.pieces {
            match runs.last_mut() {
                Some((_, last_op)) if piece.first_op <= last_op.saturating_add(1) => *last_op = piece.last_op.max(*last_op),
                _ => runs.push((piece.first_op, piece.last_op)),
            }
        }
        runs
    }

    /// How far the log goes on without a gap behind op `after_op`, by the names of the segments.
    pub fn reach(&self, after_op: u64) -> u64 {
        let next_op = after_op.saturating_add(1);
        self.runs().into_iter().find(|run| run.0 <= next_op && next_op <= run.1).map_or(after_op, |run| run.1)
    }

    /// The chain of prepares behind `after` up to `last_op`, or as far as it goes where that is `None`.
    ///
    /// # Errors
    /// [`Error::input`] when it does not go so far, [`Error::damaged`] when a segment is.
    pub fn resolve(&self, after: PrepareId, last_op: Option<u64>) -> Result<Resolved> {
        let wanted_op = last_op.unwrap_or_else(|| self.reach(after.0));
        if wanted_op <= after.0 {
            return Ok(Resolved { pieces: Vec::new(), end: after });
        }
        let heads = self.heads(wanted_op)?;
        let mut why = None;
        for head in heads {
            let mut end = head;
            let pieces = match self.back(head, after) {
                Ok(pieces) => pieces,
                Err(error) if error.kind == Kind::Input => {
                    why.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match last_op {
                // Behind the point that is wanted: what lies there is cut off again.
                Some(op) if op < head.0 => end = (op, self.checksum_in(&pieces, op)?),
                Some(op) if op > head.0 => {
                    return Err(Error::input(format!(
                        "op {op} was prepared, but a view change replaced it: the log goes on from op {} at the most",
                        head.0
                    )));
                }
                _ => {}
            }
            return Ok(Resolved { pieces: cut(pieces, end.0), end });
        }
        Err(why.unwrap_or_else(|| gap_at(wanted_op)))
    }

    /// The prepares from which the chain may be followed back, the most likely first.
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

    /// Follows the chain from `head` back to `after`.
    fn back(&self, head: PrepareId, after: PrepareId) -> Result<Vec<Piece>> {
        let (mut wanted, mut pieces) = (head, Vec::new());
        while wanted.0 > after.0 {
            let (piece, parent) = self.holder(wanted, after.0)?.ok_or_else(|| gap_at(wanted.0))?;
            wanted = (piece.first_op - 1, parent);
            pieces.push(piece);
        }
        if wanted != after {
            return Err(Error::input(format!(
                "the log that ends with op {} does not continue op {}: it is of another history, or a view change replaced that op",
                head.0, after.0
            )));
        }
        pieces.reverse();
        Ok(pieces)
    }

    /// The segment that holds this prepare and reaches back furthest, cut behind `after_op`, and the checksum that its first prepare continues.
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

    fn parent_in(&self, piece: &Piece, (op, checksum): PrepareId, after_op: u64) -> Result<Option<(u64, Checksum)>> {
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

    /// The last prepare at or before this time, among the segments that were listed; `None` if all are later.
    ///
    /// # Errors
    /// [`Error::damaged`] when a segment that must be looked into is.
    pub fn at_time(&self, timestamp_ns: u64) -> Result<Option<PrepareRow>> {
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
        // An earlier, longer segment may go on where the one that was found ends.
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

    fn last_until(&self, piece: &Piece, timestamp_ns: u64) -> Result<Option<PrepareRow>> {
        let rows = piece.open(self.repository)?.rows;
        Ok(rows.iter().rev().find(|row| piece.holds(row.op) && row.timestamp_ns <= timestamp_ns).copied())
    }
}

fn row_at(rows: &[PrepareRow], op: u64) -> Option<&PrepareRow> {
    let position = op.checked_sub(rows.first()?.op)?;
    rows.get(usize::try_from(position).ok()?)
}

/// Leaves out what lies behind `last_op`.
fn cut(pieces: Vec<Piece>, last_op: u64) -> Vec<Piece> {
    let within = pieces.into_iter().filter(|piece| piece.first_op <= last_op);
    within.map(|piece| Piece { last_op: piece.last_op.min(last_op), ..piece }).collect()
}

fn gap_at(op: u64) -> Error {
    Error::input(format!("op {op} is not in the stored log"))
}

/// The segments of a timeline that hold op `from_op` or a later one, by name.
///
/// # Errors
/// When the store cannot be read.
pub fn list_segments(repository: &Repository, timeline: u32, from_op: u64) -> Result<Vec<(SegmentName, u64)>> {
    let prefix = segment_prefix(timeline);
    let begin_op = from_op.saturating_sub(SEGMENT_OPS_MAX - 1);
    // The first name with this op sorts behind the bare op.
    let mut after = (begin_op > 0).then(|| format!("{prefix}{begin_op:020}"));
    let mut segments = Vec::new();
    loop {
        let page = repository.store().list(&prefix, after.as_deref(), LIST_PAGE)?;
        let ended = page.len() < LIST_PAGE;
        after = page.last().map(|last| last.name.clone());
        let parsed = page.iter().filter_map(|listed| SegmentName::parse(&listed.name).map(|name| (name, listed.size_bytes)));
        segments.extend(parsed.filter(|(name, _)| name.last_op >= from_op));
        if ended {
            return Ok(segments);
        }
    }
}
