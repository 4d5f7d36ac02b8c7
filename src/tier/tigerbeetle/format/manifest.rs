//! Checkpoint manifests: everything needed to restore one checkpoint and the log after it. Nothing
//! has to be listed or guessed.
//!
//! A manifest is an object whose frames belong to sections: a summary (JSON, first frame, so that a
//! listing fetches little), the superblock, the client replies, the pack table, the extents, the
//! segments. A backup exists when its manifest does; it is written last.
//!
//! Layout: FORMAT.md, "Checkpoint manifests".

use super::pack::{Location, PackEntry};
use super::segment::SegmentEntry;
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{CheckpointName, PackName, RunId, SegmentName};
use crate::repository::object_reader::ObjectReader;
use crate::repository::object_writer::ObjectWriter;
use crate::repository::stored_object::StoredObject;
use crate::repository::wire::Fields;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::grid::BlockReference;
use crate::tb_format::layout::CLIENT_REPLIES_SLOTS;
use crate::tb_format::superblock::SuperBlock;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const SECTION_SUMMARY: u8 = 1;
const SECTION_SUPERBLOCK: u8 = 2;
const SECTION_REPLIES: u8 = 3;
const SECTION_PACKS: u8 = 4;
const SECTION_EXTENTS: u8 = 5;
const SECTION_SEGMENTS: u8 = 6;
/// Sections from here on are extras of a newer writer. A reader that does not know them leaves them
/// out.
const SECTION_OPTIONAL: u8 = 128;
const PACK_ROW_BYTES: usize = 64;
const EXTENT_ROW_BYTES: usize = 40;
const SEGMENT_ROW_BYTES: usize = 72;
/// Tables are cut into frames of at most this size.
const TABLE_FRAME_BYTES: usize = 1024 * 1024;

/// What a listing shows about a backup. Checksums and ids are hexadecimal, because JSON numbers do
/// not hold 128 bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The cluster, 32 hexadecimal digits.
    pub cluster: String,
    /// The timeline: which history of the cluster it is.
    pub timeline: u32,
    /// The replica that it was captured from.
    pub replica: u8,
    /// How many replicas the cluster has.
    pub replica_count: u8,
    /// The TigerBeetle release that wrote the checkpoint: a server of this release (or one that can
    /// upgrade from it) must start the image.
    pub release: String,
    /// The op of the checkpoint.
    pub checkpoint_op: u64,
    /// The checkpoint's id.
    pub checkpoint_id: String,
    /// The timestamp of the checkpoint's op; 0 for a data file that never made a checkpoint.
    pub checkpoint_timestamp_ns: u64,
    /// The first op of the stored log: `checkpoint_op + 1`, or the first op after the checkpoint
    /// before where a server would not start without that log.
    pub log_first_op: u64,
    /// The earliest op that this backup restores to.
    pub first_restorable_op: u64,
    /// The latest op that this backup restores to.
    pub recovered_to_op: u64,
    /// The timestamp of that op's prepare.
    pub recovered_to_timestamp_ns: u64,
    /// The checksum of that op's prepare.
    pub recovered_to_checksum: String,
    /// The highest op known to be committed. The replica prepared the ops above it, but they may
    /// not have been acknowledged yet.
    pub commit_known_op: u64,
    /// The length of the data file.
    pub data_file_bytes: u64,
    /// Reachable grid blocks.
    pub blocks: u64,
    /// Of these blocks, those that this backup stored.
    pub blocks_stored: u64,
    /// Of these blocks, those that the repository held already.
    pub blocks_reused: u64,
    /// Bytes read from the data file, all rounds and the log together.
    pub bytes_read: u64,
    /// Bytes stored by this backup: packs and segments.
    pub bytes_stored: u64,
    /// One plus the number of times that the node had moved on while it was read.
    pub rounds: u32,
    /// When the capture began, by this machine's clock.
    pub began_ns: u64,
    /// When the capture was complete, by this machine's clock.
    pub ended_ns: u64,
}

