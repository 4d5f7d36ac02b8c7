//! Checks the records beside the log: keys, timelines, gaps, runs, and how many leases there are.
//!
//! A timeline's record says what belongs together, so every restore reads all of them. One that is
//! damaged, or missing while objects of its timeline exist, keeps the repository from being
//! restored. A gap's record only explains; missing ops are noticed without it. A run's record is
//! history: no backup needs it.

use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::name::{self, CheckpointName, GapName, LeaseName, RunName, TIMELINE_FIRST};
use crate::tier::findings::VerificationReport;
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::timeline::Timelines;
use std::collections::BTreeSet;

const KEY_LOST: &str = "this way to open the repository is lost; wrap the key anew while another way opens it";

const TIMELINE_LOST: &str = "until it is put back from a copy of the repository, no reader can tell which backups and which log belong together, and nothing is restored";

const GAP_LOST: &str = "why and since when ops are missing is lost, and nothing else";

const RUN_LOST: &str = "the history of what ran has a hole here; the backups themselves are not touched by it";

fn and_so(mut error: Error, consequence: &str) -> Error {
    error.message = format!("{}: {consequence}", error.message);
    error
}

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

/// Opens the records of timelines.
///
/// # Errors
/// When the store cannot be read.
pub fn timelines(repository: &Repository, report: &mut VerificationReport) -> Result<Timelines> {
    let mut timelines = Timelines::default();
    for number in repository.list_all(name::TIMELINES)?.iter().filter_map(|listed| name::parse_timeline(&listed.name)) {
        report.objects += 1;
        let read = repository.timeline(number).map_err(|error| and_so(error, TIMELINE_LOST));
        if let Some(branch) = report.judge(&name::timeline_object(number), read)? {
            timelines.branches.insert(number, branch);
        }
    }
    Ok(timelines)
}

/// Checks that every timeline of which objects exist has its record.
///
/// # Errors
/// When the store cannot be read.
pub fn timelines_in_use(repository: &Repository, segments: &[u32], timelines: &Timelines, report: &mut VerificationReport) -> Result<()> {
    let of_backups = repository.backups()?.into_iter().map(|name: CheckpointName| name.timeline);
    let in_use: BTreeSet<u32> = of_backups.chain(segments.iter().copied()).filter(|number| *number != TIMELINE_FIRST).collect();
    let parents = timelines.branches.values().map(|branch| branch.parent).filter(|parent| *parent != TIMELINE_FIRST);
    for number in in_use.into_iter().chain(parents).collect::<BTreeSet<u32>>() {
        let object = name::timeline_object(number);
        let is_reported = timelines.branches.contains_key(&number) || report.problems.iter().any(|problem| problem.object == object);
        // The timeline may have been begun since the listing.
        if !is_reported && repository.store().size_bytes(&object)?.is_none() {
            report.problem(&object, format!("the record of timeline {number} is missing, though objects belong to it: {TIMELINE_LOST}"));
        }
    }
    Ok(())
}

/// Opens the records of gaps.
///
/// # Errors
/// When the store cannot be read.
pub fn gaps(repository: &Repository, report: &mut VerificationReport) -> Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    for name in repository.list_all(name::GAPS)?.iter().filter_map(|listed| GapName::parse(&listed.name)) {
        report.objects += 1;
        let read = repository.gap(&name).map_err(|error| and_so(error, GAP_LOST));
        gaps.extend(report.judge(&name.object(), read)?);
    }
    report.gaps = gaps.len() as u64;
    Ok(gaps)
}

/// Opens the records of runs.
///
/// # Errors
/// When the store cannot be read.
pub fn runs(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    for name in repository.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)) {
        report.objects += 1;
        report.runs += 1;
        let read = repository.run_record(&name).map_err(|error| and_so(error, RUN_LOST));
        report.judge(&name.object(), read)?;
    }
    Ok(())
}

/// Counts the beats of leases. They come and go while agents run, and nothing depends on them.
///
/// # Errors
/// When the store cannot be read.
pub fn leases(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    let listed = repository.list_all(name::LEASES)?;
    report.leases = listed.iter().filter(|listed| LeaseName::parse(&listed.name).is_some()).count() as u64;
    Ok(())
}
