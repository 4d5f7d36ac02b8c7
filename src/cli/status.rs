//! `amber status`: how an agent is doing, from what it writes into its state directory.
//!
//! Neither the repository nor the agent is asked, so it answers at once, whatever has gone wrong there.

use super::output::{Report, facts, table};
use crate::agent::process_lock::{Running, running};
use crate::config::Plan;
use crate::error::{Error, Result};
use crate::observe::status::AgentStatus;
use crate::units::{bytes_text, now_ns, time_text};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const AFTER_HELP: &str = "\
Every op up to durable_op can be restored, gaps aside; lag_ms is how long the oldest op that is not durable has been waiting. Exit code 3 when no
agent runs or its status is older than 10 seconds; what it last said is printed all the same.

  amber status --config /etc/amber/amber.toml
  amber status --state-directory /var/lib/amber --json";

/// Arguments of `amber status`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[group(id = "agent", required = true, multiple = false)]
pub struct StatusArguments {
    /// The agent's configuration.
    #[arg(long, value_name = "FILE", group = "agent")]
    config: Option<PathBuf>,
    /// The agent's state directory.
    #[arg(long, value_name = "DIR", group = "agent")]
    state_directory: Option<PathBuf>,
}

/// Reads the status.
pub fn run(arguments: &StatusArguments) -> Result<Report> {
    let directory = match (&arguments.state_directory, &arguments.config) {
        (Some(directory), _) => directory.clone(),
        (None, Some(config)) => Plan::load(config)?.state_directory,
        (None, None) => return Err(Error::bug("neither --config nor --state-directory")),
    };
    let status = AgentStatus::read(&directory)?;
    report(&directory, &status, running(&directory)?, now_ns())
}

/// What is printed, at the time `now_ns`.
fn report(directory: &Path, status: &AgentStatus, running: Running, now_ns: u64) -> Result<Report> {
    let (runs, stale) = (running != Running::No, status.is_stale(now_ns));
    let age_ms = now_ns.saturating_sub(status.written_ns) / 1_000_000;
    let mut text = facts(&rows(status, runs));
    if !status.gaps.is_empty() {
        let gaps = status
            .gaps
            .iter()
            .map(|gap| vec![format!("{} to {}", gap.first_op, gap.last_op), time_text(gap.noticed_ns), gap.reason.clone()]);
        text.push_str(&format!("\n{}", table(&["missing ops", "noticed", "reason"], &gaps.collect::<Vec<_>>())));
    }
    let mut value = serde_json::to_value(status).map_err(|error| Error::bug(format!("the status is no JSON: {error}")))?;
    if let Value::Object(fields) = &mut value {
        fields.insert("running".into(), json!(runs));
        fields.insert("stale".into(), json!(stale));
        fields.insert("age_ms".into(), json!(age_ms));
    }
    let place = directory.display();
    let failure = match (runs, stale) {
        (true, false) => None,
        (false, _) => Some(format!("{place}: no agent is running; this is what it last said, at {}", time_text(status.written_ns))),
        (true, true) => Some(format!(
            "{place}: the agent (process {}) has not written its status since {}: it hangs, or the disk does; see its log",
            status.pid,
            time_text(status.written_ns)
        )),
    };
    Ok(Report { failure: failure.map(Error::try_again), ..Report::new(text, value) })
}

fn rows(status: &AgentStatus, runs: bool) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("durable", format!("op {} at {}", status.durable_op, time_text(status.durable_timestamp_ns))),
        ("lag", format!("{} ({} ops behind op {})", seconds(status.lag_ms), status.lag_ops, status.head_op)),
        ("state", if runs { status.state.text().to_owned() } else { format!("not running (was {})", status.state.text()) }),
    ];
    rows.extend(status.alerts.iter().map(|alert| ("ALERT", alert.clone())));
    let store = if status.store_reachable { "reachable" } else { "NOT REACHABLE" };
    rows.extend([
        ("gaps", if status.gaps.is_empty() { "none".to_owned() } else { format!("{}, see below", status.gaps.len()) }),
        ("store", store.to_owned()),
        ("lease", lease(status)),
        ("backlog", backlog(status)),
        ("checkpoint", checkpoint(status)),
        ("replica", format!("{} of cluster {}, timeline {}", status.replica, status.cluster, status.timeline)),
        ("agent", format!("process {}{}, since {}", status.pid, host(status), time_text(status.began_ns))),
        (
            "shipped",
            format!(
                "{} segments, {} of log, {} stored",
                status.segments_shipped,
                bytes_text(status.log_bytes_read),
                bytes_text(status.stored_bytes)
            ),
        ),
        (
            "uses",
            format!(
                "{:.2} % of the machine, {:.1} CPU s in all, {} of memory",
                status.cpu_percent,
                status.cpu_seconds,
                bytes_text(status.memory_bytes)
            ),
        ),
        ("limits", limits(status)),
        ("as of", time_text(status.written_ns)),
    ]);
    rows
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
        |last| format!("op {} of timeline {}, whole at {}", last.op, last.timeline, time_text(last.ended_ns)),
    );
    if status.next_checkpoint_reason.is_empty() { last } else { format!("{last}; next: {}", status.next_checkpoint_reason) }
}

