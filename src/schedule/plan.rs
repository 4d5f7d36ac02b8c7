//! All jobs of an agent, and which of them may run now.
//!
//! Flow: whoever runs the jobs of a lane calls [`Schedule::turn`] once in a while, begins and ends
//! the jobs that it returns, and reports that ([`Schedule::begin`], [`Schedule::end`]). One job
//! runs in a lane at a time. Of several that are due, the one that was asked for goes first, then
//! the one that has waited longest. Jobs of the cluster begin only where the agent leads, and end
//! where it no longer does.

use super::job::{Decision, Ended, Hold, Moment, Rules, ScheduledJob};
use super::state::{JobState, Why};
use std::collections::BTreeMap;

/// Which jobs wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// What makes backups: nothing else may delay it. While one of them runs, maintenance pauses.
    Backup,
    /// What looks after backups, and may take hours.
    Maintenance,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Lane; 2] = [Lane::Backup, Lane::Maintenance];
}

/// The state of the agent that its jobs depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// It leads, so the cluster's jobs belong to it.
    pub leads: bool,
    /// It knows what ran before it became the leader.
    pub knows: bool,
}

/// What is to be done in a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// The job that begins now, and why.
    pub begin: Option<(String, Why)>,
    /// Jobs that run and must end.
    pub stop: Vec<String>,
}

#[derive(Debug, Clone)]
struct Entry {
    job: ScheduledJob,
    lane: Lane,
    is_cluster_wide: bool,
}

/// The jobs.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    entries: Vec<Entry>,
}

impl Schedule {
    /// Adds a job, with what is remembered of it.
    pub fn add(&mut self, rules: Rules, lane: Lane, is_cluster_wide: bool, state: JobState, now: Moment) {
        self.entries.push(Entry { job: ScheduledJob::new(rules, state, now), lane, is_cluster_wide });
    }

    /// All jobs, in the order in which they were added.
    pub fn jobs(&self) -> impl Iterator<Item = &ScheduledJob> {
        self.entries.iter().map(|entry| &entry.job)
    }

    /// One job.
    pub fn job(&self, name: &str) -> Option<&ScheduledJob> {
        self.jobs().find(|job| job.rules().name == name)
    }

    /// One job, to change it.
    pub fn job_mut(&mut self, name: &str) -> Option<&mut ScheduledJob> {
        self.entries.iter_mut().map(|entry| &mut entry.job).find(|job| job.rules().name == name)
    }

    /// Whether a job belongs to the cluster, and so to the agent that leads.
    pub fn is_cluster_wide(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.job.rules().name == name && entry.is_cluster_wide)
    }

    /// What is remembered, by name.
    pub fn states(&self) -> BTreeMap<String, JobState> {
        self.jobs().map(|job| (job.rules().name.clone(), job.state().clone())).collect()
    }

    /// Decides for the jobs of a lane that the caller runs, by `runs`. The others keep the lane
    /// busy, and are left to whoever runs them. `wish` is why something else wants a job now.
    pub fn turn(
        &mut self,
        lane: Lane,
        now: Moment,
        standing: Standing,
        runs: impl Fn(&str) -> bool,
        wish: impl Fn(&str) -> Option<String>,
    ) -> Turn {
        let mut turn = Turn::default();
        let mut ready = Vec::new();
        let mut is_busy = false;
        for entry in self.entries.iter_mut().filter(|entry| entry.lane == lane) {
            let (hold, name) = (hold(entry, standing), entry.job.rules().name.clone());
            if !runs(&name) {
                is_busy |= entry.job.is_running();
                continue;
            }
            match entry.job.look(now, hold.as_ref(), wish(&name).as_deref()) {
                Decision::Begin { why, since_ns } => ready.push(((why != Why::Asked, since_ns), name, why)),
                Decision::Wait => {}
                Decision::Goes => is_busy = true,
                Decision::Stop => {
                    is_busy = true;
                    turn.stop.push(name);
                }
            }
        }
        if !is_busy {
            turn.begin = ready.into_iter().min_by_key(|(order, _, _)| *order).map(|(_, name, why)| (name, why));
        }
        turn
    }

    /// A job begins.
    pub fn begin(&mut self, name: &str, now: Moment, why: Why) {
        if let Some(job) = self.job_mut(name) {
            job.begin(now, why);
        }
    }

    /// A job has ended.
    pub fn end(&mut self, name: &str, now: Moment, ended: Ended) {
        if let Some(job) = self.job_mut(name) {
            job.end(now, ended);
        }
    }
}

fn hold(entry: &Entry, standing: Standing) -> Option<Hold> {
    match (entry.is_cluster_wide, standing) {
        (true, Standing { leads: false, .. }) => Some(Hold::Elsewhere),
        (true, Standing { knows: false, .. }) => Some(Hold::NotYet("what ran before is being looked up".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
