//! What can be restored: op ranges without a hole, for each history, as `amber restore` would find
//! them.
//!
//! Flow: [`RestorableRanges::run`] looks when a session begins, after each new checkpoint and each
//! gap, and otherwise once an hour, because other agents and retention change the repository too.
//! It writes what it finds on the board. In between,
//! [`AgentStatus::extend_restorable`](crate::monitor::status::AgentStatus::extend_restorable)
//! extends the newest range by what becomes durable, so that this needs no listing. The ranges
//! follow from the names of backups and segments. Only the first and the last object of each range
//! are opened.

use crate::error::{Kind, Result};
use crate::monitor::status::RangeStatus;
use crate::monitor::status_board::StatusBoard;
use crate::repository::Repository;
use crate::repository::name::CheckpointName;
use crate::stop::Stop;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::manifest::{Manifest, Summary};
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::format::timeline::{Lineage, Timelines};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it checks whether there is a reason to look.
pub const TURN: Duration = Duration::from_secs(1);
/// How long the result remains valid without a reason to look again.
const STANDS: Duration = Duration::from_secs(3600);
/// The shortest time between two looks, and the pause after one that failed.
const PAUSE: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_secs(60);
/// How many ranges are shown, the newest ones. More would help no reader.
const RANGES_MAX: usize = 64;

/// A change in one of these makes it look again: timeline, newest checkpoint, number of gaps.
type Cause = (u32, Option<u64>, usize);

/// Determines what can be restored, and writes it on the board.
pub struct RestorableRanges {
    repository: Arc<Repository>,
    board: Arc<StatusBoard>,
    looked: Option<(Cause, Instant)>,
    paused_until: Instant,
}

impl RestorableRanges {
    /// Creates one for the whole life of the agent.
    pub fn new(repository: &Arc<Repository>, board: &Arc<StatusBoard>) -> RestorableRanges {
        RestorableRanges {
            repository: Arc::clone(repository),
            board: Arc::clone(board),
            looked: None,
            paused_until: repository.clock().now(),
        }
    }

    /// Looks until it is asked to stop.
    pub fn run(&mut self, stop: &Stop) {
        self.repository.governor().meter();
        while !stop.wait(self.repository.clock().wait(TURN)) {
            self.turn();
            self.repository.governor().meter();
        }
    }

    /// Looks if there is a reason to. When the store does not answer, the previous result stays.
    pub fn turn(&mut self) {
        let status = self.board.status();
        let cause = (status.timeline, status.last_checkpoint.map(|checkpoint| checkpoint.op), status.gaps.len());
        let stands = self.looked.is_some_and(|(looked, at)| looked == cause && self.repository.clock().since(at) < STANDS);
        if status.timeline == 0 || stands || self.repository.clock().now() < self.paused_until {
            return;
        }
        match ranges(&self.repository) {
            Ok(ranges) => {
                self.board.change(|status| status.restorable = ranges);
                self.looked = Some((cause, self.repository.clock().now()));
                self.paused_until = self.repository.clock().now() + PAUSE;
            }
            Err(error) => {
                tracing::debug!("what can be restored is not known: {error}");
                self.paused_until = self.repository.clock().now() + RETRY_PAUSE;
            }
        }
    }
}

/// The ranges of all histories, each in its own ops: the ops that a timeline shares with its parent
/// belong to the parent.
///
/// # Errors
/// When the store cannot be read. Damaged backups count as if they did not exist.
pub fn ranges(repository: &Repository) -> Result<Vec<RangeStatus>> {
    let timelines = repository.timelines()?;
    let mut found = Vec::new();
    for number in timelines.numbers() {
        found.extend(ranges_of(repository, &timelines, number)?);
    }
    let surplus = found.len().saturating_sub(RANGES_MAX);
    Ok(found.split_off(surplus))
}

fn ranges_of(repository: &Repository, timelines: &Timelines, timeline: u32) -> Result<Vec<RangeStatus>> {
    let lineage = Lineage::of(timelines, timeline)?;
    let own_first_op = lineage.eras().last().map_or(0, |era| era.first_op);
    let log = LogIndex::list(repository, &lineage, 0)?;
    let op_ranges = log.op_ranges();
    let history = History { repository, names: repository.backups_of(&lineage)?, log, lineage: &lineage };
    let mut spans: Vec<Span> = Vec::new();
    for ops in &op_ranges {
        spans.extend(history.span_of_range(*ops)?);
    }
    let is_in_a_range = |name: &CheckpointName| op_ranges.iter().any(|ops| continues(name, *ops));
    for name in history.names.iter().filter(|name| !is_in_a_range(name)) {
        spans.extend(history.span_of_backup(name)?);
    }
    spans.sort_unstable_by_key(|span| span.first_op);
    let mut ranges = Vec::new();
    for span in joined(spans) {
        if span.last_op >= own_first_op {
            let first_op = span.first_op.max(own_first_op);
            let first_timestamp_ns = match history.timestamp(first_op)?.or(span.first_timestamp_ns.filter(|_| first_op == span.first_op)) {
                // A ledger's history begins with its first request.
                None | Some(0) => history.timestamp(first_op.saturating_add(1))?,
                known => known,
            };
            let last_timestamp_ns = history.timestamp(span.last_op)?.or(span.last_timestamp_ns);
            ranges.push(RangeStatus {
                timeline,
                first_op,
                first_timestamp_ns: first_timestamp_ns.unwrap_or(0),
                last_op: span.last_op,
                last_timestamp_ns: last_timestamp_ns.unwrap_or(0),
            });
        }
    }
    Ok(ranges)
}

