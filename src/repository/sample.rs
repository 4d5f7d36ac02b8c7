//! Repositories for tests: in memory, opened with a key file (which is instant, where a passphrase
//! takes 64 MiB and three passes), and a store that fails on purpose.
//!
//! Flow: [`create`] makes a repository in a [`MemoryStore`]. [`open`] opens it again, over a
//! [`FaultyStore`] if the test wants to see what a failing store leaves behind. `tier::sample`
//! makes complete backups. Only for tests: the feature `samples` opens it to others.

use super::key::Secret;
use super::name::{RunId, SegmentName};
use super::{Options, Repository};
use crate::error::{Error, Result};
use crate::host::Clock;
use crate::limits::governor::{Governor, Limits, Priority};
use crate::store::memory::MemoryStore;
use crate::store::{Capabilities, Digest, KnownPart, Listed, Multipart, Part, PutOutcome, Resumed, Store, StoreError, Unfinished};
use crate::tb_format::wal::Prepare;
use crate::threads::lock;
use crate::tier::tigerbeetle::format::segment::SegmentBuilder;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

/// The key file that opens every sample repository.
pub const KEY_FILE: [u8; 32] = *b"a key file of thirty-two bytes..";
/// When every sample repository was made.
pub const CREATED_NS: u64 = 1_700_000_000_000_000_000;

/// The secret of every sample repository.
pub fn secret() -> Secret {
    Secret::KeyFile(Zeroizing::new(KEY_FILE.to_vec()))
}

/// The cheapest way to work with a repository: one thread of each kind.
pub fn options() -> Options {
    Options { workers: 1, transfers: 1, ..Options::default() }
}

/// Opens a repository whose limits leave nothing for bulk work in the next ten seconds. Returns
/// also the governor that enforces the limits: a MiB a second for uploads and for reads.
///
/// # Errors
/// Those of [`Repository::open`].
pub fn open_exhausted(store: &MemoryStore) -> Result<(Arc<Repository>, Arc<Governor>)> {
    let limits = Limits { upload_bytes_per_s: Some(1 << 20), read_bytes_per_s: Some(1 << 20), ..Limits::default() };
    let governor = Arc::new(Governor::new(limits, 0, Clock::default()));
    for _ in 0..2 {
        governor.admit_upload(Priority::Log, 1 << 30);
        governor.admit_read(Priority::Log, 1 << 30);
    }
    let options = Options { governor: Arc::clone(&governor), ..options() };
    Ok((Repository::open(Arc::new(store.clone()), &secret(), options)?, governor))
}

/// Makes a repository and opens it.
///
/// # Errors
/// Those of [`Repository::init`] and [`Repository::open`].
pub fn create(store: &MemoryStore) -> Result<Arc<Repository>> {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    Repository::init(&store, &secret(), CREATED_NS)?;
    open(store)
}

/// Opens a repository that [`create`] made.
///
/// # Errors
/// Those of [`Repository::open`].
pub fn open(store: Arc<dyn Store>) -> Result<Arc<Repository>> {
    Repository::open(store, &secret(), options())
}

/// Stores these prepares as a segment of a timeline.
///
/// # Errors
/// [`Error::input`] for bytes that are no prepare, or if there are none; those of the store.
pub fn store_log(repository: &Repository, timeline: u32, run: u64, log: &[Vec<u8>]) -> Result<SegmentName> {
    let mut builder = SegmentBuilder::default();
    for bytes in log {
        builder.push(&Prepare::check(bytes).map_err(|error| Error::input(error.to_string()))?);
    }
    let sealed = builder.seal(repository, timeline, RunId(run))?.ok_or_else(|| Error::input("a segment of no prepares"))?;
    repository.put_sealed(&sealed.object)?;
    Ok(sealed.name)
}

/// Bytes that no compression makes smaller. The same seed gives the same bytes each time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Only this call fails, and nothing happens.
    Refused,
    /// Only this call fails: it takes effect, but its answer is lost.
    AnswerLost,
    /// This call and every later one fail: the store is gone, or the process was killed.
    Gone,
}

#[derive(Debug, Clone)]
struct FaultPlan {
    at_call: u64,
    fault: Fault,
}

/// A store whose calls fail on demand. Clones share the plan and the count of calls.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: MemoryStore,
    calls: Arc<AtomicU64>,
    plan: Arc<Mutex<Option<FaultPlan>>>,
}

