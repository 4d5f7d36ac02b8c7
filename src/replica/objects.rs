//! The accounts and transfers of a checkpoint: each once, in its newest version and in the order of
//! their timestamps.
//!
//! Flow: superblock -> manifest log -> the visible tables of the wanted tree, by their lowest key.
//! A table is opened when the merge has reached its lowest key. Its index block says which value
//! blocks it has; one of them is in memory at a time. Of equal keys, the table of the lowest level
//! has the newest version (`lsm/tree.zig`). The others are skipped, and so are deletions.
//!
//! Only the wanted tree is read, by its number: a data file may have any other trees, with keys and
//! values of any size. If the keys or values of a wanted tree are not those that this module can
//! decode, the tree is refused, with what was found (`Unreadable`).
//!
//! Memory: one block for each table whose keys overlap at the position of the merge, seven levels
//! and a few more, at most [`CURSORS_MAX`]; and the manifest log's entries of the tree.

use super::checkpoint::{Round, Walk};
use super::extent::Mismatch;
use super::no_blocks::NoBlocks;
use crate::disk::read_error::SourceError;
use crate::error::Result as SinkResult;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::manifest_log::TableInfo;
use crate::tb_format::record::{RECORD_BYTES, TREE_ACCOUNTS, TREE_TRANSFERS, is_deletion, key_of};
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::table::{IndexBlock, ValueBlock};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Tables open at once. In no server's trees do more overlap, because all levels but the newest are
/// disjoint.
pub const CURSORS_MAX: usize = 64;
/// How often the reading restarts at a newer checkpoint. Unlike a backup it reads everything each
/// time, so reading from a node that is faster than this is not worthwhile.
const ROUNDS_MAX: u32 = 10;
/// Size of the keys of both trees: a timestamp.
const KEY_BYTES: usize = size_of::<u64>();

/// The trees that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectTree {
    /// The accounts.
    Accounts,
    /// The transfers.
    Transfers,
}

impl ObjectTree {
    fn tree_id(self) -> u16 {
        match self {
            ObjectTree::Accounts => TREE_ACCOUNTS,
            ObjectTree::Transfers => TREE_TRANSFERS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            ObjectTree::Accounts => "accounts",
            ObjectTree::Transfers => "transfers",
        }
    }
}

/// Receives the records.
pub trait ObjectSink {
    /// The reading begins, or restarts at another checkpoint: records that were given before do not
    /// count.
    fn begin(&mut self, superblock: &SuperBlock) -> SinkResult<()>;
    /// A record, 128 bytes; see [`crate::tb_format::record`].
    fn object(&mut self, tree: ObjectTree, record: &[u8]) -> SinkResult<()>;
}

/// Reads the objects of these trees, one tree after the other, all at one checkpoint. Returns the
/// superblock of that checkpoint.
///
/// # Errors
/// As [`Walk::run`]; [`SourceError::NotADataFile`] when a tree has a form that this release of
/// Amber does not know.
pub fn read_objects(walk: &mut Walk, trees: &[ObjectTree], sink: &mut dyn ObjectSink) -> Result<SuperBlock, SourceError> {
    let mut rounds = 0;
    let (superblock, ()) = walk.rounds_of(&mut |walk, superblock| {
        rounds += 1;
        if rounds > ROUNDS_MAX {
            return Err(SourceError::NotNow {
                path: walk.path().to_owned(),
                reason: format!(
                    "{ROUNDS_MAX} times the node moved on while its accounts and transfers were read: read a restored file, or try again under less load"
                ),
            });
        }
        sink.begin(superblock)?;
        for tree in trees {
            let tables = match tables_of(walk, superblock, *tree)? {
                Round::Complete(tables) => tables,
                Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
            };
            if let Round::Moved(mismatch) = Merge::new(*tree, tables).run(walk, sink)? {
                return Ok(Round::Moved(mismatch));
            }
        }
        Ok(Round::Complete(()))
    })?;
    Ok(superblock)
}

/// A table of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Table {
    reference: BlockReference,
    level: u8,
    snapshot_min: u64,
    key_min: u64,
    key_max: u64,
}

