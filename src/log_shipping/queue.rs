//! What waits to be stored, in order: which segments are in memory, which are on disk, what is
//! uploaded next, and how far the log is durable.
//!
//! Flow: [`Backlog::admit`] says where there is room for the next segment; [`Backlog::push`] takes
//! it. [`Backlog::take_upload`] returns the oldest segment that is not being uploaded.
//! [`Backlog::stored`], [`Backlog::put_back`] or [`Backlog::lost`] record the result. Uploads end
//! in any order, but segments are reported as durable only in the order in which they came. This
//! module does no I/O and reads no clock.
//!
//! The oldest segments go to the disk first, whether or not they are being uploaded, so that
//! everything in memory is newer than everything in the spool. When the agent is killed, it then
//! loses only the end of the log, after everything that the next agent finds, and never leaves a
//! hole in it.

use crate::repository::name::SegmentName;
use crate::repository::sealed::SealedObject;
use crate::store::Digest;
use crate::tier::tigerbeetle::format::segment::{PrepareRow, SealedSegment, SegmentEntry};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// How many segments the uploads may run ahead of the first that is not stored. This bounds how
/// many finished segments are remembered.
const AHEAD_MAX: usize = 1024;

/// A segment's place in the queue; counts from 0 for the life of a backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What the backlog may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most stored bytes in memory. Uploads hold one segment each beyond that.
    pub memory_bytes: u64,
    /// Most uploads at once.
    pub uploads: usize,
}

/// Where there is room for a segment.
#[derive(Debug, Clone)]
pub enum Admit {
    /// In memory.
    Take,
    /// In memory, once this other segment is in the spool.
    SpoolFirst(Ticket, Arc<SealedObject>),
    /// In the spool only.
    SpoolThis,
    /// Nowhere.
    Full,
}

/// A segment to upload.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its place in the queue.
    pub ticket: Ticket,
    /// Its name.
    pub name: SegmentName,
    /// Its stored size.
    pub stored_bytes: u64,
    /// Its digest, unless an earlier agent spooled it.
    pub digest: Option<Digest>,
    /// Its bytes, or `None` if they are in the spool.
    pub object: Option<Arc<SealedObject>>,
}

/// A segment that the store has, together with everything before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// As a manifest lists it.
    pub entry: SegmentEntry,
    /// The last prepare in it.
    pub last: PrepareRow,
    /// When it was offered; for a segment that an earlier agent spooled, when this one started.
    pub offered: Instant,
}

/// The result of an upload that has ended.
#[derive(Debug, Default)]
pub struct Advance {
    /// Whether the segment is still in the spool, where it is no longer needed.
    pub in_spool: bool,
    /// The segments that are durable now, in order.
    pub durable: Vec<Durable>,
}

/// How much waits to be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Segments in memory.
    pub memory_segments: u64,
    /// Their stored bytes.
    pub memory_bytes: u64,
    /// Segments in the spool.
    pub spool_segments: u64,
    /// Their stored bytes.
    pub spool_bytes: u64,
    /// How many of all these are being uploaded.
    pub in_flight: usize,
}

#[derive(Debug)]
enum SegmentPlace {
    Memory(Arc<SealedObject>),
    Spool,
    /// In the store, but something before it is not.
    Stored,
    /// Nothing waits for it: either it is damaged in the spool, which was reported, or another
    /// agent has stored it.
    Gone,
}

#[derive(Debug)]
struct Entry {
    name: SegmentName,
    stored_bytes: u64,
    digest: Option<Digest>,
    last: PrepareRow,
    offered: Instant,
    place: SegmentPlace,
    in_flight: bool,
}

impl Entry {
    fn waits(&self) -> bool {
        matches!(self.place, SegmentPlace::Memory(_) | SegmentPlace::Spool)
    }
}

/// The queue; see the head of this module.
#[derive(Debug)]
pub struct Backlog {
    limits: Limits,
    queue: VecDeque<Entry>,
    /// The ticket of the queue's front.
    front: u64,
    /// No entry before this ticket is in memory.
    spooled_until: u64,
    waiting: Waiting,
}

