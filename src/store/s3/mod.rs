//! Objects in a bucket of AWS S3, or of any server that speaks S3.
//!
//! One digest serves all purposes. The caller's SHA-256 goes into the signature
//! (`x-amz-content-sha256`) and into `x-amz-checksum-sha256`. So the server compares it with the
//! bytes that arrive and keeps it, and neither the SDK nor this code reads the body again.
//!
//! Flow of a put: once per store, a probe finds out what the server can do. The object is sent with
//! `If-None-Match: *` and with a random token of this call in its metadata. 412 means that the name
//! is taken, unless an earlier attempt of this very call did its work and its answer was lost: then
//! the object carries our token. A server that knows no conditions is asked with a HEAD request
//! first. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
//!
//! Flow of a read: a ranged GET, whose length and `Content-Range` must be what was asked for. A
//! body that stops early is asked for again.

mod attempts;
mod client;
mod clock;
mod environment;
mod error;
mod head;
mod http;
mod identity;
mod list;
mod multipart;
mod proxy;
mod settings;
mod tls_minimum;
mod uploads;

pub(crate) use http::tls_config as tls_client_config;
pub(crate) use settings::check_endpoint;

use super::{
    Capabilities, Digest, KnownPart, Listed, Multipart, PutOutcome, RESERVED_PART, Resumed, Store, StoreError, Traffic, Unfinished,
    body_bytes, hex, random,
};
use crate::threads::lock;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
use aws_smithy_types::base64;
use bytes::{Bytes, BytesMut};
use client::{Call, Client};
use environment::Environment;
use error::{Failure, FailureKind, chain_text};
use http::request_body;
use multipart::S3Multipart;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use crate::store::s3::tls_minimum::TlsMinimum;
pub use client::AccessKey;
pub use client::S3Options;
pub use client::ServerSideEncryption;

/// Key in the object's metadata for the random token of the call that wrote it.
pub(super) const TOKEN_KEY: &str = "amber-put";

/// The object that [`Shared::probe`] leaves under the prefix. It never changes, so no permission to
/// delete is needed.
const PROBE_LEAF: &str = "probe";
const PROBE_CONTENT: &[u8] = b"Amber wrote this to see whether the server refuses to overwrite it.\n";

/// How often a conflict with another writer of the same name is retried: one of the writers is soon
/// done.
const CONFLICTS_MAX: u32 = 5;

/// How long aborting an upload may take when nobody waits for the outcome.
const ABORT_DEADLINE: Duration = Duration::from_secs(5);

/// Objects in a bucket; see the head of this module. Clones share the connections.
#[derive(Debug, Clone)]
pub struct S3Store {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    client: Client,
    /// What the server can do, once known.
    server: Mutex<Option<Server>>,
    /// Whether the server lists in byte order, once known (see [`list`]).
    pub(super) in_order: Mutex<Option<bool>>,
    /// The bucket was seen: if an object is missing, only the object is.
    bucket_seen: AtomicBool,
}

/// What a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    /// It refuses a put with `If-None-Match: *` to a name that is taken.
    pub(super) conditional_put: bool,
    /// It knows `x-amz-checksum-sha256`.
    pub(super) digest_checked: bool,
}

impl S3Store {
    /// A store under `prefix` in `bucket`. Reads the AWS configuration of this machine, but
    /// contacts no S3 server yet.
    pub fn open(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, StoreError> {
        S3Store::open_within(bucket, prefix, options, &Environment::of_process())
    }

    /// The same in another environment.
    fn open_within(bucket: &str, prefix: &str, options: &S3Options, environment: &Environment) -> Result<Self, StoreError> {
        let client = Client::open(bucket, prefix, options, environment).map_err(|reason| {
            let url = super::StoreUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
            StoreError::Refused { store: url.to_string(), action: "open", name: String::new(), reason }
        })?;
        Ok(S3Store {
            shared: Arc::new(Shared { client, server: Mutex::default(), in_order: Mutex::default(), bucket_seen: AtomicBool::new(false) }),
        })
    }

    /// Creates the bucket. No error if it is there already and ours. For tests and demonstrations:
    /// in production the operator creates the bucket, with its Object Lock, versions and policy.
    #[cfg(any(test, feature = "samples"))]
    pub fn create_bucket(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.client.run("create bucket", "", async {
            match shared.client.s3.create_bucket().bucket(&shared.client.bucket).send().await {
                Ok(_) => Ok(()),
                Err(error) => match error.as_service_error() {
                    // Not every server says whose bucket it is. If it is not ours, the next request
                    // fails.
                    Some(there) if there.is_bucket_already_owned_by_you() || there.is_bucket_already_exists() => Ok(()),
                    _ => Err(shared.error(Failure::of(&error), "create bucket", "")),
                },
            }
        })
    }

    fn checked(&self, action: &'static str, name: &str) -> Result<(), StoreError> {
        super::check_name(name).map_err(|reason| self.shared.error(Failure::new(FailureKind::Refused, reason), action, name))
    }
}

impl Shared {
    fn error(&self, failure: Failure, action: &'static str, name: &str) -> StoreError {
        failure.into_error(&self.client.describe(), action, name)
    }

