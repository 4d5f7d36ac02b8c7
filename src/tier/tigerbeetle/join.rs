//! Where the log of a data file joins what the repository holds: which timeline it continues, and behind which op.
//!
//! In: the replica's superblock and ring of headers. Each timeline's stored log is held against the ring, the newest first:
//!
//! - the ring holds the last stored prepare: the log goes on behind it ([`Joined::Continues`]);
//! - both hold an op that was committed, and it is not the same prepare: another history ([`Joined::Branches`]), with the last prepare that both have in
//!   common; a prepare that was never committed may have been replaced in a view change, and is no sign of a fork;
//! - the ring ends before the stored log does: nothing can be told yet ([`Joined::Behind`]);
//! - the ring begins after the stored log ends: ops are lost. It is the same history if the replica's checkpoint holds the last transfer that the stored log made
//!   ([`Joined::Gap`]); the transfer's timestamp is unique in a cluster. If nothing shows that, it counts as another history: unknown is worse than wrong.

use crate::error::{Error, Result};
use crate::ledger::checksum::Checksum;
use crate::ledger::header::PrepareHeader;
use crate::ledger::layout::{WAL_SLOTS, slot_of};
use crate::ledger::superblock::SuperBlock;
use crate::ledger::wal::{HeaderRing, SlotHeader};
use crate::repository::Repository;
use crate::repository::log::{LogIndex, Piece, PrepareId};
use crate::repository::name::TIMELINE_FIRST;
use crate::repository::timeline::{Branch, Lineage, PrepareRecord, Timelines};
use crate::source::checkpoint::Walk;
use crate::source::file::ReadOptions;
use crate::source::tail::header_ring;
use crate::source::witness::{Witness, find_witness};
use crate::units::now_ns;
use std::collections::BTreeMap;
use std::path::Path;

/// The last stored segments in which a prepare that made transfers is looked for.
const WITNESS_SEGMENTS_MAX: usize = 8;

/// How a data file's log and the repository join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// No log is stored yet.
    Empty,
    /// The log goes on behind this prepare, the last that both hold.
    Continues {
        /// The timeline.
        timeline: u32,
        /// Op and checksum.
        after: PrepareId,
    },
    /// The data file ends within what is stored of this timeline; what comes next will tell whether it is the same history.
    Behind {
        /// The timeline.
        timeline: u32,
        /// The last prepare that both hold.
        after: PrepareId,
        /// The last prepare that is stored: the data file is of this history if it comes to hold the same one.
        stored: PrepareId,
    },
    /// The same history, but ops behind the stored log are lost.
    Gap {
        /// The timeline.
        timeline: u32,
        /// The last op that is stored.
        stored_op: u64,
    },
    /// Another history: a timeline of its own, if it is wanted.
    Branches(Branch),
}

/// A replica's log as its data file shows it now.
#[derive(Debug)]
pub struct Replica<'a> {
    /// Its superblock.
    pub superblock: &'a SuperBlock,
    /// Its ring of headers.
    pub ring: HeaderRing<'a>,
}

impl Replica<'_> {
    fn header_at(&self, op: u64) -> Option<PrepareHeader> {
        let checkpoint = self.superblock.checkpoint().header();
        if op == checkpoint.op() {
            return Some(checkpoint);
        }
        match self.ring.slot(slot_of(op)) {
            SlotHeader::Valid(header) if header.op() == op => Some(header),
            _ => None,
        }
    }

    fn headers(&self) -> impl Iterator<Item = PrepareHeader> + '_ {
        (0..WAL_SLOTS).filter_map(|slot| match self.ring.slot(slot) {
            SlotHeader::Valid(header) => Some(header),
            SlotHeader::Reserved | SlotHeader::Invalid => None,
        })
    }

    /// First and last op that it shows.
    fn ops(&self) -> (u64, u64) {
        let checkpoint_op = self.superblock.checkpoint().header().op();
        let ops = self.headers().map(|header| header.op());
        ops.fold((checkpoint_op, checkpoint_op), |(first, last), op| (first.min(op), last.max(op)))
    }

    fn commit_known_op(&self) -> u64 {
        self.headers().map(|header| header.commit()).fold(self.superblock.commit_max(), u64::max)
    }
}

