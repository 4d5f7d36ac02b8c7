//! Finds the backup that the next one builds on.
//!
//! Flow: receipts that a killed run did not write are written now. The backup that reaches furthest
//! is read. Extents that it promises but the repository no longer has (because of a lifecycle rule
//! or an accidental deletion) are left out, so that they are stored again. A damaged backup is not
//! built on, and does not prevent new ones: it is reported in a note, and `amber verify` shows the
//! details.

use crate::error::{Error, Kind, Result};
use crate::repository::name::{self, CheckpointName};
use crate::repository::object_reader::digest_stored;
use crate::repository::promise::Receipt;
use crate::repository::{Repository, fetch};
use crate::tb_format::layout::checkpoint_after;
use crate::tb_format::superblock::SuperBlock;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use std::collections::HashSet;
use std::sync::Arc;

/// The backup to build on, if there is one, and what the user should know about damaged ones.
#[derive(Debug, Default)]
pub struct Base {
    /// Its manifest, without the extents that the repository does not hold any more.
    pub manifest: Option<Manifest>,
    /// Notes about damage, in sentences for the user.
    pub notes: Vec<String>,
}

impl Base {
    /// Finds the backup to build on in this history.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(repository: &Arc<Repository>, lineage: &Lineage) -> Result<Base> {
        let mut base = Base::default();
        make_up_receipts(repository, &mut base.notes)?;
        let newest = repository.newest_checkpoint_of(lineage)?;
        for (name, error) in &newest.damaged {
            base.notes
                .push(format!("{} is damaged, and this backup does not build on it; `amber verify` says more ({error})", name.object()));
        }
        if let Some((name, _)) = newest.best {
            base.manifest = keep_whole(Manifest::read(repository, &name, None), &name, &mut base.notes)?;
        }
        if let Some(manifest) = &mut base.manifest {
            leave_out_missing(repository, manifest, &mut base.notes)?;
        }
        Ok(base)
    }
}

/// Returns the value if it is intact. Damage becomes a note.
fn keep_whole<T>(result: Result<T>, name: &CheckpointName, notes: &mut Vec<String>) -> Result<Option<T>> {
    match result {
        Ok(whole) => Ok(Some(whole)),
        Err(error) if error.kind == Kind::Damaged => {
            notes.push(format!("{} is damaged, and this backup does not build on it; `amber verify` says more ({error})", name.object()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes missing receipts: a run that was killed between its manifest and its receipt left a
/// backup without one.
fn make_up_receipts(repository: &Arc<Repository>, notes: &mut Vec<String>) -> Result<()> {
    let receipts: HashSet<CheckpointName> = repository.receipts()?.into_iter().collect();
    for name in repository.checkpoints()?.iter().filter(|name| !receipts.contains(name)) {
        let digested = fetch::until_agreed(&name.object(), || digest_stored(repository, &name.object()));
        let read = digested
            .and_then(|(size_bytes, digest)| Manifest::read(repository, name, Some(size_bytes)).map(|_| Receipt { size_bytes, digest }));
        if let Some(receipt) = keep_whole(read, name, notes)? {
            repository.write_receipt(name, &receipt)?;
        }
    }
    Ok(())
}

/// Removes the extents whose pack does not exist with its promised size, or was found damaged.
fn leave_out_missing(repository: &Repository, manifest: &mut Manifest, notes: &mut Vec<String>) -> Result<()> {
    let listed: HashSet<(String, u64)> =
        repository.list_all(name::PACKS)?.into_iter().map(|object| (object.name, object.size_bytes)).collect();
    let there: Vec<bool> = manifest.packs.iter().map(|pack| listed.contains(&(pack.name.object(), pack.stored_bytes))).collect();
    for (pack, _) in manifest.packs.iter().zip(&there).filter(|(_, there)| !**there) {
        notes.push(format!(
            "{} is missing or was cut: its blocks are stored again, but older backups that need it are lost; `amber verify` lists them",
            pack.name.object()
        ));
    }
    let known = repository.known_damage()?;
    let damaged: Vec<bool> = manifest.packs.iter().map(|pack| known.contains(&pack.name.object())).collect();
    for (pack, _) in manifest.packs.iter().zip(&damaged).filter(|(_, damaged)| **damaged) {
        notes.push(format!("{} was found damaged: its blocks are stored again; `amber verify` says more", pack.name.object()));
    }
    let there: Vec<bool> = there.into_iter().zip(damaged).map(|(there, damaged)| there && !damaged).collect();
    manifest.extents.retain(|extent| there.get(extent.location.pack as usize) == Some(&true));
    Ok(())
}

/// Refuses another history: two histories under one cluster id must not be mixed in one timeline.
/// Where checkpoints of the two can be compared, a different id proves a fork.
///
/// # Errors
/// [`Error::input`] if the ids differ.
pub fn refuse_other_history(base: &Manifest, superblock: &SuperBlock) -> Result<()> {
    let (ours, theirs) = (superblock.checkpoint(), base.superblock.checkpoint());
    let (our_op, their_op) = (ours.header().op(), theirs.header().op());
    let (here, there, op) = if our_op == their_op {
        (ours.checkpoint_id(), theirs.checkpoint_id(), our_op)
    } else if our_op == checkpoint_after(their_op) {
        (ours.parent_checkpoint_id(), theirs.checkpoint_id(), their_op)
    } else if their_op == checkpoint_after(our_op) {
        (ours.checkpoint_id(), theirs.parent_checkpoint_id(), our_op)
    } else {
        return Ok(());
    };
    if here == there || op == 0 {
        return Ok(());
    }
    Err(Error::input(format!(
        "the data file continues another history than the repository: checkpoint op {op} has id {here} here and {there} there. If the \
         cluster was restored to an earlier op and went on from there, --new-timeline stores it beside the old history"
    )))
}
