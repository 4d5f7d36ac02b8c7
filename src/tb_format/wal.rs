//! The write-ahead log: prepares, the hash chain that joins them, and the two WAL rings that hold
//! them (`vsr/journal.zig`).
//!
//! The server writes a prepare to its slot of the WAL ring of prepares, and after that its header
//! to the WAL ring of headers. So a header there says that its prepare is, or was, completely on
//! disk. Bytes of a slot come in, and [`Prepare::check`] returns the prepare without the slot's
//! padding. [`Chain`] takes one header after the other and refuses any that does not continue the
//! one before. So it detects every gap, every fork, and every slot that a later op overwrote.

use super::checksum::Checksum;
use super::error::LedgerError;
use super::frame::{body_of, check_message};
use super::header::{PrepareHeader, root};
pub use super::header::{reserved_header, root_prepare};
use super::layout::{HEADER_BYTES, SECTOR_BYTES, WAL_HEADERS_BYTES, WAL_SLOTS, slot_of};

/// A complete prepare, header and body, checked.
#[derive(Debug, Copy, Clone)]
pub struct Prepare<'a> {
    header: PrepareHeader,
    bytes: &'a [u8],
}

impl<'a> Prepare<'a> {
    /// Checks the prepare at the beginning of `bytes`, which may extend beyond it (a slot, an AOF).
    ///
    /// # Errors
    /// Those of [`PrepareHeader::check`]; [`LedgerError::Length`] when the body is cut;
    /// [`LedgerError::BodyChecksum`] when it is torn or damaged.
    pub fn check(bytes: &'a [u8]) -> Result<Prepare<'a>, LedgerError> {
        let header = PrepareHeader::check(bytes)?;
        let bytes = check_message("prepare", header.bytes(), bytes)?;
        Ok(Prepare { header, bytes })
    }

    /// Its header.
    pub fn header(&self) -> &PrepareHeader {
        &self.header
    }

    /// Header and body, exactly as long as the header says.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The events, as the client encoded them.
    pub fn body(&self) -> &'a [u8] {
        body_of(self.bytes)
    }
}

/// The end of a log that is followed op by op.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Chain {
    op: u64,
    checksum: Checksum,
}

impl Chain {
    /// A log that ends with `op`, whose prepare has `checksum`.
    pub fn after(op: u64, checksum: Checksum) -> Chain {
        Chain { op, checksum }
    }

    /// A log that ends with this prepare.
    pub fn after_header(header: &PrepareHeader) -> Chain {
        Chain::after(header.op(), header.checksum())
    }

    /// The log of a freshly formatted cluster.
    pub fn root(cluster: u128) -> Chain {
        Chain::after_header(&PrepareHeader::trusted(root(cluster)))
    }

    /// Accepts the next op.
    ///
    /// # Errors
    /// [`LedgerError::WrongOp`] when it is not the op after the last; [`LedgerError::Chain`] when
    /// it continues another prepare; [`LedgerError::Field`] for the header of an empty slot. On an
    /// error the chain is unchanged.
    pub fn accept(&mut self, header: &PrepareHeader) -> Result<(), LedgerError> {
        if header.is_reserved() {
            return Err(LedgerError::Field { what: "operation of a prepare in the log", value: header.operation().into() });
        }
        // No op follows the last possible one: the comparison refuses whatever comes.
        if self.op.checked_add(1) != Some(header.op()) {
            return Err(LedgerError::WrongOp { expected: self.op.saturating_add(1), found: header.op() });
        }
        if header.parent() != self.checksum {
            return Err(LedgerError::Chain { op: header.op(), expected_parent: self.checksum, found_parent: header.parent() });
        }
        *self = Chain::after_header(header);
        Ok(())
    }

    /// The last op.
    pub fn op(&self) -> u64 {
        self.op
    }

    /// The checksum of the last op's prepare.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }
}

/// What one slot of the WAL ring of headers holds.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made on the stack and taken apart at once; a box would cost an allocation a slot")]
pub enum SlotHeader {
    /// The header of a prepare that belongs in this slot.
    Valid(PrepareHeader),
    /// The slot is empty.
    Reserved,
    /// Torn, damaged, or the header of an op (or an empty slot) that belongs in another slot.
    Invalid,
}

/// The WAL ring of headers. It says which op each slot of the WAL ring of prepares holds, so that
/// the prepares need not be read.
#[derive(Debug, Copy, Clone)]
pub struct HeaderRing<'a> {
    headers: &'a [[u8; HEADER_BYTES]],
}

impl<'a> HeaderRing<'a> {
    /// Wraps the bytes of the zone; bytes after it are ignored.
    ///
    /// # Errors
    /// [`LedgerError::Length`] when there are fewer than 1024 headers.
    pub fn new(zone: &'a [u8]) -> Result<HeaderRing<'a>, LedgerError> {
        let zone = zone.get(..WAL_HEADERS_BYTES).ok_or(LedgerError::Length {
            what: "ring of WAL headers",
            needed: WAL_HEADERS_BYTES as u64,
            available: zone.len() as u64,
        })?;
        Ok(HeaderRing { headers: zone.as_chunks().0 })
    }

    /// What slot `slot`, taken modulo the number of slots, holds. Each slot is checked separately:
    /// a torn sector loses sixteen of them.
    pub fn slot(&self, slot: u32) -> SlotHeader {
        let slot = slot % WAL_SLOTS;
        let header = self.headers.get(slot as usize).map_or(&[0; HEADER_BYTES], |header| header);
        match PrepareHeader::check(header) {
            Ok(header) if header.is_reserved() && header.op() == u64::from(slot) => SlotHeader::Reserved,
            Ok(header) if !header.is_reserved() && slot_of(header.op()) == slot => SlotHeader::Valid(header),
            _ => SlotHeader::Invalid,
        }
    }

    /// The header with the highest op: how far the log reaches. `None` when every slot is empty or
    /// invalid.
    pub fn head(&self) -> Option<PrepareHeader> {
        let valid = (0..WAL_SLOTS).filter_map(|slot| match self.slot(slot) {
            SlotHeader::Valid(header) => Some(header),
            SlotHeader::Reserved | SlotHeader::Invalid => None,
        });
        valid.max_by_key(PrepareHeader::op)
    }
}

/// The first sector of an empty slot of the WAL ring of prepares. The complete sector matters: a
/// solo replica that finds anything but zeros after the header of an empty slot refuses to start
/// (`WALCorrupt`). `slot` is taken modulo the number of slots.
pub fn reserved_sector(cluster: u128, slot: u32) -> [u8; SECTOR_BYTES] {
    sector_of(&reserved_header(cluster, slot))
}

/// The first sector of slot 0 of the WAL ring of prepares in a cluster that never wrote a
/// checkpoint.
pub fn root_sector(cluster: u128) -> [u8; SECTOR_BYTES] {
    sector_of(&root_prepare(cluster))
}

fn sector_of(header: &[u8; HEADER_BYTES]) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    super::bytes::put::<0, HEADER_BYTES, _>(&mut sector, *header);
    sector
}
