//! What rooms above may do with stored objects as they are stored: list them, ask for their size,
//! read and write them. Deleting is in [`super::remove`] alone.

use super::Repository;
use super::sealed::SealedObject;
use crate::error::Result;
use crate::pipeline::digest::digest_of;
use crate::store::{Capabilities, KnownPart, Listed, PutOutcome, Resumed, StoreError, Traffic};
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

    /// Writes stored bytes that were read from a copy of this repository. An object of this name is
    /// left as it is.
    ///
    /// # Errors
    /// Those of the store.
    pub fn put_copied(&self, name: &str, pieces: &[Bytes]) -> Result<PutOutcome> {
        Ok(self.store.put(name, pieces, &digest_of(&pieces.concat()))?)
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
