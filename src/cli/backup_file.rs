//! `amber backup file`: one plain file, as it is now.

use super::command_run::{CommandRun, Ended};
use super::limits::{LimitArguments, UploadLimit};
use super::output::{Report, facts};
use super::repository::RepositoryArguments;
use super::tenant::TenantArgument;
use super::{Manner, user_folders};
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::pipeline::compress::LEVEL_MAX;
use crate::pipeline::compress::LEVEL_MIN;
use crate::pipeline::level::LEVEL_DEFAULT;
use crate::repository::Options;
use crate::repository::name::PLAIN_FILES;
use crate::repository::run_record::{Scope, Work};
use crate::tier::file::capture;
use crate::tier::file::capture::Backup;
use crate::tier::file::place;
use crate::tier::file::request::FileCaptureRequest;
use crate::units::{bytes_text, time_text};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

const AFTER_HELP: &str = "\
For files that nobody writes to: archives, exports, a copy of a database. A file that is changed while it is read is refused. Where only its
permissions, links or time of change are others at the end, it is read again and compared. On file systems that cannot tell (memory maps on tmpfs, changes
by other machines on network file systems) a note says so. For the data file of a running TigerBeetle there is `amber backup tigerbeetle`.

An upload that is cut short, by a kill or an outage, is resumed by the same command: what the store holds already is not sent again. What was
sent is noted in --state-dir.

  amber backup file /archive/2026-10.parquet --name ledger-2026-10 --repo s3://backups/ledger";

/// Arguments of `amber backup file`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct FileArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
    /// The file.
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// What it is called in the repository: 1 to 128 of a-z, 0-9, '.', '_' and '-'.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    tenant: TenantArgument,
    /// Where uploads are noted so that they can be resumed; $XDG_STATE_HOME/amber or
    /// ~/.local/state/amber otherwise.
    #[arg(long, value_name = "DIR", env = "AMBER_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// zstd level, -7 (fastest) to 15 (smallest). Up to 1, what compresses in part only is entropy
    /// coded and no more.
    #[arg(long, default_value_t = LEVEL_DEFAULT, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(i64::from(LEVEL_MIN)..=i64::from(LEVEL_MAX)))]
    level: i32,
    /// Threads that compress and encrypt; as many as there are cores otherwise, at most 8.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    upload: UploadLimit,
    /// Read through the page cache instead of O_DIRECT.
    #[arg(long)]
    no_direct: bool,
    /// Read with pread instead of io_uring.
    #[arg(long)]
    no_io_uring: bool,
}

/// Makes the backup.
pub fn run(arguments: &FileArguments, manner: Manner) -> Result<Report> {
    let began = Instant::now();
    capture::check_file_name(&arguments.name)?;
    let defaults = Options::default();
    let (workers, governor) = (arguments.workers.map_or(defaults.workers, usize::from), arguments.limits.governor(Some(&arguments.upload)));
    let options = Options { level: arguments.level, workers, governor, ..defaults };
    let repository = arguments.repository.open(options)?;
    let tenant = arguments.tenant.number();
    let request = FileCaptureRequest {
        path: arguments.path.clone(),
        place: &PLAIN_FILES,
        name: arguments.name.clone(),
        tenant: tenant.clone(),
        journals: arguments.state_dir.clone().or_else(user_folders::state),
        read: ReadOptions { direct: !arguments.no_direct, uring: !arguments.no_io_uring, ..ReadOptions::default() },
        run: None,
    };
    let progress = for_people(manner.quiet);
    let recording = CommandRun::begin(Work::File).of_tenant(tenant.as_deref());
    let made = capture::backup(&repository, &request, &*progress);
    let (mut backup, note) = recording.end(&repository, &*progress, made, |backup| Ended {
        run: Some(backup.name.run),
        scope: Scope::Full,
        outcome: place::outcome(&backup.name, &backup.record, &backup.receipt),
    })?;
    backup.notes.extend(note);
    Ok(report(&backup, began.elapsed().as_secs_f64()))
}

fn report(backup: &Backup, seconds: f64) -> Report {
    let (record, cpu) = (&backup.record, cpu_seconds());
    let mut rows = vec![
        ("backup", backup.name.record()),
        ("file", format!("{}, {}, changed {}", record.path, bytes_text(record.file_bytes), time_text(record.modified_ns))),
        ("bytes", format!("{} read, {} stored", bytes_text(backup.bytes_read), bytes_text(record.stored_bytes))),
        ("digest", record.digest.clone()),
    ];
    if backup.resumed_bytes > 0 {
        rows.push(("resumed", format!("{} of the file had been sent before", bytes_text(backup.resumed_bytes))));
    }
    rows.push(("time", format!("{seconds:.1} s, {cpu:.2} CPU s, at most {} of memory", bytes_text(peak_memory_bytes()))));
    let json = json!({
        "name": backup.name.record(),
        "path": record.path,
        "file_bytes": record.file_bytes,
        "bytes_read": backup.bytes_read,
        "bytes_stored": record.stored_bytes,
        "bytes_held": backup.resumed_bytes,
        "digest": record.digest,
        "part_bytes": record.part_bytes,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory_bytes": peak_memory_bytes(),
        "notes": backup.notes,
    });
    Report::new(facts(&rows), json)
}
