//! Plain files out of a repository.
//!
//! Flow: the record is found, its object's index read; threads take runs of frames: what a base file holds already, by its fingerprint, is taken from there, the
//! rest is fetched with ranged reads, opened in place and expanded into the buffer that is then written past the page cache. Frames of zeros stay holes. What a thread
//! has written it reads back from the disk, unless it is told not to, each frame held against its fingerprint. When all of the file is right, it gets its name.

use super::target::{Target, check_space};
use crate::error::{Error, Result};
use crate::memory::arena::Buffer;
use crate::pipeline::compress::Codec;
use crate::pipeline::fingerprint::Fingerprinter;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::fetch;
use crate::repository::file_object::{FileReader, FileRecord};
use crate::repository::name::{FileName, RunId};
use crate::source::writer::{Place, WriteOptions, Writer};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Threads that fetch, open, expand and write.
const THREADS: usize = 4;
/// Plain bytes that a thread takes at once. Servers read whole blocks of their own, so many short ranges cost them more; all threads together hold 128 MiB of
/// what they fetched at the most.
const RUN_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a thread's buffers for what it writes.
const BUFFERS_BYTES: usize = 8 * 1024 * 1024;
/// One is filled while the other is written.
const BUFFERS_MIN: usize = 2;

/// What is restored, and where to.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the file is called in the repository.
    pub name: String,
    /// Of which run; the newest otherwise.
    pub run: Option<RunId>,
    /// The file to write.
    pub output: PathBuf,
    /// Whether a file of that name may be replaced.
    pub overwrite: bool,
    /// A file that may hold much of it already; it is only read.
    pub base: Option<PathBuf>,
    /// Whether what was written is read back from the disk and checked. Each frame is checked before it is written in any case.
    pub read_back: bool,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Which backup it is.
    pub name: FileName,
    /// What was promised of it.
    pub record: FileRecord,
    /// Stored bytes that were fetched.
    pub bytes_fetched: u64,
    /// Plain bytes that were taken from the base.
    pub bytes_kept: u64,
}

/// Restores a file.
///
/// # Errors
/// [`Error::input`] where there is no such file or the output cannot be written, [`Error::damaged`] when what is stored is not what was promised.
pub fn restore_file(repository: &Repository, request: &Request, progress: &dyn Progress) -> Result<Restored> {
    let name = find(repository, request)?;
    let record = repository.file_record(&name)?;
    let reader = FileReader::open(repository, &name, &record)?;
    let target = Target::create(&request.output, request.overwrite)?;
    check_space(std::slice::from_ref(&target), record.file_bytes)?;
    target.set_length(record.file_bytes)?;
    let base = match &request.base {
        Some(path) => Some(Place::to_read(path).map_err(|error| Error::input(format!("{}: {error}", path.display())))?),
        None => None,
    };
    let failed = |error| Error::input(format!("{}: {error}", target.temporary().display()));
    let places: Arc<[Place]> = Arc::new([Place::to_write(target.temporary(), WriteOptions::default()).map_err(failed)?]);
    let work = Work {
        reader: &reader,
        fingerprinter: repository.fingerprinter()?,
        base,
        places,
        target: &target,
        read_back: request.read_back,
        next: AtomicU32::new(0),
        fetched: AtomicU64::new(0),
        kept: AtomicU64::new(0),
        done: AtomicU64::new(0),
        failed: Mutex::new(None),
        progress,
    };
    progress.begin("restore", Some(record.file_bytes));
    work.run()?;
    progress.end();
    // The last write went on to the end of its sector.
    target.set_length(record.file_bytes)?;
    target.sync()?;
    let (bytes_fetched, bytes_kept) = (work.fetched.load(Ordering::Relaxed), work.kept.load(Ordering::Relaxed));
    drop(work);
    target.set_mode(record.mode, record.modified_ns)?;
    target.commit()?;
    Ok(Restored { name, record, bytes_fetched, bytes_kept })
}

fn find(repository: &Repository, request: &Request) -> Result<FileName> {
    let files = repository.files(Some(&request.name))?;
    let found = match request.run {
        Some(run) => files.into_iter().find(|file| file.run == run),
        None => files.into_iter().next_back(),
    };
    found.ok_or_else(|| {
        let run = request.run.map(|run| format!(" of run {run}")).unwrap_or_default();
        Error::input(format!("{}: there is no file {}{run}: `amber list` shows what there is", repository.describe(), request.name))
    })
}

/// The work of all threads.
struct Work<'a> {
    reader: &'a FileReader<'a>,
    fingerprinter: Fingerprinter,
    base: Option<Place>,
    places: Arc<[Place]>,
    target: &'a Target,
    read_back: bool,
    /// The first frame that nobody has taken.
    next: AtomicU32,
    fetched: AtomicU64,
    kept: AtomicU64,
    done: AtomicU64,
    failed: Mutex<Option<Error>>,
    progress: &'a dyn Progress,
}

