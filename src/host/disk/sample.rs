//! A disk in memory that a test crashes: what was not synced is gone, names as well as bytes.

use super::{Disk, DiskAccess, LockedFile, NewFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a file holds, and what of it survives a crash.
#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    is_locked: bool,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct State {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Inode>,
    /// The names that survive a crash.
    synced: BTreeMap<PathBuf, Inode>,
    /// Whether nothing can be written, because the disk is full.
    is_full: bool,
    syncs: u64,
}

/// A disk in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    inode: Inode,
    /// Whether dropping this ends a lock.
    holds_lock: bool,
}

fn missing(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl MemoryDisk {
    /// An empty disk with one folder.
    pub(crate) fn with_folder(folder: &Path) -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.lock().folders.insert(folder.to_owned());
        disk
    }

    /// The disk to hand in.
    pub(crate) fn handle(&self) -> Disk {
        Disk::of(Box::leak(Box::new(self.clone())))
    }

    /// Forgets what was not synced.
    pub(crate) fn crash(&self) {
        let mut state = self.lock();
        state.files = state.synced.clone();
        for inode in state.files.values() {
            let mut content = inode.lock().unwrap();
            content.bytes = content.synced.clone();
            content.is_locked = false;
        }
    }

    /// Decides whether the disk is full.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// How often something was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The file of this name, made if it is missing.
    fn inode(&self, path: &Path) -> Result<Inode> {
        let mut state = self.lock();
        if state.is_full {
            return Err(ErrorKind::StorageFull.into());
        }
        if !path.parent().is_some_and(|folder| state.folders.contains(folder)) {
            return Err(missing(path));
        }
        Ok(Inode::clone(state.files.entry(path.to_owned()).or_default()))
    }
}

impl DiskAccess for MemoryDisk {
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let inode = self.lock().files.get(path).cloned().ok_or_else(|| missing(path))?;
        let content = inode.lock().unwrap();
        Ok(content.bytes[..content.bytes.len().min(bytes_max as usize)].to_vec())
    }

    fn create(&self, path: &Path, _mode: u32) -> Result<Box<dyn NewFile>> {
        let inode = self.inode(path)?;
        inode.lock().unwrap().bytes.clear();
        Ok(Box::new(MemoryFile { disk: self.clone(), inode, holds_lock: false }))
    }

    fn lock(&self, path: &Path, _mode: u32) -> Result<Option<Box<dyn LockedFile>>> {
        let inode = self.inode(path)?;
        if std::mem::replace(&mut inode.lock().unwrap().is_locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryFile { disk: self.clone(), inode, holds_lock: true })))
    }

    fn is_locked(&self, path: &Path) -> Result<bool> {
        let inode = self.lock().files.get(path).cloned().ok_or_else(|| missing(path))?;
        let is_locked = inode.lock().unwrap().is_locked;
        Ok(is_locked)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.lock();
        let inode = state.files.remove(from).ok_or_else(|| missing(from))?;
        state.files.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.lock().files.remove(path).map(drop).ok_or_else(|| missing(path))
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        if self.lock().folders.remove(path) { Ok(()) } else { Err(missing(path)) }
    }

    fn make_folder(&self, path: &Path, _mode: u32) -> Result<()> {
        let mut state = self.lock();
        if !path.parent().is_some_and(|above| state.folders.contains(above)) {
            return Err(missing(path));
        }
        if state.folders.insert(path.to_owned()) { Ok(()) } else { Err(ErrorKind::AlreadyExists.into()) }
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.lock().folders.contains(path)
    }

    fn may_write(&self, folder: &Path) -> Result<()> {
        if self.is_folder(folder) { Ok(()) } else { Err(missing(folder)) }
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        let mut state = self.lock();
        let is_here = |path: &PathBuf| path.parent() == Some(folder);
        let here: Vec<_> =
            state.files.iter().filter(|(path, _)| is_here(path)).map(|(path, inode)| (path.clone(), inode.clone())).collect();
        state.synced.retain(|path, _| !is_here(path));
        state.synced.extend(here);
        state.syncs += 1;
        Ok(())
    }

    fn each_name(&self, folder: &Path, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let state = self.lock();
        if !state.folders.contains(folder) {
            return Err(missing(folder));
        }
        let all = state.files.keys().chain(&state.folders).filter(|path| path.parent() == Some(folder));
        let names: Vec<String> = all.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        drop(state);
        names.iter().try_for_each(|name| take(name))
    }
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.disk.lock().is_full {
            return Err(ErrorKind::StorageFull.into());
        }
        self.inode.lock().unwrap().bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl NewFile for MemoryFile {
    fn set_mode(&mut self, _mode: u32) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.disk.lock().syncs += 1;
        let mut content = self.inode.lock().unwrap();
        content.synced = content.bytes.clone();
        Ok(())
    }
}

impl LockedFile for MemoryFile {
    fn read_start(&mut self, bytes_max: u64) -> Result<Vec<u8>> {
        let content = self.inode.lock().unwrap();
        Ok(content.bytes[..content.bytes.len().min(bytes_max as usize)].to_vec())
    }

    fn cut(&mut self, length_bytes: u64) -> Result<()> {
        self.inode.lock().unwrap().bytes.resize(length_bytes as usize, 0);
        Ok(())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.holds_lock {
            self.inode.lock().unwrap().is_locked = false;
        }
    }
}
