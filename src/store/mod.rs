//! Where objects live: one trait, three stores.
//!
//! A store knows names and bytes and nothing of what they mean. Objects are written once and never
//! changed: every put is create-only ([`PutOutcome::AlreadyExists`] where the name was taken), so a
//! repository can live under Object Lock. The digest of the bytes is computed once by the caller
//! and handed down, so that a store can have the server check it without hashing again.
//!
//! The calls block; a caller that wants several requests in flight calls from several threads
//! (every store is `Sync`).
//!
//! Flow: [`StoreUrl::parse`] reads what the user wrote, [`open`] makes the store; [`check_name`]
//! guards every call. [`mod@folder`] keeps objects as files, [`s3`] on any server that speaks S3,
//! [`memory`] is for tests. Large objects go in parts (`multipart`). All three pass the same checks
//! (`contract`).

#[cfg(any(test, feature = "samples"))]
pub mod contract;
#[cfg(any(test, feature = "samples"))]
mod contract_resume;
pub mod folder;
mod limiter;
pub mod memory;
mod multipart;
mod name;
pub mod s3;
mod url;

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use limiter::Traffic;
pub use multipart::{KnownPart, Multipart, Part, Resumed, Unfinished};
pub use name::{NAME_BYTES_MAX, NAME_PART_BYTES_MAX, check_name};
pub(crate) use name::{RESERVED_PART, check_part, check_prefix, check_reserved};
pub(crate) use s3::check_endpoint;
pub use s3::{AccessKey, S3Options, ServerSideEncryption, TlsMinimum};
pub use url::{PREFIX_BYTES_MAX, StoreUrl};

/// Most parts of one multipart object: the limit of S3.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const PARTS_MAX: u32 = 10_000;

/// Smallest size of every part but the last: the limit of S3, in bytes (same page).
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// SHA-256 of the bytes of one put or one part.
pub type Digest = [u8; 32];

/// The result of a create-only put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is durable under its name.
    Created,
    /// The name was taken already; nothing was written.
    AlreadyExists,
}

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The object's name, relative to the store's root, with `/` between parts.
    pub name: String,
    /// Stored size.
    pub size_bytes: u64,
}

/// What a store can do beyond the minimum that Amber needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// A create-only put is race-free (`If-None-Match: *` is honoured). Without it two writers of
    /// one name may overwrite one another.
    pub conditional_put: bool,
    /// The store compares the digest with the bytes that arrived. Without this nobody does: a
    /// digest that does not match goes unnoticed, and bytes that change on the way are found when
    /// they are read back.
    pub digest_checked: bool,
}

/// Why a store failed or refused, sorted by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no object of this name.
    #[error("{store}: there is no object {name}")]
    NotFound {
        /// Which store, as the user named it.
        store: String,
        /// The object.
        name: String,
    },
    /// The object is shorter than the range asked for: it was truncated, or another object has its
    /// name.
    #[error("{store}: {name} holds {size_bytes} bytes, but bytes {offset} to {end} were asked for")]
    Short {
        /// Which store.
        store: String,
        /// The object.
        name: String,
        /// The object's real size.
        size_bytes: u64,
        /// First byte asked for.
        offset: u64,
        /// One past the last byte asked for.
        end: u64,
    },
    /// The store says no and will say no again: credentials, permission, a wrong bucket, a bad
    /// name.
    #[error("{store}: {action} {name}: {reason}")]
    Refused {
        /// Which store.
        store: String,
        /// What was tried (`put`, `get`, ...).
        action: &'static str,
        /// The object or prefix.
        name: String,
        /// What the store said, and what to do.
        reason: String,
    },
    /// The store cannot be reached or is overloaded, also after retries.
    #[error("{store}: {action} {name}: {reason}")]
    Unavailable {
        /// Which store.
        store: String,
        /// What was tried.
        action: &'static str,
        /// The object or prefix.
        name: String,
        /// What the store or the network said.
        reason: String,
    },
    /// The medium cannot return the object's bytes.
    #[error("{store}: {action} {name}: {reason}")]
    Damaged {
        /// Which store.
        store: String,
        /// What was tried.
        action: &'static str,
        /// The object.
        name: String,
        /// What the system said.
        reason: String,
    },
    /// The server received other bytes than were sent (it compared the digest), also after retries.
    #[error("{store}: {action} {name}: the bytes arrived changed: {reason}")]
    Corrupted {
        /// Which store.
        store: String,
        /// What was tried.
        action: &'static str,
        /// The object.
        name: String,
        /// What the server said.
        reason: String,
    },
}

/// A store of objects. Names are relative and `/`-separated, with parts of `[a-z0-9._-]`; every
/// store calls [`check_name`] first. No name may also be the folder of another (`a` beside `a/b`):
/// a folder cannot hold both, and some S3 servers cannot either.
///
/// The calls block the thread and must not be made from inside an async task.
pub trait Store: Send + Sync + fmt::Debug {
    /// The store as the user named it (never with credentials), for messages.
    fn describe(&self) -> String;

