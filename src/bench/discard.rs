//! A store that discards what it receives, so that the joined pipeline is measured without the cost
//! of a store.

use crate::store::{Capabilities, Digest, Listed, Multipart, Part, PutOutcome, Store, StoreError};
use crate::threads::lock;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// Objects up to this size are kept: a repository's header and key.
const KEPT_BYTES_MAX: usize = 4096;

/// See the head of this file.
#[derive(Debug, Clone, Default)]
pub(super) struct DiscardStore {
    small: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl DiscardStore {
    fn small(&self, name: &str) -> Option<Bytes> {
        let small = lock(&self.small);
        small.iter().find(|(held, _)| held == name).map(|(_, bytes)| bytes.clone())
    }

    fn missing(&self, name: &str) -> StoreError {
        StoreError::NotFound { store: self.describe(), name: name.to_owned() }
    }
}

impl Store for DiscardStore {
    fn describe(&self) -> String {
        "nowhere".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { conditional_put: true, digest_checked: true }
    }

    fn put(&self, name: &str, body: &[Bytes], _digest: &Digest) -> Result<PutOutcome, StoreError> {
        if body.iter().map(Bytes::len).sum::<usize>() <= KEPT_BYTES_MAX {
            let mut small = lock(&self.small);
            small.push((name.to_owned(), Bytes::from(body.concat())));
        }
        Ok(PutOutcome::Created)
    }

    fn begin_multipart(&self, _name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        let bytes = self.small(name).ok_or_else(|| self.missing(name))?;
        let end = offset.saturating_add(length);
        if end > bytes.len() as u64 {
            return Err(self.missing(name));
        }
        Ok(bytes.slice(offset as usize..end as usize))
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.small(name).map(|bytes| bytes.len() as u64))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let small = lock(&self.small);
        let wanted = small.iter().filter(|(name, _)| name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after));
        let mut listed: Vec<Listed> = wanted.map(|(name, bytes)| Listed { name: name.clone(), size_bytes: bytes.len() as u64 }).collect();
        listed.sort();
        listed.truncate(limit);
        Ok(listed)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        lock(&self.small).retain(|(held, _)| held != name);
        Ok(())
    }
}

impl Multipart for DiscardStore {
    fn upload_id(&self) -> String {
        String::new()
    }

    fn part(&self, number: u32, _body: &[Bytes], _digest: &Digest) -> Result<String, StoreError> {
        Ok(number.to_string())
    }

    fn keep(self: Box<Self>) {}

    fn complete(self: Box<Self>, _parts: &[Part]) -> Result<PutOutcome, StoreError> {
        Ok(PutOutcome::Created)
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
