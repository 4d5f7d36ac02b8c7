//! The unfinished uploads of a folder store, which outlive their writers.
//!
//! Each lies in `.tmp/uploads/<id>/`: `about` (name, time, and the parts' size once it is certain),
//! `object` (the parts, each at its offset), perhaps `waiting-<number>`, and `lock`, which whoever
//! works on the upload holds (`flock`). A writer that is killed leaves all of it as it is, without
//! a lock, and another writer may resume the upload. An upload that nobody has touched for
//! [`LEFT_MAX`] is deleted when a session begins.
//!
//! Nothing here is synced, and nothing is trusted: whoever resumes reads the parts and compares
//! their SHA-256 ([`multipart`](super::multipart)). A part that was lost in a crash of the machine
//! simply counts as not held.

use super::files::{FILE_MODE, FOLDER_FLAGS, FOLDER_MODE, LOCK_LEAF, absent, errno, exists_or, open_lock};
use crate::store::folder::files::UPLOADS_LEAF;
use crate::store::{Unfinished, check_name, hex, random};
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an upload is left that nobody resumes.
const LEFT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// More than any `about` file has.
const ABOUT_BYTES_MAX: u64 = 4096;

const OBJECT_LEAF: &str = "object";
const ABOUT_LEAF: &str = "about";
const WAITING_BEGIN: &str = "waiting-";
const ABOUT_FIRST_LINE: &str = "amber upload 1";

/// One upload that this process works on. Its files stay where they are when it is dropped.
#[derive(Debug)]
pub(super) struct Upload {
    uploads: OwnedFd,
    pub(super) folder: OwnedFd,
    pub(super) id: String,
    /// Kept open: closing it releases the lock.
    _lock: OwnedFd,
    about: File,
    /// The parts, each at its offset.
    pub(super) object: File,
}

/// The content of `about`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) name: String,
    began_ns: u64,
    /// The size of every part but the last, once certain.
    pub(super) part_bytes: Option<u64>,
}

impl About {
    /// Lines without an end are incomplete and do not count. Of several sizes the last one counts.
    fn parse(text: &str) -> Option<About> {
        let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        if lines.next()? != ABOUT_FIRST_LINE {
            return None;
        }
        let mut about = About { name: lines.next()?.to_owned(), began_ns: lines.next()?.parse().ok()?, part_bytes: None };
        check_name(&about.name).ok()?;
        for line in lines {
            about.part_bytes = Some(line.strip_prefix("part bytes ")?.parse().ok()?);
        }
        Some(about)
    }
}

impl Upload {
    /// Begins an upload below `uploads`.
    pub(super) fn begin(uploads: OwnedFd, name: &str) -> Result<Upload, Errno> {
        let id = hex(&random::<16>());
        fs::mkdirat(&uploads, &id, FOLDER_MODE)?;
        let folder = fs::openat(&uploads, &id, FOLDER_FLAGS, Mode::empty())?;
        let lock = open_lock(&folder)?;
        // A file system without locks is never cleaned either.
        let _ = fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        let mut about = create(&folder, ABOUT_LEAF)?;
        let began_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        write!(about, "{ABOUT_FIRST_LINE}\n{name}\n{began_ns}\n").map_err(|error| errno(&error))?;
        let object = create(&folder, OBJECT_LEAF)?;
        Ok(Upload { uploads, folder, id, _lock: lock, about, object })
    }

    /// Takes over an upload; `None` if there is none of this id. [`Errno::WOULDBLOCK`] while
    /// somebody else works on it.
    pub(super) fn resume(uploads: OwnedFd, id: &str) -> Result<Option<(Upload, About)>, Errno> {
        if !is_id(id) {
            return Ok(None);
        }
        let Some(folder) = absent(fs::openat(&uploads, id, FOLDER_FLAGS, Mode::empty()))? else { return Ok(None) };
        // In a folder that was removed meanwhile no lock file can be created.
        let Some(lock) = absent(open_lock(&folder))? else { return Ok(None) };
        // On a file system without locks there is nothing to wait for.
        if let Err(Errno::WOULDBLOCK) = fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            return Err(Errno::WOULDBLOCK);
        }
        let Some(mut about) = absent(open(&folder, ABOUT_LEAF))? else { return Ok(None) };
        let Some(object) = absent(open(&folder, OBJECT_LEAF))? else { return Ok(None) };
        let said = read_about(&mut about)?;
        let upload = Upload { uploads, folder, id: id.to_owned(), _lock: lock, about, object };
        Ok(said.map(|said| (upload, said)))
    }

    /// Notes the size of the parts for whoever resumes.
    pub(super) fn note_part_bytes(&self, part_bytes: u64) -> Result<(), Errno> {
        (&self.about).write_all(format!("part bytes {part_bytes}\n").as_bytes()).map_err(|error| errno(&error))
    }

    /// A new, empty file for a part whose offset is not certain yet.
    pub(super) fn create_waiting(&self, number: u32) -> Result<File, Errno> {
        self.remove_waiting(number);
        create(&self.folder, &format!("{WAITING_BEGIN}{number}"))
    }

    /// Removes the file of a waiting part. One that stays only costs space.
    pub(super) fn remove_waiting(&self, number: u32) {
        let _ = fs::unlinkat(&self.folder, format!("{WAITING_BEGIN}{number}"), AtFlags::empty());
    }

    /// The waiting part that an earlier writer left.
    pub(super) fn waiting(&self) -> Result<Option<(u32, File)>, Errno> {
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let Ok(leaf) = entry.file_name().to_str() else { continue };
            let Some(number) = leaf.strip_prefix(WAITING_BEGIN).and_then(|number| number.parse().ok()) else { continue };
            return Ok(Some((number, open(&self.folder, leaf)?)));
        }
        Ok(None)
    }

    /// The name of the file that becomes the object.
    pub(super) fn object_leaf(&self) -> &'static str {
        OBJECT_LEAF
    }

    /// Removes what is left of the upload. What cannot be removed is removed when it is old.
    pub(super) fn remove(&self) {
        remove_folder(&self.uploads, &self.folder, &self.id);
    }
}

