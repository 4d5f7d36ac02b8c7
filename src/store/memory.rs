//! A store in memory, for tests. It is as strict as the strictest server, and tests can look at its
//! objects and damage them.
//!
//! Clones share their content, so a test can hold one clone and hand another to the code under
//! test. Puts are create-only under one lock, digests are always compared, and parts must follow
//! the rules of S3. So code that passes here does not fail there.

use super::multipart::{check_part_number, check_parts, is_held};
use super::{
    Capabilities, Digest, KnownPart, Listed, Multipart, PART_BYTES_MIN, Part, PutOutcome, Resumed, Store, StoreError, Unfinished,
    body_bytes, check_digest, check_name, check_prefix, hex,
};
use crate::threads::lock;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

const DESCRIPTION: &str = "memory";

/// Objects in memory; see the head of this module.
#[derive(Clone)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    uploads: Arc<Mutex<Uploads>>,
    part_bytes_min: u64,
}

/// Uploads in parts, by their ids.
#[derive(Default)]
struct Uploads {
    begun: u64,
    held: BTreeMap<String, Upload>,
}

struct Upload {
    name: String,
    began_ns: u64,
    parts: BTreeMap<u32, (Part, Bytes)>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store with the least part size of S3.
    pub fn new() -> Self {
        Self::with_part_bytes_min(PART_BYTES_MIN)
    }

    /// An empty store that takes parts (but the last) of `part_bytes_min` bytes or more, for tests
    /// with small parts.
    pub fn with_part_bytes_min(part_bytes_min: u64) -> Self {
        MemoryStore { objects: Arc::default(), uploads: Arc::default(), part_bytes_min }
    }

    /// The names of all objects, in byte order.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The content of an object.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.lock().get(name).cloned()
    }

    /// Replaces the content of an object, or creates one, which no writer of Amber could do.
    pub fn replace(&self, name: &str, content: impl Into<Bytes>) {
        self.lock().insert(name.to_owned(), content.into());
    }

    /// Flips the bits of `mask` in the byte at `offset`; false if there is no such byte.
    pub fn corrupt(&self, name: &str, offset: usize, mask: u8) -> bool {
        let mut objects = self.lock();
        let Some(content) = objects.get_mut(name) else { return false };
        let mut changed = content.to_vec();
        let Some(byte) = changed.get_mut(offset) else { return false };
        *byte ^= mask;
        *content = Bytes::from(changed);
        true
    }

    /// Gives an object another name, over whatever is there; false if there is no such object.
    pub fn rename(&self, from: &str, to: &str) -> bool {
        let mut objects = self.lock();
        let Some(content) = objects.remove(from) else { return false };
        objects.insert(to.to_owned(), content);
        true
    }

    /// Removes an object and returns its content.
    pub fn remove(&self, name: &str) -> Option<Bytes> {
        self.lock().remove(name)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        lock(&self.objects)
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        lock(&self.uploads)
    }

    fn insert_new(&self, name: &str, content: Bytes) -> PutOutcome {
        let mut objects = self.lock();
        if objects.contains_key(name) {
            return PutOutcome::AlreadyExists;
        }
        objects.insert(name.to_owned(), content);
        PutOutcome::Created
    }
}

fn refused(action: &'static str, name: &str, reason: String) -> StoreError {
    StoreError::Refused { store: DESCRIPTION.to_owned(), action, name: name.to_owned(), reason }
}

fn corrupted(action: &'static str, name: &str, reason: String) -> StoreError {
    StoreError::Corrupted { store: DESCRIPTION.to_owned(), action, name: name.to_owned(), reason }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryStore").field("objects", &self.lock().len()).finish()
    }
}

