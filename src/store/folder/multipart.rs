//! An object that is being written into a folder in parts.
//!
//! Parts are written into one file of the upload ([`uploads`](super::uploads)), each at its offset,
//! by as many threads as the caller has. The offset of a part follows from the size of part 1,
//! which all parts but the last have. Until that size is certain (part 1 is here, or two parts
//! are), the first part to arrive waits in a file of its own, because it may be the shorter last
//! one. Completing compares what was sent with what the caller expects, places the waiting part,
//! cuts the file to its length, syncs it and moves it to its name.
//!
//! Resuming reads the parts that the caller noted and compares their bytes with the digests: only
//! what is really on the disk counts.

use super::files::{Files, errno};
use super::uploads::Upload;
use crate::store::multipart::{check_part_number, check_parts, is_held};
use crate::store::{Digest, KnownPart, Multipart, Part, PutOutcome, Resumed, StoreError, body_bytes, check_digest, hex};
use crate::threads::lock;
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

/// Bytes moved or read at once when a waiting part is placed or a noted part is compared.
const COPY_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct FolderMultipart {
    files: Arc<Files>,
    name: String,
    upload: Upload,
    state: Mutex<State>,
    /// The upload is kept: dropping this leaves its files where they are.
    over: bool,
}

#[derive(Debug, Default)]
struct State {
    /// The size of every part but the last, once certain.
    part_bytes: Option<u64>,
    /// The part that arrived while the size was not certain.
    waiting: Option<Waiting>,
    parts: BTreeMap<u32, Part>,
}

#[derive(Debug)]
struct Waiting {
    number: u32,
    size_bytes: u64,
    file: File,
}

/// Where a part's bytes go.
enum PartPlace {
    At(u64),
    Waits,
    Nowhere(String),
}

impl FolderMultipart {
    pub(super) fn begin(files: Arc<Files>, name: &str) -> Result<Self, StoreError> {
        let begun = files.make_uploads().and_then(|uploads| Upload::begin(uploads, name));
        let upload = begun.map_err(|error| files.error("begin multipart", name, error))?;
        Ok(FolderMultipart { files, name: name.to_owned(), upload, state: Mutex::default(), over: false })
    }

