//! `amber jobs`: what an agent runs, when, and with what result, from the status in its state
//! directory.

use super::ask::{StateArguments, no_agent};
use super::output::{Report, table};
use crate::disk::process_lock::{Running, running};
use crate::error::Result;
use crate::host::Disk;
use crate::monitor::status::{AgentStatus, JobStatus};
use crate::units::{bytes_text, now_ns, time_text};
use clap::Args;
use serde_json::json;

const AFTER_HELP: &str = "\
Exit code 3 when no agent runs there; what it last said is printed all the same. `amber run JOB` runs a job now, `amber pause JOB` keeps it from running.

  amber jobs --config /etc/amber/amber.toml
  amber jobs --state-directory /var/lib/amber --json";

const HEADER: [&str; 5] = ["job", "cadence", "last run", "next run", "state"];

/// Arguments of `amber jobs`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct JobsArguments {
    #[command(flatten)]
    state: StateArguments,
}

/// Lists the jobs.
pub fn run(arguments: &JobsArguments) -> Result<Report> {
    let directory = arguments.state.directory()?;
    let status = AgentStatus::read(Disk::SYSTEM, &directory)?;
    let runs = running(Disk::SYSTEM, &directory)? != Running::No;
    let failure = (!runs).then(|| no_agent(&directory));
    let json = json!({ "running": runs, "stale": status.is_stale(now_ns()), "jobs": status.jobs, "recent": status.recent });
    Ok(Report { failure, ..Report::new(text(&status.jobs), json) })
}

fn text(jobs: &[JobStatus]) -> String {
    let rows: Vec<Vec<String>> =
        jobs.iter().map(|job| vec![job.name.clone(), job.cadence.clone(), last(job), next(job), state(job)]).collect();
    let mut text = table(&HEADER, &rows);
    for job in jobs {
        text.push_str(&format!("\n{}: {}", job.name, job.title));
        if !job.outcome.is_empty() {
            text.push_str(&format!("\n  found: {}", job.outcome));
        }
        if let Some(last) = job.last.as_ref().filter(|last| !last.completed) {
            text.push_str(&format!("\n  failed at {}: {}", time_text(last.ended_ns), last.reason));
        }
    }
    text
}

fn last(job: &JobStatus) -> String {
    match &job.last {
        None => "never".to_owned(),
        Some(last) => {
            let outcome = if last.completed { "completed" } else { "failed" };
            let stored = if last.stored_bytes > 0 { format!(", {} stored", bytes_text(last.stored_bytes)) } else { String::new() };
            format!("{outcome} at {}{stored}", second_text(last.ended_ns))
        }
    }
}

fn next(job: &JobStatus) -> String {
    match job.next_ns {
        Some(next_ns) => format!("{} ({})", second_text(next_ns), job.next_reason),
        None => job.next_reason.clone(),
    }
}

fn state(job: &JobStatus) -> String {
    let mut text = match &job.running {
        Some(running) if running.total_bytes > 0 => {
            let percent = running.position_bytes.saturating_mul(100) / running.total_bytes;
            format!("{}: {} %", running.step, percent.min(100))
        }
        Some(running) if running.step.is_empty() => "runs".to_owned(),
        Some(running) => running.step.clone(),
        None if job.is_paused => "paused".to_owned(),
        None => "waits".to_owned(),
    };
    if job.failures_in_a_row > 0 {
        text.push_str(&format!(", {} failed in a row", job.failures_in_a_row));
    }
    text
}

/// A time to the second.
fn second_text(timestamp_ns: u64) -> String {
    time_text(timestamp_ns / 1_000_000_000 * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::status::{EndedStatus, RunningStatus};

    #[test]
    fn people_see_when_it_ran_and_when_it_runs() {
        let job = JobStatus {
            name: "verification".into(),
            title: "reads everything".into(),
            cadence: "every 24 h".into(),
            next_ns: Some(1_700_000_000_123_456_789),
            next_reason: "every 24 h".into(),
            ..JobStatus::default()
        };
        let last = EndedStatus {
            completed: false,
            ended_ns: 1_600_000_000_000_000_000,
            reason: "the store is away".into(),
            ..EndedStatus::default()
        };
        let failed = JobStatus { last: Some(last.clone()), failures_in_a_row: 2, ..job.clone() };
        let done = JobStatus {
            last: Some(EndedStatus { completed: true, stored_bytes: 2048, ..last }),
            is_paused: true,
            next_ns: None,
            next_reason: "paused".into(),
            outcome: "all 4 backups are intact".into(),
            ..job.clone()
        };
        let running = RunningStatus { step: "verify".into(), position_bytes: 25, total_bytes: 100, ..RunningStatus::default() };
        let runs = JobStatus { running: Some(running), ..job.clone() };
        let text = text(&[job, failed, done, runs]);
        for part in [
            "verification  every 24 h  never",
            "2023-11-14T22:13:20Z (every 24 h)",
            "failed at 2020-09-13T12:26:40Z",
            "waits, 2 failed in a row",
            "completed at 2020-09-13T12:26:40Z, 2.0 KiB stored",
            "verify: 25 %",
            "verification: reads everything",
            "the store is away",
            "\n  found: all 4 backups are intact",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let paused = text.lines().nth(3).unwrap();
        assert_eq!(paused.matches("paused").count(), 2, "{paused}");
    }
}
