//! Grid blocks: the nodes of the tree that makes up a checkpoint (`vsr/message_header.zig` `Block`,
//! `lsm/schema.zig`).
//!
//! A block is named by its address and its checksum. Whatever refers to the block holds that name,
//! up to the superblock. So a block that passes [`Block::check`] is exactly the block of that
//! checkpoint, wherever its bytes came from. A valid block that is not the one referred to means,
//! on a running server, that the server has moved on.

use super::bytes::{array_at, u8_at, u32_at, u64_at, u128_at, zeroed};
use super::checksum::Checksum;
use super::error::LedgerError;
use super::frame::{COMMAND_BLOCK, HeaderBytes, body_of, check_frame, check_message, require, require_zeroed, stored_checksum};
use super::layout::{BLOCK_BYTES, HEADER_BYTES};
use std::fmt;

/// Size of the part of a block's header that depends on its kind.
pub(super) const METADATA_BYTES: usize = 96;

/// The name of a block: its address and its checksum.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockReference {
    /// Counted from 1; [`super::layout::block_offset`] turns it into an offset.
    pub address: u64,
    /// The checksum of its header, which also covers the body.
    pub checksum: Checksum,
}

impl BlockReference {
    /// A reference as TigerBeetle stores it, where address 0 means "none".
    pub(super) fn from_parts(what: &'static str, address: u64, checksum: Checksum) -> Result<Option<BlockReference>, LedgerError> {
        if address == 0 {
            require(checksum == Checksum(0), what, checksum.0)?;
            return Ok(None);
        }
        Ok(Some(BlockReference { address, checksum }))
    }
}

impl fmt::Display for BlockReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "block {} ({})", self.address, self.checksum)
    }
}

/// What a block holds.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// Part of the free set.
    FreeSet = 1,
    /// The client sessions.
    ClientSessions = 2,
    /// Part of the manifest log.
    Manifest = 3,
    /// The index of a table.
    Index = 4,
    /// Values of a table.
    Value = 5,
}

impl BlockKind {
    fn from_number(number: u8) -> Option<BlockKind> {
        match number {
            1 => Some(BlockKind::FreeSet),
            2 => Some(BlockKind::ClientSessions),
            3 => Some(BlockKind::Manifest),
            4 => Some(BlockKind::Index),
            5 => Some(BlockKind::Value),
            _ => None,
        }
    }

    /// The name for messages and counts.
    pub fn name(self) -> &'static str {
        match self {
            BlockKind::FreeSet => "free set",
            BlockKind::ClientSessions => "client sessions",
            BlockKind::Manifest => "manifest",
            BlockKind::Index => "index",
            BlockKind::Value => "value",
        }
    }
}

/// A complete block, header and body, checked.
#[derive(Debug, Copy, Clone)]
pub struct Block<'a> {
    header: &'a HeaderBytes,
    bytes: &'a [u8],
    kind: BlockKind,
}

