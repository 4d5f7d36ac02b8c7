//! Requests that ask about an object or a bucket and move no bytes.
//!
//! The answer to a HEAD has no body. So a refusal does not say why, and a missing bucket looks like
//! a missing object. Both are found out with another request: a GET of one byte needs the same
//! permission, and its refusal has a body with the code. If it is not refused, what was wrong has
//! passed (a time-out, credentials that were renewed, a clock that the SDK now makes up for), and
//! the HEAD is sent again.

use super::Shared;
use super::error::{Failure, FailureKind};
use super::size_of;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::ChecksumMode;
use std::sync::atomic::Ordering;

impl Shared {
    /// Asks for an object's size, metadata and checksum.
    pub(super) async fn head(&self, name: &str) -> Result<Option<HeadObjectOutput>, Failure> {
        let mut attempt = 1;
        loop {
            let failure = match self.head_once(name).await {
                Err(failure) if failure.kind == FailureKind::Unexplained => failure,
                outcome => return outcome,
            };
            match self.explained(name).await {
                Some(explained) => return Err(explained),
                None if attempt < self.client.options.attempts => {
                    self.client.pause(attempt).await;
                    attempt += 1;
                }
                None => return Err(failure),
            }
        }
    }

    async fn head_once(&self, name: &str) -> Result<Option<HeadObjectOutput>, Failure> {
        let request = self.client.s3.head_object().bucket(&self.client.bucket).key(self.client.key(name));
        match request.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(head) => {
                self.bucket_seen.store(true, Ordering::Relaxed);
                Ok(Some(head))
            }
            Err(error) => {
                let failure = Failure::of(&error);
                if failure.kind != FailureKind::NotFound {
                    return Err(failure);
                }
                self.check_bucket().await?;
                Ok(None)
            }
        }
    }

    /// Why a HEAD was refused; `None` if a GET of the same object is answered.
    async fn explained(&self, name: &str) -> Option<Failure> {
        let request = self.client.s3.get_object().bucket(&self.client.bucket).key(self.client.key(name)).range("bytes=0-0");
        let failure = Failure::of(&request.send().await.err()?);
        Some(failure).filter(|failure| !matches!(failure.kind, FailureKind::NotFound | FailureKind::BeyondEnd))
    }

    /// Tells a missing bucket from a missing object, once.
    async fn check_bucket(&self) -> Result<(), Failure> {
        if self.bucket_seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.client.s3.head_bucket().bucket(&self.client.bucket).send().await.map_err(|error| Failure::of(&error)) {
            Err(Failure { kind: FailureKind::NotFound, .. }) => {
                Err(Failure::new(FailureKind::Refused, "there is no such bucket: make it, or correct its name or the endpoint"))
            }
            Err(failure) if failure.kind == FailureKind::Unavailable => Err(failure),
            // The bucket may not be looked at, but it is there.
            _ => {
                self.bucket_seen.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    pub(super) async fn size(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.head(name).await? {
            None => Ok(None),
            Some(head) => size_of(head.content_length()).map(Some),
        }
    }
}
