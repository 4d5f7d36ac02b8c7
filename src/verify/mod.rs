//! Whether the repository holds what it promises, to the last byte.
//!
//! ```text
//! keys, receipts, manifests, timelines, gaps: opened, every byte authenticates
//! packs, segments, files: present, right size, digest of the stored bytes   (always)
//!   every block, prepare and frame opened and checked, every tree complete  (--full)
//! ```
//!
//! The log that agents ship is listed, not named by manifests. Every frame of its segments
//! authenticates, and with `--full` they are one chain of prepares wherever their names say so
//! (`tier::tigerbeetle::check::log`). Packs that no manifest names (the leftovers of a killed run)
//! are not damage and are only counted.
//!
//! Verification continues after the first problem and lists them all. Of the manifests it keeps
//! what they name, each object once, so it may run for hours beside an agent that ships the log. It
//! waits while other work has priority, and ends early when nobody wants it any more.

mod outcome;
pub mod records;

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::name::{self, CheckpointName, FileName, GapName, LeaseName, PackName, RunName, SegmentName};
use crate::repository::object_reader::digest_stored;
use crate::repository::{Repository, fetch};
use crate::tier::findings::{VerificationReport, check_wanted};
use crate::tier::tigerbeetle::format::manifest::{Manifest, Summary};
use crate::tier::tigerbeetle::format::pack::PackEntry;
use crate::tier::tigerbeetle::format::segment::SegmentEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Prefixes under which there may be many objects.
const PREFIXES: [&str; 10] = [
    name::PACKS,
    name::SEGMENTS,
    name::CHECKPOINTS,
    name::RECEIPTS,
    name::TIMELINES,
    name::GAPS,
    name::LEASES,
    name::FILES,
    name::RECORDS_OF_FILES,
    name::RUNS,
];

/// The objects that manifests name, and the backups that name them.
#[derive(Default)]
pub struct Named {
    /// The backups whose manifests open. The objects refer to them by position.
    backups: Vec<CheckpointName>,
    packs: BTreeMap<PackName, (PackEntry, crate::tier::object_check::Users)>,
    pub(crate) segments: BTreeMap<SegmentName, (SegmentEntry, crate::tier::object_check::Users)>,
}

/// Verifies the repository.
///
/// # Errors
/// [`crate::error::Error::try_again`] when the store cannot be read. Damage is not an error here;
/// it is in the report.
pub fn verify(repository: &Arc<Repository>, full: bool, progress: &dyn Progress) -> Result<VerificationReport> {
    let mut report = VerificationReport::default();
    records::keys(repository, &mut report)?;
    let timelines = records::timelines(repository, &mut report)?;
    let gaps = records::gaps(repository, &mut report)?;
    records::leases(repository, &mut report)?;
    records::runs(repository, &mut report)?;
    let mut broken: BTreeSet<CheckpointName> = BTreeSet::new();
    let mut named = Named::default();
    let mut take = |name: &CheckpointName, manifest: &Manifest, report: &mut VerificationReport| {
        if !named.take(name, manifest, report) {
            broken.insert(*name);
        }
    };
    let manifests = check_manifests(repository, progress, &mut report, &mut take)?;
    let total_bytes = named.packs.values().map(|(entry, _)| entry.stored_bytes).sum::<u64>()
        + named.segments.values().map(|(entry, _)| entry.stored_bytes).sum::<u64>();
    progress.begin(if full { "verify (full)" } else { "verify" }, Some(total_bytes));
    let (jobs, users) = crate::tier::object_check::jobs(&named.packs, &named.segments);
    for (outcome, users) in crate::tier::object_check::check_all(repository, &jobs, full, progress).into_iter().zip(users) {
        report.objects += 1;
        report.bytes_read += outcome.bytes_read;
        if report.judge(&outcome.name, outcome.result)?.is_none() {
            broken.extend(users.iter().filter_map(|user| named.backups.get(*user as usize)));
        }
    }
    progress.end();
    let in_manifests: BTreeSet<SegmentName> = named.segments.keys().copied().collect();
    let with_segments = crate::tier::tigerbeetle::check::log::check_segments(repository, &in_manifests, full, progress, &mut report)?;
    records::timelines_in_use(repository, &with_segments, &timelines, &mut report)?;
    let promises = crate::tier::tigerbeetle::check::log::Promises {
        timelines: &timelines,
        gaps: &gaps,
        manifests: &manifests,
        in_manifests: &in_manifests,
    };
    crate::tier::tigerbeetle::check::log::check_timelines(repository, &promises, &with_segments, full, &mut report)?;
    if full {
        for name in manifests.keys() {
            check_wanted(progress)?;
            let check = || crate::tier::tigerbeetle::check::tree::check(repository, &Manifest::read(repository, name, None)?);
            if !broken.contains(name) && report.judge(&name.object(), check())?.is_none() {
                broken.insert(*name);
            }
        }
    }
    report.backups_whole = manifests.keys().filter(|name| !broken.contains(*name)).count() as u64;
    crate::tier::file::check::check_files(repository, full, progress, &mut report)?;
    note_leftovers(repository, &named, &mut report)?;
    Ok(report)
}

