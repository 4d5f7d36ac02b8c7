//! The files of a folder store: temporary files, durable folders, and errors that say what to do.
//!
//! Every object begins as a file in `.tmp/<session>/` under the root, is synced there and moves to
//! its name without replacing ([`super::mount`]), so a name is either free or holds a complete
//! object. A session is one open store of one process. It holds a lock (`flock`) on its file `lock`
//! for as long as it lives. Whoever begins a session first takes the lock `.tmp/lock` and then
//! removes the sessions whose lock nobody holds, so no process number has to be trusted. Uploads in
//! parts have folders of their own, which outlive their writers ([`super::uploads`]). Folders are
//! walked part by part with `O_NOFOLLOW`: a symlink inside the root leads nowhere.

use super::mount::{Entry, GATE_WAIT_MAX, Mount, NO_WAY};
use super::uploads;
use crate::store::{PutOutcome, RESERVED_PART, StoreError};
use crate::threads::lock;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// How many sessions one process number may have at once; a number is reused in other containers on
/// one shared folder.
const SESSIONS_MAX: u32 = 10_000;

/// The most folders that are remembered as durable. Beyond that all are synced once more, which
/// costs little and bounds the memory.
const DURABLE_MAX: usize = 10_000;

pub(super) const LOCK_LEAF: &str = "lock";
pub(super) const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);
pub(super) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);
pub(super) const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The root of a folder store and what this process knows of it.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Whether the root was there when the store was opened. If it goes away after that, it is not
    /// made anew: it was moved, or its disk is not mounted.
    was_there: AtomicBool,
    session: Mutex<Option<Arc<Session>>>,
    /// Folders (as `a/b`) whose entries in their own folders this process has synced.
    durable: Mutex<HashSet<String>>,
    /// Objects whose folder could not be synced after they got their name. A later sync may succeed
    /// although the name was lost: the system reports a failed write once.
    unsure: Mutex<HashSet<String>>,
    pub(super) mount: Mount,
}

/// The folder of one open store below `.tmp`.
#[derive(Debug)]
struct Session {
    /// The root that it is in: device and inode.
    root: (u64, u64),
    temporaries: OwnedFd,
    folder: OwnedFd,
    leaf: String,
    /// Kept open: closing it releases the lock.
    _lock: OwnedFd,
    next: AtomicU64,
}

/// A temporary file that will become an object. When it is dropped, it is removed from `.tmp` if it
/// is still there.
#[derive(Debug)]
pub(super) struct Temporary {
    session: Arc<Session>,
    leaf: String,
    pub(super) file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone already. A file that cannot be removed now is removed when a
        // later session cleans up.
        let _ = fs::unlinkat(&self.session.folder, &self.leaf, AtFlags::empty());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = fs::unlinkat(&self.folder, LOCK_LEAF, AtFlags::empty());
        let _ = fs::unlinkat(&self.temporaries, &self.leaf, AtFlags::REMOVEDIR);
    }
}

