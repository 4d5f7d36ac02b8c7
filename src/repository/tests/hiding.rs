//! A store in which an object is not visible when it is first looked for, as if another writer
//! created it the next moment.

use crate::store::memory::MemoryStore;
use crate::store::{Capabilities, Digest, Listed, Multipart, PutOutcome, Store, StoreError};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(crate) struct HidingStore {
    inner: MemoryStore,
    name: &'static str,
    seen: AtomicBool,
}

impl HidingStore {
    pub(crate) fn new(inner: &MemoryStore, name: &'static str) -> HidingStore {
        HidingStore { inner: inner.clone(), name, seen: AtomicBool::new(false) }
    }
}

impl Store for HidingStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        self.inner.put(name, body, digest)
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        self.inner.begin_multipart(name)
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        self.inner.get_range(name, offset, length)
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        if name == self.name && !self.seen.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        self.inner.size_bytes(name)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix, after, limit)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name)
    }
}
