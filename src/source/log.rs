//! The tail of the log: prepares out of the WAL ring of a running replica, in order.
//!
//! Flow: the header ring is read from the slot of the next op on; as long as the headers continue the hash chain, their prepares are read (a prepare is
//! written before its header, so what the header ring shows is there) and handed on. When a slot shows a later op than the one expected, the
//! ring has wrapped and the op is lost; when it shows another parent, a view change replaced what was handed on. Both are said, never
//! papered over: [`Polled::Lost`].

use super::SourceError;
use super::file::{ReadOptions, Reader};
use crate::error::Result;
use crate::ledger::checksum::Checksum;
use crate::ledger::header::PrepareHeader;
use crate::ledger::layout::{
    CLIENT_REPLIES_SLOTS, HEADER_BYTES, PREPARE_BYTES_MAX, SECTOR_BYTES, WAL_HEADERS_BYTES, WAL_HEADERS_OFFSET, prepare_offset,
    reply_offset, sector_ceil, slot_of, wal_header_offset,
};
use crate::ledger::reply::{Reply, ReplyHeader};
use crate::ledger::wal::Prepare;
use std::collections::HashMap;
use std::path::Path;

/// Prepare buffers: eight reads in flight outrun any load that fits a disk, at 8 MiB.
const BUFFERS: u16 = 8;
/// Headers looked at in one poll: a quarter of the ring.
const HEADERS_BYTES_A_POLL: u64 = 64 * 1024;

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// So many prepares were handed on.
    Prepares(u64),
    /// Nothing new.
    Idle,
    /// The op that should come next cannot be had any more.
    Lost {
        /// That op.
        op: u64,
        /// What stands there instead.
        reason: String,
    },
}

/// Follows the log of one data file.
#[derive(Debug)]
pub struct Tail {
    reader: Reader,
    op: u64,
    checksum: Checksum,
}

enum Slot {
    Next(Box<PrepareHeader>),
    NotYet,
    Lost(String),
}

impl Tail {
    /// The log of `path` behind op `op`, whose prepare has this checksum.
    ///
    /// # Errors
    /// See [`Reader::open`].
    pub fn open(path: &Path, options: ReadOptions, op: u64, checksum: Checksum) -> Result<Tail, SourceError> {
        Ok(Tail { reader: Reader::open(path, PREPARE_BYTES_MAX, BUFFERS, options)?, op, checksum })
    }

    /// Starts again behind another op.
    pub fn restart(&mut self, op: u64, checksum: Checksum) {
        (self.op, self.checksum) = (op, checksum);
    }

