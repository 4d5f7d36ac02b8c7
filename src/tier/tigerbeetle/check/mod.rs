//! Checks that what is stored of a replica is what its manifests and its log promise.
//!
//! ```text
//! receipts, manifests, timelines, gaps: opened, every byte authenticates
//! packs, segments: there with their size      (existence)
//!   the digest of the stored bytes            (digests)
//!   every block and prepare opened and checked, every tree complete   (full)
//! ```
//!
//! The log that agents ship is listed, not named by manifests. Every frame of its segments
//! authenticates, and in a full check they are one chain of prepares wherever their names say so
//! ([`log`]). Packs that no manifest names (the leftovers of a killed run) are not damage and are
//! only counted.
//!
//! Of the manifests only what they name is kept, each object once.

pub mod log;
pub mod objects;
pub mod records;
pub mod tree;

use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{self, CheckpointName, PackName, SegmentName};
use crate::tier::depth::Depth;
use crate::tier::findings::{TierFindings, VerificationReport, check_wanted};
use crate::tier::object_check::check_all;
use crate::tier::promises::{Listed, check_promises};
use crate::tier::tigerbeetle::format::manifest::{Manifest, Summary};
use crate::tier::tigerbeetle::format::pack::PackEntry;
use crate::tier::tigerbeetle::format::segment::SegmentEntry;
use objects::{LedgerObject, Users};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is found besides backups.
#[derive(Debug, Default)]
pub struct LogFindings {
    /// Listed segments of the log.
    pub segments: u64,
    /// Their stored bytes.
    pub log_bytes: u64,
    /// Timelines.
    pub timelines: u64,
    /// Records of gaps.
    pub gaps: u64,
    /// Beats of leases.
    pub leases: u64,
    /// The op ranges that the log of every timeline holds.
    pub ranges: Vec<log::LogRanges>,
}

/// The objects that manifests name, and the backups that name them.
#[derive(Default)]
struct Named {
    /// The backups whose manifests open. The objects refer to them by position.
    backups: Vec<CheckpointName>,
    packs: BTreeMap<PackName, (PackEntry, Users)>,
    segments: BTreeMap<SegmentName, (SegmentEntry, Users)>,
}

/// Checks everything of the tier.
///
/// # Errors
/// [`crate::error::Error::try_again`] when the store cannot be read. Damage is not an error here;
/// it is in the report.
pub fn check(repository: &Arc<Repository>, depth: Depth, progress: &dyn Progress, report: &mut VerificationReport) -> Result<()> {
    let mut found = LogFindings::default();
    let timelines = records::timelines(repository, report)?;
    let gaps = records::gaps(repository, report, &mut found)?;
    records::leases(repository, &mut found)?;
    let mut broken: BTreeSet<CheckpointName> = BTreeSet::new();
    let mut named = Named::default();
    let mut manifests: BTreeMap<CheckpointName, Summary> = BTreeMap::new();
    let listed =
        Listed { receipts: repository.receipts()?.into_iter().collect(), records: repository.checkpoints()?.into_iter().collect() };
    let backups = check_promises(repository, &listed, progress, report, &mut |name, size_bytes, report| {
        if let Some(manifest) = report.judge(&name.object(), Manifest::read(repository, name, Some(size_bytes)))? {
            if !named.take(name, &manifest, report) {
                broken.insert(*name);
            }
            manifests.insert(*name, manifest.summary);
        }
        Ok(())
    })?;
    records::cluster(repository, backups, report)?;
    broken.extend(check_objects(repository, &named, depth, progress, report)?);
    let in_manifests: BTreeSet<SegmentName> = named.segments.keys().copied().collect();
    let with_segments = log::check_segments(repository, &in_manifests, depth, progress, report, &mut found)?;
    records::timelines_in_use(repository, &with_segments, &timelines, report)?;
    let promises = log::Promises { timelines: &timelines, gaps: &gaps, manifests: &manifests, in_manifests: &in_manifests };
    log::check_timelines(repository, &promises, &with_segments, depth, report, &mut found)?;
    if depth == Depth::Full {
        for name in manifests.keys() {
            check_wanted(progress)?;
            let check = || tree::check(repository, &Manifest::read(repository, name, None)?);
            if !broken.contains(name) && report.judge(&name.object(), check())?.is_none() {
                broken.insert(*name);
            }
        }
    }
    for listed in repository.list_all(name::PACKS)? {
        if PackName::parse(&listed.name).is_some_and(|name| !named.packs.contains_key(&name)) {
            report.leftover(listed.size_bytes);
        }
    }
    let intact = manifests.keys().filter(|name| !broken.contains(*name)).count() as u64;
    report
        .tiers
        .insert(name::TIGERBEETLE.tier, TierFindings { backups, intact, figures: found.figures(), rows: vec![("log", found.text())] });
    Ok(())
}

/// Checks the objects that manifests name. Returns the backups that need a damaged one.
fn check_objects(
    repository: &Repository,
    named: &Named,
    depth: Depth,
    progress: &dyn Progress,
    report: &mut VerificationReport,
) -> Result<Vec<CheckpointName>> {
    let total_bytes = named.packs.values().map(|(entry, _)| entry.stored_bytes).sum::<u64>()
        + named.segments.values().map(|(entry, _)| entry.stored_bytes).sum::<u64>();
    progress.begin(if depth == Depth::Full { "verify (full)" } else { "verify" }, Some(total_bytes));
    let packs = named.packs.values().map(|(entry, users)| (LedgerObject::Pack(entry.clone()), users));
    let segments = named.segments.values().map(|(entry, users)| (LedgerObject::Segment(entry.clone()), users));
    let (objects, users): (Vec<LedgerObject>, Vec<&Users>) = packs.chain(segments).unzip();
    let mut broken = Vec::new();
    for (outcome, users) in check_all(repository, &objects, depth, progress).into_iter().zip(users) {
        report.objects += 1;
        report.bytes_read += outcome.bytes_read;
        if report.judge(&outcome.name, outcome.result)?.is_none() {
            broken.extend(users.iter().filter_map(|user| named.backups.get(*user as usize)));
        }
    }
    progress.end();
    Ok(broken)
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

impl LogFindings {
    fn figures(&self) -> Vec<(&'static str, Value)> {
        let ranges: Vec<Value> =
            self.ranges.iter().map(|log| json!({ "timeline": log.timeline, "runs": log::ranges_json(&log.ops) })).collect();
        vec![
            ("segments", json!(self.segments)),
            ("log_bytes", json!(self.log_bytes)),
            ("timelines", json!(self.timelines)),
            ("gaps", json!(self.gaps)),
            ("leases", json!(self.leases)),
            ("log_runs", json!(ranges)),
        ]
    }

    fn text(&self) -> String {
        let mut text = format!("{} segments, {}", self.segments, crate::units::bytes_text(self.log_bytes));
        if self.timelines > 1 || self.gaps > 0 {
            text.push_str(&format!("; {} timelines, {} recorded gaps", self.timelines, self.gaps));
        }
        for log in self.ranges.iter().filter(|log| !log.ops.is_empty()) {
            text.push_str(&format!("; timeline {}: {}", log.timeline, log::ranges_text(&log.ops)));
        }
        text
    }
}
