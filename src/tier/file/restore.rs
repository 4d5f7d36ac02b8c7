//! Restores plain files.
//!
//! Flow: the record is found and its object's index read. Threads take ranges of frames. A frame
//! that a base file holds already, by its fingerprint, is copied from there. The rest is fetched
//! with ranged reads, opened in place and expanded into the buffer that is then written past the
//! page cache. Frames of zeros stay holes. Unless the request turns it off, other threads read back
//! from the disk what was written and compare each frame with its fingerprint. This takes little
//! longer, because the disk is read while it is written. When all of the file is correct, it gets
//! its name.

use super::format::{FileReader, FileRecord};
use crate::disk::arena::{Arena, Buffer};
use crate::disk::target::{Target, check_space};
use crate::disk::writer::{WriteOptions, WriteTarget, Writer};
use crate::error::{Error, Result};
use crate::pipeline::compress::Codec;
use crate::pipeline::fingerprint::Fingerprinter;
use crate::progress::Progress;
use crate::repository::name::{FileName, FilePlace, RunId};
use crate::repository::{Repository, fetch};
use crate::threads::lock;
use crossbeam_channel::{Receiver, Sender};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Threads that fetch, open, expand and write frames.
const THREADS: usize = 4;
/// Threads that read back what was written. A disk read takes about a millisecond, so a few threads
/// keep up with what is written.
const CHECKERS: usize = 2;
/// Plain bytes that a thread takes at once. Servers read whole blocks of their own, so many short
/// ranges cost them more. All threads together hold at most 128 MiB of fetched bytes.
const RUN_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a thread's write buffers.
const BUFFERS_BYTES: usize = 8 * 1024 * 1024;
/// At least two buffers: one is filled while the other is written.
const BUFFERS_MIN: usize = 2;

/// What is restored, and to where.
#[derive(Debug, Clone)]
pub struct FileRestoreRequest {
    /// The name of the file in the repository.
    pub name: String,
    /// Where in the repository it is kept.
    pub place: &'static FilePlace,
    /// The run whose backup is restored; `None` for the newest.
    pub run: Option<RunId>,
    /// The file to write.
    pub output: PathBuf,
    /// Whether a file of that name may be replaced.
    pub overwrite: bool,
    /// A file that may hold much of the content already. It is only read.
    pub base: Option<PathBuf>,
    /// Whether what was written is read back from the disk and checked. Each frame is checked
    /// before it is written in any case.
    pub read_back: bool,
}

/// The result of a restore.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The backup that was restored.
    pub name: FileName,
    /// What its record promises.
    pub record: FileRecord,
    /// Stored bytes fetched.
    pub bytes_fetched: u64,
    /// Plain bytes copied from the base.
    pub bytes_kept: u64,
}

/// Restores a file.
///
/// # Errors
/// [`Error::input`] where there is no such file or the output cannot be written, [`Error::damaged`]
/// when what is stored is not what its record promises.
pub fn restore_file(repository: &Repository, request: &FileRestoreRequest, progress: &dyn Progress) -> Result<Restored> {
    let name = find(repository, request)?;
    let record = repository.file_record(&name)?;
    let reader = FileReader::open(repository, &name, &record)?;
    let target = Target::create(&request.output, request.overwrite)?;
    check_space(std::slice::from_ref(&target), reader.data_bytes())?;
    target.set_length(record.file_bytes)?;
    let base = match &request.base {
        Some(path) => {
            Some(WriteTarget::to_read(path).map_err(|error| Error::input(format!("{}: {error}", path.display())).caused_by(error))?)
        }
        None => None,
    };
    let failed = |error| Error::input(format!("{}: {error}", target.temporary().display())).caused_by(error);
    let places: Arc<[WriteTarget]> = Arc::new([WriteTarget::to_write(target.temporary(), WriteOptions::default()).map_err(failed)?]);
    let work = FileRestoreWork {
        base,
        read_back: request.read_back,
        ..FileRestoreWork::new(&reader, repository.fingerprinter()?, places, &target, progress)
    };
    progress.begin("restore", Some(record.file_bytes));
    work.run()?;
    progress.end();
    // The last write was padded to the end of its sector.
    target.set_length(record.file_bytes)?;
    target.sync()?;
    let (bytes_fetched, bytes_kept) = (work.fetched.load(Ordering::Relaxed), work.kept.load(Ordering::Relaxed));
    drop(work);
    target.set_mode(record.mode, record.modified_ns)?;
    target.commit()?;
    Ok(Restored { name, record, bytes_fetched, bytes_kept })
}

