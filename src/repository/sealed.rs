//! Small objects sealed in memory, so that the caller decides when and where they go: to the store,
//! to a spool on the disk first, or to both.
//!
//! [`seal`] does in one call, on the calling thread, what [`super::object_writer`] does for objects
//! of any size. The format of the bytes is the same. [`SealedObject::put`] writes the object,
//! create-only, and says whether the name was free.

use super::Repository;
use super::frame::{self, Encoding, Index, OBJECT_HEADER_BYTES, ObjectKind, Trailer};
use super::object_writer::PART_BYTES;
use crate::error::{Error, Result};
use crate::pipeline::digest::digest;
use crate::store::{Digest, PutOutcome, Store, StoreError};
use bytes::Bytes;

/// An object as it will be stored.
#[derive(Debug, Clone)]
pub struct SealedObject {
    /// Its name.
    pub name: String,
    /// Its bytes, in pieces.
    pub body: Vec<Bytes>,
    /// Their number.
    pub stored_bytes: u64,
    /// Their SHA-256.
    pub digest: Digest,
}

impl SealedObject {
    /// Writes it. It is durable when this returns. An existing object of this name is left as it
    /// is.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn put(&self, store: &dyn Store) -> Result<PutOutcome, StoreError> {
        store.put(&self.name, &self.body, &self.digest)
    }
}

/// Seals an object of these frames. `record_bytes` is the size of the records after the first 256
/// bytes of each frame, where they have records.
///
/// # Errors
/// [`Error::bug`] when it is larger than one part: such an object goes through
/// [`super::object_writer::ObjectWriter`].
pub fn seal(
    repository: &Repository,
    kind: ObjectKind,
    name: String,
    frames: &[impl AsRef<[u8]>],
    record_bytes: Option<u16>,
    entries: Vec<u8>,
) -> Result<SealedObject> {
    let (header, sealing) = frame::new_object(&repository.key, kind, &name)?;
    let mut body = vec![Bytes::copy_from_slice(&header)];
    let mut rows = Vec::with_capacity(frames.len());
    let encoding = Encoding { level: repository.level, record_bytes };
    for (number, plain) in (0..).zip(frames) {
        let (sealed, row) = frame::seal_frame(&sealing, number, false, plain.as_ref(), &encoding)?;
        body.push(Bytes::from(sealed));
        rows.push(row);
    }
    let index = Index { frames: rows, entries };
    let (sealed, row) = frame::seal_frame(&sealing, frame::INDEX_NUMBER, true, &index.encode()?, &encoding)?;
    let trailer = Trailer {
        index_offset: OBJECT_HEADER_BYTES as u64 + index.frames_bytes(),
        index_stored_bytes: row.stored_bytes,
        index_plain_bytes: row.plain_bytes,
        codec: row.codec,
    };
    body.push(Bytes::from(sealed));
    body.push(Bytes::copy_from_slice(&trailer.encode()));
    let stored_bytes = body.iter().map(|piece| piece.len() as u64).sum();
    if stored_bytes > PART_BYTES as u64 {
        return Err(Error::bug(format!("{name}: {stored_bytes} bytes are more than one part")));
    }
    let digest = digest(&body);
    Ok(SealedObject { name, body, stored_bytes, digest })
}
