//! The pre-copy walk: it reads a complete checkpoint from a file that its server continues to
//! write.
//!
//! Flow: read the superblock, walk every block reachable from it, and check each against the
//! checksum that its parent gives. The server does not overwrite the blocks of checkpoint C before
//! checkpoint C+1 is durable. So a mismatch means that the node has moved on: read the superblock
//! and walk again. Extents that were already captured need no second read, so each round is smaller
//! and the copy converges, as in a live migration. A mismatch while the superblock is unchanged is
//! damage, and is reported as such. A round is complete only when every reachable block was
//! checked.

use super::extent::{BlockSink, CheckedBlock, ExtentPass, Mismatch, Pass, Root, check_block, offset_of};
use crate::disk::file::{ReadOptions, Reader};
use crate::disk::read_error::SourceError;
use crate::error::Result;
use crate::host::clock::Clock;
use crate::tb_format::checkpoint_state::CheckpointState;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::error::LedgerError;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::layout::{BLOCK_BYTES, GRID_OFFSET, SUPERBLOCK_ZONE_BYTES};
use crate::tb_format::manifest_log::{LiveTable, LiveTables, ManifestBlock};
use crate::tb_format::quorum::{CopyState, Quorum, read_quorum};
use crate::tb_format::superblock::SuperBlock;
use std::path::Path;
use std::time::Duration;

/// Number of block buffers: 32 MiB, enough to keep the disk's queue full and for what the workers
/// hold.
const BUFFERS: u16 = 64;
/// Rounds are limited, because a capture that never ends would never report that it cannot succeed.
/// At this many rounds the node is too fast for this machine.
const ROUNDS_MAX: u32 = 1000;
/// Number of rounds that fail at the same checkpoint before it is called damage. Between them the
/// node has time to finish what it was writing.
const IDLE_ROUNDS_MAX: u32 = 4;
/// Pause before a round at the same checkpoint.
const PAUSE_AT_REST: Duration = Duration::from_millis(100);
/// Attempts to read a superblock whose copies are being written right now, and the pause between
/// them.
const SUPERBLOCK_TRIES: u32 = 20;
const SUPERBLOCK_PAUSE: Duration = Duration::from_millis(25);

/// Receives a checkpoint.
pub trait CheckpointSink: BlockSink {
    /// A round begins with this superblock. Extents that the last round left incomplete are not
    /// part of it.
    fn begin_round(&mut self, superblock: &SuperBlock) -> Result<()>;
    /// The total number of extents of the round, once the manifest is read.
    fn expect_extents(&mut self, extents: u64);
}

/// How a round ended.
#[derive(Debug)]
pub(super) enum Round<T> {
    /// Every block was as its parent says; contains what the round found.
    Complete(T),
    /// A block was not as its parent says.
    Moved(Mismatch),
}

/// The work that is done at one superblock.
pub(super) type RoundWork<'a, T> = dyn FnMut(&mut Walk, &SuperBlock) -> Result<Round<T>, SourceError> + 'a;

/// Returns the block that a block of a linked list names as its predecessor.
type Previous<'a> = dyn FnMut(Block<'_>) -> Result<Option<BlockReference>, LedgerError> + 'a;

/// A data file being walked.
#[derive(Debug)]
pub struct Walk {
    reader: Reader,
    clock: Clock,
    rounds: u32,
    damaged_copies: Vec<String>,
}

impl Walk {
    /// Opens a data file.
    ///
    /// # Errors
    /// See [`Reader::open`].
    pub fn open(path: &Path, options: ReadOptions) -> Result<Walk, SourceError> {
        Walk::with_buffers(path, options, BUFFERS)
    }

    /// The same for callers that need only the superblock. Buffers for a full walk take 32 MiB,
    /// which the kernel first fills with zeros.
    ///
    /// # Errors
    /// See [`Reader::open`].
    pub fn for_superblock(path: &Path, options: ReadOptions) -> Result<Walk, SourceError> {
        Walk::with_buffers(path, options, 1)
    }

    /// The same for callers that need few blocks.
    pub(super) fn with_buffers(path: &Path, options: ReadOptions, buffers: u16) -> Result<Walk, SourceError> {
        let reader = Reader::open(path, BLOCK_BYTES, buffers, options)?;
        Ok(Walk { reader, clock: options.clock, rounds: 0, damaged_copies: Vec::new() })
    }

    /// The fallbacks that were used, and superblock copies that are damaged, in sentences for the
    /// user.
    pub fn notes(&self) -> Vec<String> {
        [self.reader.notes(), &self.damaged_copies].concat()
    }

    /// The clock by which it waits for the node.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The data file.
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// Rounds begun so far.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// The newest durable superblock.
    ///
    /// # Errors
    /// See [`Walk::quorum`].
    pub fn superblock(&mut self) -> Result<SuperBlock, SourceError> {
        self.quorum().map(|quorum| quorum.superblock)
    }

