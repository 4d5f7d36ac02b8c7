//! The work beside the log: takes checkpoints when recovery needs them, and merges small segments
//! into larger ones.
//!
//! Flow: once a second [`CheckpointWorker::turn`] records gaps that are new. Then it asks the
//! schedule whether a checkpoint is due, and passes on the wish of the policy. Otherwise it merges
//! if enough small segments have been stored. It does one thing at a time, and only while this
//! agent leads. A checkpoint that is running when the session ends is cancelled. A failure raises
//! an alert and is retried, after a longer pause each time.

use super::checkpoint_policy::{Situation, Wish, wish};
use crate::cancellation::Cancellation;
use crate::config::jobs::CHECKPOINT_JOB;
use crate::config::plan::CheckpointPlan;
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::host::Clock;
use crate::jobs::Jobs;
use crate::jobs::active::{Active, RunProgress};
use crate::jobs::registry::RunnerKind;
use crate::limits::governor::Governor;
use crate::monitor::alert::Topic;
use crate::monitor::status::CheckpointStatus;
use crate::monitor::status_board::StatusBoard;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{CheckpointName, SegmentName};
use crate::repository::remove::Reason;
use crate::schedule::plan::Lane;
use crate::schedule::state::Why;
use crate::stop::Stop;
use crate::tier::tigerbeetle::capture::{self, Backup};
use crate::tier::tigerbeetle::facts::{outcome, scope_of};
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::log::{LogIndex, Piece};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::merge::{covered, merge, plan_merges};
use crate::tier::tigerbeetle::format::timeline::Lineage;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it checks whether there is something to do.
pub const TURN: Duration = Duration::from_secs(1);
/// The shortest time between two checks whether to merge.
const MERGE_INTERVAL: Duration = Duration::from_secs(10);
/// Segments that end within this many ops of the durable end may still be replaced. They are not
/// merged.
const UNSETTLED_OPS: u64 = 64;

/// What checkpoints are taken of.
pub struct CheckpointSource {
    /// The replica's data file.
    pub data_file: PathBuf,
    /// How it is read.
    pub read: ReadOptions,
    /// The history that it belongs to.
    pub lineage: Lineage,
}

/// Takes checkpoints and merges segments during one session.
pub struct CheckpointWorker {
    repository: Arc<Repository>,
    board: Arc<StatusBoard>,
    jobs: Arc<Jobs>,
    from: CheckpointSource,
    plan: CheckpointPlan,
    merge_after_segments: u64,
    taken: bool,
    led: bool,
    merged: Option<(Instant, u64)>,
    promised: Promised,
}

/// The segments that each backup promises. A manifest never changes, so each is read once.
pub type Promised = HashMap<CheckpointName, Vec<SegmentName>>;

impl CheckpointWorker {
    /// Creates the worker of one session.
    pub fn new(
        repository: &Arc<Repository>,
        board: &Arc<StatusBoard>,
        jobs: &Arc<Jobs>,
        from: CheckpointSource,
        plan: CheckpointPlan,
        merge_after_segments: u64,
    ) -> CheckpointWorker {
        CheckpointWorker {
            repository: Arc::clone(repository),
            board: Arc::clone(board),
            jobs: Arc::clone(jobs),
            from,
            plan,
            merge_after_segments,
            taken: false,
            led: false,
            merged: None,
            promised: Promised::new(),
        }
    }

    /// Works until it is asked to stop.
    pub fn run(&mut self, stop: &Stop) {
        self.repository.governor().meter();
        let clock = self.repository.clock();
        while !stop.wait(clock.wait(TURN)) {
            self.turn(stop);
        }
    }

    /// Does what is due now. A checkpoint that is running is cancelled when `stop` is asked.
    pub fn turn(&mut self, stop: &Stop) {
        if !self.board.is_leading() {
            (self.taken, self.led) = (false, false);
            return;
        }
        if !self.led {
            // While another agent led, it took checkpoints that the board does not know of.
            self.led = self.look_for_checkpoint().is_ok();
        }
        record_gaps(&self.repository, &self.board);
        let status = self.board.status();
        self.checkpoint_if_due(
            Situation {
                timeline: self.from.lineage.timeline(),
                durable_op: status.durable_op,
                last: status.last_checkpoint,
                wanted: self.board.wanted(),
                taken: self.taken,
            },
            stop,
        );
        if let Some(merged) = self.merge_if_due(status.durable_op, status.segments_shipped) {
            self.board.alert(Topic::Merge, merged.err().map(|error| format!("small segments are not merged: {error}")));
        }
    }

