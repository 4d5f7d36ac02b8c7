//! `amber restore file`: one plain file, as it was backed up.

use super::Manner;
use super::output::{Report, facts};
use super::repository::RepositoryArguments;
use super::restore_run::{RestoreFacts, RestoreRun};
use crate::error::Result;
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::names::path_text;
use crate::repository::Options;
use crate::repository::name::{PLAIN_FILES, RunId};
use crate::tier::file::capture::check_file_name;
use crate::tier::file::restore::{FileRestoreRequest, Restored, restore_file};
use crate::units::{bytes_text, time_text};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

const AFTER_HELP: &str = "\
Nothing stands under the output's name before the whole file was written, read back from the disk and checked. With --no-read-back it is checked
before it is written, and on the disk when the command ends; that the disk gives back the same is then taken on trust.

  amber restore file ledger-2026-10 --output /archive/2026-10.parquet --repo s3://backups/ledger
  amber restore file ledger-2026-10 --output new.parquet --base old.parquet        fetch only what differs from old.parquet";

/// Arguments of `amber restore file`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct FileArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
    /// What the file is called in the repository.
    #[arg(value_name = "NAME")]
    name: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Restore the backup of this run (`amber list` shows them); the newest otherwise.
    #[arg(long, value_name = "RUN", value_parser = parse_run)]
    run: Option<RunId>,
    /// A file that may hold much of it already, such as an older copy: what is the same there is
    /// not fetched. It is only read, and may be the output itself with --overwrite.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// Replace a file that stands under the output's name.
    #[arg(long)]
    overwrite: bool,
    /// Trust the disk: do not read back what was written.
    #[arg(long)]
    no_read_back: bool,
}

fn parse_run(text: &str) -> std::result::Result<RunId, String> {
    let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    number.map(RunId).ok_or_else(|| "a run is 16 hexadecimal digits".to_owned())
}

/// Restores.
pub fn run(arguments: &FileArguments, manner: Manner) -> Result<Report> {
    let began = Instant::now();
    check_file_name(&arguments.name)?;
    let repository = arguments.repository.open(Options::default())?;
    let request = FileRestoreRequest {
        place: &PLAIN_FILES,
        name: arguments.name.clone(),
        run: arguments.run,
        output: arguments.output.clone(),
        overwrite: arguments.overwrite,
        base: arguments.base.clone(),
        read_back: !arguments.no_read_back,
    };
    let progress = for_people(manner.quiet);
    let run = RestoreRun::begin(&PLAIN_FILES.promises);
    let done = restore_file(&repository, &request, &*progress);
    let facts = |restored: &Restored| RestoreFacts {
        location: restored.name.record(),
        restored_bytes: restored.record.file_bytes,
        expected_seconds: None,
    };
    let (restored, note) = run.end(&repository, &*progress, done, facts)?;
    let mut report = report(&request, &restored, began.elapsed().as_secs_f64());
    report.add_note(note);
    Ok(report)
}

fn report(request: &FileRestoreRequest, restored: &Restored, seconds: f64) -> Report {
    let (record, cpu) = (&restored.record, cpu_seconds());
    let mut rows = vec![
        ("restored", path_text(&request.output)),
        ("from", format!("{}, stored {}", restored.name.record(), time_text(record.ended_ns))),
        ("bytes", format!("{} fetched, {} written", bytes_text(restored.bytes_fetched), bytes_text(record.file_bytes))),
        (
            "checked",
            if request.read_back { "every frame, read back from the disk" } else { "every frame, before it was written" }.to_owned(),
        ),
    ];
    if let Some(base) = &request.base {
        rows.push(("base", format!("{} were the same in {}", bytes_text(restored.bytes_kept), base.display())));
    }
    rows.push(("time", format!("{seconds:.1} s, {cpu:.2} CPU s, at most {} of memory", bytes_text(peak_memory_bytes()))));
    let json = json!({
        "file": path_text(&request.output),
        "backup": restored.name.record(),
        "file_bytes": record.file_bytes,
        "bytes_fetched": restored.bytes_fetched,
        "bytes_kept": restored.bytes_kept,
        "read_back": request.read_back,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory_bytes": peak_memory_bytes(),
    });
    Report::new(facts(&rows), json)
}
