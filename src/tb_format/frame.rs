//! What every header has in common: the first half of its 256 bytes (`vsr/message_header.zig`
//! `Header`).
//!
//! Unchecked bytes come in. A reference to a header comes out once its own checksum, its command,
//! its size and the fields that must be zero are right. The kinds of header (prepare, reply, block)
//! build on this and check the second half. Checking the body is a separate step, because a header
//! can be accepted or refused without its body.

use super::bytes::{array_at, u8_at, u16_at, u32_at, u128_at};
use super::checksum::{Checksum, checksum};
use super::error::LedgerError;
use super::layout::HEADER_BYTES;

/// The bytes of a header.
pub(super) type HeaderBytes = [u8; HEADER_BYTES];

/// `command` of a prepare.
pub(super) const COMMAND_PREPARE: u8 = 6;
/// `command` of a reply.
pub(super) const COMMAND_REPLY: u8 = 8;
/// `command` of a grid block.
pub(super) const COMMAND_BLOCK: u8 = 20;

/// The checksum that a header carries.
pub(super) fn stored_checksum(header: &HeaderBytes) -> Checksum {
    Checksum(u128_at::<0, _>(header))
}

/// The checksum that a header should carry: over everything after the checksum field.
pub(super) fn header_checksum(header: &HeaderBytes) -> Checksum {
    checksum(array_at::<16, 240, _>(header))
}

/// Checks the common half of a header. `size_max` is the largest `size`, in bytes, that a message
/// of this command has.
pub(super) fn check_frame<'a>(what: &'static str, bytes: &'a [u8], command: u8, size_max: usize) -> Result<&'a HeaderBytes, LedgerError> {
    let header: &HeaderBytes =
        bytes.first_chunk().ok_or(LedgerError::Length { what, needed: HEADER_BYTES as u64, available: bytes.len() as u64 })?;
    let (stored, computed) = (stored_checksum(header), header_checksum(header));
    if stored != computed {
        return Err(LedgerError::HeaderChecksum { stored, computed });
    }
    let protocol = u16_at::<112, _>(header);
    if protocol != 0 {
        return Err(LedgerError::Format { what: "protocol version", value: protocol.into() });
    }
    let found = u8_at::<114, _>(header);
    if found != command {
        return Err(LedgerError::WrongCommand { expected: command, found });
    }
    let size = u32_at::<96, _>(header);
    if size < HEADER_BYTES as u32 || u64::from(size) > size_max as u64 {
        return Err(LedgerError::Field { what: "header: size", value: size.into() });
    }
    for (what, padding) in [
        ("header: checksum padding", array_at::<16, 16, _>(header).as_slice()),
        ("header: body checksum padding", array_at::<48, 16, _>(header)),
        ("header: nonce", array_at::<64, 16, _>(header)),
        ("header: epoch", array_at::<100, 4, _>(header)),
        ("header: reserved bytes", array_at::<116, 12, _>(header)),
    ] {
        require_zeroed(what, padding)?;
    }
    Ok(header)
}

/// Refuses a field that is not zero throughout.
pub(super) fn require_zeroed(what: &'static str, bytes: &[u8]) -> Result<(), LedgerError> {
    match bytes.iter().find(|byte| **byte != 0) {
        None => Ok(()),
        Some(byte) => Err(LedgerError::Field { what, value: (*byte).into() }),
    }
}

/// Refuses a field with a wrong value.
pub(super) fn require(sound: bool, what: &'static str, value: impl Into<u128>) -> Result<(), LedgerError> {
    if sound { Ok(()) } else { Err(LedgerError::Field { what, value: value.into() }) }
}

/// Cuts `bytes` to the message that the (checked) header at their beginning announces, and checks
/// the message's body.
pub(super) fn check_message<'a>(what: &'static str, header: &HeaderBytes, bytes: &'a [u8]) -> Result<&'a [u8], LedgerError> {
    let size = u32_at::<96, _>(header);
    let message = bytes.get(..size as usize).ok_or(LedgerError::Length { what, needed: size.into(), available: bytes.len() as u64 })?;
    let (stored, computed) = (Checksum(u128_at::<32, _>(header)), checksum(body_of(message)));
    if stored != computed {
        return Err(LedgerError::BodyChecksum { stored, computed });
    }
    Ok(message)
}

/// The bytes after the header of a checked message.
pub(super) fn body_of(message: &[u8]) -> &[u8] {
    message.get(HEADER_BYTES..).unwrap_or_default()
}