/// Splits a name into its folders and its last part.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// The system's number of an error; writes that stop half-way without one count as an I/O error.
pub(super) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Files {
            root: root.to_owned(),
            was_there: AtomicBool::new(false),
            session: Mutex::default(),
            durable: Mutex::default(),
            unsure: Mutex::default(),
            mount: Mount::default(),
        }
    }

    pub(super) fn describe(&self) -> String {
        self.root.display().to_string()
    }

    /// The root, or `None` where it does not exist yet.
    pub(super) fn open_root(&self) -> Result<Option<OwnedFd>, Errno> {
        // The user named the root, so it may be a symlink itself.
        absent(fs::open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
    }

    /// Finds out whether the root is there, when the store is opened.
    pub(super) fn open_first(&self) -> Result<(), Errno> {
        self.was_there.store(self.open_root()?.is_some(), Ordering::Relaxed);
        Ok(())
    }

    fn make_root(&self) -> Result<OwnedFd, Errno> {
        if let Some(root) = self.open_root()? {
            return Ok(root);
        }
        if self.was_there.load(Ordering::Relaxed) {
            return Err(Errno::NOENT);
        }
        match fs::mkdir(&self.root, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let above = self.root.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.sync(fs::open(above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?;
        self.open_root()?.ok_or(Errno::NOENT)
    }

    /// Opens the folder `folders` (`a/b`, or nothing for the root itself); `None` if it does not
    /// exist.
    pub(super) fn folder(&self, folders: &str) -> Result<Option<OwnedFd>, Errno> {
        let Some(mut folder) = self.open_root()? else { return Ok(None) };
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            match absent(fs::openat(&folder, part, FOLDER_FLAGS, Mode::empty()))? {
                Some(below) => folder = below,
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// Opens the folder `folders`, creates it where it is missing, and makes it durable all the way
    /// up to the root.
    fn make_folder(&self, folders: &str) -> Result<OwnedFd, Errno> {
        let mut folder = self.make_root()?;
        let mut end = 0;
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            end += part.len() + usize::from(end > 0);
            let path = &folders[..end];
            let made = match fs::mkdirat(&folder, part, FOLDER_MODE) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error),
            };
            let below = fs::openat(&folder, part, FOLDER_FLAGS, Mode::empty())?;
            // A folder that another process has just created may not be synced yet, so the first
            // use syncs it too.
            if made || !self.durable().contains(path) {
                if let Err(error) = self.sync(&folder) {
                    if made {
                        // The next try makes it anew. If it stays, it is empty.
                        let _ = fs::unlinkat(&folder, part, AtFlags::REMOVEDIR);
                    }
                    return Err(error);
                }
                let mut durable = self.durable();
                if durable.len() >= DURABLE_MAX {
                    durable.clear();
                }
                durable.insert(path.to_owned());
            }
            folder = below;
        }
        Ok(folder)
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.durable)
    }

    /// A new empty file in this store's session, open for reading and writing.
    pub(super) fn temporary(&self) -> Result<Temporary, Errno> {
        let session = self.session()?;
        let leaf = session.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&session.folder, &leaf, flags, FILE_MODE)?);
        Ok(Temporary { session, leaf, file })
    }

    /// Opens the folder of uploads in parts for writing, and creates it if needed.
    pub(super) fn make_uploads(&self) -> Result<OwnedFd, Errno> {
        uploads::make(&self.session()?.temporaries)
    }

    /// Opens the folder of uploads in parts for reading; `None` if there is none.
    pub(super) fn uploads(&self) -> Result<Option<OwnedFd>, Errno> {
        self.folder(&format!("{RESERVED_PART}/{UPLOADS_LEAF}"))
    }

    fn session(&self) -> Result<Arc<Session>, Errno> {
        let mut session = lock(&self.session);
        let root = self.make_root()?;
        let identity = identity(&root)?;
        if let Some(session) = session.as_ref().filter(|session| session.root == identity) {
            return Ok(Arc::clone(session));
        }
        // The folder was put back, or mounted again: what is known of it is not known any more.
        self.durable().clear();
        Ok(Arc::clone(session.insert(Arc::new(begin_session(&self.mount, &root, identity)?))))
    }

    /// Moves a finished file to its name, create-only. When it returns, the object is durable, also
    /// one that was there already.
    pub(super) fn publish(&self, temporary: &Temporary, name: &str) -> Result<PutOutcome, Errno> {
        self.publish_file(&temporary.file, &temporary.session.folder, &temporary.leaf, name)
    }

    /// Does the same for a file that is given by its folder and last name part.
    pub(super) fn publish_file(&self, file: &File, from: &OwnedFd, from_leaf: &str, name: &str) -> Result<PutOutcome, Errno> {
        let (folders, leaf) = split(name);
        file.sync_all().map_err(|error| errno(&error))?;
        let folder = self.make_folder(folders)?;
        let moved = self.mount.move_to_free(
            &self.open_root()?.ok_or(Errno::NOENT)?,
            Entry { folder: from, leaf: from_leaf },
            Entry { folder: &folder, leaf },
        );
        let outcome = match moved {
            Ok(()) => PutOutcome::Created,
            Err(Errno::EXIST) => {
                occupied(&folder, leaf)?;
                PutOutcome::AlreadyExists
            }
            Err(error) => return Err(error),
        };
        let synced = self.sync(&folder);
        let mut unsure = lock(&self.unsure);
        if synced.is_err() {
            unsure.insert(name.to_owned());
        } else {
            unsure.remove(name);
        }
        synced.map(|()| outcome)
    }

    /// Whether an object has its name, and nobody knows whether it will have it after a crash.
    pub(super) fn is_unsure(&self, name: &str) -> bool {
        lock(&self.unsure).contains(name)
    }

    /// Moves a finished file over an object of the same content, of which nobody knows whether it
    /// is durable.
    pub(super) fn publish_over(&self, temporary: &Temporary, name: &str) -> Result<PutOutcome, Errno> {
        let (folders, leaf) = split(name);
        temporary.file.sync_all().map_err(|error| errno(&error))?;
        let folder = self.make_folder(folders)?;
        fs::renameat(&temporary.session.folder, &temporary.leaf, &folder, leaf)?;
        self.sync(&folder)?;
        lock(&self.unsure).remove(name);
        Ok(PutOutcome::Created)
    }

    /// Makes durable which names a folder has.
    pub(super) fn sync(&self, folder: impl AsFd) -> Result<(), Errno> {
        self.mount.sync_folder(folder)
    }

    /// Whether an object of this name exists already. If it does, makes sure that it is durable.
    pub(super) fn exists_durably(&self, name: &str) -> Result<bool, Errno> {
        let (folders, leaf) = split(name);
        let Some(folder) = self.folder(folders)? else { return Ok(false) };
        let there = occupied(&folder, leaf)?;
        if there {
            self.sync(&self.make_folder(folders)?)?;
        }
        Ok(there)
    }

    /// The error that a system error becomes for the caller.
    pub(super) fn error(&self, action: &'static str, name: &str, error: Errno) -> StoreError {
        let refused =
            |reason: &str| StoreError::Refused { store: self.describe(), action, name: name.to_owned(), reason: reason.to_owned() };
        let unavailable = |reason: String| StoreError::Unavailable { store: self.describe(), action, name: name.to_owned(), reason };
        match error {
            Errno::NOENT => refused("the folder that the repository should be in does not exist: make it, or mount it"),
            Errno::ACCESS | Errno::PERM => refused("permission denied: let this user read and write the folder and everything in it"),
            Errno::ROFS => refused("the file system is mounted read-only: mount it for writing"),
            Errno::NOTDIR | Errno::ISDIR => refused("a file stands where a folder should be, or a folder where a file should be"),
            Errno::LOOP => refused("a symbolic link stands in the way: inside a repository none is followed"),
            Errno::NAMETOOLONG => refused("the name is too long for this file system"),
            Errno::XDEV => refused("another file system is mounted inside the folder: a repository lies in one file system"),
            NO_WAY => refused(
                "this file system can neither rename without replacing, nor make hard links, nor lock files, so two writers could replace each \
                 other's objects: put the repository on another one",
            ),
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => {
                refused(&format!("this file system cannot do that ({}): put the repository on another one", std::io::Error::from(error)))
            }
            Errno::FBIG => refused(
                "a file may not become that large: raise the limit of this process (`ulimit -f`), or put the repository on a file system for \
                 larger files",
            ),
            Errno::NOSPC | Errno::DQUOT => unavailable(format!("the disk is full ({}): make room or raise the quota", self.free_space())),
            Errno::BUSY => unavailable("another process is at work on this upload: wait until it is done".to_owned()),
            Errno::AGAIN => unavailable(format!("another process has held {RESERVED_PART}/{LOCK_LEAF} for {} s", GATE_WAIT_MAX.as_secs())),
            Errno::IO | Errno::BADMSG | Errno::UCLEAN => StoreError::Damaged {
                store: self.describe(),
                action,
                name: name.to_owned(),
                reason: format!(
                    "the disk cannot read or write it ({}): check the disk, copy the intact files elsewhere",
                    std::io::Error::from(error)
                ),
            },
            other => unavailable(std::io::Error::from(other).to_string()),
        }
    }

    fn free_space(&self) -> String {
        match fs::statvfs(&self.root) {
            Ok(space) => format!("{} bytes and {} files free", space.f_bavail.saturating_mul(space.f_frsize), space.f_favail),
            Err(_) => "free space unknown".to_owned(),
        }
    }
}

