//! The superblock: the only part of a data file that is found by its position. It leads to
//! everything else (`vsr/superblock.zig`).
//!
//! Four copies are at the beginning of the file. [`read_quorum`] takes the bytes of the zone and
//! decides, by the rules of the server itself, which state is current. A [`SuperBlock`] is a state
//! that passed every check, so its accessors cannot fail. Its bytes are kept unchanged, except that
//! the copy number, which no checksum covers, is set to zero.

use super::bytes::{array_at, put, u8_at, u16_at, u32_at, u64_at, u128_at};
use super::checkpoint_state::{CHECKPOINT_STATE_BYTES, CheckpointState};
use super::checksum::{Checksum, checksum};
use super::error::LedgerError;
use super::frame::{require, require_zeroed};
use super::header::{PrepareHeader, release_text, reserved};
use super::layout::{HEADER_BYTES, MEMBERS_MAX, REPLICAS_MAX, SUPERBLOCK_COPIES, SUPERBLOCK_HEADER_BYTES, VIEW_HEADERS_MAX};
pub use super::quorum::{CopyState, Quorum, read_quorum};
use std::fmt;

/// The version of the superblock's format that release builds of TigerBeetle write; development
/// builds write 0.
pub const SUPERBLOCK_VERSION: u16 = 2;

/// The bytes of one copy.
pub(super) type SuperBlockBytes = [u8; SUPERBLOCK_HEADER_BYTES];

/// Bytes that the checksum does not cover: itself, its padding, and the copy number, so that all
/// copies have the same checksum.
const UNCOVERED_BYTES: usize = 34;
/// Where the view headers begin.
const VIEW_HEADERS_OFFSET: usize = 4096;

/// Reads of single fields from bytes that need not be checked yet.
pub(super) mod field {
    use super::*;

    /// The checksum that the copy carries.
    pub(in crate::tb_format) fn checksum(bytes: &SuperBlockBytes) -> Checksum {
        Checksum(u128_at::<0, _>(bytes))
    }
    /// The number of the copy.
    pub(in crate::tb_format) fn copy(bytes: &SuperBlockBytes) -> u16 {
        u16_at::<32, _>(bytes)
    }
    /// The sequence number of the state.
    pub(in crate::tb_format) fn sequence(bytes: &SuperBlockBytes) -> u64 {
        u64_at::<40, _>(bytes)
    }
    /// The cluster.
    pub(in crate::tb_format) fn cluster(bytes: &SuperBlockBytes) -> u128 {
        u128_at::<48, _>(bytes)
    }
    /// The checksum of the previous state.
    pub(in crate::tb_format) fn parent(bytes: &SuperBlockBytes) -> Checksum {
        Checksum(u128_at::<64, _>(bytes))
    }
    /// The replica's id.
    pub(in crate::tb_format) fn replica_id(bytes: &SuperBlockBytes) -> u128 {
        u128_at::<1120, _>(bytes)
    }
    /// The values that must never decrease: the checkpoint's op, view, log view, commit.
    pub(in crate::tb_format) fn progress(bytes: &SuperBlockBytes) -> [u64; 4] {
        [u64_at::<{ 96 + 224 }, _>(bytes), u32_at::<1360, _>(bytes).into(), u32_at::<1356, _>(bytes).into(), u64_at::<1328, _>(bytes)]
    }
}

/// The checksum that a copy should carry.
pub(super) fn superblock_checksum(bytes: &SuperBlockBytes) -> Checksum {
    checksum(array_at::<UNCOVERED_BYTES, { SUPERBLOCK_HEADER_BYTES - UNCOVERED_BYTES }, _>(bytes))
}

/// Whether a copy carries its checksum, and the padding next to it is zero.
pub(super) fn valid_checksum(bytes: &SuperBlockBytes) -> bool {
    field::checksum(bytes) == superblock_checksum(bytes) && u128_at::<16, _>(bytes) == 0
}

/// A checked superblock.
#[derive(Clone, PartialEq, Eq)]
pub struct SuperBlock {
    bytes: Box<SuperBlockBytes>,
    replica_index: u8,
}

