//! The repository: the only module that knows the format (FORMAT.md), so that writer, restorer and
//! verifier cannot drift apart.
//!
//! Flow of a backup: [`Repository::open`] finds the header and opens the key;
//! `tier::tigerbeetle::format::pack::PackWriter` and
//! `tier::tigerbeetle::format::segment::SegmentBuilder` write data;
//! [`Repository::promise`] writes the manifest, and then its receipt. A backup exists when its
//! manifest does. The receipt lets verification notice a manifest that has gone missing since.
//! Everything is written once, under a name that nobody else draws.

pub mod access;
pub mod damage;
pub mod fetch;
pub mod frame;
pub mod header;
pub mod key;
pub mod lease;
pub mod name;
pub mod object_reader;
pub mod object_writer;
mod parts;
mod place;
pub mod promise;
pub mod record;
pub mod remove;
pub mod run_record;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
pub mod sealed;
pub mod stored_object;
pub mod upload_journal;
pub mod wire;

use crate::disk::recycle::Recycler;
use crate::error::{Error, Kind, Result};
use crate::host::{Clock, Host};
use crate::limits::governor::{Governor, Priority};
use crate::pipeline::digest::digest_of;
use crate::pipeline::level::LEVEL_DEFAULT;
use crate::pipeline::worker::Pool;
use crate::store::{Listed, PutOutcome, Store, StoreError};
use bytes::Bytes;
use header::{Header, UncheckedHeader};
use key::{RepositoryKey, Secret, Unwrapped};
use name::{CheckpointName, RunId};
use place::Place;
use std::sync::Arc;

/// Objects requested in one listing: S3 returns at most this many.
const LIST_PAGE: usize = 1000;
/// An object larger than this is no header and no key object.
const SMALL_OBJECT_BYTES_MAX: u64 = 4096;

/// Idle frame buffers that are kept: as many as one object has in work, and a few that wait for
/// their turn.
const FRAME_BUFFERS_KEPT: usize = 24;
/// Idle part buffers that are kept: those of one object in flight, and one that is being filled.
const PART_BUFFERS_KEPT: usize = 5;

/// How to work with a repository; nothing of it is stored.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that compress and seal.
    pub workers: usize,
    /// Threads that send and fetch.
    pub transfers: usize,
    /// zstd level.
    pub level: i32,
    /// Keeps the work within limits; by default there are none.
    pub governor: Arc<Governor>,
    /// The machine.
    pub host: Host,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options { workers: cores.min(8), transfers: 4, level: LEVEL_DEFAULT, governor: Governor::unlimited(), host: Host::default() }
    }
}

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    store: Arc<dyn Store>,
    /// Whether the store still holds it; a spool is not asked.
    place: Option<Place>,
    pub(crate) key: RepositoryKey,
    pub(crate) workers: Pool,
    pub(crate) uploads: Pool,
    /// Buffers that frames are sealed into.
    pub(crate) frame_buffers: Recycler,
    /// Buffers that parts are put together in.
    pub(crate) part_buffers: Recycler,
    pub(crate) level: i32,
    pub(crate) governor: Arc<Governor>,
    host: Host,
    header: Header,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let kind = match error {
            StoreError::NotFound { .. } | StoreError::Short { .. } | StoreError::Damaged { .. } => Kind::Damaged,
            StoreError::Refused { .. } => Kind::Input,
            StoreError::Unavailable { .. } | StoreError::Corrupted { .. } => Kind::TryAgain,
        };
        Error::new(kind, error.to_string()).caused_by(error)
    }
}