impl Store for MemoryStore {
    fn describe(&self) -> String {
        DESCRIPTION.to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { conditional_put: true, digest_checked: true }
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        check_name(name).map_err(|reason| refused("put", name, reason))?;
        check_digest(body, digest).map_err(|reason| corrupted("put", name, reason))?;
        Ok(self.insert_new(name, Bytes::from(body.concat())))
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        check_name(name).map_err(|reason| refused("begin multipart", name, reason))?;
        let began_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let mut uploads = self.uploads();
        uploads.begun += 1;
        let upload_id = format!("upload-{}", uploads.begun);
        uploads.held.insert(upload_id.clone(), Upload { name: name.to_owned(), began_ns, parts: BTreeMap::new() });
        Ok(Box::new(MemoryMultipart { store: self.clone(), name: name.to_owned(), upload_id, sent: Mutex::default(), over: false }))
    }

    fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, StoreError> {
        check_prefix(prefix).map_err(|reason| refused("list uploads", prefix, reason))?;
        let uploads = self.uploads();
        let below = uploads.held.iter().filter(|(_, upload)| upload.name.starts_with(prefix));
        let mut found: Vec<Unfinished> = below
            .map(|(upload_id, upload)| Unfinished {
                name: upload.name.clone(),
                upload_id: upload_id.clone(),
                began_ns: Some(upload.began_ns),
                size_bytes: Some(upload.parts.values().map(|(part, _)| part.size_bytes).sum()),
            })
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    fn resume_multipart(&self, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>, StoreError> {
        check_name(name).map_err(|reason| refused("resume multipart", name, reason))?;
        let uploads = self.uploads();
        let Some(upload) = uploads.held.get(upload_id).filter(|upload| upload.name == name) else { return Ok(None) };
        let mut sent = BTreeMap::new();
        for known in known {
            let Some((part, _)) = upload.parts.get(&known.number) else { continue };
            if is_held(known, part.size_bytes, Some(&part.digest), Some(&hex(&part.digest))) {
                sent.insert(known.number, part.clone());
            }
        }
        let held = sent.keys().copied().collect();
        let multipart = MemoryMultipart {
            store: self.clone(),
            name: name.to_owned(),
            upload_id: upload_id.to_owned(),
            sent: Mutex::new(sent),
            over: false,
        };
        Ok(Some(Resumed { multipart: Box::new(multipart), held }))
    }

    fn abort_upload(&self, name: &str, upload_id: &str) -> Result<(), StoreError> {
        check_name(name).map_err(|reason| refused("abort multipart", name, reason))?;
        self.uploads().held.retain(|held, upload| held != upload_id || upload.name != name);
        Ok(())
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        check_name(name).map_err(|reason| refused("get", name, reason))?;
        let content = self.bytes(name).ok_or_else(|| StoreError::NotFound { store: DESCRIPTION.to_owned(), name: name.to_owned() })?;
        let size_bytes = content.len() as u64;
        let end = offset.saturating_add(length);
        if end > size_bytes {
            return Err(StoreError::Short { store: DESCRIPTION.to_owned(), name: name.to_owned(), size_bytes, offset, end });
        }
        Ok(content.slice(offset as usize..end as usize))
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        check_name(name).map_err(|reason| refused("size", name, reason))?;
        Ok(self.lock().get(name).map(|content| content.len() as u64))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        check_prefix(prefix).map_err(|reason| refused("list", prefix, reason))?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.to_owned()),
        };
        let objects = self.lock();
        let below = objects.range((start, Bound::Unbounded)).take_while(|(name, _)| name.starts_with(prefix));
        Ok(below.take(limit).map(|(name, content)| Listed { name: name.clone(), size_bytes: content.len() as u64 }).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name).map_err(|reason| refused("delete", name, reason))?;
        self.remove(name);
        Ok(())
    }
}

struct MemoryMultipart {
    store: MemoryStore,
    name: String,
    upload_id: String,
    /// The parts that this writer sent or resumed.
    sent: Mutex<BTreeMap<u32, Part>>,
    /// The upload is kept: nothing is to be aborted.
    over: bool,
}

impl MemoryMultipart {
    fn gone(&self, action: &'static str) -> StoreError {
        refused(action, &self.name, "the upload is gone: it was completed or aborted".to_owned())
    }