fn find(repository: &Repository, request: &FileRestoreRequest) -> Result<FileName> {
    // A lost record must not make an older file the newest.
    let mut files = repository.listed_files(request.place)?.all();
    files.retain(|file| file.name == request.name);
    let found = match request.run {
        Some(run) => files.into_iter().find(|file| file.run == run),
        None => files.into_iter().next_back(),
    };
    found.ok_or_else(|| {
        let run = request.run.map(|run| format!(" of run {run}")).unwrap_or_default();
        Error::input(format!("{}: there is no file {}{run}: `amber list` shows what there is", repository.describe(), request.name))
    })
}

/// The state that all threads share.
struct FileRestoreWork<'a> {
    reader: &'a FileReader<'a>,
    fingerprinter: Fingerprinter,
    base: Option<WriteTarget>,
    places: Arc<[WriteTarget]>,
    target: &'a Target,
    read_back: bool,
    /// Restoring threads, and the plain bytes that each takes at once.
    threads: usize,
    run_bytes: usize,
    /// The first frame that no thread has taken yet.
    next: AtomicU32,
    fetched: AtomicU64,
    kept: AtomicU64,
    done: AtomicU64,
    failed: Mutex<Option<Error>>,
    progress: &'a dyn Progress,
}

/// The state of one restoring thread.
struct Lane {
    writer: Writer,
    /// Fetched bytes, opened in place.
    sealed: Vec<u8>,
    /// The range of frames whose writes may still be in progress.
    behind: Option<Range<u32>>,
    written: Sender<Range<u32>>,
}

