//! Proof that a replica's state includes a certain op, after the log in between has been
//! overwritten.
//!
//! Input: the last prepare that created accounts or transfers, as it was stored. Output: whether
//! the replica's checkpoint holds one of them. What a prepare creates has a timestamp that is
//! unique in a cluster and comes from the prepare. A history that branched off before that op may
//! have a transfer of the same id, but not at the same time. Imported events choose their own
//! timestamps, so they prove nothing and are left out on both sides.
//!
//! Flow: superblock -> manifest log -> tables of the object tree whose range of timestamps overlaps
//! that of the prepare -> index block -> value blocks. Every block is checked against its parent's
//! checksum. A mismatch starts another round, as in the walk of a complete checkpoint
//! ([`super::checkpoint`]).

use super::checkpoint::{Round, Walk};
use super::extent::Mismatch;
use super::no_blocks::NoBlocks;
use crate::disk::file::ReadOptions;
use crate::disk::read_error::SourceError;
use crate::tb_format::error::LedgerError;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::record::{ACCOUNT_IMPORTED, Account, TRANSFER_IMPORTED, TREE_ACCOUNTS, Transfer};
use crate::tb_format::request::Events;
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::table::{IndexBlock, ValueBlock};
use crate::tb_format::wal::Prepare;
use std::collections::HashSet;
use std::path::Path;

/// Number of buffers; one block is read at a time.
const BUFFERS: u16 = 2;
/// Number of tables that are searched. Tables of one level do not overlap, except in the newest
/// level, which has a few. More than this means that the timestamps are not what a server assigns.
const TABLES_MAX: usize = 32;
/// Number of value blocks that are searched: a prepare's timestamps, at most 8190, fill three.
const VALUE_BLOCKS_MAX: usize = 96;

/// Accounts or transfers that one prepare was asked to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The prepare's op.
    pub op: u64,
    /// The tree that holds what it created; see [`Events::tree_id`].
    pub tree_id: u16,
    /// The earliest timestamp that one of them can have; the latest is the prepare's own.
    pub timestamp_min_ns: u64,
    /// The prepare's timestamp.
    pub timestamp_max_ns: u64,
    /// Their ids.
    pub ids: Vec<u128>,
}

/// Whether an operation leaves nothing behind that could show that it happened: it only reads, or
/// concerns sessions or the passing of time. A prepare of another operation may have created
/// something even if it gives no [`Witness`].
pub fn leaves_no_trace(operation: u8) -> bool {
    // register, upgrade, noop; pulse; lookups and queries (`vsr.zig` and `tigerbeetle.zig`,
    // `Operation`).
    matches!(operation, 2 | 5 | 6 | 4 | 128 | 131..=137 | 140..=145)
}

impl Witness {
    /// What a prepare was asked to create; `None` if it is no request for accounts or transfers, or
    /// all of them are imported.
    pub fn of(prepare: &Prepare<'_>) -> Option<Witness> {
        let header = prepare.header();
        let events = Events::of(prepare)?;
        let tree_id = events.tree_id();
        let ids: Vec<u128> = events.records().filter_map(|event| id_of(tree_id, event)).map(|(id, _)| id).collect();
        let earlier = events.records().len().saturating_sub(1) as u64;
        let timestamp_min_ns = header.timestamp().saturating_sub(earlier);
        (!ids.is_empty()).then_some(Witness { op: header.op(), tree_id, timestamp_min_ns, timestamp_max_ns: header.timestamp(), ids })
    }

    fn meets(&self, first_ns: u64, last_ns: u64) -> bool {
        first_ns <= self.timestamp_max_ns && last_ns >= self.timestamp_min_ns
    }
}

/// Id and timestamp of an account or transfer; `None` if it is imported, or marks one that was
/// rolled back.
fn id_of(tree_id: u16, record: &[u8]) -> Option<(u128, u64)> {
    if tree_id == TREE_ACCOUNTS {
        let account = Account::from_bytes(record).ok()?;
        return (account.flags() & ACCOUNT_IMPORTED == 0 && !account.is_tombstone()).then(|| (account.id(), account.timestamp()));
    }
    let transfer = Transfer::from_bytes(record).ok()?;
    (transfer.flags() & TRANSFER_IMPORTED == 0 && !transfer.is_tombstone()).then(|| (transfer.id(), transfer.timestamp()))
}

