//! Where the log of a data file joins what is stored: the beginning of a session.
//!
//! Flow: `Agent::try_join` compares the data file with repository and spool
//! ([`crate::tier::tigerbeetle::capture::join`]) and returns a `Start`. Where the log is of
//! another history, a timeline begins, and the next try joins that.

use super::session::Agent;
use super::spool::Spool;
use crate::error::{Error, Result};
use crate::monitor::status::CheckpointStatus;
use crate::repository::Repository;
use crate::repository::name::TIMELINE_FIRST;
use crate::tb_format::header::PrepareId;
use crate::tb_format::superblock::SuperBlock;
use crate::tier::tigerbeetle::capture::join::{Joined, checkpoint_end, join_file};
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::timeline::Lineage;

/// Where reading the log begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) lineage: Lineage,
    /// Reading begins after this prepare.
    pub(super) after: PrepareId,
    /// Everything up to this prepare is already stored, and must be the same.
    pub(super) stored: Option<PrepareId>,
    /// The last op that is durable.
    pub(super) durable_op: u64,
    pub(super) gap: Option<Gap>,
    /// Why a checkpoint is wanted at once.
    pub(super) wanted: Option<String>,
    /// What the repository knows of this history.
    pub(super) stored_history: StoredHistory,
}

/// What the repository knows of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StoredHistory {
    pub(super) gaps: Vec<Gap>,
    pub(super) checkpoint: Option<CheckpointStatus>,
}

impl Agent {
    /// Determines it once.
    ///
    /// # Errors
    /// [`Error::try_again`] where that is not clear yet, others where the data file or the
    /// repository is not what it must be.
    pub(super) fn try_join(&self, spool: &Spool) -> Result<Start> {
        let repository = &self.checked.repository;
        let (superblock, joined) = join_file(repository, Some(spool.repository()), &self.plan.data_file, self.plan.read)?;
        self.check_replicas(&superblock)?;
        let timelines = repository.timelines()?;
        let start = |timeline: u32, after: PrepareId| -> Result<Start> {
            let lineage = Lineage::of(&timelines, timeline)?;
            let stored_history = self.stored_history(&lineage)?;
            Ok(Start { lineage, after, stored: None, durable_op: after.0, gap: None, wanted: None, stored_history })
        };
        let behind_checkpoint = checkpoint_end(&superblock);
        let mut start = match joined {
            Joined::Empty => Start { wanted: Some("nothing is stored yet".to_owned()), ..start(TIMELINE_FIRST, behind_checkpoint)? },
            Joined::Continues { timeline, after } => start(timeline, after)?,
            Joined::Behind { timeline, after, stored } => {
                check_whole(&[repository, spool.repository()], timeline, after.0, stored.0)?;
                Start { stored: Some(stored), durable_op: stored.0, ..start(timeline, after)? }
            }
            Joined::Gap { timeline, stored_op } => {
                let gap = Gap {
                    timeline,
                    first_op: stored_op.saturating_add(1),
                    last_op: behind_checkpoint.0,
                    noticed_ns: self.board.clock().now_ns(),
                    reason: "the ring was overwritten before an agent read it".into(),
                };
                let wanted = Some("a gap".to_owned());
                Start { durable_op: stored_op, gap: Some(gap), wanted, ..start(timeline, behind_checkpoint)? }
            }
            Joined::Branches(branch) => {
                if !repository.begin_timeline(&branch)? {
                    return Err(Error::try_again("another agent has begun a timeline just now: joining that"));
                }
                tracing::warn!("timeline {} begins: {}", branch.timeline, branch.reason);
                return Err(Error::try_again(format!("timeline {} has begun: joining it", branch.timeline)));
            }
        };
        repository.bind_cluster(self.checked.cluster)?;
        // What is in the spool is durable only when the store has it.
        let timeline = start.lineage.timeline();
        if let Some(first) = spool.found().iter().find(|found| found.name.timeline == timeline) {
            start.durable_op = start.durable_op.min(first.name.first_op.saturating_sub(1));
        }
        Ok(start)
    }

    fn stored_history(&self, lineage: &Lineage) -> Result<StoredHistory> {
        let repository = &self.checked.repository;
        let (mut gaps, damaged) = repository.gaps()?;
        for name in damaged {
            tracing::warn!("{name}: the record of a gap is damaged; `amber verify` says more");
        }
        gaps.retain(|gap| lineage.holds(gap.timeline, gap.first_op));
        let newest = repository.newest_checkpoint_of(lineage)?.best;
        Ok(StoredHistory { gaps, checkpoint: newest.map(|(_, summary)| CheckpointStatus::from(&summary)) })
    }

    /// Refuses a fork with another number of replicas, which would otherwise be taken for the
    /// cluster.
    fn check_replicas(&self, superblock: &SuperBlock) -> Result<()> {
        let Some((name, summary)) = self.checked.repository.newest_checkpoint()?.best else { return Ok(()) };
        if summary.replica_count == superblock.replica_count() {
            return Ok(());
        }
        Err(Error::input(format!(
            "{}: it is of a cluster of {} replicas, {} of one of {}: a fork to look into (--solo) needs a repository of its own",
            self.plan.data_file.display(),
            superblock.replica_count(),
            name.object(),
            summary.replica_count
        )))
    }
}

/// Checks that the stored log has no hole up to `stored_op`. A replica that is behind what is
/// stored does not read again what is already there, so all of it must be there. Segments after a
/// hole may be what a killed agent left.
fn check_whole(repositories: &[&Repository], timeline: u32, after_op: u64, stored_op: u64) -> Result<()> {
    let mut reach_op = after_op;
    loop {
        let before_op = reach_op;
        for repository in repositories {
            reach_op = reach_op.max(LogIndex::list(repository, &Lineage::only(timeline), reach_op)?.reach(reach_op));
        }
        if reach_op >= stored_op {
            return Ok(());
        }
        if reach_op == before_op {
            return Err(Error::try_again(format!(
                "op {} is not stored, what comes after it is, and the replica has not come so far yet: waiting for it",
                reach_op.saturating_add(1)
            )));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