impl Backlog {
    /// Creates an empty queue.
    pub fn new(limits: Limits) -> Backlog {
        Backlog { limits, queue: VecDeque::new(), front: 0, spooled_until: 0, waiting: Waiting::default() }
    }

    /// Where there is room for a segment of this size, when the spool takes one of at most
    /// `spool_free_bytes`.
    pub fn admit(&mut self, stored_bytes: u64, spool_free_bytes: u64) -> Admit {
        if self.waiting.memory_bytes.saturating_add(stored_bytes) <= self.limits.memory_bytes {
            return Admit::Take;
        }
        match self.oldest_in_memory() {
            Some((ticket, object, _)) if object.stored_bytes <= spool_free_bytes => Admit::SpoolFirst(ticket, object),
            None if stored_bytes <= spool_free_bytes => Admit::SpoolThis,
            _ => Admit::Full,
        }
    }

    /// Takes a segment into memory.
    pub fn push(&mut self, segment: SealedSegment, now: Instant) {
        let SealedSegment { name, object, last } = segment;
        let (stored_bytes, digest) = (object.stored_bytes, Some(object.digest));
        let place = SegmentPlace::Memory(Arc::new(object));
        self.append(Entry { name, stored_bytes, digest, last, offered: now, place, in_flight: false });
    }

    /// Takes a segment that is in the spool. Its digest is not known if an earlier agent put it
    /// there. Only while nothing is in memory.
    pub fn push_spooled(&mut self, name: SegmentName, stored_bytes: u64, digest: Option<Digest>, last: PrepareRow, now: Instant) {
        self.append(Entry { name, stored_bytes, digest, last, offered: now, place: SegmentPlace::Spool, in_flight: false });
    }

    fn append(&mut self, entry: Entry) {
        self.waiting.count(&entry, 1);
        self.queue.push_back(entry);
    }

    /// The oldest segment in memory and when it was offered: the next to go to the spool.
    pub fn oldest_in_memory(&mut self) -> Option<(Ticket, Arc<SealedObject>, Instant)> {
        self.spooled_until = self.spooled_until.max(self.front);
        while let Some(entry) = self.queue.get((self.spooled_until - self.front) as usize) {
            if let SegmentPlace::Memory(object) = &entry.place {
                return Some((Ticket(self.spooled_until), Arc::clone(object), entry.offered));
            }
            self.spooled_until += 1;
        }
        None
    }

    /// Records that a segment is in the spool now. `false` if the store already has it, so that it
    /// is not needed in the spool.
    #[must_use]
    pub fn spooled(&mut self, ticket: Ticket) -> bool {
        let waits = self.entry(ticket).is_some_and(|entry| entry.waits());
        if waits {
            self.change(ticket, |entry| entry.place = SegmentPlace::Spool);
        }
        waits
    }

    /// Whether there is something to upload and another upload may begin.
    pub fn has_upload(&self) -> bool {
        self.next_upload().is_some()
    }

    fn next_upload(&self) -> Option<usize> {
        if self.waiting.in_flight >= self.limits.uploads {
            return None;
        }
        self.queue.iter().take(AHEAD_MAX).position(|entry| entry.waits() && !entry.in_flight)
    }

    /// The oldest segment that is not being uploaded; the caller uploads it.
    pub fn take_upload(&mut self) -> Option<Upload> {
        let position = self.next_upload()?;
        let ticket = Ticket(self.front + position as u64);
        self.change(ticket, |entry| entry.in_flight = true);
        let entry = self.entry(ticket)?;
        let object = match &entry.place {
            SegmentPlace::Memory(object) => Some(Arc::clone(object)),
            _ => None,
        };
        Some(Upload { ticket, name: entry.name, stored_bytes: entry.stored_bytes, digest: entry.digest, object })
    }

    /// The upload failed: the segment waits again, in its old place.
    pub fn put_back(&mut self, ticket: Ticket) {
        self.change(ticket, |entry| entry.in_flight = false);
    }

