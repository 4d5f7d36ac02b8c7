//! `amber restore`: any backup as it is, or with all that its tier can do.

use super::Manner;
use super::output::{Report, facts};
use super::repository::RepositoryArguments;
use super::restore_run::{RestoreFacts, RestoreRun};
use super::show;
use super::tier_commands::TierRestoreCommand;
use crate::error::{Error, Result};
use crate::monitor::progress::for_people;
use crate::names::path_text;
use crate::progress::Progress;
use crate::repository::{Options, Repository};
use crate::tier::objective::Estimate;
use crate::tier::request::{AsOf, TierRestoreRequest, TierRestored};
use crate::tier::{Tier, tier};
use crate::units::{bytes_text, parse_time};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

const AFTER_HELP: &str = "\
Which backup: its run or its whole name, as `amber list` prints them; or its tier, with --time as of when, and --name where the tier has several sources.

  amber restore backup 000019a4c1d2e3f4 --output restored
  amber restore backup --tier file --name ledger-2026-10 --time 2026-11-21T10:00:00Z --output restored --dry-run";

/// What to restore.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Restore a backup of any tier.
    Backup(BackupArguments),
    /// With all that its tier can do.
    #[command(flatten)]
    OfTier(TierRestoreCommand),
}

/// Arguments of `amber restore backup`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct BackupArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
    /// The backup.
    #[arg(required_unless_present = "tier", conflicts_with_all = ["tier", "name", "time"])]
    backup: Option<String>,
    /// The tier, as `amber verify` names it.
    #[arg(long, value_name = "TIER")]
    tier: Option<String>,
    /// Which of the tier's sources.
    #[arg(long, requires = "tier")]
    name: Option<String>,
    /// As of this time: RFC 3339, or nanoseconds since the epoch; the newest otherwise.
    #[arg(long, value_name = "T", requires = "tier")]
    time: Option<String>,
    /// What is written. Nothing stands under this name before it is whole and checked.
    #[arg(long, value_name = "PATH")]
    output: PathBuf,
    /// Replace what stands under the output's name.
    #[arg(long)]
    overwrite: bool,
    /// Say what it would take, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Restores.
pub fn run(command: &RestoreCommand, manner: Manner) -> Result<Report> {
    match command {
        RestoreCommand::OfTier(command) => command.run(manner),
        RestoreCommand::Backup(arguments) => {
            let repository = arguments.repository.open(Options::default())?;
            restore(&repository, arguments, &*for_people(manner.quiet))
        }
    }
}

fn restore(repository: &Arc<Repository>, arguments: &BackupArguments, progress: &dyn Progress) -> Result<Report> {
    let (tier, as_of, name) = arguments.wanted(repository)?;
    if arguments.dry_run {
        return Ok(plan_report(tier, arguments, tier.estimate(repository, as_of, name.as_deref())?));
    }
    let run = RestoreRun::begin(tier.promises());
    let request = TierRestoreRequest { as_of, name, output: arguments.output.clone(), overwrite: arguments.overwrite };
    let done = tier.restore(repository, &request, progress);
    let facts = |restored: &TierRestored| RestoreFacts {
        location: crate::repository::name::Promised::record_object(&restored.backup),
        restored_bytes: restored.bytes_written,
        expected_seconds: Some(restored.estimate.seconds),
    };
    let (restored, note) = run.end(repository, progress, done, facts)?;
    let mut report = report(tier, arguments, &restored);
    report.add_note(note);
    Ok(report)
}

impl BackupArguments {
    /// The tier, as of when, and which of its sources.
    fn wanted(&self, repository: &Repository) -> Result<(&'static dyn Tier, AsOf, Option<String>)> {
        match (&self.backup, &self.tier) {
            (Some(wanted), _) => {
                let (tier, backup) = show::find(repository, Some(wanted))?;
                // Between its prefix and its run a name says which of the tier's sources it is.
                let name = backup.tail.rsplit_once('/').map(|(name, _)| name.to_owned());
                Ok((tier, AsOf::Run(backup.run), name))
            }
            (None, Some(name)) => {
                let as_of = self.time.as_deref().map(parse_time).transpose()?.map_or(AsOf::Newest, AsOf::Time);
                Ok((tier(name)?, as_of, self.name.clone()))
            }
            (None, None) => Err(Error::input("name a backup, or its tier with --tier")),
        }
    }
}

fn estimate_json(estimate: Estimate) -> Value {
    json!({ "bytes": estimate.bytes, "requests": estimate.requests, "seconds": estimate.seconds })
}

fn plan_report(tier: &dyn Tier, arguments: &BackupArguments, estimate: Estimate) -> Report {
    let rows = [
        ("would write", path_text(&arguments.output)),
        ("tier", tier.name().to_owned()),
        ("fetches", format!("{} in about {} requests", bytes_text(estimate.bytes), estimate.requests)),
        ("expected", format!("{:.0} s; {} s are the objective", estimate.seconds, tier.objective().recovery_time.as_secs())),
    ];
    let json = json!({ "dry_run": true, "tier": tier.name(), "output": arguments.output, "expected": estimate_json(estimate) });
    Report::new(facts(&rows), json)
}

fn report(tier: &dyn Tier, arguments: &BackupArguments, restored: &TierRestored) -> Report {
    let location = crate::repository::name::Promised::record_object(&restored.backup);
    let rows = [
        ("restored", path_text(&arguments.output)),
        ("to", restored.state.clone()),
        ("from", location.clone()),
        ("bytes", format!("{} fetched, {} written", bytes_text(restored.bytes_fetched), bytes_text(restored.bytes_written))),
    ];
    let json = json!({
        "tier": tier.name(),
        "output": arguments.output,
        "state": restored.state,
        "backup": location,
        "bytes_fetched": restored.bytes_fetched,
        "bytes_written": restored.bytes_written,
        "expected": estimate_json(restored.estimate),
        "notes": restored.notes,
    });
    Report::new(facts(&rows), json)
}

#[cfg(test)]
mod tests;
