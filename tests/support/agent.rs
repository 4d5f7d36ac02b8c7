//! An agent as a process, with its own configuration.

use super::program::Program;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The configuration of the tests' agents, in addition to data file, state directory and
/// repository. The agent takes a checkpoint about every second interval: some points are reached
/// from it alone, others by a hop.
pub const QUICK: &str =
    "[checkpoint]\non_start = false\nreplay_budget_s = 100\nreplay_ops_per_s = 20\n[lease]\nheartbeat_ms = 500\ntimeout_ms = 3000\n";

/// A configuration, and the agent that runs with it, if there is one. Dropping it kills the agent.
pub struct Agent {
    config: PathBuf,
    state: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Agent {
    /// Writes a configuration into `folder`; `more` is TOML that follows the repository.
    pub fn configure(program: &Program, folder: &Path, data_file: &Path, more: &str) -> Agent {
        std::fs::create_dir_all(folder).unwrap();
        let state = folder.join("state");
        let endpoint = program.endpoint().map(|endpoint| format!("endpoint = \"{endpoint}\"\n")).unwrap_or_default();
        // These are not release builds, and the tests wait for checkpoints, so the budget is
        // raised; it has tests of its own.
        let limits = if more.contains("[limits]") { "" } else { "\n[limits]\ncpu_budget_percent = 100\n" };
        // Several agents on one machine would want the same port.
        let page = if more.contains("[page]") { "" } else { "\n[page]\nlisten = \"off\"\n" };
        let text = format!(
            "data_file = \"{}\"\nstate_directory = \"{}\"\n[repository]\nurl = \"{}\"\n{endpoint}{more}{limits}{page}",
            data_file.display(),
            state.display(),
            program.repository(),
        );
        let config = folder.join("amber.toml");
        std::fs::write(&config, text).unwrap();
        Agent { config, state, log: folder.join("agent.log"), environment: program.environment(), child: None }
    }

    /// Writes a configuration and starts the agent.
    pub fn start(program: &Program, folder: &Path, data_file: &Path, more: &str) -> Agent {
        let mut agent = Agent::configure(program, folder, data_file, more);
        agent.run();
        agent
    }

    /// Starts the agent; its log continues in the same file.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::OpenOptions::new().append(true).create(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_amber"));
        command.args(["agent", "--config"]).arg(&self.config).envs(self.environment.iter().cloned());
        let child = command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
    }

    /// Kills the agent with SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM and waits until the agent has ended. Returns its exit code.
    pub fn stop(&mut self) -> i32 {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits for an agent that ends by itself. Returns its exit code.
    pub fn ended(&mut self) -> i32 {
        self.child.take().unwrap().wait().unwrap().code().unwrap_or(-1)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The output of `amber status --json`, whatever its exit code.
    pub fn status(&self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amber"));
        let output = command.args(["status", "--json", "--config"]).arg(&self.config).envs(self.environment.iter().cloned()).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap_or(Value::Null)
    }

    /// Runs a command with the agent's configuration. Returns the exit code and the output.
    pub fn ask(&self, arguments: &[&str]) -> (i32, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amber"));
        let output = command.args(arguments).args(["--json", "--config"]).arg(&self.config).output().unwrap();
        (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }

    /// The state directory of the agent.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The status document as the agent last wrote it.
    pub fn document(&self) -> Value {
        let text = std::fs::read(self.state.join("status.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    /// The last op that the agent has declared durable.
    pub fn durable_op(&self) -> u64 {
        self.document()["durable_op"].as_u64().unwrap_or(0)
    }

    /// Waits until the status is as wanted. Returns the status.
    pub fn wait(&self, what: &str, timeout: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.document();
            if status["pid"].as_u64() == self.child.as_ref().map(|child| u64::from(child.id())) && wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited for {what}; the status is {status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the agent leads and has a checkpoint.
    pub fn wait_leading(&self) -> Value {
        self.wait("an agent that leads", Duration::from_secs(60), |status| {
            status["lease"]["is_ours"] == true && status["last_checkpoint"].is_object()
        })
    }

    /// Waits until everything up to an op is durable.
    pub fn wait_durable(&self, op: u64) -> Value {
        self.wait(&format!("op {op} to be durable"), Duration::from_secs(60), |status| status["durable_op"].as_u64() >= Some(op))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}
