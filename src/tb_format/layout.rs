//! Where everything is in a data file (`constants.zig`, `config.zig`, `vsr.zig` `Zone` and
//! `Checkpoint`).
//!
//! A data file is a row of fixed zones followed by the grid, which grows:
//!
//! ```text
//! superblock | WAL headers | WAL prepares | client replies | padding | grid: block 1, block 2, ...
//! ```
//!
//! The numbers are those of TigerBeetle's release configuration. TigerBeetle treats them as
//! cluster-wide constants and does not store them in the file, so they are constants here. Each
//! that follows from others is derived, and the results are checked against the measured layout at
//! compile time.

/// Unit of direct I/O; everything in the file starts at a multiple of it.
pub const SECTOR_BYTES: usize = 4096;
/// Every message, prepare and block begins with a header of this size.
pub const HEADER_BYTES: usize = 256;

/// The superblock is kept four times, so that two may be lost.
pub const SUPERBLOCK_COPIES: usize = 4;
/// One copy's header, the part that is read and written.
pub const SUPERBLOCK_HEADER_BYTES: usize = 8192;
/// Distance between two copies: the header, and room to grow by a header for each client beyond the
/// pipeline.
pub const SUPERBLOCK_COPY_BYTES: usize = SUPERBLOCK_HEADER_BYTES
    + ((CLIENT_REPLIES_SLOTS as usize - PIPELINE_PREPARES as usize) * HEADER_BYTES).div_ceil(SECTOR_BYTES) * SECTOR_BYTES;
/// All copies.
pub const SUPERBLOCK_ZONE_BYTES: usize = SUPERBLOCK_COPIES * SUPERBLOCK_COPY_BYTES;
/// Prepare headers that a superblock can hold to start a view from.
pub const VIEW_HEADERS_MAX: usize = VIEW_HEADERS_SUFFIX_MAX + 2;
/// Of these, the suffix of the log itself.
pub const VIEW_HEADERS_SUFFIX_MAX: usize = PIPELINE_PREPARES as usize + 1;
/// Member ids that a cluster can have: six replicas and six standbys.
pub const MEMBERS_MAX: usize = 12;
/// Replicas that vote.
pub const REPLICAS_MAX: u8 = 6;

/// Slots of the write-ahead log; op `n` is in slot `n % WAL_SLOTS`.
pub const WAL_SLOTS: u32 = 1024;
/// Start of the WAL ring of headers.
pub const WAL_HEADERS_OFFSET: u64 = SUPERBLOCK_ZONE_BYTES as u64;
/// Size of the WAL ring of headers.
pub const WAL_HEADERS_BYTES: usize = WAL_SLOTS as usize * HEADER_BYTES;
/// Start of the WAL ring of prepares.
pub const WAL_PREPARES_OFFSET: u64 = WAL_HEADERS_OFFSET + WAL_HEADERS_BYTES as u64;
/// Largest prepare, header and body; also the distance between two slots.
pub const PREPARE_BYTES_MAX: usize = 1024 * 1024;
/// Size of the WAL ring of prepares.
pub const WAL_PREPARES_BYTES: u64 = WAL_SLOTS as u64 * PREPARE_BYTES_MAX as u64;

/// Start of the replies.
pub const CLIENT_REPLIES_OFFSET: u64 = WAL_PREPARES_OFFSET + WAL_PREPARES_BYTES;
/// One slot for each client session.
pub const CLIENT_REPLIES_SLOTS: u32 = 64;
/// Largest reply, header and body; also the distance between two slots.
pub const REPLY_BYTES_MAX: usize = PREPARE_BYTES_MAX;
/// Size of the replies.
pub const CLIENT_REPLIES_BYTES: u64 = CLIENT_REPLIES_SLOTS as u64 * REPLY_BYTES_MAX as u64;

/// Start of the grid, and the size of a data file whose grid is empty. A multiple of the block
/// size, hence the padding before it.
pub const GRID_OFFSET: u64 = (CLIENT_REPLIES_OFFSET + CLIENT_REPLIES_BYTES).next_multiple_of(BLOCK_BYTES as u64);
/// Size of a grid block, header and body; also the distance between two blocks.
pub const BLOCK_BYTES: usize = 512 * 1024;

/// Levels of an LSM tree.
pub const LSM_LEVELS: u8 = 7;
/// Ops of one compaction bar; checkpoints are at the end of a bar.
pub const COMPACTION_OPS: u64 = 32;
/// Prepares that a primary may have in flight.
pub const PIPELINE_PREPARES: u64 = 8;
/// Ops from one checkpoint to the next. This is what the log holds, less two things: the bar by
/// which a checkpoint lags behind, and two pipelines (a whole number of bars) that may be prepared
/// while the checkpoint becomes durable.
pub const CHECKPOINT_OPS: u64 = WAL_SLOTS as u64 - COMPACTION_OPS - COMPACTION_OPS * (PIPELINE_PREPARES * 2).div_ceil(COMPACTION_OPS);
/// How far beyond the next checkpoint's op the log may go while that checkpoint is not yet in the
/// superblock.
const PREPARES_BEYOND_CHECKPOINT: u64 = COMPACTION_OPS + PIPELINE_PREPARES * 2;

