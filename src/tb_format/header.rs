//! The header of a prepare: one op of the log, as the primary ordered it (`vsr/message_header.zig`
//! `Prepare`).
//!
//! 256 bytes come in. A [`PrepareHeader`] comes out when they carry their own checksum and are what
//! TigerBeetle writes. From then on each field is read straight from the bytes. The bytes are kept
//! unchanged, because a header is copied into images and archives verbatim.
//!
//! The rules on which operation may have a client or a request number are left to the server: they
//! change between releases and do not show whether the bytes are intact.

use super::bytes::{array_at, put, u8_at, u32_at, u64_at, u128_at};
use super::checksum::{Checksum, checksum};
use super::error::LedgerError;
use super::frame::{COMMAND_PREPARE, HeaderBytes, check_frame, header_checksum, require, require_zeroed, stored_checksum};
use super::layout::{HEADER_BYTES, PREPARE_BYTES_MAX, WAL_SLOTS};
use std::fmt;

/// The operation of a slot that never held a prepare.
pub const OPERATION_RESERVED: u8 = 0;
/// The operation of op 0, which formatting writes.
pub const OPERATION_ROOT: u8 = 1;
/// The operation that moves a cluster to another release; its body begins with that release.
pub const OPERATION_UPGRADE: u8 = 5;

/// The checked header of a prepare.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct PrepareHeader(HeaderBytes);

/// A prepare by its op and its checksum.
pub type PrepareId = (u64, Checksum);

impl PrepareHeader {
    /// Checks the first 256 bytes of `bytes`.
    ///
    /// # Errors
    /// [`LedgerError::Length`], [`LedgerError::HeaderChecksum`], [`LedgerError::Format`],
    /// [`LedgerError::WrongCommand`] or [`LedgerError::Field`].
    pub fn check(bytes: &[u8]) -> Result<PrepareHeader, LedgerError> {
        let header = PrepareHeader(*check_frame("prepare header", bytes, COMMAND_PREPARE, PREPARE_BYTES_MAX)?);
        for (what, padding) in [
            ("prepare: parent padding", array_at::<144, 16, _>(&header.0).as_slice()),
            ("prepare: request checksum padding", array_at::<176, 16, _>(&header.0)),
            ("prepare: reserved bytes", array_at::<253, 3, _>(&header.0)),
        ] {
            require_zeroed(what, padding)?;
        }
        match header.operation() {
            OPERATION_RESERVED => require(header.0 == reserved(header.cluster(), header.op()), "reserved prepare: op", header.op())?,
            OPERATION_ROOT => require(header.0 == root(header.cluster()), "root prepare: op", header.op())?,
            _ => header.check_op()?,
        }
        Ok(header)
    }

    /// Wraps bytes that were checked before, as part of a superblock.
    pub(super) fn trusted(bytes: HeaderBytes) -> PrepareHeader {
        PrepareHeader(bytes)
    }

    fn check_op(&self) -> Result<(), LedgerError> {
        require(self.release() != 0, "prepare: release", self.release())?;
        require(self.timestamp() != 0, "prepare: timestamp", self.timestamp())?;
        // Op 0 is the root's, and an op is prepared before it is committed.
        require(self.op() > self.commit(), "prepare: op", self.op())
    }

    /// The checksum that names this prepare; it covers the body too.
    pub fn checksum(&self) -> Checksum {
        stored_checksum(&self.0)
    }

    /// The checksum of the body that belongs to this header.
    pub fn checksum_body(&self) -> Checksum {
        Checksum(u128_at::<32, _>(&self.0))
    }

    /// The cluster.
    pub fn cluster(&self) -> u128 {
        u128_at::<80, _>(&self.0)
    }

    /// Size of header and body, in bytes; 256 to 1 MiB.
    pub fn size_bytes(&self) -> u32 {
        u32_at::<96, _>(&self.0)
    }

    /// The view whose primary prepared it.
    pub fn view(&self) -> u32 {
        u32_at::<104, _>(&self.0)
    }

    /// The release of the client's request; [`release_text`] makes it readable.
    pub fn release(&self) -> u32 {
        u32_at::<108, _>(&self.0)
    }

    /// Index of the replica that prepared it.
    pub fn replica(&self) -> u8 {
        u8_at::<115, _>(&self.0)
    }

    /// The checksum of the prepare before it: the hash chain.
    pub fn parent(&self) -> Checksum {
        Checksum(u128_at::<128, _>(&self.0))
    }

    /// The id of the checkpoint on which the op builds; it serves to detect diverging replicas.
    pub fn checkpoint_id(&self) -> Checksum {
        Checksum(u128_at::<192, _>(&self.0))
    }

    /// The client session's id; 0 for what the cluster itself prepares.
    pub fn client(&self) -> u128 {
        u128_at::<208, _>(&self.0)
    }

    /// Its place in the log.
    pub fn op(&self) -> u64 {
        u64_at::<224, _>(&self.0)
    }