    fn look_for_checkpoint(&self) -> Result<()> {
        let newest = self.repository.newest_checkpoint_of(&self.from.lineage)?.best;
        if let Some((_, summary)) = newest {
            self.board.checkpoint(CheckpointStatus::from(&summary));
            // The interval counts from this checkpoint, whichever agent took it.
            self.jobs.record_elsewhere(CHECKPOINT_JOB, summary.began_ns, Some((summary.ended_ns, true)));
        }
        Ok(())
    }

    fn checkpoint_if_due(&mut self, situation: Situation, stop: &Stop) {
        let wish = wish(&self.plan, &situation);
        let turn = self.jobs.turn(Lane::Backup, RunnerKind::Session, |_| wish.clone().reason());
        let next = self.jobs.next_text(CHECKPOINT_JOB);
        let next = match &wish {
            Wish::AfterOps(left_ops) if turn.begin.is_none() => format!("{next}, or after {left_ops} more ops"),
            _ => next,
        };
        self.board.change(|status| status.next_checkpoint_reason = next);
        match (turn.begin, wish) {
            (Some((_, why)), wish) => self.checkpoint(why, wish.reason(), stop),
            (None, Wish::Now(reason)) if self.jobs.is_held_back(CHECKPOINT_JOB) => {
                let text = format!("no checkpoint is taken, though one is due ({reason}): somebody has paused or switched off checkpoints");
                self.board.alert(Topic::Checkpoint, Some(text));
            }
            (None, _) => {}
        }
    }

    fn checkpoint(&mut self, why: Why, wish: Option<String>, stop: &Stop) {
        let reason = wish.unwrap_or_else(|| match why {
            Why::Asked => "asked for".to_owned(),
            _ => "it is due".to_owned(),
        });
        tracing::info!("checkpoint: {reason}");
        let active = match self.jobs.begin(CHECKPOINT_JOB, why) {
            Ok(active) => active,
            // It is due again in a second.
            Err(error) if self.jobs.is_lane_busy(Lane::Backup) => return tracing::info!("the checkpoint waits: {error}"),
            Err(error) => return self.board.alert(Topic::Checkpoint, Some(format!("no checkpoint could be taken ({reason}): {error}"))),
        };
        let governor = Arc::clone(self.repository.governor());
        let due = self.repository.clock().now() + self.plan.interval;
        let progress =
            WithGoal { reported: active.progress(stop), governor, clock: self.repository.clock(), due, total: AtomicU64::new(0) };
        let wanted = self.board.take_wanted();
        let CheckpointSource { data_file, read, lineage } = &self.from;
        match capture::backup_as(&self.repository, data_file, *read, lineage, active.id(), &progress) {
            Ok(backup) => self.checkpoint_taken(&backup, active),
            Err(error) => {
                if let Some(wanted) = wanted {
                    self.board.want_checkpoint(wanted);
                }
                let is_cancelled = progress.is_cancelled();
                if !is_cancelled {
                    self.board.alert(Topic::Checkpoint, Some(format!("no checkpoint could be taken ({reason}): {error}")));
                }
                active.end(Err(error), is_cancelled);
            }
        }
    }

    fn checkpoint_taken(&mut self, backup: &Backup, mut active: Active) {
        active.set_scope(scope_of(&backup.summary));
        active.end(Ok(outcome(&backup.name, &backup.summary, &backup.receipt())), false);
        let summary = &backup.summary;
        tracing::info!(
            "checkpoint {} is stored: ops {} to {}, {} blocks new, {} stored before",
            summary.checkpoint_op,
            summary.first_restorable_op,
            summary.recovered_to_op,
            summary.blocks_stored,
            summary.blocks_reused
        );
        self.board.checkpoint(CheckpointStatus::from(summary));
        self.board.alert(Topic::Checkpoint, None);
        // A gap that was noticed since then needs a checkpoint of its own.
        if self.board.wanted().is_none() {
            self.board.alert(Topic::Gap, None);
        }
        self.taken = true;
    }

    /// Merges if it is time to; `None` if it is not.
    fn merge_if_due(&mut self, durable_op: u64, shipped: u64) -> Option<Result<()>> {
        let due = match self.merged {
            None => true,
            Some((at, then)) => {
                self.repository.clock().since(at) >= MERGE_INTERVAL && shipped.saturating_sub(then) >= self.merge_after_segments
            }
        };
        if !due {
            return None;
        }
        let merges = merge_once(&self.repository, &mut self.promised, self.from.lineage.timeline(), durable_op, self.merge_after_segments);
        // Merging is due again however little is shipped, after a failure and where there may be
        // more to do in the tiers above.
        let again = if matches!(merges, Ok(0)) { 0 } else { self.merge_after_segments };
        self.merged = Some((self.repository.clock().now(), shipped.saturating_sub(again)));
        Some(merges.map(|merges| {
            if merges > 0 {
                tracing::info!("{merges} runs of small segments were merged");
            }
        }))
    }
}

