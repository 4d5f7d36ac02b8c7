//! One data file, read in any order into the arena's buffers.
//!
//! Flow: [`Reader::open`] opens read-only with O_DIRECT and sets up an io_uring for it. If either
//! is refused (tmpfs, old kernel, seccomp) it falls back to buffered or plain reads and reports
//! that in [`Reader::notes`]. [`Reader::begin`] starts a read if a buffer is free,
//! [`Reader::next_read`] takes the next finished one. Reads are counted, so that a capture can
//! report what it cost the node's disk.

use super::arena::{Arena, Buffer};
use super::file_state::FileState;
use super::uring::{Completed, Uring};
use crate::disk::read_error::SourceError;
use crate::host::clock::Clock;
use rustix::fs::OFlags;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One finished read.
#[derive(Debug)]
pub struct Read {
    /// The caller's number for it.
    pub token: u64,
    /// The buffer, of which `length` bytes were read.
    pub buffer: Buffer,
    /// Fewer than asked for only at the end of the file.
    pub length: usize,
}

/// How a file is read that somebody else writes: which of the system's faster ways may be used (all
/// of them, unless a test or an expert user decides otherwise), and by which clock a reader waits.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// Past the page cache, as TigerBeetle itself reads and writes.
    pub direct: bool,
    /// Through io_uring.
    pub uring: bool,
    /// The clock of whoever waits until the file is as it should be.
    pub clock: Clock,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { direct: true, uring: true, clock: Clock::SYSTEM }
    }
}

#[cfg(test)]
impl ReadOptions {
    /// With a clock on which nobody waits long.
    pub(crate) fn quick() -> ReadOptions {
        ReadOptions { clock: crate::host::clock::sample::quick(), ..ReadOptions::default() }
    }
}

/// A data file open for reading.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    arena: Arena,
    ring: Option<Uring>,
    /// Pending reads, where there is no io_uring.
    waiting: VecDeque<(u64, Buffer, u64, usize)>,
    clock: Clock,
    in_flight: Vec<(u64, u64, usize)>,
    notes: Vec<String>,
    bytes_read: u64,
}

impl Reader {
    /// Opens `path` with `buffers` buffers of `buffer_bytes` each, all of which may be in flight at
    /// once.
    ///
    /// # Errors
    /// [`SourceError::NotADataFile`] for a directory or device of the wrong kind,
    /// [`SourceError::Io`] for the rest.
    pub fn open(path: &Path, buffer_bytes: usize, buffers: u16, options: ReadOptions) -> Result<Reader, SourceError> {
        let mut notes = Vec::new();
        let file = open_file(path, options.direct, &mut notes)?;
        let arena = Arena::new(buffer_bytes, buffers).ok_or_else(|| {
            SourceError::io(path, "buffers", std::io::Error::other(format!("{buffers} buffers of {buffer_bytes} bytes are no arena")))
        })?;
        let ring = match options.uring.then(|| Uring::new(&file, &arena, buffers)) {
            Some(Ok(ring)) => Some(ring),
            Some(Err(error)) => {
                notes.push(format!("io_uring is refused ({error}): reading with pread, one block at a time, at a third of the speed"));
                None
            }
            None => None,
        };
        let (waiting, clock) = (VecDeque::new(), options.clock);
        Ok(Reader { path: path.to_owned(), file, arena, ring, waiting, clock, in_flight: Vec::new(), notes, bytes_read: 0 })
    }

    /// The clock of whoever reads it.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The file's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the reader fell back to, in sentences for the user.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// What cannot be noticed on its file system, as a sentence for the user.
    pub fn limits(&self) -> Option<String> {
        super::file_state::limits_of(&self.file, &self.path)
    }

    /// The file's length now.
    pub fn file_bytes(&self) -> Result<u64, SourceError> {
        // By seeking, because a block device has no length in its metadata.
        (&self.file).seek(SeekFrom::End(0)).map_err(|error| SourceError::io(&self.path, "size", error))
    }