    /// As [`Store::resume_multipart`](crate::store::Store::resume_multipart).
    pub(super) fn resume(files: Arc<Files>, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>, StoreError> {
        let resume = || {
            let Some(uploads) = files.uploads()? else { return Ok(None) };
            let Some((upload, about)) = Upload::resume(uploads, upload_id)?.filter(|(_, about)| about.name == name) else {
                return Ok(None);
            };
            let waiting = match upload.waiting()? {
                Some((number, file)) => {
                    let size_bytes = file.metadata().map_err(|error| errno(&error))?.len();
                    Some(Waiting { number, size_bytes, file })
                }
                None => None,
            };
            let mut state = State { part_bytes: about.part_bytes, waiting, parts: BTreeMap::new() };
            state.parts = held(&upload, &state, known)?;
            Ok(Some((upload, state)))
        };
        let resumed = resume().map_err(|error| match error {
            Errno::WOULDBLOCK => files.error("resume multipart", name, Errno::BUSY),
            other => files.error("resume multipart", name, other),
        })?;
        let Some((upload, mut state)) = resumed else { return Ok(None) };
        if state.parts.is_empty() {
            // None of the parts that were sent counts, so their size does not count either.
            state.part_bytes = None;
            if let Some(waiting) = state.waiting.take() {
                upload.remove_waiting(waiting.number);
            }
        }
        let held = state.parts.keys().copied().collect();
        let multipart = FolderMultipart { files, name: name.to_owned(), upload, state: Mutex::new(state), over: false };
        Ok(Some(Resumed { multipart: Box::new(multipart), held }))
    }

    fn refused(&self, action: &'static str, reason: String) -> StoreError {
        StoreError::Refused { store: self.files.describe(), action, name: self.name.clone(), reason }
    }

    /// Decides where a part is written, and makes it the waiting part if that cannot be known yet.
    fn place(&self, number: u32, body: &[Bytes]) -> Result<PartPlace, Errno> {
        let size_bytes = body_bytes(body);
        let mut state = lock(&self.state);
        if state.part_bytes.is_none() {
            let certain = match &state.waiting {
                _ if number == 1 => size_bytes,
                // The two cannot both be the last part, so the larger one has the size of all.
                Some(waiting) if waiting.number != number => size_bytes.max(waiting.size_bytes),
                _ => {
                    let file = self.upload.create_waiting(number)?;
                    write_at(&file, 0, body)?;
                    state.waiting = Some(Waiting { number, size_bytes, file });
                    return Ok(PartPlace::Waits);
                }
            };
            self.upload.note_part_bytes(certain)?;
            state.part_bytes = Some(certain);
        }
        if state.waiting.take_if(|waiting| waiting.number == number).is_some() {
            self.upload.remove_waiting(number);
        }
        let part_bytes = state.part_bytes.unwrap_or(size_bytes);
        if size_bytes > part_bytes || (number == 1 && size_bytes != part_bytes) {
            return Ok(PartPlace::Nowhere(format!("part {number} has {size_bytes} bytes, but the parts have {part_bytes}")));
        }
        Ok(PartPlace::At(u64::from(number - 1) * part_bytes))
    }

    fn place_waiting(&self, waiting: &Waiting, part_bytes: u64) -> Result<(), Errno> {
        let start = u64::from(waiting.number - 1) * part_bytes;
        let mut buffer = vec![0; COPY_BYTES.min(waiting.size_bytes as usize)];
        let mut done = 0;
        while done < waiting.size_bytes {
            let length = buffer.len().min((waiting.size_bytes - done) as usize);
            waiting.file.read_exact_at(&mut buffer[..length], done).map_err(|error| errno(&error))?;
            self.upload.object.write_all_at(&buffer[..length], start + done).map_err(|error| errno(&error))?;
            done += length as u64;
        }
        Ok(())
    }

    /// Makes the object from the parts that were sent.
    fn join(&self, parts: &[Part]) -> Result<PutOutcome, StoreError> {
        let state = lock(&self.state);
        check_parts(state.parts.iter().map(|(number, part)| (*number, part)), parts).map_err(|reason| self.refused("complete", reason))?;
        // Once certain, the size never changes, and part 1 was refused unless it has that size. So
        // every part lies at its offset.
        debug_assert_eq!(state.part_bytes, parts.first().map(|part| part.size_bytes));
        let total_bytes: u64 = parts.iter().map(|part| part.size_bytes).sum();
        let finish = || {
            if let (Some(waiting), Some(part_bytes)) = (&state.waiting, state.part_bytes) {
                self.place_waiting(waiting, part_bytes)?;
            }
            self.upload.object.set_len(total_bytes).map_err(|error| errno(&error))?;
            let upload = &self.upload;
            self.files.publish_file(&upload.object, &upload.folder, upload.object_leaf(), &self.name)
        };
        finish().map_err(|error: Errno| self.files.error("complete", &self.name, error))
    }
}

fn write_at(file: &File, mut offset: u64, body: &[Bytes]) -> Result<(), Errno> {
    for piece in body {
        file.write_all_at(piece, offset).map_err(|error| errno(&error))?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// Returns the known parts whose bytes are there.
fn held(upload: &Upload, state: &State, known: &[KnownPart]) -> Result<BTreeMap<u32, Part>, Errno> {
    let mut held = BTreeMap::new();
    for known in known {
        let size_bytes = known.part.size_bytes;
        let digest = match (&state.waiting, state.part_bytes) {
            _ if check_part_number(known.number).is_err() => None,
            (Some(waiting), _) if waiting.number == known.number => {
                if waiting.size_bytes == size_bytes {
                    digest_at(&waiting.file, 0, size_bytes)?
                } else {
                    None
                }
            }
            (_, Some(part_bytes)) if size_bytes == part_bytes || (size_bytes < part_bytes && known.number > 1) => {
                digest_at(&upload.object, u64::from(known.number - 1).saturating_mul(part_bytes), size_bytes)?
            }
            _ => None,
        };
        if digest.is_some_and(|digest| is_held(known, size_bytes, Some(&digest), Some(&hex(&digest)))) {
            held.insert(known.number, known.part.clone());
        }
    }
    Ok(held)
}

/// SHA-256 of a range; `None` if the file ends before it does.
fn digest_at(file: &File, offset: u64, size_bytes: u64) -> Result<Option<Digest>, Errno> {
    let end = file.metadata().map_err(|error| errno(&error))?.len();
    if offset.checked_add(size_bytes).is_none_or(|wanted| wanted > end) {
        return Ok(None);
    }
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut buffer = vec![0; COPY_BYTES.min(size_bytes as usize)];
    let mut done = 0;
    while done < size_bytes {
        let length = buffer.len().min((size_bytes - done) as usize);
        file.read_exact_at(&mut buffer[..length], offset + done).map_err(|error| errno(&error))?;
        context.update(&buffer[..length]);
        done += length as u64;
    }
    Ok(context.finish().as_ref().try_into().ok())
}

impl Multipart for FolderMultipart {
    fn upload_id(&self) -> String {
        self.upload.id.clone()
    }

    fn part(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<String, StoreError> {
        check_part_number(number).map_err(|reason| self.refused("put part", reason))?;
        check_digest(body, digest).map_err(|reason| StoreError::Corrupted {
            store: self.files.describe(),
            action: "put part",
            name: self.name.clone(),
            reason,
        })?;
        let failed = |error| self.files.error("put part", &self.name, error);
        match self.place(number, body).map_err(failed)? {
            PartPlace::At(offset) => write_at(&self.upload.object, offset, body).map_err(failed)?,
            PartPlace::Waits => {}
            PartPlace::Nowhere(reason) => return Err(self.refused("put part", reason)),
        }
        let part = Part { size_bytes: body_bytes(body), digest: *digest };
        lock(&self.state).parts.insert(number, part);
        Ok(hex(digest))
    }

    fn complete(mut self: Box<Self>, parts: &[Part]) -> Result<PutOutcome, StoreError> {
        let outcome = self.join(parts);
        self.over = matches!(outcome, Err(StoreError::Unavailable { .. }));
        outcome
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }

    fn keep(mut self: Box<Self>) {
        self.over = true;
    }
}

impl Drop for FolderMultipart {
    fn drop(&mut self) {
        if !self.over {
            self.upload.remove();
        }
    }
}
