//! `amber backup`: one backup now.

use super::Manner;
use super::backup_file::FileArguments;
use super::command_run::{CommandRun, Ended};
use super::limits::{LimitArguments, UploadLimit};
use super::output::{Report, facts};
use super::repository::RepositoryArguments;
use super::tenant::TenantArgument;
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::pipeline::compress::LEVEL_MAX;
use crate::pipeline::compress::LEVEL_MIN;
use crate::pipeline::level::LEVEL_DEFAULT;
use crate::repository::Options;
use crate::repository::run_record::Work;
use crate::tier::tigerbeetle::capture::{self, Backup};
use crate::tier::tigerbeetle::facts::{outcome, scope_of, summary_json, summary_rows};
use crate::units::bytes_text;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

const AFTER_HELP: &str = "\
The server may run, and goes on undisturbed: Amber only reads the file, beside it. What is stored is a checkpoint, every block of it checked
by TigerBeetle's own checksums, and the log behind it. Blocks that the repository holds already are not stored again, whichever replica they came from.

  amber backup tigerbeetle --repo s3://backups/ledger --data-file /var/lib/tigerbeetle/0_0.tigerbeetle";

/// What to back up.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back up a TigerBeetle replica from its data file, while it runs.
    Tigerbeetle(TigerbeetleArguments),
    /// Back up a plain file that nobody is writing to.
    File(FileArguments),
}

/// Arguments of `amber backup tigerbeetle`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct TigerbeetleArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
    /// The data file that `tigerbeetle start` was given.
    #[arg(long, value_name = "FILE")]
    data_file: PathBuf,
    #[command(flatten)]
    tenant: TenantArgument,
    /// zstd level, -7 (fastest) to 15 (smallest). Up to 1, what compresses in part only is entropy
    /// coded and no more.
    #[arg(long, default_value_t = LEVEL_DEFAULT, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(i64::from(LEVEL_MIN)..=i64::from(LEVEL_MAX)))]
    level: i32,
    /// Threads that compress and encrypt; as many as there are cores otherwise, at most 8.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Where the data file continues another history than the repository, because its cluster was
    /// restored to an earlier op and went on from there, store it as a timeline of its own beside
    /// the old one.
    #[arg(long)]
    new_timeline: bool,
    /// Read through the page cache instead of O_DIRECT.
    #[arg(long)]
    no_direct: bool,
    /// Read with pread instead of io_uring.
    #[arg(long)]
    no_io_uring: bool,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    upload: UploadLimit,
}

/// Makes the backup.
pub fn run(command: &BackupCommand, manner: Manner) -> Result<Report> {
    match command {
        BackupCommand::Tigerbeetle(arguments) => run_tigerbeetle(arguments, manner),
        BackupCommand::File(arguments) => super::backup_file::run(arguments, manner),
    }
}

fn run_tigerbeetle(arguments: &TigerbeetleArguments, manner: Manner) -> Result<Report> {
    let began = Instant::now();
    let defaults = Options::default();
    let (workers, governor) = (arguments.workers.map_or(defaults.workers, usize::from), arguments.limits.governor(Some(&arguments.upload)));
    let options = Options { level: arguments.level, workers, governor, ..defaults };
    let repository = arguments.repository.open(options)?;
    let read = ReadOptions { direct: !arguments.no_direct, uring: !arguments.no_io_uring, ..ReadOptions::default() };
    let progress = for_people(manner.quiet);
    let recording = CommandRun::begin(Work::Tigerbeetle).of_tenant(arguments.tenant.number().as_deref());
    let made = if arguments.new_timeline {
        capture::backup_any_history(&repository, &arguments.data_file, read, &*progress)
    } else {
        capture::backup(&repository, &arguments.data_file, read, &*progress)
    };
    let (mut backup, note) = recording.end(&repository, &*progress, made, |backup| Ended {
        run: Some(backup.name.run),
        scope: scope_of(&backup.summary),
        outcome: outcome(&backup.name, &backup.summary, &backup.receipt()),
    })?;
    backup.notes.extend(note);
    Ok(report(&backup, began.elapsed().as_secs_f64()))
}

fn report(backup: &Backup, seconds: f64) -> Report {
    let (summary, cpu) = (&backup.summary, cpu_seconds());
    let mut rows = summary_rows(summary);
    rows.insert(0, ("backup", backup.name.object()));
    rows.push(("manifest", bytes_text(backup.manifest_bytes)));
    rows.push(("time", format!("{seconds:.1} s, {cpu:.2} CPU s, at most {} of memory", bytes_text(peak_memory_bytes()))));
    let mut json = summary_json(summary);
    if let Value::Object(fields) = &mut json {
        fields.insert("name".into(), json!(backup.name.object()));
        fields.insert("manifest_bytes".into(), json!(backup.manifest_bytes));
        fields.insert("seconds".into(), json!(seconds));
        fields.insert("cpu_seconds".into(), json!(cpu));
        fields.insert("peak_memory_bytes".into(), json!(peak_memory_bytes()));
        fields.insert("notes".into(), json!(backup.notes));
    }
    Report::new(facts(&rows), json)
}
