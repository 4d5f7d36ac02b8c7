//! An agent's status as text for people: the verdict and its reasons, the figures, jobs, what can
//! be restored, gaps.

use super::output::{facts, table};
use crate::monitor::level::Level;
use crate::monitor::status::{AgentStatus, GapStatus, JobStatus, RangeStatus};
use crate::monitor::verdict::Verdict;
use crate::monitor::verdict::duration_text;
use crate::units::{bytes_text, time_text};

/// The whole text at the time `now_ns`; `runs` says whether the agent is running.
pub(super) fn text(status: &AgentStatus, verdict: &Verdict, runs: bool, now_ns: u64) -> String {
    let mut text = format!("{}. {}\n", verdict.title, verdict.summary);
    for reason in &verdict.reasons {
        let level = match reason.level {
            Level::Safe => "note",
            Level::Attention => "LOOK",
            Level::Danger => "ACT NOW",
        };
        text.push_str(&format!("  {level:7}  {}\n", reason.text));
        if !reason.advice.is_empty() {
            text.push_str(&format!("           {}\n", reason.advice));
        }
    }
    text.push_str(&format!("\n{}", facts(&rows(status, runs, now_ns))));
    for part in [jobs(&status.jobs, now_ns), ranges(&status.restorable), gaps(status)] {
        if !part.is_empty() {
            text.push_str(&format!("\n{part}"));
        }
    }
    text
}

fn rows(status: &AgentStatus, runs: bool, now_ns: u64) -> Vec<(&'static str, String)> {
    let store = if status.store_reachable { "reachable" } else { "NOT REACHABLE" };
    let mut rows = vec![
        ("durable", format!("op {} at {}", status.durable_op, time_text(status.durable_timestamp_ns))),
        ("lag", format!("{} ({} ops behind op {})", seconds(status.lag_ms), status.lag_ops, status.head_op)),
        ("state", if runs { status.state.text().to_owned() } else { format!("not running (was {})", status.state.text()) }),
        ("gaps", if status.gaps.is_empty() { "none".to_owned() } else { format!("{}, see below", status.gaps.len()) }),
        ("store", store.to_owned()),
        ("lease", lease(status)),
        ("backlog", backlog(status)),
        ("checkpoint", checkpoint(status)),
        ("verified", verified(status, now_ns)),
    ];
    if status.restore_estimate_seconds > 0 {
        rows.push(("a restore", format!("would take about {}", duration_text(status.restore_estimate_seconds * 1000))));
    }
    if let Some(drill_ns) = status.last_drill_ns {
        rows.push(("drill", format!("{} ago", age(drill_ns, now_ns))));
    }
    if let Some(events) = &status.events {
        let reason = if events.reason.is_empty() { String::new() } else { format!(": {}", events.reason) };
        rows.push(("events", format!("{} delivered, {} wait{reason}", events.delivered, events.waiting)));
    }
    if !status.storage.is_empty() {
        let kinds = status.storage.iter().map(|kind| format!("{} {} in {}", kind.class, bytes_text(kind.bytes), kind.objects));
        rows.push(("storage", kinds.collect::<Vec<_>>().join(", ")));
    }
    rows.extend(process_rows(status));
    rows
}

fn process_rows(status: &AgentStatus) -> Vec<(&'static str, String)> {
    let shipped = format!(
        "{} segments, {} of log, {} stored",
        status.segments_shipped,
        bytes_text(status.log_bytes_read),
        bytes_text(status.stored_bytes)
    );
    let uses = format!(
        "{:.2} % of the machine, {:.1} CPU s in all, {} of memory",
        status.cpu_percent,
        status.cpu_seconds,
        bytes_text(status.memory_bytes)
    );
    let host = status.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
    let mut rows = vec![
        ("replica", format!("{} of cluster {}, timeline {}", status.replica, status.cluster, status.timeline)),
        ("agent", format!("process {}{host}, since {}", status.pid, time_text(status.began_ns))),
        ("shipped", shipped),
        ("uses", uses),
        ("limits", limits(status)),
    ];
    if !status.page.is_empty() {
        rows.push(("page", status.page.clone()));
    }
    rows.push(("as of", time_text(status.written_ns)));
    rows
}

