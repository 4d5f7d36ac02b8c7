//! The outbox: records of runs that wait on this machine's disk until repository and ledger have
//! them, in the order in which they were put.
//!
//! ```text
//! append -> repository/ -> the repository has it -> ledger/ -> the ledger has it -> gone
//!               |                                      |
//!               v unreadable                           v refused for good
//!            damaged/                               refused/   (tried again at the next start)
//! ```
//!
//! One file is one entry: JSON with the run's number and its record, under a name that sorts by
//! sequence and ends with a digest of the content. The entry is written under a temporary name,
//! synced and renamed, and then the folder is synced, so an entry is either complete or absent. A
//! kill between two of these steps leaves a temporary name, which the next start removes. An entry
//! that cannot be read is set aside and never deleted. Delivering an entry twice changes nothing,
//! so an entry is simply removed after its delivery, and a kill in between does no harm. No entries
//! are kept in memory.
//!
//! Only one process at a time writes to an outbox (its owner holds a lock); others may read it with
//! [`peek`].

use crate::error::{Error, Result};
use crate::host::Disk;
use crate::pipeline::digest::digest_of;
use crate::repository::name::RunId;
use crate::repository::run_record::RunRecord;
use crate::threads::lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A larger file is not an entry.
pub const ENTRY_BYTES_MAX: u64 = 1024 * 1024;
/// The most names that are held in memory at once.
pub const BATCH: usize = 256;
/// The ending of the name of a file that is being written.
const TEMPORARY: &str = ".tmp";
const ENDING: &str = ".json";
const DAMAGED: &str = "damaged";
const REFUSED: &str = "refused";
/// Hexadecimal digits of the digest in a name.
const DIGEST_DIGITS: usize = 16;

/// What an entry waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The repository.
    Repository,
    /// The ledger; the repository already has the record.
    Ledger,
}

const LANES: [Lane; 2] = [Lane::Repository, Lane::Ledger];

/// The name of an entry. Names sort by sequence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryName {
    sequence: u64,
    digest: String,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The run.
    pub run: RunId,
    /// Since when it waits, in nanoseconds since the epoch.
    pub appended_ns: u64,
    /// Its record.
    pub record: RunRecord,
}

/// An entry as it is written to its file.
#[derive(Serialize, Deserialize)]
struct Written<R> {
    /// 16 hexadecimal digits, because not every JSON reader holds 64-bit numbers.
    run: String,
    appended_ns: u64,
    record: R,
}

/// An outbox in a folder.
#[derive(Debug)]
pub struct Outbox {
    disk: Disk,
    folder: PathBuf,
    /// The sequence of the next entry. Locked while an entry is written, so that names come in
    /// order.
    next: Mutex<u64>,
    #[cfg(test)]
    fault: Mutex<Option<tests::Fault>>,
}

/// The steps of writing an entry, for tests that end at one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncFolder,
}

impl Lane {
    fn folder(self) -> &'static str {
        match self {
            Lane::Repository => "repository",
            Lane::Ledger => "ledger",
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:020}-{}{ENDING}", self.sequence, self.digest)
    }
}

impl EntryName {
    fn of(sequence: u64, content: &[u8]) -> EntryName {
        EntryName { sequence, digest: digest_text(content) }
    }

    fn parse(name: &str) -> Option<EntryName> {
        let (sequence, digest) = name.strip_suffix(ENDING)?.split_once('-')?;
        let parsed = EntryName { sequence: sequence.parse().ok()?, digest: digest.to_owned() };
        let hexadecimal = digest.len() == DIGEST_DIGITS && digest.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        (hexadecimal && parsed.to_string() == name).then_some(parsed)
    }
}

