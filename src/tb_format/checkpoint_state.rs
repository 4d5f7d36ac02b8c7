//! The checkpoint that a superblock points to: the roots of the tree of grid blocks
//! (`vsr/superblock.zig` `CheckpointState`).
//!
//! 1024 bytes of a checked superblock, read in place. A walk of the grid starts here: at the last
//! block of each of the three trailers, and at the newest block of the manifest, each read
//! backwards. The content is the same on every replica at the same checkpoint. So its checksum, the
//! checkpoint id, names the state of the cluster as of [`CheckpointState::header`].

use super::bytes::{array_at, u32_at, u64_at, u128_at, zeroed};
use super::checksum::{Checksum, checksum};
use super::error::LedgerError;
use super::frame::{require, require_zeroed};
use super::grid::BlockReference;
use super::header::PrepareHeader;
use super::layout::{BLOCK_BYTES, GRID_OFFSET, HEADER_BYTES};
use super::trailer::CLIENT_SESSIONS_BYTES;

/// Size of the checkpoint's part of a superblock.
pub const CHECKPOINT_STATE_BYTES: usize = 1024;

/// A list of blocks that holds a part of the server's memory as of the checkpoint.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The block at which a backward read of the list begins; `None` when the list is empty.
    pub last: Option<BlockReference>,
    /// Checksum over the bodies of all blocks, first to last.
    pub checksum: Checksum,
    /// Total size of the bodies of all blocks.
    pub size_bytes: u64,
}

impl Trailer {
    /// How many blocks the list has: every block but the last is full. This bounds a walk.
    pub fn block_count(&self) -> u64 {
        self.size_bytes.div_ceil((BLOCK_BYTES - HEADER_BYTES) as u64)
    }
}

/// The checkpoint of a checked superblock.
#[derive(Debug, Copy, Clone)]
pub struct CheckpointState<'a>(&'a [u8; CHECKPOINT_STATE_BYTES]);

