//! Puts back what is damaged or missing of a backup, from another copy of the same repository.
//!
//! A copy has the same keys, so its objects are copied as they are stored. Each is checked before
//! it is put in place: against the promise of the record that names it, or against the copy that
//! authenticates itself.

use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::repository::object_reader::digest_stored_in_parts;
use crate::repository::remove::Reason;
use crate::repository::stored_object::object_digest;
use crate::repository::{Repository, fetch};
use crate::store::PutOutcome;
use crate::tier::findings::check_wanted;
use crate::tier::reference::{ObjectReference, PromisedBytes};

/// What was put back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The objects, by name.
    pub objects: Vec<String>,
    /// Their stored bytes.
    pub bytes: u64,
}

/// Lists what a backup needs, as it says in this repository.
pub type References<'a> = dyn FnMut(&Repository, &mut dyn FnMut(ObjectReference) -> Result<()>) -> Result<()> + 'a;

/// Puts back what is damaged or missing of a backup. What the backup needs is asked of the copy,
/// because the record itself may be what is damaged here.
///
/// # Errors
/// [`Error::input`] where the copy is of another repository, [`Error::damaged`] where an object is
/// intact in neither.
pub fn from_copy(repository: &Repository, from: &Repository, progress: &dyn Progress, references: &mut References<'_>) -> Result<Repaired> {
    if repository.header().repository_id != from.header().repository_id {
        return Err(Error::input(format!("{} is no copy of {}: it is another repository", from.describe(), repository.describe())));
    }
    let mut needed = Vec::new();
    references(from, &mut |reference| {
        needed.push(reference);
        Ok(())
    })?;
    progress.begin("repair", None);
    let mut repaired = Repaired::default();
    for reference in &needed {
        check_wanted(progress)?;
        let promised = match reference.promised {
            Some(promised) => promised,
            // It authenticates itself, and was read a moment ago.
            None => stored(from, &reference.name)?,
        };
        if is_intact(repository, &reference.name, promised)? {
            continue;
        }
        copy(repository, from, &reference.name, promised)?;
        progress.note(&format!("{}: put back from {}", reference.name, from.describe()));
        repaired.objects.push(reference.name.clone());
        repaired.bytes += promised.size_bytes;
    }
    progress.end();
    Ok(repaired)
}

/// What a copy has under a name.
fn stored(from: &Repository, name: &str) -> Result<PromisedBytes> {
    let part_bytes = crate::repository::object_writer::PART_BYTES as u64;
    let (size_bytes, digest) = fetch::until_agreed(name, || digest_stored_in_parts(from, name, part_bytes, &|| Ok(())))?;
    Ok(PromisedBytes { size_bytes, digest, part_bytes })
}

fn is_intact(repository: &Repository, name: &str, promised: PromisedBytes) -> Result<bool> {
    if repository.object_bytes(name)? != Some(promised.size_bytes) {
        return Ok(false);
    }
    let expected = (promised.size_bytes, promised.digest);
    match fetch::until_expected(Some(expected), || digest_stored_in_parts(repository, name, promised.part_bytes, &|| Ok(()))) {
        Ok(found) => Ok(found == expected),
        Err(error) if error.kind == Kind::Damaged => Ok(false),
        Err(error) => Err(error),
    }
}

fn copy(repository: &Repository, from: &Repository, name: &str, promised: PromisedBytes) -> Result<()> {
    let damaged = || Error::damaged(format!("{name}: {} does not have it intact either", from.describe()));
    let (mut parts, mut digests, mut offset) = (Vec::new(), Vec::new(), 0);
    while offset < promised.size_bytes {
        let length = promised.part_bytes.max(1).min(promised.size_bytes - offset);
        let part = from.stored_range(name, offset, length)?;
        digests.push(crate::pipeline::digest::digest_of(&part));
        parts.push(part);
        offset += length;
    }
    if object_digest(&digests) != promised.digest {
        return Err(damaged());
    }
    if repository.object_bytes(name)?.is_some() {
        repository.remove(name, Reason::Damaged)?;
    }
    match repository.put_copied(name, &parts)? {
        PutOutcome::Created => Ok(()),
        PutOutcome::AlreadyExists => Err(Error::try_again(format!("{name}: somebody else has put it back meanwhile: try again"))),
    }
}