impl FaultyStore {
    /// A store over `inner` that does not fail yet.
    pub fn new(inner: &MemoryStore) -> FaultyStore {
        FaultyStore { inner: inner.clone(), calls: Arc::default(), plan: Arc::default() }
    }

    /// Call number `at_call` from now on, counted from 1, fails like this.
    pub fn fail(&self, at_call: u64, fault: Fault) {
        *lock(&self.plan) = Some(FaultPlan { at_call, fault });
        self.calls.store(0, Ordering::SeqCst);
    }

    /// Calls since the last [`FaultyStore::fail`].
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call<T>(&self, action: &'static str, name: &str, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let failing = |plan: &FaultPlan| number == plan.at_call || (plan.fault == Fault::Gone && number > plan.at_call);
        let plan = lock(&self.plan).clone();
        let Some(plan) = plan.filter(failing) else { return work() };
        if plan.fault == Fault::AnswerLost {
            work()?;
        }
        let reason = format!("{:?} on purpose, at call {number}", plan.fault);
        Err(StoreError::Unavailable { store: "faulty".to_owned(), action, name: name.to_owned(), reason })
    }
}

impl Store for FaultyStore {
    fn describe(&self) -> String {
        "faulty".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        self.call("put", name, || self.inner.put(name, body, digest))
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        let inner = self.call("begin multipart", name, || self.inner.begin_multipart(name))?;
        Ok(Box::new(FaultyMultipart { store: self.clone(), name: name.to_owned(), inner }))
    }

    fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, StoreError> {
        self.call("list uploads", prefix, || self.inner.unfinished(prefix))
    }

    fn resume_multipart(&self, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>, StoreError> {
        let resumed = self.call("resume multipart", name, || self.inner.resume_multipart(name, upload_id, known))?;
        Ok(resumed.map(|Resumed { multipart: inner, held }| Resumed {
            multipart: Box::new(FaultyMultipart { store: self.clone(), name: name.to_owned(), inner }),
            held,
        }))
    }

    fn abort_upload(&self, name: &str, upload_id: &str) -> Result<(), StoreError> {
        self.call("abort multipart", name, || self.inner.abort_upload(name, upload_id))
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        self.call("get", name, || self.inner.get_range(name, offset, length))
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.call("size", name, || self.inner.size_bytes(name))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.call("list", prefix, || self.inner.list(prefix, after, limit))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call("delete", name, || self.inner.delete(name))
    }
}

/// What is done before a call that reads an object. It is given the object's name and how many
/// bytes are asked for (none if the call asks for the size). It returns whether it wants to be
/// called again.
type Hook = Box<dyn FnMut(&str, u64) -> bool + Send>;

/// A store in which something happens between a listing and the reading of a listed object.
#[derive(Clone)]
pub struct HookedStore {
    inner: MemoryStore,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl std::fmt::Debug for HookedStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HookedStore")
    }
}

impl HookedStore {
    /// A store over `inner`, without a hook.
    pub fn new(inner: &MemoryStore) -> HookedStore {
        HookedStore { inner: inner.clone(), hook: Arc::default() }
    }

    /// Before each object is read, `hook` is called with its name and the bytes asked for, until it
    /// returns `false`.
    pub fn before_reads(&self, hook: impl FnMut(&str, u64) -> bool + Send + 'static) {
        *lock(&self.hook) = Some(Box::new(hook));
    }

    fn read(&self, name: &str, length: u64) {
        let mut hook = lock(&self.hook);
        if hook.as_mut().is_some_and(|hook| !hook(name, length)) {
            *hook = None;
        }
    }
}

impl Store for HookedStore {
    fn describe(&self) -> String {
        "hooked".to_owned()
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
        self.read(name, length);
        self.inner.get_range(name, offset, length)
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.read(name, 0);
        self.inner.size_bytes(name)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix, after, limit)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name)
    }
}

struct FaultyMultipart {
    store: FaultyStore,
    name: String,
    inner: Box<dyn Multipart>,
}

impl Multipart for FaultyMultipart {
    fn upload_id(&self) -> String {
        self.inner.upload_id()
    }

    fn part(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<String, StoreError> {
        self.store.call("put part", &self.name, || self.inner.part(number, body, digest))
    }

    fn complete(self: Box<Self>, parts: &[Part]) -> Result<PutOutcome, StoreError> {
        let FaultyMultipart { store, name, inner } = *self;
        store.call("complete", &name, || inner.complete(parts))
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.abort()
    }

    fn keep(self: Box<Self>) {
        self.inner.keep();
    }
}
