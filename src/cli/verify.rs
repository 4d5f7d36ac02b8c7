//! `amber verify`: does the repository hold what it promises?

use super::Manner;
use super::limits::LimitArguments;
use super::list::{runs_json, runs_text};
use super::output::{Report, facts};
use super::recording::{Ended, Recording};
use super::repository::RepositoryArguments;
use crate::error::Result;
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::repository::Options;
use crate::repository::run_record::{Scope, Work};
use crate::tier::findings::{VerificationReport, error_of};
use crate::units::{bytes_text, now_ns};
use crate::verify;
use clap::Args;
use serde_json::json;
use std::time::Instant;

const AFTER_HELP: &str = "\
Without --full every object is fetched and the digest of its stored bytes compared: this finds every byte that changed, every object that is missing,
cut, swapped or renamed. Segments of the log that an agent shipped are in no manifest: there every frame is decrypted and authenticated. One
that was removed leaves a hole in the log, which is reported as a note. With --full every block and every prepare is decrypted, expanded and checked by TigerBeetle's own checksums too, and
the tree under every superblock and the chain of prepares of every timeline are walked. Exit code 4 when anything is wrong.

That it ran, and what it found, is recorded in the repository (`amber history`); --no-record, and rights that only let it read, leave that out.

  amber verify --repo s3://backups/ledger --full";

/// Arguments of `amber verify`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
    /// Open every block and every prepare, and walk every checkpoint's tree.
    #[arg(long)]
    full: bool,
    /// Leave no record of this verification in the repository.
    #[arg(long)]
    no_record: bool,
    #[command(flatten)]
    limits: LimitArguments,
}

/// Verifies.
pub fn run(arguments: &VerifyArguments, manner: Manner) -> Result<Report> {
    let began = Instant::now();
    let repository = arguments.repository.open(Options { governor: arguments.limits.governor(None), ..Options::default() })?;
    let progress = for_people(manner.quiet);
    let recording = Recording::begin(Work::Verification);
    let verified = verify::verify(&repository, arguments.full, &*progress);
    let found = if arguments.no_record {
        verified?
    } else {
        let scope = if arguments.full { Scope::Full } else { Scope::Incremental };
        let outcome = |found: &VerificationReport| found.outcome(arguments.full, &repository.describe(), now_ns());
        let (mut found, note) =
            recording.end(&repository, &*progress, verified, |found| Ended { run: None, scope, outcome: outcome(found) })?;
        found.notes.extend(note);
        found
    };
    let seconds = began.elapsed().as_secs_f64();
    let rows = [
        ("repository", repository.describe()),
        ("backups", format!("{} of {} intact", found.backups_whole, found.backups)),
        ("files", format!("{} of {} intact", found.files_whole, found.files)),
        ("log", log_text(&found)),
        ("objects", format!("{} checked, {} read, {seconds:.1} s", found.objects, bytes_text(found.bytes_read))),
        (
            "depth",
            if arguments.full {
                "every block, prepare and frame opened".into()
            } else {
                "digests of stored bytes (--full opens every block)".into()
            },
        ),
        ("problems", found.problems.len().to_string()),
    ];
    let mut text = facts(&rows);
    for problem in &found.problems {
        text.push_str(&format!("  {}: {}\n", problem.object, problem.what));
    }
    for note in &found.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    let problems: Vec<_> = found.problems.iter().map(|problem| json!({ "object": problem.object, "what": problem.what })).collect();
    let json = json!({
        "repository": repository.describe(),
        "full": arguments.full,
        "ok": problems.is_empty(),
        "backups": found.backups,
        "backups_whole": found.backups_whole,
        "files": found.files,
        "files_whole": found.files_whole,
        "objects": found.objects,
        "segments": found.segments,
        "log_bytes": found.log_bytes,
        "timelines": found.timelines,
        "gaps": found.gaps,
        "leases": found.leases,
        "runs": found.runs,
        "log_runs": found.log_runs.iter().map(|log| json!({ "timeline": log.timeline, "runs": runs_json(&log.runs) })).collect::<Vec<_>>(),
        "bytes_read": found.bytes_read,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds(),
        "peak_memory_bytes": peak_memory_bytes(),
        "problems": problems,
        "notes": found.notes,
    });
    Ok(Report { failure: error_of(&found, &repository.describe()), ..Report::new(text, json) })
}

fn log_text(found: &VerificationReport) -> String {
    let mut text = format!("{} segments, {}", found.segments, bytes_text(found.log_bytes));
    if found.timelines > 1 || found.gaps > 0 {
        text.push_str(&format!("; {} timelines, {} recorded gaps", found.timelines, found.gaps));
    }
    for log in found.log_runs.iter().filter(|log| !log.runs.is_empty()) {
        text.push_str(&format!("; timeline {}: {}", log.timeline, runs_text(&log.runs)));
    }
    text
}
