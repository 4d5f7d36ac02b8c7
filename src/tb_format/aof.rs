//! The append-only file that a server writes on request (`aof.zig`).
//!
//! Entries follow one another without padding: a magic number, then a prepare of exactly its size.
//! The file may repeat ops or go back, so a [`super::wal::Chain`] has to judge what comes out. The
//! file grows while it is read. An entry that the end of the bytes cuts is an
//! [`AofItem::TornTail`]: read again from its offset once there is more. Bytes that are present but
//! wrong are reported as [`AofItem::Damaged`], up to the next magic number, and never skipped
//! silently.

use super::error::LedgerError;
use super::layout::{HEADER_BYTES, PREPARE_BYTES_MAX};
use super::wal::Prepare;

/// What each entry begins with.
pub const AOF_MAGIC: u128 = 0x00bc_d8d3_fee4_0611_9ed1_92c4_f4c4_fc82;
const MAGIC: [u8; 16] = AOF_MAGIC.to_le_bytes();

/// The largest entry, in bytes: a buffer of this size always holds one.
pub const AOF_ENTRY_BYTES_MAX: usize = MAGIC.len() + PREPARE_BYTES_MAX;

/// One item of the file.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "made on the stack and taken apart at once; a box would cost an allocation an entry")]
pub enum AofItem<'a> {
    /// A prepare.
    Entry {
        /// Offset of the entry from the beginning of the bytes.
        offset: usize,
        /// The prepare that was logged.
        prepare: Prepare<'a>,
    },
    /// Bytes that are not a valid entry, up to where the next one may begin.
    Damaged {
        /// Where they begin.
        offset: usize,
        /// How many they are, in bytes.
        length: usize,
        /// What is wrong with the first of them.
        error: LedgerError,
    },
    /// The beginning of an entry that goes on beyond the bytes. Always the last item.
    TornTail {
        /// Where the entry begins: continue from here.
        offset: usize,
        /// How many bytes of it are present.
        length: usize,
    },
}

/// Iterates over the bytes of an AOF, or of a part of it that begins with an entry.
#[derive(Debug, Clone)]
pub struct AofEntries<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> AofEntries<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> AofEntries<'a> {
        AofEntries { bytes, offset: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }
}

impl<'a> Iterator for AofEntries<'a> {
    type Item = AofItem<'a>;

    fn next(&mut self) -> Option<AofItem<'a>> {
        let (offset, rest) = (self.offset, self.rest());
        if rest.is_empty() {
            return None;
        }
        let error = match check_entry(rest) {
            Ok(prepare) => {
                self.offset = offset.saturating_add(MAGIC.len()).saturating_add(prepare.bytes().len());
                return Some(AofItem::Entry { offset, prepare });
            }
            Err(LedgerError::Length { .. }) => {
                self.offset = self.bytes.len();
                return Some(AofItem::TornTail { offset, length: rest.len() });
            }
            Err(error) => error,
        };
        let length = next_entry(rest);
        self.offset = offset.saturating_add(length);
        Some(AofItem::Damaged { offset, length, error })
    }
}

/// Checks one entry. The error `Length` means that more bytes may complete the entry; any other
/// error means that no further bytes can.
fn check_entry(bytes: &[u8]) -> Result<Prepare<'_>, LedgerError> {
    match bytes.split_first_chunk() {
        Some((&MAGIC, prepare)) => Prepare::check(prepare),
        None if MAGIC.starts_with(bytes) => {
            Err(LedgerError::Length { what: "AOF entry", needed: (MAGIC.len() + HEADER_BYTES) as u64, available: bytes.len() as u64 })
        }
        Some((found, _)) => Err(LedgerError::Format { what: "AOF magic number", value: u128::from_le_bytes(*found) }),
        None => Err(LedgerError::Format { what: "AOF magic number of fewer bytes,", value: bytes.len() as u128 }),
    }
}

/// Bytes up to the next place, after the first byte, where an entry may begin: a magic number, or
/// the beginning of one that the end of the bytes cuts.
fn next_entry(bytes: &[u8]) -> usize {
    let starts_entry = |at: &usize| {
        let candidate = bytes.get(*at..).unwrap_or_default();
        candidate.starts_with(&MAGIC) || MAGIC.starts_with(candidate)
    };
    (1..bytes.len()).find(starts_entry).unwrap_or(bytes.len())
}
