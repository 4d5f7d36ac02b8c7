//! Log segments: consecutive prepares, verbatim, with an index by op and time.
//!
//! Flow: [`SegmentBuilder`] collects prepares in order (the caller follows the hash chain). Once
//! the last op is known, it writes them as one object, because the name contains the first and last
//! op. Or it seals them in memory for a caller that ships them. [`SegmentReader`] answers from the
//! index alone which ops and times the segment holds. It returns the prepares, each checked by
//! TigerBeetle's own checksums and against the index.
//!
//! Layout: FORMAT.md, "Segments".

use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{RunId, SegmentName};
use crate::repository::object_reader::ObjectReader;
use crate::repository::object_writer::{Finishing, ObjectWriter};
use crate::repository::sealed::{self, SealedObject};
use crate::repository::wire::Fields;
use crate::store::Digest;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::record::RECORD_BYTES;
use crate::tb_format::wal::Prepare;
use std::sync::Arc;

/// A frame is closed before it would grow beyond this. The limit is as large as the largest
/// prepare, so every frame has room for at least one.
const FRAME_BYTES_TARGET: usize = 1024 * 1024;
/// A segment is full at so many plain bytes. It is held in memory until then.
pub const SEGMENT_BYTES_TARGET: usize = 16 * 1024 * 1024;
/// The most plain bytes of a segment that is sealed in memory. Even if nothing compresses, the
/// segment and its index stay below the size of one part.
pub const SEALED_BYTES_MAX: usize = 7 * 1024 * 1024;
/// The record size after which the bytes of a frame tend to repeat: a header is two events long,
/// and the bodies of the prepares that matter are events. If a body is not made of events, the
/// bytes after it are out of step. This costs a little of the compression ratio and nothing else.
pub(super) const FRAME_RECORD_BYTES: Option<u16> = Some(RECORD_BYTES as u16);
/// Frames that are authenticated at once.
const FRAMES_A_FETCH: u32 = 4;
/// Size of a prepare's row in a segment's index.
const ROW_BYTES: usize = 28;

/// A segment as a manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its name.
    pub name: SegmentName,
    /// Its stored size.
    pub stored_bytes: u64,
    /// Its digest ([`crate::repository::stored_object::object_digest`]).
    pub digest: Digest,
}

/// What the index says about one prepare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareRow {
    /// Its op.
    pub op: u64,
    /// The checksum of its header.
    pub checksum: Checksum,
    /// Its timestamp.
    pub timestamp_ns: u64,
    /// Header and body together.
    pub size_bytes: u32,
}

/// Prepares laid out in frames, and what the index will say about them.
#[derive(Debug, Default)]
pub struct SegmentFrames {
    /// The frame that is being filled.
    frame: Vec<u8>,
    /// Prepares in each frame; the last is the one that is being filled.
    counts: Vec<u32>,
    rows: Vec<PrepareRow>,
}

impl SegmentFrames {
    /// Adds the next prepare. Returns a frame when it is full.
    pub fn push(&mut self, prepare: &Prepare<'_>) -> Option<Vec<u8>> {
        let (header, bytes) = (prepare.header(), prepare.bytes());
        let closes = !self.frame.is_empty() && self.frame.len() + bytes.len() > FRAME_BYTES_TARGET;
        let full = closes.then(|| std::mem::take(&mut self.frame));
        match self.counts.last_mut() {
            Some(count) if !closes => *count += 1,
            _ => self.counts.push(1),
        }
        self.frame.extend_from_slice(bytes);
        self.rows.push(PrepareRow {
            op: header.op(),
            checksum: header.checksum(),
            timestamp_ns: header.timestamp(),
            size_bytes: header.size_bytes(),
        });
        full
    }

    /// The last frame, if it holds anything.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        (!self.frame.is_empty()).then(|| std::mem::take(&mut self.frame))
    }

    /// What the segment's index says about the prepares.
    pub fn entries(&self) -> Vec<u8> {
        let first_op = self.rows.first().map_or(0, |row| row.op);
        let mut entries = Vec::with_capacity(16 + self.counts.len() * 4 + self.rows.len() * ROW_BYTES);
        entries.extend_from_slice(&first_op.to_le_bytes());
        entries.extend_from_slice(&(self.rows.len() as u64).to_le_bytes());
        for count in &self.counts {
            entries.extend_from_slice(&count.to_le_bytes());
        }
        for row in &self.rows {
            entries.extend_from_slice(&row.checksum.0.to_le_bytes());
            entries.extend_from_slice(&row.timestamp_ns.to_le_bytes());
            entries.extend_from_slice(&row.size_bytes.to_le_bytes());
        }
        entries
    }
}

