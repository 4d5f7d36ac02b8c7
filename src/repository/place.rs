//! Whether what is written goes to the repository that was opened.
//!
//! A folder is moved, a disk unmounted, a bucket emptied or made anew, and the path or the bucket
//! still takes objects. What is stored there is lost as a backup, and nobody sees it. So every
//! write first looks whether the repository is still there: by its header, or by the key object
//! that opened it, since one of them may be lost by itself. A folder is looked at before every
//! write. At a server a look costs a request, so one look counts for a while
//! ([`Store::confirm_after`]).
//!
//! Flow: [`Repository::open`](super::Repository::open) puts a [`Place`] between itself and the
//! store. While the repository is away, writes and listings end as [`StoreError::Unavailable`],
//! which callers try again, and an object that is not found is not called missing.
//! [`Place::returns`] counts how often it came back. Whoever relies on what was written shortly
//! before compares the count, and looks at what is stored again.

use super::name;
use crate::host::Clock;
use crate::store::{Capabilities, Digest, KnownPart, Listed, Multipart, Part, PutOutcome, Resumed, Store, StoreError, Traffic, Unfinished};
use crate::threads::lock;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A store that holds one repository, and takes nothing while it does not.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    clock: Clock,
    /// What shows that it is the repository: names and contents of small objects, one of which is
    /// enough.
    marks: Vec<(String, Vec<u8>)>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// When the repository was last seen there.
    confirmed: Instant,
    is_away: bool,
    returns: u64,
}

impl Place {
    /// A place where the repository with this header, and the key object of this name, was just
    /// opened.
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, header: Vec<u8>, key: (String, Vec<u8>)) -> Place {
        let seen = Mutex::new(Seen { confirmed: clock.now(), is_away: false, returns: 0 });
        Place(Arc::new(Inner { store, clock, marks: vec![(name::HEADER.to_owned(), header), key], seen }))
    }

    /// How often the repository was away and came back.
    pub(super) fn returns(&self) -> u64 {
        lock(&self.0.seen).returns
    }

    /// Whether the repository was away at the last look.
    pub(super) fn is_away(&self) -> bool {
        lock(&self.0.seen).is_away
    }

    /// Before something is written or listed: makes sure that the repository is there. A look that
    /// is not older than the store says is enough.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it is not, others when nobody can say.
    pub(super) fn before(&self, action: &'static str, object: &str) -> Result<(), StoreError> {
        let inner = &*self.0;
        {
            let seen = lock(&inner.seen);
            if !seen.is_away && inner.clock.since(seen.confirmed) < inner.store.confirm_after() {
                return Ok(());
            }
        }
        let mut found_other = false;
        for (mark, content) in &inner.marks {
            match inner.store.get_range(mark, 0, content.len() as u64) {
                Ok(found) if found == content[..] => {
                    self.set_there();
                    return Ok(());
                }
                Ok(_) => found_other = true,
                Err(StoreError::NotFound { .. } | StoreError::Short { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        lock(&inner.seen).is_away = true;
        let what = if found_other { "another repository is there now" } else { "there is no repository any more" };
        Err(StoreError::Unavailable {
            store: inner.store.describe(),
            action,
            name: object.to_owned(),
            reason: format!(
                "{what}: it was moved, unmounted, emptied or replaced since it was opened; nothing is written here: put it back (mount it), \
                 or stop and start with its new place"
            ),
        })
    }

    fn set_there(&self) {
        let mut seen = lock(&self.0.seen);
        seen.confirmed = self.0.clock.now();
        if std::mem::take(&mut seen.is_away) {
            seen.returns += 1;
        }
    }

    /// After an object was not found: perhaps the repository is not there either.
    fn after<T>(&self, name: &str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(result, Err(StoreError::NotFound { .. })) {
            self.before("get", name)?;
        }
        result
    }
}

impl Store for Place {
    fn describe(&self) -> String {
        self.0.store.describe()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.store.capabilities()
    }

    fn confirm_after(&self) -> Duration {
        self.0.store.confirm_after()
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        self.before("put", name)?;
        self.0.store.put(name, body, digest)
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        self.before("begin multipart", name)?;
        Ok(self.upload(name, self.0.store.begin_multipart(name)?))
    }

    fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, StoreError> {
        self.before("list uploads", prefix)?;
        self.0.store.unfinished(prefix)
    }

    fn resume_multipart(&self, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>, StoreError> {
        self.before("resume multipart", name)?;
        let resumed = self.0.store.resume_multipart(name, upload_id, known)?;
        Ok(resumed.map(|resumed| Resumed { multipart: self.upload(name, resumed.multipart), held: resumed.held }))
    }

    fn abort_upload(&self, name: &str, upload_id: &str) -> Result<(), StoreError> {
        self.before("abort multipart", name)?;
        self.0.store.abort_upload(name, upload_id)
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        self.after(name, self.0.store.get_range(name, offset, length))
    }

    fn get_range_into(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.after(name, self.0.store.get_range_into(name, offset, buffer))
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let size_bytes = self.0.store.size_bytes(name)?;
        if size_bytes.is_none() {
            self.before("size", name)?;
        }
        Ok(size_bytes)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.before("list", prefix)?;
        self.0.store.list(prefix, after, limit)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.before("delete", name)?;
        self.0.store.delete(name)
    }

    fn traffic(&self) -> Traffic {
        self.0.store.traffic()
    }
}

/// An upload that becomes an object only where the repository is.
struct PlacedUpload {
    place: Place,
    name: String,
    upload: Box<dyn Multipart>,
}

impl Place {
    fn upload(&self, name: &str, upload: Box<dyn Multipart>) -> Box<dyn Multipart> {
        Box::new(PlacedUpload { place: self.clone(), name: name.to_owned(), upload })
    }
}

impl Multipart for PlacedUpload {
    fn upload_id(&self) -> String {
        self.upload.upload_id()
    }

    fn part(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<String, StoreError> {
        self.place.before("put part", &self.name)?;
        self.upload.part(number, body, digest)
    }

    fn complete(self: Box<Self>, parts: &[Part]) -> Result<PutOutcome, StoreError> {
        if let Err(error) = self.place.before("complete multipart", &self.name) {
            self.upload.keep();
            return Err(error);
        }
        self.upload.complete(parts)
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.upload.abort()
    }

    fn keep(self: Box<Self>) {
        self.upload.keep();
    }
}

#[cfg(test)]
mod tests;