/// Ops that can be restored, and their times where a backup records them.
#[derive(Debug, Clone, Copy)]
struct Span {
    first_op: u64,
    first_timestamp_ns: Option<u64>,
    last_op: u64,
    last_timestamp_ns: Option<u64>,
}

/// Joins spans that touch. The spans are sorted by their first op.
fn joined(spans: Vec<Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.first_op <= last.last_op.saturating_add(1) => {
                if span.last_op > last.last_op {
                    (last.last_op, last.last_timestamp_ns) = (span.last_op, span.last_timestamp_ns);
                }
            }
            _ => joined.push(span),
        }
    }
    joined
}

/// Whether this op range of the log continues a backup's checkpoint.
fn continues(name: &CheckpointName, ops: OpRange) -> bool {
    ops.contains(name.checkpoint_op.saturating_add(1))
}

/// What a history holds.
struct History<'a> {
    repository: &'a Repository,
    lineage: &'a Lineage,
    /// Sorted by the op of their checkpoint.
    names: Vec<CheckpointName>,
    log: LogIndex<'a>,
}

impl History<'_> {
    /// The span from the first backup that an op range of the log continues to the end of the op
    /// range.
    fn span_of_range(&self, ops: OpRange) -> Result<Option<Span>> {
        for name in self.names.iter().filter(|name| continues(name, ops)) {
            let Some(summary) = self.summary(name)? else { continue };
            let last_op = self.end_of_range(ops)?;
            let first_timestamp_ns = Some(summary.checkpoint_timestamp_ns);
            let span = Span { first_op: summary.first_restorable_op, first_timestamp_ns, last_op, last_timestamp_ns: None };
            return Ok((span.first_op <= span.last_op).then_some(span));
        }
        Ok(None)
    }

    /// The last op of an op range that can be restored. A backup's own segments may hold more than
    /// the backup promises; the surplus counts only where other segments continue it.
    fn end_of_range(&self, ops: OpRange) -> Result<u64> {
        let last_op = ops.last_op;
        let within = self.log.pieces().iter().filter(|piece| ops.contains(piece.first_op));
        let shipped_op = within.clone().filter(|piece| piece.name.run.ships()).map(|piece| piece.last_op).max().unwrap_or(0);
        if shipped_op == last_op {
            return Ok(last_op);
        }
        let Some(last) = within.max_by_key(|piece| piece.last_op) else { return Ok(last_op) };
        let Some(owner) = self.names.iter().find(|name| name.run == last.name.run) else { return Ok(last_op) };
        let promised_op = self.summary(owner)?.map_or(last_op, |summary| summary.recovered_to_op);
        Ok(last_op.min(promised_op.max(shipped_op)))
    }

    fn span_of_backup(&self, name: &CheckpointName) -> Result<Option<Span>> {
        let span = self.summary(name)?.map(|summary| Span {
            first_op: summary.first_restorable_op,
            first_timestamp_ns: Some(summary.checkpoint_timestamp_ns),
            last_op: summary.recovered_to_op.min(self.lineage.last_op_of(name.timeline)),
            last_timestamp_ns: Some(summary.recovered_to_timestamp_ns),
        });
        Ok(span.filter(|span| span.first_op <= span.last_op))
    }

    /// `None` where the backup is damaged or gone; `amber verify` reports that.
    fn summary(&self, name: &CheckpointName) -> Result<Option<Summary>> {
        match Manifest::read_summary(self.repository, name) {
            Err(error) if error.kind == Kind::Damaged => Ok(None),
            summary => summary.map(Some),
        }
    }

    fn timestamp(&self, op: u64) -> Result<Option<u64>> {
        match self.log.row(op) {
            Err(error) if error.kind == Kind::Damaged => Ok(None),
            row => Ok(row?.map(|row| row.timestamp_ns)),
        }
    }
}

#[cfg(test)]
mod tests;
