//! One backup of a plain file, start to end.
//!
//! ```text
//! stream (frames, holes) -> fingerprint -> object writer (compress, seal, parts) -> record
//! ```
//!
//! What the repository holds of the file is one object; nothing exists before its record does. A
//! file that is changed while it is read is refused. An upload that was cut short is carried on by
//! the next backup of the same name, as long as the file is the same (`upload`).

use super::format::{FileLayout, FileRecord, digest_text};
use super::upload::Uploaded;
use crate::disk::file::ReadOptions;
use crate::disk::stream::Stream;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{FileName, RunId};
use crate::store::Digest;
use crate::units::now_ns;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is backed up, as what.
#[derive(Debug, Clone)]
pub struct FileCaptureRequest {
    /// The file.
    pub path: PathBuf,
    /// What it is called in the repository: 1 to 128 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Where uploads that can be carried on are noted; without it they cannot.
    pub journals: Option<PathBuf>,
    /// How the file is read.
    pub read: ReadOptions,
    /// The run that it belongs to; one is drawn where there is none. An upload that is carried on
    /// keeps the number that it was begun with.
    pub run: Option<RunId>,
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Its name in the repository.
    pub name: FileName,
    /// What was promised.
    pub record: FileRecord,
    /// SHA-256 of the stored bytes of that promise.
    pub record_digest: Digest,
    /// Bytes read from the file; holes were not.
    pub bytes_read: u64,
    /// Stored bytes that an earlier run had sent already.
    pub bytes_held: u64,
    /// Fallbacks, in sentences for the user.
    pub notes: Vec<String>,
}

/// Longest name of a file in the repository.
const NAME_BYTES_MAX: usize = 128;

/// Backs a file up.
///
/// # Errors
/// [`Error::input`] for a file or name that cannot be used, [`Error::try_again`] while the store is
/// away or when the file was changed meanwhile.
pub fn backup(repository: &Arc<Repository>, request: &FileCaptureRequest, progress: &dyn Progress) -> Result<Backup> {
    check_file_name(&request.name)?;
    let began_ns = now_ns();
    let metadata = std::fs::metadata(&request.path).map_err(|error| Error::input(format!("{}: {error}", request.path.display())))?;
    let layout = FileLayout::of(metadata.len())?;
    let mut stream = open(&request.path, &layout, request.read)?;
    stream.notes().iter().for_each(|note| progress.note(note));
    progress.begin(&format!("file {}", request.name), Some(layout.file_bytes));
    let Uploaded { name, stored, bytes_held, bytes_read, notes } =
        super::upload::upload(repository, request, &mut stream, layout, progress)?;
    progress.end();
    if let Err(error) = stream.check_unchanged() {
        // Nothing will promise it.
        let _ = repository.store().delete(&name.data());
        return Err(error.into());
    }
    let record = FileRecord {
        path: request.path.display().to_string(),
        file_bytes: layout.file_bytes,
        mode: metadata.permissions().mode() & 0o7777,
        modified_ns: stream.modified_ns(),
        stored_bytes: stored.size_bytes,
        digest: digest_text(&stored.digest),
        part_bytes: stored.part_bytes,
        began_ns,
        ended_ns: now_ns(),
    };
    let record_digest = repository.promise_file(&name, &record)?;
    let notes = [stream.notes().to_vec(), notes].concat();
    Ok(Backup { name, record, record_digest, bytes_read, bytes_held, notes })
}

pub(crate) fn open(path: &Path, layout: &FileLayout, read: ReadOptions) -> Result<Stream> {
    let stream = Stream::open(path, layout.frame_bytes as usize, read)?;
    if stream.file_bytes() != layout.file_bytes {
        return Err(Error::try_again(format!("{}: the file is being written to: try again when nobody does", path.display())));
    }
    Ok(stream)
}

/// Whether a file may be called so in a repository.
///
/// # Errors
/// [`Error::input`] with what is allowed.
pub fn check_file_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) && name.bytes().any(|byte| byte != b'.') {
        return Ok(());
    }
    Err(Error::input(format!("the name {name:?}: give 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '_' and '-'")))
}

#[cfg(test)]
mod tests;
