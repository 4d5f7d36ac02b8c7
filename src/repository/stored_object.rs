//! What a finished object is: its name, its size, its digest.

use crate::error::Error;
use crate::error::Result;
use crate::pipeline::digest;
use crate::store::Digest;
use crossbeam_channel::Sender;

/// Sends the result of a task to whoever waits for it. If the task's thread panics, it sends an
/// error: without that the other would wait for ever.
pub(crate) struct Answer<K: Copy, T> {
    number: K,
    waiting: Option<Sender<(K, Result<T>)>>,
}

impl<K: Copy, T> Answer<K, T> {
    pub(crate) fn to(waiting: &Sender<(K, Result<T>)>, number: K) -> Answer<K, T> {
        Answer { number, waiting: Some(waiting.clone()) }
    }

    pub(crate) fn send(mut self, result: Result<T>) {
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.send((self.number, result));
        }
    }
}

impl<K: Copy, T> Drop for Answer<K, T> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.send((self.number, Err(Error::bug("a thread panicked"))));
        }
    }
}

/// A stored object, as its manifest records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest: see [`object_digest`].
    pub digest: Digest,
    /// How many frames it has.
    pub frames: u32,
    /// Size of the parts that it was sent in; the digest depends on it.
    pub part_bytes: u64,
}

/// The digest of an object from those of its parts: of one part its SHA-256, of several the SHA-256
/// of their SHA-256s, as S3 composes it.
pub fn object_digest(parts: &[Digest]) -> Digest {
    match parts {
        [only] => *only,
        _ => digest::digest_of(parts.concat().as_slice()),
    }
}
