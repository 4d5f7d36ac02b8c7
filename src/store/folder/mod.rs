//! Objects as files in a folder: on a disk, or on anything that is mounted.
//!
//! An object `a/b/c` is the file `a/b/c` below the root. A put writes a temporary file, syncs it,
//! moves it to its name without replacing and syncs the folders, so a crash at any instant leaves
//! either no object or a complete one (see `files`). Nothing is written, and the root is not
//! created, before the first put, so a restore works from a folder that is mounted read-only.
//!
//! A listing walks the folders in the byte order of full names, in which `a-b` and `a.b` come
//! before `a/b`: folders sort as if their names ended with `/`. It reads one folder at a time and
//! leaves out whole folders that lie before the start.

mod files;
mod mount;
mod multipart;
mod uploads;

use super::{
    Capabilities, Digest, KnownPart, Listed, Multipart, PutOutcome, Resumed, Store, StoreError, Unfinished, check_digest, check_name,
    check_part, check_prefix, check_reserved,
};
use bytes::Bytes;
use files::{Files, absent, errno, split};
use multipart::FolderMultipart;
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Objects as files; see the head of this module.
#[derive(Debug)]
pub struct FolderStore {
    files: Arc<Files>,
}

impl FolderStore {
    /// A store in the folder `root`. The first put creates the folder if only the last part of its
    /// path is missing, and then also removes what writers that died have left. Refused if `root`
    /// is there but is not a folder, or may not be read.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = FolderStore { files: Arc::new(Files::new(root)) };
        store.files.open_first().map_err(|error| store.files.error("open", "", error))?;
        Ok(store)
    }

    fn refused(&self, action: &'static str, name: &str, reason: String) -> StoreError {
        StoreError::Refused { store: self.describe(), action, name: name.to_owned(), reason }
    }

    fn checked(&self, action: &'static str, name: &str) -> Result<(), StoreError> {
        check_name(name).map_err(|reason| self.refused(action, name, reason))
    }

    fn write(&self, name: &str, body: &[Bytes]) -> Result<PutOutcome, Errno> {
        // What a failed sync may have lost is written anew, not just synced again.
        let is_unsure = self.files.is_unsure(name) && self.has_content(name, body)?;
        if !is_unsure && self.files.exists_durably(name)? {
            return Ok(PutOutcome::AlreadyExists);
        }
        let mut temporary = self.files.temporary()?;
        for piece in body {
            temporary.file.write_all(piece).map_err(|error| errno(&error))?;
        }
        if is_unsure { self.files.publish_over(&temporary, name) } else { self.files.publish(&temporary, name) }
    }

    /// Whether an object has exactly this content.
    ///
    /// # Errors
    /// EIO where it has another: it is somebody else's, and nobody knows whether it is durable.
    fn has_content(&self, name: &str, body: &[Bytes]) -> Result<bool, Errno> {
        let Some((file, size_bytes)) = self.open_object(name)? else { return Ok(false) };
        let (mut offset, mut is_same) = (0, size_bytes == super::body_bytes(body));
        for piece in body {
            if !is_same {
                break;
            }
            let mut content = vec![0; piece.len()];
            file.read_exact_at(&mut content, offset).map_err(|error| errno(&error))?;
            (offset, is_same) = (offset + piece.len() as u64, content == piece[..]);
        }
        if is_same { Ok(true) } else { Err(Errno::IO) }
    }

    /// Opens an object and finds its size; `None` if there is none of that name.
    fn open_object(&self, name: &str) -> Result<Option<(File, u64)>, Errno> {
        let (folders, leaf) = split(name);
        let Some(folder) = absent_here(self.files.folder(folders))?.flatten() else { return Ok(None) };
        // A FIFO must not block the open; for regular files the flag has no effect.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Some(file) = absent_here(fs::openat(&folder, leaf, flags, Mode::empty()))? else { return Ok(None) };
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        Ok(Some((File::from(file), stat.st_size as u64)))
    }

    /// Opens an object that holds this range.
    fn open_range(&self, name: &str, offset: u64, length: u64) -> Result<File, StoreError> {
        self.checked("get", name)?;
        let opened = self.open_object(name).map_err(|error| self.files.error("get", name, error))?;
        let (file, size_bytes) = opened.ok_or_else(|| StoreError::NotFound { store: self.describe(), name: name.to_owned() })?;
        let end = offset.saturating_add(length);
        if end > size_bytes {
            return Err(StoreError::Short { store: self.describe(), name: name.to_owned(), size_bytes, offset, end });
        }
        Ok(file)
    }

    fn fill(&self, file: &File, name: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        match file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let size_bytes = file.metadata().map_or(0, |metadata| metadata.len());
                let end = offset.saturating_add(buffer.len() as u64);
                Err(StoreError::Short { store: self.describe(), name: name.to_owned(), size_bytes, offset, end })
            }
            Err(error) => Err(self.files.error("get", name, errno(&error))),
        }
    }

    fn walk(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, Errno> {
        let (folders, unfinished) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let Some(folder) = absent_here(self.files.folder(folders))?.flatten() else { return Ok(Vec::new()) };
        let path = prefix[..prefix.len() - unfinished.len()].to_owned();
        let mut levels = vec![Level::read(folder, path, unfinished, after)?];
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(level) = levels.last_mut() else { break };
            let Some(key) = level.keys.pop() else {
                levels.pop();
                continue;
            };
            let full = format!("{}{key}", level.path);
            if let Some(leaf) = key.strip_suffix('/') {
                // The folder may have been removed since its name was read.
                if let Some(folder) = absent_here(fs::openat(&level.folder, leaf, FOLDER_FLAGS, Mode::empty()))? {
                    let below = Level::read(folder, full, "", after)?;
                    levels.push(below);
                }
            } else if let Some(stat) = absent(fs::statat(&level.folder, &key, AtFlags::SYMLINK_NOFOLLOW))? {
                found.push(Listed { name: full, size_bytes: stat.st_size as u64 });
            }
        }
        Ok(found)
    }
}

