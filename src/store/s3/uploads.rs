//! Unfinished uploads in a bucket: listing them, listing their parts, and aborting them.
//!
//! Listings come in pages of a thousand, each asked for with the marker of the one before
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>). A marker that does not
//! advance ends in an error, not in a loop.

use super::error::{Failure, FailureKind};
use super::{Shared, size_of};
use crate::store::{StoreError, Unfinished, check_name};
use std::time::Duration;

/// Most pages of one listing: ten times the parts that an object can have, and more uploads than
/// anybody would leave on purpose.
const PAGES_MAX: usize = 100;

/// A part as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedPart {
    pub(super) number: u32,
    pub(super) size_bytes: u64,
    pub(super) etag: String,
    /// SHA-256 in base64, if the server reports it.
    pub(super) checksum: Option<String>,
}

impl Shared {
    /// As [`Store::unfinished`](crate::store::Store::unfinished).
    pub(super) async fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, Failure> {
        let mut found = Vec::new();
        let (mut key_marker, mut upload_marker) = (None, None);
        for _ in 0..PAGES_MAX {
            let request = self.client.s3.list_multipart_uploads().bucket(&self.client.bucket).prefix(self.client.key(prefix));
            let request = request.set_key_marker(key_marker.clone()).set_upload_id_marker(upload_marker.clone());
            let output = request.send().await.map_err(|error| Failure::of(&error))?;
            for upload in output.uploads() {
                let name = upload.key().and_then(|key| self.client.name(key));
                // A key that is not under our prefix, or is no name of ours, belongs to somebody
                // else.
                let Some(name) = name.filter(|name| name.starts_with(prefix) && check_name(name).is_ok()) else { continue };
                let Some(upload_id) = upload.upload_id().filter(|id| !id.is_empty()) else { continue };
                let began_ns = upload.initiated().and_then(|time| u64::try_from(time.as_nanos()).ok());
                found.push(Unfinished { name: name.to_owned(), upload_id: upload_id.to_owned(), began_ns, size_bytes: None });
            }
            if output.is_truncated != Some(true) {
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
            let (key, upload) = (output.next_key_marker, output.next_upload_id_marker);
            if key.is_none() || (&key, &upload) == (&key_marker, &upload_marker) {
                break;
            }
            (key_marker, upload_marker) = (key, upload);
        }
        Err(endless())
    }

    /// The parts of an upload that the server holds, by rising number; `None` if it does not know
    /// the upload.
    pub(super) async fn parts_of(&self, name: &str, upload_id: &str) -> Result<Option<Vec<ListedPart>>, Failure> {
        let mut found: Vec<ListedPart> = Vec::new();
        let mut marker: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let request = self.client.s3.list_parts().bucket(&self.client.bucket).key(self.client.key(name)).upload_id(upload_id);
            let output = match request.set_part_number_marker(marker.clone()).send().await.map_err(|error| Failure::of(&error)) {
                Ok(output) => output,
                Err(Failure { kind: FailureKind::NoUpload | FailureKind::NotFound, .. }) => return Ok(None),
                Err(failure) => return Err(failure),
            };
            for part in output.parts() {
                let Some(number) = part.part_number().and_then(|number| u32::try_from(number).ok()) else { continue };
                let size_bytes = size_of(part.size())?;
                let etag = part.e_tag().unwrap_or_default().to_owned();
                found.push(ListedPart { number, size_bytes, etag, checksum: part.checksum_sha256().map(str::to_owned) });
            }
            if output.is_truncated != Some(true) {
                found.sort_unstable_by_key(|part| part.number);
                found.dedup_by_key(|part| part.number);
                return Ok(Some(found));
            }
            let next = output.next_part_number_marker;
            if next.is_none() || next == marker {
                break;
            }
            marker = next;
        }
        Err(endless())
    }

    /// Aborts an upload on the server, which deletes its parts. No error if the server does not
    /// know it.
    pub(super) fn abort_upload(&self, deadline: Duration, name: &str, upload_id: &str) -> Result<(), StoreError> {
        const ACTION: &str = "abort multipart";
        let client = &self.client;
        client.run_within(deadline, ACTION, name, async {
            let request = client.s3.abort_multipart_upload().bucket(&client.bucket).key(client.key(name));
            match request.upload_id(upload_id).send().await.map_err(|error| Failure::of(&error)) {
                Ok(_) | Err(Failure { kind: FailureKind::NoUpload | FailureKind::NotFound, .. }) => Ok(()),
                Err(failure) => Err(self.error(failure, ACTION, name)),
            }
        })
    }
}

fn endless() -> Failure {
    Failure::new(FailureKind::Refused, "the server's listing does not go on")
}