/// An extent as a manifest lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its root block.
    pub root: BlockReference,
    /// Where it lies.
    pub location: Location,
}

/// A manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// What a listing shows.
    pub summary: Summary,
    /// The superblock as it was read (one copy; the four differ only in their copy number).
    pub superblock: SuperBlock,
    /// The client replies: slot, and the reply's exact bytes.
    pub replies: Vec<(u32, Vec<u8>)>,
    /// The packs that hold the extents.
    pub packs: Vec<PackEntry>,
    /// The extents, by ascending root address.
    pub extents: Vec<Extent>,
    /// The segments that hold ops `log_first_op` to `recovered_to_op`, in order.
    pub segments: Vec<SegmentEntry>,
}

impl Manifest {
    /// Writes the manifest; it is durable when this returns.
    pub fn write(&self, repository: &Arc<Repository>, name: &CheckpointName) -> Result<StoredObject> {
        // A manifest that a reader would refuse must not be promised.
        self.check().map_err(|what| Error::bug(format!("{}: {what}", name.object())))?;
        let mut writer = ObjectWriter::create(repository, ObjectKind::Checkpoint, name.object())?;
        let mut sections = Vec::new();
        let mut push = |section: u8, plain: Vec<u8>| {
            sections.push(section);
            writer.push(plain).map(|_| ())
        };
        let summary = serde_json::to_vec(&self.summary)
            .map_err(|error| Error::bug(format!("the summary does not encode: {error}")).caused_by(error))?;
        push(SECTION_SUMMARY, summary)?;
        push(SECTION_SUPERBLOCK, self.superblock.bytes().to_vec())?;
        for (slot, reply) in &self.replies {
            push(SECTION_REPLIES, [&slot.to_le_bytes()[..], &[0; 4], reply].concat())?;
        }
        for rows in self.packs.chunks(TABLE_FRAME_BYTES / PACK_ROW_BYTES) {
            push(SECTION_PACKS, rows.iter().flat_map(encode_pack).collect())?;
        }
        for rows in self.extents.chunks(TABLE_FRAME_BYTES / EXTENT_ROW_BYTES) {
            push(SECTION_EXTENTS, rows.iter().flat_map(encode_extent).collect())?;
        }
        for rows in self.segments.chunks(TABLE_FRAME_BYTES / SEGMENT_ROW_BYTES) {
            push(SECTION_SEGMENTS, rows.iter().flat_map(encode_segment).collect())?;
        }
        writer.finish(sections)?.wait()
    }

    /// Reads a manifest and checks that its parts fit one another.
    ///
    /// # Errors
    /// [`Error::damaged`] with the object's name.
    pub fn read(repository: &Repository, name: &CheckpointName, size_bytes: Option<u64>) -> Result<Manifest> {
        let object = ObjectReader::open(repository, ObjectKind::Checkpoint, &name.object(), size_bytes)?;
        let summary = read_summary(&object, name)?;
        let wrong = |what: &str| Error::damaged(format!("{}: {what}", name.object()));
        if object.index.entries.len() != object.index.frames.len() {
            return Err(wrong("its index does not name a section for each frame"));
        }
        let (mut superblock, mut replies, mut packs, mut extents, mut segments) = (None, Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, section) in object.index.entries.iter().enumerate().skip(1) {
            let frame = object.frames(number as u32, 1)?.pop().unwrap_or_default();
            let understood = match *section {
                SECTION_SUPERBLOCK if superblock.is_none() => {
                    let checked = SuperBlock::check(&frame).map_err(|error| wrong(&format!("its superblock: {error}")))?;
                    superblock = Some(checked);
                    Some(())
                }
                SECTION_REPLIES => decode_reply(&frame).map(|reply| replies.push(reply)),
                SECTION_PACKS => decode_rows(&frame, PACK_ROW_BYTES, decode_pack, &mut packs),
                SECTION_EXTENTS => decode_rows(&frame, EXTENT_ROW_BYTES, decode_extent, &mut extents),
                SECTION_SEGMENTS => decode_rows(&frame, SEGMENT_ROW_BYTES, decode_segment, &mut segments),
                SECTION_OPTIONAL.. => Some(()),
                _ => None,
            };
            understood.ok_or_else(|| wrong(&format!("frame {number} (section {section}) does not decode")))?;
        }
        let superblock = superblock.ok_or_else(|| wrong("it holds no superblock"))?;
        let manifest = Manifest { summary, superblock, replies, packs, extents, segments };
        manifest.check().map_err(|what| wrong(&what))?;
        Ok(manifest)
    }

