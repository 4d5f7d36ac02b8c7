//! Packs: grid blocks, one frame a block, extent after extent.
//!
//! An *extent* is the unit that is stored and looked up: a table (its index block, then its value
//! blocks, in the index block's order) or a single block of a trailer or of the manifest log. The
//! root's (address, checksum) names the whole extent, because an index block holds the checksums of
//! its value blocks. So a manifest needs one row per table, not one per block. Whether a table is
//! stored already is known without reading the table.
//!
//! Flow: [`PackWriter`] opens packs as needed and never splits an extent over two. It lets full
//! packs finish in the background and returns the [`Location`] of each extent. [`PackReader`] reads
//! extents back and checks each block against the reference in the pack's index.
//!
//! Layout: FORMAT.md, "Packs".

use crate::error::{Error, Result};
use crate::pipeline::seal::TAG_BYTES;
use crate::repository::Repository;
use crate::repository::frame::{ObjectKind, TRAILER_BYTES};
use crate::repository::name::{PackName, RunId};
use crate::repository::object_reader::ObjectReader;
use crate::repository::object_writer::{Finishing, ObjectWriter};
use crate::repository::wire::Fields;
use crate::store::Digest;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::table::record_bytes_of;
use std::sync::Arc;

/// A pack is closed at the first extent after so many stored bytes. This is large enough that 16
/// TiB are some 100 000 objects, and small enough to verify and fetch a pack alone.
pub const PACK_BYTES_TARGET: u64 = 64 * 1024 * 1024;
/// A pack is also closed after so many blocks. This bounds its index to 150 KB even where blocks
/// compress to almost nothing.
pub const PACK_BLOCKS_TARGET: u64 = 4096;
/// Size of a block's row in a pack's index.
const ENTRY_BYTES: usize = 24;
/// Bytes that a block adds to its pack's index: its frame's row of 12 bytes and its own row.
const INDEX_BYTES_A_BLOCK: u64 = 12 + ENTRY_BYTES as u64;
/// Bytes that the end of a pack holds besides: the trailer, the index's tag and its counts.
const INDEX_FIXED_BYTES: u64 = (TRAILER_BYTES + TAG_BYTES + 8) as u64;

/// A pack as a manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackEntry {
    /// Its name.
    pub name: PackName,
    /// Its number of frames, which is its number of blocks.
    pub blocks: u32,
    /// Its stored size.
    pub stored_bytes: u64,
    /// Its digest ([`crate::repository::stored_object::object_digest`]).
    pub digest: Digest,
}

/// Where an extent lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack's position in the pack table of the manifest (or of the run that writes it).
    pub pack: u32,
    /// The frame of the extent's root.
    pub first_frame: u32,
    /// How many blocks it has, the root included.
    pub blocks: u32,
}

struct OpenPack {
    name: PackName,
    writer: ObjectWriter,
    entries: Vec<u8>,
}

/// Writes extents into packs.
pub struct PackWriter {
    repository: Arc<Repository>,
    run: RunId,
    checkpoint_op: u64,
    /// Position in the pack table of this run's first pack.
    base: u32,
    begun: u32,
    open: Option<OpenPack>,
    finishing: Vec<(PackName, Finishing)>,
    finished: Vec<PackEntry>,
    extent_first_frame: u32,
}

impl PackWriter {
    /// A writer for the packs of one run. `base` is the number of packs that the run's pack table
    /// begins with (those of the manifest it builds on).
    pub fn new(repository: &Arc<Repository>, run: RunId, checkpoint_op: u64, base: u32) -> PackWriter {
        PackWriter {
            repository: Arc::clone(repository),
            run,
            checkpoint_op,
            base,
            begun: 0,
            open: None,
            finishing: Vec::new(),
            finished: Vec::new(),
            extent_first_frame: 0,
        }
    }

    /// Begins an extent, in a new pack where the open one is full.
    pub fn begin_extent(&mut self) -> Result<()> {
        let full = |pack: &OpenPack| pack.writer.stored_bytes() >= PACK_BYTES_TARGET || pack.writer.frames() >= PACK_BLOCKS_TARGET;
        if self.open.as_ref().is_some_and(full) {
            self.close_pack()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let name = PackName { checkpoint_op: self.checkpoint_op, run: self.run, sequence: self.begun };
                self.begun += 1;
                let writer = ObjectWriter::create(&self.repository, ObjectKind::Pack, name.object())?;
                none.insert(OpenPack { name, writer, entries: Vec::new() })
            }
        };
        self.extent_first_frame = open.writer.frames() as u32;
        Ok(())
    }

    /// Adds a block to the extent. `plain` must be exactly the bytes that were checked against
    /// `reference`.
    pub fn block(&mut self, reference: BlockReference, plain: impl AsRef<[u8]> + Send + 'static) -> Result<()> {
        let open = self.open.as_mut().ok_or_else(|| Error::bug("a block outside an extent"))?;
        let record_bytes = record_bytes_of(plain.as_ref());
        open.writer.push_records(plain, record_bytes)?;
        open.entries.extend_from_slice(&reference.address.to_le_bytes());
        open.entries.extend_from_slice(&reference.checksum.0.to_le_bytes());
        Ok(())
    }

    /// Ends the extent. Returns where it lies.
    pub fn end_extent(&mut self) -> Result<Location> {
        let open = self.open.as_ref().ok_or_else(|| Error::bug("an end without an extent"))?;
        let blocks = open.writer.frames() as u32 - self.extent_first_frame;
        Ok(Location { pack: self.base + self.begun - 1, first_frame: self.extent_first_frame, blocks })
    }

    fn close_pack(&mut self) -> Result<()> {
        // One pack may be finishing while the next is written. More would need more memory than the
        // budget has.
        while self.finishing.len() > 1 {
            let (name, finishing) = self.finishing.remove(0);
            self.finished.push(entry(name, finishing)?);
        }
        if let Some(open) = self.open.take() {
            self.finishing.push((open.name, open.writer.finish(open.entries)?));
        }
        Ok(())
    }

    /// Finishes all packs. Returns their rows for the pack table, in order.
    pub fn finish(mut self) -> Result<Vec<PackEntry>> {
        self.close_pack()?;
        for (name, finishing) in self.finishing.drain(..) {
            self.finished.push(entry(name, finishing)?);
        }
        Ok(self.finished)
    }
}

