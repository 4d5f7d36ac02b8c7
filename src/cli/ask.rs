//! Requests to a running agent: where its state is, whether it runs, and what it answers.

use crate::config::AgentConfig;
use crate::disk::process_lock::{Running, running};
use crate::error::{Error, Result};
use crate::host::Disk;
use crate::jobs::registry::unknown_job;
use crate::jobs::requests::{JobRequest, answer, send, withdraw};
use crate::monitor::status::AgentStatus;
use crate::units::now_ns;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an agent may take to accept a request; it checks twice a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_PAUSE: Duration = Duration::from_millis(50);

/// Which agent.
#[derive(Debug, Args)]
#[group(id = "agent", required = true, multiple = false)]
pub struct StateArguments {
    /// The agent's configuration.
    #[arg(long, value_name = "FILE", group = "agent")]
    config: Option<PathBuf>,
    /// The agent's state directory.
    #[arg(long, value_name = "DIR", group = "agent")]
    state_directory: Option<PathBuf>,
}

impl StateArguments {
    /// Its state directory.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn directory(&self) -> Result<PathBuf> {
        match (&self.state_directory, &self.config) {
            (Some(directory), _) => Ok(directory.clone()),
            (None, Some(config)) => Ok(AgentConfig::load(config)?.state_directory),
            (None, None) => Err(Error::bug("neither --config nor --state-directory")),
        }
    }
}

/// The status of an agent that is running and not hung.
///
/// # Errors
/// [`Error::try_again`] if none is running, or if it hangs.
pub fn live_status(directory: &Path) -> Result<AgentStatus> {
    if running(Disk::SYSTEM, directory)? == Running::No {
        return Err(no_agent(directory));
    }
    let status = AgentStatus::read(Disk::SYSTEM, directory)?;
    if status.is_stale(now_ns()) {
        let place = directory.display();
        return Err(Error::try_again(format!(
            "{place}: the agent has not written its status for more than 10 seconds: it starts, or hangs; see its log"
        )));
    }
    Ok(status)
}

/// The error for a state directory whose agent is not running.
pub fn no_agent(directory: &Path) -> Error {
    Error::try_again(format!("{}: no agent is running there; `amber agent --config FILE` starts one", directory.display()))
}

/// Sends a request, and waits until the agent has accepted it.
///
/// # Errors
/// [`Error::input`] if there is no such job or this user may not send requests,
/// [`Error::try_again`] if no agent is running or it refuses.
pub fn ask(directory: &Path, request: &JobRequest) -> Result<()> {
    let status = live_status(directory)?;
    let names: Vec<&str> = status.jobs.iter().map(|job| job.name.as_str()).collect();
    if !names.is_empty() && !names.contains(&request.job.as_str()) {
        return Err(unknown_job(&request.job, &names));
    }
    send(directory, request)?;
    let began = Instant::now();
    while answer(directory, request)?.is_none() {
        if running(Disk::SYSTEM, directory)? == Running::No {
            withdraw(directory, request);
            return Err(no_agent(directory));
        }
        if began.elapsed() > ANSWER_TIMEOUT {
            withdraw(directory, request);
            return Err(Error::try_again(format!(
                "{}: the agent (process {}) has not taken the request for {} s; it is withdrawn; see the agent's log",
                directory.display(),
                status.pid,
                ANSWER_TIMEOUT.as_secs()
            )));
        }
        std::thread::sleep(ANSWER_PAUSE);
    }
    Ok(())
}
