//! Puts back what is damaged or missing of a backup, from another copy of the same repository.
//!
//! A copy has the same keys, so its objects are copied as they are stored. Each is checked before
//! it is put in place: against the promise of the record that names it, or by opening it. What is
//! intact here is never touched.

use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::repository::object_reader::digest_stored_in_parts;
use crate::repository::remove::{Reason, Removal};
use crate::repository::stored_object::object_digest;
use crate::repository::{Repository, fetch};
use crate::store::{Digest, PutOutcome};
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
        let name = &reference.name;
        let promised = match reference.promised {
            Some(promised) if is_intact(repository, name, promised)? => continue,
            Some(promised) => promised,
            None if opens(repository, name)? => continue,
            // It authenticates itself, so it is what the copy has once that opens.
            None if opens(from, name)? => stored(from, name)?,
            None => return Err(intact_nowhere(name, from)),
        };
        put_back(repository, from, name, promised)?;
        progress.note(&format!("{name}: put back from {}", from.describe()));
        repaired.objects.push(name.clone());
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

fn opens(repository: &Repository, name: &str) -> Result<bool> {
    if repository.object_bytes(name)?.is_none() {
        return Ok(false);
    }
    match fetch::until_intact(|| repository.authenticate(name)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind == Kind::Damaged => Ok(false),
        Err(error) => Err(error),
    }
}

fn intact_nowhere(name: &str, from: &Repository) -> Error {
    Error::damaged(format!("{name}: {} does not have it intact either", from.describe()))
}

/// Replaces an object. What the copy has is checked before what is here is removed.
fn put_back(repository: &Repository, from: &Repository, name: &str, promised: PromisedBytes) -> Result<()> {
    if !is_intact(from, name, promised)? {
        return Err(intact_nowhere(name, from));
    }
    if repository.object_bytes(name)?.is_some()
        && let Removal::Kept(error) = repository.remove(name, Reason::Damaged)?
    {
        return Err(Error::input(format!("{name} is damaged, and the store keeps it: {error}")));
    }
    let is_right = |parts: &[Digest]| object_digest(parts) == promised.digest;
    match repository.put_copied(from, name, promised.size_bytes, promised.part_bytes, &is_right)? {
        Some(PutOutcome::Created) => Ok(()),
        Some(PutOutcome::AlreadyExists) => Err(Error::try_again(format!("{name}: somebody else has put it back meanwhile: try again"))),
        None => Err(intact_nowhere(name, from)),
    }
}
