//! The spool: segments that wait on this machine's disk until the store accepts them. They have the
//! bytes and the names that they will have in the store.
//!
//! Flow: [`Spool::open`] lists what an earlier agent left, in order of timeline and op, and sets
//! aside what is damaged. [`Spool::put`] adds a segment (durable when it returns), [`Spool::read`]
//! returns one for the upload, and [`Spool::remove`] removes one that the store has.
//!
//! The spool is a folder store with a copy of the repository's header, so that the segments of one
//! repository never go to another. Damaged segments are moved to `damaged/` below it. Each is
//! reported once, is kept for inspection, and counts against the spool's size, as everything in the
//! folder does. Only one process at a time may use a spool; its owner holds a lock.

use crate::error::{Error, Kind, Result};
use crate::pipeline::digest::{digest, digest_of};
use crate::repository::Repository;
use crate::repository::name::{self, SegmentName};
use crate::repository::sealed::SealedObject;
use crate::store::folder::FolderStore;
use crate::store::{Digest, PutOutcome, Store};
use crate::tier::tigerbeetle::format::segment::{PrepareRow, SegmentReader};
use crate::units::bytes_text;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where damaged segments go, below the spool.
const DAMAGED: &str = "damaged/";
/// Disk space is counted in blocks of this size.
const BLOCK_BYTES: u64 = 4096;

/// A segment in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spooled {
    /// Its name.
    pub name: SegmentName,
    /// Its stored size.
    pub stored_bytes: u64,
    /// The last prepare in it: the log continues after it.
    pub last: PrepareRow,
}

/// A segment of the spool that cannot be read. It is a hole in the log, unless its ops are read
/// again or the store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its name.
    pub name: SegmentName,
    /// What is wrong with it, and where it is now.
    pub reason: String,
}

/// A bounded spool in a folder.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    store: Arc<dyn Store>,
    /// The repository, with the spool's objects instead of its own.
    repository: Arc<Repository>,
    bytes_max: u64,
    used_bytes: AtomicU64,
    /// Segments found at the start.
    found: Vec<Spooled>,
    /// Segments found damaged at the start.
    damaged: Vec<Damaged>,
    /// Files that are not Amber's.
    foreign: Vec<String>,
}

impl Spool {
    /// Opens the spool in `folder`, which is created if only its last part is missing. With a
    /// `bytes_max` of 0 it accepts nothing and creates no folder; what is already there still
    /// counts.
    ///
    /// This reads every index, and every prepare of the last segment, because the log continues
    /// after it. [`Spool::read`] checks the other segments.
    ///
    /// # Errors
    /// [`Error::input`] for a folder that cannot be written or that belongs to another repository,
    /// [`Error::try_again`] for a full disk.
    pub fn open(repository: &Arc<Repository>, folder: &Path, bytes_max: u64) -> Result<Spool> {
        let store = FolderStore::open(folder).map_err(in_spool)?;
        Spool::over(repository, Arc::new(store), folder, bytes_max)
    }

