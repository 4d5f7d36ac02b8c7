//! What the file system of a folder store cannot do, found out once, and what is done instead.
//!
//! An object must get its name create-only. There are three ways, and the first that the file
//! system allows is used from then on:
//!
//! 1. rename without replacing (`renameat2`): most;
//! 2. a hard link, which replaces nothing either: NFS, many FUSE ones;
//! 3. under the lock `.tmp/lock`, look whether the name is free, then rename: file systems without
//!    hard links, for example exFAT in FUSE. All writers wait for one another, and a crash leaves
//!    the old name or the new one, as with the others.
//!
//! Without locks the third way could let two writers replace each other's objects. So it is
//! refused.

use super::files::{occupied, open_lock};
use crate::host::sync_open_folder;
use crate::store::RESERVED_PART;
use crate::threads::lock;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, AtFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How long to wait for another process that holds the gate. What is done behind it takes far less,
/// so a longer wait means that the other process hangs.
pub(super) const GATE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often taking the gate is retried.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// No file system answers this to what is done here. It stands for one that allows none of the
/// three ways.
pub(super) const NO_WAY: Errno = Errno::NOTUNIQ;

/// The ways in which a file gets its name, as in the head of this module.
const WAY_RENAME: u8 = 0;
const WAY_LINK: u8 = 1;
const WAY_GATE: u8 = 2;

/// A name in an open folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) folder: &'a OwnedFd,
    pub(super) leaf: &'a str,
}

/// What the mount of a store allows.
#[derive(Debug, Default)]
pub(super) struct Mount {
    /// The first way that may work.
    way: AtomicU8,
    /// Held by whoever waits for the gate, so that threads of one process do not poll for it.
    turn: Mutex<()>,
    /// What the file system of a test refuses, and with which errors.
    #[cfg(test)]
    pub(super) refusals: Refusals,
}

/// The errors of a file system that lacks something.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) rename: Mutex<Option<Errno>>,
    pub(super) link: Mutex<Option<Errno>>,
    pub(super) lock: Mutex<Option<Errno>>,
    pub(super) sync_folder: Mutex<Option<Errno>>,
    /// How often the first two were asked.
    pub(super) asked: AtomicU8,
    /// How many syncs of folders fail next.
    pub(super) failing_syncs: std::sync::atomic::AtomicU32,
}

impl Mount {
    /// Moves a file to a name that is free: [`Errno::EXIST`] if it is not, [`NO_WAY`] if this file
    /// system cannot. `root` is the folder of the store.
    pub(super) fn move_to_free(&self, root: &OwnedFd, from: Entry<'_>, to: Entry<'_>) -> Result<(), Errno> {
        if self.way.load(Ordering::Relaxed) == WAY_RENAME {
            match self.rename(from, to) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.way.store(WAY_LINK, Ordering::Relaxed),
                moved => return moved,
            }
        }
        if self.way.load(Ordering::Relaxed) == WAY_LINK {
            match self.link(from, to) {
                Err(Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => {
                    self.way.store(WAY_GATE, Ordering::Relaxed);
                }
                moved => return moved,
            }
        }
        let _turn = lock(&self.turn);
        let temporaries = fs::openat(root, RESERVED_PART, super::files::FOLDER_FLAGS, fs::Mode::empty())?;
        // Closing it opens the gate again.
        let gate = open_lock(&temporaries)?;
        if !self.lock_gate(&gate)? {
            return Err(NO_WAY);
        }
        if occupied(to.folder, to.leaf)? {
            return Err(Errno::EXIST);
        }
        fs::renameat(from.folder, from.leaf, to.folder, to.leaf)
    }

    fn rename(&self, from: Entry<'_>, to: Entry<'_>) -> Result<(), Errno> {
        #[cfg(test)]
        self.refusals.refused(&self.refusals.rename)?;
        fs::renameat_with(from.folder, from.leaf, to.folder, to.leaf, RenameFlags::NOREPLACE)
    }

    fn link(&self, from: Entry<'_>, to: Entry<'_>) -> Result<(), Errno> {
        #[cfg(test)]
        self.refusals.refused(&self.refusals.link)?;
        fs::linkat(from.folder, from.leaf, to.folder, to.leaf, AtFlags::empty())
    }

    /// Waits for the gate; false where this file system has no locks.
    pub(super) fn lock_gate(&self, gate: &OwnedFd) -> Result<bool, Errno> {
        let began = Instant::now();
        loop {
            match self.try_lock(gate) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) if began.elapsed() < GATE_WAIT_MAX => std::thread::sleep(LOOK_AGAIN),
                Err(Errno::WOULDBLOCK) => return Err(Errno::AGAIN),
                Err(Errno::INTR) => {}
                Err(_) => return Ok(false),
            }
        }
    }

    fn try_lock(&self, gate: &OwnedFd) -> Result<(), Errno> {
        #[cfg(test)]
        if let Some(error) = *lock(&self.refusals.lock) {
            return Err(error);
        }
        fs::flock(gate, FlockOperation::NonBlockingLockExclusive)
    }

    /// Makes durable which names a folder has.
    pub(super) fn sync_folder(&self, folder: impl AsFd) -> Result<(), Errno> {
        #[cfg(test)]
        {
            if self.refusals.failing_syncs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                return Err(Errno::IO);
            }
            if let Some(error) = *lock(&self.refusals.sync_folder) {
                return crate::host::disk::without_folder_sync(folder, error);
            }
        }
        sync_open_folder(folder)
    }
}

#[cfg(test)]
impl Refusals {
    fn refused(&self, refusal: &Mutex<Option<Errno>>) -> Result<(), Errno> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        lock(refusal).map_or(Ok(()), Err)
    }
}