const _: () = {
    assert!(SUPERBLOCK_COPY_BYTES == 24 * 1024);
    assert!(SUPERBLOCK_ZONE_BYTES == 96 * 1024);
    assert!(WAL_HEADERS_OFFSET == 98_304);
    assert!(WAL_PREPARES_OFFSET == 360_448);
    assert!(CLIENT_REPLIES_OFFSET == 1_074_102_272);
    assert!(GRID_OFFSET == 1_141_374_976);
    assert!(GRID_OFFSET.is_multiple_of(BLOCK_BYTES as u64));
    assert!(CHECKPOINT_OPS == 960);
    assert!(CHECKPOINT_OPS + PREPARES_BEYOND_CHECKPOINT <= WAL_SLOTS as u64);
    assert!(VIEW_HEADERS_MAX * HEADER_BYTES <= SUPERBLOCK_HEADER_BYTES - SECTOR_BYTES);
};

/// The offset of block `address` in the file, in bytes. `None` for address 0, which means "no
/// block", and for an address whose block would end beyond the range of a `u64`.
pub fn block_offset(address: u64) -> Option<u64> {
    let start = address.checked_sub(1)?.checked_mul(BLOCK_BYTES as u64)?.checked_add(GRID_OFFSET)?;
    start.checked_add(BLOCK_BYTES as u64)?;
    Some(start)
}

/// The WAL slot of an op.
pub fn slot_of(op: u64) -> u32 {
    // The remainder is below WAL_SLOTS, so the cast loses nothing.
    (op % u64::from(WAL_SLOTS)) as u32
}

/// The offset of a slot of the WAL ring of prepares in the file, in bytes. `slot` is taken modulo
/// the number of slots, as an op is.
pub fn prepare_offset(slot: u32) -> u64 {
    WAL_PREPARES_OFFSET + u64::from(slot % WAL_SLOTS) * PREPARE_BYTES_MAX as u64
}

/// The offset of a slot of the WAL ring of headers in the file, in bytes. `slot` is taken modulo
/// the number of slots, as an op is.
pub fn wal_header_offset(slot: u32) -> u64 {
    WAL_HEADERS_OFFSET + u64::from(slot % WAL_SLOTS) * HEADER_BYTES as u64
}

/// The offset of a reply slot in the file, in bytes. `slot` is taken modulo the number of slots, so
/// that the result is always within the zone.
pub fn reply_offset(slot: u32) -> u64 {
    CLIENT_REPLIES_OFFSET + u64::from(slot % CLIENT_REPLIES_SLOTS) * REPLY_BYTES_MAX as u64
}

/// `bytes` rounded up to whole sectors: what TigerBeetle reads and writes for them.
pub fn sector_ceil(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR_BYTES as u64).saturating_mul(SECTOR_BYTES as u64)
}

/// The checkpoint that follows the one at op `checkpoint` (`vsr.zig` `checkpoint_after`). The first
/// one is one op earlier than the interval says, because op 0 counts.
pub fn checkpoint_after(checkpoint: u64) -> u64 {
    if checkpoint == 0 { CHECKPOINT_OPS - 1 } else { checkpoint.saturating_add(CHECKPOINT_OPS) }
}

/// The last checkpoint below an op, which precedes the op in the log; 0 for the first ops, and for
/// op 0 itself.
pub fn checkpoint_before(op: u64) -> u64 {
    match op.checked_sub(CHECKPOINT_OPS) {
        Some(behind_first) => behind_first / CHECKPOINT_OPS * CHECKPOINT_OPS + CHECKPOINT_OPS - 1,
        None => 0,
    }
}

/// The checkpoint whose id the prepare of an op carries. It is the one before [`checkpoint_before`]
/// the op, because that one is certainly durable when the op is prepared (`replica.zig`
/// `checkpoint_id_for_op`). `None` for the first ops, which have fewer than two checkpoints before
/// them.
pub fn checkpoint_named_by(op: u64) -> Option<u64> {
    let behind = checkpoint_before(op);
    (behind > 0).then(|| checkpoint_before(behind))
}

/// The op whose commit makes the server write the checkpoint at op `checkpoint`. `None` for 0,
/// which formatting writes (`vsr.zig` `trigger_for_checkpoint`).
pub fn trigger_for_checkpoint(checkpoint: u64) -> Option<u64> {
    if checkpoint == 0 { None } else { Some(checkpoint.saturating_add(COMPACTION_OPS)) }
}

/// The last op that the log can hold while the superblock's checkpoint is at op `checkpoint`:
/// before any further op the server waits for the next checkpoint. 1007 for checkpoint 0,
/// `checkpoint + 1008` for any other (`replica.zig` `op_prepare_max`, which is `vsr.zig`
/// `prepare_max_for_checkpoint` of the next checkpoint).
pub fn prepare_max_for_checkpoint(checkpoint: u64) -> u64 {
    checkpoint_after(checkpoint).saturating_add(PREPARES_BEYOND_CHECKPOINT)
}