    /// The last op that was handed on.
    pub fn op(&self) -> u64 {
        self.op
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// Hands on what has come since the last poll.
    ///
    /// # Errors
    /// [`SourceError::Io`], and whatever `take` returns.
    pub fn poll(&mut self, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<Polled, SourceError> {
        let (headers, lost) = self.new_headers()?;
        let handed_on = self.read_prepares(&headers, take)?;
        match lost {
            Some(reason) if handed_on == headers.len() as u64 => Ok(Polled::Lost { op: self.op.saturating_add(1), reason }),
            _ if handed_on > 0 => Ok(Polled::Prepares(handed_on)),
            _ => Ok(Polled::Idle),
        }
    }

    /// The headers behind the last op that continue the chain, and why the one after them never will.
    fn new_headers(&mut self) -> Result<(Vec<PrepareHeader>, Option<String>), SourceError> {
        let first_slot = slot_of(self.op.saturating_add(1));
        let offset = wal_header_offset(first_slot) / SECTOR_BYTES as u64 * SECTOR_BYTES as u64;
        let zone_end = WAL_HEADERS_OFFSET + WAL_HEADERS_BYTES as u64;
        let length = HEADERS_BYTES_A_POLL.min(zone_end - offset) as usize;
        let read = self.reader.read_now(offset, length)?;
        let skip = (wal_header_offset(first_slot) - offset) as usize;
        let (mut op, mut checksum) = (self.op, self.checksum);
        let mut headers = Vec::new();
        for bytes in read.buffer[skip.min(read.length)..read.length].chunks_exact(HEADER_BYTES) {
            match look_at(bytes, op.saturating_add(1), checksum) {
                Slot::Next(header) => {
                    (op, checksum) = (header.op(), header.checksum());
                    headers.push(*header);
                }
                Slot::NotYet => break,
                Slot::Lost(reason) => return Ok((headers, Some(reason))),
            }
        }
        drop(read);
        if headers.is_empty()
            && let Some(header) = self.header_from_prepare()?
        {
            headers.push(header);
        }
        Ok((headers, None))
    }

    /// The next header out of the prepares ring, where its copy in the header ring is torn or damaged.
    fn header_from_prepare(&mut self) -> Result<Option<PrepareHeader>, SourceError> {
        let op = self.op.saturating_add(1);
        let read = self.reader.read_now(prepare_offset(slot_of(op)), SECTOR_BYTES)?;
        let bytes = &read.buffer[..read.length.min(HEADER_BYTES)];
        Ok(match look_at(bytes, op, self.checksum) {
            Slot::Next(header) => Some(*header),
            Slot::NotYet | Slot::Lost(_) => None,
        })
    }

    /// Reads the prepares of these headers, several at once, and hands them on in order. How many were as their headers say.
    fn read_prepares(&mut self, headers: &[PrepareHeader], take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<u64, SourceError> {
        let mut arrived = HashMap::new();
        let (mut asked, mut handed_on) = (0, 0);
        while handed_on < headers.len() {
            while let Some(header) = headers.get(asked) {
                let length = sector_ceil(u64::from(header.size_bytes())) as usize;
                if !self.reader.begin(prepare_offset(slot_of(header.op())), length, header.op()) {
                    break;
                }
                asked += 1;
            }
            let header = &headers[handed_on];
            let read = match arrived.remove(&header.op()) {
                Some(read) => read,
                None => match self.reader.next_read()? {
                    Some(read) if read.token == header.op() => read,
                    Some(read) => {
                        arrived.insert(read.token, read);
                        continue;
                    }
                    None => break,
                },
            };
            match Prepare::check(&read.buffer[..read.length]) {
                Ok(prepare) if prepare.header().checksum() == header.checksum() => take(&prepare)?,
                // Overwritten since its header was read: the next poll sees by what.
                _ => break,
            }
            (self.op, self.checksum) = (header.op(), header.checksum());
            handed_on += 1;
        }
        drop(arrived);
        self.reader.drain()?;
        Ok(handed_on as u64)
    }

    /// The client replies that are whole right now: slot and exact bytes.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn client_replies(&mut self) -> Result<Vec<(u32, Vec<u8>)>, SourceError> {
        let mut replies = Vec::new();
        for slot in 0..CLIENT_REPLIES_SLOTS {
            let first = self.reader.read_now(reply_offset(slot), SECTOR_BYTES)?;
            let Ok(size_bytes) = ReplyHeader::check(&first.buffer[..first.length]).map(|header| header.size_bytes()) else { continue };
            drop(first);
            let read = self.reader.read_now(reply_offset(slot), sector_ceil(u64::from(size_bytes)) as usize)?;
            // A reply that is being rewritten now belongs to an op behind the checkpoint: replaying that op writes it again.
            if let Ok(reply) = Reply::check(&read.buffer[..read.length]) {
                replies.push((slot, reply.bytes().to_vec()));
            }
        }
        Ok(replies)
    }
}

/// The whole ring of headers as it stands, for a person to look at.
///
/// # Errors
/// See [`Reader::open`].
pub fn header_ring(path: &Path, options: ReadOptions) -> Result<Vec<u8>, SourceError> {
    let mut reader = Reader::open(path, WAL_HEADERS_BYTES, 1, options)?;
    let read = reader.read_now(WAL_HEADERS_OFFSET, WAL_HEADERS_BYTES)?;
    Ok(read.buffer[..read.length].to_vec())
}

/// What a header slot says about the op that should come next.
fn look_at(bytes: &[u8], op: u64, parent: Checksum) -> Slot {
    let Ok(header) = PrepareHeader::check(bytes) else { return Slot::NotYet };
    if header.is_reserved() || header.op() < op {
        return Slot::NotYet;
    }
    if header.op() > op {
        return Slot::Lost(format!("the log ring holds op {} in its place", header.op()));
    }
    if header.parent() != parent {
        return Slot::Lost("it continues another history: a view change replaced the op before it".into());
    }
    Slot::Next(Box::new(header))
}
