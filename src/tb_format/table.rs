//! Tables: an index block and the value blocks that it names (`lsm/schema.zig` `TableIndex`,
//! `TableValue`).
//!
//! Both kinds of block carry what is needed to read them (sizes, counts), so nothing here depends
//! on the tree. The counts are checked against the block's size before anything is read with them.

use super::bytes::{array_at, u8_at, u16_at, u32_at, zeroed};
use super::checksum::Checksum;
use super::error::LedgerError;
use super::frame::{COMMAND_BLOCK, HeaderBytes, require, require_zeroed};
use super::grid::{Block, BlockKind, BlockReference};
use super::layout::{BLOCK_BYTES, HEADER_BYTES};

/// A stored checksum: 16 bytes and 16 bytes of padding.
const CHECKSUM_BYTES: usize = 32;
/// A stored address.
const ADDRESS_BYTES: usize = size_of::<u64>();
/// The largest key for which the manifest has room.
const KEY_BYTES_MAX: u32 = 32;
/// Value blocks that an index block can name (`lsm_table_value_blocks_max`).
pub const VALUE_BLOCKS_MAX: u32 = ((BLOCK_BYTES - HEADER_BYTES) / (CHECKSUM_BYTES + ADDRESS_BYTES)) as u32;

/// A table's index block.
#[derive(Debug, Copy, Clone)]
pub struct IndexBlock<'a> {
    tree_id: u16,
    key_bytes: usize,
    checksums: &'a [[u8; CHECKSUM_BYTES]],
    /// The lowest key of each value block for which there is room.
    keys_min: &'a [u8],
    /// The highest key of each.
    keys_max: &'a [u8],
    addresses: &'a [[u8; ADDRESS_BYTES]],
}

impl<'a> IndexBlock<'a> {
    /// Checks that the block is an index block, and checks every reference in it.
    ///
    /// # Errors
    /// [`LedgerError::Field`].
    pub fn from_block(block: Block<'a>) -> Result<IndexBlock<'a>, LedgerError> {
        block.require_kind(BlockKind::Index)?;
        let metadata = block.metadata();
        let (count, count_max, key_bytes) = (u32_at::<0, _>(metadata), u32_at::<4, _>(metadata), u32_at::<8, _>(metadata));
        require((1..=VALUE_BLOCKS_MAX).contains(&count_max), "index: most value blocks", count_max)?;
        require((1..=count_max).contains(&count), "index: number of value blocks", count)?;
        require((1..=KEY_BYTES_MAX).contains(&key_bytes), "index: size of a key", key_bytes)?;
        require_zeroed("index: reserved metadata", array_at::<14, 82, _>(metadata))?;

        // Both factors are bounded above, so the products are small.
        let (count_max, key_bytes) = (count_max as usize, key_bytes as usize);
        let body = block.body();
        let addresses_offset = count_max * (CHECKSUM_BYTES + 2 * key_bytes);
        require(body.len() == addresses_offset + count_max * ADDRESS_BYTES, "index: size", block.bytes().len() as u64)?;
        let checksums = body.as_chunks().0.get(..count as usize).unwrap_or_default();
        let addresses = body.get(addresses_offset..).unwrap_or_default().as_chunks().0.get(..count as usize).unwrap_or_default();
        for (checksum, address) in checksums.iter().zip(addresses) {
            require(zeroed(array_at::<16, 16, CHECKSUM_BYTES>(checksum)), "index: checksum padding", count)?;
            require(u64::from_le_bytes(*address) != 0, "index: address of a value block", 0u8)?;
        }
        let keys = body.get(count_max * CHECKSUM_BYTES..addresses_offset).unwrap_or_default();
        let (keys_min, keys_max) = keys.split_at(keys.len() / 2);
        Ok(IndexBlock { tree_id: u16_at::<12, _>(metadata), key_bytes, checksums, keys_min, keys_max, addresses })
    }

    /// The tree that the table belongs to.
    pub fn tree_id(&self) -> u16 {
        self.tree_id
    }

    /// Size of a key, in bytes.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// The value blocks, lowest keys first.
    pub fn value_blocks(&self) -> impl ExactSizeIterator<Item = BlockReference> + use<'a> {
        self.checksums.iter().zip(self.addresses).map(|(checksum, address)| BlockReference {
            address: u64::from_le_bytes(*address),
            checksum: Checksum::from_bytes(*array_at::<0, 16, CHECKSUM_BYTES>(checksum)),
        })
    }

    /// The value blocks that may hold a timestamp from `first` to `last`. Valid for a tree whose
    /// keys are timestamps, as in the object trees.
    ///
    /// # Errors
    /// [`LedgerError::Field`] when the keys are of another size.
    pub fn value_blocks_between(&self, first: u64, last: u64) -> Result<impl Iterator<Item = BlockReference> + use<'a>, LedgerError> {
        require(self.key_bytes == size_of::<u64>(), "index: size of a timestamp", self.key_bytes as u64)?;
        let keys = self.keys_min.as_chunks().0.iter().zip(self.keys_max.as_chunks().0);
        let ranges = keys.map(|(min, max)| (u64::from_le_bytes(*min), u64::from_le_bytes(*max)));
        let meets = move |(_, (min, max)): &(BlockReference, (u64, u64))| *min <= last && *max >= first;
        Ok(self.value_blocks().zip(ranges).filter(meets).map(|(reference, _)| reference))
    }
}

/// A value block.
#[derive(Debug, Copy, Clone)]
pub struct ValueBlock<'a> {
    tree_id: u16,
    value_bytes: usize,
    body: &'a [u8],
}

impl<'a> ValueBlock<'a> {
    /// Checks that the block is a value block, and that its size matches that of its values.
    ///
    /// # Errors
    /// [`LedgerError::Field`].
    pub fn from_block(block: Block<'a>) -> Result<ValueBlock<'a>, LedgerError> {
        block.require_kind(BlockKind::Value)?;
        let metadata = block.metadata();
        let (count_max, count, value_bytes) = (u32_at::<0, _>(metadata), u32_at::<4, _>(metadata), u32_at::<8, _>(metadata));
        require(count <= count_max, "values: number", count)?;
        require(value_bytes != 0, "values: size of one", value_bytes)?;
        require_zeroed("values: reserved metadata", array_at::<14, 82, _>(metadata))?;
        let body = block.body();
        let expected = u64::from(count) * u64::from(value_bytes);
        require(body.len() as u64 == expected, "values: size of all", expected)?;
        Ok(ValueBlock { tree_id: u16_at::<12, _>(metadata), value_bytes: value_bytes as usize, body })
    }

    /// The tree that the values belong to.
    pub fn tree_id(&self) -> u16 {
        self.tree_id
    }

    /// Size of one value, in bytes.
    pub fn value_size(&self) -> usize {
        self.value_bytes
    }

    /// The values, lowest key first, each [`ValueBlock::value_size`] long.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.body.chunks_exact(self.value_bytes)
    }
}

/// The size of the records after the header of a checked block; `None` if it is not a value block.
/// A hint for compression: wrong bytes give a wrong hint and nothing worse.
pub fn record_bytes_of(block: &[u8]) -> Option<u16> {
    let header: &HeaderBytes = block.first_chunk()?;
    let is_values = u8_at::<114, _>(header) == COMMAND_BLOCK && u8_at::<240, _>(header) == BlockKind::Value as u8;
    u16::try_from(u32_at::<136, _>(header)).ok().filter(|size| is_values && *size != 0)
}
