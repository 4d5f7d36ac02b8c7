//! Checks the records beside the log: timelines, gaps, the cluster, and how many leases there are.
//!
//! A timeline's record says what belongs together, so every restore reads all of them. One that is
//! damaged, or missing while objects of its timeline exist, keeps the repository from being
//! restored. A gap's record only explains; missing ops are noticed without it.

use super::LogFindings;
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::name::{self, CheckpointName, GapName, LeaseName, TIMELINE_FIRST};
use crate::tier::findings::{VerificationReport, and_so};
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::timeline::Timelines;
use std::collections::BTreeSet;

const TIMELINE_LOST: &str = "until it is put back from a copy of the repository, no reader can tell which backups and which log belong to it, and nothing of it is restored; all else is";

const GAP_LOST: &str = "why and since when ops are missing is lost, and nothing else";

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
        if !is_reported && repository.object_bytes(&object)?.is_none() {
            report.problem(&object, format!("the record of timeline {number} is missing, though objects belong to it: {TIMELINE_LOST}"));
        }
    }
    Ok(())
}

/// Opens the records of gaps.
///
/// # Errors
/// When the store cannot be read.
pub fn gaps(repository: &Repository, report: &mut VerificationReport, found: &mut LogFindings) -> Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    for name in repository.list_all(name::GAPS)?.iter().filter_map(|listed| GapName::parse(&listed.name)) {
        report.objects += 1;
        let read = repository.gap(&name).map_err(|error| and_so(error, GAP_LOST));
        gaps.extend(report.judge(&name.object(), read)?);
    }
    found.gaps = gaps.len() as u64;
    Ok(gaps)
}

/// Checks that the repository is bound to its cluster.
///
/// # Errors
/// When the store cannot be read.
pub fn cluster(repository: &Repository, backups: u64, report: &mut VerificationReport) -> Result<()> {
    let bound = report.judge(name::CLUSTER, repository.cluster())?;
    if bound == Some(None) && backups == 0 {
        return Ok(());
    }
    report.objects += 1;
    if bound == Some(None) {
        report.problem(
            name::CLUSTER,
            "the object that binds the repository to its cluster is missing: another cluster's file would be accepted",
        );
    }
    Ok(())
}

/// Counts the beats of leases. They come and go while agents run, and nothing depends on them.
///
/// # Errors
/// When the store cannot be read.
pub fn leases(repository: &Repository, found: &mut LogFindings) -> Result<()> {
    let listed = repository.list_all(name::LEASES)?;
    found.leases = listed.iter().filter(|listed| LeaseName::parse(&listed.name).is_some()).count() as u64;
    Ok(())
}