/// The lowest op at the head of a log that lets a server start from the checkpoint at op
/// `checkpoint` without the log before it, provided that the op is known to be committed. Below it
/// the server assumes that the checkpoint is not yet durable on a quorum, and requires the prepares
/// since the checkpoint before (`vsr.zig` `Checkpoint.durable`, `replica.zig` `op_repair_min`). 0
/// for checkpoint 0.
pub fn durable_op_for_checkpoint(checkpoint: u64) -> u64 {
    trigger_for_checkpoint(checkpoint).map_or(0, |trigger| trigger.saturating_add(PIPELINE_PREPARES + 1))
}

/// The same for a superblock that does not say what is committed: a server that starts assumes that
/// all but the last few prepares are.
pub fn plainly_durable_op_for_checkpoint(checkpoint: u64) -> u64 {
    trigger_for_checkpoint(checkpoint).map_or(0, |trigger| trigger.saturating_add(2 * PIPELINE_PREPARES + 1))
}

/// The first prepare that a server requires while the checkpoint is not durable; at least 1, the op
/// after the root.
pub fn earlier_log_first_op(checkpoint: u64) -> u64 {
    (checkpoint.saturating_add(1)).saturating_sub(CHECKPOINT_OPS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_follow_the_measured_layout() {
        assert_eq!(block_offset(1), Some(1_141_374_976));
        assert_eq!(block_offset(3), Some(1_141_374_976 + 2 * 524_288));
        assert_eq!(wal_header_offset(0), 98_304);
        assert_eq!(wal_header_offset(1023), 98_304 + 1023 * 256);
        assert_eq!(prepare_offset(2), 360_448 + 2 * 1_048_576);
        assert_eq!(reply_offset(63), 1_074_102_272 + 63 * 1_048_576);
    }

    #[test]
    fn an_address_that_cannot_be_is_refused() {
        assert_eq!(block_offset(0), None);
        assert_eq!(block_offset(u64::MAX), None);
        let last = (u64::MAX - GRID_OFFSET) / BLOCK_BYTES as u64;
        assert!(block_offset(last).is_some_and(|offset| offset.checked_add(BLOCK_BYTES as u64).is_some()));
        assert_eq!(block_offset(last + 1), None);
        assert_eq!(block_offset(u64::MAX / BLOCK_BYTES as u64 + 1), None);
    }

    #[test]
    fn slots_wrap_and_stay_in_their_zone() {
        assert_eq!(slot_of(0), 0);
        assert_eq!(slot_of(1024), 0);
        assert_eq!(slot_of(u64::MAX), 1023);
        assert_eq!(prepare_offset(1025), prepare_offset(1));
        assert_eq!(wal_header_offset(u32::MAX), wal_header_offset(1023));
        assert_eq!(reply_offset(64), reply_offset(0));
    }

    #[test]
    fn sectors_round_up() {
        assert_eq!(sector_ceil(0), 0);
        assert_eq!(sector_ceil(1), 4096);
        assert_eq!(sector_ceil(4096), 4096);
        assert_eq!(sector_ceil(4097), 8192);
        assert_eq!(sector_ceil(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_checkpoint_is_durable_a_pipeline_after_its_trigger() {
        assert_eq!((durable_op_for_checkpoint(0), plainly_durable_op_for_checkpoint(0)), (0, 0));
        assert_eq!((durable_op_for_checkpoint(959), plainly_durable_op_for_checkpoint(959)), (1000, 1008));
        assert_eq!((earlier_log_first_op(959), earlier_log_first_op(1919)), (1, 960));
    }

    #[test]
    fn ops_stand_behind_checkpoints_and_name_the_one_before() {
        assert_eq!([0, 1, 958, 959].map(checkpoint_before), [0; 4]);
        assert_eq!([960, 1918, 1919].map(checkpoint_before), [959; 3]);
        assert_eq!([1920, 2879, 2880].map(checkpoint_before), [1919, 1919, 2879]);
        assert_eq!([0, 1, 959].map(checkpoint_named_by), [None; 3]);
        assert_eq!([960, 1919, 1920, 2879, 2880].map(checkpoint_named_by), [Some(0), Some(0), Some(959), Some(959), Some(1919)]);
        assert!(checkpoint_before(u64::MAX) < u64::MAX);
    }

    #[test]
    fn checkpoints_follow_the_rule_of_the_server() {
        assert_eq!(checkpoint_after(0), 959);
        assert_eq!(checkpoint_after(959), 1919);
        assert_eq!(trigger_for_checkpoint(0), None);
        assert_eq!(trigger_for_checkpoint(959), Some(991));
        assert_eq!(prepare_max_for_checkpoint(0), 1007);
        assert_eq!(prepare_max_for_checkpoint(959), 959 + 1008);
        assert_eq!(prepare_max_for_checkpoint(u64::MAX), u64::MAX);
    }
}