/// Prepares on their way into a segment, held in memory.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    full: Vec<Vec<u8>>,
    frames: SegmentFrames,
    plain_bytes: usize,
}

impl SegmentBuilder {
    /// Adds the next prepare.
    pub fn push(&mut self, prepare: &Prepare<'_>) {
        self.full.extend(self.frames.push(prepare));
        self.plain_bytes += prepare.bytes().len();
    }

    /// Plain bytes of the prepares in it.
    pub fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }

    /// Whether it should be written now.
    pub fn is_full(&self) -> bool {
        self.plain_bytes >= SEGMENT_BYTES_TARGET
    }

    /// First and last op, if there is any.
    pub fn ops(&self) -> Option<(u64, u64)> {
        Some((self.frames.rows.first()?.op, self.frames.rows.last()?.op))
    }

    /// Drops everything if all of it is at or below `op`, because only later prepares are wanted.
    /// Returns whether that was so. Otherwise nothing is dropped.
    pub fn forget_through(&mut self, op: u64) -> bool {
        let all = self.frames.rows.last().is_some_and(|row| row.op <= op);
        if all {
            *self = SegmentBuilder::default();
        }
        all
    }

    /// Writes the segment; `None` if there is nothing to write. Wait on the returned [`Finishing`]
    /// to know that it is durable.
    pub fn write(mut self, repository: &Arc<Repository>, timeline: u32, run: RunId) -> Result<Option<(SegmentName, Finishing)>> {
        let Some((first_op, last_op)) = self.ops() else { return Ok(None) };
        let name = SegmentName { timeline, first_op, last_op, run };
        let mut writer = ObjectWriter::create(repository, ObjectKind::Segment, name.object())?;
        for frame in self.full.into_iter().chain(self.frames.rest()) {
            writer.push_records(frame, FRAME_RECORD_BYTES)?;
        }
        Ok(Some((name, writer.finish(self.frames.entries())?)))
    }

    /// Seals the segment in memory; `None` if there is nothing in it. For a segment of at most
    /// [`SEALED_BYTES_MAX`] plain bytes.
    ///
    /// # Errors
    /// [`Error::bug`] for a larger one.
    pub fn seal(mut self, repository: &Repository, timeline: u32, run: RunId) -> Result<Option<SealedSegment>> {
        let Some((first_op, last_op)) = self.ops() else { return Ok(None) };
        let name = SegmentName { timeline, first_op, last_op, run };
        self.full.extend(self.frames.rest());
        let object = sealed::seal(repository, ObjectKind::Segment, name.object(), &self.full, FRAME_RECORD_BYTES, self.frames.entries())?;
        let last = self.frames.rows.last().copied().ok_or_else(|| Error::bug("a segment without a prepare"))?;
        Ok(Some(SealedSegment { name, object, last }))
    }
}

/// A segment sealed in memory.
#[derive(Debug, Clone)]
pub struct SealedSegment {
    /// Its name.
    pub name: SegmentName,
    /// Its bytes, ready to be stored under that name.
    pub object: SealedObject,
    /// The last prepare in it, after which the log continues.
    pub last: PrepareRow,
}

impl SealedSegment {
    /// The segment as a manifest lists it.
    pub fn entry(&self) -> SegmentEntry {
        SegmentEntry { name: self.name, stored_bytes: self.object.stored_bytes, digest: self.object.digest }
    }
}

/// The row of a segment that has been written.
pub fn segment_entry(name: SegmentName, finishing: Finishing) -> Result<SegmentEntry> {
    let stored = finishing.wait()?;
    Ok(SegmentEntry { name, stored_bytes: stored.size_bytes, digest: stored.digest })
}

/// Reads one segment.
pub struct SegmentReader<'a> {
    object: ObjectReader<'a>,
    /// How many prepares each frame holds.
    counts: Vec<u32>,
    /// The prepares that it holds, in order of op.
    pub rows: Vec<PrepareRow>,
}