/// Lists the uploads below `uploads`, in no order.
pub(super) fn list(uploads: &OwnedFd) -> Result<Vec<Unfinished>, Errno> {
    let mut found = Vec::new();
    for (id, folder) in folders(uploads)? {
        let Some(mut about) = absent(open(&folder, ABOUT_LEAF))? else { continue };
        let Some(about) = read_about(&mut about)? else { continue };
        let size_bytes = absent(fs::statat(&folder, OBJECT_LEAF, AtFlags::SYMLINK_NOFOLLOW))?.map(|stat| stat.st_blocks as u64 * 512);
        found.push(Unfinished { name: about.name, upload_id: id, began_ns: Some(about.began_ns), size_bytes });
    }
    Ok(found)
}

/// Removes uploads that nobody holds and that nobody has written to for [`LEFT_MAX`]. What cannot
/// be removed stays for the next time.
pub(super) fn clean(uploads: &OwnedFd, now: SystemTime) {
    let Ok(folders) = folders(uploads) else { return };
    for (id, folder) in folders {
        let written = |leaf| fs::statat(&folder, leaf, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_mtime);
        let Ok(written) = written(OBJECT_LEAF).or_else(|_| fs::fstat(&folder).map(|stat| stat.st_mtime)) else { continue };
        let written = UNIX_EPOCH + Duration::from_secs(u64::try_from(written).unwrap_or(0));
        if now.duration_since(written).is_ok_and(|age| age > LEFT_MAX) {
            // Where unlinked files stay until they are closed (FUSE, NFS), whoever removed the
            // files could not remove the folder.
            if fs::unlinkat(uploads, &id, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            let lock = open_lock(&folder);
            if lock.as_ref().is_ok_and(|lock| fs::flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
                remove_folder(uploads, &folder, &id);
            }
        }
    }
}

/// Opens the folder of all uploads below `.tmp`, and creates it if it is not there.
pub(super) fn make(temporaries: &OwnedFd) -> Result<OwnedFd, Errno> {
    exists_or(fs::mkdirat(temporaries, UPLOADS_LEAF, FOLDER_MODE))?;
    fs::openat(temporaries, UPLOADS_LEAF, FOLDER_FLAGS, Mode::empty())
}

fn folders(uploads: &OwnedFd) -> Result<Vec<(String, OwnedFd)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(uploads)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().ok().filter(|id| is_id(id)) else { continue };
        // The upload may have been removed since its name was read.
        if let Ok(folder) = fs::openat(uploads, id, FOLDER_FLAGS, Mode::empty()) {
            found.push((id.to_owned(), folder));
        }
    }
    Ok(found)
}

fn remove_folder(uploads: &OwnedFd, folder: &OwnedFd, id: &str) {
    // `about` is removed last, except for the lock: until then a later cleaning finds the rest
    // again.
    let entries = Dir::read_from(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let parts =
        entries.iter().map(|entry| entry.file_name()).filter(|leaf| ![ABOUT_LEAF, LOCK_LEAF].map(str::as_bytes).contains(&leaf.to_bytes()));
    for leaf in parts {
        let _ = fs::unlinkat(folder, leaf, AtFlags::empty());
    }
    for leaf in [ABOUT_LEAF, LOCK_LEAF] {
        let _ = fs::unlinkat(folder, leaf, AtFlags::empty());
    }
    let _ = fs::unlinkat(uploads, id, AtFlags::REMOVEDIR);
}

fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn create(folder: &OwnedFd, leaf: &str) -> Result<File, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(folder, leaf, flags, FILE_MODE)?))
}

fn open(folder: &OwnedFd, leaf: &str) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(folder, leaf, flags, Mode::empty())?))
}

/// Reads `about` and leaves the file positioned at its end, ready for more lines. `None` if it is
/// incomplete.
fn read_about(file: &mut File) -> Result<Option<About>, Errno> {
    let mut said = String::new();
    match Read::take(&mut *file, ABOUT_BYTES_MAX).read_to_string(&mut said) {
        Ok(_) => Ok(About::parse(&said)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(errno(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_is_read_strictly() {
        let whole = "amber upload 1\na/b\n17\n";
        let about = |part_bytes| Some(About { name: "a/b".to_owned(), began_ns: 17, part_bytes });
        assert_eq!(About::parse(whole), about(None));
        assert_eq!(About::parse(&format!("{whole}part bytes 8\n")), about(Some(8)));
        assert_eq!(About::parse(&format!("{whole}part bytes 8\npart bytes 9\n")), about(Some(9)));
        assert_eq!(About::parse(&format!("{whole}part bytes 8\npart bytes 1")), about(Some(8)), "half a line");
        for bad in ["", "amber upload 1\n", "amber upload 1\na/b\n17", "amber upload 2\na/b\n17\n", "amber upload 1\n../b\n17\n"] {
            assert_eq!(About::parse(bad), None, "{bad:?}");
        }
        assert_eq!(About::parse(&format!("{whole}else\n")), None);
    }

    #[test]
    fn ids_are_ours() {
        assert!(is_id(&hex(&[7; 16])));
        for other in ["", "lock", "..", &"A".repeat(32), &"a".repeat(31), &format!("../{}", "a".repeat(29))] {
            assert!(!is_id(other), "{other}");
        }
    }
}
