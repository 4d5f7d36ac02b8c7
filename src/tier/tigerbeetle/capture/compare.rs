//! Compares one timeline's stored log with the log that a replica shows.
//!
//! In: superblock and ring of headers ([`Replica`]), and a timeline's segments and record. Out: a
//! [`Verdict`], and up to which op the two are known to be the same. That op decides between
//! timelines ([`super::join`]).
//!
//! A prepare determines the whole log before it, so the highest op that both hold proves that
//! everything below it is the same. Above it they may differ for two reasons. The first is a view
//! change, which replaces prepares that were never committed: the new prepare is of a later view,
//! and the replaced one is not known to be committed. Everything else is a fork: two prepares of
//! one op that are both committed, or both of one view (a view prepares an op once), or a prepare
//! of the later view in place of a committed one. If the replica has the prepare of the older view,
//! it is a leftover that its cluster is about to replace, unless it turns out to be committed. That
//! cannot be decided yet.

use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::header::PrepareId;
use crate::tb_format::layout::WAL_SLOTS;
use crate::tb_format::wal::SlotHeader;
use crate::tier::tigerbeetle::capture::replica_log::Replica;
use crate::tier::tigerbeetle::format::log::{LogIndex, Piece};
use crate::tier::tigerbeetle::format::timeline::{Branch, Lineage, PrepareRecord};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The number of segments at the end of a stored log whose last prepares show what is committed.
/// Segments of older views may be among them.
const COMMIT_SEGMENTS_MAX: usize = 8;

/// The log that a replica shows, without leftovers that are no part of it.
#[derive(Debug)]
pub(super) struct ReplicaView {
    by_op: BTreeMap<u64, PrepareHeader>,
    /// The highest op that the replica shows to be committed.
    pub commit_op: u64,
    solo: bool,
}

impl ReplicaView {
    pub fn of(replica: &Replica<'_>) -> ReplicaView {
        let checkpoint = replica.superblock.checkpoint().header();
        let mut by_op: BTreeMap<u64, PrepareHeader> = BTreeMap::new();
        for slot in 0..WAL_SLOTS {
            if let SlotHeader::Valid(header) = replica.ring.slot(slot) {
                by_op.insert(header.op(), header);
            }
        }
        by_op.insert(checkpoint.op(), checkpoint);
        // A replica that fetched its state from its peers keeps prepares of much earlier turns of
        // the WAL ring.
        let head_op = by_op.keys().next_back().copied().unwrap_or(0);
        by_op.retain(|op, _| op.saturating_add(u64::from(WAL_SLOTS)) > head_op);
        for op in disproved(&by_op) {
            by_op.remove(&op);
        }
        // Views only grow along a log, and the checkpoint is certain. What contradicts that is a
        // leftover.
        let mut view = 0;
        by_op.retain(|op, header| {
            let fits_checkpoint = *op >= checkpoint.op() || header.view() <= checkpoint.view();
            let sound = fits_checkpoint && header.view() >= view;
            if sound {
                view = header.view();
            }
            sound
        });
        let commits = by_op.values().map(PrepareHeader::commit);
        let known_op = commits.fold(replica.superblock.commit_max(), u64::max);
        let solo = replica.superblock.replica_count() == 1;
        let last_op = by_op.keys().next_back().copied().unwrap_or(0);
        // On a single replica, a prepare on the disk is as good as committed.
        ReplicaView { commit_op: if solo { known_op.max(last_op) } else { known_op }, by_op, solo }
    }

    pub fn at(&self, op: u64) -> Option<&PrepareHeader> {
        self.by_op.get(&op)
    }

    pub fn first_op(&self) -> u64 {
        self.by_op.keys().next().copied().unwrap_or(0)
    }

    pub fn last_op(&self) -> u64 {
        self.by_op.keys().next_back().copied().unwrap_or(0)
    }

    fn holds(&self, record: &PrepareRecord) -> Option<bool> {
        self.at(record.op).map(|header| header.checksum().to_string() == record.checksum)
    }
}

/// The ops whose prepare differs from the one that the log after it has committed: leftovers that
/// the replica has yet to repair.
fn disproved(by_op: &BTreeMap<u64, PrepareHeader>) -> Vec<u64> {
    let mut disproved = Vec::new();
    // The header above, and the highest op that is committed according to it and the headers that
    // continue it.
    let mut above: Option<(&PrepareHeader, u64)> = None;
    for header in by_op.values().rev() {
        let mut commit_op = header.commit();
        if let Some((later, known_op)) = above {
            let is_next = later.op() == header.op().saturating_add(1);
            let continued = is_next && later.parent() == header.checksum();
            let contradicted = if is_next { !continued } else { later.view() < header.view() };
            if contradicted && known_op >= header.op() {
                disproved.push(header.op());
                continue;
            }
            commit_op = if contradicted { commit_op } else { commit_op.max(known_op) };
        }
        above = Some((header, commit_op));
    }
    disproved
}