    /// Reads only the summary.
    ///
    /// # Errors
    /// [`Error::damaged`] with the object's name.
    pub fn read_summary(repository: &Repository, name: &CheckpointName) -> Result<Summary> {
        read_summary(&ObjectReader::open(repository, ObjectKind::Checkpoint, &name.object(), None)?, name)
    }

    /// Reads only the summary and the superblock.
    ///
    /// # Errors
    /// [`Error::damaged`] with the object's name.
    pub fn read_head(repository: &Repository, name: &CheckpointName) -> Result<(Summary, SuperBlock)> {
        let object = ObjectReader::open(repository, ObjectKind::Checkpoint, &name.object(), None)?;
        let summary = read_summary(&object, name)?;
        let wrong = |what: String| Error::damaged(format!("{}: {what}", name.object()));
        if object.index.entries.get(1) != Some(&SECTION_SUPERBLOCK) {
            return Err(wrong("its second frame is no superblock".into()));
        }
        let frame = object.frames(1, 1)?.pop().unwrap_or_default();
        let superblock = SuperBlock::check(&frame).map_err(|error| wrong(format!("its superblock: {error}")))?;
        Ok((summary, superblock))
    }

    /// Cross-checks the sections. The error says what does not fit.
    fn check(&self) -> Result<(), String> {
        let ascending = self.extents.windows(2).all(|pair| pair[0].root.address < pair[1].root.address);
        if !ascending {
            return Err("its extents are not in ascending order".into());
        }
        for extent in &self.extents {
            let Location { pack, first_frame, blocks } = extent.location;
            let held = self.packs.get(pack as usize).map_or(0, |pack| pack.blocks);
            if blocks == 0 || first_frame.checked_add(blocks).is_none_or(|end| end > held) {
                return Err(format!("the extent at address {} lies outside its pack", extent.root.address));
            }
        }
        let (first, last) = (self.summary.log_first_op, self.summary.recovered_to_op);
        if first > self.summary.checkpoint_op.saturating_add(1) {
            return Err(format!("its log begins at op {first}, behind the checkpoint"));
        }
        let mut next = first;
        for segment in &self.segments {
            if segment.name.first_op > next || segment.name.last_op < segment.name.first_op {
                return Err(format!("its log has a gap before op {}", segment.name.first_op));
            }
            next = next.max(segment.name.last_op.saturating_add(1));
        }
        if next <= last {
            return Err(format!("its log ends at op {} instead of {last}", next.saturating_sub(1)));
        }
        let (checkpoint, summary) = (self.superblock.checkpoint(), &self.summary);
        let fits = checkpoint.header().op() == summary.checkpoint_op
            && summary.cluster == format!("{:032x}", self.superblock.cluster())
            && summary.replica_count == self.superblock.replica_count()
            && checkpoint.storage_size() == summary.data_file_bytes
            && (self.superblock.commit_max()..=summary.recovered_to_op).contains(&summary.first_restorable_op)
            && (self.superblock.commit_max()..=summary.recovered_to_op).contains(&summary.commit_known_op);
        if fits { Ok(()) } else { Err("its summary and its superblock disagree".into()) }
    }
}

fn read_summary(object: &ObjectReader<'_>, name: &CheckpointName) -> Result<Summary> {
    let wrong = |what: String| Error::damaged(format!("{}: {what}", name.object()));
    if object.index.entries.first() != Some(&SECTION_SUMMARY) {
        return Err(wrong("it does not begin with a summary".into()));
    }
    let frame = object.frames(0, 1)?.pop().unwrap_or_default();
    let summary: Summary = serde_json::from_slice(&frame).map_err(|error| wrong(format!("its summary does not decode: {error}")))?;
    if (summary.timeline, summary.checkpoint_op, summary.replica) != (name.timeline, name.checkpoint_op, name.replica) {
        return Err(wrong("its summary belongs to another name".into()));
    }
    Ok(summary)
}