fn age(then_ns: u64, now_ns: u64) -> String {
    duration_text(now_ns.saturating_sub(then_ns) / 1_000_000)
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

fn lease(status: &AgentStatus) -> String {
    match &status.lease {
        None => "not known yet".to_owned(),
        Some(lease) if lease.is_ours => format!("ours, fence {}", lease.fence),
        Some(lease) => format!("{} ships, fence {}", lease.holder, lease.fence),
    }
}

fn limits(status: &AgentStatus) -> String {
    if status.cpu_budget_percent == 0 {
        return "none".to_owned();
    }
    let used = format!(
        "{:.2} % of the machine in the last 10 s, {} % allowed; bulk work has waited {:.0} s",
        status.cpu_share_10s_percent, status.cpu_budget_percent, status.bulk_waited_seconds
    );
    if status.outlook.is_empty() { used } else { format!("{used}; TOO LOW: {}", status.outlook) }
}

fn backlog(status: &AgentStatus) -> String {
    if status.backlog_segments + status.spool_segments == 0 {
        return "none".to_owned();
    }
    let (memory, disk) = (bytes_text(status.backlog_bytes), bytes_text(status.spool_bytes));
    format!("{} segments ({memory}) in memory, {} ({disk}) on disk", status.backlog_segments, status.spool_segments)
}

fn checkpoint(status: &AgentStatus) -> String {
    let last = status.last_checkpoint.as_ref().map_or_else(
        || "none yet".to_owned(),
        |last| format!("op {} of timeline {}, complete at {}", last.op, last.timeline, time_text(last.ended_ns)),
    );
    if status.next_checkpoint_reason.is_empty() { last } else { format!("{last}; next: {}", status.next_checkpoint_reason) }
}

fn verified(status: &AgentStatus, now_ns: u64) -> String {
    let Some(found) = &status.verification else { return "never by this agent".to_owned() };
    let what = if found.is_whole {
        format!("all {} backups are intact", found.backups)
    } else {
        format!("{} PROBLEMS, {} of {} backups are intact", found.problems, found.backups_whole, found.backups)
    };
    format!("{} ago: {what}", age(found.ended_ns, now_ns))
}

fn jobs(jobs: &[JobStatus], now_ns: u64) -> String {
    let rows: Vec<Vec<String>> = jobs.iter().map(|job| job_row(job, now_ns)).collect();
    if rows.is_empty() { String::new() } else { table(&["job", "state", "last run", "last success", "next"], &rows) }
}

fn job_row(job: &JobStatus, now_ns: u64) -> Vec<String> {
    let state = match (&job.running, job.failures_in_a_row, job.is_paused) {
        (Some(running), ..) if running.total_bytes > 0 => {
            let percent = 100.0 * running.position_bytes as f64 / running.total_bytes as f64;
            format!("running, {} {percent:.0} %", running.step)
        }
        (Some(running), ..) => format!("running, {}", running.step),
        (None, 1.., _) => format!("FAILED ({})", job.failures_in_a_row),
        (None, 0, true) => "paused".to_owned(),
        (None, 0, false) => "waits".to_owned(),
    };
    let last = job.last.as_ref().map_or_else(
        || "never".to_owned(),
        |last| {
            let found = if job.outcome.is_empty() { String::new() } else { format!(": {}", job.outcome) };
            format!("{} ago, took {}{found}", age(last.ended_ns, now_ns), age(last.started_ns, last.ended_ns))
        },
    );
    let success = job.last_success_ns.map_or_else(|| "never".to_owned(), |success_ns| format!("{} ago", age(success_ns, now_ns)));
    let next = match job.next_ns {
        Some(next_ns) if next_ns <= now_ns => "due now".to_owned(),
        Some(next_ns) => format!("in {}", age(now_ns, next_ns)),
        None => "-".to_owned(),
    };
    let next = if job.next_reason.is_empty() { next } else { format!("{next}: {}", job.next_reason) };
    vec![job.name.clone(), state, last, success, next]
}

fn ranges(ranges: &[RangeStatus]) -> String {
    let time = |timestamp_ns: u64| if timestamp_ns == 0 { "-".to_owned() } else { time_text(timestamp_ns) };
    let row = |range: &RangeStatus| {
        let ops = format!("{} to {}", range.first_op, range.last_op);
        vec![ops, time(range.first_timestamp_ns), time(range.last_timestamp_ns), range.timeline.to_string()]
    };
    let rows: Vec<Vec<String>> = ranges.iter().map(row).collect();
    if rows.is_empty() { String::new() } else { table(&["restorable ops", "from", "to", "timeline"], &rows) }
}

fn gaps(status: &AgentStatus) -> String {
    let row = |gap: &GapStatus| vec![format!("{} to {}", gap.first_op, gap.last_op), time_text(gap.noticed_ns), gap.reason.clone()];
    let rows: Vec<Vec<String>> = status.gaps.iter().map(row).collect();
    if rows.is_empty() { String::new() } else { table(&["missing ops", "noticed", "reason"], &rows) }
}
