//! Checks the log that agents ship: every listed segment, whether a manifest names it or not, and
//! that the segments are one chain.
//!
//! Flow: [`check_segments`] opens the segments that no manifest names (the others are compared with
//! their manifests' digests). [`check_timelines`] looks at the op ranges that the names promise,
//! follows the chain of prepares through each of them (`--full`), and reports the holes between
//! them.
//!
//! A segment that vanishes while it is read was merged into a larger one, which is then listed and
//! checked in its place. A hole is not damage by itself: a log that was never stored looks the same
//! as one that was removed. Where a manifest promises ops, it names the segments that hold them.
//! One of these that is missing is a problem of its own.

use super::LogFindings;
use super::objects::LedgerObject;
use crate::error::{Kind, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{self, CheckpointName, SegmentName};
use crate::tier::depth::Depth;
use crate::tier::findings::VerificationReport;
use crate::tier::object_check;
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::log::{LogIndex, Piece, op_ranges_of};
use crate::tier::tigerbeetle::format::manifest::Summary;
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::format::timeline::{Lineage, Timelines};
use crate::units::time_text;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How often the log is listed again because segments of it were merged meanwhile.
const RELISTS_MAX: usize = 5;
/// Segments checked before their outcomes are looked at.
const BATCH: usize = 4096;
/// How many op ranges the text of a verification lists; JSON has all.
const OP_RANGES_SHOWN_MAX: usize = 5;
/// Holes of one timeline that are reported one by one.
const HOLES_REPORTED_MAX: usize = 20;

/// Opens every segment that no manifest names. Returns the timelines that have segments.
///
/// # Errors
/// When the store cannot be read.
pub fn check_segments(
    repository: &Repository,
    in_manifests: &BTreeSet<SegmentName>,
    depth: Depth,
    progress: &dyn Progress,
    report: &mut VerificationReport,
    found: &mut LogFindings,
) -> Result<Vec<u32>> {
    let mut known = in_manifests.clone();
    let mut listed = list(repository)?;
    for _ in 0..=RELISTS_MAX {
        let new: Vec<(SegmentName, u64)> =
            listed.iter().filter(|(name, _)| !known.contains(name)).map(|(name, size)| (*name, *size)).collect();
        progress.begin("verify the log", Some(new.iter().map(|(_, stored_bytes)| stored_bytes).sum()));
        let mut vanished = false;
        for batch in new.chunks(BATCH) {
            let jobs: Vec<LedgerObject> = batch.iter().map(|(name, stored_bytes)| LedgerObject::Shipped(*name, *stored_bytes)).collect();
            for outcome in object_check::check_all(repository, &jobs, depth, progress) {
                let is_damaged = outcome.result.as_ref().is_err_and(|error| error.kind == Kind::Damaged);
                if is_damaged && repository.object_bytes(&outcome.name)?.is_none() {
                    vanished = true;
                    continue;
                }
                report.objects += 1;
                report.bytes_read += outcome.bytes_read;
                report.judge(&outcome.name, outcome.result)?;
            }
        }
        progress.end();
        if !vanished {
            break;
        }
        known.extend(new.iter().map(|(name, _)| *name));
        listed = list(repository)?;
    }
    (found.segments, found.log_bytes) = (listed.len() as u64, listed.values().sum());
    Ok(listed.keys().map(|name| name.timeline).collect::<BTreeSet<u32>>().into_iter().collect())
}

fn list(repository: &Repository) -> Result<BTreeMap<SegmentName, u64>> {
    let listed = repository.list_all(name::SEGMENTS)?;
    Ok(listed.iter().filter_map(|object| Some((SegmentName::parse(&object.name)?, object.size_bytes))).collect())
}

/// A timeline's log, by the names of its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRanges {
    /// The timeline.
    pub timeline: u32,
    /// Op ranges without a gap.
    pub ops: Vec<OpRange>,
}

/// Op ranges for people: "ops 960 to 12345".
pub fn ranges_text(ranges: &[OpRange]) -> String {
    let shown: Vec<String> =
        ranges.iter().take(OP_RANGES_SHOWN_MAX).map(|range| format!("{} to {}", range.first_op, range.last_op)).collect();
    let more = ranges.len() - shown.len();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more runs") };
    format!("ops {}{rest}", shown.join(", "))
}

/// Op ranges as JSON.
pub fn ranges_json(ranges: &[OpRange]) -> Value {
    ranges.iter().map(|range| json!({ "first_op": range.first_op, "last_op": range.last_op })).collect()
}

/// What is known of the repository when the chain of the log is checked.
pub struct Promises<'a> {
    /// The timelines whose records open.
    pub timelines: &'a Timelines,
    /// The gaps whose records open.
    pub gaps: &'a [Gap],
    /// The backups whose manifests open.
    pub manifests: &'a BTreeMap<CheckpointName, Summary>,
    /// The segments that they name.
    pub in_manifests: &'a BTreeSet<SegmentName>,
}

/// Checks the log of every timeline.
///
/// # Errors
/// When the store cannot be read.
pub fn check_timelines(
    repository: &Repository,
    promises: &Promises<'_>,
    with_segments: &[u32],
    depth: Depth,
    report: &mut VerificationReport,
    found: &mut LogFindings,
) -> Result<()> {
    let numbers: BTreeSet<u32> = promises.timelines.numbers().into_iter().chain(with_segments.iter().copied()).collect();
    found.timelines = numbers.len() as u64;
    for timeline in numbers {
        // If its record, or an ancestor's, is missing, the timeline is checked alone.
        let lineage = Lineage::of(promises.timelines, timeline).unwrap_or_else(|_| Lineage::only(timeline));
        let branch_op = promises.timelines.branches.get(&timeline).and_then(|branch| branch.branch.as_ref()).map(|common| common.op);
        // From the branch on: the segment that holds the last common prepare shows whether the
        // timeline continues its parent.
        let index = LogIndex::list(repository, &lineage, branch_op.unwrap_or(0))?;
        let own: Vec<Piece> = index.pieces().iter().filter(|piece| piece.name.timeline == timeline).copied().collect();
        if depth == Depth::Full {
            for ops in index.op_ranges() {
                check_op_range(&index, timeline, ops, report)?;
            }
        }
        if !own.is_empty() {
            holes(promises, timeline, branch_op, &index, report);
        }
        found.ranges.push(LogRanges { timeline, ops: op_ranges_of(&own) });
    }
    Ok(())
}