impl Repository {
    /// Makes a repository in an empty place: a wrapped key first, the header last.
    ///
    /// # Errors
    /// [`Error::input`] where there is one already.
    pub fn init(store: &Arc<dyn Store>, secret: &Secret, now_ns: u64) -> Result<Header> {
        let taken =
            || Error::input(format!("{}: there is a repository already; choose another place, nothing was changed", store.describe()));
        if store.size_bytes(name::HEADER)?.is_some() {
            return Err(taken());
        }
        let header = Header { repository_id: key::random()?, created_ns: now_ns };
        let repository_key = RepositoryKey::generate()?;
        let key_name = format!("{}{:016x}", name::KEYS, u64::from_le_bytes(key::random()?));
        let wrapped = repository_key.wrap(secret, &header.repository_id, &key_name)?;
        put(&**store, &key_name, wrapped)?;
        match put(&**store, name::HEADER, header.encode(&repository_key)?)? {
            PutOutcome::Created => Ok(header),
            PutOutcome::AlreadyExists => Err(taken()),
        }
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// [`Error::input`] where there is none or the secret is wrong, [`Error::damaged`] where header
    /// or keys are damaged.
    pub fn open(store: Arc<dyn Store>, secret: &Secret, options: Options) -> Result<Arc<Repository>> {
        let place = store.describe();
        let (header, header_bytes, key, key_object) = fetch::until_intact(|| {
            let read = || small_object(&*store, name::HEADER)?.ok_or_else(|| no_repository(&*store));
            let header_bytes = read()?;
            let unchecked = UncheckedHeader::decode(&header_bytes, &place)?;
            let (key, key_object) = match open_key(&*store, secret, unchecked.repository_id()) {
                // Keys are bound to an id that only the right key can check. So the secret is
                // called wrong only if the id was read correctly.
                Err(error) if error.kind == Kind::Input && read()? != header_bytes => {
                    return Err(Error::damaged(format!("{place}: the repository's header came out differently when it was read twice")));
                }
                opened => opened?,
            };
            Ok((unchecked.check(&key, &place)?, header_bytes, key, key_object))
        })?;
        let Options { governor, host, .. } = options;
        let pool = |name, threads| pool(host, name, threads, &governor);
        let (workers, uploads) = (pool("amber-worker", options.workers)?, pool("amber-transfer", options.transfers)?);
        let place = Place::new(store, host.clock, header_bytes, key_object);
        Ok(Arc::new(Repository {
            store: Arc::new(place.clone()),
            place: Some(place),
            key,
            workers,
            uploads,
            frame_buffers: Recycler::new(FRAME_BUFFERS_KEPT),
            part_buffers: Recycler::new(PART_BUFFERS_KEPT),
            level: options.level,
            governor,
            host,
            header,
        }))
    }

    /// The same repository with its objects in another place (a spool), for a copy that waits to be
    /// stored. It has one thread each for work and transfer.
    ///
    /// # Errors
    /// [`Error::try_again`] when the system gives no threads.
    pub fn over(&self, store: Arc<dyn Store>) -> Result<Arc<Repository>> {
        let governor = Arc::clone(&self.governor);
        let pool = |name| pool(self.host, name, 1, &governor);
        let (workers, uploads) = (pool("amber-worker")?, pool("amber-transfer")?);
        Ok(Arc::new(Repository {
            store,
            place: None,
            key: self.key.clone(),
            workers,
            uploads,
            frame_buffers: Recycler::new(1),
            part_buffers: Recycler::new(1),
            level: self.level,
            governor,
            host: self.host,
            header: self.header,
        }))
    }

    /// What keeps the work on it within limits.
    pub fn governor(&self) -> &Arc<Governor> {
        &self.governor
    }

    /// Waits until the limits allow this many stored bytes to be fetched and worked on.
    pub fn admit_fetch(&self, priority: Priority, stored_bytes: u64) {
        self.governor.admit_read(priority, stored_bytes);
        self.governor.admit(priority, stored_bytes);
    }

    /// The repository's identity.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The machine that it is worked with on.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.host.clock
    }

    /// Where the repository is, for messages.
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// Makes sure that the place still holds the repository that was opened.
    ///
    /// # Errors
    /// [`Error::try_again`] when it does not, or cannot be asked. Nothing is written there
    /// meanwhile.
    pub fn confirm_place(&self) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        Ok(place.before("look at", name::HEADER)?)
    }

    /// Whether the place held something else, or nothing, at the last look.
    pub fn is_away(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_away)
    }

    /// How often the place held something else, or nothing, and then the repository again. What was
    /// written shortly before may be elsewhere.
    pub fn returns(&self) -> u64 {
        self.place.as_ref().map_or(0, Place::returns)
    }

    /// The store under the repository.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Draws a number for a new run: milliseconds of this machine's clock, so that names sort by
    /// age, and random bits, so that numbers differ without the clock.
    pub fn new_run(&self) -> Result<RunId> {
        self.draw_run(false)
    }

    /// Draws a number for an agent that ships the log. Segments of such a run may be merged away.
    /// Those of a backup are never merged away, because its manifest may be about to name them.
    pub fn new_shipping_run(&self) -> Result<RunId> {
        self.draw_run(true)
    }

    /// Draws a number for a run that is newer than another, whatever the clock says: it was set
    /// back since, or is behind that of another machine.
    pub fn new_run_after(&self, other: RunId) -> Result<RunId> {
        let drawn = self.new_run()?;
        Ok(if drawn > other { drawn } else { drawn.at_ms(other.ms().saturating_add(1)) })
    }

    fn draw_run(&self, ships: bool) -> Result<RunId> {
        let random = u64::from(u32::from_le_bytes(self.host.random.bytes()?)) & !RunId::SHIPS;
        let ships = if ships { RunId::SHIPS } else { 0 };
        Ok(RunId(random | ships).at_ms(self.host.clock.now_ns() / 1_000_000))
    }

    /// The names of all checkpoint manifests, in the order of restore. Names that are not ours are
    /// left out.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointName>> {
        let listed = self.list_all(name::CHECKPOINTS)?;
        Ok(listed.iter().filter_map(|object| CheckpointName::parse(&object.name)).collect())
    }

    /// All objects under a prefix.
    pub fn list_all(&self, prefix: &str) -> Result<Vec<Listed>> {
        list_all(&*self.store, prefix)
    }

    /// Checks that a key object is intact; needs no secret.
    ///
    /// # Errors
    /// [`Error::damaged`] where it is damaged.
    pub fn check_key_object(&self, name: &str) -> Result<()> {
        fetch::until_intact(|| {
            // It may have been removed since it was listed.
            let Some(object) = small_object(&*self.store, name)? else { return Ok(()) };
            key::key_object_damage(&object).map_or(Ok(()), |damage| Err(Error::damaged(damage)))
        })
    }
}