/// Whether the checkpoint of the data file holds one of them. `false` means that nothing shows it:
/// also when the checkpoint is before the op, or when the search would have to read more than a
/// server's tables ever require.
///
/// # Errors
/// As [`Walk::run`].
pub fn find_witness(path: &Path, options: ReadOptions, witness: &Witness) -> Result<bool, SourceError> {
    let lookup = Lookup::new(witness);
    let mut walk = Walk::with_buffers(path, options, BUFFERS)?;
    let (_, found) = walk.rounds_of(&mut |walk, superblock| lookup.round(walk, superblock))?;
    Ok(found)
}

/// What is searched for.
pub(super) struct Lookup<'a> {
    witness: &'a Witness,
    ids: HashSet<u128>,
}

impl Lookup<'_> {
    pub(super) fn new(witness: &Witness) -> Lookup<'_> {
        Lookup { witness, ids: witness.ids.iter().copied().collect() }
    }

    /// Searches the checkpoint of this superblock.
    pub(super) fn round(&self, walk: &mut Walk, superblock: &SuperBlock) -> Result<Round<bool>, SourceError> {
        let checkpoint = superblock.checkpoint();
        if checkpoint.header().op() < self.witness.op {
            return Ok(Round::Complete(false));
        }
        let tables = match self.tables(walk, superblock)? {
            Round::Complete(tables) => tables,
            Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
        };
        if tables.len() > TABLES_MAX {
            return Ok(Round::Complete(false));
        }
        let mut values_read = 0;
        for table in tables {
            let values = match self.values_of(walk, table)? {
                Round::Complete(values) => values,
                Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
            };
            for value in values {
                values_read += 1;
                if values_read > VALUE_BLOCKS_MAX {
                    return Ok(Round::Complete(false));
                }
                match self.is_in(walk, value)? {
                    Round::Complete(false) => {}
                    end => return Ok(end),
                }
            }
        }
        Ok(Round::Complete(false))
    }

    /// The tables that may hold what is searched for.
    fn tables(&self, walk: &mut Walk, superblock: &SuperBlock) -> Result<Round<Vec<BlockReference>>, SourceError> {
        let witness = self.witness;
        // A table's keys never change, so any of its events shows them.
        let mut meeting: HashSet<BlockReference> = HashSet::new();
        let tables = walk.tables(&superblock.checkpoint(), &mut NoBlocks, &mut |block| {
            let meets = block.tables().filter(|table| {
                table.tree_id == witness.tree_id && table.may_hold_timestamps(witness.timestamp_min_ns, witness.timestamp_max_ns)
            });
            meeting.extend(meets.map(|table| table.reference));
        })?;
        Ok(match tables {
            Round::Complete(tables) => {
                let live = tables.into_iter().filter(|table| table.visible && meeting.contains(&table.reference));
                Round::Complete(live.map(|table| table.reference).collect())
            }
            Round::Moved(mismatch) => Round::Moved(mismatch),
        })
    }

    /// The value blocks of a table that may hold what is searched for.
    fn values_of(&self, walk: &mut Walk, table: BlockReference) -> Result<Round<Vec<BlockReference>>, SourceError> {
        let what = format!("index block of tree {}", self.witness.tree_id);
        look(walk, table, what, |block| {
            let index = IndexBlock::from_block(block)?;
            let values = index.value_blocks_between(self.witness.timestamp_min_ns, self.witness.timestamp_max_ns)?;
            Ok(values.collect())
        })
    }

    fn is_in(&self, walk: &mut Walk, value: BlockReference) -> Result<Round<bool>, SourceError> {
        let tree_id = self.witness.tree_id;
        let is_it = |record: &[u8]| {
            id_of(tree_id, record)
                .is_some_and(|(id, timestamp_ns)| self.witness.meets(timestamp_ns, timestamp_ns) && self.ids.contains(&id))
        };
        look(walk, value, format!("value block of tree {tree_id}"), |block| {
            let values = ValueBlock::from_block(block)?;
            Ok(values.tree_id() == tree_id && values.records().any(is_it))
        })
    }
}

/// Reads a block, checks it, and returns what `decode` makes of it.
fn look<T>(
    walk: &mut Walk,
    reference: BlockReference,
    what: String,
    decode: impl FnOnce(Block<'_>) -> Result<T, LedgerError>,
) -> Result<Round<T>, SourceError> {
    let checked = match walk.block(reference, &what)? {
        Round::Complete(checked) => checked,
        Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
    };
    Ok(match Block::check(checked.as_ref(), reference).and_then(decode) {
        Ok(found) => Round::Complete(found),
        Err(error) => Round::Moved(Mismatch { reference, what, reason: error.to_string() }),
    })
}

#[cfg(test)]
mod tests;