    /// For how long a look at what the store holds counts, before a writer looks again whether the
    /// store is still the same. At a server each look is a request.
    fn confirm_after(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// What this store can do; may ask the server once.
    fn capabilities(&self) -> Capabilities;

    /// Writes a complete object under a free name. Durable when it returns.
    ///
    /// `body` is the object in pieces, so that a caller need not copy them together. `digest` is
    /// the SHA-256 of all of it. If the digest does not match the bytes, the result is
    /// [`StoreError::Corrupted`] and nothing is written, where the store compares
    /// ([`Capabilities::digest_checked`]). The caller keeps a put to about 16 MiB, which one retry
    /// may send again, and sends larger objects in parts.
    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError>;

    /// Begins an object that is sent in parts. Nothing is visible under the name until
    /// [`Multipart::complete`].
    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError>;

    /// The uploads in parts that were neither completed nor aborted, of objects whose names begin
    /// with `prefix`, in byte order of their names. Uploads that somebody works on right now are
    /// included.
    ///
    /// The default is none, for a store that keeps nothing of a writer that stopped.
    fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, StoreError> {
        let _ = prefix;
        Ok(Vec::new())
    }

    /// Resumes an upload that was kept, or whose writer was killed. `known` are the parts that the
    /// writer noted. `None` if the upload is gone (completed, aborted, or cleaned away by the
    /// store). Then the caller begins the object anew, if it is not there.
    ///
    /// A known part counts as held if the store lists it with the same size and the same SHA-256
    /// or, where the store reports no SHA-256, with the same tag. Parts that were not noted are
    /// never joined.
    fn resume_multipart(&self, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>, StoreError> {
        let _ = (name, upload_id, known);
        Ok(None)
    }

    /// Aborts an upload and deletes its parts. No error if it is gone already.
    fn abort_upload(&self, name: &str, upload_id: &str) -> Result<(), StoreError> {
        let _ = (name, upload_id);
        Ok(())
    }

    /// Reads exactly `length` bytes from `offset`; [`StoreError::Short`] if the object does not
    /// hold them. Reading 0 bytes at the very end succeeds; beyond the end it does not.
    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError>;

    /// Does the same into a buffer of the caller, which is filled completely; no memory is
    /// allocated for it. After an error the content of the buffer has no meaning.
    fn get_range_into(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let content = self.get_range(name, offset, buffer.len() as u64)?;
        buffer.copy_from_slice(&content);
        Ok(())
    }

    /// The stored size of an object, or `None` if there is none of that name.
    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// Up to `limit` objects whose names begin with `prefix`, in byte order of their names, after
    /// `after` if given. `prefix` may end inside a part. Fewer than `limit` objects mean that these
    /// are the last. What a store keeps for itself (below `.tmp/`) is not shown.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError>;

    /// Removes an object. No error if it is not there.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// What the store has seen of the server so far, for status; nothing where there is no server.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// Compares the SHA-256 over the pieces with the caller's digest. The error is only the reason.
pub(crate) fn check_digest(body: &[Bytes], digest: &Digest) -> Result<(), String> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    body.iter().for_each(|piece| context.update(piece));
    let found = context.finish();
    if found.as_ref() != digest {
        return Err(format!("the bytes have SHA-256 {}, but {} was said", hex(found.as_ref()), hex(digest)));
    }
    Ok(())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Size of a body in pieces, in bytes.
pub(crate) fn body_bytes(body: &[Bytes]) -> u64 {
    body.iter().map(|piece| piece.len() as u64).sum()
}

/// Random bytes. They are all zero in the impossible case that the system gives none; then tokens
/// are merely alike.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    crate::host::Random::SYSTEM.bytes().unwrap_or([0; N])
}

/// Opens the store that `url` names. Writes nothing, and does not contact an S3 server yet. `s3` is
/// only used for `s3://`.
pub fn open(url: &StoreUrl, s3: &S3Options) -> Result<Arc<dyn Store>, StoreError> {
    match url {
        StoreUrl::Folder(path) => Ok(Arc::new(folder::FolderStore::open(path)?)),
        StoreUrl::S3 { bucket, prefix } => Ok(Arc::new(s3::S3Store::open(bucket, prefix, s3)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_hex() {
        let pieces = [Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
        let mut digest = Digest::default();
        digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"abc").as_ref());
        assert_eq!(check_digest(&pieces, &digest), Ok(()));
        assert_eq!(hex(&digest[..4]), "ba7816bf");
        assert_eq!(body_bytes(&pieces), 3);
        digest[0] ^= 1;
        assert!(check_digest(&pieces, &digest).unwrap_err().contains("bb7816bf"));
    }

    #[test]
    fn open_chooses_the_store() {
        let path = std::env::temp_dir();
        let store = open(&StoreUrl::Folder(path.clone()), &S3Options::default()).unwrap();
        assert_eq!(store.describe(), path.display().to_string());
        let options = S3Options { endpoint: Some("http://127.0.0.1:9".to_owned()), ..S3Options::default() };
        let store = open(&StoreUrl::parse("s3://bucket/prefix").unwrap(), &options).unwrap();
        assert_eq!(store.describe(), "s3://bucket/prefix");
    }
}