    fn joined(&self, parts: &[Part]) -> Result<Bytes, StoreError> {
        let sent = lock(&self.sent);
        let no = |reason| refused("complete", &self.name, reason);
        check_parts(sent.iter().map(|(number, part)| (*number, part)), parts).map_err(no)?;
        let but_last = &parts[..parts.len() - 1];
        if let Some(small) = but_last.iter().find(|part| part.size_bytes < self.store.part_bytes_min) {
            return Err(no(format!("a part has {} bytes; all but the last have at least {}", small.size_bytes, self.store.part_bytes_min)));
        }
        let uploads = self.store.uploads();
        let upload = uploads.held.get(&self.upload_id).ok_or_else(|| self.gone("complete"))?;
        let pieces: Vec<Bytes> = sent.keys().filter_map(|number| upload.parts.get(number)).map(|(_, content)| content.clone()).collect();
        Ok(Bytes::from(pieces.concat()))
    }
}

impl Multipart for MemoryMultipart {
    fn upload_id(&self) -> String {
        self.upload_id.clone()
    }

    fn part(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<String, StoreError> {
        check_part_number(number).map_err(|reason| refused("put part", &self.name, reason))?;
        check_digest(body, digest).map_err(|reason| corrupted("put part", &self.name, reason))?;
        let part = Part { size_bytes: body_bytes(body), digest: *digest };
        let content = Bytes::from(body.concat());
        let mut sent = lock(&self.sent);
        let mut uploads = self.store.uploads();
        let upload = uploads.held.get_mut(&self.upload_id).ok_or_else(|| self.gone("put part"))?;
        upload.parts.insert(number, (part.clone(), content));
        sent.insert(number, part);
        Ok(hex(digest))
    }

    fn complete(self: Box<Self>, parts: &[Part]) -> Result<PutOutcome, StoreError> {
        let joined = self.joined(parts)?;
        Ok(self.store.insert_new(&self.name, joined))
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }

    fn keep(mut self: Box<Self>) {
        self.over = true;
    }
}

impl Drop for MemoryMultipart {
    fn drop(&mut self) {
        if !self.over {
            self.store.uploads().held.remove(&self.upload_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[test]
    fn passes_the_contract() {
        contract::contract(Arc::new(MemoryStore::new()));
    }

    #[test]
    fn clones_share_and_tests_can_damage() {
        let store = MemoryStore::default();
        let other = store.clone();
        contract::put_bytes(&store, "a/b", b"content");
        assert_eq!(other.names(), ["a/b"]);
        assert_eq!(other.describe(), "memory");
        assert_eq!(other.bytes("a/b").unwrap(), &b"content"[..]);
        assert!(other.corrupt("a/b", 0, 1));
        assert!(!other.corrupt("a/b", 7, 1));
        assert!(!other.corrupt("a/c", 0, 1));
        assert_eq!(store.bytes("a/b").unwrap(), &b"bontent"[..]);
        store.replace("a/b", &b"new"[..]);
        assert!(store.rename("a/b", "c") && !store.rename("a/b", "c"));
        assert_eq!(store.remove("c").unwrap(), &b"new"[..]);
        assert_eq!(store.remove("c"), None);
        assert_eq!(format!("{store:?}"), "MemoryStore { objects: 0 }");
    }

    #[test]
    fn small_parts_are_refused_unless_asked_for() {
        for (store, taken) in [(MemoryStore::new(), false), (MemoryStore::with_part_bytes_min(1), true)] {
            let upload = store.begin_multipart("a").unwrap();
            let parts: Vec<Part> = [b"12", b"34"].iter().map(|content| contract::part_of(&content[..])).collect();
            upload.part(2, &[Bytes::from_static(b"34")], &parts[1].digest).unwrap();
            upload.part(1, &[Bytes::from_static(b"12")], &parts[0].digest).unwrap();
            assert_eq!(upload.complete(&parts).is_ok(), taken);
            assert_eq!(store.bytes("a").is_some(), taken);
        }
    }
}
