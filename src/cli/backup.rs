//! `amber backup`: one backup now.

use super::Manner;
use super::backup_file::FileArguments;
use super::limits::{LimitArguments, UploadLimit};
use super::output::{Report, facts};
use super::recording::{Ended, Recording};
use super::repository::RepositoryArguments;
use crate::disk::file::ReadOptions;
use crate::error::{Error, Result};
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::pipeline::compress::LEVEL_MAX;
use crate::pipeline::compress::LEVEL_MIN;
use crate::pipeline::level::LEVEL_DEFAULT;
use crate::repository::Options;
use crate::repository::run_record::Work;
use crate::tier::outcome;
use crate::tier::tigerbeetle::capture::{self, Backup};
use crate::tier::tigerbeetle::format::manifest::Summary;
use crate::units::{bytes_text, time_text};
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
    let read = ReadOptions { direct: !arguments.no_direct, uring: !arguments.no_io_uring };
    let progress = for_people(manner.quiet);
    let recording = Recording::begin(Work::Tigerbeetle);
    let made = if arguments.new_timeline {
        capture::backup_any_history(&repository, &arguments.data_file, read, &*progress)
    } else {
        capture::backup(&repository, &arguments.data_file, read, &*progress)
    };
    let (mut backup, note) = recording.end(&repository, &*progress, made, |backup| Ended {
        run: Some(backup.name.run),
        scope: outcome::scope_of(&backup.summary),
        outcome: outcome::of_checkpoint(&backup.name, &backup.summary, &backup.receipt()),
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

/// A manifest's summary as text for people.
pub fn summary_rows(summary: &Summary) -> Vec<(&'static str, String)> {
    let from = format!("op {} to op {}", summary.first_restorable_op, summary.recovered_to_op);
    let unsure = summary.recovered_to_op - summary.commit_known_op;
    let certainty = if unsure == 0 || summary.replica_count == 1 {
        String::new()
    } else {
        format!(" (the last {unsure} prepared, commit not yet seen)")
    };
    vec![
        (
            "cluster",
            format!("{}, replica {} of {}, release {}", decimal(&summary.cluster), summary.replica, summary.replica_count, summary.release),
        ),
        ("checkpoint", format!("op {}, timeline {}", summary.checkpoint_op, summary.timeline)),
        ("recovered to", format!("op {} at {}{certainty}", summary.recovered_to_op, time_text(summary.recovered_to_timestamp_ns))),
        ("restorable", from),
        ("data file", bytes_text(summary.data_file_bytes)),
        ("blocks", format!("{} in all, {} stored, {} stored before", summary.blocks, summary.blocks_stored, summary.blocks_reused)),
        (
            "bytes",
            format!("{} read, {} stored, in {} rounds", bytes_text(summary.bytes_read), bytes_text(summary.bytes_stored), summary.rounds),
        ),
        ("captured", format!("{} to {}", time_text(summary.began_ns), time_text(summary.ended_ns))),
    ]
}

/// A manifest's summary as JSON.
pub fn summary_json(summary: &Summary) -> Value {
    serde_json::to_value(summary).unwrap_or_else(|error| json!({ "error": Error::bug(error.to_string()).message }))
}

/// A cluster id as TigerBeetle writes it.
pub fn decimal(hexadecimal: &str) -> String {
    u128::from_str_radix(hexadecimal, 16).map_or_else(|_| hexadecimal.to_owned(), |number| number.to_string())
}
