//! A file that appears under its name only when it is complete.
//!
//! [`Target::create`] opens a temporary file beside the target and locks it. [`Target::commit`]
//! renames it, and replaces an existing file only if asked to. If the target is dropped or the
//! process killed before that, nothing is left under the target's name. [`Target::resume`] takes
//! over the temporary file that a killed run for the same target left, with its content;
//! [`Target::create`] removes it and begins anew.
//!
//! A server that is to work on the file needs the lock for itself: [`Target::lend`] releases it,
//! and locks a file beside it instead.

use super::leftover::{Leftover, SUFFIX, leftovers, lent_path};
use crate::error::{Error, Result};
use crate::host::Disk;
use crate::units::bytes_text;
use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags, SeekFrom};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock may stay held after its holder has ended: the kernel first finishes its pending
/// writes.
const TAKE_BACK_PATIENCE: Duration = Duration::from_secs(60);
/// How often taking the lock is retried.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The permissions of a file that is restored: a ledger is nobody else's business, and what a plain
/// file allowed to others it allows them again at the end ([`Target::set_mode`]).
const OWNER_ONLY: u32 = 0o600;

/// A data file that is being written.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    overwrite: bool,
    /// Whether the temporary file was taken over from a run that has ended.
    adopted: bool,
    /// Whether the temporary file stays when this is dropped.
    stays: bool,
    /// The file that is locked since the target was lent for the first time.
    lent: Option<File>,
}

impl Target {
    /// Opens a new temporary file for `path`. Removes what killed runs left.
    ///
    /// # Errors
    /// [`Error::input`] when the name is taken (and must not be overwritten), or the folder is
    /// missing or may not be written.
    pub fn create(path: &Path, overwrite: bool) -> Result<Target> {
        let folder = check_name(path, overwrite)?;
        leftovers(&folder, path).iter().for_each(Leftover::remove);
        Target::begin(path, &folder, overwrite)
    }

    /// Does the same, but takes over the temporary file of a killed run; of several, the one that
    /// holds most. Its content may be anything.
    ///
    /// # Errors
    /// Those of [`Target::create`].
    pub fn resume(path: &Path, overwrite: bool) -> Result<Target> {
        let folder = check_name(path, overwrite)?;
        let mut left = leftovers(&folder, path);
        left.sort_by_key(Leftover::allocated_bytes);
        let largest = left.pop();
        left.iter().for_each(Leftover::remove);
        match largest.map(Leftover::adopt) {
            Some((temporary, file)) => {
                let closed = file.set_permissions(std::fs::Permissions::from_mode(OWNER_ONLY));
                closed.map_err(|error| Error::input(format!("{}: {error}", temporary.display())).caused_by(error))?;
                Ok(Target { path: path.to_owned(), temporary, file, overwrite, adopted: true, stays: false, lent: None })
            }
            None => Target::begin(path, &folder, overwrite),
        }
    }