fn decode_rows<T>(frame: &[u8], row_bytes: usize, decode: fn(&mut Fields<'_>) -> Option<T>, rows: &mut Vec<T>) -> Option<()> {
    if !frame.len().is_multiple_of(row_bytes) {
        return None;
    }
    for row in frame.chunks_exact(row_bytes) {
        rows.push(decode(&mut Fields::new(row))?);
    }
    Some(())
}

fn encode_pack(pack: &PackEntry) -> Vec<u8> {
    let mut row = Vec::with_capacity(PACK_ROW_BYTES);
    row.extend_from_slice(&pack.name.checkpoint_op.to_le_bytes());
    row.extend_from_slice(&pack.name.run.0.to_le_bytes());
    row.extend_from_slice(&pack.name.sequence.to_le_bytes());
    row.extend_from_slice(&pack.blocks.to_le_bytes());
    row.extend_from_slice(&pack.stored_bytes.to_le_bytes());
    row.extend_from_slice(&pack.digest);
    row
}

fn decode_pack(fields: &mut Fields<'_>) -> Option<PackEntry> {
    let name = PackName { checkpoint_op: fields.u64()?, run: RunId(fields.u64()?), sequence: fields.u32()? };
    Some(PackEntry { name, blocks: fields.u32()?, stored_bytes: fields.u64()?, digest: fields.array()? })
}

fn encode_extent(extent: &Extent) -> Vec<u8> {
    let mut row = Vec::with_capacity(EXTENT_ROW_BYTES);
    row.extend_from_slice(&extent.root.address.to_le_bytes());
    row.extend_from_slice(&extent.root.checksum.0.to_le_bytes());
    for field in [extent.location.pack, extent.location.first_frame, extent.location.blocks, 0] {
        row.extend_from_slice(&field.to_le_bytes());
    }
    row
}

fn decode_extent(fields: &mut Fields<'_>) -> Option<Extent> {
    let root = BlockReference { address: fields.u64()?, checksum: Checksum(fields.u128()?) };
    let location = Location { pack: fields.u32()?, first_frame: fields.u32()?, blocks: fields.u32()? };
    fields.zeros::<4>()?;
    Some(Extent { root, location })
}

fn encode_segment(segment: &SegmentEntry) -> Vec<u8> {
    let mut row = Vec::with_capacity(SEGMENT_ROW_BYTES);
    row.extend_from_slice(&segment.name.timeline.to_le_bytes());
    row.extend_from_slice(&[0; 4]);
    row.extend_from_slice(&segment.name.first_op.to_le_bytes());
    row.extend_from_slice(&segment.name.last_op.to_le_bytes());
    row.extend_from_slice(&segment.name.run.0.to_le_bytes());
    row.extend_from_slice(&segment.stored_bytes.to_le_bytes());
    row.extend_from_slice(&segment.digest);
    row
}

fn decode_segment(fields: &mut Fields<'_>) -> Option<SegmentEntry> {
    let timeline = fields.u32()?;
    fields.zeros::<4>()?;
    let name = SegmentName { timeline, first_op: fields.u64()?, last_op: fields.u64()?, run: RunId(fields.u64()?) };
    Some(SegmentEntry { name, stored_bytes: fields.u64()?, digest: fields.array()? })
}

fn decode_reply(frame: &[u8]) -> Option<(u32, Vec<u8>)> {
    let mut fields = Fields::new(frame);
    let slot = fields.u32().filter(|slot| u64::from(*slot) < CLIENT_REPLIES_SLOTS as u64)?;
    fields.zeros::<4>()?;
    Some((slot, fields.rest().to_vec()))
}

#[cfg(test)]
mod tests;
