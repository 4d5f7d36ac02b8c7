//! A whole file from its beginning to its end, frame by frame, read ahead.
//!
//! Flow: as many reads are in flight as there are free buffers ([`super::file::Reader`]);
//! [`Stream::next_frame`] returns frames in order. A frame that lies in a hole of the file is not
//! read. At the end, [`Stream::check_unchanged`] tells whether the file stayed the same meanwhile,
//! and whether its path still names it ([`super::file_state`]).

use super::arena::Buffer;
use super::file::{Read, ReadOptions, Reader};
use super::file_state::{FileState, Since};
use crate::disk::read_error::SourceError;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of all buffers: half for queue depth on the disk, half for what the workers hold.
const BUFFERS_BYTES: usize = 32 * 1024 * 1024;
/// With fewer buffers the disk would wait for the workers.
const BUFFERS_MIN: usize = 4;

/// What a frame of the file holds.
#[derive(Debug)]
pub enum Content {
    /// Bytes that were read.
    Data(FrameBytes),
    /// A hole of this many bytes.
    Hole(usize),
}

/// Bytes of a frame, in the buffer that they were read into.
#[derive(Debug)]
pub struct FrameBytes {
    buffer: Buffer,
    length: usize,
}

impl AsRef<[u8]> for FrameBytes {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// Whether what was read is a state that the file had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Unchanged,
    /// Only reading it again tells: see [`Since::Touched`].
    Touched,
}

/// A file being read.
#[derive(Debug)]
pub struct Stream {
    reader: Reader,
    /// The file when the reading began.
    state: FileState,
    frame_bytes: usize,
    notes: Vec<String>,
    next_asked: u64,
    next_given: u64,
    arrived: BTreeMap<u64, Content>,
    /// The stretch of data that contains the next frame to read, or follows it.
    data: Option<(u64, u64)>,
}

impl Stream {
    /// Opens a file.
    ///
    /// # Errors
    /// [`SourceError::Io`]; [`SourceError::NotADataFile`] for a directory or the like;
    /// [`SourceError::NotNow`] while somebody changes the file.
    pub fn open(path: &Path, frame_bytes: usize, options: ReadOptions) -> Result<Stream, SourceError> {
        let metadata = std::fs::metadata(path).map_err(|error| SourceError::io(path, "open", error))?;
        if !metadata.is_file() {
            let reason = "it is not a plain file: name a file".to_owned();
            return Err(SourceError::NotADataFile { path: path.to_owned(), reason });
        }
        let buffers = (BUFFERS_BYTES / frame_bytes).max(BUFFERS_MIN) as u16;
        let reader = Reader::open(path, frame_bytes, buffers, options)?;
        let state = reader.settled()?;
        let data = reader.data_after(0, state.size_bytes)?;
        let notes = reader.notes().iter().cloned().chain(reader.limits()).collect();
        Ok(Stream { reader, state, frame_bytes, notes, next_asked: 0, next_given: 0, arrived: BTreeMap::new(), data })
    }

    /// The file when the reading began.
    pub fn state(&self) -> &FileState {
        &self.state
    }

    /// What the reader fell back to and what cannot be noticed, in sentences for the user.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// The next frame, or `None` at the end.
    ///
    /// # Errors
    /// [`SourceError::Io`]; [`SourceError::NotNow`] when the file has become shorter.
    pub fn next_frame(&mut self) -> Result<Option<Content>, SourceError> {
        if self.next_given * self.frame_bytes as u64 >= self.state.size_bytes {
            return Ok(None);
        }
        loop {
            self.ask()?;
            if let Some(content) = self.arrived.remove(&self.next_given) {
                self.next_given += 1;
                return Ok(Some(content));
            }
            match self.reader.next_read()? {
                Some(read) => self.take(read)?,
                // All buffers are further down the pipeline, so wait until one comes back.
                None => {
                    let (offset, length) = self.place(self.next_asked);
                    if !self.reader.begin_waiting(offset, length.next_multiple_of(4096), self.next_asked) {
                        return Err(SourceError::io(self.reader.path(), "read", std::io::Error::other("no buffer comes back")));
                    }
                    self.next_asked += 1;
                }
            }
        }
    }

    /// Begins as many reads as there are free buffers.
    fn ask(&mut self) -> Result<(), SourceError> {
        loop {
            let (offset, length) = self.place(self.next_asked);
            if length == 0 {
                return Ok(());
            }
            if self.is_hole(offset, length)? {
                self.arrived.insert(self.next_asked, Content::Hole(length));
            } else if !self.reader.begin(offset, length.next_multiple_of(4096), self.next_asked) {
                return Ok(());
            }
            self.next_asked += 1;
        }
    }

    fn is_hole(&mut self, offset: u64, length: usize) -> Result<bool, SourceError> {
        if self.data.is_some_and(|(_, end)| end <= offset) {
            self.data = self.reader.data_after(offset, self.state.size_bytes)?;
        }
        Ok(self.data.is_none_or(|(start, _)| start >= offset + length as u64))
    }

    fn take(&mut self, read: Read) -> Result<(), SourceError> {
        let (_, length) = self.place(read.token);
        if read.length < length {
            return Err(self.changed());
        }
        self.arrived.insert(read.token, Content::Data(FrameBytes { buffer: read.buffer, length }));
        Ok(())
    }

    /// Where a frame begins, and its size: 0 after the end.
    fn place(&self, number: u64) -> (u64, usize) {
        let offset = number.saturating_mul(self.frame_bytes as u64);
        (offset, self.state.size_bytes.saturating_sub(offset).min(self.frame_bytes as u64) as usize)
    }

    /// Checks that the file is as it was when the reading began, and has its path still.
    ///
    /// # Errors
    /// [`SourceError::NotNow`] when it is not.
    pub fn check_unchanged(&self) -> Result<Verdict, SourceError> {
        let named = FileState::at(self.reader.path()).map_err(|_| self.gone("it was renamed or deleted while it was read"))?;
        if self.state.compare(&named) == Since::Replaced {
            return Err(self.gone("another file took its name while it was read"));
        }
        // Where the path leads to another layer of the file system, it alone shows the change.
        match (self.state.compare(&self.reader.state()?), self.state.compare(&named)) {
            (Since::Unchanged, Since::Unchanged) => Ok(Verdict::Unchanged),
            (Since::Unchanged | Since::Touched, Since::Unchanged | Since::Touched) => Ok(Verdict::Touched),
            _ => Err(self.changed()),
        }
    }

    /// The error for a file that changed while it was read.
    pub fn changed(&self) -> SourceError {
        self.not_now(
            "the file was changed while it was read, so what was read may never have stood in it: nothing was promised. Try again when nobody \
             writes to it",
        )
    }

    fn gone(&self, what: &str) -> SourceError {
        self.not_now(&format!("{what}: nothing was promised. Try again when the file that is meant stands there and stays"))
    }

    fn not_now(&self, reason: &str) -> SourceError {
        SourceError::NotNow { path: self.reader.path().to_owned(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests;