const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// For a read, anything else that has the name (a file, a symlink) means that there is no such
/// object.
fn absent_here<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
        other => absent(other),
    }
}

/// One folder in the walk of a listing.
struct Level {
    folder: OwnedFd,
    /// The folder's name with a `/` at the end, or nothing for the root.
    path: String,
    /// Files, and folders with a `/` at the end, the next one last.
    keys: Vec<String>,
}

impl Level {
    fn read(folder: OwnedFd, path: String, begins_with: &str, after: &str) -> Result<Level, Errno> {
        let mut keys = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let Ok(leaf) = entry.file_name().to_str() else { continue };
            let strange = check_part(leaf).is_err() || (path.is_empty() && check_reserved(leaf).is_err());
            if strange || !leaf.starts_with(begins_with) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match absent(fs::statat(&folder, leaf, AtFlags::SYMLINK_NOFOLLOW))? {
                    Some(stat) => FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                },
                known => known,
            };
            let key = match kind {
                FileType::RegularFile => leaf.to_owned(),
                FileType::Directory => format!("{leaf}/"),
                _ => continue,
            };
            let full = format!("{path}{key}");
            let may_hold_later = kind == FileType::Directory && after.starts_with(&full);
            if full.as_str() > after || may_hold_later {
                keys.push(key);
            }
        }
        keys.sort_unstable_by(|left, right| right.cmp(left));
        Ok(Level { folder, path, keys })
    }
}

impl Store for FolderStore {
    fn describe(&self) -> String {
        self.files.describe()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { conditional_put: true, digest_checked: true }
    }

    /// A look costs microseconds.
    fn confirm_after(&self) -> Duration {
        Duration::ZERO
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        self.checked("put", name)?;
        check_digest(body, digest).map_err(|reason| StoreError::Corrupted {
            store: self.describe(),
            action: "put",
            name: name.to_owned(),
            reason,
        })?;
        self.write(name, body).map_err(|error| self.files.error("put", name, error))
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        self.checked("begin multipart", name)?;
        Ok(Box::new(FolderMultipart::begin(Arc::clone(&self.files), name)?))
    }

    fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, StoreError> {
        check_prefix(prefix).map_err(|reason| self.refused("list uploads", prefix, reason))?;
        let listed = || match self.files.uploads()? {
            Some(uploads) => uploads::list(&uploads),
            None => Ok(Vec::new()),
        };
        let mut found = listed().map_err(|error| self.files.error("list uploads", prefix, error))?;
        found.retain(|upload| upload.name.starts_with(prefix));
        found.sort_unstable();
        Ok(found)
    }

    fn resume_multipart(&self, name: &str, upload_id: &str, known: &[KnownPart]) -> Result<Option<Resumed>, StoreError> {
        self.checked("resume multipart", name)?;
        FolderMultipart::resume(Arc::clone(&self.files), name, upload_id, known)
    }

    /// Refused while another process works on the upload.
    fn abort_upload(&self, name: &str, upload_id: &str) -> Result<(), StoreError> {
        self.checked("abort multipart", name)?;
        FolderMultipart::resume(Arc::clone(&self.files), name, upload_id, &[]).map(drop)
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        let file = self.open_range(name, offset, length)?;
        let mut content = vec![0; length as usize];
        self.fill(&file, name, offset, &mut content)?;
        Ok(Bytes::from(content))
    }

    fn get_range_into(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let file = self.open_range(name, offset, buffer.len() as u64)?;
        self.fill(&file, name, offset, buffer)
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.checked("size", name)?;
        let stat = || {
            let (folders, leaf) = split(name);
            let Some(folder) = absent_here(self.files.folder(folders))?.flatten() else { return Ok(None) };
            absent(fs::statat(&folder, leaf, AtFlags::SYMLINK_NOFOLLOW))
        };
        let stat = stat().map_err(|error| self.files.error("size", name, error))?;
        let file = stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        Ok(file.map(|stat| stat.st_size as u64))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        check_prefix(prefix).map_err(|reason| self.refused("list", prefix, reason))?;
        self.walk(prefix, after.unwrap_or(""), limit).map_err(|error| self.files.error("list", prefix, error))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.checked("delete", name)?;
        let remove = || {
            let (folders, leaf) = split(name);
            let Some(folder) = absent_here(self.files.folder(folders))?.flatten() else { return Ok(()) };
            if absent(fs::unlinkat(&folder, leaf, AtFlags::empty()))?.is_some() {
                self.files.sync(&folder)?;
            }
            Ok(())
        };
        match remove() {
            // A folder is not an object. (Linux says EISDIR, POSIX EPERM.)
            Ok(()) | Err(Errno::ISDIR) => Ok(()),
            Err(error) => Err(self.files.error("delete", name, error)),
        }
    }
}

#[cfg(test)]
mod tests;
