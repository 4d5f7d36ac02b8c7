//! Whether everything is safe right now, and if not, why and what to do. The page and `amber
//! status` begin with it.
//!
//! Flow: [`verdict`] goes through a status once and notes a [`Reason`] for whatever somebody should
//! know. The worst of them is the verdict. It depends on nothing but the status and the clock, so
//! the terminal and the page never differ. Alerts are sentences already, and what they say is not
//! repeated.

use super::alert::{Alert, Topic};
use super::status::{AgentState, AgentStatus, JobStatus};
use crate::monitor::level::Level;
use crate::units::bytes_text;
use serde::Serialize;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const DAY_NS: u64 = 24 * 60 * MINUTE_NS;
/// A job that is late by more than this is not just waiting for its turn.
const OVERDUE_AFTER_NS: u64 = 15 * MINUTE_NS;
/// Drills come every 90 days.
pub const DRILL_OLD_AFTER_NS: u64 = 100 * DAY_NS;
/// Records that wait for longer than this are not just waiting for a retry.
const EVENTS_LATE_AFTER_NS: u64 = 15 * MINUTE_NS;

/// One thing that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// How bad it is.
    pub level: Level,
    /// What it is, a sentence.
    pub text: String,
    /// What to do; empty where the sentence says it.
    pub advice: String,
}

/// The verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The worst of the reasons.
    pub level: Level,
    /// The verdict in a few words.
    pub title: String,
    /// What is stored, in a sentence.
    pub summary: String,
    /// Why, the worst first.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Puts a reason first that the status itself cannot give.
    pub fn add_first(&mut self, reason: Reason) {
        if reason.level > self.level {
            self.level = reason.level;
            self.title = title(AgentState::Unknown, self.level).to_owned();
        }
        self.reasons.insert(0, reason);
    }
}

#[derive(Default)]
struct Reasons(Vec<Reason>);

impl Reasons {
    fn add(&mut self, level: Level, text: impl Into<String>, advice: &str) {
        self.0.push(Reason { level, text: text.into(), advice: advice.to_owned() });
    }
}

/// The verdict on a status, at the time `now_ns` by the clock of the agent's machine.
pub fn verdict(status: &AgentStatus, now_ns: u64) -> Verdict {
    let mut reasons = Reasons::default();
    let mut alerts = status.alerts.clone();
    agent(status, now_ns, &mut reasons);
    log(status, &mut alerts, &mut reasons);
    checkpoints(status, &mut reasons);
    for job in &status.jobs {
        of_job(job, status.began_ns, now_ns, &mut reasons);
    }
    objectives(status, &mut reasons);
    checks(status, now_ns, &mut reasons);
    for alert in alerts {
        reasons.add(alert.level, sentence(&alert.text), &alert.advice);
    }
    let mut reasons = reasons.0;
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.level));
    let level = reasons.first().map(|reason| reason.level).unwrap_or_default();
    Verdict { level, title: title(status.state, level).to_owned(), summary: summary(status), reasons }
}

fn title(state: AgentState, level: Level) -> &'static str {
    match (level, state) {
        (Level::Safe, AgentState::StandingBy) => "Everything is safe; this agent stands by",
        (Level::Safe, _) => "Everything is safe",
        (Level::Attention, AgentState::Starting) => "Starting",
        (Level::Attention, _) => "Safe, but something needs attention",
        (Level::Danger, _) => "Not safe",
    }
}

fn summary(status: &AgentStatus) -> String {
    match (status.durable_op, status.lag_ops) {
        (0, 0) => "Nothing is stored yet.".to_owned(),
        (durable_op, 0) => format!("Every op up to {durable_op} is in the repository; nothing waits."),
        (durable_op, 1) => format!("Every op up to {durable_op} is in the repository; one waits, for {}.", duration_text(status.lag_ms)),
        (durable_op, waiting) => {
            format!("Every op up to {durable_op} is in the repository; {waiting} wait, the oldest for {}.", duration_text(status.lag_ms))
        }
    }
}

fn agent(status: &AgentStatus, now_ns: u64, reasons: &mut Reasons) {
    if status.is_stale(now_ns) {
        let silent_ms = now_ns.abs_diff(status.written_ns) / 1_000_000;
        reasons.add(
            Level::Danger,
            format!("The agent has not said anything for {}: what follows is what it last said.", duration_text(silent_ms)),
            "See whether it runs (systemctl status amber-agent) and what its log says.",
        );
    }
    match status.state {
        AgentState::Starting => reasons.add(Level::Attention, "The agent looks where the log joins what is stored.", ""),
        AgentState::Stopping => reasons.add(Level::Attention, "The agent is stopping: from then on nothing is stored.", ""),
        _ => {}
    }
}

fn log(status: &AgentStatus, alerts: &mut Vec<Alert>, reasons: &mut Reasons) {
    let store_alert = take(alerts, Topic::Store);
    if !status.store_reachable {
        let text = store_alert.map_or_else(|| "The store cannot be reached.".to_owned(), |alert| sentence(&alert.text));
        let waiting = status.backlog_bytes + status.spool_bytes;
        let advice =
            format!("What is new waits on this machine ({}). Check the network, the credentials and the store.", bytes_text(waiting));
        reasons.add(Level::Attention, text, &advice);
    }
    let lag_alert = take(alerts, Topic::Lag);
    if lag_alert.is_some() || status.lag_alarm_ms > 0 && status.lag_ms > status.lag_alarm_ms {
        reasons.add(
            Level::Danger,
            format!(
                "The recovery point is {} old, {} are allowed: a disaster now would lose {} ops.",
                duration_text(status.lag_ms),
                duration_text(status.lag_alarm_ms),
                status.lag_ops
            ),
            "The other reasons say what keeps it back.",
        );
    }
}

