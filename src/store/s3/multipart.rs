//! An object that is being sent into a bucket in parts.
//!
//! Every part is sent with the caller's digest, as a complete object is. The server's answer (the
//! ETag, and the checksum where it knows checksums) is kept with the part. Completing first
//! compares all parts that were sent with those that the caller expects, then has the server join
//! them, create-only, and finally asks for the size of the joined object. An upload that is neither
//! completed nor kept is aborted, so that its parts cost nothing. If that fails, a lifecycle rule
//! of the bucket should delete them (`AbortIncompleteMultipartUpload`).
//!
//! Resuming lists the parts that the server holds and takes over those that the caller noted. At
//! that time it is not known which call of an earlier process began the upload. So an object that
//! appears under the name is recognised by its checksum over all parts instead of by the token.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>

use super::client::{Call, ServerSideEncryption};
use super::error::{Failure, FailureKind};
use super::http::request_body;
use super::{Shared, TOKEN_KEY, size_of, token};
use crate::store::multipart::{check_part_number, check_parts, is_held};
use crate::store::{Digest, KnownPart, Multipart, PARTS_MAX, Part, PutOutcome, Resumed, StoreError, body_bytes, hex};
use crate::threads::lock;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, StorageClass};
use aws_smithy_types::base64;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct S3Multipart {
    shared: Arc<Shared>,
    name: String,
    /// What the object's metadata will carry, if this process began the upload.
    token: Option<String>,
    upload_id: String,
    parts: Mutex<BTreeMap<u32, Sent>>,
    abort_deadline: Duration,
    /// The upload is completed, aborted or kept: nothing is left to abort.
    over: bool,
}

/// A part that the server has.
#[derive(Debug)]
struct Sent {
    part: Part,
    etag: String,
    /// Whether the server knows checksums; then completing must name them.
    has_checksum: bool,
}