/// Reads all manifests and compares them with their receipts. `take` gets each manifest that opens;
/// only its summary is kept.
fn check_manifests(
    repository: &Arc<Repository>,
    progress: &dyn Progress,
    report: &mut VerificationReport,
    take: &mut dyn FnMut(&CheckpointName, &Manifest, &mut VerificationReport),
) -> Result<BTreeMap<CheckpointName, Summary>> {
    let receipts: BTreeSet<CheckpointName> = repository.receipts()?.into_iter().collect();
    let found: BTreeSet<CheckpointName> = repository.checkpoints()?.into_iter().collect();
    let mut manifests = BTreeMap::new();
    report.backups = receipts.union(&found).count() as u64;
    for name in receipts.union(&found) {
        check_wanted(progress)?;
        let receipt = if receipts.contains(name) {
            report.objects += 1;
            report.judge(&name.receipt(), repository.receipt(name))?
        } else if repository.store().size_bytes(&name.receipt())?.is_some() {
            // A backup that was promised while the listings were read.
            continue;
        } else {
            report.problem(
                name.receipt(),
                "the receipt is missing: the backup was cut short in its last moment, or the receipt was removed; the next backup writes it again",
            );
            None
        };
        if !found.contains(name) && repository.store().size_bytes(&name.object())?.is_none() {
            report.problem(name.object(), "the manifest is missing though its receipt promises it: this backup is lost");
            continue;
        }
        report.objects += 1;
        let promised = receipt.map(|receipt| (receipt.size_bytes, receipt.digest));
        let read = fetch::until_expected(promised, || digest_stored(repository, &name.object()));
        let Some((size_bytes, digest)) = report.judge(&name.object(), read)? else { continue };
        report.bytes_read += size_bytes;
        if promised.is_some_and(|promised| promised != (size_bytes, digest)) {
            report.problem(name.object(), "the manifest is not the one that its receipt promises: it was changed");
            continue;
        }
        if let Some(manifest) = report.judge(&name.object(), Manifest::read(repository, name, Some(size_bytes)))? {
            take(name, &manifest, report);
            manifests.insert(*name, manifest.summary);
        }
    }
    check_cluster(repository, report)?;
    Ok(manifests)
}

fn check_cluster(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    let bound = report.judge(name::CLUSTER, repository.cluster())?;
    report.objects += 1;
    if bound == Some(None) && report.backups > 0 {
        report.problem(
            name::CLUSTER,
            "the object that binds the repository to its cluster is missing: another cluster's file would be accepted",
        );
    }
    Ok(())
}

impl Named {
    /// Adds what a manifest names. `false` if it contradicts an earlier one about an object.
    fn take(&mut self, name: &CheckpointName, manifest: &Manifest, report: &mut VerificationReport) -> bool {
        let user = u32::try_from(self.backups.len()).unwrap_or(u32::MAX);
        self.backups.push(*name);
        let mut agrees = true;
        let mut otherwise = |object: String| {
            report.problem(name.object(), format!("it contradicts an earlier manifest about {object}"));
            agrees = false;
        };
        for pack in &manifest.packs {
            let known = self.packs.entry(pack.name).or_insert_with(|| (pack.clone(), Vec::new()));
            known.1.push(user);
            if known.0 != *pack {
                otherwise(pack.name.object());
            }
        }
        for segment in &manifest.segments {
            let known = self.segments.entry(segment.name).or_insert_with(|| (segment.clone(), Vec::new()));
            known.1.push(user);
            if known.0 != *segment {
                otherwise(segment.name.object());
            }
        }
        agrees
    }
}

/// Counts the objects that no manifest names.
fn note_leftovers(repository: &Repository, named: &Named, report: &mut VerificationReport) -> Result<()> {
    let (mut leftovers, mut leftover_bytes) = crate::tier::file::check::leftovers(repository)?;
    let mut strangers = Vec::new();
    for prefix in PREFIXES {
        for listed in repository.list_all(prefix)? {
            if PackName::parse(&listed.name).is_some_and(|name| !named.packs.contains_key(&name)) {
                leftovers += 1;
                leftover_bytes += listed.size_bytes;
            } else if !is_ours(&listed.name) {
                strangers.push(listed.name);
            }
        }
    }
    if leftovers > 0 {
        let size = crate::units::bytes_text(leftover_bytes);
        report
            .notes
            .push(format!("{leftovers} objects ({size}) belong to no backup: a run is writing them now, or was killed; they harm nothing"));
    }
    for stranger in strangers {
        report.notes.push(format!("{stranger}: this name is not one of Amber's: something else wrote it, or an object was renamed"));
    }
    Ok(())
}

fn is_ours(object: &str) -> bool {
    PackName::parse(object).is_some()
        || FileName::parse_data(object).or(FileName::parse_record(object)).is_some()
        || SegmentName::parse(object).is_some()
        || CheckpointName::parse(object).or(CheckpointName::parse_receipt(object)).is_some()
        || name::parse_timeline(object).is_some()
        || GapName::parse(object).is_some()
        || LeaseName::parse(object).is_some()
        || RunName::parse(object).is_some()
}

#[cfg(test)]
pub(crate) mod tests;
