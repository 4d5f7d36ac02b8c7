//! Checks the records that belong to no tier: keys, and runs.
//!
//! A run's record is history: no backup needs it. But it remembers a backup of which nothing else
//! is left.

use crate::error::Result;
use crate::repository::Repository;
use crate::repository::name::{self, RunName};
use crate::repository::run_record::RunOutcome;
use crate::tier::findings::{Problem, VerificationReport, and_so};
use crate::tier::tiers;
use crate::units::time_text;
use std::collections::HashSet;

const KEY_LOST: &str = "this way to open the repository is lost; wrap the key anew while another way opens it";

const RUN_LOST: &str = "the history of what ran has a hole here; the backups themselves are not touched by it";

/// Checks header and key objects, as far as that needs no secret. The header was already checked
/// when the repository was opened.
///
/// # Errors
/// When the store cannot be read.
pub fn keys(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    report.objects += 1;
    for listed in repository.list_all(name::KEYS)? {
        report.objects += 1;
        let checked = repository.check_key_object(&listed.name).map_err(|error| and_so(error, KEY_LOST));
        report.judge(&listed.name, checked)?;
    }
    Ok(())
}

/// Opens the records of runs. A backup that they say was made must be there: who removed its record
/// and its receipt left nothing else that misses it.
///
/// # Errors
/// When the store cannot be read.
pub fn runs(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    let mut made = Vec::new();
    for name in repository.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)) {
        report.objects += 1;
        report.runs += 1;
        let read = repository.run_record(&name).map_err(|error| and_so(error, RUN_LOST));
        let record = report.judge(&name.object(), read)?;
        let backup = record.filter(|record| record.run.work.is_backup()).and_then(|record| record.outcome);
        made.extend(backup.filter(|outcome| outcome.completed && !outcome.location.is_empty()).map(|outcome| (name, outcome)));
    }
    // Listed after the runs: a backup that is made meanwhile exists before its run's record does.
    let known = known(repository)?;
    for (name, RunOutcome { location, ended_ns, .. }) in made {
        // A tier of a later version knows its own.
        let is_ours = tiers().iter().any(|tier| location.starts_with(tier.promises().records));
        if is_ours && !known.contains(&location) {
            let what = format!(
                "{} says that this backup was made, by {}; it is gone, with its receipt: nothing can be restored from it",
                name.object(),
                time_text(ended_ns)
            );
            report.problems.push(Problem { object: location, what });
        }
    }
    Ok(())
}

/// The names of all records of backups that are there, or that a receipt promises. What only the
/// receipt has is reported by its tier.
fn known(repository: &Repository) -> Result<HashSet<String>> {
    let mut known = HashSet::new();
    for promises in tiers().iter().map(|tier| tier.promises()) {
        known.extend(repository.list_all(promises.records)?.into_iter().map(|listed| listed.name));
        let receipts = repository.list_all(promises.receipts)?;
        known.extend(
            receipts.iter().filter_map(|listed| Some(format!("{}{}", promises.records, listed.name.strip_prefix(promises.receipts)?))),
        );
    }
    Ok(known)
}
