//! From the repository back to data files that a server starts from.
//!
//! ```text
//! select (which backup, which op) -> log (prepares up to that op) -> image (blocks, rings, replies, superblock, to temporary files)
//!   -> check (every reachable block read back from the disk) -> fsync -> rename
//! ```
//!
//! Nothing stands under a target's name before it is whole, checked and on the disk. Several images of one cluster are written from one
//! download.

pub mod check;
pub mod image;
pub mod log;
pub mod select;
pub mod target;

use crate::error::{Error, Result};
use crate::ledger::header::PrepareHeader;
use crate::ledger::image::SuperBlockEdit;
use crate::ledger::layout::{VIEW_HEADERS_SUFFIX_MAX, plainly_durable_op_for_checkpoint};
use crate::ledger::superblock::SuperBlock;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::manifest::Summary;
use crate::repository::name::CheckpointName;
use crate::units::time_text;
use image::Image;
use select::Point;
use std::path::PathBuf;
use std::sync::Arc;
use target::Target;

/// Whose data file an image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The replica that it was captured from.
    Same,
    /// Replica `index` of the cluster.
    Replica {
        /// Its index.
        index: u8,
    },
    /// A cluster of one, with the same cluster id: a sandbox, never to be mixed with replicas of the original.
    Solo,
}

/// What to restore.
#[derive(Debug, Clone)]
pub struct Request {
    /// To which moment.
    pub point: Point,
    /// Which files, and whose they become.
    pub outputs: Vec<(PathBuf, Role)>,
    /// Replace files that stand under these names.
    pub overwrite: bool,
}

/// What a restore did.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The backup that was used.
    pub name: CheckpointName,
    /// What its manifest says.
    pub summary: Summary,
    /// The op that the images end at.
    pub op: u64,
    /// The timestamp of that op.
    pub timestamp_ns: u64,
    /// What that op is ([`crate::ledger::header::operation_name`]).
    pub operation: u8,
    /// Blocks written into each image.
    pub blocks: u64,
    /// Bytes fetched from the store for blocks and log.
    pub bytes_fetched: u64,
    /// Plain bytes written into each image.
    pub bytes_written: u64,
    /// What is not as it should be, but did not matter for this restore.
    pub notes: Vec<String>,
}

/// Writes all images that are asked for, or none.
///
/// # Errors
/// [`Error::input`] for a point that is not held (with the nearest ones), a role that the cluster does not have or a name that is taken;
/// [`Error::damaged`] when the repository does not hold what its manifest promises. No file stands under a target's name then.
pub fn restore(repository: &Arc<Repository>, request: &Request, progress: &dyn Progress) -> Result<Restored> {
    let mut targets = Vec::with_capacity(request.outputs.len());
    for (path, _) in &request.outputs {
        targets.push(Target::create(path, request.overwrite)?);
    }
    let selected = select::select(repository, request.point)?;
    let (manifest, op) = (&selected.manifest, selected.op);
    let mut notes = promise_notes(repository, &selected.name);
    notes.extend(selected.notes.iter().cloned());
    for note in &notes {
        progress.note(note);
    }
    target::check_space(&targets, image::bytes_needed(manifest, log::plain_bytes(repository, manifest)?))?;
    let mut image = Image::begin(repository, manifest, &targets)?;
    progress.begin("log", None);
    let headers = image.write_log(op)?;
    progress.end();
    progress.begin("blocks", Some(image::stored_bytes(manifest)));
    image.write_blocks(progress)?;
    progress.end();
    let mut superblocks = Vec::with_capacity(targets.len());
    for (_, role) in &request.outputs {
        superblocks.push(superblock_for(&manifest.superblock, *role, &headers)?);
    }
    image.write_zones(&headers, &superblocks)?;
    let written = image.end();
    let end = headers.last().copied().unwrap_or(manifest.superblock.checkpoint().header());
    for target in &targets {
        target.sync()?;
        progress.begin(&format!("check {}", target.path().display()), Some(manifest.summary.blocks.saturating_mul(512 * 1024)));
        for note in check::check_image(target.temporary(), manifest, op, progress)? {
            progress.note(&note);
            notes.push(note);
        }
        progress.end();
    }
    for target in targets {
        target.commit()?;
    }
    Ok(Restored {
        name: selected.name,
        summary: manifest.summary.clone(),
        op,
        timestamp_ns: end.timestamp(),
        operation: end.operation(),
        blocks: manifest.summary.blocks,
        bytes_fetched: written.bytes_fetched,
        bytes_written: written.bytes_written,
        notes,
    })
}

/// The superblock of one image that ends with the last of `headers`.
fn superblock_for(original: &SuperBlock, role: Role, headers: &[PrepareHeader]) -> Result<SuperBlock> {
    let unsound = |error| Error::bug(format!("the edited superblock is refused: {error}"));
    let checkpoint = original.checkpoint().header();
    let end = headers.last().unwrap_or(&checkpoint);
    let mut edit = SuperBlockEdit::new(original);
    // The superblock knows of ops behind the end: left so, the server would wait for them. The newest headers of the image take their place.
    let knows_more = original.view_headers().any(|header| header.op() > end.op()) || original.commit_max() > end.op();
    // The log ends so close behind the checkpoint that the server must be told how much of it is committed: all of it, being restored to.
    let ends_close = end.op() < plainly_durable_op_for_checkpoint(checkpoint.op());
    // In the middle of a view change a server would choose its head from the superblock, not from the log that was restored.
    let changes_view = original.log_view() != original.view() || end.view() > original.log_view();
    if knows_more || ends_close || changes_view {
        let mut newest: Vec<PrepareHeader> = headers.iter().rev().take(VIEW_HEADERS_SUFFIX_MAX).copied().collect();
        if newest.is_empty() {
            newest.push(checkpoint);
        }
        let commit_max = if ends_close { end.op() } else { original.commit_max().min(end.op()) };
        edit = edit.rewind(end.view(), &newest, commit_max).map_err(unsound)?;
    }
    match role {
        Role::Same => {}
        Role::Solo => edit = edit.solo(),
        Role::Replica { index } if index < original.replica_count() => edit = edit.replica(index).map_err(unsound)?,
        Role::Replica { index } => {
            let count = original.replica_count();
            return Err(Error::input(format!(
                "there is no replica {index}: the cluster has {count} replicas, 0 to {}; --solo makes a cluster of one",
                count - 1
            )));
        }
    }
    edit.finish().map_err(unsound)
}

/// What this restore does not need, but should be there all the same.
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

/// An op and its time, for messages.
pub(crate) fn point_text(op: u64, timestamp_ns: u64) -> String {
    if timestamp_ns == 0 { format!("op {op}") } else { format!("op {op} ({})", time_text(timestamp_ns)) }
}

#[cfg(test)]
mod tests;