    /// Opens a spool over a store, whose objects are the files of `folder`.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn over(repository: &Arc<Repository>, store: Arc<dyn Store>, folder: &Path, bytes_max: u64) -> Result<Spool> {
        if bytes_max > 0 || store.size_bytes(name::HEADER).map_err(in_spool)?.is_some() {
            claim(repository, &*store).map_err(in_spool)?;
        }
        let repository = repository.over(Arc::clone(&store))?;
        let (found, damaged, foreign) = (Vec::new(), Vec::new(), Vec::new());
        let used_bytes = AtomicU64::new(0);
        let mut spool = Spool { folder: folder.to_owned(), store, repository, bytes_max, used_bytes, found, damaged, foreign };
        spool.find()?;
        Ok(spool)
    }

    fn find(&mut self) -> Result<()> {
        let mut names = Vec::new();
        for object in self.repository.list_all("").map_err(in_spool)? {
            *self.used_bytes.get_mut() += disk_bytes(object.size_bytes);
            match SegmentName::parse(&object.name) {
                Some(segment) => names.push((segment, object.size_bytes)),
                None if object.name == name::HEADER || object.name.starts_with(DAMAGED) => {}
                None => self.foreign.push(object.name),
            }
        }
        names.sort_unstable();
        let mut whole_last = false;
        for (segment, stored_bytes) in names.into_iter().rev() {
            match self.inspect(&segment, stored_bytes, !whole_last) {
                Ok(last) => {
                    whole_last = true;
                    self.found.push(Spooled { name: segment, stored_bytes, last });
                }
                Err(error) if error.kind == Kind::Damaged => {
                    let damaged = self.set_aside(&segment, &error);
                    self.damaged.push(damaged);
                }
                Err(error) => return Err(in_spool(error)),
            }
        }
        self.found.reverse();
        self.damaged.reverse();
        Ok(())
    }

    /// Opens a segment and returns its last prepare; with `whole`, checks every prepare in it
    /// first.
    fn inspect(&self, segment: &SegmentName, stored_bytes: u64, whole: bool) -> Result<PrepareRow> {
        let reader = SegmentReader::open_listed(&self.repository, segment, Some(stored_bytes))?;
        if whole {
            reader.prepares(segment.first_op, segment.last_op, &mut |_| Ok(()))?;
        }
        reader.rows.last().copied().ok_or_else(|| Error::damaged(format!("{}: it holds no prepare", segment.object())))
    }
    /// The repository with the spool's objects instead of its own.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The segments that were there when the spool was opened, in order of timeline and op. The log
    /// continues after the last one.
    pub fn found(&self) -> &[Spooled] {
        &self.found
    }

    /// The segments that were damaged when the spool was opened, in the same order. They have been
    /// set aside.
    pub fn damaged(&self) -> &[Damaged] {
        &self.damaged
    }

    /// Names of files in the folder that are not Amber's. They are left alone.
    pub fn foreign(&self) -> &[String] {
        &self.foreign
    }

    /// The size of the largest segment that it takes now, in bytes.
    pub fn free_bytes(&self) -> u64 {
        let free_bytes = self.bytes_max.saturating_sub(self.used_bytes.load(Ordering::SeqCst));
        free_bytes - free_bytes % BLOCK_BYTES
    }

    /// Adds a segment; durable when this returns. For one thread at a time.
    ///
    /// # Errors
    /// [`Error::try_again`] when the spool or the disk is full, other errors when the folder cannot
    /// be written. Nothing of the segment remains then.
    pub fn put(&self, object: &SealedObject) -> Result<()> {
        if object.stored_bytes > self.free_bytes() {
            let bytes_max = bytes_text(self.bytes_max);
            return Err(Error::try_again(format!("the spool {} is full: it may hold {bytes_max}", self.folder.display())));
        }
        match object.put(&*self.store) {
            Ok(PutOutcome::Created | PutOutcome::AlreadyExists) => {
                self.used_bytes.fetch_add(disk_bytes(object.stored_bytes), Ordering::SeqCst);
                Ok(())
            }
            Err(error) => {
                // The file may have its final name without being synced. The segment is still in
                // memory.
                let _ = self.store.delete(&object.name);
                Err(in_spool(error))
            }
        }
    }

    /// Returns a segment as it will be stored. If its digest is known, its bytes are compared with
    /// it; otherwise, as after a restart, every prepare is checked.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is not what was put, other errors when the folder cannot be read.
    pub fn read(&self, segment: &SegmentName, stored_bytes: u64, expected: Option<&Digest>) -> Result<SealedObject> {
        let name = segment.object();
        let body = self.store.get_range(&name, 0, stored_bytes).map_err(in_spool)?;
        let found = digest_of(&body);
        match expected {
            Some(expected) if *expected != found => return Err(Error::damaged(format!("{name}: its bytes changed in the spool"))),
            Some(_) => {}
            None => drop(self.inspect(segment, stored_bytes, true).map_err(in_spool)?),
        }
        Ok(SealedObject { name, body: vec![body], stored_bytes, digest: found })
    }

    /// Removes a segment that the store has, or that nothing waits for.
    ///
    /// # Errors
    /// When the folder cannot be written. The segment stays, and the next agent finds it.
    pub fn remove(&self, name: &str, stored_bytes: u64) -> Result<()> {
        self.store.delete(name).map_err(in_spool)?;
        self.used_bytes.fetch_sub(disk_bytes(stored_bytes), Ordering::SeqCst);
        Ok(())
    }

    /// Moves a damaged segment to `damaged/`. Where that fails, it stays in place, and the next
    /// agent finds it again.
    pub fn set_aside(&self, segment: &SegmentName, why: &Error) -> Damaged {
        let name = segment.object();
        let aside = self.folder.join(DAMAGED).join(&name);
        let moved = aside.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::rename(self.folder.join(&name), &aside));
        let place = match moved {
            Ok(()) => format!("it was moved to {}", aside.display()),
            Err(error) => format!("it could not be moved to {}: {error}", aside.display()),
        };
        Damaged { name: *segment, reason: format!("{why}; {place}") }
    }
}

/// The disk space that a file of this size takes.
fn disk_bytes(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

fn in_spool(error: impl Into<Error>) -> Error {
    error.into().context("spool")
}

/// Claims the spool for this repository, if no repository has claimed it yet.
fn claim(repository: &Repository, store: &dyn Store) -> Result<()> {
    let header = Bytes::from(repository.header().encode(&repository.key)?);
    let body = [header];
    store.put(name::HEADER, &body, &digest(&body))?;
    let found = store.size_bytes(name::HEADER)?.unwrap_or_default();
    if found != body[0].len() as u64 || store.get_range(name::HEADER, 0, found)? != body[0] {
        let (place, header) = (store.describe(), name::HEADER);
        return Err(Error::input(format!(
            "{place} holds the segments of another repository, or its {header} is damaged: give each repository a folder of its own"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
