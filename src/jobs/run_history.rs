//! What ran before: the newest records of runs in the repository, whichever agent or command made
//! them.
//!
//! Flow: [`RunHistory::look`] lists the records and reads the newest of them that it has not yet
//! read, until it has enough of them and has found a run of every job that it was asked for. An
//! agent that begins to lead learns from it what its predecessor did, so that each job runs once in
//! the cluster.

use crate::error::{Kind, Result};
use crate::monitor::status::{EndedStatus, VerificationStatus};
use crate::repository::Repository;
use crate::repository::name::{RUNS, RunId, RunName};
use crate::repository::run_record::{COMMAND_LINE, Run, RunRecord, Work};
use std::collections::BTreeMap;

/// Runs that the status shows.
pub const RECENT_MAX: usize = 50;
/// The most runs that are read to find one of every job.
const READ_MAX: usize = 500;
/// Names in one listing request.
const LIST_PAGE: usize = 1000;

/// The newest runs.
#[derive(Debug, Default)]
pub struct RunHistory {
    /// By number, so the oldest comes first.
    runs: BTreeMap<RunId, RunRecord>,
}

impl RunHistory {
    /// Reads what the repository holds now.
    ///
    /// # Errors
    /// When the store cannot be read. A damaged record is skipped; verification reports it.
    pub fn look(&mut self, repository: &Repository, jobs: &[&str]) -> Result<()> {
        let listed = newest(repository)?;
        let mut runs = BTreeMap::new();
        let mut missing: Vec<&str> = jobs.to_vec();
        for (run, has_ended) in listed.into_iter().rev() {
            let known = self.runs.remove(&run).filter(|known| known.outcome.is_some() || !has_ended);
            let record = match known {
                Some(known) => known,
                None => match repository.run_record(&RunName { run, has_ended }) {
                    Ok(record) => record,
                    Err(error) if error.kind == Kind::Damaged => continue,
                    Err(error) => return Err(error),
                },
            };
            missing.retain(|job| *job != record.run.job);
            runs.insert(run, record);
            if runs.len() >= RECENT_MAX && missing.is_empty() {
                break;
            }
        }
        self.runs = runs;
        Ok(())
    }

    /// The runs, the newest first.
    pub fn runs(&self) -> impl Iterator<Item = (RunId, &RunRecord)> {
        self.runs.iter().rev().map(|(run, record)| (*run, record))
    }

    /// The newest run of a job.
    pub fn newest_of(&self, job: &str) -> Option<(RunId, &RunRecord)> {
        self.runs().find(|(_, record)| record.run.job == job)
    }

    /// When the newest run of a job that did its work ended. A command that did the same work
    /// counts, and so does a verification that found damage.
    pub fn last_done_ns(&self, job: &str, work: Work) -> Option<u64> {
        let is_of_job = |run: &Run| run.job == job || (run.job == COMMAND_LINE && run.work == work);
        let is_done = |record: &RunRecord| {
            let outcome = record.outcome.as_ref().filter(|outcome| outcome.completed || verification_of(record).is_some());
            outcome.map(|outcome| outcome.ended_ns)
        };
        self.runs().filter(|(_, record)| is_of_job(&record.run)).find_map(|(_, record)| is_done(record))
    }

    /// When the newest drill that succeeded ended.
    pub fn last_drill_ns(&self) -> Option<u64> {
        let mut drills = self.runs().filter(|(_, record)| record.run.work == Work::Drill);
        drills.find_map(|(_, record)| record.outcome.as_ref().filter(|outcome| outcome.completed).map(|outcome| outcome.ended_ns))
    }

    /// What the newest verification found, if one has finished.
    pub fn verification(&self) -> Option<VerificationStatus> {
        self.runs().find_map(|(_, record)| verification_of(record))
    }
}

/// The newest runs by their names, the oldest of them first, and whether each has ended.
fn newest(repository: &Repository) -> Result<BTreeMap<RunId, bool>> {
    let mut newest = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = repository.list_page(RUNS, after.as_deref(), LIST_PAGE)?;
        for name in page.iter().filter_map(|listed| RunName::parse(&listed.name)) {
            *newest.entry(name.run).or_insert(false) |= name.has_ended;
            if newest.len() > READ_MAX {
                newest.pop_first();
            }
        }
        match page.last() {
            Some(last) if page.len() == LIST_PAGE => after = Some(last.name.clone()),
            _ => return Ok(newest),
        }
    }
}

/// A run that has ended, as the status shows it.
pub fn ended(run: RunId, record: &RunRecord) -> Option<EndedStatus> {
    let outcome = record.outcome.as_ref()?;
    Some(EndedStatus {
        run: run.to_string(),
        job: record.run.job.clone(),
        started_ns: record.run.started_ns,
        ended_ns: outcome.ended_ns,
        completed: outcome.completed,
        stored_bytes: outcome.stored_bytes,
        reason: outcome.reason.clone(),
    })
}

/// What a verification found; `None` if it ended before it found anything.
pub fn verification_of(record: &RunRecord) -> Option<VerificationStatus> {
    let outcome = record.outcome.as_ref().filter(|_| record.run.work == Work::Verification)?;
    let figure = |name: &str| outcome.details.get(name).and_then(serde_json::Value::as_u64);
    Some(VerificationStatus {
        ended_ns: outcome.ended_ns,
        is_whole: outcome.completed,
        is_full: outcome.details.get("is_full").and_then(serde_json::Value::as_bool).unwrap_or(false),
        backups: figure("backups")?,
        backups_whole: figure("backups_whole")?,
        problems: figure("problems")?,
    })
}

#[cfg(test)]
mod tests;
