//! From the repository back to data files that a server starts from.
//!
//! ```text
//! plan (select, history): which backup, which op, which log, how many hops
//!   -> work, all of it in temporary files:
//!        image (blocks, replies) -> forward (hops with a real server) -> window, superblock
//!   -> check (every reachable block is read back from the disk) -> fsync -> rename
//! ```
//!
//! An image gets its target's name only when it is complete, checked and durable. Several images of
//! one cluster are written from one download.

pub mod binaries;
pub mod check;
pub mod copy;
mod fetch_queue;
pub mod forward;
pub mod history;
mod hop_server;
pub mod image;
pub mod log;
pub mod original_log;
pub mod plan;
pub mod point;
mod reuse;
pub mod role;
pub mod select;
pub mod superblock;
pub mod window;
pub mod work;

use super::format::manifest::Summary;
use crate::disk::target::Target;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::CheckpointName;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::role::Role;
use history::SelectedLog;
use plan::RestorePlan;
use std::path::PathBuf;
use std::sync::Arc;
use work::{Hops, RestoreWork};

/// What to restore.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The point in the ledger's history to restore to.
    pub point: Point,
    /// The timeline that ends the history to restore in; `None` means the newest one.
    pub timeline: Option<u32>,
    /// The files to write, and whose data file each of them becomes.
    pub outputs: Vec<(PathBuf, Role)>,
    /// Replace existing files of these names.
    pub overwrite: bool,
    /// An older image of the ledger. Blocks that it already has in their place are taken from it.
    /// It is only read, and every block is checked, so it may even be the file of a running server.
    pub base: Option<PathBuf>,
    /// Begin anew, and remove what a killed restore to the same name left. Otherwise that is
    /// reused.
    pub fresh: bool,
    /// TigerBeetle executables that may roll a fork forward to a point that the log of no
    /// checkpoint reaches.
    pub binaries: Vec<PathBuf>,
}

/// What a restore did.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The backup that was used.
    pub name: CheckpointName,
    /// What its manifest says.
    pub summary: Summary,
    /// The timeline of the history that was restored.
    pub timeline: u32,
    /// The op that the images end at.
    pub op: u64,
    /// The timestamp of that op.
    pub timestamp_ns: u64,
    /// What that op is ([`crate::tb_format::header::operation_name`]).
    pub operation: u8,
    /// The release of TigerBeetle that the images need.
    pub release: u32,
    /// Blocks in each image.
    pub blocks: u64,
    /// Bytes fetched from the store for blocks and log.
    pub bytes_fetched: u64,
    /// Stored bytes of blocks that were not fetched, because a killed restore or the older image
    /// already had them.
    pub bytes_kept: u64,
    /// Plain bytes written into each image.
    pub bytes_written: u64,
    /// What rolling forward from the backup's checkpoint took, if that was necessary.
    pub hops: Option<Hops>,
    /// Problems that did not matter for this restore.
    pub notes: Vec<String>,
}

/// Writes all images that are asked for, or none.
///
/// # Errors
/// [`crate::error::Error::input`] for a point that is not restorable (it names the nearest ones
/// that are), a role that the cluster does not have, or a name that is taken;
/// [`crate::error::Error::damaged`] when the repository does not hold what its manifest promises.
/// No image gets its target's name then.
pub fn restore(repository: &Arc<Repository>, request: &RestoreRequest, progress: &dyn Progress) -> Result<Restored> {
    let mut targets = Vec::with_capacity(request.outputs.len());
    for (path, _) in &request.outputs {
        let open = if request.fresh { Target::create } else { Target::resume };
        targets.push(open(path, request.overwrite)?);
    }
    let plan = RestorePlan::make(repository, request.point, request.timeline)?;
    plan.require_binaries(repository, &request.binaries)?;
    let (manifest, op) = (&plan.selected.manifest, plan.selected.op);
    let mut notes = promise_notes(repository, &plan.selected.name);
    notes.extend(plan.selected.notes.iter().cloned());
    for note in &notes {
        progress.note(note);
    }
    crate::disk::target::check_space(&targets, plan.bytes_needed())?;
    let mut log = SelectedLog::new(repository, &plan.selected);
    let roles = request.outputs.iter().map(|(_, role)| *role).collect();
    let work = RestoreWork { repository, manifest, op, hops: plan.hops.clone(), roles, base: request.base.as_deref() };
    let mut written = match work.write(&mut targets, &mut log, &request.binaries, progress) {
        Err(error) if error.kind == Kind::TryAgain => return Err(keep_for_later(&mut targets, error)),
        written => written?,
    };
    if let Some(base) = request.base.as_ref().filter(|_| written.bytes_kept == 0) {
        let note = format!("{}: nothing in it was of use: it is no older image of this ledger", base.display());
        progress.note(&note);
        notes.push(note);
    }
    notes.extend(written.notes.iter().cloned());
    for target in &targets {
        target.sync()?;
        progress.begin(&format!("check {}", target.path().display()), Some(manifest.summary.blocks.saturating_mul(512 * 1024)));
        let blocks = work.hops.is_empty().then_some(manifest.summary.blocks);
        let checked = check::check_image(target.temporary(), blocks, op, progress)?;
        written.blocks = checked.blocks;
        for note in checked.notes {
            progress.note(&note);
            notes.push(note);
        }
        progress.end();
    }
    for target in targets {
        target.commit()?;
    }
    Ok(Restored {
        name: plan.selected.name,
        summary: manifest.summary.clone(),
        timeline: plan.selected.timeline,
        op,
        timestamp_ns: written.end.timestamp(),
        operation: written.end.operation(),
        release: written.release,
        blocks: written.blocks,
        bytes_fetched: written.bytes_fetched + log.bytes_fetched(),
        bytes_kept: written.bytes_kept,
        bytes_written: written.bytes_written,
        hops: written.hops,
        notes,
    })
}

/// The store may be back soon, so what was fetched until now is kept for the next attempt.
fn keep_for_later(targets: &mut [Target], error: Error) -> Error {
    let begun = targets.iter_mut().filter(|target| target.allocated_bytes() > 0);
    let kept: Vec<String> = begun
        .map(|target| {
            target.keep();
            target.temporary().display().to_string()
        })
        .collect();
    if kept.is_empty() {
        return error;
    }
    error.context(format!("the same command goes on from what is in {} (--fresh starts anew)", kept.join(", ")))
}

/// Problems with objects that this restore does not need, but that should be intact.
fn promise_notes(repository: &Repository, name: &CheckpointName) -> Vec<String> {
    let mut notes = Vec::new();
    if let Err(error) = repository.receipt(name) {
        notes.push(format!("the backup's receipt is missing or damaged; the restore does not need it ({error})"));
    }
    match repository.cluster() {
        Ok(Some(_)) => {}
        Ok(None) => notes.push("the object that binds the repository to its cluster is missing; the restore does not need it".into()),
        Err(error) => {
            notes.push(format!("the object that binds the repository to its cluster is damaged; the restore does not need it ({error})"))
        }
    }
    notes
}

#[cfg(test)]
mod tests;
