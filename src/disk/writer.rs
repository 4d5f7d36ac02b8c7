//! Files that are written alike from an arena's buffers, past the page cache.
//!
//! Flow: a [`WriteTarget`] is one file, opened both with O_DIRECT and without. A [`Writer`] sets up
//! one io_uring for the targets. [`Writer::take`] hands out a buffer. [`Writer::write`] begins to
//! write it to the chosen targets, one after the other, and the buffer is free again when the last
//! has it. [`Writer::finish`] waits for all writes. What the kernel refuses to write past the page
//! cache, or through io_uring at all, is written with plain writes. After a write that failed every
//! call fails, so a caller that retries because of other errors cannot miss it. Each thread has a
//! writer of its own; the threads share the targets.

use super::arena::{Arena, Buffer};
use super::uring::{Completed, Uring};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Which of the system's faster ways to write may be used. All of them, unless a test decides
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Past the page cache.
    pub direct: bool,
    /// Through io_uring.
    pub uring: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions { direct: true, uring: true }
    }
}

/// A file that is open in two ways: past the page cache, and through it for whatever the first
/// refuses.
#[derive(Debug)]
pub struct WriteTarget {
    plain: File,
    direct: Option<File>,
}

impl WriteTarget {
    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// The system's error.
    pub fn to_read(path: &Path) -> Result<WriteTarget> {
        WriteTarget::open(path, false, true)
    }

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// The system's error.
    pub fn to_write(path: &Path, options: WriteOptions) -> Result<WriteTarget> {
        WriteTarget::open(path, true, options.direct)
    }

    fn open(path: &Path, write: bool, direct: bool) -> Result<WriteTarget> {
        let open = |flags: OFlags| std::fs::OpenOptions::new().read(true).write(write).custom_flags(flags.bits() as i32).open(path);
        let plain = open(OFlags::CLOEXEC)?;
        let direct = if direct { open(OFlags::DIRECT | OFlags::CLOEXEC).ok() } else { None };
        Ok(WriteTarget { plain, direct })
    }

    /// Whether the file can be accessed past the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Reads into the whole buffer, which is aligned to 4096 bytes in memory, as `offset` is in the
    /// file. Returns how many bytes there were: fewer only at the end of the file.
    ///
    /// # Errors
    /// The system's error.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            let place = offset + got as u64;
            match either(self, |file| file.read_at(&mut buffer[got..], place)) {
                Ok(0) => break,
                Ok(length) => got += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The system's error.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        either(self, |file| file.write_all_at(bytes, offset))
    }
}

/// Tries the access past the page cache, and the other one if the first takes no such request.
fn either<T>(place: &WriteTarget, mut action: impl FnMut(&File) -> Result<T>) -> Result<T> {
    match place.direct.as_ref().map(&mut action) {
        None => action(&place.plain),
        Some(Err(error)) if error.kind() == ErrorKind::InvalidInput => action(&place.plain),
        Some(done) => done,
    }
}

/// A write that failed.
#[derive(Debug)]
pub struct Failed {
    /// The number of its target.
    pub place: usize,
    /// The system's error.
    pub error: Error,
}

/// A buffer that is being written.
#[derive(Debug)]
struct WriteInFlight {
    token: u64,
    offset: u64,
    length: usize,
    /// The target that it is being written to now.
    place: usize,
    /// The targets that follow, the next one last.
    rest: Vec<usize>,
}

/// Writes buffers of its own arena to its targets.
#[derive(Debug)]
pub struct Writer {
    places: Arc<[WriteTarget]>,
    arena: Arena,
    ring: Option<Uring>,
    under_way: Vec<WriteInFlight>,
    begun: u64,
    /// The first write that failed.
    failed: Option<Failed>,
}

impl Failed {
    fn again(&self) -> Failed {
        let same = || Error::new(self.error.kind(), self.error.to_string());
        Failed { place: self.place, error: self.error.raw_os_error().map_or_else(same, Error::from_raw_os_error) }
    }
}

