//! The agent's status: a small document that it writes every second, for `amber status`, scripts
//! and exporters.
//!
//! Flow: [`AgentStatus::write`] replaces `status.json` in the state directory atomically.
//! [`AgentStatus::read`] reads it without any other contact with the agent. A reader gives a
//! missing key its zero and ignores an unknown key, so that programs of two releases understand
//! each other.

use super::alert::Alert;
use crate::error::{Error, Result};
use crate::host::Disk;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// The document's name in the state directory.
pub const STATUS_FILE: &str = "status.json";
/// The name under which it is written before it replaces the old one.
const STATUS_FILE_NEW: &str = "status.json.new";
/// A status older than this says nothing about now. It is written every second, and a loaded
/// machine may be late.
pub const STALE_AFTER_NS: u64 = 10_000_000_000;

/// What the agent is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It opens the repository and joins the WAL ring to what the repository holds.
    #[default]
    Starting,
    /// It ships the log.
    Leading,
    /// Another agent ships the log; this one takes over when that one falls silent.
    StandingBy,
    /// It leads, but not as it should: see the alerts.
    Degraded,
    /// It sends what waits, and ends.
    Stopping,
    /// A state of a newer release.
    #[serde(other)]
    Unknown,
}

impl AgentState {
    /// The state in words.
    pub fn text(self) -> &'static str {
        match self {
            AgentState::Starting => "starting",
            AgentState::Leading => "leading",
            AgentState::StandingBy => "standing by",
            AgentState::Degraded => "degraded",
            AgentState::Stopping => "stopping",
            AgentState::Unknown => "unknown",
        }
    }
}

/// Ops that the repository does not hold and never will.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GapStatus {
    /// The first missing op.
    pub first_op: u64,
    /// The last missing op.
    pub last_op: u64,
    /// When it was noticed, in nanoseconds since the epoch.
    pub noticed_ns: u64,
    /// Why the ops are missing.
    pub reason: String,
}

/// Who ships the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseStatus {
    /// The name that the holder gives itself.
    pub holder: String,
    /// The fencing number: the holder of a higher one has taken over from that of a lower one.
    pub fence: u64,
    /// This agent is the holder.
    pub is_ours: bool,
}

/// A checkpoint in the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointStatus {
    /// Its op.
    pub op: u64,
    /// Its timeline.
    pub timeline: u32,
    /// When it was complete, in nanoseconds since the epoch.
    pub ended_ns: u64,
}

/// A run that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningStatus {
    /// When it began.
    pub started_ns: u64,
    /// What it is doing, in a few words.
    pub step: String,
    /// How many bytes of the step are done.
    pub position_bytes: u64,
    /// How many bytes the step has; 0 while that is not known.
    pub total_bytes: u64,
}

/// A run that is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedStatus {
    /// Its id, 16 hexadecimal digits.
    pub run: String,
    /// The job that it belongs to.
    pub job: String,
    /// When it began.
    pub started_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
    /// Whether it succeeded.
    pub completed: bool,
    /// How many bytes it stored.
    pub stored_bytes: u64,
    /// Why it failed, and what to do.
    pub reason: String,
}

/// A job of the schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobStatus {
    /// Its name: `checkpoint`, `verification` and so on.
    pub name: String,
    /// What it does, in a sentence for people.
    pub title: String,
    /// When it runs, in words.
    pub cadence: String,
    /// Somebody has paused it.
    pub is_paused: bool,
    /// The run that is under way.
    pub running: Option<RunningStatus>,
    /// When it is due next; `None` while it is paused or another agent leads.
    pub next_ns: Option<u64>,
    /// Why it is due then, in words.
    pub next_reason: String,
    /// The newest run that is over.
    pub last: Option<EndedStatus>,
    /// When the newest run that succeeded ended.
    pub last_success_ns: Option<u64>,
    /// Runs that failed since then.
    pub failures_in_a_row: u32,
    /// After how many seconds without a success somebody should know; `None` where that is no
    /// matter.
    #[serde(default)]
    pub stale_after_s: Option<u64>,
    /// What is the matter then: "The repository was last verified".
    #[serde(default)]
    pub stale_text: String,
    /// What to do then.
    #[serde(default)]
    pub stale_advice: String,
    /// What the newest run found or did, in a few words; empty where its end says all.
    #[serde(default)]
    pub outcome: String,
}

/// What the newest verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerificationStatus {
    /// When it ended.
    pub ended_ns: u64,
    /// Nothing was wrong.
    pub is_whole: bool,
    /// Every block was opened, not only digested.
    pub is_full: bool,
    /// How many backups there are.
    pub backups: u64,
    /// How many of these are intact.
    pub backups_whole: u64,
    /// Objects that are missing or damaged.
    pub problems: u64,
}

/// The events on their way to a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventsStatus {
    /// Records that wait in the outbox for the repository or the ledger.
    pub waiting: u64,
    /// Since when the oldest of them has been waiting.
    pub oldest_ns: Option<u64>,
    /// Events delivered since the agent began.
    pub delivered: u64,
    /// Why they wait; empty while none waits.
    pub reason: String,
}

