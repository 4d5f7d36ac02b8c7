//! `amber run`: runs a job now, whatever its schedule says. The agent runs it. This command sends
//! the request, and with `--wait` follows the run to its end.

use super::Manner;
use super::ask::{StateArguments, ask, live_status};
use super::output::{Report, facts};
use crate::error::{Error, Result};
use crate::jobs::requests::{Action, JobRequest};
use crate::jobs::verification::DAMAGED;
use crate::monitor::progress::for_people;
use crate::monitor::status::{AgentStatus, EndedStatus, JobStatus};
use crate::progress::Progress;
use crate::schedule::job::ELSEWHERE;
use crate::units::{bytes_text, now_ns, time_text};
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const AFTER_HELP: &str = "\
The agent begins the job within a second or two, or behind the one that it is running. A job that is paused runs once, and stays paused. A job that
runs already runs once more afterwards. Jobs of the cluster run on the agent that leads; the others refuse.

With --wait the exit code is that of the run: 0 when it did what it was to do, 4 when it found damage, 3 when it failed otherwise. Ctrl-C ends only the waiting.

  amber run checkpoint --config /etc/amber/amber.toml
  amber run verification --config /etc/amber/amber.toml --wait
  amber run verification --state-directory /var/lib/amber --wait --json";

/// The time between two reads of the status, which is written once a second.
const LOOK: Duration = Duration::from_millis(250);

/// Arguments of `amber run`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunArguments {
    /// The job; `amber jobs` lists them.
    #[arg(value_name = "JOB")]
    job: String,
    /// Wait until the run is over, and show how far it is.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    state: StateArguments,
}

/// Asks for a run.
pub fn run(arguments: &RunArguments, manner: Manner) -> Result<Report> {
    let directory = arguments.state.directory()?;
    let asked_ns = now_ns();
    let job = arguments.job.clone();
    ask(&directory, &JobRequest { action: Action::Run, job: job.clone() })?;
    if !arguments.wait {
        let text = format!("{job} is asked for; `amber jobs` shows how it goes, and `amber run {job} --wait` waits for it");
        return Ok(Report::new(text, json!({ "job": job, "asked": true })));
    }
    let ended = follow(&directory, &job, asked_ns, &*for_people(manner.quiet))?;
    report(&ended)
}

/// Follows the first run of a job that began after it was asked for.
fn follow(directory: &Path, job: &str, asked_ns: u64, progress: &dyn Progress) -> Result<EndedStatus> {
    let (mut step, mut said) = (String::new(), String::new());
    loop {
        let status = live_status(directory)?;
        if let Some(ended) = ended_since(&status, job, asked_ns) {
            progress.end();
            return Ok(ended);
        }
        let found = status.jobs.iter().find(|found| found.name == job);
        match found.and_then(|found| found.running.as_ref()) {
            Some(running) if running.started_ns >= asked_ns => {
                if !running.step.is_empty() && step != running.step {
                    step.clone_from(&running.step);
                    progress.begin(&step, Some(running.total_bytes).filter(|total| *total > 0));
                }
                if running.total_bytes > 0 {
                    progress.total(running.total_bytes);
                }
                progress.position(running.position_bytes);
            }
            _ => waits(found, &status, &mut said, progress)?,
        }
        std::thread::sleep(LOOK);
    }
}

/// Reports why the run has not begun, once for each reason.
fn waits(found: Option<&JobStatus>, status: &AgentStatus, said: &mut String, progress: &dyn Progress) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    if found.running.is_none() && found.next_reason == ELSEWHERE {
        return Err(Error::try_again(format!("{}: this agent does not lead any more: ask the one that does", found.name)));
    }
    let others = status.jobs.iter().filter(|job| job.running.is_some()).map(|job| job.name.as_str());
    let others: Vec<&str> = others.collect();
    let why = if others.is_empty() { String::new() } else { format!("it waits for {} to end", others.join(" and ")) };
    if !why.is_empty() && *said != why {
        progress.note(&why);
        *said = why;
    }
    Ok(())
}

