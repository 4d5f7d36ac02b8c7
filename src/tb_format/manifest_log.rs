//! The manifest log: which tables exist (`lsm/manifest_log.zig`, `lsm/schema.zig` `ManifestNode`).
//!
//! The log is a list of blocks. Each block is an array of events in the order in which they
//! happened: a table was inserted, updated (moved to another level, or made invisible), or removed.
//! The log is read backwards, from the newest block's last event to the oldest block's first. So
//! the first event found for a table is its present state. [`LiveTables`] takes the blocks in that
//! order and keeps one small entry for each table that exists. A table is identified by the address
//! of its index block. An address may be used again after a removal, so a removal also hides the
//! older table of the same address, up to its insertion.

use super::bytes::{array_at, u8_at, u16_at, u32_at, u64_at, u128_at};
use super::checksum::Checksum;
use super::error::LedgerError;
use super::frame::{require, require_zeroed};
use super::grid::{Block, BlockKind, BlockReference};
use super::layout::LSM_LEVELS;
use std::collections::HashSet;

/// Size of one event.
pub const TABLE_INFO_BYTES: usize = 128;

/// What happened to a table.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum TableEvent {
    /// It was written.
    Insert,
    /// It was moved to another level, or became invisible to new snapshots.
    Update,
    /// It was removed.
    Remove,
}

/// One event of the manifest log.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// The table's index block.
    pub reference: BlockReference,
    /// The tree that the table belongs to; see [`super::record`] for the numbers.
    pub tree_id: u16,
    /// The level, 0 (newest) to 6.
    pub level: u8,
    /// What happened.
    pub event: TableEvent,
    /// The first snapshot (op) that sees the table.
    pub snapshot_min: u64,
    /// The last snapshot that sees the table; `u64::MAX` while it is current.
    pub snapshot_max: u64,
    /// Values in the table.
    pub value_count: u32,
    /// The lowest key, little-endian, padded with zeros.
    pub key_min: [u8; 32],
    /// The highest key, little-endian, padded with zeros.
    pub key_max: [u8; 32],
}

impl TableInfo {
    /// Whether the table may hold a timestamp from `first` to `last`. Valid for a tree whose keys
    /// are timestamps, as in the object trees.
    pub fn may_hold_timestamps(&self, first: u64, last: u64) -> bool {
        u64_at::<0, _>(&self.key_min) <= last && u64_at::<0, _>(&self.key_max) >= first
    }

    fn decode(bytes: &[u8; TABLE_INFO_BYTES]) -> Result<TableInfo, LedgerError> {
        let label = u8_at::<126, _>(bytes);
        let event = match label >> 6 {
            1 => TableEvent::Insert,
            2 => TableEvent::Update,
            3 => TableEvent::Remove,
            _ => return Err(LedgerError::Field { what: "manifest: event", value: label.into() }),
        };
        let level = label & 0x3f;
        let (address, snapshot_min, snapshot_max) = (u64_at::<96, _>(bytes), u64_at::<104, _>(bytes), u64_at::<112, _>(bytes));
        require(level < LSM_LEVELS, "manifest: level", level)?;
        require(address != 0, "manifest: address of a table", address)?;
        require(snapshot_min <= snapshot_max, "manifest: last snapshot of a table", snapshot_max)?;
        require_zeroed("manifest: checksum padding", array_at::<80, 16, _>(bytes))?;
        Ok(TableInfo {
            reference: BlockReference { address, checksum: Checksum(u128_at::<64, _>(bytes)) },
            tree_id: u16_at::<124, _>(bytes),
            level,
            event,
            snapshot_min,
            snapshot_max,
            value_count: u32_at::<120, _>(bytes),
            key_min: *array_at::<0, 32, _>(bytes),
            key_max: *array_at::<32, 32, _>(bytes),
        })
    }
}