/// Reports the progress of a checkpoint to the governor as well as to its run.
struct WithGoal {
    reported: RunProgress,
    governor: Arc<Governor>,
    clock: Clock,
    /// When the next checkpoint is due.
    due: Instant,
    /// Bytes in total; 0 while that is not known.
    total: AtomicU64,
}

impl Drop for WithGoal {
    fn drop(&mut self) {
        self.governor.no_goal();
    }
}

impl Progress for WithGoal {
    fn begin(&self, step: &str, total_bytes: Option<u64>) {
        self.total.store(total_bytes.unwrap_or(0), Ordering::Relaxed);
        self.reported.begin(step, total_bytes);
    }

    fn total(&self, total_bytes: u64) {
        self.total.store(total_bytes, Ordering::Relaxed);
        self.reported.total(total_bytes);
    }

    fn position(&self, position_bytes: u64) {
        let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
        self.governor.goal(position_bytes, total, self.due.saturating_duration_since(self.clock.now()));
        self.reported.position(position_bytes);
    }

    fn note(&self, text: &str) {
        self.reported.note(text);
    }

    fn end(&self) {
        self.reported.end();
    }
}

impl Cancellation for WithGoal {
    fn is_cancelled(&self) -> bool {
        self.reported.is_cancelled()
    }
}

/// Records the gaps that the repository does not know of. Ops that another agent has stored
/// meanwhile are not a gap.
pub fn record_gaps(repository: &Repository, board: &StatusBoard) {
    let mut left = board.take_unrecorded();
    while let Some(gap) = left.first() {
        match record_gap(repository, &Gap::from(gap.clone())) {
            Ok(true) => {}
            Ok(false) => board.no_gap(gap),
            Err(_) => break,
        }
        left.remove(0);
    }
    board.return_unrecorded(left);
}

/// Records one gap; `false` if it turns out that there is none.
fn record_gap(repository: &Repository, gap: &Gap) -> Result<bool> {
    let before_op = gap.first_op.saturating_sub(1);
    let stored_op = LogIndex::list(repository, &Lineage::only(gap.timeline), before_op)?.reach(before_op);
    if stored_op >= gap.last_op {
        return Ok(false);
    }
    repository.record_gap(gap, repository.new_run()?).map(|()| true)
}

/// Merges what can be merged of a timeline's log, and removes segments whose ops are stored twice.
/// Returns how many segments were written.
///
/// # Errors
/// When the store fails, or a segment is damaged. The damage is reported, and the segment is kept.
pub fn merge_once(repository: &Arc<Repository>, promised: &mut Promised, timeline: u32, durable_op: u64, least: u64) -> Result<usize> {
    let lineage = Lineage::only(timeline);
    let named = named_by_manifests(repository, promised)?;
    let list = || -> Result<Vec<Piece>> {
        let settled_op = durable_op.saturating_sub(UNSETTLED_OPS);
        let index = LogIndex::list(repository, &lineage, 0)?;
        // Segments of backups are not merged. A backup that fails deletes its segments, so they
        // must not stand in for others.
        Ok(index.pieces().iter().filter(|piece| piece.last_op <= settled_op && piece.name.run.ships()).copied().collect())
    };
    remove_covered(repository, &list()?, &named)?;
    let free: Vec<Piece> = list()?.into_iter().filter(|piece| !named.contains(&piece.name)).collect();
    let merges = plan_merges(&free, usize::try_from(least).unwrap_or(usize::MAX));
    for pieces in &merges {
        merge(repository, repository.new_shipping_run()?, pieces)?;
    }
    if !merges.is_empty() {
        remove_covered(repository, &list()?, &named)?;
    }
    Ok(merges.len())
}

/// The segments that backups promise. They keep their names for as long as the backup exists.
fn named_by_manifests(repository: &Repository, promised: &mut Promised) -> Result<HashSet<SegmentName>> {
    let names = repository.checkpoints()?;
    promised.retain(|name, _| names.contains(name));
    for name in names {
        if promised.contains_key(&name) {
            continue;
        }
        // The segments that a damaged manifest names are unknown, so nothing is removed at all.
        let manifest = Manifest::read(repository, &name, None).map_err(|error| error.context("while a manifest cannot be read"))?;
        promised.insert(name, manifest.segments.iter().map(|segment| segment.name).collect());
    }
    Ok(promised.values().flatten().copied().collect())
}

fn remove_covered(repository: &Repository, pieces: &[Piece], named: &HashSet<SegmentName>) -> Result<()> {
    // A holder begins no later than what it holds, so from the back a holder that is itself held
    // goes last.
    for (piece, holder) in covered(repository, pieces)?.iter().rev().filter(|(piece, _)| !named.contains(&piece.name)) {
        // Under Object Lock the segment stays, which does no harm.
        let _ = repository.remove(&piece.name.object(), Reason::Merged { into: holder });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