impl SuperBlock {
    /// Checks a single copy: the first 8192 bytes of `bytes`. Only [`read_quorum`] can tell whether
    /// it is the current state.
    ///
    /// # Errors
    /// [`LedgerError::Length`], [`LedgerError::HeaderChecksum`], [`LedgerError::Format`],
    /// [`LedgerError::Field`], or the error of a prepare header within.
    pub fn check(bytes: &[u8]) -> Result<SuperBlock, LedgerError> {
        let bytes: &SuperBlockBytes = bytes.first_chunk().ok_or(LedgerError::Length {
            what: "superblock copy",
            needed: SUPERBLOCK_HEADER_BYTES as u64,
            available: bytes.len() as u64,
        })?;
        if !valid_checksum(bytes) {
            return Err(LedgerError::HeaderChecksum { stored: field::checksum(bytes), computed: superblock_checksum(bytes) });
        }
        let copy = field::copy(bytes);
        require(usize::from(copy) < SUPERBLOCK_COPIES, "superblock: copy number", copy)?;
        SuperBlock::check_content(bytes)
    }

    /// Checks everything but the checksum and the copy number, which a quorum judges in its own
    /// way.
    pub(super) fn check_content(bytes: &SuperBlockBytes) -> Result<SuperBlock, LedgerError> {
        let version = u16_at::<34, _>(bytes);
        if version != SUPERBLOCK_VERSION {
            return Err(LedgerError::Format { what: "superblock version", value: version.into() });
        }
        let flags = u64_at::<2144, _>(bytes);
        if flags != 0 {
            return Err(LedgerError::Format { what: "superblock with the feature flags", value: flags.into() });
        }
        for (what, unused) in [
            ("superblock: parent padding", array_at::<80, 16, _>(bytes).as_slice()),
            ("superblock: reserved state", array_at::<1365, 779, _>(bytes)),
            ("superblock: reserved bytes", array_at::<2156, 1940, _>(bytes)),
            ("superblock: reserved view headers", array_at::<6912, 1280, _>(bytes)),
        ] {
            require_zeroed(what, unused)?;
        }
        let state = CheckpointState::check(array_at::<96, CHECKPOINT_STATE_BYTES, _>(bytes))?;
        let mut own = Box::new(*bytes);
        put::<32, 2, _>(&mut own, [0; 2]);
        let mut superblock = SuperBlock { bytes: own, replica_index: 0 };
        superblock.check_consensus(state.header().op())?;
        let header_cluster = state.header().cluster();
        require(header_cluster == superblock.cluster(), "superblock: cluster of the checkpoint", header_cluster)?;
        superblock.replica_index = superblock.find_replica()?;
        superblock.check_view_headers()?;
        Ok(superblock)
    }

    fn check_consensus(&self, checkpoint_op: u64) -> Result<(), LedgerError> {
        let release = self.release_format();
        require(release != 0, "superblock: release", release)?;
        require(self.sequence() != 0, "superblock: sequence", self.sequence())?;
        require(self.commit_max() >= checkpoint_op, "superblock: commit_max", self.commit_max())?;
        require(self.sync_op_max() >= self.sync_op_min(), "superblock: sync_op_max", self.sync_op_max())?;
        require(self.view() >= self.log_view(), "superblock: view", self.view())?;
        require((1..=REPLICAS_MAX).contains(&self.replica_count()), "superblock: replica count", self.replica_count())
    }

    /// Checks that the members are distinct, with zeros only at the end, and that the replica is
    /// one of them.
    fn find_replica(&self) -> Result<u8, LedgerError> {
        let members = self.members();
        let count = members.iter().take_while(|member| **member != 0).count();
        for (index, member) in members.iter().enumerate() {
            let sound = if index < count { !members.iter().take(index).any(|other| other == member) } else { *member == 0 };
            require(sound, "superblock: member", *member)?;
        }
        let index = (0u8..).zip(members).find(|(_, member)| *member != 0 && *member == self.replica_id());
        index.map(|(index, _)| index).ok_or(LedgerError::Field { what: "superblock: replica id", value: self.replica_id() })
    }

    /// Checks the view headers. The first is the head of the log; the others are before it, highest
    /// op first. A header that a replica did not have when the view changed is left blank.
    fn check_view_headers(&self) -> Result<(), LedgerError> {
        let count = self.view_headers_count();
        require((1..=VIEW_HEADERS_MAX as u32).contains(&count), "superblock: number of view headers", count)?;
        let mut above: Option<u64> = None;
        for bytes in self.view_header_slots() {
            let op = u64_at::<224, _>(bytes);
            require(above.is_none_or(|above| op < above), "superblock: op of a view header", op)?;
            if above.is_none() || !is_blank_view_header(bytes, op) {
                let header = PrepareHeader::check(bytes)?;
                require(!header.is_reserved(), "superblock: operation of a view header", header.operation())?;
            }
            above = Some(op);
        }
        Ok(())
    }

    fn view_headers_count(&self) -> u32 {
        u32_at::<2152, _>(&self.bytes)
    }

