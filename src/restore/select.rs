//! Which backup and which op a point in time means.
//!
//! A backup restores to every op from the one that its superblock says is committed to the last prepare of its log. Manifests are read from the newest
//! that may fit downwards, so a restore to a recent moment reads few. A point that no backup holds is refused with the nearest points on
//! both sides; it is never rounded to one of them.

use super::{log, point_text};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::manifest::{Manifest, Summary};
use crate::repository::name::CheckpointName;
use crate::units::time_text;

/// A moment in the ledger's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The newest op of the newest backup.
    Newest,
    /// Exactly this op.
    Op(u64),
    /// The last op at or before this time, in nanoseconds since the epoch.
    Time(u64),
}

/// A backup and the op to restore to.
#[derive(Debug)]
pub struct Selected {
    /// The backup.
    pub name: CheckpointName,
    /// Its manifest.
    pub manifest: Manifest,
    /// The op.
    pub op: u64,
}

/// Chooses.
///
/// # Errors
/// [`Error::input`] when no backup holds the point, naming the nearest restorable points.
pub fn select(repository: &Repository, point: Point) -> Result<Selected> {
    let (newest, summary) = newest(repository)?;
    let names = repository.checkpoints()?;
    match point {
        Point::Newest => with_manifest(repository, newest, summary.recovered_to_op),
        Point::Op(op) => by_op(repository, &names, op),
        Point::Time(timestamp_ns) => by_time(repository, &names, timestamp_ns),
    }
}

fn with_manifest(repository: &Repository, name: CheckpointName, op: u64) -> Result<Selected> {
    Ok(Selected { name, manifest: Manifest::read(repository, &name, None)?, op })
}

fn by_op(repository: &Repository, names: &[CheckpointName], op: u64) -> Result<Selected> {
    let mut gap = Gap::default();
    for name in names.iter().rev() {
        if gap.below.is_some_and(|(_, checkpoint_op)| name.checkpoint_op < checkpoint_op) {
            break;
        }
        let summary = Manifest::read_summary(repository, name)?;
        if (summary.first_restorable_op..=summary.recovered_to_op).contains(&op) {
            return with_manifest(repository, *name, op);
        }
        gap.consider(name, &summary, summary.recovered_to_op < op);
    }
    Err(gap.refusal(repository, &format!("op {op}")))
}

fn by_time(repository: &Repository, names: &[CheckpointName], timestamp_ns: u64) -> Result<Selected> {
    let mut gap = Gap::default();
    for name in names.iter().rev() {
        if gap.below.is_some_and(|(_, checkpoint_op)| name.checkpoint_op < checkpoint_op) {
            break;
        }
        let summary = Manifest::read_summary(repository, name)?;
        if summary.checkpoint_timestamp_ns <= timestamp_ns && timestamp_ns <= summary.recovered_to_timestamp_ns {
            let manifest = Manifest::read(repository, name, None)?;
            let op = log::op_at(repository, &manifest, timestamp_ns)?;
            if op >= summary.first_restorable_op {
                return Ok(Selected { name: *name, manifest, op });
            }
        }
        gap.consider(name, &summary, summary.recovered_to_timestamp_ns < timestamp_ns);
    }
    Err(gap.refusal(repository, &format!("time {}", time_text(timestamp_ns))))
}

/// The restorable points around one that is not.
#[derive(Debug, Default)]
struct Gap {
    /// The highest point below, and the checkpoint that it belongs to.
    below: Option<((u64, u64), u64)>,
    /// The lowest op above, and the backup that begins with it.
    above: Option<(u64, CheckpointName)>,
}

impl Gap {
    fn consider(&mut self, name: &CheckpointName, summary: &Summary, is_below: bool) {
        if is_below {
            let point = (summary.recovered_to_op, summary.recovered_to_timestamp_ns);
            if self.below.is_none_or(|(best, _)| point > best) {
                self.below = Some((point, summary.checkpoint_op));
            }
        } else if self.above.is_none_or(|(best, _)| summary.first_restorable_op < best) {
            self.above = Some((summary.first_restorable_op, *name));
        }
    }

    fn refusal(&self, repository: &Repository, wanted: &str) -> Error {
        let below = self.below.map(|((op, timestamp_ns), _)| format!("{} before it", point_text(op, timestamp_ns)));
        let above = self.above.map(|(op, name)| {
            let manifest = Manifest::read(repository, &name, None);
            let timestamp_ns = manifest.and_then(|manifest| log::timestamp_of(repository, &manifest, op)).unwrap_or(0);
            format!("{} after it", point_text(op, timestamp_ns))
        });
        let nearest: Vec<String> = below.into_iter().chain(above).collect();
        Error::input(format!("{wanted} is not restorable from this repository; the nearest restorable points are {}", nearest.join(" and ")))
    }
}

/// The newest backup.
///
/// # Errors
/// [`Error::input`] when there is none.
pub fn newest(repository: &Repository) -> Result<(CheckpointName, Summary)> {
    let none = || Error::input(format!("{}: there is no backup in this repository yet: `amber backup tigerbeetle` makes one", repository.describe()));
    repository.newest_checkpoint()?.ok_or_else(none)
}
