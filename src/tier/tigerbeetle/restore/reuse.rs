//! What need not be fetched, because the disk already has it.
//!
//! Blocks may be in the temporary file that a killed restore left, in one that began as a copy of
//! an older image, or in that older image itself. Each is read and checked in full against its
//! reference: header, body and size. So it does not matter where the bytes come from, or whether a
//! server is writing to the older image meanwhile. A block that does not pass counts as missing.
//!
//! A file that is not empty at the start is also cleared of everything that the image must not
//! have: what follows a block in its place, and the places of unreachable blocks.

use crate::disk::target::Target;
use crate::disk::writer::WriteTarget;
use crate::error::{Error, Result};
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::layout::{BLOCK_BYTES, GRID_OFFSET, sector_ceil};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a block belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The reference that identifies it.
    pub reference: BlockReference,
    /// Its place in the file.
    pub offset: u64,
    /// Its size; it is read and written up to the end of its last sector.
    pub size_bytes: usize,
}

impl Spot {
    /// Size with the last sector filled up.
    pub fn padded_bytes(&self) -> usize {
        sector_ceil(self.size_bytes as u64) as usize
    }
}

/// Whether a place held a block.
enum Found {
    No,
    /// Other bytes follow it in its last sector; in the buffer these bytes are zero now.
    Untidy,
    Yes,
}

/// What the disk already holds.
#[derive(Debug)]
pub struct ReusableBlocks<'a> {
    targets: &'a [Target],
    /// Which targets were not empty.
    used: Vec<bool>,
    /// An older image, if not all targets began as its copy.
    base: Option<WriteTarget>,
    /// A bit for each place of the grid that holds a block of the image.
    taken: Vec<AtomicU64>,
}

impl<'a> ReusableBlocks<'a> {
    /// Sets the length of the targets, and finds out what they and an older image hold. In targets
    /// that were not empty everything before the grid is cleared.
    ///
    /// # Errors
    /// [`Error::input`] when the older image cannot be read; those of the targets.
    pub fn new(targets: &'a [Target], base: Option<&Path>, length_bytes: u64) -> Result<ReusableBlocks<'a>> {
        if let Some(base) = base {
            check_base(base)?;
        }
        let mut used = Vec::with_capacity(targets.len());
        for target in targets {
            let mut is_used = target.is_adopted();
            if let Some(base) = base.filter(|_| !is_used) {
                is_used = target.copy_at_once(base);
            }
            target.set_length(length_bytes)?;
            if is_used {
                target.clear(0, GRID_OFFSET.min(length_bytes))?;
            }
            used.push(is_used);
        }
        let is_copied = |(target, used): (&Target, &bool)| *used && !target.is_adopted();
        let base = base.filter(|_| !targets.iter().zip(&used).all(is_copied));
        let base = base.map(|path| WriteTarget::to_read(path).map_err(|error| unreadable(path, error)));
        let words = if used.contains(&true) { slots(length_bytes).div_ceil(64) } else { 0 };
        let taken = (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(ReusableBlocks { targets, used, base: base.transpose()?, taken })
    }

    /// Whether there is nothing to look at.
    pub fn is_nothing(&self) -> bool {
        self.base.is_none() && !self.used.contains(&true)
    }

    /// Looks for a block. If some place holds it, `buffer` gets it, padded with zeros, and the
    /// result is the list of targets that lack it.
    ///
    /// # Errors
    /// Those of clearing the targets. A place that cannot be read holds nothing.
    pub fn find(&self, spot: Spot, places: &[WriteTarget], buffer: &mut [u8]) -> Result<Option<Vec<usize>>> {
        let mut missing = Vec::new();
        let mut found_in = None;
        for (index, target) in self.targets.iter().enumerate() {
            if !self.used[index] {
                missing.push(index);
                continue;
            }
            self.take(spot.offset);
            target.clear(spot.offset + spot.padded_bytes() as u64, spot.offset + BLOCK_BYTES as u64)?;
            match read(&places[index], spot, buffer) {
                Found::No => missing.push(index),
                Found::Untidy => {
                    found_in = Some(&places[index]);
                    missing.push(index);
                }
                Found::Yes => found_in = Some(&places[index]),
            }
        }
        if missing.is_empty() {
            return Ok(Some(missing));
        }
        // It is read once more, because another place may have been read into the buffer since.
        let sources = found_in.into_iter().chain(&self.base);
        Ok(sources.into_iter().any(|place| !matches!(read(place, spot, buffer), Found::No)).then_some(missing))
    }

    fn take(&self, offset: u64) {
        let slot = slots(offset);
        if let Some(word) = self.taken.get(slot / 64) {
            word.fetch_or(1 << (slot % 64), Ordering::Relaxed);
        }
    }

    /// Clears the places where no block was looked for.
    ///
    /// # Errors
    /// Those of clearing the targets.
    pub fn clear_rest(&self, length_bytes: u64) -> Result<()> {
        let is_taken = |slot: usize| self.taken[slot / 64].load(Ordering::Relaxed) & (1 << (slot % 64)) != 0;
        let offset_of = |slot: usize| GRID_OFFSET + slot as u64 * BLOCK_BYTES as u64;
        let used: Vec<&Target> = self.targets.iter().zip(&self.used).filter(|(_, used)| **used).map(|(target, _)| target).collect();
        let count = if used.is_empty() { 0 } else { slots(length_bytes) };
        let mut slot = 0;
        while slot < count {
            let begin = slot;
            while slot < count && !is_taken(slot) {
                slot += 1;
            }
            for target in &used {
                target.clear(offset_of(begin), offset_of(slot))?;
            }
            slot += 1;
        }
        Ok(())
    }
}

/// Opening anything else might wait for ever.
fn check_base(path: &Path) -> Result<()> {
    let kind = std::fs::metadata(path).map_err(|error| unreadable(path, error))?.file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(());
    }
    Err(Error::input(format!("{}: the older image must be a data file", path.display())))
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::input(format!("{}: the older image cannot be read: {error}", path.display())).caused_by(error)
}

/// How many complete places of the grid lie before an offset.
fn slots(offset: u64) -> usize {
    (offset.saturating_sub(GRID_OFFSET) / BLOCK_BYTES as u64) as usize
}

fn read(place: &WriteTarget, spot: Spot, buffer: &mut [u8]) -> Found {
    let padded = &mut buffer[..spot.padded_bytes()];
    // A place that cannot be read holds nothing; the block is fetched then.
    if place.read(spot.offset, padded).ok() != Some(padded.len()) {
        return Found::No;
    }
    let (bytes, behind) = padded.split_at_mut(spot.size_bytes);
    if !Block::check(bytes, spot.reference).is_ok_and(|block| block.bytes().len() == spot.size_bytes) {
        return Found::No;
    }
    if behind.iter().all(|byte| *byte == 0) {
        return Found::Yes;
    }
    behind.fill(0);
    Found::Untidy
}