/// The tables that present reads see, sorted by their lowest key, the highest first: they are taken
/// from the end.
fn tables_of(walk: &mut Walk, superblock: &SuperBlock, tree: ObjectTree) -> Result<Round<Vec<Table>>, SourceError> {
    // A table's keys never change, so any of its events shows them. Only the newest event shows its
    // level and whether it is visible.
    let mut infos: HashMap<BlockReference, TableInfo> = HashMap::new();
    let found = walk.tables(&superblock.checkpoint(), &mut NoBlocks, &mut |block| {
        for info in block.tables().rev().filter(|info| info.tree_id == tree.tree_id()) {
            infos.entry(info.reference).or_insert(info);
        }
    })?;
    let live = match found {
        Round::Complete(live) => live,
        Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
    };
    let mut tables = Vec::new();
    for table in live.iter().filter(|table| table.visible && table.tree_id == tree.tree_id()) {
        let Some(info) = infos.get(&table.reference) else { continue };
        let (key_min, key_max) = (timestamp(&info.key_min), timestamp(&info.key_max));
        tables.push(Table { reference: table.reference, level: table.level, snapshot_min: info.snapshot_min, key_min, key_max });
    }
    tables.sort_by_key(|table| Reverse((table.key_min, table.reference.address)));
    Ok(Round::Complete(tables))
}