/// An op range that can be restored, without a gap from the first op to the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RangeStatus {
    /// The timeline of the ops.
    pub timeline: u32,
    /// The first op.
    pub first_op: u64,
    /// Its time by the cluster's clock; 0 where it is not known.
    pub first_timestamp_ns: u64,
    /// The last op.
    pub last_op: u64,
    /// Its time by the cluster's clock; 0 where it is not known.
    pub last_timestamp_ns: u64,
}

/// How much the repository holds of one kind of object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageStatus {
    /// The kind: `checkpoints`, `log`, `files` and so on.
    pub class: String,
    /// How many objects there are.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

/// What a tier aims for, and what it met when that was last looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectiveStatus {
    /// The tier.
    pub tier: String,
    /// The worst recovery point since the look before, in seconds; `None` where nothing is backed
    /// up.
    pub recovery_point_seconds: Option<f64>,
    /// What it may be.
    pub recovery_point_objective_seconds: f64,
    /// How long a restore took, or is expected to take.
    pub recovery_time_seconds: Option<f64>,
    /// What it may take.
    pub recovery_time_objective_seconds: f64,
    /// Whether a restore was measured.
    pub is_measured: bool,
    /// Whether the newest state is damaged, so that no restore of it succeeds.
    pub is_damaged: bool,
}

impl ObjectiveStatus {
    /// Whether what was aimed for was not met.
    pub fn is_missed(&self) -> bool {
        let beyond = |found: Option<f64>, limit: f64| found.is_some_and(|found| found > limit);
        self.is_damaged
            || beyond(self.recovery_point_seconds, self.recovery_point_objective_seconds)
            || beyond(self.recovery_time_seconds, self.recovery_time_objective_seconds)
    }
}

/// How the store has answered since the agent began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// Attempts of requests.
    pub attempts: u64,
    /// Of these, repetitions of an attempt that failed.
    pub retries: u64,
    /// Answers that asked to slow down.
    pub slow_downs: u64,
    /// Attempts without a complete answer.
    pub lost: u64,
}

/// What can start and pause jobs: the scheduler, on behalf of the page and of commands.
pub trait Control: Send + Sync {
    /// Runs a job as soon as it can, whatever its schedule says.
    ///
    /// # Errors
    /// [`Error::input`] where there is no such job, [`Error::try_again`] where this agent may not
    /// run it now.
    fn run_now(&self, job: &str) -> Result<()>;

    /// Pauses or resumes a job.
    ///
    /// # Errors
    /// As [`Control::run_now`].
    fn pause(&self, job: &str, is_paused: bool) -> Result<()>;
}

/// The agent's status. Times are nanoseconds since the epoch, by the agent's clock unless they
/// belong to an op.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentStatus {
    /// What it is doing.
    pub state: AgentState,
    /// The cluster's id in decimal, as text because it has 128 bits; empty until it is known.
    pub cluster: String,
    /// The replica's index.
    pub replica: u8,
    /// The timeline that is shipped.
    pub timeline: u32,
    /// The agent's process.
    pub pid: u32,
    /// The machine's name, if it has one.
    pub host: Option<String>,
    /// When the agent began.
    pub began_ns: u64,
    /// When this was written.
    pub written_ns: u64,
    /// Every op up to this one is durable in the repository, gaps aside.
    pub durable_op: u64,
    /// Its time, by the cluster's clock.
    pub durable_timestamp_ns: u64,
    /// The newest op that was read.
    pub head_op: u64,
    /// Its time, by the cluster's clock.
    pub head_timestamp_ns: u64,
    /// The newest op that is known to be committed.
    pub commit_known_op: u64,
    /// How long the oldest op that is not durable has been waiting, in milliseconds; 0 when all ops
    /// are durable.
    pub lag_ms: u64,
    /// Ops that were read and are not durable.
    pub lag_ops: u64,
    /// The lag beyond which there is an alert (`lag_alarm_ms` of the configuration); 0 where it is
    /// not known.
    pub lag_alarm_ms: u64,
    /// Segments that wait for the store in memory.
    pub backlog_segments: u64,
    /// Their sealed bytes.
    pub backlog_bytes: u64,
    /// Segments that wait for the store on disk.
    pub spool_segments: u64,
    /// Their sealed bytes.
    pub spool_bytes: u64,
    /// Gaps of this timeline, the oldest first.
    pub gaps: Vec<GapStatus>,
    /// Which agent ships; `None` until that is known.
    pub lease: Option<LeaseStatus>,
    /// CPU time of the agent since the previous status, in percent of the time of all cores that it
    /// may use ([`super::usage::CpuShare`]). 100 is every core kept busy; on four cores, 0.5 % of
    /// one core is 0.125.
    pub cpu_percent: f64,
    /// The same over the last ten seconds: what is compared with the budget.
    pub cpu_share_10s_percent: f64,
    /// CPU time that the log and everything else but bulk work took in the last minute, in percent
    /// of the machine.
    pub cpu_log_percent: f64,
    /// `cpu_budget_percent` of the configuration; 0 where there is none.
    pub cpu_budget_percent: u32,
    /// How long bulk work (checkpoints, merging) has waited for the limits since the agent began.
    /// Threads that wait at the same time count separately.
    pub bulk_waited_seconds: f64,
    /// The forecast of what will not fit into the limits, and which number to write instead; empty
    /// if everything fits.
    pub outlook: String,
    /// CPU time of the agent since it began.
    pub cpu_seconds: f64,
    /// The agent's resident memory.
    pub memory_bytes: u64,
    /// The newest checkpoint in the repository.
    pub last_checkpoint: Option<CheckpointStatus>,
    /// When and why the next checkpoint comes, in words.
    pub next_checkpoint_reason: String,
    /// What needs attention, in sentences.
    pub alerts: Vec<Alert>,
    /// Segments shipped since the agent began.
    pub segments_shipped: u64,
    /// Bytes of log read since the agent began.
    pub log_bytes_read: u64,
    /// Bytes stored since the agent began.
    pub stored_bytes: u64,
    /// The store answered the last request.
    pub store_reachable: bool,
    /// The jobs of the schedule.
    pub jobs: Vec<JobStatus>,
    /// The newest runs of all jobs, the newest first.
    pub recent: Vec<EndedStatus>,
    /// What the newest verification found.
    pub verification: Option<VerificationStatus>,
    /// When the newest drill that succeeded ended.
    pub last_drill_ns: Option<u64>,
    /// Events on their way to a ledger; `None` if no ledger is configured.
    pub events: Option<EventsStatus>,
    /// The op ranges that can be restored.
    pub restorable: Vec<RangeStatus>,
    /// What the repository holds, by kind.
    pub storage: Vec<StorageStatus>,
    /// What was aimed for and met, tier by tier.
    pub objectives: Vec<ObjectiveStatus>,
    /// How the store answers.
    pub store: StoreStatus,
    /// How long a restore to the newest op would take, in seconds; 0 while that is not known.
    pub restore_estimate_seconds: u64,
    /// The URL of the page; empty if it is not served.
    pub page: String,
}

