//! The program's commands: arguments in, one call, the result printed.
//!
//! Flow: [`run()`] parses the arguments. Each command's file makes its call and returns an
//! [`output::Report`], which is printed for people or, with `--json`, as one JSON object on the
//! standard output. Everything else (progress, notes, errors) goes to the standard error. The exit
//! code is that of the error's [`Kind`].

pub mod agent;
pub mod ask;
pub mod backup;
pub mod backup_file;
pub mod bench;
pub mod catalog;
pub mod catalog_place;
mod command_run;
#[cfg(feature = "client")]
pub mod demo;
#[cfg(feature = "client")]
pub mod events;
pub mod history;
pub mod init;
pub mod inspect;
mod inspect_books;
pub mod jobs;
pub mod limits;
pub mod list;
pub mod list_catalog;
pub mod manual;
pub mod output;
pub mod pause;
pub mod repository;
pub mod restore;
pub mod restore_file;
mod restore_run;
mod restore_tigerbeetle;
pub mod run;
pub mod show;
pub mod status;
mod status_text;
pub mod tenant;
mod tier_commands;
mod uploads;
pub mod user_folders;
pub mod verify;
pub mod version;

use crate::error::{Error, Kind, Result};
use clap::{CommandFactory, Parser, Subcommand};
use output::Report;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  a bug in Amber: please report it
  2  usage or bad input: fix the command, the path, the key or the file
  3  try again: the store or the node is not available now
  4  damaged data: bytes are missing or not what was stored

Secrets: the passphrase comes from --passphrase-file or AMBER_PASSPHRASE, never from an argument.
S3 credentials come from the usual AWS places: environment, profile, web identity, container, instance.

A first backup:
  amber init   --repo /backup/ledger --passphrase-file pass
  amber backup tigerbeetle --repo /backup/ledger --passphrase-file pass --data-file 0_0.tigerbeetle
  amber verify --repo /backup/ledger --passphrase-file pass --full";

/// Continuous, verified, encrypted backup and recovery for TigerBeetle ledgers.
#[derive(Debug, Parser)]
#[command(name = "amber", version, long_version = version::LONG, max_term_width = 120, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Print one JSON object instead of text, also for errors.
    #[arg(long, global = true)]
    json: bool,
    /// No progress on the standard error; notes and errors are still said.
    #[arg(long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new, empty repository.
    Init(init::InitArguments),
    /// Back up a running system.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Ship the log of a running replica continuously, and take checkpoints when recovery needs
    /// them.
    Agent(agent::AgentArguments),
    /// Show how an agent is doing: what is durable, how far behind it is, what needs attention.
    Status(status::StatusArguments),
    /// List the jobs of an agent: when each runs, when it ran last, and how that went.
    Jobs(jobs::JobsArguments),
    /// Run a job of an agent now.
    Run(run::RunArguments),
    /// Keep a job of an agent from running by itself.
    Pause(pause::PauseArguments),
    /// Let a paused job go on.
    Resume(pause::PauseArguments),
    /// List the backups in a repository.
    List(list::ListArguments),
    /// Show everything about one backup.
    Show(show::ShowArguments),
    /// Restore from a repository.
    #[command(subcommand)]
    Restore(restore::RestoreCommand),
    /// Check that a repository holds what it promises.
    Verify(verify::VerifyArguments),
    /// List what ran: backups, verifications, drills, retention.
    History(history::HistoryArguments),
    /// Ask the catalog of what ran with SQL, or make it again from the repository.
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Read the trail of backups in a TigerBeetle ledger, and hold it against the repository.
    #[cfg(feature = "client")]
    Events(events::EventsArguments),
    /// List uploads that were begun and never finished, and abort them.
    Uploads(uploads::UploadsArguments),
    /// Look into a TigerBeetle data file: superblock, log, reachable blocks. Also works while the
    /// server runs.
    Inspect(inspect::InspectArguments),
    /// Measure what a backup costs on this machine, stage by stage, and learn what to set.
    Bench(bench::BenchArguments),
    /// See it all happen: a real TigerBeetle under load is backed up, destroyed, restored and
    /// checked.
    #[cfg(feature = "client")]
    Demo(demo::DemoArguments),
    /// Make man pages of this help.
    Manual(manual::ManualArguments),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How a command shows progress and results.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// The output is JSON.
    pub json: bool,
    /// Progress is not shown.
    pub quiet: bool,
}

/// The whole program: parses the process's arguments, runs the command, prints. Returns the exit
/// code.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return match (error.use_stderr(), printed) {
                (true, _) => ExitCode::from(Kind::Input.exit_code()),
                (false, Err(error)) if error.kind() != ErrorKind::BrokenPipe => ExitCode::from(Kind::TryAgain.exit_code()),
                (false, _) => ExitCode::SUCCESS,
            };
        }
    };
    let manner = Manner { json: arguments.json, quiet: arguments.quiet || arguments.json };
    let result =
        forbid_core_dumps().and_then(|()| crate::stop::files_may_be_too_large()).and_then(|()| dispatch(arguments.command, manner));
    match result {
        Ok(report) => {
            let printed = report.print(manner.json);
            let to_people = Manner { json: false, ..manner };
            let code = printed.err().map(|error| fail(&error, to_people));
            // What the command found counts more than that it could not be shown.
            let failed = report.failure.as_ref().map(|error| fail(error, to_people));
            failed.or(code).unwrap_or(ExitCode::SUCCESS)
        }
        Err(error) => fail(&error, manner),
    }
}

fn fail(error: &Error, manner: Manner) -> ExitCode {
    output::print_error(error, manner.json);
    ExitCode::from(error.kind.exit_code())
}

fn dispatch(command: Command, manner: Manner) -> Result<Report> {
    match command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Backup(command) => backup::run(&command, manner),
        Command::Agent(arguments) => agent::run(&arguments),
        Command::Status(arguments) => status::run(&arguments, manner),
        Command::Jobs(arguments) => jobs::run(&arguments),
        Command::Run(arguments) => run::run(&arguments, manner),
        Command::Pause(arguments) => pause::run(&arguments, true),
        Command::Resume(arguments) => pause::run(&arguments, false),
        Command::List(arguments) => list::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::Restore(command) => restore::run(&command, manner),
        Command::Verify(arguments) => verify::run(&arguments, manner),
        Command::History(arguments) => history::run(&arguments, manner),
        Command::Catalog(command) => catalog::run(&command, manner),
        #[cfg(feature = "client")]
        Command::Events(arguments) => events::run(&arguments),
        Command::Uploads(arguments) => uploads::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments, manner),
        Command::Bench(arguments) => bench::run(&arguments, manner),
        #[cfg(feature = "client")]
        Command::Demo(arguments) => demo::run(&arguments, manner),
        Command::Manual(arguments) => manual::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "amber", &mut script);
            Ok(Report::verbatim(String::from_utf8_lossy(&script).into_owned()))
        }
    }
}

/// This process has keys in its memory, which must not be dumped to a disk or read by other
/// processes of the user.
fn forbid_core_dumps() -> Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let refused = |error: rustix::io::Errno| Error::try_again(format!("core dumps cannot be forbidden: {error}")).caused_by(error);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(refused)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)
}