fn entry(name: PackName, finishing: Finishing) -> Result<PackEntry> {
    let stored = finishing.wait()?;
    Ok(PackEntry { name, blocks: stored.frames, stored_bytes: stored.size_bytes, digest: stored.digest })
}

/// Reads extents of one pack.
pub struct PackReader<'a> {
    object: ObjectReader<'a>,
    references: Vec<BlockReference>,
}

impl<'a> PackReader<'a> {
    /// Opens a pack that a manifest lists.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is not the pack that the manifest lists.
    pub fn open(repository: &'a Repository, entry: &PackEntry) -> Result<PackReader<'a>> {
        let name = entry.name.object();
        // The number of blocks bounds the size of the index. So a restore that needs little of the
        // pack fetches little more than that.
        let tail_bytes = INDEX_FIXED_BYTES + u64::from(entry.blocks) * INDEX_BYTES_A_BLOCK;
        let object = ObjectReader::open_with_tail(repository, ObjectKind::Pack, &name, Some(entry.stored_bytes), tail_bytes)?;
        let references = decode_entries(&object.index.entries).filter(|references| references.len() == object.index.frames.len());
        match references {
            Some(references) if references.len() == entry.blocks as usize => Ok(PackReader { object, references }),
            _ => Err(Error::damaged(format!("{name}: its index does not list {} blocks", entry.blocks))),
        }
    }

    /// The references of the blocks in frames `first .. first + count`.
    pub fn references(&self, first: u32, count: u32) -> Option<&[BlockReference]> {
        self.references.get(first as usize..first.checked_add(count)? as usize)
    }

    /// Sealed bytes of frames `first .. first + count`, or `None` if there are not so many.
    pub fn stored_bytes(&self, first: u32, count: u32) -> Option<u64> {
        self.object.stored_bytes(first, count)
    }

    /// The pack's name.
    pub fn name(&self) -> &str {
        self.object.name()
    }

    /// Bytes of the pack that opening it fetched.
    pub fn opening_bytes(&self) -> u64 {
        self.object.opening_bytes()
    }

    /// Plain size of the block in a frame, or `None` if there is no such frame.
    pub fn block_bytes(&self, frame: u32) -> Option<usize> {
        self.object.index.frames.get(frame as usize).map(|row| row.plain_bytes as usize)
    }

    /// Fetches the sealed frames `first .. first + count` into `buffer`, which must be exactly as
    /// long as they are ([`PackReader::stored_bytes`]).
    ///
    /// # Errors
    /// [`Error::damaged`] when there are not so many frames, and the errors of the store.
    pub fn fetch_into(&self, first: u32, count: u32, buffer: &mut [u8]) -> Result<()> {
        self.object.fetch_into(first, count, buffer)
    }

    /// Opens a fetched frame in place and expands it into `out`, which must be as long as
    /// [`PackReader::block_bytes`] says. The block is checked against its reference by
    /// TigerBeetle's own checksums.
    ///
    /// # Errors
    /// [`Error::damaged`] when the block does not match its reference.
    pub fn open_into(&self, frame: u32, sealed: &mut [u8], out: &mut [u8]) -> Result<()> {
        self.object.open_into(frame, sealed, out)?;
        let reference = self.references(frame, 1).and_then(|references| references.first().copied());
        self.check_block(reference.ok_or_else(|| Error::bug(format!("{}: no reference for frame {frame}", self.object.name())))?, out)
    }

    fn check_block(&self, reference: BlockReference, bytes: &[u8]) -> Result<()> {
        let place =
            |error| Error::damaged(format!("{}: block at address {}: {error}", self.object.name(), reference.address)).caused_by(error);
        if Block::check(bytes, reference).map_err(place)?.bytes().len() == bytes.len() {
            return Ok(());
        }
        Err(Error::damaged(format!("{}: block at address {} has bytes behind its end", self.object.name(), reference.address)))
    }

    /// The blocks in frames `first .. first + count`, each checked against its reference by
    /// TigerBeetle's own checksums.
    ///
    /// # Errors
    /// [`Error::damaged`] when a block does not match its reference.
    pub fn blocks(&self, first: u32, count: u32) -> Result<Vec<(BlockReference, Vec<u8>)>> {
        let plain = self.object.frames(first, count)?;
        let references = self.references(first, count).unwrap_or_default();
        let mut blocks = Vec::with_capacity(plain.len());
        for (reference, bytes) in references.iter().zip(plain) {
            self.check_block(*reference, &bytes)?;
            blocks.push((*reference, bytes));
        }
        Ok(blocks)
    }
}

fn decode_entries(entries: &[u8]) -> Option<Vec<BlockReference>> {
    if !entries.len().is_multiple_of(ENTRY_BYTES) {
        return None;
    }
    let mut references = Vec::with_capacity(entries.len() / ENTRY_BYTES);
    let mut fields = Fields::new(entries);
    while fields.end().is_none() {
        references.push(BlockReference { address: fields.u64()?, checksum: Checksum(fields.u128()?) });
    }
    Some(references)
}

#[cfg(test)]
mod tests;