fn checkpoints(status: &AgentStatus, reasons: &mut Reasons) {
    let Some(checkpoint) = &status.last_checkpoint else {
        if !matches!(status.state, AgentState::Starting | AgentState::StandingBy) {
            let advice =
                if status.next_checkpoint_reason.is_empty() { String::new() } else { format!("Next: {}.", status.next_checkpoint_reason) };
            reasons.add(Level::Danger, "There is no checkpoint of this history yet: nothing can be restored.", &advice);
        }
        return;
    };
    let open = status.gaps.iter().filter(|gap| gap.last_op > checkpoint.op).count();
    if open > 0 {
        reasons.add(
            Level::Danger,
            format!("The log has {open} {} that no checkpoint has closed yet: what came after cannot be restored.", plural(open, "gap")),
            "A checkpoint closes a gap; the agent takes one as soon as it can.",
        );
    }
}

fn of_job(job: &JobStatus, began_ns: u64, now_ns: u64, reasons: &mut Reasons) {
    stale(job, began_ns, now_ns, reasons);
    if job.failures_in_a_row > 0 {
        let reason = job.last.as_ref().map(|last| last.reason.as_str()).filter(|reason| !reason.is_empty()).unwrap_or("no reason is known");
        let times = if job.failures_in_a_row == 1 { String::new() } else { format!(" {} times in a row", job.failures_in_a_row) };
        reasons.add(Level::Attention, format!("{} failed{times}: {reason}", job.name), "");
    }
    if job.is_paused {
        reasons.add(
            Level::Attention,
            format!("{} is paused.", job.name),
            &format!("Let it go on here, or with `amber resume {}`.", job.name),
        );
    } else if job.running.is_none() && job.next_ns.is_some_and(|next_ns| now_ns.saturating_sub(next_ns) > OVERDUE_AFTER_NS) {
        reasons.add(Level::Attention, format!("{} is overdue.", job.name), "");
    }
}

/// A job that has not succeeded for too long. An agent that has just begun is given that long, too.
fn stale(job: &JobStatus, began_ns: u64, now_ns: u64, reasons: &mut Reasons) {
    let Some(after_s) = job.stale_after_s else { return };
    let age_ns = now_ns.saturating_sub(job.last_success_ns.unwrap_or(began_ns));
    if age_ns <= after_s.saturating_mul(SECOND_NS) {
        return;
    }
    let ago = match job.last_success_ns {
        Some(_) => format!("{} ago", duration_text(age_ns / 1_000_000)),
        None => "never by this agent".to_owned(),
    };
    reasons.add(Level::Attention, format!("{} {ago}.", job.stale_text), &job.stale_advice);
}

/// What was aimed for and not met.
fn objectives(status: &AgentStatus, reasons: &mut Reasons) {
    for tier in status.objectives.iter().filter(|tier| tier.is_missed()) {
        let seconds = |seconds: Option<f64>| seconds.map_or_else(|| "unknown".to_owned(), |seconds| duration_text((seconds * 1e3) as u64));
        let (point, time) = (tier.recovery_point_objective_seconds, tier.recovery_time_objective_seconds);
        let text = format!(
            "{} misses its objectives: the recovery point was {} of {}, a restore takes {} of {}{}.",
            tier.tier,
            seconds(tier.recovery_point_seconds),
            seconds(Some(point)),
            seconds(tier.recovery_time_seconds),
            seconds(Some(time)),
            if tier.is_damaged { ", and its newest state is damaged" } else { "" }
        );
        reasons.add(Level::Attention, text, "`amber history` shows when it was last backed up and restored.");
    }
}

fn checks(status: &AgentStatus, now_ns: u64, reasons: &mut Reasons) {
    let age = |then_ns: u64| now_ns.saturating_sub(then_ns);
    match &status.verification {
        Some(verification) if !verification.is_whole => {
            let (problems, backups) = (verification.problems, verification.backups.saturating_sub(verification.backups_whole));
            reasons.add(
                Level::Danger,
                format!("Verification found {problems} objects that are not what was stored; {backups} backups are damaged."),
                "`amber verify` names them. A new checkpoint stores anew what is missing.",
            );
        }
        _ => {}
    }
    if let Some(drill_ns) = status.last_drill_ns.filter(|drill_ns| age(*drill_ns) > DRILL_OLD_AFTER_NS) {
        let text = format!("The last restore drill was {} days ago.", age(drill_ns) / DAY_NS);
        reasons.add(Level::Attention, text, "A backup is as good as its last restore: try one.");
    }
    if let Some(events) = status.events.as_ref().filter(|events| events.oldest_ns.is_some_and(|oldest| age(oldest) > EVENTS_LATE_AFTER_NS))
    {
        let reason = if events.reason.is_empty() { "no reason is known" } else { events.reason.as_str() };
        reasons.add(
            Level::Attention,
            format!("{} records wait for the repository or the ledger: {reason}", events.waiting),
            "They are kept and delivered in order.",
        );
    }
}

/// Takes the alert of this topic.
fn take(alerts: &mut Vec<Alert>, topic: Topic) -> Option<Alert> {
    let position = alerts.iter().position(|alert| alert.topic == topic)?;
    Some(alerts.remove(position))
}

/// The text as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// A duration for people: `0.4 s`, `12 s`, `5 min`, `3 h`.
pub fn duration_text(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        0..10 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
