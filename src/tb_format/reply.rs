//! The last reply to each client, kept so that it can be sent again (`vsr/client_replies.zig`,
//! `vsr/message_header.zig` `Reply`).
//!
//! A slot of the replies zone comes in; a [`Reply`] of exactly its size comes out. The
//! client-sessions trailer ([`super::trailer`]) says which slots are in use, and by which reply. A
//! reply without a body is stored only there, and its slot is stale.

use super::bytes::{array_at, u8_at, u32_at, u64_at, u128_at};
use super::checksum::Checksum;
use super::error::LedgerError;
use super::frame::{COMMAND_REPLY, HeaderBytes, body_of, check_frame, check_message, require, require_zeroed, stored_checksum};
use super::layout::{HEADER_BYTES, REPLY_BYTES_MAX};

/// The checked header of a reply.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ReplyHeader(HeaderBytes);

impl ReplyHeader {
    /// Checks the first 256 bytes of `bytes`.
    ///
    /// # Errors
    /// [`LedgerError::Length`], [`LedgerError::HeaderChecksum`], [`LedgerError::Format`],
    /// [`LedgerError::WrongCommand`] or [`LedgerError::Field`].
    pub fn check(bytes: &[u8]) -> Result<ReplyHeader, LedgerError> {
        let header = ReplyHeader(*check_frame("reply header", bytes, COMMAND_REPLY, REPLY_BYTES_MAX)?);
        for (what, padding) in [
            ("reply: request checksum padding", array_at::<144, 16, _>(&header.0).as_slice()),
            ("reply: context padding", array_at::<176, 16, _>(&header.0)),
            ("reply: reserved bytes", array_at::<237, 19, _>(&header.0)),
        ] {
            require_zeroed(what, padding)?;
        }
        require(header.client() != 0, "reply: client", header.client())?;
        require(header.op() != 0, "reply: op", header.op())?;
        Ok(header)
    }

    /// The checksum that names this reply; it covers the body too.
    pub fn checksum(&self) -> Checksum {
        stored_checksum(&self.0)
    }

    /// The cluster.
    pub fn cluster(&self) -> u128 {
        u128_at::<80, _>(&self.0)
    }

    /// Size of header and body, in bytes; 256 to 1 MiB.
    pub fn size_bytes(&self) -> u32 {
        u32_at::<96, _>(&self.0)
    }

    /// The client session's id.
    pub fn client(&self) -> u128 {
        u128_at::<192, _>(&self.0)
    }

    /// The op that it answers.
    pub fn op(&self) -> u64 {
        u64_at::<208, _>(&self.0)
    }

    /// The client's request number.
    pub fn request(&self) -> u32 {
        u32_at::<232, _>(&self.0)
    }

    /// The operation that it answers.
    pub fn operation(&self) -> u8 {
        u8_at::<236, _>(&self.0)
    }

    /// Whether the reply has a body and is therefore in its slot.
    pub fn has_body(&self) -> bool {
        self.size_bytes() > HEADER_BYTES as u32
    }

    /// The bytes as they are in the file.
    pub fn bytes(&self) -> &HeaderBytes {
        &self.0
    }
}

/// A complete reply, header and body, checked.
#[derive(Debug, Copy, Clone)]
pub struct Reply<'a> {
    header: ReplyHeader,
    bytes: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Checks the reply at the beginning of `bytes`, which may extend beyond it (a slot).
    ///
    /// # Errors
    /// Those of [`ReplyHeader::check`]; [`LedgerError::Length`] when the body is cut;
    /// [`LedgerError::BodyChecksum`] when it is torn or damaged.
    pub fn check(bytes: &'a [u8]) -> Result<Reply<'a>, LedgerError> {
        let header = ReplyHeader::check(bytes)?;
        let bytes = check_message("reply", header.bytes(), bytes)?;
        Ok(Reply { header, bytes })
    }

    /// Its header.
    pub fn header(&self) -> &ReplyHeader {
        &self.header
    }

    /// Header and body, exactly as long as the header says.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The results.
    pub fn body(&self) -> &'a [u8] {
        body_of(self.bytes)
    }
}
