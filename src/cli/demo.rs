//! `amber demo`: shows the main job at work, with a real server, a real load and a real loss.
//!
//! Flow: format and start a TigerBeetle, write without pause, back it up while it runs, kill it and
//! destroy its file, restore, start, check the books. Backups and restore run in processes of this
//! program, called as a user would call it, so that their CPU time is measured alone.

use super::Manner;
use super::output::{Report, facts, table};
use crate::demo::{Binary, Books, Expected, Load, LoadOptions, LoadPlan, Server, ServerOptions, check_books, check_every_transfer};
use crate::error::{Error, Result};
use crate::units::{bytes_text, time_text};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const AFTER_HELP: &str = "\
Needs a TigerBeetle server, some 3 GiB of memory and 5 GiB of disk, and about a minute. tools/demo fetches and builds everything first.

  amber demo --tigerbeetle .tools/bin/tigerbeetle";

/// The demo's cluster.
const CLUSTER: u128 = 2026;
/// Backups taken while the load writes.
const BACKUPS: usize = 4;
/// Requests of all clients before the first backup: after these, the server has taken its first
/// checkpoint.
const REQUESTS_BEFORE: u64 = 1100;
/// The pause between two backups.
const BETWEEN_BACKUPS: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(120);

/// Arguments of `amber demo`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DemoArguments {
    /// The TigerBeetle server.
    #[arg(long, env = "AMBER_TIGERBEETLE", value_name = "PATH", default_value = ".tools/bin/tigerbeetle")]
    tigerbeetle: PathBuf,
    /// Where data files and repository go; a new folder under the system's temporary one otherwise,
    /// removed at the end.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Leave everything in place at the end.
    #[arg(long)]
    keep: bool,
}

/// The folder of one demo, removed at its end.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Runs the demo.
pub fn run(arguments: &DemoArguments, manner: Manner) -> Result<Report> {
    let binary = Binary::new(&arguments.tigerbeetle)?;
    let parent = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
    let folder = Folder { path: parent.join(format!("amber-demo-{}", std::process::id())), keep: arguments.keep };
    std::fs::create_dir_all(&folder.path).map_err(|error| Error::input(format!("{}: {error}", folder.path.display())).caused_by(error))?;
    let story = Story { binary, folder: &folder.path, manner, began: Instant::now() };
    story.tell()
}

struct Story<'a> {
    binary: Binary,
    folder: &'a Path,
    manner: Manner,
    began: Instant,
}

