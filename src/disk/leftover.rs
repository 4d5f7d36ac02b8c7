//! Temporary files of restores that no longer run.
//!
//! A restore locks its temporary file as long as it runs. While the file is lent to a server, it
//! locks another file beside it instead (`lent_path`). So a file whose locks are free was left
//! behind by a run that was killed. `leftovers` finds those for one target, locked against
//! everybody else, to be removed or taken over.

use rustix::fs::FlockOperation;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The suffix of every temporary file's name.
pub(super) const SUFFIX: &str = ".amber-partial";
/// A further suffix: the name of the file that is locked while the temporary file is lent.
const LENT_SUFFIX: &str = ".lent";

/// The file that is locked while a temporary file is lent.
pub(super) fn lent_path(temporary: &Path) -> PathBuf {
    let mut path = temporary.as_os_str().to_owned();
    path.push(LENT_SUFFIX);
    path.into()
}

/// What a killed run left; locked until this is dropped.
#[derive(Debug)]
pub(super) struct Leftover {
    path: PathBuf,
    file: File,
}

impl Leftover {
    /// What it takes on the disk, in bytes.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }

    /// Removes it. If that fails, the next restore to this name tries again.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(lent_path(&self.path));
        let _ = std::fs::remove_file(&self.path);
    }

    /// Takes it over: its path, and the file, which stays locked.
    pub(super) fn adopt(self) -> (PathBuf, File) {
        let _ = std::fs::remove_file(lent_path(&self.path));
        (self.path, self.file)
    }
}

/// The files for `target` that runs left which were killed. Lent marks that belong to no file are
/// removed.
pub(super) fn leftovers(folder: &Path, target: &Path) -> Vec<Leftover> {
    let prefix = [b".", target.file_name().unwrap_or_default().as_bytes(), b"."].concat();
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let candidate = entry.file_name();
        let middle = |suffix: &str| candidate.as_bytes().strip_prefix(&prefix[..])?.strip_suffix(suffix.as_bytes());
        let is_ours = |process: &[u8]| process.iter().all(u8::is_ascii_digit);
        let path = entry.path();
        if middle(SUFFIX).is_some_and(is_ours) {
            found.extend(left_behind(path));
        } else if middle(&format!("{SUFFIX}{LENT_SUFFIX}")).is_some_and(is_ours) && !path.with_extension("").exists() {
            let _ = std::fs::remove_file(&path);
        }
    }
    found
}

/// The file at this path, if nobody holds its lock or the lock of its lent mark.
fn left_behind(path: PathBuf) -> Option<Leftover> {
    // The lent mark is checked first, so that the lock of a lent file is not taken away from a
    // server that is starting.
    if matches!(lock_of(&lent_path(&path)), Lock::Another) {
        return None;
    }
    // The order matters: the owner unlocks one only after locking the other.
    let (locked, lent) = (lock_of(&path), lock_of(&lent_path(&path)));
    let (Lock::Ours(file), Lock::Ours(_) | Lock::None) = (locked, lent) else { return None };
    // Whoever held the lock a moment ago may have renamed the file: then it is finished and not
    // left behind.
    let same = |named: std::fs::Metadata| file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (named.dev(), named.ino()));
    let is_named = std::fs::symlink_metadata(&path).is_ok_and(same);
    (is_named && file.metadata().is_ok_and(|held| is_own(&held))).then_some(Leftover { path, file })
}

/// Whether this user created the file, and it has no other name. In a folder that others may write
/// to, somebody might put a file of theirs there to get the ledger into it, or a link to a file
/// that matters to us.
fn is_own(held: &std::fs::Metadata) -> bool {
    held.is_file() && held.nlink() == 1 && held.uid() == rustix::process::geteuid().as_raw()
}

/// Who holds the lock of a file.
enum Lock {
    /// It was free, and is held until this is dropped.
    Ours(File),
    Another,
    /// There is no such file.
    None,
}

fn lock_of(path: &Path) -> Lock {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(path);
    let Ok(file) = opened else { return if path.exists() { Lock::Another } else { Lock::None } };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Lock::Ours(file),
        Err(_) => Lock::Another,
    }
}