/// How one timeline's stored log and the replica's compare.
#[derive(Debug)]
struct Comparison {
    timeline: u32,
    /// The last stored op.
    stored_op: u64,
    /// The last prepare that both hold and up to which nothing is missing in what is stored, unless the replica does not hold it any more either.
    common: Option<PrepareId>,
    /// The last prepare that is stored.
    stored: Option<PrepareId>,
    /// The first op behind that in which they differ.
    differs: Option<u64>,
    /// The highest op that the stored log shows to be committed.
    commit_op: u64,
    /// The view of the stored prepare in which they differ.
    stored_view: u32,
}

/// Compares. What waits to be stored elsewhere (`also`, a spool) counts as stored.
///
/// # Errors
/// [`Error::damaged`] when a stored segment that must be compared is; [`Error::try_again`] when the replica is about to drop what differs.
pub fn join(
    repository: &Repository,
    also: Option<&Repository>,
    replica: &Replica<'_>,
    find: &dyn Fn(&Witness) -> Result<bool>,
) -> Result<Joined> {
    let timelines = repository.timelines()?;
    let mut fork: Option<Comparison> = None;
    let (mut behind, mut beyond, mut any) = (None, None, false);
    for timeline in timelines.numbers().into_iter().rev() {
        let Some(comparison) = compare(&[Some(repository), also], replica, &timelines, timeline)? else { continue };
        any = true;
        if let Some(joined) = judge(replica, &comparison)? {
            match joined {
                Joined::Behind { .. } => behind = behind.or(Some(joined)),
                joined => return Ok(joined),
            }
        } else if comparison.differs.is_some() {
            let better = fork.as_ref().is_none_or(|fork| comparison.common.map(|(op, _)| op) > fork.common.map(|(op, _)| op));
            fork = if better { Some(comparison) } else { fork };
        } else if replica.ops().0 > comparison.stored_op {
            beyond = beyond.or(Some((timeline, comparison.stored_op)));
        }
    }
    if let Some(behind) = behind {
        return Ok(behind);
    }
    if let Some(fork) = fork {
        return Ok(Joined::Branches(branch_at_fork(replica, &timelines, &fork)));
    }
    if let Some((timeline, stored_op)) = beyond {
        if let Some(witness) = witness_of(repository, timeline)?
            && find(&witness)?
        {
            return Ok(Joined::Gap { timeline, stored_op });
        }
        return Ok(Joined::Branches(branch_unproven(replica, &timelines, timeline, stored_op)));
    }
    if any {
        let (first_op, last_op) = replica.ops();
        return Err(Error::input(format!(
            "the data file holds ops {first_op} to {last_op}, and nothing stored shows that they are of one history: an old file, or a replica far behind"
        )));
    }
    Ok(Joined::Empty)
}