    /// Where the next data at or after `offset` begins and ends, in a file of this length; `None`
    /// if only a hole follows. Where the file system does not report holes, the whole file counts
    /// as data.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn data_after(&self, offset: u64, length_bytes: u64) -> Result<Option<(u64, u64)>, SourceError> {
        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;
        let failed = |error: Errno| SourceError::io(&self.path, "look for data", error.into());
        if offset >= length_bytes {
            return Ok(None);
        }
        match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => Ok(Some((start, seek(&self.file, SeekFrom::Hole(start)).map_err(failed)?.min(length_bytes)))),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((offset, length_bytes))),
            Err(error) => Err(failed(error)),
        }
    }

    /// When the file was last written to; `None` for a block device, whose time has no meaning.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn modified(&self) -> Result<Option<SystemTime>, SourceError> {
        let metadata = self.file.metadata().map_err(|error| SourceError::io(&self.path, "time", error))?;
        Ok(metadata.is_file().then(|| metadata.modified().ok()).flatten())
    }

    /// The state of the file from which every later change can be told.
    ///
    /// # Errors
    /// [`SourceError::NotNow`] while somebody changes the file, [`SourceError::Io`].
    pub fn settled(&self) -> Result<FileState, SourceError> {
        FileState::settled(&self.file, &self.path, self.clock)
    }

    /// The state of the file now.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn state(&self) -> Result<FileState, SourceError> {
        FileState::of(&self.file).map_err(|error| SourceError::io(&self.path, "look at it", error))
    }

    /// Begins a read of `length` bytes (a multiple of 4096, as is `offset`) if a buffer is free;
    /// `false` otherwise.
    pub fn begin(&mut self, offset: u64, length: usize, token: u64) -> bool {
        match self.arena.take() {
            Some(buffer) => self.begin_with(buffer, offset, length, token),
            None => false,
        }
    }

    /// Like [`Reader::begin`], but waits for a buffer that another thread holds.
    pub fn begin_waiting(&mut self, offset: u64, length: usize, token: u64) -> bool {
        match self.arena.take_waiting() {
            Some(buffer) => self.begin_with(buffer, offset, length, token),
            None => false,
        }
    }

    fn begin_with(&mut self, buffer: Buffer, offset: u64, length: usize, token: u64) -> bool {
        let length = length.min(buffer.len());
        match &mut self.ring {
            Some(ring) => {
                if ring.read(buffer, offset, length, token).is_err() {
                    return false;
                }
                self.in_flight.push((token, offset, length));
            }
            None => self.waiting.push_back((token, buffer, offset, length)),
        }
        true
    }

    /// Reads that were begun and not yet taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() + self.waiting.len()
    }

    /// Waits for the next finished read, in any order; `None` if none was begun.
    ///
    /// # Errors
    /// [`SourceError::Io`] when the kernel could not read.
    pub fn next_read(&mut self) -> Result<Option<Read>, SourceError> {
        let read = match &mut self.ring {
            Some(ring) => match ring.completed(true) {
                Ok(Some(completed)) => self.finish(completed)?,
                Ok(None) => return Ok(None),
                Err(error) => return Err(SourceError::io(&self.path, "io_uring", error)),
            },
            None => {
                let Some((token, mut buffer, offset, length)) = self.waiting.pop_front() else { return Ok(None) };
                let length = self.fill(&mut buffer, 0, offset, length)?;
                Read { token, buffer, length }
            }
        };
        self.bytes_read += read.length as u64;
        Ok(Some(read))
    }

    /// Takes a completion. What the kernel left out (a short read that is not the end of the file,
    /// or a signal) is read with a plain read.
    fn finish(&mut self, completed: Completed) -> Result<Read, SourceError> {
        let Completed { token, mut buffer, result } = completed;
        let position = self.in_flight.iter().position(|(candidate, _, _)| *candidate == token);
        let (_, offset, wanted) = position.map(|position| self.in_flight.swap_remove(position)).unwrap_or((token, 0, 0));
        let got = match result {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock) => 0,
            Err(error) => return Err(SourceError::io(&self.path, "read", error)),
        };
        let length = if got < wanted { self.fill(&mut buffer, got, offset, wanted)? } else { got };
        Ok(Read { token, buffer, length })
    }

    /// Continues to read from `got` until `wanted` bytes or the end of the file.
    fn fill(&self, buffer: &mut Buffer, mut got: usize, offset: u64, wanted: usize) -> Result<usize, SourceError> {
        while got < wanted {
            match self.file.read_at(&mut buffer[got..wanted], offset + got as u64) {
                Ok(0) => break,
                Ok(length) => got += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceError::io(&self.path, "read", error)),
            }
        }
        Ok(got)
    }

    /// Waits for everything in flight and discards it.
    pub fn drain(&mut self) -> Result<(), SourceError> {
        while self.next_read()?.is_some() {}
        Ok(())
    }

    /// Reads one range and waits for it. Nothing else may be in flight. The result is shorter than
    /// asked for only at the end of the file.
    pub fn read_now(&mut self, offset: u64, length: usize) -> Result<Read, SourceError> {
        self.drain()?;
        let none = || std::io::Error::other("no buffer is free");
        if !self.begin_waiting(offset, length, 0) {
            return Err(SourceError::io(&self.path, "read", none()));
        }
        self.next_read()?.ok_or_else(|| SourceError::io(&self.path, "read", none()))
    }
}

fn open_file(path: &Path, direct: bool, notes: &mut Vec<String>) -> Result<File, SourceError> {
    let open = |flags: OFlags| std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let metadata = std::fs::metadata(path).map_err(|error| SourceError::io(path, "open", error))?;
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let what = if kind.is_dir() { "a directory" } else { "neither a file nor a block device" };
        return Err(SourceError::NotADataFile {
            path: path.to_owned(),
            reason: format!("it is {what}: give the data file that `tigerbeetle start` was given"),
        });
    }
    if direct {
        match open(OFlags::DIRECT | OFlags::CLOEXEC) {
            Ok(file) if probe_direct(&file) => return Ok(file),
            Ok(_) | Err(_) => {}
        }
    }
    let file = open(OFlags::CLOEXEC).map_err(|error| SourceError::io(path, "open", error))?;
    if direct {
        notes.push(format!("{}: the file system refuses O_DIRECT: reading through the page cache, which costs more CPU", path.display()));
    }
    Ok(file)
}

/// Some file systems accept O_DIRECT on open and refuse it on read.
fn probe_direct(file: &File) -> bool {
    let Some(mut buffer) = Arena::new(4096, 1).and_then(|arena| arena.take()) else { return false };
    file.read_at(&mut buffer, 0).is_ok()
}

#[cfg(test)]
mod tests;