impl Writer {
    /// A writer with `buffers` buffers of `buffer_bytes` each, all of which may be in flight at
    /// once.
    ///
    /// # Errors
    /// If such an arena is not possible ([`Arena::new`]).
    pub fn new(places: &Arc<[WriteTarget]>, buffer_bytes: usize, buffers: u16, options: WriteOptions) -> Result<Writer> {
        let arena = Arena::new(buffer_bytes, buffers)
            .ok_or_else(|| Error::other(format!("{buffers} buffers of {buffer_bytes} bytes are no arena")))?;
        // Without O_DIRECT the kernel would hand each write to a thread of its own, and nothing
        // would be gained.
        let direct: Option<Vec<&File>> = places.iter().map(|place| place.direct.as_ref()).collect();
        let files = direct.filter(|_| options.uring).and_then(|files| files.into_iter().map(|file| file.try_clone().ok()).collect());
        let ring = files.and_then(|files| Uring::over(files, &arena, buffers).ok());
        Ok(Writer { places: Arc::clone(places), arena, ring, under_way: Vec::new(), begun: 0, failed: None })
    }

    /// Whether it writes through io_uring.
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Takes a free buffer, and waits for one that is in flight.
    ///
    /// # Errors
    /// [`Failed`] when a write has failed, or when the caller itself holds all buffers.
    pub fn take(&mut self) -> std::result::Result<Buffer, Failed> {
        self.check()?;
        loop {
            if let Some(buffer) = self.arena.take() {
                return Ok(buffer);
            }
            if !self.step(true)? {
                return Err(Failed { place: 0, error: Error::other("no buffer is free") });
            }
        }
    }

    /// Begins to write the buffer's first `length` bytes (a multiple of 4096, as is `offset`) to
    /// these targets.
    ///
    /// # Errors
    /// [`Failed`], for this buffer or one before.
    pub fn write(&mut self, buffer: Buffer, offset: u64, length: usize, places: Vec<usize>) -> std::result::Result<(), Failed> {
        self.check()?;
        self.begun += 1;
        self.go_on(WriteInFlight { token: self.begun, offset, length, place: 0, rest: places }, buffer)?;
        // This submits the write now, and not only when somebody waits.
        while self.step(false)? {}
        Ok(())
    }

    /// Waits for all writes in flight.
    ///
    /// # Errors
    /// [`Failed`] for the first write that failed.
    pub fn finish(&mut self) -> std::result::Result<(), Failed> {
        self.check()?;
        while self.step(true)? {}
        Ok(())
    }

    fn check(&self) -> std::result::Result<(), Failed> {
        self.failed.as_ref().map_or(Ok(()), |failed| Err(failed.again()))
    }

    fn fail(&mut self, place: usize, error: Error) -> Failed {
        self.failed.get_or_insert(Failed { place, error }).again()
    }

    /// Continues with the next target. When there is none, the buffer becomes free.
    fn go_on(&mut self, mut under_way: WriteInFlight, mut buffer: Buffer) -> std::result::Result<(), Failed> {
        while let Some(place) = under_way.rest.pop() {
            under_way.place = place;
            let (offset, length, token) = (under_way.offset, under_way.length, under_way.token);
            let unwritten = match &mut self.ring {
                Some(ring) => ring.write(place, buffer, offset, length, token).err(),
                None => Some(buffer),
            };
            let Some(back) = unwritten else {
                self.under_way.push(under_way);
                return Ok(());
            };
            self.places[place].write(offset, &back[..length]).map_err(|error| self.fail(place, error))?;
            buffer = back;
        }
        Ok(())
    }

    /// Takes one finished write; `false` if there is none (with `wait`: none in flight).
    fn step(&mut self, wait: bool) -> std::result::Result<bool, Failed> {
        let Some(ring) = &mut self.ring else { return Ok(false) };
        let completed = ring.completed(wait).map_err(|error| self.fail(0, error))?;
        let Some(Completed { token, buffer, result }) = completed else { return Ok(false) };
        let Some(position) = self.under_way.iter().position(|candidate| candidate.token == token) else { return Ok(true) };
        let under_way = self.under_way.swap_remove(position);
        let place = under_way.place;
        let written = match result {
            Ok(written) => written,
            // A signal, or a file system that takes no such request: try a plain write.
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::InvalidInput) => 0,
            Err(error) => return Err(self.fail(place, error)),
        };
        if written < under_way.length {
            let rest = self.places[place].write(under_way.offset + written as u64, &buffer[written..under_way.length]);
            rest.map_err(|error| self.fail(place, error))?;
        }
        self.go_on(under_way, buffer)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
