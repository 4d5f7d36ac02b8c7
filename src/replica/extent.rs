//! Reads extents with as many reads in flight as possible, and hands them on in order.
//!
//! Flow: roots come from an iterator (tables of the manifest, in its order). Index blocks are read
//! ahead. Once the next index block in order has arrived and is checked, its value blocks are known
//! and are requested, before any further index block. Reads finish in any order and wait in
//! `arrived`. Blocks leave in the order of their extents, each checked against the checksum that
//! its parent gives. The first block that does not match ends the pass: the node has moved on, or
//! the block is damaged. The caller tells the two apart.

use crate::disk::arena::Buffer;
use crate::disk::file::{Read, Reader};
use crate::disk::read_error::SourceError;
use crate::error::Result;
use crate::tb_format::grid::{Block, BlockReference};
use crate::tb_format::layout::{BLOCK_BYTES, block_offset};
use crate::tb_format::table::IndexBlock;
use std::collections::{HashMap, VecDeque};

/// Index blocks that are read ahead of the extent that is being handed on.
const INDEX_BLOCKS_AHEAD: usize = 6;
/// Value blocks that are known and wanted ahead. More than there are buffers would only cost
/// memory.
const WANTED_MAX: usize = 256;

/// The root of an extent that is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// Its block.
    pub reference: BlockReference,
    /// The tree whose table it is.
    pub tree_id: u16,
}

/// A block whose bytes have the checksum that its parent gives. It holds its buffer until it is
/// dropped.
#[derive(Debug)]
pub struct CheckedBlock {
    buffer: Buffer,
    length: usize,
}

impl AsRef<[u8]> for CheckedBlock {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// Receives checked blocks.
pub trait BlockSink {
    /// Whether the extent of this root was already captured. If so it counts as part of the
    /// checkpoint and is not read.
    fn holds(&mut self, root: BlockReference) -> bool;
    /// An extent begins.
    fn begin_extent(&mut self, root: BlockReference) -> Result<()>;
    /// The next block of the extent; the first is its root.
    fn block(&mut self, reference: BlockReference, block: CheckedBlock) -> Result<()>;
    /// The extent is complete.
    fn end_extent(&mut self) -> Result<()>;
    /// The extent's remaining blocks cannot be read; the blocks that were given do not count.
    fn abandon_extent(&mut self);
}

/// A block that was not what its parent said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The block.
    pub reference: BlockReference,
    /// The kind of block as which it was read.
    pub what: String,
    /// Why it does not match.
    pub reason: String,
}

/// How a pass ended.
#[derive(Debug)]
pub enum Pass {
    /// Everything was handed on.
    Complete,
    /// A block did not match.
    Mismatched(Mismatch),
}

struct Want {
    token: u64,
    reference: BlockReference,
    tree_id: u16,
    is_root: bool,
    is_last: bool,
}

/// Checks a block that was read. Returns the checked bytes, or the mismatch.
pub(super) fn check_block(read: Read, reference: BlockReference, what: &str) -> Result<CheckedBlock, Mismatch> {
    match Block::check(&read.buffer[..read.length], reference) {
        Ok(block) => {
            let length = block.bytes().len();
            Ok(CheckedBlock { buffer: read.buffer, length })
        }
        Err(error) => Err(Mismatch { reference, what: what.to_owned(), reason: error.to_string() }),
    }
}

/// One pass over extents.
pub(super) struct ExtentPass<'a> {
    reader: &'a mut Reader,
    /// Blocks in the order in which they are handed on.
    wanted: VecDeque<Want>,
    /// Index blocks whose value blocks are not known yet, in order.
    indexes: VecDeque<Want>,
    unsubmitted: VecDeque<(u64, BlockReference)>,
    arrived: HashMap<u64, Read>,
    next_token: u64,
}

impl<'a> ExtentPass<'a> {
    pub(super) fn new(reader: &'a mut Reader) -> Self {
        ExtentPass {
            reader,
            wanted: VecDeque::new(),
            indexes: VecDeque::new(),
            unsubmitted: VecDeque::new(),
            arrived: HashMap::new(),
            next_token: 1,
        }
    }

    /// Reads all extents that the sink does not hold.
    pub(super) fn run(&mut self, roots: &mut impl Iterator<Item = Root>, sink: &mut dyn BlockSink) -> Result<Pass, SourceError> {
        let pass = self.read_all(roots, sink);
        self.reader.drain()?;
        if !matches!(pass, Ok(Pass::Complete)) {
            sink.abandon_extent();
        }
        pass
    }

