//! Finds where the log of a data file joins the stored log: which timeline it continues, and after
//! which op.
//!
//! In: the replica's superblock and its ring of headers. Each timeline's stored log is compared
//! with them (`compare`), and the one that shares the most with the replica counts:
//!
//! - the ring holds the last stored prepare, or a view change replaced the prepare in its place:
//!   the log continues ([`Joined::Continues`]);
//! - both hold a committed op, but not the same prepare: it is another history
//!   ([`Joined::Branches`]), with the last prepare that both have in common;
//! - the ring ends before the stored log does: nothing can be decided yet ([`Joined::Behind`]);
//! - the ring begins after the stored log ends: ops are lost. It is the same history if the
//!   replica's checkpoint holds the last thing that the stored log made ([`Joined::Gap`],
//!   `witness_search`). If nothing shows that, it counts as another history: to treat an unknown
//!   history as the same one would be worse than an unneeded timeline.

use super::compare::{Comparison, ReplicaView, Verdict, compare};
use super::witness_search::last_witness;
use crate::disk::file::ReadOptions;
use crate::error::{Error, Kind, Result};
use crate::replica::checkpoint::Walk;
use crate::replica::tail::header_ring;
use crate::replica::witness::{Witness, find_witness};
use crate::repository::Repository;
use crate::repository::name::TIMELINE_FIRST;
use crate::tb_format::header::PrepareId;
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::HeaderRing;
use crate::tier::tigerbeetle::capture::replica_log::Replica;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::timeline::{Branch, Lineage, PrepareRecord, Timelines};
use std::cmp::Reverse;
use std::path::Path;

/// How often another agent may take the timeline's number before the attempt to begin one is given
/// up.
const BEGIN_TRIES_MAX: u32 = 5;

/// How the log of a data file joins the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// No log is stored yet.
    Empty,
    /// The log continues after this prepare, the last that both hold.
    Continues {
        /// The timeline.
        timeline: u32,
        /// Op and checksum.
        after: PrepareId,
    },
    /// The data file ends within what is stored of this timeline. The next ops will show whether it
    /// is the same history.
    Behind {
        /// The timeline.
        timeline: u32,
        /// The last prepare that both hold.
        after: PrepareId,
        /// The last stored prepare. The data file is of this history if it later holds the same
        /// one.
        stored: PrepareId,
    },
    /// The same history, but ops after the stored log are lost.
    Gap {
        /// The timeline.
        timeline: u32,
        /// The last op that is stored and was not replaced.
        stored_op: u64,
    },
    /// Another history. It gets a timeline of its own if the user wants that.
    Branches(Branch),
}

/// Compares a replica with the stored log. What waits in `also` (a spool) to be stored counts as
/// stored.
///
/// # Errors
/// [`Error::damaged`] when a stored segment that must be compared is damaged; [`Error::try_again`]
/// when only the next ops of the replica can decide; [`Error::input`] for a file so old that
/// nothing stored can be compared with it.
pub fn join(
    repository: &Repository,
    also: Option<&Repository>,
    replica: &Replica<'_>,
    find: &dyn Fn(&Witness) -> Result<bool>,
) -> Result<Joined> {
    let repositories: Vec<&Repository> = std::iter::once(repository).chain(also).collect();
    let (timelines, shown) = (repository.timelines()?, ReplicaView::of(replica));
    let mut compared = Vec::new();
    for timeline in timelines.numbers() {
        compared.extend(compare(&repositories, &shown, timeline, timelines.branches.get(&timeline))?);
    }
    if compared.is_empty() {
        return Ok(Joined::Empty);
    }
    let nearest = nearest(&compared);
    if let Some(joined) = nearest.map(same_history).transpose()?.flatten() {
        return Ok(joined);
    }
    // A timeline that shares an op with the replica proves more than one that ended before the
    // replica's log begins.
    if nearest.is_none_or(|nearest| nearest.same_op.is_none()) {
        for Comparison { timeline, stored_op, commit_op, .. } in before(&compared) {
            if let Some(witness) = last_witness(&repositories, *timeline, *commit_op.min(stored_op))?
                && find(&witness)?
            {
                return Ok(Joined::Gap { timeline: *timeline, stored_op: *stored_op });
            }
        }
    }
    let branch = Branching { replica, shown: &shown, timelines: &timelines, now_ns: repository.clock().now_ns() };
    let unproven = before(&compared).next();
    match (nearest.map(|nearest| (nearest, nearest.verdict)), unproven) {
        (Some((fork, Verdict::Fork(op))), _) => Ok(Joined::Branches(branch.at_fork(fork, op))),
        (Some((_, Verdict::Undecided(op))), _) => Err(undecided(op)),
        (_, Some(parent)) => Ok(Joined::Branches(branch.unproven(parent))),
        _ => Err(Error::input(format!(
            "the data file holds ops {} to {}, and nothing stored shows that they are of one history: an old file, or a replica far behind",
            shown.first_op(),
            shown.last_op()
        ))),
    }
}