fn identity(folder: &OwnedFd) -> Result<(u64, u64), Errno> {
    let stat = fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn begin_session(mount: &Mount, root: &OwnedFd, identity: (u64, u64)) -> Result<Session, Errno> {
    exists_or(fs::mkdirat(root, RESERVED_PART, FOLDER_MODE))?;
    let temporaries = fs::openat(root, RESERVED_PART, FOLDER_FLAGS, Mode::empty())?;
    let gate = open_lock(&temporaries)?;
    if mount.lock_gate(&gate)? {
        clean(&temporaries);
        if let Ok(uploads) = fs::openat(&temporaries, UPLOADS_LEAF, FOLDER_FLAGS, Mode::empty()) {
            uploads::clean(&uploads, SystemTime::now());
        }
    }
    for number in 0..SESSIONS_MAX {
        let leaf = format!("{}-{number}", std::process::id());
        match fs::mkdirat(&temporaries, &leaf, FOLDER_MODE) {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(error) => return Err(error),
        }
        let folder = fs::openat(&temporaries, &leaf, FOLDER_FLAGS, Mode::empty())?;
        let lock = open_lock(&folder)?;
        // A file system without locks is never cleaned either.
        let _ = fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        return Ok(Session { root: identity, temporaries, folder, leaf, _lock: lock, next: AtomicU64::new(0) });
    }
    Err(Errno::EXIST)
}

/// `None` for what does not exist.
pub(super) fn absent<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn exists_or(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Whether an object has this name; an error if something else has it.
pub(super) fn occupied(folder: impl AsFd, leaf: &str) -> Result<bool, Errno> {
    let Some(stat) = absent(fs::statat(folder, leaf, AtFlags::SYMLINK_NOFOLLOW))? else { return Ok(false) };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(true),
        FileType::Symlink => Err(Errno::LOOP),
        _ => Err(Errno::ISDIR),
    }
}

pub(super) fn open_lock(folder: impl AsFd) -> Result<OwnedFd, Errno> {
    fs::openat(folder, LOCK_LEAF, OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, FILE_MODE)
}

/// Removes sessions whose lock nobody holds. What cannot be removed stays for the next time: it
/// costs space, never a wrong result.
fn clean(temporaries: &OwnedFd) {
    let Ok(entries) = Dir::read_from(temporaries) else { return };
    for entry in entries.flatten() {
        let Ok(folder) = fs::openat(temporaries, entry.file_name(), FOLDER_FLAGS, Mode::empty()) else { continue };
        if matches!(entry.file_name().to_bytes(), b"." | b"..") || entry.file_name().to_bytes() == UPLOADS_LEAF.as_bytes() {
            continue;
        }
        // Nobody else begins a session now. On FUSE and NFS a session that has ended leaves its
        // folder, since an unlinked file stays there until it is closed.
        if fs::unlinkat(temporaries, entry.file_name(), AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        let lock = open_lock(&folder);
        if !lock.as_ref().is_ok_and(|lock| fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            continue;
        }
        let Ok(leftovers) = Dir::read_from(&folder) else { continue };
        for leftover in leftovers.flatten() {
            let _ = fs::unlinkat(&folder, leftover.file_name(), AtFlags::empty());
        }
        let _ = fs::unlinkat(temporaries, entry.file_name(), AtFlags::REMOVEDIR);
    }
}

/// The folder of uploads below `.tmp`.
pub(crate) const UPLOADS_LEAF: &str = "uploads";