impl AgentStatus {
    /// Replaces the document in the state directory. Everybody who may enter the directory can read
    /// it: it holds no secret.
    ///
    /// # Errors
    /// [`Error::try_again`] if the file cannot be written.
    pub fn write(&self, disk: Disk, directory: &Path) -> Result<()> {
        let (new, path) = (directory.join(STATUS_FILE_NEW), directory.join(STATUS_FILE));
        let failed =
            |error: std::io::Error| Error::try_again(format!("{}: the status cannot be written: {error}", path.display())).caused_by(error);
        let text = serde_json::to_vec(self).map_err(|error| Error::bug(format!("the status is no JSON: {error}")).caused_by(error))?;
        let mut file = disk.create(&new, 0o644).map_err(failed)?;
        file.set_mode(0o644).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        disk.rename(&new, &path).map_err(failed)
    }

    /// Extends the range that is being shipped to the durable op, or up to a gap.
    pub fn extend_restorable(&mut self) {
        let (timeline, durable_op) = (self.timeline, self.durable_op);
        let Some(range) = self.restorable.iter_mut().rev().find(|range| range.timeline == timeline) else { return };
        let behind = self.gaps.iter().filter(|gap| gap.last_op > range.last_op && gap.first_op <= durable_op).map(|gap| gap.first_op).min();
        let end_op = behind.map_or(durable_op, |first_op| first_op.saturating_sub(1));
        if end_op > range.last_op {
            range.last_op = end_op;
            // The time of an op before a gap is not known here; the next scan of the repository
            // finds it.
            range.last_timestamp_ns = if end_op == durable_op { self.durable_timestamp_ns } else { 0 };
        } else if end_op == range.last_op && self.durable_timestamp_ns > 0 {
            range.last_timestamp_ns = self.durable_timestamp_ns;
        }
    }

    /// Reads the document of a state directory.
    ///
    /// # Errors
    /// [`Error::try_again`] where there is none (yet), [`Error::input`] where the directory is
    /// missing or may not be read.
    pub fn read(disk: Disk, directory: &Path) -> Result<AgentStatus> {
        let path = directory.join(STATUS_FILE);
        let text = disk.read(&path, u64::MAX).map_err(|error| match error.kind() {
            ErrorKind::NotFound if disk.is_folder(directory) => Error::try_again(format!(
                "{}: there is no status: no agent has run with this state directory; `amber agent --config FILE` starts one",
                path.display()
            )),
            _ => {
                Error::input(format!("{}: {error}: name the state_directory of the agent's configuration", path.display())).caused_by(error)
            }
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            Error::try_again(format!("{}: this is no status ({error}): a running agent replaces it within a second", path.display()))
                .caused_by(error)
        })
    }

    /// Whether it is too old to describe the present: written more than [`STALE_AFTER_NS`] before
    /// `now_ns` (or after it, where a clock was set back).
    pub fn is_stale(&self, now_ns: u64) -> bool {
        self.written_ns.abs_diff(now_ns) > STALE_AFTER_NS
    }
}

#[cfg(test)]
mod tests;