fn host(status: &AgentStatus) -> String {
    status.host.as_ref().map_or_else(String::new, |host| format!(" on {host}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::observe::status::{AgentState, CheckpointStatus, GapStatus, LeaseStatus};

    const NOW_NS: u64 = 1_700_000_000_000_000_000;

    fn status() -> AgentStatus {
        AgentStatus {
            state: AgentState::Leading,
            cluster: "340282366920938463463374607431768211455".to_owned(),
            pid: 7,
            written_ns: NOW_NS - 1_000_000_000,
            durable_op: 41,
            head_op: 44,
            lag_ms: 1234,
            lag_ops: 3,
            gaps: vec![GapStatus { first_op: 5, last_op: 9, noticed_ns: NOW_NS, reason: "the ring wrapped".to_owned() }],
            lease: Some(LeaseStatus { holder: "host/7".to_owned(), fence: 3, is_ours: true }),
            cpu_percent: 0.25,
            cpu_share_10s_percent: 4.5,
            cpu_budget_percent: 5,
            outlook: "write cpu_budget_percent = 8".to_owned(),
            last_checkpoint: Some(CheckpointStatus { op: 20, timeline: 1, ended_ns: NOW_NS }),
            next_checkpoint_reason: "in 2 h".to_owned(),
            alerts: vec!["ops 5 to 9 are missing".to_owned()],
            ..AgentStatus::default()
        }
    }

    fn report_of(status: &AgentStatus, running: Running) -> Report {
        report(Path::new("/state"), status, running, NOW_NS).unwrap()
    }

    #[test]
    fn people_see_what_is_durable_first() {
        let report = report_of(&status(), Running::Yes { pid: Some(7) });
        assert_eq!(report.failure, None);
        let lines: Vec<&str> = report.text.lines().collect();
        assert!(lines[0].starts_with("durable     op 41 at "), "{}", report.text);
        assert_eq!(lines[1], "lag         1.234 s (3 ops behind op 44)");
        assert_eq!(lines[3], "ALERT       ops 5 to 9 are missing");
        for part in [
            "ours, fence 3",
            "1, see below",
            "5 to 9",
            "the ring wrapped",
            "op 20 of timeline 1",
            "next: in 2 h",
            "NOT REACHABLE",
            "4.50 % of the machine in the last 10 s, 5 % allowed",
            "TOO LOW: write cpu_budget_percent = 8",
        ] {
            assert!(report.text.contains(part), "{part}: {}", report.text);
        }
    }

    #[test]
    fn scripts_find_their_keys_at_the_top() {
        let json = report_of(&status(), Running::Yes { pid: Some(7) }).json;
        assert_eq!(
            (&json["durable_op"], &json["lag_ms"], &json["lag_ops"], &json["cpu_percent"]),
            (&json!(41), &json!(1234), &json!(3), &json!(0.25))
        );
        assert_eq!(json["gaps"][0]["first_op"], 5);
        assert_eq!(json["lease"], json!({ "holder": "host/7", "fence": 3, "is_ours": true }));
        assert_eq!(
            (&json["running"], &json["stale"], &json["age_ms"], &json["state"]),
            (&json!(true), &json!(false), &json!(1000), &json!("leading"))
        );
        assert_eq!(report_of(&AgentStatus::default(), Running::No).json["lease"], Value::Null);
    }

    #[test]
    fn an_agent_that_is_away_or_hangs_ends_with_three_and_its_last_words() {
        let away = report_of(&status(), Running::No);
        let failure = away.failure.unwrap();
        assert_eq!(failure.kind, Kind::TryAgain);
        assert!(
            failure.message.contains("no agent is running")
                && away.text.contains("op 41")
                && away.text.contains("not running (was leading)")
        );
        let hangs = report_of(&AgentStatus { written_ns: NOW_NS - 11_000_000_000, ..status() }, Running::Yes { pid: Some(7) });
        let failure = hangs.failure.unwrap();
        assert!(failure.kind == Kind::TryAgain && failure.message.contains("process 7"), "{failure}");
        assert_eq!(hangs.json["stale"], true);
    }
}