/// The timestamp at the beginning of a key that is padded with zeros.
fn timestamp(key: &[u8; 32]) -> u64 {
    key.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// An open table, and the position of the merge in it.
struct Cursor {
    level: u8,
    snapshot_min: u64,
    key_max: u64,
    /// Blocks that were not read yet, the next one last.
    blocks: Vec<BlockReference>,
    /// The records of the block that is in memory, and how many of them the merge has passed.
    records: Vec<u8>,
    taken: usize,
}

impl Cursor {
    fn record(&self) -> Option<&[u8]> {
        self.records.chunks_exact(RECORD_BYTES).nth(self.taken)
    }
}

/// The merge of a tree's tables.
struct Merge {
    tree: ObjectTree,
    /// Tables that are not open yet, the one with the lowest key last.
    tables: Vec<Table>,
    cursors: Vec<Option<Cursor>>,
    /// The next key of each cursor, the lowest first; of equal keys the newest version first.
    next: BinaryHeap<Reverse<Next>>,
}

/// The next record of a cursor: key, level, how new the table is, which cursor.
type Next = (u64, u8, Reverse<u64>, usize);

/// Why a tree cannot be decoded.
#[derive(Debug)]
struct Unreadable(String);

/// The result of reading a block of the tree.
enum Step<T> {
    Done(T),
    Moved(Mismatch),
    Unreadable(Unreadable),
}

impl Merge {
    fn new(tree: ObjectTree, tables: Vec<Table>) -> Merge {
        Merge { tree, tables, cursors: Vec::new(), next: BinaryHeap::new() }
    }

    fn run(mut self, walk: &mut Walk, sink: &mut dyn ObjectSink) -> Result<Round<()>, SourceError> {
        let mut last = None;
        loop {
            match self.open_reached(walk)? {
                Step::Done(()) => {}
                Step::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
                Step::Unreadable(why) => return Err(self.refused(walk, &why)),
            }
            let Some(Reverse((key, _, _, place))) = self.next.pop() else { return Ok(Round::Complete(())) };
            let Some(cursor) = self.cursors.get_mut(place).and_then(Option::as_mut) else { continue };
            if let Some(record) = cursor.record() {
                if last != Some(key) && !is_deletion(record) {
                    sink.object(self.tree, record)?;
                }
                last = Some(key);
            }
            cursor.taken += 1;
            match self.advance(walk, place, key)? {
                Step::Done(()) => {}
                Step::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
                Step::Unreadable(why) => return Err(self.refused(walk, &why)),
            }
        }
    }

    /// Opens every table whose keys begin at or before the lowest next key.
    fn open_reached(&mut self, walk: &mut Walk) -> Result<Step<()>, SourceError> {
        while let Some(table) = self.tables.last().copied() {
            if self.next.peek().is_some_and(|Reverse(next)| next.0 < table.key_min) {
                break;
            }
            self.tables.pop();
            let blocks = match self.blocks_of(walk, table)? {
                Step::Done(blocks) => blocks,
                Step::Moved(mismatch) => return Ok(Step::Moved(mismatch)),
                Step::Unreadable(why) => return Ok(Step::Unreadable(why)),
            };
            let place = self.cursors.iter().position(Option::is_none).unwrap_or(self.cursors.len());
            if place >= CURSORS_MAX {
                let what = format!("more than {CURSORS_MAX} of its tables overlap");
                return Ok(Step::Unreadable(Unreadable(what)));
            }
            if place == self.cursors.len() {
                self.cursors.push(None);
            }
            let (level, snapshot_min, key_max) = (table.level, table.snapshot_min, table.key_max);
            self.cursors[place] = Some(Cursor { level, snapshot_min, key_max, blocks, records: Vec::new(), taken: 0 });
            match self.advance(walk, place, table.key_min)? {
                Step::Done(()) => {}
                stop => return Ok(stop),
            }
        }
        Ok(Step::Done(()))
    }

    /// Queues the cursor's next record, and reads the next block when this one is used up. Closes
    /// the cursor at its end. The key must be at least `lowest`: keys only grow.
    fn advance(&mut self, walk: &mut Walk, place: usize, lowest: u64) -> Result<Step<()>, SourceError> {
        let Some(mut cursor) = self.cursors.get_mut(place).and_then(Option::take) else { return Ok(Step::Done(())) };
        while cursor.record().is_none() {
            let Some(block) = cursor.blocks.pop() else { return Ok(Step::Done(())) };
            match self.read_values(walk, block, &mut cursor.records)? {
                Step::Done(()) => cursor.taken = 0,
                stop => return Ok(stop),
            }
        }
        let key = cursor.record().map_or(0, key_of);
        if key < lowest || key > cursor.key_max {
            let what = format!("a value has the key {key}, which is not where its table's keys ({lowest} to {}) say", cursor.key_max);
            return Ok(Step::Unreadable(Unreadable(what)));
        }
        self.next.push(Reverse((key, cursor.level, Reverse(cursor.snapshot_min), place)));
        self.cursors[place] = Some(cursor);
        Ok(Step::Done(()))
    }

    /// The value blocks of a table, in reverse order.
    fn blocks_of(&self, walk: &mut Walk, table: Table) -> Result<Step<Vec<BlockReference>>, SourceError> {
        let what = format!("index block of the {}", self.tree.name());
        self.look(walk, table.reference, &what, |block, tree| {
            let index = IndexBlock::from_block(block).map_err(|error| Unreadable(error.to_string()))?;
            if index.tree_id() != tree.tree_id() || index.key_bytes() != KEY_BYTES {
                return Err(Unreadable(format!(
                    "an index block is of tree {} and has keys of {} bytes, not {KEY_BYTES}",
                    index.tree_id(),
                    index.key_bytes()
                )));
            }
            let mut blocks: Vec<BlockReference> = index.value_blocks().collect();
            blocks.reverse();
            Ok(blocks)
        })
    }

    fn read_values(&self, walk: &mut Walk, reference: BlockReference, records: &mut Vec<u8>) -> Result<Step<()>, SourceError> {
        records.clear();
        let what = format!("value block of the {}", self.tree.name());
        self.look(walk, reference, &what, |block, tree| {
            let values = ValueBlock::from_block(block).map_err(|error| Unreadable(error.to_string()))?;
            if values.tree_id() != tree.tree_id() || values.value_size() != RECORD_BYTES {
                return Err(Unreadable(format!(
                    "a value block is of tree {} and has values of {} bytes, not {RECORD_BYTES}",
                    values.tree_id(),
                    values.value_size()
                )));
            }
            values.records().for_each(|record| records.extend_from_slice(record));
            Ok(())
        })
    }

    /// Reads a block, checks it, and returns what `decode` makes of it.
    fn look<T>(
        &self,
        walk: &mut Walk,
        reference: BlockReference,
        what: &str,
        decode: impl FnOnce(Block<'_>, ObjectTree) -> Result<T, Unreadable>,
    ) -> Result<Step<T>, SourceError> {
        let checked = match walk.block(reference, what)? {
            Round::Complete(checked) => checked,
            Round::Moved(mismatch) => return Ok(Step::Moved(mismatch)),
        };
        Ok(match Block::check(checked.as_ref(), reference) {
            Ok(block) => decode(block, self.tree).map_or_else(Step::Unreadable, Step::Done),
            Err(error) => Step::Moved(Mismatch { reference, what: what.to_owned(), reason: error.to_string() }),
        })
    }

    fn refused(&self, walk: &Walk, why: &Unreadable) -> SourceError {
        SourceError::NotADataFile {
            path: walk.path().to_owned(),
            reason: format!(
                "this Amber cannot decode the {} (tree {}): {}. Backup and restore do not need to, they take every tree as it is; for this a newer Amber may help",
                self.tree.name(),
                self.tree.tree_id(),
                why.0
            ),
        }
    }
}

#[cfg(test)]
mod tests;
