//! One backup of a plain file, start to end.
//!
//! ```text
//! stream (frames, holes) -> fingerprint -> object writer (compress, seal, parts) -> record
//! ```
//!
//! The repository stores the file as one object. The backup does not exist before its record does.
//! A file that is changed while it is read is refused, or read again where only that tells
//! (`upload`). An upload that was cut short is resumed by
//! the next backup of the same name, as long as the file is the same (`upload`).

use super::format::{FileLayout, FileRecord, digest_text};
use super::upload::Uploaded;
use crate::error::{Error, Result};
use crate::names::{path_bytes_hex, path_text};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{FileName, FilePlace, RunId};
use crate::repository::promise::Receipt;
use crate::tier::file::request::FileCaptureRequest;
use crate::tier::file::request::open;
use crate::tier::promises::{Listed, write_missing_receipts};
use crate::units::time_text;
use std::sync::Arc;

/// What a backup did.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Its name in the repository.
    pub name: FileName,
    /// What its record promises.
    pub record: FileRecord,
    /// Size and digest of that record.
    pub receipt: Receipt,
    /// Bytes read from the file. Holes are not read.
    pub bytes_read: u64,
    /// Stored bytes that an earlier run had sent already.
    pub resumed_bytes: u64,
    /// Fallbacks, in sentences for the user.
    pub notes: Vec<String>,
}

/// Longest name of a file in the repository.
const NAME_BYTES_MAX: usize = 128;

/// Backs up a file.
///
/// # Errors
/// [`Error::input`] for a file or name that cannot be used, [`Error::try_again`] while the store is
/// not reachable or when the file was changed meanwhile.
pub fn backup(repository: &Arc<Repository>, request: &FileCaptureRequest, progress: &dyn Progress) -> Result<Backup> {
    check_file_name(&request.name)?;
    let began_ns = repository.clock().now_ns();
    let files = repository.listed_files(request.place)?;
    let mut damaged = mend_listed(repository, &files)?;
    let (run, ahead) = number(repository, request, &files)?;
    damaged.extend(ahead);
    damaged.iter().for_each(|note| progress.note(note));
    let request = &FileCaptureRequest { run: Some(run), ..request.clone() };
    let metadata =
        std::fs::metadata(&request.path).map_err(|error| Error::input(format!("{}: {error}", request.path.display())).caused_by(error))?;
    let layout = FileLayout::of(metadata.len())?;
    let mut stream = open(&request.path, &layout, request.read)?;
    stream.notes().iter().for_each(|note| progress.note(note));
    progress.begin(&format!("file {}", request.name), Some(layout.file_bytes));
    let Uploaded { name, stored, resumed_bytes, bytes_read, notes } =
        super::upload::upload(repository, request, &mut stream, layout, progress)?;
    progress.end();
    let record = FileRecord {
        path: path_text(&request.path),
        path_bytes: path_bytes_hex(&request.path),
        file_bytes: layout.file_bytes,
        mode: stream.state().mode & 0o7777,
        modified_ns: stream.state().modified_ns(),
        stored_bytes: stored.size_bytes,
        digest: digest_text(&stored.digest),
        part_bytes: stored.part_bytes,
        began_ns,
        ended_ns: repository.clock().now_ns(),
        tenant: request.tenant.clone(),
    };
    let receipt = repository.promise_file(&name, &record)?;
    let notes = [damaged, stream.notes().to_vec(), notes].concat();
    Ok(Backup { name, record, receipt, bytes_read, resumed_bytes, notes })
}

/// Writes the receipts that are missing in a place: of a backup that was killed in its last moment,
/// or made before files had receipts. Returns what is damaged, in sentences.
///
/// # Errors
/// When the store cannot be read or written.
pub fn mend(repository: &Arc<Repository>, place: &'static FilePlace) -> Result<Vec<String>> {
    mend_listed(repository, &repository.listed_files(place)?)
}

fn mend_listed(repository: &Arc<Repository>, files: &Listed<FileName>) -> Result<Vec<String>> {
    let mut damaged = Vec::new();
    write_missing_receipts(repository, files, &|name, _| repository.file_record(name).map(drop), &mut |name, error| {
        damaged.push(format!("{}: {error}; `amber verify` says more", name.record()))
    })?;
    Ok(damaged)
}

/// The number of a backup: above that of every earlier backup of this file, so that the newest is
/// the one that was written last. With a sentence where the clock says otherwise.
fn number(repository: &Repository, request: &FileCaptureRequest, files: &Listed<FileName>) -> Result<(RunId, Option<String>)> {
    let run = request.run.map_or_else(|| repository.new_run(), Ok)?;
    let earlier = files.all().into_iter().rfind(|file| file.name == request.name && file.run >= run);
    // A name alone proves nothing: whoever may write can make one.
    let Some(newest) = earlier.filter(|newest| repository.file_record(newest).is_ok()) else { return Ok((run, None)) };
    let note = format!(
        "{}: its number is of {}, which has yet to come: a clock is or was wrong; this backup is numbered after it, so that it is the newest",
        newest.record(),
        time_text(newest.run.ms().saturating_mul(1_000_000))
    );
    Ok((repository.new_run_after(newest.run)?, Some(note)))
}

/// Checks that a file may have this name in a repository.
///
/// # Errors
/// [`Error::input`], naming what is allowed.
pub fn check_file_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) && name.bytes().any(|byte| byte != b'.') {
        return Ok(());
    }
    Err(Error::input(format!("the name {name:?}: give 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '_' and '-'")))
}

#[cfg(test)]
mod tests;