    fn begin(path: &Path, folder: &Path, overwrite: bool) -> Result<Target> {
        let mut hidden = OsString::from(".");
        hidden.push(path.file_name().unwrap_or_default());
        hidden.push(format!(".{}{SUFFIX}", std::process::id()));
        let temporary = folder.join(hidden);
        let opened = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).open(&temporary);
        let file =
            opened.map_err(|error| Error::input(format!("{}: cannot write there: {error}", temporary.display())).caused_by(error))?;
        let target = Target { path: path.to_owned(), temporary, file, overwrite, adopted: false, stays: false, lent: None };
        rustix::fs::flock(&target.file, FlockOperation::NonBlockingLockExclusive).map_err(|error| target.failed("lock", error.into()))?;
        Ok(target)
    }

    /// The final path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the temporary file.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Whether the temporary file is that of a killed run.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// What the temporary file takes on the disk, in bytes.
    pub fn allocated_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// Leaves the temporary file in place when this is dropped, for [`Target::resume`].
    pub fn keep(&mut self) {
        self.stays = true;
    }

    /// Makes it a copy of another file that shares its blocks on the disk until they are written
    /// to, if the file system can do that. Returns whether it did.
    pub fn copy_at_once(&self, original: &Path) -> bool {
        File::open(original).is_ok_and(|original| rustix::fs::ioctl_ficlone(&self.file, original).is_ok())
    }

    /// Sets the length. What is not written stays a hole.
    pub fn set_length(&self, length_bytes: u64) -> Result<()> {
        self.file.set_len(length_bytes).map_err(|error| self.failed("set the length", error))
    }

    /// Writes at an offset; several threads may do so at once.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed("write", error))
    }

    /// Sets permission bits and the time of the last change, as far as the file system keeps them.
    pub fn set_mode(&self, mode: u32, modified_ns: u64) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let modified = std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(modified_ns);
        let set = self.file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777)).and_then(|()| self.file.set_modified(modified));
        set.map_err(|error| self.failed("set mode and time", error))
    }

    /// The error for a write that was done by other means.
    pub fn write_failed(&self, error: &std::io::Error) -> Error {
        let copy = error.raw_os_error().map_or_else(|| std::io::Error::other(error.to_string()), std::io::Error::from_raw_os_error);
        self.failed("write", copy)
    }

    /// Frees a range, which then reads as zeros, if the file system can do that; otherwise nothing
    /// happens.
    pub fn punch_hole(&self, offset: u64, length_bytes: u64) {
        // This saves space and has no other effect.
        let _ = rustix::fs::fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length_bytes);
    }

    /// Frees a range that holds data, which then reads as zeros.
    ///
    /// # Errors
    /// Where the file system cannot.
    pub fn clear(&self, offset: u64, end: u64) -> Result<()> {
        if self.data_after(offset, end)?.is_none_or(|(start, _)| start >= end) {
            return Ok(());
        }
        let punched = rustix::fs::fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, end - offset);
        punched.map_err(|error| self.failed("free what an earlier run left (--fresh starts anew)", error.into()))
    }

    /// Its length in bytes.
    pub fn length(&self) -> Result<u64> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed("size", error))
    }

    /// Reads at an offset.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|error| self.failed("read", error))
    }

    /// Where the next data at or after `offset` begins and ends, in a file of this length; `None`
    /// if only a hole follows. Where the file system does not report holes, the whole file counts
    /// as data.
    pub fn data_after(&self, offset: u64, length_bytes: u64) -> Result<Option<(u64, u64)>> {
        if offset >= length_bytes {
            return Ok(None);
        }
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((offset, length_bytes))),
            Err(error) => return Err(self.failed("look for data", error.into())),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start)).map_err(|error| self.failed("look for a hole", error.into()))?;
        Ok(Some((start, end.min(length_bytes))))
    }

    /// Releases the lock, so that a server can work on the temporary file, until
    /// [`Target::relock`]. Another restore to the same name still sees that the file is in use.
    ///
    /// # Errors
    /// [`Error::input`] when the lent mark cannot be created.
    pub fn lend(&mut self) -> Result<()> {
        if self.lent.is_none() {
            // The temporary file stays locked until the mark is locked, so nobody takes either of
            // them for left behind.
            let path = lent_path(&self.temporary);
            let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let file = opened.map_err(|error| Error::input(format!("{}: cannot write there: {error}", path.display())).caused_by(error))?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| self.failed("lock", error.into()))?;
            self.lent = Some(file);
        }
        rustix::fs::flock(&self.file, FlockOperation::Unlock).map_err(|error| self.failed("unlock", error.into()))
    }

    /// Takes the lock again from a process that has ended. When this returns, none of that
    /// process's writes is still pending: as long as the kernel writes for the process, it holds
    /// the process's lock.
    ///
    /// # Errors
    /// [`Error::try_again`] when somebody else holds it.
    pub fn relock(&mut self) -> Result<()> {
        let deadline = Instant::now() + TAKE_BACK_PATIENCE;
        loop {
            match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::try_again(format!("{}: another process still holds its lock", self.temporary.display())));
                }
                Err(error) => return Err(self.failed("lock", error.into())),
            }
        }
    }

    fn end_lending(&mut self) {
        if self.lent.take().is_some() {
            // If that fails, the next restore to this name removes it.
            let _ = std::fs::remove_file(lent_path(&self.temporary));
        }
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
        self.end_lending();
        self.rename().map_err(|error| match error {
            Errno::NOLCK => Error::input(format!(
                "{}: this file system can neither rename without replacing, nor make hard links, nor lock a folder, so another file could be \
                 replaced unseen: give --overwrite if nobody else writes there, or restore to another disk",
                self.path.display()
            )),
            error => self.failed(&format!("rename to {}", self.path.display()), error.into()),
        })?;
        self.stays = true;
        let synced = Disk::SYSTEM.sync_folder(&folder_of(&self.path));
        synced.map_err(|error| self.failed("sync the folder", error))
    }

    fn rename(&self) -> Result<(), Errno> {
        if self.overwrite {
            return rustix::fs::renameat(CWD, &self.temporary, CWD, &self.path);
        }
        rename_to_free(&self.temporary, &self.path, &Ways::SYSTEM)
    }

    pub(crate) fn failed(&self, action: &str, error: std::io::Error) -> Error {
        let hint = match error.kind() {
            std::io::ErrorKind::StorageFull => ": make room, or restore to another disk",
            std::io::ErrorKind::FileTooLarge => {
                ": raise the limit of this process (`ulimit -f`), or restore to a file system for larger files"
            }
            _ => "",
        };
        let message = format!("{}: {action}: {error}{hint}", self.temporary.display());
        // EIO: the disk, not the command, is at fault.
        if error.raw_os_error() == Some(5) { Error::damaged(message) } else { Error::input(message) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.stays {
            // If that fails, the next restore to this name removes it.
            let _ = std::fs::remove_file(&self.temporary);
        }
        self.end_lending();
    }
}