    /// What the server can do. It is found out the first time that the server can be asked.
    async fn server(&self) -> Result<Server, Failure> {
        if let Some(server) = *lock(&self.server) {
            return Ok(server);
        }
        let server = self.probe().await?;
        *lock(&self.server) = Some(server);
        Ok(server)
    }

    /// Writes one small object twice, create-only, and checks whether the second put is refused.
    /// The object stays. Where it is there already, one request is enough, and repositories under
    /// Object Lock or without permission to delete collect no garbage. The first time it also
    /// leaves the marks by which a listing recognises the server's order.
    async fn probe(&self) -> Result<Server, Failure> {
        let name = format!("{RESERVED_PART}/{PROBE_LEAF}");
        let body = [Bytes::from_static(PROBE_CONTENT)];
        let mut digest = Digest::default();
        digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, PROBE_CONTENT).as_ref());
        let mut server = Server { conditional_put: false, digest_checked: false };
        for _ in 0..2 {
            match self.send_put(&name, &body, &digest, &token(), &Call::with_digest(&digest), true).await {
                Ok(returned) => {
                    server.digest_checked = returned.is_some();
                    self.leave_marks(&body, &digest).await?;
                }
                Err(Failure { kind: FailureKind::Taken | FailureKind::Conflict, .. }) => {
                    server.conditional_put = true;
                    server.digest_checked |= self.head(&name).await?.is_some_and(|head| head.checksum_sha256().is_some());
                    break;
                }
                // The server says that it knows no conditions, which is an answer too.
                Err(Failure { kind: FailureKind::NotImplemented, .. }) => {
                    self.leave_marks(&body, &digest).await?;
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(server)
    }

    async fn leave_marks(&self, body: &[Bytes], digest: &Digest) -> Result<(), Failure> {
        for mark in list::MARKS {
            self.send_put(&format!("{RESERVED_PART}/{mark}"), body, digest, &token(), &Call::with_digest(digest), false).await?;
        }
        Ok(())
    }

    /// One PUT request with the SDK's attempts; returns the checksum that the server answered with.
    async fn send_put(
        &self,
        name: &str,
        body: &[Bytes],
        digest: &Digest,
        token: &str,
        call: &Call,
        create_only: bool,
    ) -> Result<Option<String>, Failure> {
        let options = &self.client.options;
        let (encryption, key_id) = options.server_side_encryption.headers();
        let request = self.client.s3.put_object().bucket(&self.client.bucket).key(self.client.key(name));
        let request = request
            .set_if_none_match(create_only.then(|| "*".to_owned()))
            .checksum_sha256(base64::encode(digest))
            .content_length(body_bytes(body) as i64)
            .metadata(TOKEN_KEY, token)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            .set_storage_class(options.storage_class.as_deref().map(StorageClass::from))
            .body(ByteStream::new(request_body(body)));
        let request = request.customize().interceptor(call.clone()).config_override(self.client.sized(body_bytes(body)));
        let output = request.send().await.map_err(|error| Failure::of(&error))?;
        self.bucket_seen.store(true, Ordering::Relaxed);
        Ok(output.checksum_sha256)
    }

    async fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, Failure> {
        let server = self.server().await?;
        if !server.conditional_put && self.head(name).await?.is_some() {
            return Ok(PutOutcome::AlreadyExists);
        }
        let (token, call) = (token(), Call::with_digest(digest));
        let mut conflicts = 0;
        loop {
            match self.send_put(name, body, digest, &token, &call, server.conditional_put).await {
                Ok(Some(returned)) if returned != base64::encode(digest) => {
                    let reason = format!("the server says that it holds SHA-256 {returned} (base64), but {} was sent", hex(digest));
                    return Err(Failure::new(FailureKind::Corrupted, reason));
                }
                Ok(_) => return Ok(PutOutcome::Created),
                Err(failure) if failure.kind == FailureKind::Taken => return self.taken(name, &token, digest, &call).await,
                Err(failure) if failure.kind == FailureKind::Conflict && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    self.client.pause(conflicts).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Handles a name that is taken. If an earlier attempt of this very call did its work and its
    /// answer was lost, this call is the one that took it.
    async fn taken(&self, name: &str, token: &str, digest: &Digest, call: &Call) -> Result<PutOutcome, Failure> {
        if !call.repeated() {
            return Ok(PutOutcome::AlreadyExists);
        }
        let ours = self.head(name).await?.is_some_and(|head| carries(&head, token, digest));
        Ok(if ours { PutOutcome::Created } else { PutOutcome::AlreadyExists })
    }

    /// Hands each piece of a range to `take` with its position in the range. After a failed attempt
    /// it begins again at 0.
    async fn get_range(&self, name: &str, offset: u64, length: u64, take: &mut dyn FnMut(usize, &[u8])) -> Result<(), StoreError> {
        let failed = |failure: Failure| self.error(failure, "get", name);
        let end = offset.saturating_add(length);
        // Nothing to read, or a range beyond every size: only the object's real size decides.
        if length > 0 && end <= i64::MAX as u64 {
            let mut attempt = 1;
            loop {
                match self.read(name, offset, length, take).await {
                    Ok(()) => return Ok(()),
                    Err(failure) if failure.kind == FailureKind::BeyondEnd => break,
                    Err(failure) if failure.kind == FailureKind::Unavailable && attempt < self.client.options.attempts => {
                        self.client.limiter.interrupted();
                        self.client.pause(attempt).await;
                        attempt += 1;
                    }
                    Err(failure) => return Err(failed(failure)),
                }
            }
        }
        let store = self.client.describe();
        match self.size(name).await.map_err(failed)? {
            None => Err(StoreError::NotFound { store, name: name.to_owned() }),
            Some(size_bytes) if end > size_bytes => Err(StoreError::Short { store, name: name.to_owned(), size_bytes, offset, end }),
            Some(_) if length == 0 => Ok(()),
            Some(_) => Err(failed(Failure::new(FailureKind::Refused, "the server gives other bytes than the range asked for"))),
        }
    }

    /// One GET; [`FailureKind::BeyondEnd`] if the object does not hold the range.
    async fn read(&self, name: &str, offset: u64, length: u64, take: &mut dyn FnMut(usize, &[u8])) -> Result<(), Failure> {
        let request = self.client.s3.get_object().bucket(&self.client.bucket).key(self.client.key(name));
        let last = offset + length - 1;
        let mut output = request.range(format!("bytes={offset}-{last}")).send().await.map_err(|error| Failure::of(&error))?;
        self.bucket_seen.store(true, Ordering::Relaxed);
        if !is_range(&output, offset, length) {
            return Err(Failure::new(FailureKind::BeyondEnd, "another range than asked for"));
        }
        let mut received = 0;
        let receive = async {
            while let Some(piece) = output.body.next().await {
                let piece = piece.map_err(|error| Failure::new(FailureKind::Unavailable, chain_text(&error)))?;
                if received + piece.len() > length as usize {
                    return Err(Failure::new(FailureKind::Unavailable, "the answer has more bytes than it says"));
                }
                take(received, &piece);
                received += piece.len();
            }
            Ok(())
        };
        let stopped = || Failure::new(FailureKind::Unavailable, "the answer did not arrive within the time-out");
        tokio::time::timeout(self.client.attempt_timeout(length), receive).await.map_err(|_| stopped())??;
        if received as u64 != length {
            return Err(Failure::new(FailureKind::Unavailable, format!("the answer stopped after {received} of {length} bytes")));
        }
        Ok(())
    }
}

/// Whether an answer holds exactly the range. A complete object (no `Content-Range`) is right if
/// all of it was asked for.
fn is_range(output: &GetObjectOutput, offset: u64, length: u64) -> bool {
    if output.content_length() != i64::try_from(length).ok() {
        return false;
    }
    match output.content_range() {
        None => offset == 0,
        Some(range) => range.starts_with(&format!("bytes {offset}-{}/", offset + length - 1)),
    }
}

fn size_of(content_length: Option<i64>) -> Result<u64, Failure> {
    let size = content_length.and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| Failure::new(FailureKind::Refused, "the server does not say how large the object is"))
}

/// Whether an object was written by the call with this token. If a server drops metadata, the
/// checksum decides.
pub(super) fn carries(head: &HeadObjectOutput, token: &str, digest: &Digest) -> bool {
    match head.metadata().and_then(|metadata| metadata.get(TOKEN_KEY)) {
        Some(found) => found == token,
        None => head.checksum_sha256() == Some(base64::encode(digest).as_str()),
    }
}

/// A random token for one call: 128 bits, so that no two calls share one.
pub(super) fn token() -> String {
    hex(&random::<16>())
}

impl Store for S3Store {
    fn describe(&self) -> String {
        self.shared.client.describe()
    }

    /// A server that cannot be asked now counts as one that can do nothing, and is asked again next
    /// time.
    fn capabilities(&self) -> Capabilities {
        let shared = &self.shared;
        let asked = shared.client.run("probe", "", async { shared.server().await.map_err(|failure| shared.error(failure, "probe", "")) });
        match asked {
            Ok(server) => Capabilities { conditional_put: server.conditional_put, digest_checked: server.digest_checked },
            Err(_) => Capabilities { conditional_put: false, digest_checked: false },
        }
    }

    fn traffic(&self) -> Traffic {
        self.shared.client.limiter.traffic()
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        self.checked("put", name)?;
        let shared = &self.shared;
        shared.client.run("put", name, async { shared.put(name, body, digest).await.map_err(|failure| shared.error(failure, "put", name)) })
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        self.checked("begin multipart", name)?;
        Ok(Box::new(S3Multipart::begin(&self.shared, name, ABORT_DEADLINE)?))
    }

    fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, StoreError> {
        const ACTION: &str = "list uploads";
        let shared = &self.shared;
        super::check_prefix(prefix).map_err(|reason| shared.error(Failure::new(FailureKind::Refused, reason), ACTION, prefix))?;
        shared
            .client
            .run(ACTION, prefix, async { shared.unfinished(prefix).await.map_err(|failure| shared.error(failure, ACTION, prefix)) })
    }

    fn resume_multipart(&self, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>, StoreError> {
        self.checked("resume multipart", name)?;
        S3Multipart::resume(&self.shared, name, upload_id, known, ABORT_DEADLINE)
    }

    fn abort_upload(&self, name: &str, upload_id: &str) -> Result<(), StoreError> {
        self.checked("abort multipart", name)?;
        self.shared.abort_upload(self.shared.client.options.deadline, name, upload_id)
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        self.checked("get", name)?;
        let mut content = BytesMut::new();
        let mut take = |place: usize, piece: &[u8]| {
            content.truncate(place);
            // Memory is reserved only here, after the server has said that it holds this many
            // bytes.
            content.reserve(length as usize - place);
            content.extend_from_slice(piece);
        };
        self.shared.client.run("get", name, self.shared.get_range(name, offset, length, &mut take))?;
        Ok(content.freeze())
    }

    fn get_range_into(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.checked("get", name)?;
        let length = buffer.len() as u64;
        let mut take = |place: usize, piece: &[u8]| buffer[place..place + piece.len()].copy_from_slice(piece);
        self.shared.client.run("get", name, self.shared.get_range(name, offset, length, &mut take))
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.checked("size", name)?;
        let shared = &self.shared;
        shared.client.run("size", name, async { shared.size(name).await.map_err(|failure| shared.error(failure, "size", name)) })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let shared = &self.shared;
        let refused = |reason| shared.error(Failure::new(FailureKind::Refused, reason), "list", prefix);
        super::check_prefix(prefix).map_err(refused)?;
        shared.client.run("list", prefix, async {
            shared.list(prefix, after.unwrap_or(""), limit).await.map_err(|failure| shared.error(failure, "list", prefix))
        })
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.checked("delete", name)?;
        let shared = &self.shared;
        shared.client.run("delete", name, async {
            let request = shared.client.s3.delete_object().bucket(&shared.client.bucket).key(shared.client.key(name));
            match request.send().await.map_err(|error| Failure::of(&error)) {
                Ok(_) | Err(Failure { kind: FailureKind::NotFound, .. }) => Ok(()),
                Err(failure) => Err(shared.error(failure, "delete", name)),
            }
        })
    }
}

#[cfg(test)]
mod tests;