/// `None` where the timeline holds no log and its record says nothing that could be compared.
fn compare(
    repositories: &[Option<&Repository>],
    replica: &Replica<'_>,
    timelines: &Timelines,
    timeline: u32,
) -> Result<Option<Comparison>> {
    let (first_op, _) = replica.ops();
    let branch = timelines.branches.get(&timeline);
    let mut stored: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for record in branch.iter().flat_map(|branch| branch.branch.iter().chain(&branch.first)) {
        stored.entry(record.op).or_default().push(record.checksum.clone());
    }
    let mut pieces: Vec<(&Repository, Piece)> = Vec::new();
    let mut last = None;
    for repository in repositories.iter().flatten() {
        let index = LogIndex::list(repository, &Lineage::only(timeline), 0)?;
        for piece in index.pieces() {
            pieces.push((repository, *piece));
            if piece.last_op < first_op {
                continue;
            }
            for row in piece.open(repository)?.rows {
                stored.entry(row.op).or_default().push(row.checksum.to_string());
                last = last.max(Some((row.op, row.checksum)));
            }
        }
    }
    let last_piece = pieces.iter().max_by_key(|(_, piece)| piece.last_op).copied();
    let Some(stored_op) = stored.keys().next_back().copied().max(last_piece.map(|(_, piece)| piece.last_op)) else { return Ok(None) };
    let mut comparison = Comparison { timeline, stored_op, stored: last, common: None, differs: None, commit_op: 0, stored_view: 0 };
    for (op, checksums) in stored.range(first_op..).rev() {
        let Some(header) = replica.header_at(*op) else { continue };
        if checksums.contains(&header.checksum().to_string()) {
            comparison.common = Some((*op, header.checksum()));
            break;
        }
        comparison.differs = Some(*op);
    }
    if let Some((op, _)) = comparison.common {
        comparison.common = Some(before_holes(replica, &stored, op)).and_then(|op| Some((op, replica.header_at(op)?.checksum())));
    }
    if replica.superblock.replica_count() == 1 {
        // On a single replica a prepare on disk is as good as committed.
        comparison.commit_op = stored_op;
    } else if let Some((repository, piece)) = last_piece {
        comparison.commit_op = header_in(repository, &piece, piece.last_op)?.map_or(0, |header| header.commit());
    }
    let differing = comparison.differs.and_then(|op| pieces.iter().find(|(_, piece)| (piece.first_op..=piece.last_op).contains(&op)));
    if let (Some(op), Some((repository, piece))) = (comparison.differs, differing) {
        comparison.stored_view = header_in(repository, piece, op)?.map_or(0, |header| header.view());
    }
    Ok(Some(comparison))
}

/// An agent uploads several segments at once, so one that was killed may leave a hole before the last. What of it the replica still holds is read again: the last
/// op before the lowest such hole.
fn before_holes(replica: &Replica<'_>, stored: &BTreeMap<u64, Vec<String>>, common_op: u64) -> u64 {
    let mut resume_op = common_op;
    for op in (0..common_op).rev() {
        let Some(header) = replica.header_at(op) else { break };
        if stored.get(&op).is_some_and(|checksums| checksums.contains(&header.checksum().to_string())) {
            // Behind this one everything up to where the search stands is missing, or nothing is.
            if !stored.contains_key(&op.saturating_add(1)) {
                resume_op = op;
            }
        }
    }
    resume_op
}

fn header_in(repository: &Repository, piece: &Piece, op: u64) -> Result<Option<PrepareHeader>> {
    let mut header = None;
    piece.open(repository)?.prepares(op, op, &mut |prepare| {
        header = Some(*prepare.header());
        Ok(())
    })?;
    Ok(header)
}

/// What follows from one timeline's comparison alone; `None` if the replica does not continue it, or that cannot be told.
fn judge(replica: &Replica<'_>, comparison: &Comparison) -> Result<Option<Joined>> {
    let timeline = comparison.timeline;
    let Some(common) = comparison.common else { return Ok(None) };
    let Some(differs) = comparison.differs else {
        let (_, last_op) = replica.ops();
        return Ok(Some(match comparison.stored {
            Some(stored) if stored.0 > last_op => Joined::Behind { timeline, after: common, stored },
            _ => Joined::Continues { timeline, after: common },
        }));
    };
    if differs > comparison.commit_op {
        return Ok(Some(Joined::Continues { timeline, after: common }));
    }
    let later_view = replica.header_at(differs).is_some_and(|header| header.view() > comparison.stored_view);
    if later_view || differs <= replica.commit_known_op() {
        return Ok(None);
    }
    Err(Error::try_again(format!(
        "op {differs} of the replica's log is not the one that is stored and committed, and nothing shows yet that it is committed here: a leftover that the \
         cluster will replace, or the first op of another history. Wait for the next ops"
    )))
}