/// Follows the chain of prepares through an op range.
fn check_op_range(index: &LogIndex<'_>, timeline: u32, ops: OpRange, report: &mut VerificationReport) -> Result<()> {
    let Err(error) = index.resolve_range(ops) else { return Ok(()) };
    let prefix = name::segment_prefix(timeline);
    let is_reported = report.problems.iter().any(|problem| problem.object.starts_with(name::SEGMENTS));
    match error.kind {
        Kind::TryAgain => Err(error),
        // The segment that does not open was already reported.
        Kind::Damaged if is_reported => Ok(()),
        _ => {
            let OpRange { first_op, last_op } = ops;
            report.problem(
                &prefix,
                format!("ops {first_op} to {last_op} are listed without a gap, but their prepares are not one chain ({error}): restores end there"),
            );
            Ok(())
        }
    }
}

/// Reports the holes: the ops between the op ranges, which no segment holds.
fn holes(promises: &Promises<'_>, timeline: u32, branch_op: Option<u64>, index: &LogIndex<'_>, report: &mut VerificationReport) {
    let mut holes = Vec::new();
    let mut before_op = branch_op;
    for OpRange { first_op, last_op } in index.op_ranges() {
        if let Some(before_op) = before_op.filter(|before_op| before_op.saturating_add(1) < first_op) {
            holes.push(OpRange { first_op: before_op + 1, last_op: first_op - 1 });
        }
        before_op = Some(last_op.max(before_op.unwrap_or(0)));
    }
    let named = |piece: &Piece| promises.in_manifests.contains(&piece.name);
    let shipped = index.pieces().iter().any(|piece| piece.name.timeline == timeline && !named(piece));
    let mut reported = 0;
    for hole in &holes {
        // Where no agent ships the log, it has a hole after every backup.
        let gaps: Vec<&Gap> = promises.gaps.iter().filter(|gap| gap.timeline == timeline && explains(gap, *hole)).collect();
        if reported < HOLES_REPORTED_MAX && gaps.is_empty() && is_lost(promises, index, *hole) {
            report.problem(name::segment_prefix(timeline), hole_text(promises, timeline, *hole, &gaps));
            reported += 1;
        } else if (shipped || !gaps.is_empty()) && reported < HOLES_REPORTED_MAX {
            report.notes.push(hole_text(promises, timeline, *hole, &gaps));
            reported += 1;
        }
    }
    let rest = holes.len() - reported;
    if let (true, Some(first), Some(last)) = (rest > 0, holes.first(), holes.last()) {
        let why = if shipped { "these are more than are reported one by one" } else { "no agent ships it" };
        report.notes.push(format!(
            "timeline {timeline}: the log has {rest} holes between op {} and op {}: {why}; points in them are restorable only where a backup holds them",
            first.first_op, last.last_op
        ));
    }
}

/// Whether a hole is one that no agent leaves: it shipped the log on both sides, recorded no gap,
/// and a later checkpoint shows that what is missing is not just on its way.
fn is_lost(promises: &Promises<'_>, index: &LogIndex<'_>, hole: OpRange) -> bool {
    let ships = |piece: &&Piece| piece.name.run.ships();
    let before = index.pieces().iter().filter(ships).any(|piece| piece.last_op.saturating_add(1) == hole.first_op);
    let behind = index.pieces().iter().filter(ships).any(|piece| piece.first_op == hole.last_op.saturating_add(1));
    let is_settled = promises.manifests.keys().any(|name| name.checkpoint_op > hole.last_op);
    let was_restorable = promises.manifests.values().any(|summary| summary.log_first_op <= hole.last_op);
    before && behind && is_settled && was_restorable
}

fn explains(gap: &Gap, hole: OpRange) -> bool {
    gap.first_op <= hole.last_op && gap.last_op >= hole.first_op
}

fn hole_text(promises: &Promises<'_>, timeline: u32, hole: OpRange, gaps: &[&Gap]) -> String {
    let OpRange { first_op, last_op } = hole;
    let missing = format!("timeline {timeline}: ops {first_op} to {last_op} are in no segment");
    let first_backup = promises.manifests.values().map(|summary| summary.log_first_op).min();
    if !gaps.is_empty() {
        let reasons: Vec<String> = gaps
            .iter()
            .map(|gap| format!("ops {} to {}, noticed at {}: {}", gap.first_op, gap.last_op, time_text(gap.noticed_ns), gap.reason))
            .collect();
        // The hole may be larger than what was known when it was recorded, because the log
        // continued later. The record says so.
        return format!("{missing}; a gap is recorded ({})", reasons.join("; "));
    }
    if first_backup.is_none_or(|first_backup| last_op < first_backup) {
        return format!("{missing}: they lie before the first backup's log, so nothing was ever restorable through them");
    }
    format!(
        "{missing}, and no record says why: they were never stored, or were removed; the points behind op {} are restorable again from the next backup on",
        first_op.saturating_sub(1)
    )
}

#[cfg(test)]
mod tests;
