//! The disk, handed in: the files of the state directory, where an agent or an upload keeps what
//! must survive it. So a test decides what a crash leaves of them.
//!
//! Flow: what is written goes to a file of a passing name, is synced, and is renamed to its name;
//! then the folder is synced ([`Disk::replace`]). A file that only one process may work on is
//! locked ([`DiskAccess::lock`]): the agent's own lock, and the journal of an upload.
//!
//! Three kinds of files have readers and writers of their own, because they are on other machines'
//! disks too or go past the page cache: data files and restored files (`disk`), objects
//! (`store/folder`, in whose place a test has a store in memory), and the catalog's (DuckDB).

use rustix::fd::AsFd;
use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The result of what a disk does; the error is the system's.
type Result<T, E = std::io::Error> = std::result::Result<T, E>;

/// What a disk does.
pub trait DiskAccess: Debug + Send + Sync {
    /// The first bytes of a file, at most this many.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>>;

    /// Creates a file, with these permissions, for writing. What has the name already is emptied.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn NewFile>>;

    /// Opens a file for reading and writing, creates it with these permissions if it is missing,
    /// and locks it until the file is dropped or the process ends. `None` while somebody else has
    /// it locked.
    ///
    /// # Errors
    /// The system's.
    fn lock(&self, path: &Path, mode: u32) -> Result<Option<Box<dyn LockedFile>>>;

    /// Whether somebody has a file locked.
    ///
    /// # Errors
    /// The system's.
    fn is_locked(&self, path: &Path) -> Result<bool>;

    /// Renames a file, over another if there is one. Durable only after
    /// [`DiskAccess::sync_folder`].
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file or a link, and no folder. Durable only after [`DiskAccess::sync_folder`].
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// The system's.
    fn remove_folder(&self, path: &Path) -> Result<()>;

    /// Creates a folder.
    ///
    /// # Errors
    /// The system's, also where something has this name.
    fn make_folder(&self, path: &Path, mode: u32) -> Result<()>;

    /// Whether this is a folder, or a link to one.
    fn is_folder(&self, path: &Path) -> bool;

    /// Whether this process may create files in a folder.
    ///
    /// # Errors
    /// The system's, where it may not.
    fn may_write(&self, folder: &Path) -> Result<()>;

    /// Makes names durable that were created, moved or removed in a folder.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, folder: &Path) -> Result<()>;

    /// Hands on all names in a folder, in no order. A name that is not UTF-8 is not Amber's, and is
    /// passed on as far as it can be read.
    ///
    /// # Errors
    /// The system's, or the first of `take`.
    fn each_name(&self, folder: &Path, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()>;
}

/// A file that is being written.
pub trait NewFile: Write + Debug + Send {
    /// Sets exactly these permissions, whatever the process withholds from new files.
    ///
    /// # Errors
    /// The system's.
    fn set_mode(&mut self, mode: u32) -> Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The system's. Nobody knows then what is on the disk.
    fn sync(&mut self) -> Result<()>;
}

/// A file that this process has locked. What is written goes behind what was written last, or
/// behind the cut.
pub trait LockedFile: NewFile {
    /// The first bytes of the file, at most this many. The next write goes behind them.
    ///
    /// # Errors
    /// The system's.
    fn read_start(&mut self, bytes_max: u64) -> Result<Vec<u8>>;

    /// Cuts the file to this length. The next write goes behind it.
    ///
    /// # Errors
    /// The system's.
    fn cut(&mut self, length_bytes: u64) -> Result<()>;
}

/// A disk. Copies are the same one.
#[derive(Debug, Clone, Copy)]
pub struct Disk(&'static dyn DiskAccess);

impl Default for Disk {
    fn default() -> Self {
        Disk::SYSTEM
    }
}

impl std::ops::Deref for Disk {
    type Target = dyn DiskAccess;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl Disk {
    /// The machine's own.
    pub const SYSTEM: Disk = Disk(&System);

    /// Another disk.
    pub fn of(access: &'static dyn DiskAccess) -> Disk {
        Disk(access)
    }

    /// Replaces a file: after a crash it has either its old content or the new one, never a part.
    /// The new content is durable when this returns. It is first written to a file named
    /// `temporary` in the same folder; one that a crash left there is overwritten.
    ///
    /// # Errors
    /// The system's error. The old content is still there, unless only the sync of the folder
    /// failed.
    pub fn replace(self, path: &Path, temporary: &str, mode: u32, content: &[u8]) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let temporary = folder.join(temporary);
        let mut file = self.create(&temporary, mode)?;
        file.write_all(content)?;
        file.sync()?;
        drop(file);
        self.rename(&temporary, path)?;
        self.sync_folder(folder)
    }
}

/// Makes names durable that were created, moved or removed in an open folder. Where the file system
/// does not sync folders (CIFS, some of FUSE), all of the file system is synced instead.
///
/// # Errors
/// The system's.
pub fn sync_open_folder(folder: impl AsFd) -> Result<(), Errno> {
    match rustix::fs::fsync(&folder) {
        Err(error) => without_folder_sync(folder, error),
        Ok(()) => Ok(()),
    }
}

/// What is done when a folder's sync fails with this error.
pub(crate) fn without_folder_sync(folder: impl AsFd, error: Errno) -> Result<(), Errno> {
    // Such a file system has nothing of a folder that only the machine knows, so nothing is lost if
    // it cannot sync itself either.
    let cannot = |error| matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP);
    if !cannot(error) {
        return Err(error);
    }
    match rustix::fs::syncfs(folder) {
        Err(error) if !cannot(error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[derive(Debug)]
struct System;

impl DiskAccess for System {
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(bytes_max).read_to_end(&mut content)?;
        Ok(content)
    }

    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn NewFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        Ok(Box::new(file))
    }

    fn lock(&self, path: &Path, mode: u32) -> Result<Option<Box<dyn LockedFile>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode).open(path)?;
        Ok(if flock_now(&file, FlockOperation::NonBlockingLockExclusive)? { Some(Box::new(file)) } else { None })
    }

    fn is_locked(&self, path: &Path) -> Result<bool> {
        // Two that ask at once must not take each other for the holder.
        Ok(!flock_now(&File::open(path)?, FlockOperation::NonBlockingLockShared)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        std::fs::remove_dir(path)
    }

    fn make_folder(&self, path: &Path, mode: u32) -> Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn may_write(&self, folder: &Path) -> Result<()> {
        Ok(access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        Ok(sync_open_folder(File::open(folder)?)?)
    }

    fn each_name(&self, folder: &Path, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            take(&entry?.file_name().to_string_lossy())?;
        }
        Ok(())
    }
}

/// Takes a lock if it is free. Returns whether it was.
fn flock_now(file: &File, operation: FlockOperation) -> Result<bool> {
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl LockedFile for File {
    fn read_start(&mut self, bytes_max: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.seek(SeekFrom::Start(0))?;
        self.take(bytes_max).read_to_end(&mut content)?;
        Ok(content)
    }

    fn cut(&mut self, length_bytes: u64) -> Result<()> {
        self.set_len(length_bytes)?;
        self.seek(SeekFrom::Start(length_bytes)).map(drop)
    }
}

impl NewFile for File {
    fn set_mode(&mut self, mode: u32) -> Result<()> {
        self.set_permissions(Permissions::from_mode(mode))
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_all()
    }
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