/// The timeline that shares the most with the replica.
fn nearest(compared: &[Comparison]) -> Option<&Comparison> {
    let reported = compared.iter().filter(|comparison| !matches!(comparison.verdict, Verdict::Apart | Verdict::Before));
    reported.max_by_key(|comparison| {
        let (rank, is_fork) = match comparison.verdict {
            Verdict::Continues => (3, false),
            Verdict::Behind => (2, false),
            Verdict::Undecided(_) => (1, false),
            Verdict::Fork(_) | Verdict::Apart | Verdict::Before => (0, true),
        };
        // Of several timelines that a fork leaves at the same op, the oldest one owns that op.
        let (oldest, newest) = if is_fork { (comparison.timeline, 0) } else { (0, comparison.timeline) };
        (comparison.same_op, rank, Reverse(oldest), newest)
    })
}

/// The answer for the timeline that the replica is a part of; `None` if the replica is not a part
/// of it.
fn same_history(nearest: &Comparison) -> Result<Option<Joined>> {
    let timeline = nearest.timeline;
    Ok(match (nearest.verdict, nearest.resume, nearest.stored) {
        (Verdict::Continues, Some(after), _) => Some(Joined::Continues { timeline, after }),
        // The ops up to the last stored prepare would be skipped, and with them those that are
        // missing there.
        (Verdict::Behind, resume, _) if resume != nearest.common => return Err(hole(nearest)),
        (Verdict::Behind, Some(after), Some(stored)) => Some(Joined::Behind { timeline, after, stored }),
        _ => None,
    })
}

fn hole(nearest: &Comparison) -> Error {
    Error::try_again(format!(
        "timeline {} is stored up to op {}, with a hole that the replica still holds, but the replica's own log ends before that op: it is catching up, or was restored \
         and has not gone on yet. Wait for the next ops",
        nearest.timeline, nearest.stored_op
    ))
}

/// The timelines that end before the replica's log begins, the newest first.
fn before(compared: &[Comparison]) -> impl Iterator<Item = &Comparison> {
    compared.iter().rev().filter(|comparison| comparison.verdict == Verdict::Before)
}

fn undecided(op: u64) -> Error {
    Error::try_again(format!(
        "op {op} of the replica's log is not the one that is stored, and nothing shows yet which of the two is committed: a leftover that the cluster will \
         replace, or the first op of another history. Wait for the next ops"
    ))
}

/// The facts from which a new timeline's record is made.
struct Branching<'a> {
    replica: &'a Replica<'a>,
    shown: &'a ReplicaView,
    timelines: &'a Timelines,
    now_ns: u64,
}

impl Branching<'_> {
    fn at_fork(&self, fork: &Comparison, op: u64) -> Branch {
        let record = |(op, checksum): PrepareId| PrepareRecord { op, checksum: checksum.to_string() };
        let at = fork.common.map_or("before all that can be compared".to_owned(), |(op, _)| format!("behind op {op}"));
        Branch {
            branch: fork.common.map(record),
            first: self.shown.at(op).map(|header| record((header.op(), header.checksum()))),
            ..self.record(fork.timeline, format!("the data file continues differently from timeline {} {at}", fork.timeline))
        }
    }

    fn unproven(&self, parent: &Comparison) -> Branch {
        // The checkpoint remains visible longest, and its log is what a first backup stores.
        let checkpoint = self.replica.superblock.checkpoint().header();
        let first = Some(checkpoint).filter(|checkpoint| checkpoint.op() > 0).or(self.shown.at(self.shown.first_op()).copied());
        let reason = format!(
            "the log ring begins at op {}, timeline {} ends at op {}, and nothing shows that both are of one history",
            self.shown.first_op(),
            parent.timeline,
            parent.stored_op
        );
        let first = first.map(|header| PrepareRecord { op: header.op(), checksum: header.checksum().to_string() });
        Branch { first, ..self.record(parent.timeline, reason) }
    }

    fn record(&self, parent: u32, reason: String) -> Branch {
        Branch {
            timeline: self.timelines.next(),
            parent,
            branch: None,
            first: None,
            replica: self.replica.superblock.replica_index(),
            began_ns: self.now_ns,
            reason,
        }
    }
}

