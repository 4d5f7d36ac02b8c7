//! Ends the runs of this agent that were killed: they have a beginning and no end, which is added
//! when the agent starts again.
//!
//! A run whose backup is in the repository is completed, because the manifest is written last. Any
//! other run has failed. A record that waits in the outbox counts as recorded. Only this agent's
//! own runs are ended, recognised by its token, because another agent or command may still be
//! working on its run.

use super::recorder::Recorder;
use crate::error::{Kind, Result};
use crate::repository::name::{self, RunId, RunName};
use crate::repository::run_record::{Run, RunOutcome, RunRecord, RunSink, Scope};
use crate::tier::{backups_by_run, facts_of};
use std::collections::{BTreeMap, BTreeSet};

/// The reason that is recorded for a run whose process was killed.
pub const KILLED: &str = "the agent ended before the run did";

/// Adds the ends that are missing.
///
/// # Errors
/// [`Error::try_again`] when the store cannot be read now. Ends that were added before are kept,
/// and the others are added by the next try.
pub(super) fn reconcile(recorder: &Recorder) -> Result<()> {
    for (run, begun) in open_runs(recorder)? {
        let (scope, outcome) = end_of(recorder, run, &begun)?;
        tracing::warn!("run {run} of job {} was killed: {}", begun.job, if outcome.completed { "its backup is intact" } else { KILLED });
        // What the disk does not take now is kept in memory, and reported.
        let _ = recorder.put(run, &RunRecord { run: Run { scope, ..begun }, outcome: Some(outcome) });
    }
    recorder.forget_begun();
    Ok(())
}

/// This agent's runs that have begun and not ended, and that are not in progress in this process.
fn open_runs(recorder: &Recorder) -> Result<BTreeMap<RunId, Run>> {
    let (mut open, mut ended) = (BTreeMap::new(), BTreeSet::new());
    recorder.outbox.each(&mut |entry| {
        if entry.record.outcome.is_some() {
            ended.insert(entry.run);
        } else {
            open.insert(entry.run, entry.record.run);
        }
    })?;
    let repository = &recorder.repository;
    let mut begun = BTreeSet::new();
    for name in repository.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)) {
        if name.has_ended {
            ended.insert(name.run)
        } else {
            begun.insert(name.run)
        };
    }
    open.retain(|run, _| !ended.contains(run));
    for run in begun.into_iter().filter(|run| !ended.contains(run)) {
        match repository.run_record(&RunName { run, has_ended: false }) {
            Ok(record) => drop(open.insert(run, record.run)),
            Err(error) if error.kind == Kind::Damaged => tracing::warn!("{error}; `amber verify` says more"),
            Err(error) => return Err(error),
        }
    }
    open.retain(|run, begun| begun.by == recorder.by() && !recorder.has_begun(*run));
    Ok(open)
}

fn end_of(recorder: &Recorder, run: RunId, begun: &Run) -> Result<(Scope, RunOutcome)> {
    let now_ns = recorder.repository.clock().now_ns();
    let stored = backups_by_run(&recorder.repository)?.remove(&run);
    match stored.map(|stored| facts_of(&recorder.repository, &stored)) {
        Some(Ok(left)) => Ok((left.run.scope, left.outcome)),
        None => Ok((begun.scope, RunOutcome::failed(now_ns, KILLED))),
        Some(Err(error)) if error.kind == Kind::Damaged => {
            Ok((begun.scope, RunOutcome::failed(now_ns, format!("{KILLED}, and its backup cannot be read: {error}"))))
        }
        Some(Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
