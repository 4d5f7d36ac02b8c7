//! `amber agent`: the process that ships a replica's log.

use super::output::{Report, facts};
use crate::agent;
use crate::config::AgentConfig;
use crate::error::Result;
use crate::monitor::log::{Format, start};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
The agent runs beside a replica, as a user that may read its data file, and only reads there. Ops are durable in the repository within about a
second; while the store is away they wait in memory and in a bounded spool. SIGTERM sends what is on its way and ends within shutdown_ms;
a second SIGTERM ends at once. `amber status` shows how it is doing, and so does a page at http://127.0.0.1:9630/ ([page] in the configuration), with
/metrics for Prometheus, /healthz and /readyz.

tools/systemd holds an annotated example configuration and a hardened unit. The least that a configuration holds:

  data_file = \"/var/lib/tigerbeetle/0_0.tigerbeetle\"
  state_directory = \"/var/lib/amber\"
  [repository]
  url = \"s3://backups/ledger\"
  passphrase_file = \"/etc/amber/passphrase\"

  amber agent --config /etc/amber/amber.toml --check
  amber agent --config /etc/amber/amber.toml";

/// Arguments of `amber agent`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct AgentArguments {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only check: the configuration, the data file, the repository and that they belong together.
    #[arg(long)]
    check: bool,
}

/// Checks with `--check`; otherwise runs until a signal comes.
pub fn run(arguments: &AgentArguments) -> Result<Report> {
    let plan = AgentConfig::load(&arguments.config)?;
    if arguments.check {
        return check(arguments, &plan);
    }
    start(if plan.process.log_json { Format::Json } else { Format::Text }, plan.process.log_level)?;
    agent::run(plan)?;
    Ok(Report::new("stopped".to_owned(), json!({ "stopped": true })))
}

fn check(arguments: &AgentArguments, plan: &AgentConfig) -> Result<Report> {
    let checked = agent::check::check(plan)?;
    let config = arguments.config.display().to_string();
    let rows = [
        ("configuration", format!("{config} is right")),
        ("data file", plan.data_file.display().to_string()),
        ("cluster", format!("{}, replica {} of {}", checked.cluster, checked.replica, checked.replica_count)),
        ("checkpoint", format!("op {}", checked.checkpoint_op)),
        ("repository", checked.repository.describe()),
        ("state", plan.state_directory.display().to_string()),
    ];
    let mut text = facts(&rows);
    for note in &checked.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    let json = json!({
        "ok": true,
        "config": config,
        "data_file": plan.data_file.display().to_string(),
        "cluster": checked.cluster.to_string(),
        "replica": checked.replica,
        "replica_count": checked.replica_count,
        "checkpoint_op": checked.checkpoint_op,
        "repository": checked.repository.describe(),
        "state_directory": plan.state_directory.display().to_string(),
        "notes": checked.notes,
    });
    Ok(Report::new(text, json))
}
