//! Small facts as objects of their own: one frame of JSON, sealed like everything else, written
//! once.
//!
//! Timelines, gaps, leases and runs are such records. A reader ignores fields that it does not
//! know, because newer writers may add some.

use super::Repository;
use super::frame::ObjectKind;
use super::object_reader::ObjectReader;
use super::sealed::{self, SealedObject};
use crate::error::{Error, Result};
use crate::store::PutOutcome;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes a record, create-only.
///
/// # Errors
/// Whatever the store says.
pub(crate) fn write(repository: &Repository, kind: ObjectKind, name: String, record: &impl Serialize) -> Result<PutOutcome> {
    Ok(seal(repository, kind, name, record)?.put(&*repository.store)?)
}

/// Seals a record without writing it, for callers that need its digest.
///
/// # Errors
/// [`Error::bug`] when it cannot be written as JSON.
pub(crate) fn seal(repository: &Repository, kind: ObjectKind, name: String, record: &impl Serialize) -> Result<SealedObject> {
    let json = serde_json::to_vec(record).map_err(|error| Error::bug(format!("{name}: {error}")).caused_by(error))?;
    sealed::seal(repository, kind, name, &[json], None, Vec::new())
}

/// Reads a record.
///
/// # Errors
/// [`Error::damaged`] when it is missing or not what was written.
pub(crate) fn read<T: DeserializeOwned>(repository: &Repository, kind: ObjectKind, name: &str) -> Result<T> {
    let object = ObjectReader::open(repository, kind, name, None)?;
    let frame = object.frames(0, 1)?.pop().unwrap_or_default();
    serde_json::from_slice(&frame)
        .map_err(|error| Error::damaged(format!("{name}: it is not the record that it should be: {error}")).caused_by(error))
}
