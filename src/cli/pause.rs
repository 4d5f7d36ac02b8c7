//! `amber pause` and `amber resume`: a paused job does not run by itself until it is resumed.

use super::ask::{StateArguments, ask};
use super::output::Report;
use crate::error::Result;
use crate::jobs::requests::{Action, JobRequest};
use clap::Args;
use serde_json::json;

const AFTER_HELP: &str = "\
A pause holds on the agent that is asked, also over its restarts, until `amber resume`. A run that is under way goes on to its end. Where several agents take over from one
another, ask each of them. While checkpoints are paused the log is still shipped, and a restore has more and more of it to replay: an alert says so when that is too much.

After a pause a job with an interval that has passed meanwhile runs at once; one with times of day waits for the next of them.

  amber pause verification --config /etc/amber/amber.toml
  amber resume verification --config /etc/amber/amber.toml";

/// Arguments of `amber pause` and `amber resume`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PauseArguments {
    /// The job; `amber jobs` lists them.
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    state: StateArguments,
}

/// Pauses or resumes a job.
pub fn run(arguments: &PauseArguments, is_paused: bool) -> Result<Report> {
    let (directory, job) = (arguments.state.directory()?, arguments.job.clone());
    ask(&directory, &JobRequest { action: if is_paused { Action::Pause } else { Action::Resume }, job: job.clone() })?;
    let text =
        if is_paused { format!("{job} is paused; `amber resume {job}` lets it go on") } else { format!("{job} is no longer paused") };
    Ok(Report::new(text, json!({ "job": job, "is_paused": is_paused })))
}