impl<'a> SegmentReader<'a> {
    /// Opens a segment that a manifest lists.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is not the segment that the manifest lists.
    pub fn open(repository: &'a Repository, entry: &SegmentEntry) -> Result<SegmentReader<'a>> {
        SegmentReader::open_listed(repository, &entry.name, Some(entry.stored_bytes))
    }

    /// Opens a segment by its name, as a listing gives it.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing, or does not hold what its name says.
    pub fn open_listed(repository: &'a Repository, segment: &SegmentName, stored_bytes: Option<u64>) -> Result<SegmentReader<'a>> {
        let name = segment.object();
        let object = ObjectReader::open(repository, ObjectKind::Segment, &name, stored_bytes)?;
        let decoded = decode_entries(&object.index.entries, &object.index.frames.iter().map(|row| row.plain_bytes).collect::<Vec<_>>());
        let within = |rows: &[PrepareRow]| {
            rows.first().map(|row| row.op) == Some(segment.first_op) && rows.last().map(|row| row.op) == Some(segment.last_op)
        };
        match decoded {
            Some((counts, rows)) if within(&rows) => Ok(SegmentReader { object, counts, rows }),
            _ => Err(Error::damaged(format!("{name}: its index does not list the ops that its name promises"))),
        }
    }

    /// Sealed bytes of the frames that are fetched for these ops.
    pub fn stored_bytes_of(&self, first_op: u64, last_op: u64) -> u64 {
        let (mut position, mut stored_bytes) = (0, 0);
        for (number, count) in (0..).zip(&self.counts) {
            let rows = &self.rows[position..position + *count as usize];
            position += rows.len();
            if rows.iter().any(|row| (first_op..=last_op).contains(&row.op)) {
                stored_bytes += self.object.stored_bytes(number, 1).unwrap_or(0);
            }
        }
        stored_bytes
    }

    /// Fetches every frame and checks that it authenticates and expands, without checking the
    /// prepares in it. This runs as bulk work.
    ///
    /// # Errors
    /// [`Error::damaged`] when a frame does not.
    pub fn authenticate(&self, repository: &Repository) -> Result<()> {
        let count = self.object.frame_count();
        (0..count).step_by(FRAMES_A_FETCH as usize).try_for_each(|first| {
            let frames = FRAMES_A_FETCH.min(count - first);
            repository.admit_fetch(Priority::Bulk, self.object.stored_bytes(first, frames).unwrap_or(0));
            self.object.frames(first, frames).map(|_| ())
        })
    }

    /// Passes every prepare from `first_op` to `last_op` that the segment holds to `take`, in
    /// order. Frames outside that range are not fetched.
    ///
    /// # Errors
    /// [`Error::damaged`] when a prepare does not match the index, and whatever `take` returns.
    pub fn prepares(&self, first_op: u64, last_op: u64, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<()> {
        let mut position = 0;
        for (number, count) in self.counts.iter().enumerate() {
            let rows = &self.rows[position..position + *count as usize];
            position += rows.len();
            if rows.iter().any(|row| (first_op..=last_op).contains(&row.op)) {
                self.frame(number as u32, rows, first_op, last_op, take)?;
            }
        }
        Ok(())
    }

    fn frame(
        &self,
        number: u32,
        rows: &[PrepareRow],
        first_op: u64,
        last_op: u64,
        take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>,
    ) -> Result<()> {
        let frames = self.object.frames(number, 1)?;
        let mut fields = Fields::new(frames.first().map(Vec::as_slice).unwrap_or_default());
        for row in rows {
            let damaged = |reason: String| Error::damaged(format!("{}: op {}: {reason}", self.object.name(), row.op));
            let bytes = fields.take(row.size_bytes as usize).ok_or_else(|| damaged("its frame is too short".into()))?;
            let prepare = Prepare::check(bytes).map_err(|error| damaged(error.to_string()))?;
            let header = prepare.header();
            if (header.op(), header.checksum(), header.timestamp()) != (row.op, row.checksum, row.timestamp_ns) {
                return Err(damaged("it is another prepare than the index says".into()));
            }
            if (first_op..=last_op).contains(&row.op) {
                take(&prepare)?;
            }
        }
        Ok(())
    }
}

/// The counts per frame and the rows, if they fit the frames' plain sizes to the byte.
fn decode_entries(entries: &[u8], frames: &[u32]) -> Option<(Vec<u32>, Vec<PrepareRow>)> {
    let mut fields = Fields::new(entries);
    let (first_op, prepares) = (fields.u64()?, usize::try_from(fields.u64()?).ok()?);
    let mut counts = Vec::with_capacity(frames.len());
    for _ in frames {
        counts.push(fields.u32()?);
    }
    if fields.rest().len() != prepares.checked_mul(ROW_BYTES)? || counts.iter().map(|count| *count as usize).sum::<usize>() != prepares {
        return None;
    }
    let mut rows = Vec::with_capacity(prepares);
    for number in 0..prepares as u64 {
        let op = first_op.checked_add(number)?;
        rows.push(PrepareRow { op, checksum: Checksum(fields.u128()?), timestamp_ns: fields.u64()?, size_bytes: fields.u32()? });
    }
    let mut position = 0;
    for (count, plain_bytes) in counts.iter().zip(frames) {
        let held: u64 = rows[position..position + *count as usize].iter().map(|row| u64::from(row.size_bytes)).sum();
        position += *count as usize;
        if held != u64::from(*plain_bytes) {
            return None;
        }
    }
    Some((counts, rows))
}

#[cfg(test)]
mod tests;
