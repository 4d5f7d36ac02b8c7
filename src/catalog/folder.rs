//! The folder of a catalog: the file that is read, the lock of whoever changes it, and drafts.
//!
//! Flow: [`Folder::lock`] waits for its turn; a [`Draft`] is an empty file or a copy of the one
//! that is read; [`Draft::publish`] makes it durable and renames it over that one. A draft that is
//! not published is removed; one that a killed process left is removed before the next.

use crate::durable_file::sync_folder;
use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the folder is called in an agent's state directory.
pub const STATE_FOLDER: &str = "catalog";
/// The file that is read: always whole, never changed under this name.
pub const CATALOG: &str = "catalog.duckdb";
/// What is made into it.
const DRAFT: &str = "draft.duckdb";
/// What it is compared with.
const OLD: &str = "old.duckdb";
/// What is held fast of it while it is backed up.
const HELD: &str = "held.duckdb";
const LOCK: &str = "lock";
/// How long a change waits for another. One takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// The folder; nothing of it needs to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

/// The right to change it, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Locked<'a> {
    folder: &'a Folder,
    _lock: File,
}

/// A file that nobody else knows. Dropping it removes it.
#[derive(Debug)]
pub struct Draft<'a> {
    locked: &'a Locked<'a>,
    path: PathBuf,
}

/// The file that was read when it was taken hold of; it stays the same whatever is published
/// meanwhile. Dropping it lets go.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
}

impl Held {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What cannot be removed now is removed before the next.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Folder {
    /// The catalog in a folder.
    pub fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is read, if there is one.
    pub fn catalog(&self) -> PathBuf {
        self.path.join(CATALOG)
    }

    /// Holds the file that is read fast under another name, for one who reads it for long: it needs
    /// no lock, because a published file is never changed.
    ///
    /// # Errors
    /// [`Error::input`] where there is no catalog, or the folder cannot be written to.
    pub fn hold(&self) -> Result<Held> {
        let held = Held { path: self.path.join(HELD) };
        match std::fs::remove_file(&held.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed(&held.path, &error)),
            _ => {}
        }
        std::fs::hard_link(self.catalog(), &held.path).map_err(|error| self.failed(&self.catalog(), &error))?;
        Ok(held)
    }

    /// Makes the folder where it is missing, and takes the lock.
    ///
    /// # Errors
    /// [`Error::input`] where the folder cannot be written to, [`Error::try_again`] when another
    /// process holds the lock for long.
    pub fn lock(&self) -> Result<Locked<'_>> {
        self.lock_within(PATIENCE)
    }

    pub(super) fn lock_within(&self, patience: Duration) -> Result<Locked<'_>> {
        DirBuilder::new().recursive(true).mode(0o750).create(&self.path).map_err(|error| self.failed(&self.path, &error))?;
        let path = self.path.join(LOCK);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path);
        let file = file.map_err(|error| self.failed(&path, &error))?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked { folder: self, _lock: file }),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if began.elapsed() < patience => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::try_again(format!("{}: another process is changing the catalog: try again", path.display())));
                }
                Err(error) => return Err(self.failed(&path, &error.into())),
            }
        }
    }

    fn failed(&self, path: &Path, error: &std::io::Error) -> Error {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::try_again(format!("{text}: make room and try again")),
            _ => Error::input(format!("{text}: name a folder for the catalog that may be written to")),
        }
    }
}

impl Locked<'_> {
    /// A draft that is not there yet.
    ///
    /// # Errors
    /// As [`Folder::lock`].
    pub fn empty(&self) -> Result<Draft<'_>> {
        self.draft(DRAFT)
    }

    /// A copy of the file that is read, to be changed; `None` where there is none.
    ///
    /// # Errors
    /// As [`Folder::lock`].
    pub fn copy(&self) -> Result<Option<Draft<'_>>> {
        self.copy_as(DRAFT)
    }

    /// A copy of the file that is read, beside a draft.
    ///
    /// # Errors
    /// As [`Folder::lock`].
    pub fn copy_to_compare(&self) -> Result<Option<Draft<'_>>> {
        self.copy_as(OLD)
    }

    fn copy_as(&self, name: &str) -> Result<Option<Draft<'_>>> {
        let (draft, catalog) = (self.draft(name)?, self.folder.catalog());
        match std::fs::copy(&catalog, &draft.path) {
            Ok(_) => Ok(Some(draft)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.folder.failed(&catalog, &error)),
        }
    }

    fn draft(&self, name: &str) -> Result<Draft<'_>> {
        let draft = Draft { locked: self, path: self.folder.path.join(name) };
        draft.remove().map_err(|error| self.folder.failed(&draft.path, &error))?;
        Ok(draft)
    }
}

impl Draft<'_> {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it the file that is read: from now on whole and durable under that name.
    ///
    /// # Errors
    /// As [`Folder::lock`]; the file that was read before still is then.
    pub fn publish(self) -> Result<()> {
        let (folder, catalog) = (self.locked.folder, self.locked.folder.catalog());
        let publish = || {
            sync_folder(&self.path)?;
            std::fs::rename(&self.path, &catalog)?;
            sync_folder(&folder.path)
        };
        publish().map_err(|error| folder.failed(&catalog, &error))
    }

    fn remove(&self) -> std::io::Result<()> {
        let mut log = self.path.clone().into_os_string();
        log.push(".wal");
        for path in [self.path.as_path(), Path::new(&log)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is removed before the next draft.
        let _ = self.remove();
    }
}
