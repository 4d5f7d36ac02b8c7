//! What rooms above may do with stored objects as they are stored: list them, ask for their size,
//! read and write them. Deleting is in [`super::remove`] alone.

use super::Repository;
use super::frame::{OBJECT_HEADER_BYTES, ObjectKind};
use super::object_reader::ObjectReader;
use super::sealed::SealedObject;
use crate::error::Error;
use crate::error::Result;
use crate::pipeline::digest::digest_of;
use crate::store::{Capabilities, Digest, KnownPart, Listed, Part, PutOutcome, Resumed, StoreError, Traffic};
use bytes::Bytes;

impl Repository {
    /// The stored size of an object; `None` where there is none of this name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn object_bytes(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.store.size_bytes(name)?)
    }

    /// At most `limit` objects under a prefix, after a name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>> {
        Ok(self.store.list(prefix, after, limit)?)
    }

    /// Stored bytes of an object.
    ///
    /// # Errors
    /// Those of the store.
    pub fn stored_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes> {
        Ok(self.store.get_range(name, offset, length)?)
    }

    /// Writes an object that was sealed in memory. An object of this name is left as it is.
    ///
    /// # Errors
    /// Those of the store, as the store says them, for callers that tell them apart.
    pub fn put_sealed(&self, object: &SealedObject) -> Result<PutOutcome, StoreError> {
        object.put(&*self.store)
    }

    /// Opens every frame of an object of whatever kind.
    ///
    /// # Errors
    /// [`crate::error::Error::damaged`] when it is missing or not what was sealed.
    pub fn authenticate(&self, name: &str) -> Result<()> {
        let kind = ObjectKind::of_header(&self.stored_range(name, 0, OBJECT_HEADER_BYTES as u64)?);
        let kind = kind.ok_or_else(|| Error::damaged(format!("{name}: it is no sealed object")))?;
        let object = ObjectReader::open(self, kind, name, None)?;
        (0..object.frame_count()).try_for_each(|number| object.frames(number, 1).map(drop))
    }

    /// Copies an object, as it is stored, from a copy of this repository: in parts of `part_bytes`,
    /// one of them in memory. An object of this name is left as it is. Returns the digests of the
    /// parts; where `is_right` does not hold for them, nothing is written under the name.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn put_copied(
        &self,
        from: &Repository,
        name: &str,
        size_bytes: u64,
        part_bytes: u64,
        is_right: &dyn Fn(&[Digest]) -> bool,
    ) -> Result<Option<PutOutcome>> {
        let cuts = (0..size_bytes.div_ceil(part_bytes.max(1)).max(1)).map(|number| number * part_bytes);
        let read = |offset: u64| from.stored_range(name, offset, part_bytes.min(size_bytes - offset));
        if size_bytes <= part_bytes {
            let bytes = read(0)?;
            let digest = digest_of(&bytes);
            return Ok(if is_right(&[digest]) { Some(self.store.put(name, &[bytes], &digest)?) } else { None });
        }
        let upload = self.store.begin_multipart(name)?;
        let (mut parts, mut digests) = (Vec::new(), Vec::new());
        for (number, offset) in (1..).zip(cuts) {
            let bytes = read(offset)?;
            let digest = digest_of(&bytes);
            upload.part(number, std::slice::from_ref(&bytes), &digest)?;
            parts.push(Part { size_bytes: bytes.len() as u64, digest });
            digests.push(digest);
        }
        if !is_right(&digests) {
            upload.abort()?;
            return Ok(None);
        }
        Ok(Some(upload.complete(&parts)?))
    }

    /// Resumes an upload: see [`crate::store::Store::resume_multipart`].
    ///
    /// # Errors
    /// Those of the store.
    pub fn resume_upload(&self, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>> {
        Ok(self.store.resume_multipart(name, upload_id, known)?)
    }

    /// Aborts an upload and deletes its parts. No error if it is gone already.
    ///
    /// # Errors
    /// Those of the store.
    pub fn abort_upload(&self, name: &str, upload_id: &str) -> Result<()> {
        Ok(self.store.abort_upload(name, upload_id)?)
    }

    /// What the store has seen of the server so far.
    pub fn traffic(&self) -> Traffic {
        self.store.traffic()
    }

    /// What the store can do.
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}
