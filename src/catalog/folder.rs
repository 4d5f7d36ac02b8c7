//! The folder of a catalog: the published file, the lock for changes, and drafts.
//!
//! Flow: [`Folder::lock`] waits for its turn. A [`Draft`] is an empty file or a copy of the
//! published one. [`Draft::publish`] makes it durable and renames it over the published file. A
//! draft that is not published is removed. One that a killed process left behind is removed before
//! the next draft is made.

use crate::error::{Error, Result};
use crate::host::{Clock, Disk};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder's name in an agent's state directory.
pub const STATE_FOLDER: &str = "catalog";
/// The published file: always complete, never changed in place.
pub const CATALOG: &str = "catalog.duckdb";
/// The draft that is to replace it.
const DRAFT: &str = "draft.duckdb";
/// A copy of the old catalog, to compare a draft with.
const OLD: &str = "old.duckdb";
/// A hard link that pins the published file while it is backed up.
const HELD: &str = "held.duckdb";
const LOCK: &str = "lock";
/// How long a change waits for another change, which takes only a moment.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// The folder of a catalog; nothing in it needs to exist.
#[derive(Debug, Clone)]
pub struct Folder {
    clock: Clock,
    path: PathBuf,
}

/// The right to change the catalog, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Locked<'a> {
    folder: &'a Folder,
    _lock: File,
}

/// A private file that may be published. Dropping it removes it.
#[derive(Debug)]
pub struct Draft<'a> {
    locked: &'a Locked<'a>,
    path: PathBuf,
}

/// The published file, pinned under another name: it stays the same whatever is published
/// meanwhile. Dropping it removes that name.
#[derive(Debug)]
pub struct PinnedCatalog {
    path: PathBuf,
}

impl PinnedCatalog {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PinnedCatalog {
    fn drop(&mut self) {
        // If it cannot be removed now, it is removed before the next one is made.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Folder {
    /// The catalog in a folder.
    pub fn new(path: &Path, clock: Clock) -> Folder {
        Folder { clock, path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the published file, which need not exist.
    pub fn catalog(&self) -> PathBuf {
        self.path.join(CATALOG)
    }

    /// Pins the published file under another name, for a long read. That needs no lock, because a
    /// published file is never changed.
    ///
    /// # Errors
    /// [`Error::input`] where there is no catalog, or the folder cannot be written to.
    pub fn hold(&self) -> Result<PinnedCatalog> {
        let held = PinnedCatalog { path: self.path.join(HELD) };
        match std::fs::remove_file(&held.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed(&held.path, &error)),
            _ => {}
        }
        std::fs::hard_link(self.catalog(), &held.path).map_err(|error| self.failed(&self.catalog(), &error))?;
        Ok(held)
    }

    /// Makes the folder if it is missing, and takes the lock.
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
        let began = self.clock.now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Locked { folder: self, _lock: file }),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if self.clock.since(began) < patience => self.clock.sleep(PAUSE),
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
    /// A draft whose file does not exist yet.
    ///
    /// # Errors
    /// As [`Folder::lock`].
    pub fn empty(&self) -> Result<Draft<'_>> {
        self.draft(DRAFT)
    }

    /// A copy of the published file, to be changed; `None` if there is none.
    ///
    /// # Errors
    /// As [`Folder::lock`].
    pub fn copy(&self) -> Result<Option<Draft<'_>>> {
        self.copy_as(DRAFT)
    }

    /// A copy of the published file, to compare a draft with; `None` if there is none.
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

    /// Makes the draft durable and replaces the published file with it.
    ///
    /// # Errors
    /// As [`Folder::lock`]. The published file is unchanged then.
    pub fn publish(self) -> Result<()> {
        let (folder, catalog) = (self.locked.folder, self.locked.folder.catalog());
        let publish = || {
            Disk::SYSTEM.sync_folder(&self.path)?;
            std::fs::rename(&self.path, &catalog)?;
            Disk::SYSTEM.sync_folder(&folder.path)
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
        // If it cannot be removed now, it is removed before the next draft is made.
        let _ = self.remove();
    }
}
