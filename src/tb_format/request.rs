//! What a prepare was asked to create: the accounts or transfers in its body (`tigerbeetle.zig`
//! `Operation`, `vsr/multi_batch.zig`).
//!
//! A body holds events of 128 bytes. Requests of several batches end with a trailer: the number of
//! events of each batch and the number of batches, padded to whole events. What an event asks for
//! need not have happened: whether the ledger accepted it is known only once it is executed.
//!
//! Covered are the operations of 0.16 (129, 130 without a trailer; 138, 139) and of 0.17 (146, 147,
//! which differ from 138 and 139 only in their replies).

use super::record::{RECORD_BYTES, TREE_ACCOUNTS, TREE_TRANSFERS};
use super::wal::Prepare;
use crate::tb_format::header::OPERATION_CREATE_ACCOUNTS;
use crate::tb_format::header::OPERATION_CREATE_TRANSFERS;

/// The events of a prepare that creates accounts or transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events<'a> {
    tree_id: u16,
    events: &'a [u8],
}

impl<'a> Events<'a> {
    /// The events of a prepare; `None` if it creates neither accounts nor transfers, or if its body
    /// does not consist of whole events.
    pub fn of(prepare: &Prepare<'a>) -> Option<Events<'a>> {
        let (tree_id, is_batched) = match prepare.header().operation() {
            129 => (TREE_ACCOUNTS, false),
            130 => (TREE_TRANSFERS, false),
            138 | OPERATION_CREATE_ACCOUNTS => (TREE_ACCOUNTS, true),
            139 | OPERATION_CREATE_TRANSFERS => (TREE_TRANSFERS, true),
            _ => return None,
        };
        let body = prepare.body();
        let events = if is_batched { body.get(..body.len().checked_sub(trailer_bytes(body))?)? } else { body };
        events.len().is_multiple_of(RECORD_BYTES).then_some(Events { tree_id, events })
    }

    /// The tree that holds what is created: [`TREE_ACCOUNTS`] or [`TREE_TRANSFERS`].
    pub fn tree_id(&self) -> u16 {
        self.tree_id
    }

    /// The events, in the order in which they are executed.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.events.chunks_exact(RECORD_BYTES)
    }
}

/// Size of what follows the events in the body of a request of several batches.
fn trailer_bytes(body: &[u8]) -> usize {
    let batches = body.last_chunk().map_or(0, |count| usize::from(u16::from_le_bytes(*count)));
    ((batches + 1) * size_of::<u16>()).next_multiple_of(RECORD_BYTES)
}
