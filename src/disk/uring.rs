//! The only module that uses io_uring.
//!
//! Flow: [`Uring::read`] and [`Uring::write`] take a buffer and hand it to the kernel.
//! [`Uring::completed`] returns it with the number of bytes moved. While an operation is in flight
//! its buffer belongs to the [`Uring`], so nobody can touch or free it. A [`Uring`] that is dropped
//! first waits for what is in flight. Buffers of the arena are registered with io_uring where the
//! kernel's lock limit allows it, which saves pinning their pages every time.

use super::arena::{Arena, Buffer};
use io_uring::{IoUring, opcode, squeue, types};
use std::fs::File;
use std::os::fd::AsRawFd;

/// One finished read or write.
#[derive(Debug)]
pub struct Completed {
    /// The caller's number for it.
    pub token: u64,
    /// The buffer; its first `length` bytes were moved.
    pub buffer: Buffer,
    /// How many bytes the kernel moved, or why it did not.
    pub result: std::io::Result<usize>,
}

/// An io_uring for one file, or for several that are written alike.
pub struct Uring {
    uring: IoUring,
    files: Vec<File>,
    /// What is in flight by slot; a slot's number is the kernel's user data.
    slots: Vec<Option<(u64, Buffer)>>,
    free: Vec<u16>,
    registered: bool,
}

impl Uring {
    /// An io_uring that reads `file` into buffers of `arena`, at most `depth` at once.
    ///
    /// # Errors
    /// Where the kernel has no io_uring or refuses it to this process (seccomp,
    /// `kernel.io_uring_disabled`).
    pub fn new(file: &File, arena: &Arena, depth: u16) -> std::io::Result<Uring> {
        Uring::over(vec![file.try_clone()?], arena, depth)
    }

    /// The same for several files: [`Uring::read`] reads the first, [`Uring::write`] writes any of
    /// them.
    ///
    /// # Errors
    /// Those of [`Uring::new`].
    pub fn over(files: Vec<File>, arena: &Arena, depth: u16) -> std::io::Result<Uring> {
        let uring = IoUring::builder().setup_coop_taskrun().build(u32::from(depth)).or_else(|_| IoUring::new(u32::from(depth)))?;
        let registered = register(&uring, arena);
        let slots = (0..depth).map(|_| None).collect();
        Ok(Uring { uring, files, slots, free: (0..depth).collect(), registered })
    }

    /// Whether the arena's buffers are registered with the kernel.
    pub fn registered(&self) -> bool {
        self.registered
    }

    /// How many reads and writes are in flight.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Begins a read of `length` bytes at `offset`. Returns the buffer if the io_uring is full or
    /// the buffer is too small.
    ///
    /// # Errors
    /// The buffer, unread.
    pub fn read(&mut self, mut buffer: Buffer, offset: u64, length: usize, token: u64) -> Result<(), Buffer> {
        let Some((descriptor, length)) = self.place(0, &buffer, length) else { return Err(buffer) };
        let entry = if self.registered {
            opcode::ReadFixed::new(descriptor, buffer.as_mut_ptr(), length, buffer.index()).offset(offset).build()
        } else {
            opcode::Read::new(descriptor, buffer.as_mut_ptr(), length).offset(offset).build()
        };
        self.begin(entry, buffer, token)
    }

    /// Begins a write of the buffer's first `length` bytes at `offset` of file number `file`.
    /// Returns the buffer if the io_uring is full or there is no such file.
    ///
    /// # Errors
    /// The buffer, unwritten.
    pub fn write(&mut self, file: usize, buffer: Buffer, offset: u64, length: usize, token: u64) -> Result<(), Buffer> {
        let Some((descriptor, length)) = self.place(file, &buffer, length) else { return Err(buffer) };
        let entry = if self.registered {
            opcode::WriteFixed::new(descriptor, buffer.as_ptr(), length, buffer.index()).offset(offset).build()
        } else {
            opcode::Write::new(descriptor, buffer.as_ptr(), length).offset(offset).build()
        };
        self.begin(entry, buffer, token)
    }

    fn place(&self, file: usize, buffer: &Buffer, length: usize) -> Option<(types::Fd, u32)> {
        Some((types::Fd(self.files.get(file)?.as_raw_fd()), u32::try_from(length.min(buffer.len())).ok()?))
    }

    #[allow(unsafe_code)]
    fn begin(&mut self, entry: squeue::Entry, buffer: Buffer, token: u64) -> Result<(), Buffer> {
        let Some(slot) = self.free.pop() else { return Err(buffer) };
        let entry = entry.user_data(u64::from(slot));
        // SAFETY: the file stays open and the buffer stays owned by `slots` until the completion
        // for this slot arrives, also when the io_uring is dropped; the entry was built from this
        // buffer with at most its length, and its memory does not move when the handle is stored.
        if unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.free.push(slot);
            return Err(buffer);
        }
        self.slots[usize::from(slot)] = Some((token, buffer));
        Ok(())
    }

    /// Submits the operations that were begun and takes one that is finished. With `wait` it waits
    /// for one if any is in flight.
    ///
    /// # Errors
    /// Where the kernel refuses to continue.
    pub fn completed(&mut self, wait: bool) -> std::io::Result<Option<Completed>> {
        loop {
            if let Some(completed) = self.take_completion() {
                return Ok(Some(completed));
            }
            let wanted = usize::from(wait && self.in_flight() > 0);
            match self.uring.submit_and_wait(wanted) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted || error.raw_os_error() == Some(EBUSY) => continue,
                Err(error) => return Err(error),
            }
            if wanted == 0 {
                return Ok(self.take_completion());
            }
        }
    }

    fn take_completion(&mut self) -> Option<Completed> {
        let entry = self.uring.completion().next()?;
        let slot = u16::try_from(entry.user_data()).ok()?;
        let (token, buffer) = self.slots.get_mut(usize::from(slot))?.take()?;
        self.free.push(slot);
        let result = usize::try_from(entry.result()).map_err(|_| std::io::Error::from_raw_os_error(-entry.result()));
        Some(Completed { token, buffer, result })
    }
}

/// The completion queue is full; taking completions makes room.
const EBUSY: i32 = 16;

/// Registers every buffer of the arena completely; `false` if the lock limit is too low (8 MiB is
/// the usual one).
#[allow(unsafe_code)]
fn register(uring: &IoUring, arena: &Arena) -> bool {
    let vectors: Vec<libc::iovec> =
        arena.regions().iter().map(|(address, length)| libc::iovec { iov_base: *address as *mut libc::c_void, iov_len: *length }).collect();
    // SAFETY: the kernel pins the pages of these regions for the life of the io_uring; it reads or
    // writes them only for what is in flight, whose buffer the [`Uring`] owns.
    unsafe { uring.submitter().register_buffers(&vectors) }.is_ok()
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            if self.completed(true).is_err() {
                // The kernel may still write into these buffers, so they must never be reused.
                for slot in self.slots.drain(..) {
                    std::mem::forget(slot);
                }
                self.free.clear();
                return;
            }
        }
    }
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Uring({} in flight)", self.in_flight())
    }
}
