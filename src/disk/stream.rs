//! A whole file from its beginning to its end, frame by frame, read ahead.
//!
//! Flow: as many reads are in flight as there are free buffers ([`super::file::Reader`]);
//! [`Stream::next_frame`] returns frames in order. A frame that lies in a hole of the file is not
//! read. At the end, [`Stream::check_unchanged`] tells whether the file stayed the same meanwhile.

use super::arena::Buffer;
use super::file::{Read, ReadOptions, Reader};
use crate::disk::read_error::SourceError;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

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

/// A file being read.
#[derive(Debug)]
pub struct Stream {
    reader: Reader,
    file_bytes: u64,
    frame_bytes: usize,
    modified: Option<SystemTime>,
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
    /// [`SourceError::Io`]; [`SourceError::NotADataFile`] for a directory or the like.
    pub fn open(path: &Path, frame_bytes: usize, options: ReadOptions) -> Result<Stream, SourceError> {
        let metadata = std::fs::metadata(path).map_err(|error| SourceError::io(path, "open", error))?;
        if !metadata.is_file() {
            let reason = "it is not a plain file: name a file".to_owned();
            return Err(SourceError::NotADataFile { path: path.to_owned(), reason });
        }
        let buffers = (BUFFERS_BYTES / frame_bytes).max(BUFFERS_MIN) as u16;
        let reader = Reader::open(path, frame_bytes, buffers, options)?;
        let (file_bytes, modified) = (reader.file_bytes()?, reader.modified()?);
        let data = reader.data_after(0, file_bytes)?;
        Ok(Stream { reader, file_bytes, frame_bytes, modified, next_asked: 0, next_given: 0, arrived: BTreeMap::new(), data })
    }

    /// The file's size when it was opened.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// When the file had last been changed at that time, in nanoseconds since 1970.
    pub fn modified_ns(&self) -> u64 {
        let since = self.modified.and_then(|modified| modified.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// What the reader fell back to, in sentences for the user.
    pub fn notes(&self) -> &[String] {
        self.reader.notes()
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
        if self.next_given * self.frame_bytes as u64 >= self.file_bytes {
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
            self.data = self.reader.data_after(offset, self.file_bytes)?;
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
        (offset, self.file_bytes.saturating_sub(offset).min(self.frame_bytes as u64) as usize)
    }

    /// Checks that the file is as it was when it was opened.
    ///
    /// # Errors
    /// [`SourceError::NotNow`] when it is not.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        if self.reader.file_bytes()? == self.file_bytes && self.reader.modified()? == self.modified {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> SourceError {
        SourceError::NotNow {
            path: self.reader.path().to_owned(),
            reason: "the file was changed while it was read, so what was read may never have stood in it: nothing was promised. Try again when nobody \
                     writes to it"
                .to_owned(),
        }
    }
}