fn pool(host: Host, name: &str, threads: usize, governor: &Arc<Governor>) -> Result<Pool> {
    Pool::new(host.workers, name, threads, threads * 2, governor)
        .map_err(|error| Error::try_again(format!("the system gives no more threads: {error}")).caused_by(error))
}

/// Why a repository could not be opened: there is none. It may appear by itself, when its disk is
/// mounted.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("there is no repository")]
pub struct NoRepository;

fn no_repository(store: &dyn Store) -> Error {
    let place = store.describe();
    match list_all(store, name::KEYS) {
        Ok(keys) if !keys.is_empty() => {
            Error::damaged(format!("{place}: the repository's header amber/repository is missing, its keys are there"))
        }
        _ => Error::input(format!("{place}: there is no repository; `amber init --repo {place}` makes one")).caused_by(NoRepository),
    }
}

/// A small object: its name and its content.
type SmallObject = (String, Vec<u8>);

/// Tries the secret on every key object. Returns the key, and the object that it was in.
fn open_key(store: &dyn Store, secret: &Secret, repository_id: &[u8; 16]) -> Result<(RepositoryKey, SmallObject)> {
    let place = store.describe();
    let (mut damage, mut wrong, mut other) = (Vec::new(), 0, 0);
    for listed in list_all(store, name::KEYS)? {
        let unwrap = || {
            let object = small_object(store, &listed.name)?.unwrap_or_default();
            match RepositoryKey::unwrap(&object, secret, repository_id, &listed.name)? {
                Unwrapped::Damaged(reason) => Err(Error::damaged(format!("{}: {reason}", listed.name))),
                unwrapped => Ok((unwrapped, object)),
            }
        };
        match fetch::until_intact(unwrap) {
            Ok((Unwrapped::Key(key), object)) => return Ok((key, (listed.name, object))),
            Ok((Unwrapped::OtherKind, _)) => other += 1,
            Ok((Unwrapped::WrongSecret | Unwrapped::Damaged(_), _)) => wrong += 1,
            Err(error) if error.kind == Kind::Damaged => damage.push(error.message),
            Err(error) => return Err(error),
        }
    }
    if !damage.is_empty() {
        return Err(Error::damaged(format!("{place}: key objects are damaged: {}", damage.join("; "))));
    }
    if wrong + other == 0 {
        return Err(Error::damaged(format!("{place}: there is no key object under {}: without one nothing can be opened", name::KEYS)));
    }
    let hint =
        if wrong == 0 { "the repository is opened another way (passphrase or key file)" } else { "it is the wrong passphrase or key file" };
    Err(Error::input(format!("{place}: none of its {} keys opens: {hint}", wrong + other)))
}

fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<Listed>> {
    let mut all: Vec<Listed> = Vec::new();
    loop {
        let page = store.list(prefix, all.last().map(|last| last.name.as_str()), LIST_PAGE)?;
        let ended = page.len() < LIST_PAGE;
        all.extend(page);
        if ended {
            return Ok(all);
        }
    }
}

fn small_object(store: &dyn Store, name: &str) -> Result<Option<Vec<u8>>> {
    match store.size_bytes(name)? {
        None => Ok(None),
        Some(size_bytes) if size_bytes > SMALL_OBJECT_BYTES_MAX => {
            Err(Error::damaged(format!("{}: {name} has {size_bytes} bytes, more than any such object", store.describe())))
        }
        Some(size_bytes) => Ok(Some(store.get_range(name, 0, size_bytes)?.to_vec())),
    }
}

fn put(store: &dyn Store, name: &str, bytes: Vec<u8>) -> Result<PutOutcome> {
    let digest = digest_of(&bytes);
    Ok(store.put(name, &[Bytes::from(bytes)], &digest)?)
}

#[cfg(test)]
pub(crate) mod tests;