    fn read_all(&mut self, roots: &mut impl Iterator<Item = Root>, sink: &mut dyn BlockSink) -> Result<Pass, SourceError> {
        loop {
            self.ask(roots, sink)?;
            if let Some(read) = self.wanted.front().and_then(|want| self.arrived.remove(&want.token)) {
                if let Some(mismatch) = self.hand_on(read, sink)? {
                    return Ok(Pass::Mismatched(mismatch));
                }
                continue;
            }
            if self.wanted.len() < WANTED_MAX
                && let Some(read) = self.indexes.front().and_then(|want| self.arrived.remove(&want.token))
            {
                if let Some(mismatch) = self.expand(read) {
                    return Ok(Pass::Mismatched(mismatch));
                }
                continue;
            }
            if self.wanted.is_empty() && self.indexes.is_empty() {
                return Ok(Pass::Complete);
            }
            self.wait()?;
        }
    }

    /// Starts as many reads as there are buffers: known value blocks first, then further index
    /// blocks.
    fn ask(&mut self, roots: &mut impl Iterator<Item = Root>, sink: &mut dyn BlockSink) -> Result<(), SourceError> {
        while let Some((token, reference)) = self.unsubmitted.front().copied() {
            if !self.reader.begin(offset_of(reference), BLOCK_BYTES, token) {
                return Ok(());
            }
            self.unsubmitted.pop_front();
        }
        while self.indexes.len() < INDEX_BLOCKS_AHEAD {
            let Some(root) = roots.find(|root| !sink.holds(root.reference)) else { return Ok(()) };
            let token = self.token();
            self.indexes.push_back(Want { token, reference: root.reference, tree_id: root.tree_id, is_root: true, is_last: false });
            if !self.reader.begin(offset_of(root.reference), BLOCK_BYTES, token) {
                self.unsubmitted.push_back((token, root.reference));
                return Ok(());
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), SourceError> {
        match self.reader.next_read()? {
            Some(read) => {
                self.arrived.insert(read.token, read);
            }
            None => {
                // Nothing is in flight: all buffers are further down the pipeline, and one will be
                // released.
                if let Some((token, reference)) = self.unsubmitted.pop_front()
                    && !self.reader.begin_waiting(offset_of(reference), BLOCK_BYTES, token)
                {
                    let error = std::io::Error::other("the ring refuses a read although nothing is in flight");
                    return Err(SourceError::io(self.reader.path(), "read", error));
                }
            }
        }
        Ok(())
    }

    /// Handles the next index block, which has arrived: its value blocks follow it. Returns the
    /// mismatch if there is one.
    fn expand(&mut self, read: Read) -> Option<Mismatch> {
        let mut want = self.indexes.pop_front()?;
        let what = format!("index block of tree {}", want.tree_id);
        let read_token = read.token;
        let values: Result<Vec<BlockReference>, String> = Block::check(&read.buffer[..read.length], want.reference)
            .and_then(IndexBlock::from_block)
            .map(|index| index.value_blocks().collect())
            .map_err(|error| error.to_string());
        let values = match values {
            Ok(values) => values,
            Err(reason) => return Some(Mismatch { reference: want.reference, what, reason }),
        };
        self.arrived.insert(read_token, read);
        want.is_last = values.is_empty();
        let tree_id = want.tree_id;
        self.wanted.push_back(want);
        // Value blocks go before index blocks that wait for a buffer.
        let mut submit = VecDeque::with_capacity(values.len());
        for (position, reference) in values.iter().enumerate() {
            let token = self.token();
            submit.push_back((token, *reference));
            self.wanted.push_back(Want { token, reference: *reference, tree_id, is_root: false, is_last: position + 1 == values.len() });
        }
        let indexes_waiting = self.unsubmitted.iter().position(|(token, _)| self.indexes.iter().any(|index| index.token == *token));
        let behind = self.unsubmitted.split_off(indexes_waiting.unwrap_or(self.unsubmitted.len()));
        self.unsubmitted.extend(submit);
        self.unsubmitted.extend(behind);
        None
    }

    /// Checks the next block in order and hands it on. Returns the mismatch if there is one.
    fn hand_on(&mut self, read: Read, sink: &mut dyn BlockSink) -> Result<Option<Mismatch>, SourceError> {
        let Some(want) = self.wanted.pop_front() else { return Ok(None) };
        let role = if want.is_root { "index" } else { "value" };
        let block = match check_block(read, want.reference, &format!("{role} block of tree {}", want.tree_id)) {
            Ok(block) => block,
            Err(mismatch) => return Ok(Some(mismatch)),
        };
        if want.is_root {
            sink.begin_extent(want.reference)?;
        }
        sink.block(want.reference, block)?;
        if want.is_last {
            sink.end_extent()?;
        }
        Ok(None)
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}

/// The offset of a block. References are checked for address 0 when they are read. An address that
/// overflows is beyond any file, and reading there returns nothing.
pub(super) fn offset_of(reference: BlockReference) -> u64 {
    block_offset(reference.address).unwrap_or(u64::MAX - u64::MAX % BLOCK_BYTES as u64)
}
