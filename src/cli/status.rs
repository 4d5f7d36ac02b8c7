//! `amber status`: how an agent is doing, from the status in its state directory.
//!
//! It contacts neither the repository nor the agent, so it answers at once, whatever has gone wrong
//! there. `status_text` makes the text. `--watch` reads the status again every second until it is
//! interrupted.

use super::Manner;
use super::output::Report;
use super::status_text::text;
use crate::config::AgentConfig;
use crate::disk::process_lock::{Running, running};
use crate::error::{Error, Kind, Result};
use crate::host::Disk;
use crate::monitor::level::Level;
use crate::monitor::status::AgentStatus;
use crate::monitor::verdict::Reason;
use crate::monitor::verdict::verdict;
use crate::stop::Stop;
use crate::units::{now_ns, time_text};
use clap::Args;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const AFTER_HELP: &str = "\
The first line says whether everything is safe, as the agent's page does; what somebody should look at comes right below it. Every op up to durable_op can be
restored, gaps aside; lag_ms is how long the oldest op that is not durable has been waiting. Exit code 3 when no agent runs or its status is older than
10 seconds; what it last said is printed all the same.

  amber status --config /etc/amber/amber.toml
  amber status --config /etc/amber/amber.toml --watch
  amber status --state-directory /var/lib/amber --json
  amber status --state-directory /var/lib/amber --json --watch    # one object a line, once a second";

/// How often `--watch` reads the status, which is as often as the agent writes it.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Switches to the terminal's alternate screen and hides the cursor; and back.
const SCREEN_ENTER: &str = "\x1b[?1049h\x1b[?25l";
const SCREEN_LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Moves to the top left corner; and clears the rest of a line, and of the screen, after what was
/// written.
const SCREEN_HOME: &str = "\x1b[H";
const LINE_END: &str = "\x1b[K\n";
const SCREEN_REST: &str = "\x1b[J";

/// Arguments of `amber status`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct StatusArguments {
    #[command(flatten)]
    agent: AgentPlace,
    /// Look again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

/// Which agent: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct AgentPlace {
    /// The agent's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's state directory.
    #[arg(long, value_name = "DIR")]
    state_directory: Option<PathBuf>,
}

/// Reads the status once or, with `--watch`, repeatedly.
pub fn run(arguments: &StatusArguments, manner: Manner) -> Result<Report> {
    let directory = match (&arguments.agent.state_directory, &arguments.agent.config) {
        (Some(directory), _) => directory.clone(),
        (None, Some(config)) => AgentConfig::load(config)?.state_directory,
        (None, None) => return Err(Error::bug("neither --config nor --state-directory")),
    };
    if arguments.watch { watch(&directory, manner) } else { look(&directory) }
}

fn look(directory: &Path) -> Result<Report> {
    let status = AgentStatus::read(Disk::SYSTEM, directory)?;
    report(directory, &status, running(Disk::SYSTEM, directory)?, now_ns())
}

/// Shows the status every second. The last one is the command's result, so that it stays on the
/// screen.
fn watch(directory: &Path, manner: Manner) -> Result<Report> {
    let stop = Stop::on_signals()?;
    let screen = (!manner.json && std::io::stdout().is_terminal()).then(Screen::enter);
    loop {
        let looked = match look(directory) {
            // The agent has not written a status yet, or it cannot be read now.
            Err(error) if error.kind == Kind::TryAgain => {
                let json = json!({ "error": { "kind": error.kind.word(), "exit_code": error.kind.exit_code(), "message": error.message } });
                Report::new(error.message, json)
            }
            looked => looked?,
        };
        // An interrupt by the user is no failure.
        let looked = Report { failure: None, ..looked };
        if stop.is_asked() {
            drop(screen);
            return Ok(looked);
        }
        let shown = match &screen {
            Some(_) => show(&looked.text),
            None => writeln!(std::io::stdout(), "{}", if manner.json { looked.json.to_string() } else { looked.text.clone() }),
        };
        // The reader of the output is gone.
        if shown.is_err() {
            return Ok(looked);
        }
        stop.wait(WATCH_INTERVAL);
    }
}

/// The terminal's alternate screen; dropping it restores the shell's screen.
struct Screen;

impl Screen {
    fn enter() -> Screen {
        let _ = write!(std::io::stdout(), "{SCREEN_ENTER}").and_then(|()| std::io::stdout().flush());
        Screen
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write!(std::io::stdout(), "{SCREEN_LEAVE}").and_then(|()| std::io::stdout().flush());
    }
}

/// Draws a text over the previous one, as far as the terminal has room. The beginning is the most
/// important part.
fn show(text: &str) -> std::io::Result<()> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 1 && size.ws_col > 1);
    let (rows, columns) = size.map_or((50, 160), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
    let mut out = std::io::stdout().lock();
    write!(out, "{SCREEN_HOME}{}{SCREEN_REST}", fitted(text, rows, columns))?;
    out.flush()
}

fn fitted(text: &str, rows: usize, columns: usize) -> String {
    let lines = text.lines().take(rows.saturating_sub(1));
    lines.map(|line| line.chars().take(columns.saturating_sub(1)).collect::<String>() + LINE_END).collect()
}

/// What is printed at the time `now_ns`.
fn report(directory: &Path, status: &AgentStatus, running: Running, now_ns: u64) -> Result<Report> {
    let (runs, stale) = (running != Running::No, status.is_stale(now_ns));
    let age_ms = now_ns.saturating_sub(status.written_ns) / 1_000_000;
    let mut verdict = verdict(status, now_ns);
    if !runs {
        let advice = "Start it: systemctl start amber-agent, or amber agent --config FILE.";
        verdict.add_first(Reason {
            level: Level::Danger,
            text: "No agent is running: nothing new is stored.".into(),
            advice: advice.into(),
        });
    }
    let bug = |error: serde_json::Error| Error::bug(format!("the status is no JSON: {error}")).caused_by(error);
    let mut value = serde_json::to_value(status).map_err(bug)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("running".into(), json!(runs));
        fields.insert("stale".into(), json!(stale));
        fields.insert("age_ms".into(), json!(age_ms));
        fields.insert("verdict".into(), serde_json::to_value(&verdict).map_err(bug)?);
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
    Ok(Report { failure: failure.map(Error::try_again), ..Report::new(text(status, &verdict, runs, now_ns), value) })
}

#[cfg(test)]
mod tests;