impl<'a> FileRestoreWork<'a> {
    fn new(
        reader: &'a FileReader<'a>,
        fingerprinter: Fingerprinter,
        places: Arc<[WriteTarget]>,
        target: &'a Target,
        progress: &'a dyn Progress,
    ) -> FileRestoreWork<'a> {
        FileRestoreWork {
            reader,
            fingerprinter,
            base: None,
            places,
            target,
            read_back: true,
            threads: THREADS,
            run_bytes: RUN_BYTES,
            next: AtomicU32::new(0),
            fetched: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: Mutex::new(None),
            progress,
        }
    }

    fn run(&self) -> Result<()> {
        let (written, to_check) = crossbeam_channel::unbounded();
        let checkers = if self.read_back { CHECKERS } else { 0 };
        std::thread::scope(|scope| {
            let restoring = (0..self.threads).map(|_| {
                let written = written.clone();
                scope.spawn(move || self.note_failure(self.restore(written)))
            });
            let restoring: Vec<_> = restoring.collect();
            // The checkers end when the last sender is dropped.
            drop(written);
            let checking = (0..checkers).map(|_| scope.spawn(|| self.note_failure(self.check(&to_check))));
            for thread in restoring.into_iter().chain(checking.collect::<Vec<_>>()) {
                thread.join().unwrap_or_else(|_| self.note_failure(Err(Error::bug("a restoring thread panicked"))));
            }
        });
        match lock(&self.failed).take() {
            Some(error) => Err(error),
            None if self.progress.is_cancelled() => Err(Error::try_again("the restore was cancelled before its end")),
            None => self.check_done(),
        }
    }

    /// A file of which a frame was left out must not get its name.
    fn check_done(&self) -> Result<()> {
        let (done, file_bytes) = (self.done.load(Ordering::Relaxed), self.reader.layout.file_bytes);
        if done != file_bytes {
            let path = self.target.path().display();
            return Err(Error::bug(format!("{path}: {done} of {file_bytes} bytes were restored, and nothing said why")));
        }
        Ok(())
    }

    /// Keeps the first failure. The other threads stop at their next range.
    fn note_failure(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            lock(&self.failed).get_or_insert(error);
        }
    }

    fn is_stopped(&self) -> bool {
        self.progress.is_cancelled() || lock(&self.failed).is_some()
    }

    /// Restores ranges of frames until there are no more.
    fn restore(&self, written: Sender<Range<u32>>) -> Result<()> {
        let layout = self.reader.layout;
        let buffer_bytes = self.buffer_bytes();
        let buffers = (BUFFERS_BYTES / buffer_bytes).max(BUFFERS_MIN) as u16;
        let writer =
            Writer::new(&self.places, buffer_bytes, buffers, WriteOptions::default()).map_err(|error| self.write_failed(&error))?;
        let mut lane = Lane { writer, sealed: Vec::new(), behind: None, written };
        let frames_a_run = (self.run_bytes / layout.frame_bytes as usize).max(1) as u32;
        loop {
            let first = self.next.fetch_add(frames_a_run, Ordering::Relaxed);
            if first >= layout.frames() || self.is_stopped() {
                break;
            }
            self.restore_run(first..first.saturating_add(frames_a_run).min(layout.frames()), &mut lane)?;
        }
        self.hand_over(&mut lane)
    }

    /// A frame's size on the disk: rounded up to a sector.
    fn buffer_bytes(&self) -> usize {
        (self.reader.layout.frame_bytes as usize).next_multiple_of(4096)
    }

    /// Restores a range of neighbouring frames.
    fn restore_run(&self, frames: Range<u32>, lane: &mut Lane) -> Result<()> {
        let mut missing: Vec<Range<u32>> = Vec::new();
        for frame in frames.clone() {
            if self.is_zeros(frame) || self.keep(frame, &mut lane.writer)? {
                continue;
            }
            match missing.last_mut() {
                Some(last) if last.end == frame => last.end += 1,
                _ => missing.push(frame..frame + 1),
            }
        }
        for run in missing {
            fetch::until_intact(|| self.fetch(run.clone(), lane))?;
        }
        self.hand_over(lane)?;
        lane.behind = Some(frames);
        Ok(())
    }

    /// Waits for the writes in progress, and passes their range to the checkers. Between two ranges
    /// this costs nothing: the first was written while the second was fetched.
    fn hand_over(&self, lane: &mut Lane) -> Result<()> {
        let Some(frames) = lane.behind.take() else { return Ok(()) };
        lane.writer.finish().map_err(|failed| self.write_failed(&failed.error))?;
        if self.read_back {
            return lane.written.send(frames).map_err(|_| Error::bug("nobody is left to read back"));
        }
        self.advance(frames);
        Ok(())
    }

    fn advance(&self, frames: Range<u32>) {
        let plain: u64 = frames.map(|number| self.reader.layout.frame(number).1 as u64).sum();
        self.progress.position(self.done.fetch_add(plain, Ordering::Relaxed) + plain);
    }

    fn is_zeros(&self, frame: u32) -> bool {
        self.reader.object().index.frames.get(frame as usize).is_some_and(|row| row.codec == Codec::Zeros)
    }

    /// Copies a frame from the base, if it is the same there.
    fn keep(&self, frame: u32, writer: &mut Writer) -> Result<bool> {
        let Some(base) = &self.base else { return Ok(false) };
        let (offset, length) = self.reader.layout.frame(frame);
        let mut buffer = writer.take().map_err(|failed| self.write_failed(&failed.error))?;
        let padded = length.next_multiple_of(4096);
        let got = base
            .read(offset, &mut buffer[..padded])
            .map_err(|error| Error::damaged(format!("the base cannot be read: {error}")).caused_by(error))?;
        if got < length || self.reader.fingerprints.get(frame as usize) != Some(&self.fingerprinter.of(&buffer[..length])) {
            return Ok(false);
        }
        self.kept.fetch_add(length as u64, Ordering::Relaxed);
        self.write(buffer, frame, writer)?;
        Ok(true)
    }

    fn fetch(&self, frames: Range<u32>, lane: &mut Lane) -> Result<()> {
        let object = self.reader.object();
        let (first, count) = (frames.start, frames.end - frames.start);
        let stored = object.stored_bytes(first, count).ok_or_else(|| Error::bug("frames beyond the object's"))?;
        // Bounded by the rows of the index: a range of frames and their tags.
        lane.sealed.resize(stored as usize, 0);
        object.fetch_into(first, count, &mut lane.sealed)?;
        self.fetched.fetch_add(stored, Ordering::Relaxed);
        self.hand_over(lane)?;
        let Lane { writer, sealed, .. } = lane;
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

    /// Reads back the written ranges, until no thread writes any more.
    fn check(&self, written: &Receiver<Range<u32>>) -> Result<()> {
        let buffer = Arena::new(self.buffer_bytes(), 1).and_then(|arena| arena.take());
        let mut buffer = buffer.ok_or_else(|| Error::bug("there is no buffer for one frame"))?;
        for frames in written {
            if self.is_stopped() {
                break;
            }
            self.check_run(frames, &mut buffer)?;
        }
        Ok(())
    }

    /// Compares each frame on the disk with its fingerprint.
    fn check_run(&self, frames: Range<u32>, buffer: &mut [u8]) -> Result<()> {
        for frame in frames.clone().filter(|frame| !self.is_zeros(*frame)) {
            let (offset, length) = self.reader.layout.frame(frame);
            let read = self.places[0].read(offset, &mut buffer[..length.next_multiple_of(4096)]);
            let got = read.map_err(|error| self.target.failed("read back", error))?;
            if got < length || self.reader.fingerprints.get(frame as usize) != Some(&self.fingerprinter.of(&buffer[..length])) {
                let path = self.target.temporary().display();
                return Err(Error::damaged(format!(
                    "{path}: offset {offset}: the disk does not give back what was written: use another disk"
                )));
            }
        }
        self.advance(frames);
        Ok(())
    }

    fn write_failed(&self, error: &std::io::Error) -> Error {
        self.target.write_failed(error)
    }
}

#[cfg(test)]
mod tests;