    fn view_header_slots(&self) -> impl Iterator<Item = &[u8; HEADER_BYTES]> {
        let all = array_at::<VIEW_HEADERS_OFFSET, { VIEW_HEADERS_MAX * HEADER_BYTES }, _>(&self.bytes);
        all.as_chunks().0.iter().take(self.view_headers_count() as usize)
    }

    /// The sequence number of the state: each change of view and each checkpoint raises it.
    pub fn sequence(&self) -> u64 {
        field::sequence(&self.bytes)
    }

    /// The cluster.
    pub fn cluster(&self) -> u128 {
        field::cluster(&self.bytes)
    }

    /// The checksum that names this state of this replica; all copies share it.
    pub fn checksum(&self) -> Checksum {
        field::checksum(&self.bytes)
    }

    /// The checksum of the previous state.
    pub fn parent(&self) -> Checksum {
        field::parent(&self.bytes)
    }

    /// The release that formatted the file; [`release_text`] makes it readable.
    pub fn release_format(&self) -> u32 {
        u32_at::<36, _>(&self.bytes)
    }

    /// The checkpoint: where the tree of blocks starts.
    pub fn checkpoint(&self) -> CheckpointState<'_> {
        CheckpointState::trusted(array_at::<96, CHECKPOINT_STATE_BYTES, _>(&self.bytes))
    }

    /// Which member of the cluster this file belongs to.
    pub fn replica_id(&self) -> u128 {
        field::replica_id(&self.bytes)
    }

    /// The ids of the cluster's members. They are derived from the cluster id alone, and are the
    /// same in every replica's file.
    pub fn members(&self) -> [u128; MEMBERS_MAX] {
        let members = array_at::<1136, { MEMBERS_MAX * 16 }, _>(&self.bytes).as_chunks::<16>().0;
        let mut ids = [0; MEMBERS_MAX];
        for (id, bytes) in ids.iter_mut().zip(members) {
            *id = u128::from_le_bytes(*bytes);
        }
        ids
    }

    /// The position of [`SuperBlock::replica_id`] in [`SuperBlock::members`]. Positions from
    /// [`SuperBlock::replica_count`] on are standbys.
    pub fn replica_index(&self) -> u8 {
        self.replica_index
    }

    /// Replicas that vote, 1 to 6.
    pub fn replica_count(&self) -> u8 {
        u8_at::<1364, _>(&self.bytes)
    }

    /// The highest op that was known to be committed: an image must hold the log at least up to
    /// this op.
    pub fn commit_max(&self) -> u64 {
        u64_at::<1328, _>(&self.bytes)
    }

    /// See [`SuperBlock::sync_op_max`].
    pub fn sync_op_min(&self) -> u64 {
        u64_at::<1336, _>(&self.bytes)
    }

    /// If not zero, the blocks written by the ops `sync_op_min` to this one are still being fetched
    /// from other replicas, so the tree in this file is incomplete.
    pub fn sync_op_max(&self) -> u64 {
        u64_at::<1344, _>(&self.bytes)
    }

    /// The last view in which the replica took part normally.
    pub fn log_view(&self) -> u32 {
        u32_at::<1356, _>(&self.bytes)
    }

    /// The view.
    pub fn view(&self) -> u32 {
        u32_at::<1360, _>(&self.bytes)
    }

    /// The headers that the view started with, highest op first; blank ones are left out.
    pub fn view_headers(&self) -> impl Iterator<Item = PrepareHeader> {
        self.view_header_slots().filter_map(|bytes| PrepareHeader::check(bytes).ok())
    }

    /// One copy as it is in the file, with copy number 0.
    pub fn bytes(&self) -> &SuperBlockBytes {
        &self.bytes
    }
}

/// Whether these bytes are the header of an empty slot, byte for byte, of cluster 0 and without
/// checksums (`vsr.zig` `dvc_blank`).
fn is_blank_view_header(bytes: &[u8; HEADER_BYTES], op: u64) -> bool {
    let mut blank = reserved(0, op);
    put::<0, 16, _>(&mut blank, [0; 16]);
    put::<32, 16, _>(&mut blank, [0; 16]);
    *bytes == blank
}

impl fmt::Debug for SuperBlock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SuperBlock")
            .field("sequence", &self.sequence())
            .field("checksum", &self.checksum())
            .field("cluster", &self.cluster())
            .field("replica_index", &self.replica_index)
            .field("replica_count", &self.replica_count())
            .field("view", &self.view())
            .field("checkpoint_op", &self.checkpoint().header().op())
            .field("commit_max", &self.commit_max())
            .field("release", &release_text(self.checkpoint().release()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