/// Reads a replica and compares it with the stored log.
///
/// # Errors
/// As [`join`]; also when the data file cannot be read, and [`Error::input`] when it is of another
/// cluster.
pub fn join_file(
    repository: &Repository,
    also: Option<&Repository>,
    data_file: &Path,
    options: ReadOptions,
) -> Result<(SuperBlock, Joined)> {
    let superblock = Walk::for_superblock(data_file, options)?.superblock()?;
    repository.check_cluster(superblock.cluster())?;
    let zone = header_ring(data_file, options)?;
    let ring =
        HeaderRing::new(&zone).map_err(|error| Error::damaged(format!("{}: log ring: {error}", data_file.display())).caused_by(error))?;
    let find = |witness: &Witness| Ok(find_witness(data_file, options, witness)?);
    let joined = join(repository, also, &Replica { superblock: &superblock, ring }, &find)?;
    Ok((superblock, joined))
}

/// The history that a data file is a part of.
///
/// # Errors
/// [`Error::input`] when the repository does not know this history.
pub fn lineage_of(repository: &Repository, data_file: &Path, options: ReadOptions) -> Result<Lineage> {
    if repository.timelines()?.newest() == TIMELINE_FIRST {
        // There is nothing to choose from. Whether the file is of this history is checked later by
        // comparing the ops that it shares with it.
        return Ok(Lineage::first());
    }
    match join_file(repository, None, data_file, options)?.1 {
        Joined::Branches(branch) => Err(Error::input(format!(
            "the data file continues another history than the repository: {}. --new-timeline stores it as timeline {}",
            branch.reason, branch.timeline
        ))),
        joined => lineage_for(repository, &joined),
    }
}

/// The history that a data file is a part of. A new timeline is begun if the repository does not
/// know this history.
///
/// # Errors
/// As [`join_file`]; [`Error::input`] for a cluster of another size; [`Error::try_again`] when
/// others keep taking the timeline's number.
pub fn lineage_or_new(repository: &Repository, data_file: &Path, options: ReadOptions) -> Result<(Lineage, Option<Branch>)> {
    for _ in 0..BEGIN_TRIES_MAX {
        let (superblock, joined) = join_file(repository, None, data_file, options)?;
        let Joined::Branches(branch) = joined else { return Ok((lineage_for(repository, &joined)?, None)) };
        refuse_other_size(repository, &superblock)?;
        if repository.begin_timeline(&branch)? {
            return Ok((Lineage::of(&repository.timelines()?, branch.timeline)?, Some(branch)));
        }
    }
    Err(Error::try_again("others keep beginning timelines in this repository: try again"))
}

/// Refuses a fork that runs with another number of replicas, as one does that was restored with
/// --solo. Up to the branch, its history would be of a cluster of one size, and after it of
/// another. A restore would have to know how many replicas a point has.
///
/// # Errors
/// [`Error::input`] if the number of replicas differs.
pub fn refuse_other_size(repository: &Repository, superblock: &SuperBlock) -> Result<()> {
    for name in repository.backups()?.iter().rev() {
        let stored = match Manifest::read_head(repository, name) {
            Ok((_, stored)) => stored,
            Err(error) if error.kind == Kind::Damaged => continue,
            Err(error) => return Err(error),
        };
        if stored.replica_count() == superblock.replica_count() {
            return Ok(());
        }
        return Err(Error::input(format!(
            "the data file continues another history than the repository, and as a cluster of {} replicas, where the repository is of one of {}: a fork of \
             another size needs a repository of its own, also with --new-timeline",
            superblock.replica_count(),
            stored.replica_count()
        )));
    }
    Ok(())
}

fn lineage_for(repository: &Repository, joined: &Joined) -> Result<Lineage> {
    match joined {
        Joined::Empty => Ok(Lineage::first()),
        Joined::Continues { timeline, .. } | Joined::Behind { timeline, .. } | Joined::Gap { timeline, .. } => {
            Lineage::of(&repository.timelines()?, *timeline)
        }
        Joined::Branches(branch) => Err(Error::bug(format!("timeline {} has not begun", branch.timeline))),
    }
}

/// The checkpoint's own prepare. Everything that the WAL ring still holds of the current checkpoint
/// interval begins after it.
pub fn checkpoint_end(superblock: &SuperBlock) -> PrepareId {
    let header = superblock.checkpoint().header();
    (header.op(), header.checksum())
}

#[cfg(test)]
mod tests;