impl ServerSideEncryption {
    pub(super) fn headers(&self) -> (Option<aws_sdk_s3::types::ServerSideEncryption>, Option<String>) {
        match self {
            ServerSideEncryption::BucketDefault => (None, None),
            ServerSideEncryption::S3 => (Some(aws_sdk_s3::types::ServerSideEncryption::Aes256), None),
            ServerSideEncryption::Kms { key_id } => (Some(aws_sdk_s3::types::ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }
}

impl S3Multipart {
    pub(super) fn begin(shared: &Arc<Shared>, name: &str, abort_deadline: Duration) -> Result<Self, StoreError> {
        const ACTION: &str = "begin multipart";
        let (client, token) = (&shared.client, token());
        let (encryption, key_id) = client.options.server_side_encryption.headers();
        let upload_id = client.run(ACTION, name, async {
            let request = client.s3.create_multipart_upload().bucket(&client.bucket).key(client.key(name));
            let request = request
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .metadata(TOKEN_KEY, &token)
                .set_server_side_encryption(encryption)
                .set_ssekms_key_id(key_id)
                .set_storage_class(client.options.storage_class.as_deref().map(StorageClass::from));
            let output = request.send().await.map_err(|error| shared.error(Failure::of(&error), ACTION, name))?;
            let missing = || shared.error(Failure::new(FailureKind::Refused, "the server gave the upload no id"), ACTION, name);
            output.upload_id.filter(|id| !id.is_empty()).ok_or_else(missing)
        })?;
        let (shared, token) = (Arc::clone(shared), Some(token));
        Ok(S3Multipart { shared, name: name.to_owned(), token, upload_id, parts: Mutex::default(), abort_deadline, over: false })
    }

    /// As [`Store::resume_multipart`](crate::store::Store::resume_multipart).
    pub(super) fn resume(
        shared: &Arc<Shared>,
        name: &str,
        upload_id: &str,
        known: &[KnownPart],
        abort_deadline: Duration,
    ) -> Result<Option<Resumed>, StoreError> {
        const ACTION: &str = "resume multipart";
        if upload_id.is_empty() {
            return Ok(None);
        }
        let asked = shared.client.run(ACTION, name, async {
            let asked = async { Ok((shared.parts_of(name, upload_id).await?, shared.server().await?)) };
            asked.await.map_err(|failure| shared.error(failure, ACTION, name))
        })?;
        let (Some(listed), server) = asked else { return Ok(None) };
        let mut parts = BTreeMap::new();
        for known in known {
            let Ok(at) = listed.binary_search_by_key(&known.number, |part| part.number) else { continue };
            let found = &listed[at];
            let digest = found.checksum.as_deref().map(|checksum| decoded(checksum).unwrap_or_default());
            // A server that knows checksums wants them named when it joins the parts, and compares
            // them then, even if its listing does not report them.
            if !found.etag.is_empty() && is_held(known, found.size_bytes, digest.as_ref(), Some(tag_of(&found.etag))) {
                let sent =
                    Sent { part: known.part.clone(), etag: found.etag.clone(), has_checksum: digest.is_some() || server.digest_checked };
                parts.insert(known.number, sent);
            }
        }
        let held = parts.keys().copied().collect();
        let (shared, name, upload_id) = (Arc::clone(shared), name.to_owned(), upload_id.to_owned());
        let multipart = S3Multipart { shared, name, token: None, upload_id, parts: Mutex::new(parts), abort_deadline, over: false };
        Ok(Some(Resumed { multipart: Box::new(multipart), held }))
    }

    async fn send(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<String, Failure> {
        check_part_number(number).map_err(|reason| Failure::new(FailureKind::Refused, reason))?;
        let client = &self.shared.client;
        let checksum = base64::encode(digest);
        let size_bytes = body_bytes(body);
        let request = client.s3.upload_part().bucket(&client.bucket).key(client.key(&self.name)).upload_id(&self.upload_id);
        let request = request
            .part_number(number as i32)
            .checksum_sha256(&checksum)
            .content_length(size_bytes as i64)
            .body(ByteStream::new(request_body(body)));
        let request = request.customize().interceptor(Call::with_digest(digest)).config_override(client.sized(size_bytes));
        let output = request.send().await.map_err(|error| Failure::of(&error))?;
        let returned = output.checksum_sha256();
        if let Some(returned) = returned.filter(|returned| *returned != checksum) {
            let reason = format!("the server says that part {number} has SHA-256 {returned} (base64), but {} was sent", hex(digest));
            return Err(Failure::new(FailureKind::Corrupted, reason));
        }
        let has_checksum = returned.is_some();
        let Some(etag) = output.e_tag.filter(|etag| !etag.is_empty()) else {
            return Err(Failure::new(FailureKind::Refused, format!("the server gave part {number} no ETag, so it cannot be joined")));
        };
        let tag = tag_of(&etag).to_owned();
        let sent = Sent { part: Part { size_bytes, digest: *digest }, etag, has_checksum };
        lock(&self.parts).insert(number, sent);
        Ok(tag)
    }

    /// The parts for the server to join, after a check that they are those that the caller expects.
    fn joined(&self, parts: &[Part]) -> Result<CompletedMultipartUpload, String> {
        let sent = lock(&self.parts);
        check_parts(sent.iter().map(|(number, sent)| (*number, &sent.part)), parts)?;
        debug_assert!(sent.len() <= PARTS_MAX as usize);
        let completed = sent.iter().map(|(number, sent)| {
            let checksum = sent.has_checksum.then(|| base64::encode(sent.part.digest));
            CompletedPart::builder().part_number(*number as i32).e_tag(&sent.etag).set_checksum_sha256(checksum).build()
        });
        Ok(CompletedMultipartUpload::builder().set_parts(Some(completed.collect())).build())
    }

    async fn join(&self, parts: &[Part]) -> Result<PutOutcome, Failure> {
        let joined = self.joined(parts).map_err(|reason| Failure::new(FailureKind::Refused, reason))?;
        let server = self.shared.server().await?;
        if !server.conditional_put && self.shared.head(&self.name).await?.is_some() {
            return Ok(PutOutcome::AlreadyExists);
        }
        let client = &self.shared.client;
        let size_bytes: u64 = parts.iter().map(|part| part.size_bytes).sum();
        let call = Call::default();
        let request = client.s3.complete_multipart_upload().bucket(&client.bucket).key(client.key(&self.name));
        let request = request
            .upload_id(&self.upload_id)
            .multipart_upload(joined)
            .mpu_object_size(size_bytes as i64)
            .set_if_none_match(server.conditional_put.then(|| "*".to_owned()));
        match request
            .customize()
            .interceptor(call.clone())
            .config_override(client.patient())
            .send()
            .await
            .map_err(|error| Failure::of(&error))
        {
            Ok(_) => {}
            Err(failure) if failure.kind == FailureKind::Taken && !call.repeated() => return Ok(PutOutcome::AlreadyExists),
            Err(failure) => {
                // An attempt without an answer may have joined the parts: then the object carries
                // our token. A conflict means that another writer was working on this name. If that
                // writer is done, the name is taken; if not, the caller tries again.
                let unsure =
                    matches!(failure.kind, FailureKind::Taken | FailureKind::NoUpload | FailureKind::Unavailable | FailureKind::Conflict);
                let head = if unsure { self.shared.head(&self.name).await? } else { None };
                let ours = head.as_ref().is_some_and(|head| self.is_ours(head, parts));
                match (&head, ours, failure.kind) {
                    (Some(_), true, _) => {}
                    (Some(_), false, FailureKind::Taken | FailureKind::Conflict) => return Ok(PutOutcome::AlreadyExists),
                    _ => return Err(failure),
                }
            }
        }
        match self.shared.head(&self.name).await? {
            Some(head) if size_of(head.content_length())? == size_bytes => Ok(PutOutcome::Created),
            Some(head) => {
                let reason = format!("the server joined parts of {size_bytes} bytes into {} bytes", size_of(head.content_length())?);
                Err(Failure::new(FailureKind::Corrupted, reason))
            }
            None => Err(Failure::new(FailureKind::Unavailable, "the server joined the parts, but does not have the object")),
        }
    }

    /// Whether an object is what this upload was joined into.
    fn is_ours(&self, head: &HeadObjectOutput, parts: &[Part]) -> bool {
        match &self.token {
            Some(token) => head.metadata().and_then(|metadata| metadata.get(TOKEN_KEY)) == Some(token),
            None => head.checksum_sha256() == Some(joined_checksum(parts).as_str()),
        }
    }
}

/// The checksum of an object joined from parts, as S3 composes it: the SHA-256 of the parts'
/// SHA-256s, and the number of parts.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>
fn joined_checksum(parts: &[Part]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    parts.iter().for_each(|part| context.update(&part.digest));
    format!("{}-{}", base64::encode(context.finish()), parts.len())
}

/// Decodes a SHA-256 from base64.
fn decoded(checksum: &str) -> Option<Digest> {
    base64::decode(checksum).ok()?.try_into().ok()
}

/// An ETag without its quotes, which some servers leave out in listings.
fn tag_of(etag: &str) -> &str {
    etag.trim_matches('"')
}

impl Multipart for S3Multipart {
    fn upload_id(&self) -> String {
        self.upload_id.clone()
    }

    fn part(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<String, StoreError> {
        const ACTION: &str = "put part";
        self.shared.client.run(ACTION, &self.name, async {
            self.send(number, body, digest).await.map_err(|failure| self.shared.error(failure, ACTION, &self.name))
        })
    }

    fn complete(mut self: Box<Self>, parts: &[Part]) -> Result<PutOutcome, StoreError> {
        const ACTION: &str = "complete";
        let outcome = self
            .shared
            .client
            .run(ACTION, &self.name, async { self.join(parts).await.map_err(|failure| self.shared.error(failure, ACTION, &self.name)) });
        self.over = matches!(outcome, Ok(PutOutcome::Created) | Err(StoreError::Unavailable { .. }));
        outcome
    }

    fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        self.over = true;
        self.shared.abort_upload(self.shared.client.options.deadline, &self.name, &self.upload_id)
    }

    fn keep(mut self: Box<Self>) {
        self.over = true;
    }
}

impl Drop for S3Multipart {
    fn drop(&mut self) {
        if !self.over {
            // Nobody waits for the outcome. What stays is left to the lifecycle rule.
            let _ = self.shared.abort_upload(self.abort_deadline, &self.name, &self.upload_id);
        }
    }
}