/// The conclusion from one timeline's log alone.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// They share no op.
    Apart,
    /// All that is stored ends before the replica's log begins.
    Before,
    /// Another history from this op on.
    Fork(u64),
    /// They differ in this op, and the reason cannot be decided yet.
    Undecided(u64),
    /// The replica's log ends within what is stored.
    Behind,
    /// The replica's log continues what is stored.
    Continues,
}

/// How one timeline's stored log and the replica's compare.
#[derive(Debug)]
pub(super) struct Comparison {
    pub timeline: u32,
    /// The last stored op. For a timeline of which nothing is stored yet, the last op that its
    /// record names.
    pub stored_op: u64,
    /// The highest op that the stored log shows to be committed.
    pub commit_op: u64,
    /// The last stored prepare.
    pub stored: Option<PrepareId>,
    /// The last prepare that both hold.
    pub common: Option<PrepareId>,
    /// The highest op at which both are known to be the same.
    pub same_op: Option<u64>,
    /// The prepare after which the log is to be stored. It may lie below `common`: ops that are
    /// missing in the stored log and that the replica still holds are read again.
    pub resume: Option<PrepareId>,
    pub verdict: Verdict,
}

/// Compares what these repositories together hold of a timeline. Returns `None` for a timeline that
/// has neither log nor record.
///
/// A segment that would have to be compared and does not open counts as if it were not there: its
/// ops are stored again where the replica still has them.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn compare(
    repositories: &[&Repository],
    shown: &ReplicaView,
    timeline: u32,
    branch: Option<&Branch>,
) -> Result<Option<Comparison>> {
    let mut pieces: Vec<(&Repository, Piece)> = Vec::new();
    for repository in repositories {
        let index = LogIndex::list(repository, &Lineage::only(timeline), 0)?;
        pieces.extend(index.pieces().iter().map(|piece| (*repository, *piece)));
    }
    pieces.sort_by_key(|(_, piece)| Reverse((piece.last_op, piece.first_op)));
    while let Some(stored_op) = pieces.first().map(|(_, piece)| piece.last_op) {
        let stored = StoredTimeline { pieces, stored_op, branch };
        let overlap = stored.overlap(shown)?;
        let Some(Unopened { position, error, .. }) = overlap.damaged else { return stored.compare(shown, timeline, overlap).map(Some) };
        tracing::warn!("{error}: its ops are stored again, as far as the replica still has them");
        pieces = stored.pieces;
        pieces.remove(position);
    }
    Ok(branch.map(|branch| compare_record(shown, branch)))
}

/// Compares a timeline of which only the record exists: the agent that began it has stored nothing
/// yet, or never did.
fn compare_record(shown: &ReplicaView, branch: &Branch) -> Comparison {
    let named = |record: &Option<PrepareRecord>| record.as_ref().and_then(|record| shown.holds(record));
    let header = |record: &Option<PrepareRecord>| record.as_ref().and_then(|record| shown.at(record.op)).copied();
    let last_op = branch.first.iter().chain(&branch.branch).map(|record| record.op).max().unwrap_or(0);
    let mut common = match named(&branch.branch) {
        Some(true) => header(&branch.branch).map(|header| (header.op(), header.checksum())),
        _ => None,
    };
    let mut same_op = common.map(|(op, _)| op);
    let verdict = match (named(&branch.first), named(&branch.branch)) {
        (Some(true), _) => {
            let first = header(&branch.first);
            same_op = first.map(|first| first.op()).or(same_op);
            // The first prepare names its parent, whether that is in the WAL ring or not.
            common = common.or(first.map(|first| match first.op().checked_sub(1) {
                Some(before) => (before, first.parent()),
                None => (0, first.checksum()),
            }));
            Verdict::Continues
        }
        (Some(false), _) => Verdict::Fork(branch.first.as_ref().map_or(last_op, |first| first.op)),
        (None, Some(false)) => Verdict::Fork(branch.branch.as_ref().map_or(last_op, |branch| branch.op)),
        // Its first prepare is not there, or not yet. Nothing distinguishes this history from any
        // other of the same branch.
        (None, Some(true)) => Verdict::Undecided(last_op),
        (None, None) if shown.first_op() > last_op => Verdict::Before,
        (None, None) => Verdict::Apart,
    };
    Comparison { timeline: branch.timeline, stored_op: last_op, commit_op: 0, stored: None, common, same_op, resume: common, verdict }
}

