//! TigerBeetle: a running replica is captured, its log stored, data files made of both again.
//!
//! [`capture`] reads a replica and writes what [`mod@format`] describes; [`restore`] reads that and
//! writes data files; [`check`] reads it and compares.

pub mod capture;
pub mod check;
pub mod facts;
pub mod format;
mod listing;
pub mod restore;

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{
    self, BackupName, CheckpointName, GapName, LeaseName, PackName, Promises, RunId, SegmentName, TIMELINE_FIRST,
};
use crate::repository::run_record::Work;
use crate::tier::Tier;
use crate::tier::depth::Depth;
use crate::tier::facts::{BackupDetails, BackupFacts, Column, Listing};
use crate::tier::findings::VerificationReport;
use crate::tier::object_class::{ObjectClass, Role};
use crate::tier::objective::{Estimate, Objective};
use crate::tier::reference::ObjectReference;
use crate::tier::request::{AsOf, TierRestoreRequest, TierRestored};
use facts::checkpoint_of;
use format::manifest::Manifest;
use restore::plan::RestorePlan;
use restore::point::{Point, point_text};
use restore::role::Role as ImageRole;
use std::sync::Arc;
use std::time::Duration;

/// The tier of TigerBeetle replicas.
#[derive(Debug)]
pub struct Tigerbeetle;

static OBJECTS: [ObjectClass; 8] = [
    ObjectClass {
        prefix: name::RECEIPTS,
        name: "checkpoints",
        role: Role::Promise,
        is_ours: |name| CheckpointName::parse_receipt(name).is_some(),
    },
    ObjectClass {
        prefix: name::CHECKPOINTS,
        name: "checkpoints",
        role: Role::Promise,
        is_ours: |name| CheckpointName::parse(name).is_some(),
    },
    ObjectClass { prefix: name::PACKS, name: "checkpoints", role: Role::Data, is_ours: |name| PackName::parse(name).is_some() },
    ObjectClass { prefix: name::SEGMENTS, name: "log", role: Role::Log, is_ours: |name| SegmentName::parse(name).is_some() },
    ObjectClass { prefix: name::TIMELINES, name: "other", role: Role::State, is_ours: |name| name::parse_timeline(name).is_some() },
    ObjectClass { prefix: name::GAPS, name: "other", role: Role::State, is_ours: |name| GapName::parse(name).is_some() },
    ObjectClass { prefix: name::CLUSTER, name: "other", role: Role::State, is_ours: |name| name == name::CLUSTER },
    ObjectClass { prefix: name::LEASES, name: "other", role: Role::Passing, is_ours: |name| LeaseName::parse(name).is_some() },
];