    /// Records that the store has the segment, with the digest of its bytes.
    pub fn stored(&mut self, ticket: Ticket, digest: Digest) -> Advance {
        let in_spool = self.entry(ticket).is_some_and(|entry| matches!(entry.place, SegmentPlace::Spool));
        self.change(ticket, |entry| (entry.place, entry.digest, entry.in_flight) = (SegmentPlace::Stored, Some(digest), false));
        Advance { in_spool, durable: self.advance() }
    }

    /// Records that the segment cannot be read from the spool. The caller reports that before
    /// anything after the segment becomes durable.
    pub fn lost(&mut self, ticket: Ticket) -> Vec<Durable> {
        self.change(ticket, |entry| (entry.place, entry.in_flight) = (SegmentPlace::Gone, false));
        self.advance()
    }

    /// Removes finished segments from the front.
    fn advance(&mut self) -> Vec<Durable> {
        let mut durable = Vec::new();
        while self.queue.front().is_some_and(|entry| !entry.waits()) {
            let Some(entry) = self.queue.pop_front() else { break };
            self.front += 1;
            if let (SegmentPlace::Stored, Some(digest)) = (entry.place, entry.digest) {
                let Entry { name, stored_bytes, last, offered, .. } = entry;
                durable.push(Durable { entry: SegmentEntry { name, stored_bytes, digest }, last, offered });
            }
        }
        durable
    }

    /// Drops what another agent has stored: segments of this timeline that end at or before `op`
    /// and that are not being uploaded. Returns which of them are in the spool, and which segments
    /// are durable now because nothing is before them any more.
    pub fn forget_through(&mut self, timeline: u32, op: u64) -> (Vec<(SegmentName, u64)>, Vec<Durable>) {
        let mut spooled = Vec::new();
        for entry in &mut self.queue {
            if !entry.waits() || entry.in_flight || entry.name.timeline != timeline || entry.name.last_op > op {
                continue;
            }
            self.waiting.count(entry, -1);
            if matches!(entry.place, SegmentPlace::Spool) {
                spooled.push((entry.name, entry.stored_bytes));
            }
            entry.place = SegmentPlace::Gone;
        }
        (spooled, self.advance())
    }

    /// How much waits to be stored.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the oldest segment that is not durable was offered.
    pub fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|entry| entry.offered)
    }

    /// The names of the segments that are only in memory, in order.
    pub fn in_memory(&self) -> Vec<SegmentName> {
        self.queue.iter().filter(|entry| matches!(entry.place, SegmentPlace::Memory(_))).map(|entry| entry.name).collect()
    }

    fn entry(&self, ticket: Ticket) -> Option<&Entry> {
        self.queue.get(usize::try_from(ticket.0.checked_sub(self.front)?).ok()?)
    }

    /// Changes an entry that is still in the queue, and updates the counts.
    fn change(&mut self, ticket: Ticket, change: impl FnOnce(&mut Entry)) {
        let position = ticket.0.checked_sub(self.front).and_then(|position| usize::try_from(position).ok());
        if let Some(entry) = position.and_then(|position| self.queue.get_mut(position)) {
            self.waiting.count(entry, -1);
            change(entry);
            self.waiting.count(entry, 1);
        }
    }
}

impl Waiting {
    fn count(&mut self, entry: &Entry, sign: i8) {
        let (segments, bytes) = match entry.place {
            SegmentPlace::Memory(_) => (&mut self.memory_segments, &mut self.memory_bytes),
            SegmentPlace::Spool => (&mut self.spool_segments, &mut self.spool_bytes),
            SegmentPlace::Stored | SegmentPlace::Gone => return,
        };
        *segments = segments.saturating_add_signed(i64::from(sign));
        *bytes = bytes.saturating_add_signed(i64::from(sign) * entry.stored_bytes as i64);
        self.in_flight = self.in_flight.saturating_add_signed(isize::from(sign) * isize::from(entry.in_flight));
    }
}

#[cfg(test)]
mod tests;