/// What the segments say about the ops that the replica shows.
#[derive(Default)]
struct Overlap {
    checksums: BTreeMap<u64, Vec<Checksum>>,
    common: Option<PrepareId>,
    /// The first segment that does not open although it might tell more.
    damaged: Option<Unopened>,
}

/// A segment that does not open.
struct Unopened {
    /// Its place among all pieces. The same segment may be intact in the spool.
    position: usize,
    last_op: u64,
    error: Error,
}

/// A stored log.
struct StoredTimeline<'a> {
    /// The one that ends last comes first.
    pieces: Vec<(&'a Repository, Piece)>,
    stored_op: u64,
    branch: Option<&'a Branch>,
}

impl StoredTimeline<'_> {
    fn compare(&self, shown: &ReplicaView, timeline: u32, overlap: Overlap) -> Result<Comparison> {
        let Overlap { checksums, mut common, .. } = overlap;
        if let Some(record) = self.branched().filter(|record| common.is_none() && shown.holds(record) == Some(true)) {
            common = shown.at(record.op).map(|header| (header.op(), header.checksum()));
        }
        let behind = common.map_or(0, |(op, _)| op.saturating_add(1));
        let differs = checksums.range(behind..).map(|(op, _)| *op).find(|op| shown.at(*op).is_some());
        let commit_op = self.commit_op(shown)?;
        let verdict = match (common, differs) {
            (None, None) if shown.first_op() > self.stored_op => Verdict::Before,
            (None, None) => Verdict::Apart,
            (Some((op, _)), None) if op >= self.stored_op => Verdict::Continues,
            (Some((op, _)), None) => self.ends_within(shown, op, commit_op)?,
            (common, Some(op)) => self.difference(shown, op, commit_op, common.is_some())?,
        };
        // Prepares that a view change replaced do not count as stored.
        let stored_op = match (verdict, differs) {
            (Verdict::Before, Some(op)) => op.saturating_sub(1),
            _ => self.stored_op,
        };
        let resume = common.map(|(op, checksum)| {
            let before = self.before_holes(shown, op);
            shown.at(before).map_or((op, checksum), |header| (before, header.checksum()))
        });
        let (stored, same_op) = (self.last_prepare()?, common.map(|(op, _)| op));
        Ok(Comparison { timeline, stored_op, commit_op, stored, common, same_op, resume, verdict })
    }

    fn branched(&self) -> Option<&PrepareRecord> {
        self.branch.and_then(|branch| branch.branch.as_ref())
    }

    fn last_prepare(&self) -> Result<Option<PrepareId>> {
        let Some((repository, piece)) = self.pieces.first() else { return Ok(None) };
        match piece.open(repository) {
            Ok(segment) => Ok(segment.rows.last().map(|row| (row.op, row.checksum))),
            Err(error) if error.kind == Kind::Damaged => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last op before the lowest hole below `common_op` that the replica can fill. Such holes
    /// exist because an agent uploads several segments at once: one that was killed may leave a
    /// hole before the last of them.
    fn before_holes(&self, shown: &ReplicaView, common_op: u64) -> u64 {
        let mut ranges: Vec<(u64, u64)> = self.pieces.iter().map(|(_, piece)| (piece.first_op, piece.last_op)).collect();
        // Ops up to the branch belong to the parent.
        ranges.extend(self.branched().map(|branch| (0, branch.op)));
        let mut resume_op = common_op;
        loop {
            let mut first_op = resume_op;
            // Goes down through everything that is covered without a gap.
            while let Some(lower) =
                ranges.iter().filter(|range| range.0 < first_op && range.1.saturating_add(1) >= first_op).map(|range| range.0).min()
            {
                first_op = lower;
            }
            let before = ranges.iter().filter(|range| range.1 < first_op).map(|range| range.1).max();
            match before {
                Some(before) if (before..first_op).all(|op| shown.at(op).is_some()) => resume_op = before,
                _ => return resume_op,
            }
        }
    }

    /// Reads the segments from the last one downward, until one holds a prepare that the replica
    /// shows. Nothing below that one needs to be read.
    fn overlap(&self, shown: &ReplicaView) -> Result<Overlap> {
        let mut overlap = Overlap::default();
        let within = |piece: &Piece| piece.first_op <= shown.last_op() && piece.last_op >= shown.first_op();
        for (position, (repository, piece)) in self.pieces.iter().enumerate().filter(|(_, (_, piece))| within(piece)) {
            if overlap.common.is_some_and(|(op, _)| op >= piece.last_op) {
                break;
            }
            let rows = match piece.open(repository) {
                Ok(segment) => segment.rows,
                Err(error) if error.kind == Kind::Damaged => {
                    overlap.damaged.get_or_insert(Unopened { position, last_op: piece.last_op, error });
                    continue;
                }
                Err(error) => return Err(error),
            };
            for row in rows.iter().filter(|row| (shown.first_op()..=shown.last_op()).contains(&row.op)) {
                overlap.checksums.entry(row.op).or_default().push(row.checksum);
                let same = shown.at(row.op).is_some_and(|header| header.checksum() == row.checksum);
                if same && overlap.common.is_none_or(|(op, _)| op < row.op) {
                    overlap.common = Some((row.op, row.checksum));
                }
            }
        }
        // It does not matter below what both are known to hold.
        overlap.damaged.take_if(|unopened| overlap.common.is_some_and(|(op, _)| op >= unopened.last_op));
        Ok(overlap)
    }

    /// The highest op that the stored log shows to be committed.
    fn commit_op(&self, shown: &ReplicaView) -> Result<u64> {
        if shown.solo {
            return Ok(self.stored_op);
        }
        let mut commit_op = 0;
        for (repository, piece) in self.pieces.iter().take(COMMIT_SEGMENTS_MAX) {
            commit_op = commit_op.max(header_in(repository, piece, piece.last_op)?.map_or(0, |header| header.commit()));
        }
        Ok(commit_op)
    }

    /// The verdict where the stored log continues after the replica's last op. If what is stored
    /// there is of an older view than that op, it was replaced, and the replica's log is the whole
    /// log.
    fn ends_within(&self, shown: &ReplicaView, common_op: u64, commit_op: u64) -> Result<Verdict> {
        let Some(view) = shown.at(common_op).map(PrepareHeader::view).filter(|_| common_op == shown.last_op()) else {
            return Ok(Verdict::Behind);
        };
        if commit_op > common_op {
            return Ok(Verdict::Behind);
        }
        for (repository, piece) in self.pieces.iter().take_while(|(_, piece)| piece.last_op > common_op) {
            if header_in(repository, piece, piece.last_op)?.is_none_or(|header| header.view() >= view) {
                return Ok(Verdict::Behind);
            }
        }
        Ok(Verdict::Continues)
    }

    /// The verdict where the two differ in this op.
    fn difference(&self, shown: &ReplicaView, op: u64, commit_op: u64, has_common: bool) -> Result<Verdict> {
        let Some(here) = shown.at(op).map(PrepareHeader::view) else { return Ok(Verdict::Apart) };
        let mut there = None;
        for (repository, piece) in self.pieces.iter().filter(|(_, piece)| (piece.first_op..=piece.last_op).contains(&op)) {
            there = there.max(header_in(repository, piece, op)?.map(|header| header.view()));
        }
        let replaced = if has_common { Verdict::Continues } else { Verdict::Before };
        let (committed_here, committed_there) = (op <= shown.commit_op, op <= commit_op);
        Ok(match there.map(|there| here.cmp(&there)) {
            _ if committed_here && committed_there => Verdict::Fork(op),
            None => Verdict::Undecided(op),
            Some(std::cmp::Ordering::Equal) => Verdict::Fork(op),
            Some(std::cmp::Ordering::Greater) => {
                if committed_there {
                    Verdict::Fork(op)
                } else {
                    replaced
                }
            }
            Some(std::cmp::Ordering::Less) => {
                if committed_here {
                    Verdict::Fork(op)
                } else {
                    Verdict::Undecided(op)
                }
            }
        })
    }
}

/// The header of a prepare in a segment; `None` if it cannot be read. Damage that prevents a
/// comparison was reported before.
fn header_in(repository: &Repository, piece: &Piece, op: u64) -> Result<Option<PrepareHeader>> {
    let mut header = None;
    let read = piece.open(repository).and_then(|segment| {
        segment.prepares(op, op, &mut |prepare| {
            header = Some(*prepare.header());
            Ok(())
        })
    });
    match read {
        Err(error) if error.kind == Kind::Damaged => Ok(None),
        read => read.map(|()| header),
    }
}

#[cfg(test)]
mod tests;