impl Work<'_> {
    fn run(&self) -> Result<()> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| self.thread())).collect();
            for thread in threads {
                let outcome = thread.join().unwrap_or_else(|_| Err(Error::bug("a restoring thread panicked")));
                if let Err(error) = outcome {
                    self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        });
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None if self.progress.is_given_up() => Err(Error::try_again("the restore was given up before its end")),
            None => Ok(()),
        }
    }

    fn thread(&self) -> Result<()> {
        let layout = self.reader.layout;
        let buffer_bytes = (layout.frame_bytes as usize).next_multiple_of(4096);
        let buffers = (BUFFERS_BYTES / buffer_bytes).max(BUFFERS_MIN) as u16;
        let write_failed = |failed: crate::source::writer::Failed| self.write_failed(&failed.error);
        let mut writer =
            Writer::new(&self.places, buffer_bytes, buffers, WriteOptions::default()).map_err(|error| self.write_failed(&error))?;
        let frames_a_run = (RUN_BYTES / layout.frame_bytes as usize).max(1) as u32;
        let mut sealed = Vec::new();
        loop {
            let first = self.next.fetch_add(frames_a_run, Ordering::Relaxed);
            let stopped = self.progress.is_given_up() || self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if first >= layout.frames() || stopped {
                break;
            }
            let end = first.saturating_add(frames_a_run).min(layout.frames());
            let done = self.restore_run(first..end, &mut writer, &mut sealed);
            if let Err(error) = done {
                // The others stop at their next run.
                self.next.store(layout.frames(), Ordering::Relaxed);
                return Err(error);
            }
        }
        writer.finish().map_err(write_failed)
    }

    /// Restores neighbouring frames.
    fn restore_run(&self, frames: std::ops::Range<u32>, writer: &mut Writer, sealed: &mut Vec<u8>) -> Result<()> {
        let mut missing: Vec<std::ops::Range<u32>> = Vec::new();
        for frame in frames.clone() {
            if self.is_zeros(frame) || self.keep(frame, writer)? {
                continue;
            }
            match missing.last_mut() {
                Some(last) if last.end == frame => last.end += 1,
                _ => missing.push(frame..frame + 1),
            }
        }
        for run in missing {
            fetch::until_whole(|| self.fetch(run.clone(), writer, sealed))?;
        }
        if self.read_back {
            self.read_back(frames.clone(), writer)?;
        }
        let plain: u64 = frames.map(|number| self.reader.layout.frame(number).1 as u64).sum();
        self.progress.position(self.done.fetch_add(plain, Ordering::Relaxed) + plain);
        Ok(())
    }

    fn is_zeros(&self, frame: u32) -> bool {
        self.reader.object().index.frames.get(frame as usize).is_some_and(|row| row.codec == Codec::Zeros)
    }

    /// Takes a frame from the base, if it is the same there.
    fn keep(&self, frame: u32, writer: &mut Writer) -> Result<bool> {
        let Some(base) = &self.base else { return Ok(false) };
        let (offset, length) = self.reader.layout.frame(frame);
        let mut buffer = writer.take().map_err(|failed| self.write_failed(&failed.error))?;
        let padded = length.next_multiple_of(4096);
        let got = base.read(offset, &mut buffer[..padded]).map_err(|error| Error::damaged(format!("the base cannot be read: {error}")))?;
        if got < length || self.reader.fingerprints.get(frame as usize) != Some(&self.fingerprinter.of(&buffer[..length])) {
            return Ok(false);
        }
        self.kept.fetch_add(length as u64, Ordering::Relaxed);
        self.write(buffer, frame, writer)?;
        Ok(true)
    }

    fn fetch(&self, frames: std::ops::Range<u32>, writer: &mut Writer, sealed: &mut Vec<u8>) -> Result<()> {
        let object = self.reader.object();
        let (first, count) = (frames.start, frames.end - frames.start);
        let stored = object.stored_bytes(first, count).ok_or_else(|| Error::bug("frames beyond the object's"))?;
        // Bounded by the rows of the index: a run of frames and their tags.
        sealed.resize(stored as usize, 0);
        object.fetch_into(first, count, sealed)?;
        self.fetched.fetch_add(stored, Ordering::Relaxed);
        let mut rest = &mut sealed[..];
        for frame in frames {
            let (row, length) = (object.index.frames[frame as usize], self.reader.layout.frame(frame).1);
            let (now, later) = rest.split_at_mut(row.stored_bytes as usize);
            let mut buffer = writer.take().map_err(|failed| self.write_failed(&failed.error))?;
            object.open_into(frame, now, &mut buffer[..length])?;
            if self.reader.fingerprints.get(frame as usize) != Some(&self.fingerprinter.of(&buffer[..length])) {
                return Err(Error::damaged(format!("{}: frame {frame} does not have its fingerprint", object.name())));
            }
            self.write(buffer, frame, writer)?;
            rest = later;
        }
        Ok(())
    }

    fn write(&self, mut buffer: Buffer, frame: u32, writer: &mut Writer) -> Result<()> {
        let (offset, length) = self.reader.layout.frame(frame);
        let padded = length.next_multiple_of(4096);
        buffer[length..padded].fill(0);
        writer.write(buffer, offset, padded, vec![0]).map_err(|failed| self.write_failed(&failed.error))
    }

    /// Reads back what was written and holds each frame against its fingerprint.
    fn read_back(&self, frames: std::ops::Range<u32>, writer: &mut Writer) -> Result<()> {
        writer.finish().map_err(|failed| self.write_failed(&failed.error))?;
        for frame in frames.filter(|frame| !self.is_zeros(*frame)) {
            let (offset, length) = self.reader.layout.frame(frame);
            let mut buffer = writer.take().map_err(|failed| self.write_failed(&failed.error))?;
            let got =
                self.places[0].read(offset, &mut buffer[..length.next_multiple_of(4096)]).map_err(|error| self.write_failed(&error))?;
            if got < length || self.reader.fingerprints.get(frame as usize) != Some(&self.fingerprinter.of(&buffer[..length])) {
                let path = self.target.temporary().display();
                return Err(Error::damaged(format!(
                    "{path}: offset {offset}: the disk does not give back what was written: use another disk"
                )));
            }
        }
        Ok(())
    }

    fn write_failed(&self, error: &std::io::Error) -> Error {
        self.target.write_failed(error)
    }
}