/// The oldest finished run of a job that began at `asked_ns` or later.
fn ended_since(status: &AgentStatus, job: &str, asked_ns: u64) -> Option<EndedStatus> {
    let of_job = status.recent.iter().filter(|ended| ended.job == job && ended.started_ns >= asked_ns);
    of_job.min_by_key(|ended| ended.started_ns).cloned()
}

fn report(ended: &EndedStatus) -> Result<Report> {
    let took_ms = ended.ended_ns.saturating_sub(ended.started_ns) / 1_000_000;
    let mut rows = vec![
        ("job", ended.job.clone()),
        ("run", ended.run.clone()),
        ("outcome", if ended.completed { "completed" } else { "failed" }.to_owned()),
        ("began", time_text(ended.started_ns)),
        ("took", format!("{}.{:03} s", took_ms / 1000, took_ms % 1000)),
        ("stored", bytes_text(ended.stored_bytes)),
    ];
    if !ended.reason.is_empty() {
        rows.push(("reason", ended.reason.clone()));
    }
    let mut json = serde_json::to_value(ended).map_err(|error| Error::bug(format!("a run is no JSON: {error}")).caused_by(error))?;
    if let Value::Object(fields) = &mut json {
        fields.insert("took_ms".into(), json!(took_ms));
    }
    let failure = (!ended.completed).then(|| failure(ended));
    Ok(Report { failure, ..Report::new(facts(&rows), json) })
}

fn failure(ended: &EndedStatus) -> Error {
    let message = format!("{} has failed: {}", ended.job, ended.reason);
    if ended.reason.starts_with(DAMAGED) { Error::damaged(message) } else { Error::try_again(message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn ended(started_ns: u64, reason: &str) -> EndedStatus {
        EndedStatus {
            run: format!("{started_ns:016x}"),
            job: "verification".into(),
            started_ns,
            ended_ns: started_ns + 1_500_000_000,
            completed: reason.is_empty(),
            stored_bytes: 0,
            reason: reason.into(),
        }
    }

    #[test]
    fn the_run_that_was_asked_for_is_the_first_that_began_afterwards() {
        let other = EndedStatus { job: "catalog".into(), ..ended(21, "") };
        let status = AgentStatus { recent: vec![ended(40, ""), ended(30, ""), other, ended(10, "")], ..AgentStatus::default() };
        let found = |asked_ns| ended_since(&status, "verification", asked_ns).map(|ended| ended.started_ns);
        assert_eq!((found(0), found(11), found(31), found(41)), (Some(10), Some(30), Some(40), None));
    }

    #[test]
    fn the_exit_code_is_that_of_the_run() {
        let kind = |reason: &str| report(&ended(5, reason)).unwrap().failure.map(|error| error.kind);
        assert_eq!((kind(""), kind("damaged: 1 problems"), kind("the store is away")), (None, Some(Kind::Damaged), Some(Kind::TryAgain)));
        let report = report(&ended(5, "damaged: 1 problems")).unwrap();
        assert!(report.text.contains("took     1.500 s") && report.text.contains("damaged: 1 problems"), "{}", report.text);
        assert_eq!((&report.json["completed"], &report.json["took_ms"]), (&json!(false), &json!(1500)));
    }

    #[test]
    fn who_waits_is_told_what_for() {
        let mut said = String::new();
        let job = |name: &str, reason: &str| JobStatus { name: name.into(), next_reason: reason.into(), ..JobStatus::default() };
        let running = JobStatus { running: Some(Default::default()), ..job("catalog", "") };
        let status = AgentStatus { jobs: vec![running, job("verification", "asked for")], ..AgentStatus::default() };
        waits(status.jobs.last(), &status, &mut said, &crate::progress::Silent).unwrap();
        assert_eq!(said, "it waits for catalog to end");
        let error = waits(Some(&job("verification", ELSEWHERE)), &status, &mut said, &crate::progress::Silent).unwrap_err();
        assert_eq!(error.kind, Kind::TryAgain);
    }
}