fn digest_text(content: &[u8]) -> String {
    digest_of(content)[..DIGEST_DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Outbox {
    /// Opens the outbox in `folder`, which is created if only its last part is missing. Entries
    /// that the ledger refused are queued again; files that are not entries are set aside.
    ///
    /// # Errors
    /// [`Error::input`] where the folder cannot be made, read or written.
    pub fn open(disk: Disk, folder: &Path) -> Result<Outbox> {
        let failed = |error: io::Error| Error::input(format!("outbox {}: {error}", folder.display())).caused_by(error);
        for path in [folder.to_owned()].into_iter().chain(FOLDERS.map(|name| folder.join(name))) {
            make_folder(disk, &path).map_err(failed)?;
        }
        let outbox = Outbox {
            disk,
            folder: folder.to_owned(),
            next: Mutex::new(1),
            #[cfg(test)]
            fault: Mutex::new(None),
        };
        outbox.take_up().map_err(failed)?;
        Ok(outbox)
    }

    /// Tidies the folders, and finds the sequence at which to continue.
    fn take_up(&self) -> io::Result<()> {
        let refused = self.folder.join(REFUSED);
        self.disk.each_name(&refused, &mut |name| match EntryName::parse(name) {
            Some(_) => self.move_between(&refused, &self.lane(Lane::Ledger), name),
            None => Ok(()),
        })?;
        let mut last = 0;
        for lane in LANES {
            let folder = self.lane(lane);
            self.disk.each_name(&folder, &mut |name| {
                match EntryName::parse(name) {
                    Some(entry) => last = last.max(entry.sequence),
                    None if name.ends_with(TEMPORARY) => self.disk.remove(&folder.join(name))?,
                    None => self.move_between(&folder, &self.folder.join(DAMAGED), name)?,
                }
                Ok(())
            })?;
        }
        *lock(&self.next) = last.saturating_add(1);
        Ok(())
    }

    /// Adds a record after all others; durable when this returns.
    ///
    /// # Errors
    /// [`Error::try_again`] when the disk does not take it now.
    pub fn append(&self, run: RunId, record: &RunRecord, now_ns: u64) -> Result<()> {
        let mut next = lock(&self.next);
        self.write(Lane::Repository, *next, &encode(run, record, now_ns)?)?;
        *next += 1;
        Ok(())
    }

    /// Writes an entry.
    fn write(&self, lane: Lane, sequence: u64, content: &[u8]) -> Result<()> {
        let (name, folder) = (EntryName::of(sequence, content), self.lane(lane));
        let (temporary, path) = (folder.join(format!("{name}{TEMPORARY}")), folder.join(name.to_string()));
        let failed =
            |error: io::Error| Error::try_again(format!("{}: the entry cannot be written: {error}", path.display())).caused_by(error);
        let renamed = self.write_temporary(&temporary, content).and_then(|()| {
            self.step(Step::Rename)?;
            self.disk.rename(&temporary, &path)
        });
        renamed.map_err(|error| {
            // Anything that remains of it is removed at the next start at the latest.
            let _ = self.disk.remove(&temporary);
            failed(error)
        })?;
        self.step(Step::SyncFolder).and_then(|()| self.disk.sync_folder(&folder)).map_err(failed)
    }

    fn write_temporary(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.step(Step::Create)?;
        let mut file = self.disk.create(path, 0o640)?;
        let (first, rest) = content.split_at(content.len() / 2);
        file.write_all(first)?;
        self.step(Step::Write)?;
        file.write_all(rest)?;
        self.step(Step::Sync)?;
        file.sync()
    }

    /// The first [`BATCH`] entries of a lane, in order.
    ///
    /// # Errors
    /// [`Error::try_again`] when the folder cannot be read.
    pub fn waiting(&self, lane: Lane) -> Result<Vec<EntryName>> {
        first(self.disk, &self.lane(lane), BATCH)
    }

    /// How many entries wait in a lane.
    ///
    /// # Errors
    /// As [`Outbox::waiting`].
    pub fn count(&self, lane: Lane) -> Result<u64> {
        let (folder, mut count) = (self.lane(lane), 0);
        let counted = self.disk.each_name(&folder, &mut |name| {
            count += u64::from(EntryName::parse(name).is_some());
            Ok(())
        });
        counted.map(|()| count).map_err(|error| unreadable(&folder, error))
    }

    /// Passes every waiting entry of both lanes to `take`; entries that cannot be read are skipped.
    ///
    /// # Errors
    /// [`Error::input`] where the folder cannot be read.
    pub fn each(&self, take: &mut dyn FnMut(Entry)) -> Result<()> {
        each_entry(self.disk, &self.folder, take)
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is not what was written; the caller then calls
    /// [`Outbox::set_aside`]. [`Error::try_again`] when it cannot be read now.
    pub fn read(&self, lane: Lane, name: &EntryName) -> Result<Entry> {
        let path = self.lane(lane).join(name.to_string());
        read(self.disk, &path, name)?.ok_or_else(|| Error::try_again(format!("{}: it is gone", path.display())))
    }

    /// Moves an entry on to the ledger's lane, because the repository has it: as it is or, if
    /// something else was recorded there before, as `record`.
    ///
    /// # Errors
    /// [`Error::try_again`] when the folder cannot be written: the entry then waits for the
    /// repository again.
    pub fn pass_on(&self, name: &EntryName, entry: &Entry, record: &RunRecord) -> Result<()> {
        let repository = self.lane(Lane::Repository);
        if entry.record == *record {
            let moved = self.move_between(&repository, &self.lane(Lane::Ledger), &name.to_string());
            return moved
                .map_err(|error| Error::try_again(format!("{}: {name} cannot be moved: {error}", repository.display())).caused_by(error));
        }
        self.write(Lane::Ledger, name.sequence, &encode(entry.run, record, entry.appended_ns)?)?;
        self.remove(Lane::Repository, name)
    }

    /// Removes an entry that needs no further delivery.
    ///
    /// # Errors
    /// [`Error::try_again`] when the folder cannot be written: the entry is then delivered again.
    pub fn remove(&self, lane: Lane, name: &EntryName) -> Result<()> {
        let path = self.lane(lane).join(name.to_string());
        self.disk
            .remove(&path)
            .map_err(|error| Error::try_again(format!("{}: the entry cannot be removed: {error}", path.display())).caused_by(error))
    }

    /// Moves an entry that cannot be read to `damaged/`; returns its new path.
    ///
    /// # Errors
    /// [`Error::try_again`] when it cannot be moved.
    pub fn set_aside(&self, lane: Lane, name: &EntryName) -> Result<PathBuf> {
        self.aside(lane, name, DAMAGED)
    }

    /// Moves an entry that the ledger refuses to `refused/`; returns its new path. It is tried
    /// again at the next start.
    ///
    /// # Errors
    /// As [`Outbox::set_aside`].
    pub fn refuse(&self, name: &EntryName) -> Result<PathBuf> {
        self.aside(Lane::Ledger, name, REFUSED)
    }

    fn aside(&self, lane: Lane, name: &EntryName, place: &str) -> Result<PathBuf> {
        let (from, to) = (self.lane(lane), self.folder.join(place));
        let failed =
            |error: io::Error| Error::try_again(format!("{}: {name} cannot be moved to {place}: {error}", from.display())).caused_by(error);
        self.move_between(&from, &to, &name.to_string()).map_err(failed)?;
        Ok(to.join(name.to_string()))
    }

    /// What was set aside, in a sentence for the operator.
    pub fn trouble(&self) -> Option<String> {
        let reported = |place: &str, what: &str| {
            let (folder, mut count) = (self.folder.join(place), 0_u64);
            // An unreadable folder is reported by whatever needs it.
            let _ = self.disk.each_name(&folder, &mut |_| {
                count += 1;
                Ok(())
            });
            (count > 0).then(|| format!("{count} {what} in {}", folder.display()))
        };
        let damaged = reported(DAMAGED, "records of runs that cannot be read lie");
        let refused = reported(REFUSED, "events that the ledger refused lie");
        let all: Vec<String> = damaged.into_iter().chain(refused).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Moves a file from one folder to the other; durable when this returns. The new folder is
    /// synced first, because after a crash the file must never be in neither.
    fn move_between(&self, from: &Path, to: &Path, name: &str) -> io::Result<()> {
        self.disk.rename(&from.join(name), &to.join(name))?;
        self.disk.sync_folder(to)?;
        self.disk.sync_folder(from)
    }

    fn lane(&self, lane: Lane) -> PathBuf {
        self.folder.join(lane.folder())
    }

    #[cfg(not(test))]
    fn step(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }
}

const FOLDERS: [&str; 4] = ["repository", "ledger", DAMAGED, REFUSED];

/// The runs of which a record waits in an agent's outbox, and whether that record is of their end.
/// Nothing is changed, and the agent may be running. An outbox that does not exist is empty.
///
/// # Errors
/// [`Error::input`] where it may not be read.
pub fn peek(folder: &Path) -> Result<BTreeSet<(RunId, bool)>> {
    let mut found = BTreeSet::new();
    each_entry(Disk::SYSTEM, folder, &mut |entry| {
        found.insert((entry.run, entry.record.outcome.is_some()));
    })?;
    Ok(found)
}

fn each_entry(disk: Disk, folder: &Path, take: &mut dyn FnMut(Entry)) -> Result<()> {
    // In this order, an entry that moves to the next lane meanwhile is seen in at least one of
    // them.
    for lane in LANES {
        let folder = folder.join(lane.folder());
        let listed = disk.each_name(&folder, &mut |name| {
            // A damaged entry does not count as waiting.
            if let Some(name) = EntryName::parse(name)
                && let Ok(Some(entry)) = read(disk, &folder.join(name.to_string()), &name)
            {
                take(entry);
            }
            Ok(())
        });
        match listed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::input(format!("{}: {error}", folder.display())).caused_by(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn encode(run: RunId, record: &RunRecord, appended_ns: u64) -> Result<Vec<u8>> {
    let written = Written { run: run.to_string(), appended_ns, record };
    let content = serde_json::to_vec(&written)
        .map_err(|error| Error::bug(format!("the record of run {run} does not encode: {error}")).caused_by(error))?;
    if content.len() as u64 > ENTRY_BYTES_MAX {
        return Err(Error::bug(format!("the record of run {run} has {} bytes, more than an entry of the outbox may have", content.len())));
    }
    Ok(content)
}

/// An entry, or `None` if it is not there.
fn read(disk: Disk, path: &Path, name: &EntryName) -> Result<Option<Entry>> {
    let damaged = |what: &str| Error::damaged(format!("{}: {what}", path.display()));
    let content = match disk.read(path, ENTRY_BYTES_MAX + 1) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, error)),
    };
    if content.len() as u64 > ENTRY_BYTES_MAX {
        return Err(damaged("it is larger than any entry"));
    }
    if digest_text(&content) != name.digest {
        return Err(damaged("its bytes are not those that its name is a digest of"));
    }
    let written: Written<RunRecord> = serde_json::from_slice(&content).map_err(|error| damaged(&format!("it is no entry ({error})")))?;
    let run = u64::from_str_radix(&written.run, 16).map(RunId).map_err(|_| damaged("it names no run"))?;
    Ok(Some(Entry { run, appended_ns: written.appended_ns, record: written.record }))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::try_again(format!("{}: {error}", path.display())).caused_by(error)
}

/// The first names of entries in a folder, in order.
fn first(disk: Disk, folder: &Path, limit: usize) -> Result<Vec<EntryName>> {
    let mut names = BTreeSet::new();
    let listed = disk.each_name(folder, &mut |name| {
        names.extend(EntryName::parse(name));
        if names.len() > limit {
            names.pop_last();
        }
        Ok(())
    });
    listed.map(|()| names.into_iter().collect()).map_err(|error| unreadable(folder, error))
}

fn make_folder(disk: Disk, path: &Path) -> io::Result<()> {
    match disk.make_folder(path, 0o750) {
        Ok(()) => path.parent().map_or(Ok(()), |above| disk.sync_folder(above)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && disk.is_folder(path) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
