//! All jobs. Each is one [`Registration`], from which schedule, records, status, page, metrics and
//! commands follow. None of them knows a job by its name.
//!
//! A job that is added here can be configured as `[jobs.NAME]`, is listed by `amber jobs`, and can
//! be run, paused and resumed.

use super::{catalog, objectives, verification};
use crate::config::AgentConfig;
use crate::config::jobs::CHECKPOINT_JOB;
use crate::error::{Error, Result};
use crate::jobs::job::Task;
use crate::repository::run_record::{RunOutcome, Scope, Work};
use crate::schedule::cadence::{Cadence, duration_text};
use crate::schedule::job::{Retry, Rules};
use crate::schedule::plan::Lane;
use std::sync::Arc;
use std::time::Duration;

/// How often the repository is verified.
pub const VERIFICATION_INTERVAL: Duration = Duration::from_secs(86_400);
/// Verification is daily: two days without one is a day too many.
pub const VERIFICATION_STALE: Duration = Duration::from_secs(2 * 86_400);
/// How often objectives are looked at.
pub const OBJECTIVES_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// How often the catalog is backed up.
pub const CATALOG_INTERVAL: Duration = Duration::from_secs(86_400);

/// A failed checkpoint is retried until one succeeds, because without it the log to replay only
/// grows.
const CHECKPOINT_RETRY: Retry = Retry { first: Duration::from_secs(2), most: Duration::from_secs(900), times: None };
/// Everything else is retried within the next hours, and then waits until it is due.
const RETRY: Retry = Retry { first: Duration::from_secs(60), most: Duration::from_secs(3600), times: Some(5) };

/// What runs a job.
#[derive(Clone)]
pub enum Runner {
    /// The session runs it, because the job must know the history that is shipped.
    Session,
    /// The scheduler runs it.
    Scheduler(Task),
}

/// Who runs jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerKind {
    /// The session.
    Session,
    /// The scheduler.
    Scheduler,
}

impl Runner {
    /// Who that is.
    pub fn by(&self) -> RunnerKind {
        match self {
            Runner::Session => RunnerKind::Session,
            Runner::Scheduler(_) => RunnerKind::Scheduler,
        }
    }
}

/// When a job has not succeeded for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staleness {
    /// How long that is.
    pub after: Duration,
    /// What is the matter then: "The repository was last verified".
    pub text: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// A job.
#[derive(Clone)]
pub struct Registration {
    /// Its name in configuration, commands and records.
    pub name: &'static str,
    /// What it does, in a sentence for people.
    pub title: &'static str,
    /// The kind of work, as its records name it.
    pub work: Work,
    /// How much its backups hold by themselves.
    pub scope: Scope,
    /// When it is due, unless the configuration says otherwise.
    pub cadence: Cadence,
    /// How failures are retried.
    pub retry: Retry,
    /// Which jobs it waits for.
    pub lane: Lane,
    /// How old its newest success may be before somebody should know.
    pub staleness: Option<Staleness>,
    /// What its newest run found or did, in a few words; empty where its end says all.
    pub outcome_text: fn(&RunOutcome) -> String,
    /// Whether it runs once in a cluster, on the agent that leads, and not on every agent.
    pub is_cluster_wide: bool,
    /// What runs it.
    pub runner: Runner,
}

/// For jobs whose end says all.
fn no_text(_: &RunOutcome) -> String {
    String::new()
}

/// All jobs.
pub fn registrations(plan: &AgentConfig) -> Vec<Registration> {
    vec![
        Registration {
            name: CHECKPOINT_JOB,
            title: "backs up a checkpoint of the replica, so that a restore need not replay more of the log than its time allows",
            work: Work::Tigerbeetle,
            scope: Scope::Incremental,
            cadence: Cadence::Interval(plan.checkpoint.interval),
            retry: CHECKPOINT_RETRY,
            lane: Lane::Backup,
            staleness: None,
            outcome_text: no_text,
            is_cluster_wide: true,
            runner: Runner::Session,
        },
        Registration {
            name: "verification",
            title: "reads everything that the repository holds, and checks that it is what was stored",
            work: Work::Verification,
            scope: Scope::Full,
            cadence: Cadence::Interval(VERIFICATION_INTERVAL),
            retry: RETRY,
            lane: Lane::Maintenance,
            staleness: Some(Staleness {
                after: VERIFICATION_STALE,
                text: "The repository was last verified",
                advice: "`amber verify` does it now.",
            }),
            outcome_text: verification::outcome_text,
            is_cluster_wide: true,
            runner: Runner::Scheduler(Arc::new(verification::run)),
        },
        Registration {
            name: "catalog",
            title: "backs up the catalog, so that it need not be made again from every record",
            work: Work::Catalog,
            scope: Scope::Full,
            cadence: Cadence::Interval(CATALOG_INTERVAL),
            retry: RETRY,
            // It may take a while, and what it copies can be made again: a checkpoint does not
            // wait for it.
            lane: Lane::Maintenance,
            staleness: None,
            outcome_text: no_text,
            is_cluster_wide: true,
            runner: Runner::Scheduler(Arc::new(catalog::run)),
        },
        Registration {
            name: "objectives",
            title: "compares recovery points and recovery times with what was aimed for, and looks for backups that nothing has verified",
            work: Work::Objectives,
            scope: Scope::Full,
            cadence: Cadence::Interval(OBJECTIVES_INTERVAL),
            retry: RETRY,
            lane: Lane::Maintenance,
            staleness: None,
            outcome_text: objectives::outcome_text,
            is_cluster_wide: true,
            runner: Runner::Scheduler(Arc::new(objectives::run)),
        },
    ]
}

impl Registration {
    /// The rules of the job under a configuration. `salt` tells repositories apart.
    ///
    /// # Errors
    /// [`Error::input`] with the line, where jitter and cadence do not fit together.
    pub fn rules(&self, plan: &AgentConfig, salt: &[u8]) -> Result<Rules> {
        let written = plan.jobs.get(self.name);
        let cadence = written.and_then(|job| job.cadence.clone()).unwrap_or_else(|| self.cadence.clone());
        let jitter = written.map_or(Duration::ZERO, |job| job.jitter);
        if let (Cadence::Interval(interval), Some(job)) = (&cadence, written)
            && jitter >= *interval
        {
            let most = duration_text(*interval);
            return Err(job.origin.refuse(format!(
                "jitter_s must be less than the interval of {most}, because the job would be due again before it begins"
            )));
        }
        Ok(Rules {
            name: self.name.to_owned(),
            cadence,
            jitter,
            salt: salt.to_vec(),
            retry: self.retry,
            is_enabled: written.is_none_or(|job| job.is_enabled),
        })
    }
}

/// Checks what the configuration says of the jobs.
///
/// # Errors
/// [`Error::input`] with the line; where there is no job of a name, with the nearest name.
pub fn check(plan: &AgentConfig, registrations: &[Registration]) -> Result<()> {
    let names: Vec<&str> = registrations.iter().map(|registration| registration.name).collect();
    if let Some((name, job)) = plan.jobs.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        return Err(job.origin.refuse(unknown_job(name, &names)));
    }
    registrations.iter().try_for_each(|registration| registration.rules(plan, &[]).map(|_| ()))
}

/// The error for a job name that does not exist.
pub fn unknown_job(name: &str, names: &[&str]) -> Error {
    let meant = crate::config::nearest(name, names.iter().copied()).map_or_else(String::new, |near| format!("did you mean {near}? "));
    Error::input(format!("there is no job {name:?}: {meant}The jobs are {}", names.join(", ")))
}