/// The ways to a name that must be free.
struct Ways {
    rename: fn(&Path, &Path) -> Result<(), Errno>,
    link: fn(&Path, &Path) -> Result<(), Errno>,
    lock: fn(&File) -> Result<(), Errno>,
}

impl Ways {
    const SYSTEM: Ways = Ways {
        rename: |from, to| rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE),
        link: |from, to| rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()),
        lock: |folder| rustix::fs::flock(folder, FlockOperation::LockExclusive),
    };
}

/// Renames a file to a name that is free. [`Errno::EXIST`] if it is not; [`Errno::NOLCK`] where the
/// file system has no way to tell both in one step.
fn rename_to_free(from: &Path, to: &Path, ways: &Ways) -> Result<(), Errno> {
    match (ways.rename)(from, to) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return renamed,
    }
    // Network file systems: a hard link does not replace anything either.
    match (ways.link)(from, to) {
        Err(Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => {}
        linked => return linked.and_then(|()| rustix::fs::unlinkat(CWD, from, AtFlags::empty())),
    }
    // Without hard links, for example exFAT in FUSE: restores wait for one another.
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = File::from(rustix::fs::open(folder_of(to), open, Mode::empty())?);
    (ways.lock)(&folder).map_err(|_| Errno::NOLCK)?;
    match rustix::fs::statat(CWD, to, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => rustix::fs::renameat(CWD, from, CWD, to),
        Ok(_) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}

/// Checks that the target's name may be used, and returns its folder.
fn check_name(path: &Path, overwrite: bool) -> Result<PathBuf> {
    if path.file_name().is_none() {
        return Err(Error::input(format!("{}: give the name of a file", path.display())));
    }
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
    Ok(folder_of(path))
}

/// A file that a running server has locked must not be replaced: the server would continue in a
/// file that no longer has a name.
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

/// Refuses early what cannot fit.
///
/// # Errors
/// [`Error::input`] with what is needed and what is there.
pub fn check_space(targets: &[Target], bytes_each: u64) -> Result<()> {
    let Some(first) = targets.first() else { return Ok(()) };
    let folder = folder_of(&first.path);
    let Ok(space) = rustix::fs::statvfs(&folder) else { return Ok(()) };
    // What a killed run left has its space already.
    let needed = targets.iter().map(|target| bytes_each.saturating_sub(target.allocated_bytes())).fold(0, u64::saturating_add);
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let (free, needed) = (bytes_text(free), bytes_text(needed));
    Err(Error::input(format!("{}: the restore needs {needed}, {free} are free: make room, or restore to another disk", folder.display())))
}

#[cfg(test)]
mod tests;