/// A block of the manifest log.
#[derive(Debug, Copy, Clone)]
pub struct ManifestBlock<'a> {
    entries: &'a [[u8; TABLE_INFO_BYTES]],
    previous: Option<BlockReference>,
}

impl<'a> ManifestBlock<'a> {
    /// Checks that the block belongs to the manifest log, and checks all of its events.
    ///
    /// # Errors
    /// [`LedgerError::Field`].
    pub fn from_block(block: Block<'a>) -> Result<ManifestBlock<'a>, LedgerError> {
        block.require_kind(BlockKind::Manifest)?;
        let previous = block.previous(array_at::<44, 52, _>(block.metadata()))?;
        let count = u32_at::<40, _>(block.metadata());
        let (entries, rest) = block.body().as_chunks();
        require(rest.is_empty() && entries.len() as u64 == u64::from(count), "manifest: number of events", count)?;
        for entry in entries {
            TableInfo::decode(entry)?;
        }
        Ok(ManifestBlock { entries, previous })
    }

    /// The next older block. For the checkpoint's oldest block it has been freed since, so stop
    /// there ([`super::checkpoint_state::CheckpointState::manifest_oldest`]).
    pub fn previous(&self) -> Option<BlockReference> {
        self.previous
    }

    /// The events, oldest first.
    pub fn tables(&self) -> impl DoubleEndedIterator<Item = TableInfo> + use<'a> {
        self.entries.iter().filter_map(|entry| TableInfo::decode(entry).ok())
    }
}

/// A table that exists as of the checkpoint. An entry takes 48 bytes, so that the millions of
/// tables of a large file fit into memory.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct LiveTable {
    /// The table's index block.
    pub reference: BlockReference,
    /// Values in the table.
    pub value_count: u32,
    /// The tree that the table belongs to.
    pub tree_id: u16,
    /// The level, 0 (newest) to 6.
    pub level: u8,
    /// Whether present reads see the table. An invisible one was merged into others and awaits its
    /// removal. It belongs in a backup, because the server's manifest names it, but its values are
    /// outdated.
    pub visible: bool,
}

const _: () = assert!(size_of::<LiveTable>() == 48);

/// The tables that exist, gathered from the manifest log.
#[derive(Debug, Clone, Default)]
pub struct LiveTables {
    tables: Vec<LiveTable>,
    /// The addresses of `tables`: older events of these addresses are history.
    settled: HashSet<u64>,
    /// Addresses whose removal was found, but not yet the insertion that it cancels.
    removed: HashSet<u64>,
}

impl LiveTables {
    /// The state before the newest block was read.
    pub fn new() -> LiveTables {
        LiveTables::default()
    }

    /// Takes the next block: first the newest, then each one's [`ManifestBlock::previous`].
    ///
    /// # Errors
    /// [`LedgerError::Field`] when a table is removed twice without an insertion in between: the
    /// blocks are out of order, or one came twice.
    pub fn absorb(&mut self, block: &ManifestBlock<'_>) -> Result<(), LedgerError> {
        for table in block.tables().rev() {
            let address = table.reference.address;
            match table.event {
                TableEvent::Remove => require(self.removed.insert(address), "manifest: address of a table removed twice", address)?,
                TableEvent::Insert if self.removed.remove(&address) => {}
                TableEvent::Update if self.removed.contains(&address) => {}
                TableEvent::Insert | TableEvent::Update => {
                    if self.settled.insert(address) {
                        self.tables.push(LiveTable {
                            reference: table.reference,
                            value_count: table.value_count,
                            tree_id: table.tree_id,
                            level: table.level,
                            visible: table.snapshot_max == u64::MAX,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The tables found so far, newest event first.
    pub fn tables(&self) -> &[LiveTable] {
        &self.tables
    }

    /// The tables, once every block was taken. Frees the memory of the bookkeeping.
    pub fn into_tables(self) -> Vec<LiveTable> {
        self.tables
    }
}
