//! Checks stored objects, a few at once, as deep as asked ([`Depth`]).
//!
//! The digest of the stored bytes needs no key. An object of which nothing promises a digest (a
//! segment that an agent shipped) is checked by opening every frame instead. What else an object
//! holds, and what that must agree with, each tier knows itself ([`ObjectCheck::open`]).

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::object_reader::digest_stored_in_parts;
use crate::repository::{Repository, fetch};
use crate::tier::depth::Depth;
use crate::tier::findings::check_wanted;
use crate::tier::reference::PromisedBytes;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Objects checked at once.
const THREADS: usize = 4;

/// An object to check.
pub trait ObjectCheck: Send + Sync {
    /// Its name.
    fn name(&self) -> String;
    /// What is promised of its stored bytes.
    fn expected(&self) -> Expected;
    /// Opens all of it and compares it with what it was captured from.
    ///
    /// # Errors
    /// [`Error::damaged`] where it is not that, or whatever the store says.
    fn open(&self, repository: &Repository) -> Result<()>;
    /// Opens every frame, for objects of which no digest is promised.
    ///
    /// # Errors
    /// Those of [`ObjectCheck::open`].
    fn authenticate(&self, repository: &Repository) -> Result<()> {
        self.open(repository)
    }
}

/// What is expected of an object's stored bytes.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    /// A record promises size and digest.
    Promised(PromisedBytes),
    /// It was listed with this size, and authenticates itself.
    Listed(u64),
}

/// The result of one check.
#[derive(Debug)]
pub struct CheckOutcome {
    /// The object.
    pub name: String,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Whether it is intact.
    pub result: Result<()>,
}

fn check(object: &dyn ObjectCheck, repository: &Repository, depth: Depth, progress: &dyn Progress) -> CheckOutcome {
    let name = object.name();
    let (bytes_read, result) = match object.expected() {
        Expected::Promised(promised) if depth == Depth::Existence => (0, exists(repository, &name, promised)),
        Expected::Promised(promised) => {
            let (bytes_read, stored) = digests(repository, &name, promised, progress);
            let opened = || if depth == Depth::Full { fetch::until_intact(|| object.open(repository)) } else { Ok(()) };
            (bytes_read, stored.and_then(|()| opened()))
        }
        Expected::Listed(_) if depth == Depth::Existence => (0, Ok(())),
        Expected::Listed(stored_bytes) => {
            let opened = || if depth == Depth::Full { object.open(repository) } else { object.authenticate(repository) };
            let result = check_wanted(progress).and_then(|()| opened());
            (if result.is_ok() { stored_bytes } else { 0 }, result)
        }
    };
    CheckOutcome { name, bytes_read, result }
}

fn exists(repository: &Repository, name: &str, promised: PromisedBytes) -> Result<()> {
    fetch::until_intact(|| match repository.object_bytes(name)? {
        None => Err(Error::damaged("it is missing")),
        Some(found) if found != promised.size_bytes => Err(other_size(found, promised.size_bytes)),
        Some(_) => Ok(()),
    })
}

fn digests(repository: &Repository, name: &str, promised: PromisedBytes, progress: &dyn Progress) -> (u64, Result<()>) {
    let mut bytes_read = 0;
    let result = fetch::until_intact(|| {
        let found = digest_stored_in_parts(repository, name, promised.part_bytes, &|| check_wanted(progress))?;
        bytes_read = found.0;
        if found.0 != promised.size_bytes {
            return Err(other_size(found.0, promised.size_bytes));
        }
        if found.1 != promised.digest {
            return Err(Error::damaged(
                "its bytes are not those that were stored: the digest differs. Delete it, and the next backup stores anew what it needs of it",
            ));
        }
        Ok(())
    });
    (bytes_read, result)
}

fn other_size(found: u64, promised: u64) -> Error {
    Error::damaged(format!("it has {found} bytes, its manifest says {promised}: it was cut or swapped"))
}

/// Runs all checks. Returns the outcomes in the order of the objects.
pub fn check_all<T: ObjectCheck>(repository: &Repository, objects: &[T], depth: Depth, progress: &dyn Progress) -> Vec<CheckOutcome> {
    let next = AtomicUsize::new(0);
    let position = AtomicU64::new(0);
    let outcomes: Mutex<Vec<(usize, CheckOutcome)>> = Mutex::new(Vec::with_capacity(objects.len()));
    repository.host().workers.share(THREADS.min(objects.len()), || {
        repository.governor().meter();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(object) = objects.get(number) else { return };
            let outcome = check(object, repository, depth, progress);
            progress.position(position.fetch_add(outcome.bytes_read, Ordering::Relaxed) + outcome.bytes_read);
            if let Ok(mut outcomes) = outcomes.lock() {
                outcomes.push((number, outcome));
            }
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