impl Tier for Tigerbeetle {
    fn name(&self) -> &'static str {
        name::TIGERBEETLE.tier
    }

    fn title(&self) -> &'static str {
        "checkpoints"
    }

    fn work(&self) -> Work {
        Work::Tigerbeetle
    }

    fn promises(&self) -> &'static Promises {
        &name::TIGERBEETLE
    }

    fn objects(&self) -> &'static [ObjectClass] {
        &OBJECTS
    }

    fn objective(&self) -> Objective {
        Objective { recovery_time: Duration::from_secs(1800), recovery_point: Duration::from_secs(900) }
    }

    fn retention_days(&self) -> u16 {
        90
    }

    fn columns(&self) -> &'static [Column] {
        &facts::COLUMNS
    }

    fn backups(&self, repository: &Repository) -> Result<Vec<BackupName>> {
        Ok(repository.backups()?.into_iter().map(BackupName::from).collect())
    }

    fn facts(&self, repository: &Repository, backup: &BackupName) -> Result<BackupFacts> {
        facts::facts(repository, backup)
    }

    fn show(&self, repository: &Repository, backup: &BackupName) -> Result<BackupDetails> {
        facts::show(repository, backup)
    }

    fn references(&self, repository: &Repository, backup: &BackupName, take: &mut dyn FnMut(ObjectReference) -> Result<()>) -> Result<()> {
        let name = checkpoint_of(backup)?;
        let manifest = Manifest::read(repository, &name, None)?;
        take(ObjectReference::sealed(name::CLUSTER.to_owned(), Role::State))?;
        let mut timeline = name.timeline;
        while timeline != TIMELINE_FIRST {
            take(ObjectReference::sealed(name::timeline_object(timeline), Role::State))?;
            let parent = repository.timeline(timeline)?.parent;
            if parent >= timeline {
                return Err(Error::damaged(format!("{}: its parent is timeline {parent}", name::timeline_object(timeline))));
            }
            timeline = parent;
        }
        take(ObjectReference::sealed(name.receipt(), Role::Promise))?;
        take(ObjectReference::sealed(name.object(), Role::Promise))?;
        for pack in &manifest.packs {
            let promised = Some(check::objects::promised(pack.stored_bytes, pack.digest));
            take(ObjectReference { name: pack.name.object(), role: Role::Data, promised })?;
        }
        for segment in &manifest.segments {
            let promised = Some(check::objects::promised(segment.stored_bytes, segment.digest));
            take(ObjectReference { name: segment.name.object(), role: Role::Data, promised })?;
        }
        Ok(())
    }

    fn check(&self, repository: &Arc<Repository>, depth: Depth, progress: &dyn Progress, report: &mut VerificationReport) -> Result<()> {
        check::check(repository, depth, progress, report)
    }

    fn estimate(&self, repository: &Repository, as_of: AsOf, _name: Option<&str>) -> Result<Estimate> {
        let (point, timeline) = point_of(repository, as_of)?;
        Ok(estimate_of(&RestorePlan::make(repository, point, timeline)?))
    }

    fn restore(&self, repository: &Arc<Repository>, request: &TierRestoreRequest, progress: &dyn Progress) -> Result<TierRestored> {
        let (point, timeline) = point_of(repository, request.as_of)?;
        let plan = RestorePlan::make(repository, point, timeline)?;
        // A server has to execute the log up to there, and this way of restoring names none.
        plan.require_binaries(repository, &[]).map_err(|error| error.context("`amber restore tigerbeetle` can do this"))?;
        let estimate = estimate_of(&plan);
        let restored = restore::restore(
            repository,
            &restore::RestoreRequest {
                point,
                timeline,
                outputs: vec![(request.output.clone(), ImageRole::Same)],
                overwrite: request.overwrite,
                base: None,
                fresh: false,
                binaries: Vec::new(),
            },
            progress,
        )?;
        Ok(TierRestored {
            backup: BackupName::from(restored.name),
            state: point_text(restored.op, restored.timestamp_ns),
            estimate,
            bytes_fetched: restored.bytes_fetched,
            bytes_written: restored.bytes_written,
            notes: restored.notes,
        })
    }

    fn newest(&self, repository: &Repository) -> Result<Option<BackupName>> {
        if repository.backups()?.is_empty() {
            return Ok(None);
        }
        restore::select::newest(repository).map(|(name, _)| Some(BackupName::from(name)))
    }

    fn fits(&self, backup: &BackupName, wanted: &str) -> bool {
        checkpoint_of(backup)
            .is_ok_and(|name| name.object() == wanted || name.run.to_string() == wanted || name.checkpoint_op.to_string() == wanted)
    }

    fn list(&self, repository: &Repository) -> Result<Listing> {
        listing::list(repository)
    }
}

/// The point that is meant, and the timeline of the history that it is in; `None` for the newest.
fn point_of(repository: &Repository, as_of: AsOf) -> Result<(Point, Option<u32>)> {
    Ok(match as_of {
        AsOf::Newest => (Point::Newest, None),
        AsOf::Time(time_ns) => (Point::Time(time_ns), None),
        AsOf::Run(run) => {
            let name = of_run(repository, run)?;
            (Point::Op(Manifest::read_summary(repository, &name)?.recovered_to_op), Some(name.timeline))
        }
    })
}

fn of_run(repository: &Repository, run: RunId) -> Result<CheckpointName> {
    let found = repository.backups()?.into_iter().find(|name| name.run == run);
    found
        .ok_or_else(|| Error::input(format!("{}: run {run} stored no checkpoint; `amber list` shows what there is", repository.describe())))
}

fn estimate_of(plan: &RestorePlan) -> Estimate {
    let manifest = &plan.selected.manifest;
    let objects = (manifest.packs.len() + manifest.segments.len()) as u64;
    let bytes = plan.log_stored_bytes.saturating_add(plan.blocks_stored_bytes);
    Estimate { seconds: plan.estimate_seconds(), ..Estimate::of(bytes, objects) }
}