impl Story<'_> {
    fn say(&self, text: &str) {
        if !self.manner.json {
            let _ = writeln!(std::io::stderr(), "[{:5.1} s] {text}", self.began.elapsed().as_secs_f64());
        }
    }

    fn tell(&self) -> Result<Report> {
        let data_file = self.folder.join(format!("{CLUSTER}_0.tigerbeetle"));
        let plan = LoadPlan { clients: 4, transfers_per_request: 400, ..LoadPlan::default() };
        self.say(&format!("TigerBeetle {} starts on a new data file", self.binary.version()?));
        self.binary.format(&data_file, CLUSTER, 0, 1)?;
        let mut server = Server::start_solo(&ServerOptions::new(&self.binary, &data_file), CLUSTER)?;
        self.amber(&["init"])?;
        let options = LoadOptions { plan, ..LoadOptions::default() };
        let load = Load::start(CLUSTER, &server.address(), &options)?;
        self.say(&format!("{} clients write without pause, {} transfers a request", plan.clients, plan.transfers_per_request));
        load.wait_for(REQUESTS_BEFORE, TIMEOUT)?;
        let mut backups = Vec::new();
        let mut acknowledged = load.acknowledged();
        for number in 1..=BACKUPS {
            if number > 1 {
                std::thread::sleep(BETWEEN_BACKUPS);
            }
            acknowledged = load.acknowledged();
            let backup = self.amber(&["backup", "tigerbeetle", "--data-file", &data_file.display().to_string()])?;
            let (op, timestamp_ns) = (number_of(&backup, "recovered_to_op"), number_of(&backup, "recovered_to_timestamp_ns"));
            self.say(&format!("backup {number} of the running node: recovered to op {op} at {}", time_text(timestamp_ns)));
            backups.push(backup);
        }
        server.kill();
        std::fs::remove_file(&data_file).map_err(|error| Error::input(format!("{}: {error}", data_file.display())).caused_by(error))?;
        let written = load.stop_at_once()?;
        self.say(&format!("the node is killed, its data file destroyed; {} transfers had been acknowledged", written.transfers));
        let verified = self.amber(&["verify", "--full"])?;
        self.say(&format!("the repository is verified: {} objects, every block and prepare", number_of(&verified, "objects")));
        let restored = self.amber(&["restore", "tigerbeetle", "--output", &data_file.display().to_string()])?;
        self.say(&format!("restored to op {}", number_of(&restored, "op")));
        self.binary.inspect_integrity(&data_file)?;
        self.say("TigerBeetle's own integrity check accepts the file");
        let server = Server::start_solo(&ServerOptions::new(&self.binary, &data_file), CLUSTER)?;
        let expected = Expected {
            plan,
            acknowledged: acknowledged.clone(),
            recovered_to_ns: number_of(&restored, "timestamp_ns"),
            ends_with_transfers: restored["operation"] == "create_transfers",
            original: None,
            timeout: TIMEOUT,
        };
        let books = check_books(CLUSTER, &server.address(), &expected)?;
        check_every_transfer(CLUSTER, &server.address(), &plan, &books.requests, TIMEOUT)?;
        self.say("the restored node serves; every transfer up to the recovered op is there, and the books balance");
        Ok(self.report(
            &backups,
            &restored,
            &books,
            written.transfers,
            acknowledged.iter().sum::<u64>() * plan.transfers_per_request as u64,
        ))
    }

    /// Calls this program and returns its result.
    fn amber(&self, arguments: &[&str]) -> Result<Value> {
        let program =
            std::env::current_exe().map_err(|error| Error::try_again(format!("this program's own file: {error}")).caused_by(error))?;
        let mut command = Command::new(program);
        command.args(arguments).arg("--json").env("AMBER_REPO", self.folder.join("repository")).env("AMBER_PASSPHRASE", "only a demo");
        let output =
            command.output().map_err(|error| Error::try_again(format!("amber {}: {error}", arguments.join(" "))).caused_by(error))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(Error::bug(format!("amber {} failed: {said}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr))));
        }
        serde_json::from_str(&said)
            .map_err(|error| Error::bug(format!("amber {} printed no JSON: {error}", arguments.join(" "))).caused_by(error))
    }

    fn report(&self, backups: &[Value], restored: &Value, books: &Books, written: u64, promised: u64) -> Report {
        let row = |name: String, work: &Value, op: &str, read: &str, stored: &str, blocks: String| {
            let (read, stored) = (number_of(work, read), number_of(work, stored));
            let ratio = if stored == 0 { "-".to_owned() } else { format!("{:.1}", read as f64 / stored as f64) };
            let seconds = |field: &str| format!("{:.2}", work[field].as_f64().unwrap_or(0.0));
            vec![
                name,
                number_of(work, op).to_string(),
                bytes_text(read),
                bytes_text(stored),
                ratio,
                blocks,
                seconds("seconds"),
                seconds("cpu_seconds"),
            ]
        };
        let mut rows = Vec::new();
        for (number, backup) in (1..).zip(backups) {
            let blocks = format!("{} + {}", number_of(backup, "blocks_stored"), number_of(backup, "blocks_reused"));
            rows.push(row(format!("backup {number}"), backup, "recovered_to_op", "bytes_read", "bytes_stored", blocks));
        }
        rows.push(row("restore".into(), restored, "op", "bytes_written", "bytes_fetched", number_of(restored, "blocks").to_string()));
        let header = ["step", "to op", "plain", "stored", "ratio", "blocks (new + held)", "seconds", "CPU s"];
        let ended = [
            ("acknowledged by the node", format!("{written} transfers")),
            ("before the last backup", format!("{promised} transfers, none of them missing")),
            ("in the restored ledger", format!("{} transfers on {} accounts, each one compared", books.transfers, books.accounts)),
            ("debits, credits", format!("{} = {}", books.debits, books.credits)),
            ("newest transfer", books.newest_timestamp_ns.map_or_else(|| "none".into(), time_text)),
            ("in all", format!("{:.0} s", self.began.elapsed().as_secs_f64())),
        ];
        let text = format!("\n{}\n{}", table(&header, &rows), facts(&ended));
        let json = json!({
            "backups": backups,
            "restore": restored,
            "transfers_acknowledged": written,
            "transfers_promised": promised,
            "transfers_restored": books.transfers,
            "debits": books.debits.to_string(),
            "credits": books.credits.to_string(),
            "seconds": self.began.elapsed().as_secs_f64(),
        });
        Report::new(text, json)
    }
}

fn number_of(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or(0)
}
