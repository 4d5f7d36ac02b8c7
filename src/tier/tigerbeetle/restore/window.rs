//! The log of an image: both WAL rings, rewritten completely.
//!
//! Prepares come in order, and each is written into its slot of every image at once. At the end the
//! ring of headers follows, and an empty sector goes into every slot that holds nothing, so that
//! nothing of an earlier use of the file remains.

use crate::disk::target::Target;
use crate::error::{Error, Result};
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::image::{SlotContent, WalImage};
use crate::tb_format::layout::{
    SECTOR_BYTES, WAL_HEADERS_OFFSET, WAL_PREPARES_BYTES, WAL_PREPARES_OFFSET, prepare_offset, sector_ceil, slot_of,
};
use crate::tb_format::wal::{Prepare, reserved_sector, root_sector};

/// The log that is being written into some images.
#[derive(Debug)]
pub struct RestoreWindow<'a> {
    targets: &'a [Target],
    checkpoint: PrepareHeader,
    earlier: Vec<PrepareHeader>,
    headers: Vec<PrepareHeader>,
    bytes_written: u64,
}

/// A log that was written.
#[derive(Debug)]
pub struct WrittenWindow {
    /// The headers of the prepares after the checkpoint, in order.
    pub headers: Vec<PrepareHeader>,
    /// Bytes written into each image.
    pub bytes_written: u64,
}

impl<'a> RestoreWindow<'a> {
    /// Begins the log after the checkpoint with this header.
    pub fn begin(targets: &'a [Target], checkpoint: PrepareHeader) -> RestoreWindow<'a> {
        for target in targets {
            // The old content is overwritten anyway; a hole saves the space.
            target.punch_hole(WAL_PREPARES_OFFSET, WAL_PREPARES_BYTES);
        }
        RestoreWindow { targets, checkpoint, earlier: Vec::new(), headers: Vec::new(), bytes_written: 0 }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.bytes_written += bytes.len() as u64;
        self.targets.iter().try_for_each(|target| target.write(offset, bytes))
    }

    /// Writes the next prepare. Prepares before the checkpoint come first, if there are any, then
    /// those after it.
    pub fn put(&mut self, prepare: &Prepare<'_>) -> Result<()> {
        let header = *prepare.header();
        let (offset, length) = (prepare_offset(slot_of(header.op())), prepare.bytes().len() as u64);
        self.write(offset, prepare.bytes())?;
        // The server expects zeros to the end of the sector.
        let padding = [0; SECTOR_BYTES];
        self.write(offset + length, &padding[..(sector_ceil(length) - length) as usize])?;
        if header.op() > self.checkpoint.op() {
            self.headers.push(header)
        } else {
            self.earlier.push(header)
        }
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Writes the WAL ring of headers and the empty slots.
    ///
    /// # Errors
    /// [`Error::damaged`] when the prepares are not one unbroken log around the checkpoint.
    pub fn finish(mut self) -> Result<WrittenWindow> {
        let checkpoint = self.checkpoint;
        let mut wal = WalImage::new(&checkpoint, self.headers.iter().copied())
            .map_err(|error| Error::damaged(format!("the log does not fit its ring: {error}")).caused_by(error))?;
        wal.add_earlier(&checkpoint, &self.earlier)
            .map_err(|error| Error::damaged(format!("the log before the checkpoint does not fit its ring: {error}")).caused_by(error))?;
        self.write(WAL_HEADERS_OFFSET, wal.headers_zone())?;
        for (slot, content) in (0..).zip(wal.contents()) {
            match content {
                SlotContent::Prepare { .. } => {}
                SlotContent::Root => self.write(prepare_offset(slot), &root_sector(checkpoint.cluster()))?,
                SlotContent::Reserved => self.write(prepare_offset(slot), &reserved_sector(checkpoint.cluster(), slot))?,
            }
        }
        Ok(WrittenWindow { headers: self.headers, bytes_written: self.bytes_written })
    }
}
