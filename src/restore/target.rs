//! A file that appears under its name only when it is whole.
//!
//! [`Target::create`] opens a temporary file beside the target and locks it; [`Target::commit`] renames it, without replacing anything unless told to. Dropped
//! before that, or killed, it leaves nothing under the target's name; a temporary file that a killed run left is removed by the next run for the
//! same target.

use crate::error::{Error, Result};
use crate::units::bytes_text;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The end of every temporary file's name.
const SUFFIX: &str = ".amber-partial";

/// A data file on its way.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    overwrite: bool,
    committed: bool,
}

impl Target {
    /// Opens a temporary file for `path`.
    ///
    /// # Errors
    /// [`Error::input`] when the name is taken (and must not be overwritten), or the folder is missing or may not be written.
    pub fn create(path: &Path, overwrite: bool) -> Result<Target> {
        let name = path.file_name().ok_or_else(|| Error::input(format!("{}: give the name of a file", path.display())))?;
        let folder = folder_of(path);
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(Error::input(format!("{}: it is a directory; give the name of a file", path.display())));
            }
            Ok(_) if overwrite => refuse_in_use(path)?,
            Ok(_) => {
                return Err(Error::input(format!(
                    "{}: the file exists, and nothing is overwritten unseen: choose another name, or give --overwrite",
                    path.display()
                )));
            }
            _ => {}
        }
        remove_leftovers(&folder, name);
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}{SUFFIX}", std::process::id()));
        let temporary = folder.join(hidden);
        let opened = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&temporary);
        let file = opened.map_err(|error| Error::input(format!("{}: cannot write there: {error}", temporary.display())))?;
        let target = Target { path: path.to_owned(), temporary, file, overwrite, committed: false };
        rustix::fs::flock(&target.file, FlockOperation::NonBlockingLockExclusive).map_err(|error| target.failed("lock", error.into()))?;
        Ok(target)
    }

    /// Where the file will stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it stands until then.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Sets the length; what is not written stays a hole.
    pub fn set_length(&self, length_bytes: u64) -> Result<()> {
        self.file.set_len(length_bytes).map_err(|error| self.failed("set the length", error))
    }

    /// Writes at an offset; several threads may do so at once.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed("write", error))
    }

    /// Waits until everything is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failed("sync", error))
    }

    /// Gives the file its name. Durable when this returns.
    pub fn commit(mut self) -> Result<()> {
        if self.overwrite {
            refuse_in_use(&self.path)?;
        }
        self.rename().map_err(|error| self.failed(&format!("rename to {}", self.path.display()), error.into()))?;
        self.committed = true;
        let synced = File::open(folder_of(&self.path)).and_then(|folder| folder.sync_all());
        synced.map_err(|error| self.failed("sync the folder", error))
    }

    fn rename(&self) -> rustix::io::Result<()> {
        if self.overwrite {
            return rustix::fs::renameat(CWD, &self.temporary, CWD, &self.path);
        }
        match rustix::fs::renameat_with(CWD, &self.temporary, CWD, &self.path, RenameFlags::NOREPLACE) {
            // Network file systems: a hard link does not replace anything either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
                rustix::fs::linkat(CWD, &self.temporary, CWD, &self.path, rustix::fs::AtFlags::empty())?;
                rustix::fs::unlinkat(CWD, &self.temporary, rustix::fs::AtFlags::empty())
            }
            renamed => renamed,
        }
    }

    fn failed(&self, action: &str, error: std::io::Error) -> Error {
        let hint = if error.kind() == std::io::ErrorKind::StorageFull { ": make room, or restore to another disk" } else { "" };
        let message = format!("{}: {action}: {error}{hint}", self.temporary.display());
        // EIO: the disk, not the command, is at fault.
        if error.raw_os_error() == Some(5) { Error::damaged(message) } else { Error::input(message) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.committed {
            // Should that fail, the next restore to this name removes it.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// A file that a running server has locked must not be replaced: the server would go on in a file that has no name any more.
fn refuse_in_use(path: &Path) -> Result<()> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::input(format!("{}: a running server has this file open: stop it, or choose another name", path.display())))
        }
        _ => Ok(()),
    }
}

pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Removes temporary files of runs that are no longer: nobody holds their lock.
fn remove_leftovers(folder: &Path, name: &std::ffi::OsStr) {
    let prefix = format!(".{}.", name.to_string_lossy());
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let candidate = entry.file_name();
        let candidate = candidate.to_string_lossy();
        let middle = candidate.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
        if !middle.is_some_and(|process| process.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Refuses early what cannot fit.
///
/// # Errors
/// [`Error::input`] with what is needed and what is there.
pub fn check_space(targets: &[Target], bytes_each: u64) -> Result<()> {
    let Some(first) = targets.first() else { return Ok(()) };
    let folder = folder_of(&first.path);
    let Ok(space) = rustix::fs::statvfs(&folder) else { return Ok(()) };
    let (free, needed) = (space.f_bavail.saturating_mul(space.f_frsize), bytes_each.saturating_mul(targets.len() as u64));
    if free >= needed {
        return Ok(());
    }
    let (free, needed) = (bytes_text(free), bytes_text(needed));
    Err(Error::input(format!("{}: the restore needs {needed}, {free} are free: make room, or restore to another disk", folder.display())))
}
