//! The client sessions as of a checkpoint (`vsr/client_sessions.zig`).
//!
//! One block: a reply header for each of the 64 slots, then a session number for each. It says
//! which slots of the replies zone are part of the state, and gives the checksum of each reply. The
//! free set is copied as blocks and not decoded: a walk of the tree shows which blocks are in use.

use super::checksum::Checksum;
use super::error::LedgerError;
use super::frame::{require, require_zeroed};
use super::grid::{Block, BlockKind};
use super::layout::{BLOCK_BYTES, CLIENT_REPLIES_SLOTS, HEADER_BYTES};
use super::reply::ReplyHeader;

/// Size of the encoded sessions.
pub const CLIENT_SESSIONS_BYTES: usize = CLIENT_REPLIES_SLOTS as usize * (HEADER_BYTES + size_of::<u64>());

const _: () = assert!(CLIENT_SESSIONS_BYTES <= BLOCK_BYTES - HEADER_BYTES, "the sessions fit into one block");

/// One client's session.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ClientSession {
    /// Its slot, here and in the replies zone.
    pub slot: u32,
    /// The op that registered it.
    pub session: u64,
    /// The header of the last reply. When the reply has a body, the slot of the replies zone holds
    /// it.
    pub reply: ReplyHeader,
}

/// The sessions of a checkpoint.
#[derive(Debug, Clone)]
pub struct ClientSessions {
    sessions: Vec<ClientSession>,
}

impl ClientSessions {
    /// Decodes the block of the sessions, and checks its body against the checksum that the
    /// superblock has for the complete trailer.
    ///
    /// # Errors
    /// [`LedgerError::Field`] when it is a block of another kind, or when the block or a reply's
    /// header is not as TigerBeetle writes it.
    pub fn from_block(block: &Block<'_>, trailer_checksum: Checksum) -> Result<ClientSessions, LedgerError> {
        block.require_kind(BlockKind::ClientSessions)?;
        let body = block.body();
        require(body.len() == CLIENT_SESSIONS_BYTES, "client sessions: size", body.len() as u64)?;
        let computed = super::checksum::checksum(body);
        if computed != trailer_checksum {
            return Err(LedgerError::BodyChecksum { stored: trailer_checksum, computed });
        }
        let (headers, numbers) = body.split_at_checked(CLIENT_REPLIES_SLOTS as usize * HEADER_BYTES).unwrap_or_default();
        let mut sessions = Vec::new();
        for ((slot, header), number) in (0..).zip(headers.as_chunks::<HEADER_BYTES>().0).zip(numbers.as_chunks::<8>().0) {
            let session = u64::from_le_bytes(*number);
            if session == 0 {
                require_zeroed("client sessions: reply header of a free slot", header)?;
                continue;
            }
            let reply = ReplyHeader::check(header)?;
            require(reply.op() >= session, "client sessions: session", session)?;
            sessions.push(ClientSession { slot, session, reply });
        }
        Ok(ClientSessions { sessions })
    }

    /// The sessions in use, by slot.
    pub fn sessions(&self) -> &[ClientSession] {
        &self.sessions
    }

    /// The slots of the replies zone that are part of the state.
    pub fn reply_slots(&self) -> impl Iterator<Item = u32> {
        self.sessions.iter().filter(|session| session.reply.has_body()).map(|session| session.slot)
    }
}