impl<'a> CheckpointState<'a> {
    /// Wraps bytes that were checked before.
    pub(super) fn trusted(bytes: &'a [u8; CHECKPOINT_STATE_BYTES]) -> CheckpointState<'a> {
        CheckpointState(bytes)
    }

    /// Checks the fields that this module relies on, and that no field is in use that it does not
    /// know: if a newer release added a root of blocks, a backup would silently miss those blocks.
    pub(super) fn check(bytes: &'a [u8; CHECKPOINT_STATE_BYTES]) -> Result<CheckpointState<'a>, LedgerError> {
        let state = CheckpointState(bytes);
        let header = PrepareHeader::check(state.header_bytes())?;
        require(!header.is_reserved(), "checkpoint: operation of its prepare", header.operation())?;
        require(state.release() != 0, "checkpoint: release", state.release())?;
        let storage_size = state.storage_size();
        let grid_bytes = storage_size.checked_sub(GRID_OFFSET);
        require(grid_bytes.is_some_and(|bytes| bytes.is_multiple_of(BLOCK_BYTES as u64)), "checkpoint: storage size", storage_size)?;
        for (what, unused) in [
            ("checkpoint: padding", array_at::<272, 16, _>(bytes).as_slice()),
            ("checkpoint: padding", array_at::<304, 16, _>(bytes)),
            ("checkpoint: padding", array_at::<336, 16, _>(bytes)),
            ("checkpoint: padding", array_at::<368, 16, _>(bytes)),
            ("checkpoint: padding", array_at::<400, 16, _>(bytes)),
            ("checkpoint: snapshots block", array_at::<416, 32, _>(bytes)),
            ("checkpoint: snapshots block", array_at::<568, 8, _>(bytes)),
            ("checkpoint: reserved bytes", array_at::<616, 408, _>(bytes)),
        ] {
            require_zeroed(what, unused)?;
        }
        state.check_trailers()?;
        state.check_manifest()?;
        Ok(state)
    }

    fn check_trailers(&self) -> Result<(), LedgerError> {
        for trailer in [self.free_set_acquired(), self.free_set_released(), self.client_sessions()] {
            require(trailer.last.is_some() == (trailer.size_bytes > 0), "checkpoint: size of a trailer", trailer.size_bytes)?;
            if trailer.last.is_none() {
                require(trailer.checksum == checksum(&[]), "checkpoint: checksum of an empty trailer", trailer.checksum.0)?;
            }
        }
        for (address, last) in [
            (u64_at::<528, _>(self.0), array_at::<256, 16, _>(self.0)),
            (u64_at::<536, _>(self.0), array_at::<288, 16, _>(self.0)),
            (u64_at::<544, _>(self.0), array_at::<320, 16, _>(self.0)),
            (u64_at::<552, _>(self.0), array_at::<352, 16, _>(self.0)),
            (u64_at::<560, _>(self.0), array_at::<384, 16, _>(self.0)),
        ] {
            require(address != 0 || zeroed(last), "checkpoint: checksum of no block", u128::from_le_bytes(*last))?;
        }
        let sessions = self.client_sessions().size_bytes;
        require(sessions == 0 || sessions == CLIENT_SESSIONS_BYTES as u64, "checkpoint: size of the client sessions", sessions)
    }

    fn check_manifest(&self) -> Result<(), LedgerError> {
        let (oldest, newest) = (self.manifest_oldest(), self.manifest_newest());
        let sound = match self.manifest_block_count() {
            0 => oldest.is_none() && newest.is_none(),
            1 => oldest.is_some() && oldest == newest,
            _ => oldest.is_some() && newest.is_some() && oldest != newest,
        };
        require(sound, "checkpoint: number of manifest blocks", self.manifest_block_count())
    }

    fn header_bytes(&self) -> &'a [u8; HEADER_BYTES] {
        array_at::<0, HEADER_BYTES, _>(self.0)
    }

    /// The header of the last prepare that the checkpoint includes: its op, checksum and timestamp.
    pub fn header(&self) -> PrepareHeader {
        PrepareHeader::trusted(*self.header_bytes())
    }

    /// Names the state of the cluster at this checkpoint, on every replica alike (`checkpoint_id`).
    pub fn checkpoint_id(&self) -> Checksum {
        checksum(self.0)
    }

    /// The id of the checkpoint before.
    pub fn parent_checkpoint_id(&self) -> Checksum {
        Checksum(u128_at::<496, _>(self.0))
    }

    /// The id of the checkpoint before that.
    pub fn grandparent_checkpoint_id(&self) -> Checksum {
        Checksum(u128_at::<512, _>(self.0))
    }

    /// Which blocks are in use.
    pub fn free_set_acquired(&self) -> Trailer {
        Trailer {
            last: reference(u64_at::<528, _>(self.0), u128_at::<256, _>(self.0)),
            checksum: Checksum(u128_at::<448, _>(self.0)),
            size_bytes: u64_at::<584, _>(self.0),
        }
    }

    /// Which blocks only this checkpoint uses; they become free once the next checkpoint is
    /// durable.
    pub fn free_set_released(&self) -> Trailer {
        Trailer {
            last: reference(u64_at::<536, _>(self.0), u128_at::<288, _>(self.0)),
            checksum: Checksum(u128_at::<464, _>(self.0)),
            size_bytes: u64_at::<592, _>(self.0),
        }
    }

    /// The sessions of the clients, with the headers of the last replies.
    pub fn client_sessions(&self) -> Trailer {
        Trailer {
            last: reference(u64_at::<544, _>(self.0), u128_at::<320, _>(self.0)),
            checksum: Checksum(u128_at::<480, _>(self.0)),
            size_bytes: u64_at::<600, _>(self.0),
        }
    }

    /// The oldest block of the manifest. The link from this block to a previous one is stale.
    pub fn manifest_oldest(&self) -> Option<BlockReference> {
        reference(u64_at::<552, _>(self.0), u128_at::<352, _>(self.0))
    }

    /// The newest block of the manifest, where reading begins; `None` when no table was ever
    /// written.
    pub fn manifest_newest(&self) -> Option<BlockReference> {
        reference(u64_at::<560, _>(self.0), u128_at::<384, _>(self.0))
    }

    /// Number of blocks from the newest to the oldest, both included.
    pub fn manifest_block_count(&self) -> u32 {
        u32_at::<608, _>(self.0)
    }

    /// Length of the data file that holds every block of the checkpoint, in bytes.
    pub fn storage_size(&self) -> u64 {
        u64_at::<576, _>(self.0)
    }

    /// The highest block address within [`CheckpointState::storage_size`]; a reference beyond it
    /// cannot be right.
    pub fn address_max(&self) -> u64 {
        self.storage_size().saturating_sub(GRID_OFFSET) / BLOCK_BYTES as u64
    }

    /// The release that has to execute the ops after the checkpoint.
    pub fn release(&self) -> u32 {
        u32_at::<612, _>(self.0)
    }

    /// The bytes as they are in the file.
    pub fn bytes(&self) -> &'a [u8; CHECKPOINT_STATE_BYTES] {
        self.0
    }
}

fn reference(address: u64, checksum: u128) -> Option<BlockReference> {
    (address != 0).then_some(BlockReference { address, checksum: Checksum(checksum) })
}
