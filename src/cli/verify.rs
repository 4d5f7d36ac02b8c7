//! `amber verify`: does the repository hold what it promises?

use super::Manner;
use super::command_run::{CommandRun, Ended};
use super::limits::LimitArguments;
use super::output::{Report, facts};
use super::repository::RepositoryArguments;
use crate::error::Result;
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::repository::Options;
use crate::repository::run_record::{Scope, Work};
use crate::tier::depth::Depth;
use crate::tier::findings::{TierFindings, VerificationReport, error_of};
use crate::units::{bytes_text, now_ns};
use crate::verify;
use clap::Args;
use serde_json::{Map, Value, json};
use std::time::Instant;

const AFTER_HELP: &str = "\
Without --full every object is fetched and the digest of its stored bytes compared: this finds every byte that changed, every object that is missing,
cut, swapped or renamed. Segments of the log that an agent shipped are in no manifest: there every frame is decrypted and authenticated. One
that was removed leaves a hole in the log, which is reported as a note. With --full every block and every prepare is decrypted, expanded and checked by TigerBeetle's own checksums too, and
the tree under every superblock and the chain of prepares of every timeline are walked. --existence is the other way: records are opened, and what they
name is there with its size; it costs a request for each object. Exit code 4 when anything is wrong.

That it ran, and what it found, is recorded in the repository (`amber history`); --no-record, and rights that only let it read, leave that out.

  amber verify --repo s3://backups/ledger --full";

/// Arguments of `amber verify`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
    /// Open every block and every prepare, and walk every checkpoint's tree.
    #[arg(long, conflicts_with = "existence")]
    full: bool,
    /// Read no data: records open, and what they name is there with its size.
    #[arg(long)]
    existence: bool,
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
    let recording = CommandRun::begin(Work::Verification);
    let verified = verify::verify(&repository, arguments.depth(), &*progress);
    let found = if arguments.no_record {
        verified?
    } else {
        let scope = if arguments.full { Scope::Full } else { Scope::Incremental };
        let outcome = |found: &VerificationReport| found.outcome(arguments.depth(), &repository.describe(), now_ns());
        let (mut found, note) =
            recording.end(&repository, &*progress, verified, |found| Ended { run: None, scope, outcome: outcome(found) })?;
        found.notes.extend(note);
        verify::record_damage(&repository, &mut found);
        found
    };
    let seconds = began.elapsed().as_secs_f64();
    let mut rows =
        vec![("repository", repository.describe()), ("backups", format!("{} of {} intact", found.backups_intact(), found.backups()))];
    rows.extend(found.tiers.values().flat_map(|tier| tier.rows.iter().cloned()));
    rows.extend([
        ("objects", format!("{} checked, {} read, {seconds:.1} s", found.objects, bytes_text(found.bytes_read))),
        ("depth", depth_text(arguments.depth()).to_owned()),
        ("problems", found.problems.len().to_string()),
    ]);
    let mut text = facts(&rows);
    for problem in &found.problems {
        text.push_str(&format!("  {}: {}\n", problem.object, problem.what));
    }
    for note in &found.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    let problems: Vec<_> = found.problems.iter().map(|problem| json!({ "object": problem.object, "what": problem.what })).collect();
    let of_tier = |tier: &TierFindings| json!({ "backups": tier.backups, "backups_intact": tier.intact });
    let tiers: Map<String, Value> = found.tiers.iter().map(|(name, tier)| ((*name).to_owned(), of_tier(tier))).collect();
    let mut json = json!({
        "repository": repository.describe(),
        "full": arguments.full,
        "ok": problems.is_empty(),
        "depth": arguments.depth().word(),
        "backups": found.backups(),
        "backups_whole": found.backups_intact(),
        "tiers": tiers,
        "objects": found.objects,
        "runs": found.runs,
        "bytes_read": found.bytes_read,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds(),
        "peak_memory_bytes": peak_memory_bytes(),
        "problems": problems,
        "notes": found.notes,
    });
    if let Value::Object(members) = &mut json {
        let figures = found.tiers.values().flat_map(|tier| tier.figures.iter().cloned());
        members.extend(figures.map(|(member, value)| (member.to_owned(), value)));
    }
    Ok(Report { failure: error_of(&found, &repository.describe()), ..Report::new(text, json) })
}

impl VerifyArguments {
    fn depth(&self) -> Depth {
        match (self.full, self.existence) {
            (true, _) => Depth::Full,
            (_, true) => Depth::Existence,
            _ => Depth::Digests,
        }
    }
}

fn depth_text(depth: Depth) -> &'static str {
    match depth {
        Depth::Existence => "existence and size (without --existence the bytes are read, too)",
        Depth::Digests => "digests of stored bytes (--full opens every block)",
        Depth::Full => "every block, prepare and frame opened",
    }
}