    /// The op up to which the primary had committed when it prepared this one: all up to it is
    /// final.
    pub fn commit(&self) -> u64 {
        u64_at::<232, _>(&self.0)
    }

    /// Nanoseconds since the Unix epoch; for a batch, the timestamp of its last event.
    pub fn timestamp(&self) -> u64 {
        u64_at::<240, _>(&self.0)
    }

    /// The client's request number.
    pub fn request(&self) -> u32 {
        u32_at::<248, _>(&self.0)
    }

    /// The operation of the state machine; [`operation_name`] makes it readable.
    pub fn operation(&self) -> u8 {
        u8_at::<252, _>(&self.0)
    }

    /// Whether this header marks a slot that holds no prepare.
    pub fn is_reserved(&self) -> bool {
        self.operation() == OPERATION_RESERVED
    }

    /// The bytes as they are in the file.
    pub fn bytes(&self) -> &HeaderBytes {
        &self.0
    }
}

impl fmt::Debug for PrepareHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PrepareHeader")
            .field("op", &self.op())
            .field("operation", &operation_name(self.operation()))
            .field("view", &self.view())
            .field("size_bytes", &self.size_bytes())
            .field("checksum", &self.checksum())
            .field("parent", &self.parent())
            .finish_non_exhaustive()
    }
}

/// The header of an empty slot, byte for byte as formatting writes it (`Prepare.reserve`).
pub(super) fn reserved(cluster: u128, op: u64) -> HeaderBytes {
    empty(cluster, op, OPERATION_RESERVED)
}

/// The header of op 0, byte for byte as formatting writes it (`Prepare.root`).
pub(super) fn root(cluster: u128) -> HeaderBytes {
    empty(cluster, 0, OPERATION_ROOT)
}

fn empty(cluster: u128, op: u64, operation: u8) -> HeaderBytes {
    let mut header = [0; HEADER_BYTES];
    put::<32, 16, _>(&mut header, checksum(&[]).to_bytes());
    put::<80, 16, _>(&mut header, cluster.to_le_bytes());
    put::<96, 4, _>(&mut header, (HEADER_BYTES as u32).to_le_bytes());
    put::<114, 1, _>(&mut header, [COMMAND_PREPARE]);
    put::<224, 8, _>(&mut header, op.to_le_bytes());
    put::<252, 1, _>(&mut header, [operation]);
    let computed = header_checksum(&header);
    put::<0, 16, _>(&mut header, computed.to_bytes());
    header
}

/// The header of an empty slot of either WAL ring, byte for byte as `tigerbeetle format` writes it.
/// `slot` is taken modulo the number of slots.
pub fn reserved_header(cluster: u128, slot: u32) -> [u8; HEADER_BYTES] {
    reserved(cluster, u64::from(slot % WAL_SLOTS))
}

/// The prepare of op 0, which `tigerbeetle format` writes to slot 0 of both WAL rings: a header
/// without a body.
pub fn root_prepare(cluster: u128) -> [u8; HEADER_BYTES] {
    root(cluster)
}

/// The name of an operation in TigerBeetle (`vsr.zig` and `tigerbeetle.zig` `Operation`); "unknown"
/// for a newer one.
pub fn operation_name(operation: u8) -> &'static str {
    match operation {
        OPERATION_RESERVED => "reserved",
        OPERATION_ROOT => "root",
        2 => "register",
        3 => "reconfigure",
        4 | 128 => "pulse",
        OPERATION_UPGRADE => "upgrade",
        6 => "noop",
        129 => "create_accounts (unbatched)",
        130 => "create_transfers (unbatched)",
        131 => "lookup_accounts (unbatched)",
        132 => "lookup_transfers (unbatched)",
        133 => "get_account_transfers (unbatched)",
        134 => "get_account_balances (unbatched)",
        135 => "query_accounts (unbatched)",
        136 => "query_transfers (unbatched)",
        137 => "get_change_events",
        138 | OPERATION_CREATE_ACCOUNTS => "create_accounts",
        139 | OPERATION_CREATE_TRANSFERS => "create_transfers",
        140 => "lookup_accounts",
        141 => "lookup_transfers",
        142 => "get_account_transfers",
        143 => "get_account_balances",
        144 => "query_accounts",
        145 => "query_transfers",
        _ => "unknown",
    }
}

/// A release as people write it: "0.16.78" (`multiversion.zig` `ReleaseTriple`).
pub fn release_text(release: u32) -> String {
    let [patch, minor, major_low, major_high] = release.to_le_bytes();
    format!("{}.{minor}.{patch}", u16::from_le_bytes([major_low, major_high]))
}

/// `create_accounts` of 0.17.
pub(crate) const OPERATION_CREATE_ACCOUNTS: u8 = 146;

/// `create_transfers` of 0.17.
pub(crate) const OPERATION_CREATE_TRANSFERS: u8 = 147;
