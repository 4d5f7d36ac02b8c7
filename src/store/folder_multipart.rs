//! An object on its way into a folder in parts.
//!
//! Parts are written into one temporary file, each at its offset, by as many threads as the caller has. The offset of a part follows
//! from the size of part 1, which all parts but the last have. Until that size is certain (part 1 is here, or two parts are), the first
//! part to come waits in a file of its own, because it may be the shorter last one. Completing compares what was sent with what the
//! caller expects, places the waiting part, cuts the file to its length, syncs it and moves it to its name.

use super::folder_files::{Files, Temporary, errno};
use super::{Digest, Multipart, Part, PutOutcome, StoreError, body_bytes, check_digest, check_part_number, check_parts};
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes moved at once when the waiting part is placed.
const COPY_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct FolderMultipart {
    files: Arc<Files>,
    name: String,
    temporary: Temporary,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The size of every part but the last, once certain.
    part_bytes: Option<u64>,
    /// The part that came while the size was not certain.
    waiting: Option<Waiting>,
    parts: BTreeMap<u32, Part>,
}

#[derive(Debug)]
struct Waiting {
    number: u32,
    size_bytes: u64,
    temporary: Temporary,
}

/// Where a part's bytes go.
enum Place {
    At(u64),
    Waits,
    Nowhere(String),
}

impl FolderMultipart {
    pub(super) fn begin(files: Arc<Files>, name: &str) -> Result<Self, StoreError> {
        let temporary = files.temporary().map_err(|error| files.error("begin multipart", name, error))?;
        Ok(FolderMultipart { files, name: name.to_owned(), temporary, state: Mutex::default() })
    }

    fn refused(&self, action: &'static str, reason: String) -> StoreError {
        StoreError::Refused { store: self.files.describe(), action, name: self.name.clone(), reason }
    }

    /// Decides where a part goes, and keeps it waiting if that cannot be known yet.
    fn place(&self, number: u32, body: &[Bytes]) -> Result<Place, Errno> {
        let size_bytes = body_bytes(body);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.part_bytes.is_none() {
            match &state.waiting {
                _ if number == 1 => state.part_bytes = Some(size_bytes),
                // The two cannot both be the last, so the larger has the size of all.
                Some(waiting) if waiting.number != number => state.part_bytes = Some(size_bytes.max(waiting.size_bytes)),
                _ => {
                    let temporary = self.files.temporary()?;
                    write_at(&temporary.file, 0, body)?;
                    state.waiting = Some(Waiting { number, size_bytes, temporary });
                    return Ok(Place::Waits);
                }
            }
        }
        state.waiting.take_if(|waiting| waiting.number == number);
        let part_bytes = state.part_bytes.unwrap_or(size_bytes);
        if size_bytes > part_bytes || (number == 1 && size_bytes != part_bytes) {
            return Ok(Place::Nowhere(format!("part {number} has {size_bytes} bytes, but the parts have {part_bytes}")));
        }
        Ok(Place::At(u64::from(number - 1) * part_bytes))
    }

    fn place_waiting(&self, waiting: &Waiting, part_bytes: u64) -> Result<(), Errno> {
        let start = u64::from(waiting.number - 1) * part_bytes;
        let mut buffer = vec![0; COPY_BYTES.min(waiting.size_bytes as usize)];
        let mut done = 0;
        while done < waiting.size_bytes {
            let length = buffer.len().min((waiting.size_bytes - done) as usize);
            waiting.temporary.file.read_exact_at(&mut buffer[..length], done).map_err(|error| errno(&error))?;
            self.temporary.file.write_all_at(&buffer[..length], start + done).map_err(|error| errno(&error))?;
            done += length as u64;
        }
        Ok(())
    }
}

fn write_at(file: &File, mut offset: u64, body: &[Bytes]) -> Result<(), Errno> {
    for piece in body {
        file.write_all_at(piece, offset).map_err(|error| errno(&error))?;
        offset += piece.len() as u64;
    }
    Ok(())
}

impl Multipart for FolderMultipart {
    fn part(&self, number: u32, body: &[Bytes], digest: &Digest) -> Result<(), StoreError> {
        check_part_number(number).map_err(|reason| self.refused("put part", reason))?;
        check_digest(body, digest).map_err(|reason| StoreError::Corrupted {
            store: self.files.describe(),
            action: "put part",
            name: self.name.clone(),
            reason,
        })?;
        let failed = |error| self.files.error("put part", &self.name, error);
        match self.place(number, body).map_err(failed)? {
            Place::At(offset) => write_at(&self.temporary.file, offset, body).map_err(failed)?,
            Place::Waits => {}
            Place::Nowhere(reason) => return Err(self.refused("put part", reason)),
        }
        let part = Part { size_bytes: body_bytes(body), digest: *digest };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).parts.insert(number, part);
        Ok(())
    }

    fn complete(self: Box<Self>, parts: &[Part]) -> Result<PutOutcome, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        check_parts(state.parts.iter().map(|(number, part)| (*number, part)), parts).map_err(|reason| self.refused("complete", reason))?;
        // Once certain, the size never changes, and part 1 was refused unless it has it: every part stands at its offset.
        debug_assert_eq!(state.part_bytes, parts.first().map(|part| part.size_bytes));
        let total_bytes: u64 = parts.iter().map(|part| part.size_bytes).sum();
        let finish = || {
            if let (Some(waiting), Some(part_bytes)) = (&state.waiting, state.part_bytes) {
                self.place_waiting(waiting, part_bytes)?;
            }
            self.temporary.file.set_len(total_bytes).map_err(|error| errno(&error))?;
            self.files.publish(&self.temporary, &self.name)
        };
        finish().map_err(|error: Errno| self.files.error("complete", &self.name, error))
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