fn branch_at_fork(replica: &Replica<'_>, timelines: &Timelines, fork: &Comparison) -> Branch {
    let record = |(op, checksum): PrepareId| PrepareRecord { op, checksum: checksum.to_string() };
    let first = fork.differs.and_then(|op| replica.header_at(op)).map(|header| record((header.op(), header.checksum())));
    let at = fork.common.map_or("before all that can be compared".to_owned(), |(op, _)| format!("behind op {op}"));
    Branch {
        timeline: timelines.newest().saturating_add(1),
        parent: fork.timeline,
        branch: fork.common.map(record),
        first,
        replica: replica.superblock.replica_index(),
        began_ns: now_ns(),
        reason: format!("the data file goes on otherwise than timeline {} {at}", fork.timeline),
    }
}

fn branch_unproven(replica: &Replica<'_>, timelines: &Timelines, parent: u32, stored_op: u64) -> Branch {
    let (first_op, _) = replica.ops();
    let first = replica.header_at(first_op).map(|header| PrepareRecord { op: first_op, checksum: header.checksum().to_string() });
    Branch {
        timeline: timelines.newest().saturating_add(1),
        parent,
        branch: None,
        first,
        replica: replica.superblock.replica_index(),
        began_ns: now_ns(),
        reason: format!(
            "the log ring begins at op {first_op}, timeline {parent} ends at op {stored_op}, and nothing shows that both are of one history"
        ),
    }
}

/// The last prepare of a timeline's stored log that made transfers, as far as the last segments hold one.
fn witness_of(repository: &Repository, timeline: u32) -> Result<Option<Witness>> {
    let index = LogIndex::list(repository, &Lineage::only(timeline), 0)?;
    let mut pieces: Vec<&Piece> = index.pieces().iter().collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.last_op));
    for piece in pieces.into_iter().take(WITNESS_SEGMENTS_MAX) {
        let mut witness = None;
        piece.open(repository)?.prepares(piece.first_op, piece.last_op, &mut |prepare| {
            witness = Witness::of(prepare).or(witness.take());
            Ok(())
        })?;
        if witness.is_some() {
            return Ok(witness);
        }
    }
    Ok(None)
}

/// Reads a replica and compares it.
///
/// # Errors
/// As [`join`], and when the data file cannot be read.
pub fn join_file(
    repository: &Repository,
    also: Option<&Repository>,
    data_file: &Path,
    options: ReadOptions,
) -> Result<(SuperBlock, Joined)> {
    let superblock = Walk::open(data_file, options)?.superblock()?;
    let zone = header_ring(data_file, options)?;
    let ring = HeaderRing::new(&zone).map_err(|error| Error::damaged(format!("{}: log ring: {error}", data_file.display())))?;
    let find = |witness: &Witness| Ok(find_witness(data_file, options, witness)?);
    let joined = join(repository, also, &Replica { superblock: &superblock, ring }, &find)?;
    Ok((superblock, joined))
}

/// The history that a data file is a part of.
///
/// # Errors
/// [`Error::input`] when it is none that the repository knows.
pub fn lineage_of(repository: &Repository, data_file: &Path, options: ReadOptions) -> Result<Lineage> {
    let timelines = repository.timelines()?;
    if timelines.newest() == TIMELINE_FIRST {
        // There is nothing to choose from; whether the file is of this history is checked against what it shares with it.
        return Ok(Lineage::first());
    }
    match join_file(repository, None, data_file, options)?.1 {
        Joined::Empty => Ok(Lineage::first()),
        Joined::Continues { timeline, .. } | Joined::Behind { timeline, .. } | Joined::Gap { timeline, .. } => {
            Lineage::of(&timelines, timeline)
        }
        Joined::Branches(branch) => Err(Error::input(format!(
            "the data file continues another history than the repository: {}. --new-timeline stores it as timeline {}",
            branch.reason, branch.timeline
        ))),
    }
}

/// The prepare behind which everything that the ring still holds of the current checkpoint interval begins.
pub fn checkpoint_end(superblock: &SuperBlock) -> (u64, Checksum) {
    let header = superblock.checkpoint().header();
    (header.op(), header.checksum())
}
