//! Whether the repository holds what it promises, to the last byte.
//!
//! Keys and records of runs are checked here. Everything else each tier checks itself, as deep as
//! asked: [`crate::tier::Tier::check`]. Names that no tier knows are reported.
//!
//! Verification continues after the first problem and lists them all. It may run for hours beside
//! an agent that ships the log: it waits while other work has priority, and ends early when nobody
//! wants it any more.

mod outcome;
pub mod records;

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::tier::depth::Depth;
use crate::tier::findings::VerificationReport;
use crate::tier::{classes, tiers};
use std::sync::Arc;

/// Verifies the repository.
///
/// # Errors
/// [`crate::error::Error::try_again`] when the store cannot be read. Damage is not an error here;
/// it is in the report.
pub fn verify(repository: &Arc<Repository>, depth: Depth, progress: &dyn Progress) -> Result<VerificationReport> {
    let mut report = VerificationReport::default();
    records::keys(repository, &mut report)?;
    records::runs(repository, &mut report)?;
    for tier in tiers() {
        tier.check(repository, depth, progress, &mut report)?;
    }
    note_leftovers(&mut report);
    note_strangers(repository, &mut report)?;
    Ok(report)
}

/// Records which objects are damaged, so that the next backup stores their content again. Where
/// that is not possible, the report says so.
pub fn record_damage(repository: &Repository, report: &mut VerificationReport) {
    let recorded = repository.record_damage(report.problems.iter().map(|problem| problem.object.as_str()));
    if let Err(error) = recorded {
        report.notes.push(format!("what is damaged could not be recorded, so the next backup may build on it: {error}"));
    }
}

fn note_leftovers(report: &mut VerificationReport) {
    if report.leftovers > 0 {
        let (leftovers, size) = (report.leftovers, crate::units::bytes_text(report.leftover_bytes));
        report
            .notes
            .push(format!("{leftovers} objects ({size}) belong to no backup: a run is writing them now, or was killed; they harm nothing"));
    }
}

/// Names that no tier knows.
fn note_strangers(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    for class in classes() {
        for listed in repository.list_all(class.prefix)? {
            if !(class.is_ours)(&listed.name) {
                let name = listed.name;
                report.notes.push(format!("{name}: this name is not one of Amber's: something else wrote it, or an object was renamed"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