    /// The newest durable superblock and the state of its copies.
    ///
    /// # Errors
    /// [`SourceError::NotADataFile`] when there is no superblock of TigerBeetle's;
    /// [`SourceError::Damaged`] when too few of its copies are intact.
    pub fn quorum(&mut self) -> Result<Quorum, SourceError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let read = self.reader.read_now(0, SUPERBLOCK_ZONE_BYTES)?;
            match read_quorum(&read.buffer[..read.length]) {
                Ok(quorum) => {
                    self.damaged_copies = torn_copies(&quorum.copies);
                    return Ok(quorum);
                }
                Err(error) if tries >= SUPERBLOCK_TRIES || read.length < SUPERBLOCK_ZONE_BYTES => return Err(self.no_superblock(&error)),
                Err(_) => self.clock.sleep(SUPERBLOCK_PAUSE),
            }
        }
    }

    fn no_superblock(&self, error: &LedgerError) -> SourceError {
        let path = self.reader.path().to_owned();
        match error {
            LedgerError::Quorum { valid_copies: 1.., .. } => SourceError::Damaged {
                path,
                offset: 0,
                what: "superblock".into(),
                reason: format!("{error}. Use another replica of the cluster, or restore this one from a backup"),
            },
            _ => SourceError::NotADataFile { path, reason: format!("{error}: give the data file that `tigerbeetle start` was given") },
        }
    }

    /// Walks until a round is complete. Returns the superblock of the checkpoint that was captured.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] for a block that is not what its parent says although the
    /// superblock is unchanged; [`SourceError::NotNow`] when the node is faster than this machine,
    /// or is still fetching its state from its peers.
    pub fn run(&mut self, sink: &mut dyn CheckpointSink) -> Result<SuperBlock, SourceError> {
        let (superblock, ()) = self.rounds_of(&mut |walk, superblock| {
            sink.begin_round(superblock)?;
            walk.round(superblock, sink)
        })?;
        Ok(superblock)
    }

    /// Runs `round` at the newest superblock until it is complete. Returns that superblock, and
    /// what the round found.
    pub(super) fn rounds_of<T>(&mut self, round: &mut RoundWork<'_, T>) -> Result<(SuperBlock, T), SourceError> {
        let mut idle_rounds = 0;
        let mut superblock = self.superblock()?;
        loop {
            self.rounds += 1;
            self.check_state(&superblock)?;
            let mismatch = match round(self, &superblock)? {
                Round::Complete(found) => return Ok((superblock, found)),
                Round::Moved(mismatch) => mismatch,
            };
            let newer = self.superblock()?;
            if newer.checkpoint().checkpoint_id() == superblock.checkpoint().checkpoint_id() {
                idle_rounds += 1;
                if idle_rounds >= IDLE_ROUNDS_MAX {
                    return Err(self.damaged(&superblock, &mismatch));
                }
                self.clock.sleep(PAUSE_AT_REST);
            } else {
                idle_rounds = 0;
            }
            if self.rounds >= ROUNDS_MAX {
                return Err(SourceError::NotNow {
                    path: self.reader.path().to_owned(),
                    reason: format!(
                        "after {ROUNDS_MAX} rounds the node still rewrites blocks faster than they can be copied: try again under less load"
                    ),
                });
            }
            superblock = newer;
        }
    }

    /// Checks whether this superblock can be captured at all.
    fn check_state(&self, superblock: &SuperBlock) -> Result<(), SourceError> {
        let path = self.reader.path();
        if superblock.sync_op_max() != 0 {
            return Err(SourceError::NotNow {
                path: path.to_owned(),
                reason: format!(
                    "the replica is still fetching its state from its peers (sync up to op {}): wait, or back up another replica",
                    superblock.sync_op_max()
                ),
            });
        }
        // A file ends where the content of its last block does. So this refuses only a file that is
        // too short for any content.
        let (file_bytes, storage_bytes) = (self.reader.file_bytes()?, superblock.checkpoint().storage_size());
        if file_bytes < GRID_OFFSET || file_bytes.saturating_add(BLOCK_BYTES as u64) <= storage_bytes {
            return Err(SourceError::Damaged {
                path: path.to_owned(),
                offset: file_bytes,
                what: "end of the file".into(),
                reason: format!("the superblock says that the file has {storage_bytes} bytes: it was cut. Use another replica"),
            });
        }
        Ok(())
    }

    fn damaged(&self, superblock: &SuperBlock, mismatch: &Mismatch) -> SourceError {
        SourceError::Damaged {
            path: self.reader.path().to_owned(),
            offset: offset_of(mismatch.reference),
            what: format!("{} at address {}", mismatch.what, mismatch.reference.address),
            reason: format!(
                "{} (replica {}, checkpoint op {}, which has not moved). Back up another replica, and let this one repair itself",
                mismatch.reason,
                superblock.replica_index(),
                superblock.checkpoint().header().op(),
            ),
        }
    }

    fn round(&mut self, superblock: &SuperBlock, sink: &mut dyn CheckpointSink) -> Result<Round<()>, SourceError> {
        let checkpoint = superblock.checkpoint();
        let mut singles = 0;
        for (what, trailer) in [
            ("free set block", checkpoint.free_set_acquired()),
            ("released free set block", checkpoint.free_set_released()),
            ("client sessions block", checkpoint.client_sessions()),
        ] {
            match self.chain(trailer.last, u64::MAX, what, sink, &mut |block| block.trailer_previous())? {
                Round::Complete(blocks) => singles += blocks,
                Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
            }
        }
        let tables = match self.tables(&checkpoint, sink, &mut |_| {})? {
            Round::Complete(tables) => tables,
            Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
        };
        singles += u64::from(checkpoint.manifest_block_count());
        sink.expect_extents(singles + tables.len() as u64);
        let mut roots = tables.into_iter().map(|table| Root { reference: table.reference, tree_id: table.tree_id });
        match ExtentPass::new(&mut self.reader).run(&mut roots, sink)? {
            Pass::Complete => Ok(Round::Complete(())),
            Pass::Mismatched(mismatch) => Ok(Round::Moved(mismatch)),
        }
    }

    /// The tables of the checkpoint. `see` receives every block of the manifest log, the newest
    /// first.
    pub(super) fn tables(
        &mut self,
        checkpoint: &CheckpointState<'_>,
        sink: &mut dyn CheckpointSink,
        see: &mut dyn FnMut(&ManifestBlock<'_>),
    ) -> Result<Round<Vec<LiveTable>>, SourceError> {
        let mut live = LiveTables::new();
        let count = u64::from(checkpoint.manifest_block_count());
        let mut previous = |block: Block<'_>| {
            let manifest = ManifestBlock::from_block(block)?;
            see(&manifest);
            live.absorb(&manifest)?;
            Ok(manifest.previous())
        };
        match self.chain(checkpoint.manifest_newest(), count, "manifest log block", sink, &mut previous)? {
            Round::Complete(blocks) if blocks == count => Ok(Round::Complete(live.into_tables())),
            Round::Complete(blocks) => {
                let reference = checkpoint.manifest_oldest().unwrap_or(BlockReference { address: 0, checksum: Checksum(0) });
                let reason = format!("the manifest log ends after {blocks} of {count} blocks");
                Ok(Round::Moved(Mismatch { reference, what: "manifest log block".into(), reason }))
            }
            Round::Moved(mismatch) => Ok(Round::Moved(mismatch)),
        }
    }

    /// Reads one block and checks it.
    pub(super) fn block(&mut self, reference: BlockReference, what: &str) -> Result<Round<CheckedBlock>, SourceError> {
        let read = self.reader.read_now(offset_of(reference), BLOCK_BYTES)?;
        Ok(check_block(read, reference, what).map_or_else(Round::Moved, Round::Complete))
    }

    /// Follows a linked list of blocks from its last to its first, at most `count` of them; each is
    /// an extent of its own. Returns how many there were.
    fn chain(
        &mut self,
        last: Option<BlockReference>,
        count: u64,
        what: &str,
        sink: &mut dyn CheckpointSink,
        previous: &mut Previous<'_>,
    ) -> Result<Round<u64>, SourceError> {
        // A list longer than the file has blocks is a cycle.
        let count = count.min(self.reader.file_bytes()? / BLOCK_BYTES as u64);
        let (mut next, mut blocks) = (last, 0);
        while let Some(reference) = next.filter(|_| blocks < count) {
            blocks += 1;
            let checked = match self.block(reference, what)? {
                Round::Complete(checked) => checked,
                Round::Moved(mismatch) => return Ok(Round::Moved(mismatch)),
            };
            let link = Block::check(checked.as_ref(), reference).and_then(&mut *previous);
            next = match link {
                Ok(next) => next,
                Err(error) => return Ok(Round::Moved(Mismatch { reference, what: what.to_owned(), reason: error.to_string() })),
            };
            if !sink.holds(reference) {
                sink.begin_extent(reference)?;
                sink.block(reference, checked)?;
                sink.end_extent()?;
            }
        }
        Ok(Round::Complete(blocks))
    }
}

/// Copies that are damaged although the others suffice, in sentences for the user.
fn torn_copies(copies: &[CopyState]) -> Vec<String> {
    let torn = copies.iter().enumerate().filter(|(_, state)| **state == CopyState::Torn);
    torn.map(|(copy, _)| format!("superblock copy {copy} of 4 is damaged or was being written; the others suffice")).collect()
}