impl<'a> Block<'a> {
    /// Checks that the block at the beginning of `bytes` is the one referred to. `bytes` may extend
    /// beyond it.
    ///
    /// # Errors
    /// [`LedgerError::HeaderChecksum`] or [`LedgerError::BodyChecksum`] when it is torn or damaged,
    /// [`LedgerError::NotTheReferenced`] when it is another block, [`LedgerError::WrongAddress`],
    /// [`LedgerError::WrongCommand`], [`LedgerError::Length`], [`LedgerError::Format`] or
    /// [`LedgerError::Field`].
    pub fn check(bytes: &'a [u8], reference: BlockReference) -> Result<Block<'a>, LedgerError> {
        let header = check_frame("block header", bytes, COMMAND_BLOCK, BLOCK_BYTES)?;
        // This check comes before that of the body. A block that is being overwritten has the new
        // header over the old body, and that means that the server has moved on.
        let found = stored_checksum(header);
        if found != reference.checksum {
            return Err(LedgerError::NotTheReferenced { expected: reference.checksum, found });
        }
        let block = Block::check_rest(header, bytes)?;
        if block.address() != reference.address {
            return Err(LedgerError::WrongAddress { expected: reference.address, found: block.address() });
        }
        Ok(block)
    }

    /// Checks the block at the beginning of `bytes` when no reference to it is available.
    ///
    /// # Errors
    /// As [`Block::check`], except those that need the reference.
    pub fn check_unreferenced(bytes: &'a [u8]) -> Result<Block<'a>, LedgerError> {
        Block::check_rest(check_frame("block header", bytes, COMMAND_BLOCK, BLOCK_BYTES)?, bytes)
    }

    fn check_rest(header: &'a HeaderBytes, bytes: &'a [u8]) -> Result<Block<'a>, LedgerError> {
        let number = u8_at::<240, _>(header);
        let kind = BlockKind::from_number(number).ok_or(LedgerError::Field { what: "block: kind", value: number.into() })?;
        let bytes = check_message("block", header, bytes)?;
        let block = Block { header, bytes, kind };
        require(bytes.len() > HEADER_BYTES, "block: size", bytes.len() as u64)?;
        require(block.address() != 0, "block: address", block.address())?;
        require(block.release() != 0, "block: release", block.release())?;
        require_zeroed("block: view", array_at::<104, 4, _>(header))?;
        require_zeroed("block: replica", array_at::<115, 1, _>(header))?;
        Ok(block)
    }

    /// Its name.
    pub fn reference(&self) -> BlockReference {
        BlockReference { address: self.address(), checksum: stored_checksum(self.header) }
    }

    /// Its address in the grid.
    pub fn address(&self) -> u64 {
        u64_at::<224, _>(self.header)
    }

    /// What it holds.
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// The cluster.
    pub fn cluster(&self) -> u128 {
        u128_at::<80, _>(self.header)
    }

    /// The release that wrote it.
    pub fn release(&self) -> u32 {
        u32_at::<108, _>(self.header)
    }

    /// The snapshot (op) at which it was written; 0 for the free set, the client sessions and the
    /// manifest.
    pub fn snapshot(&self) -> u64 {
        u64_at::<232, _>(self.header)
    }

    /// Header and body, exactly as long as the header says. The bytes after them on disk have no
    /// meaning.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes after the header.
    pub fn body(&self) -> &'a [u8] {
        body_of(self.bytes)
    }

    /// The part of the header whose meaning depends on the kind.
    pub(super) fn metadata(&self) -> &'a [u8; METADATA_BYTES] {
        array_at::<128, METADATA_BYTES, _>(self.header)
    }

    /// Refuses a block of another kind.
    pub(super) fn require_kind(&self, kind: BlockKind) -> Result<(), LedgerError> {
        require(self.kind == kind, "block: kind", self.kind as u8)
    }

    /// The block that precedes this one in its trailer. A trailer is a list that is read from its
    /// end. Valid for the free set and the client sessions.
    ///
    /// # Errors
    /// [`LedgerError::Field`] for a block of another kind, or whose list is not as TigerBeetle
    /// writes it.
    pub fn trailer_previous(&self) -> Result<Option<BlockReference>, LedgerError> {
        let is_trailer = matches!(self.kind, BlockKind::FreeSet | BlockKind::ClientSessions);
        require(is_trailer, "kind of a trailer's block", self.kind as u8)?;
        self.previous(array_at::<40, 56, _>(self.metadata()))
    }

    /// Trailers and manifest keep their link at the same place. `reserved` is the bytes next to it
    /// that must be zero.
    pub(super) fn previous(&self, reserved: &[u8]) -> Result<Option<BlockReference>, LedgerError> {
        let metadata = self.metadata();
        let padding = array_at::<16, 16, _>(metadata);
        require(zeroed(padding) && zeroed(reserved), "block: reserved metadata", self.kind as u8)?;
        let previous = Checksum(u128_at::<0, _>(metadata));
        BlockReference::from_parts("block: checksum of no previous block", u64_at::<32, _>(metadata), previous)
    }
}
