//! The container of every sealed object: header, frames, index, trailer.
//!
//! ```text
//! header 64 | frame 0 | frame 1 | ... | index (the last frame) | trailer 32
//! ```
//!
//! Flow of a write: a random salt goes into the header. The object's key is derived from the
//! repository key, salt, header and name. Each frame is compressed and sealed under its number. The
//! index lists the frames and carries the entries of the object's kind. The trailer says where the
//! index lies. Every byte is covered: the header by the key, frames and index by their tags, the
//! trailer by the index's derived place and by exact sums. This file encodes and decodes;
//! [`super::object_writer`] and [`super::object_reader`] move the bytes.
//!
//! Layout: FORMAT.md, "Sealed objects".

use super::key::RepositoryKey;
use super::wire::Fields;
use crate::error::{Error, Result};
pub use crate::pipeline::compress::Encoding;
use crate::pipeline::compress::{self, Codec};
use crate::pipeline::seal::{SealingKey, TAG_BYTES};

const MAGIC: &[u8; 8] = b"AMBEROBJ";
const MAGIC_END: &[u8; 8] = b"AMBEREND";
/// The version of the objects that are written. Version 1 knows only codecs 0 and 1; it is read for
/// ever.
const VERSION: u16 = 2;
/// Size of an object's header.
pub const OBJECT_HEADER_BYTES: usize = 64;
/// Size of an object's trailer.
pub const TRAILER_BYTES: usize = 32;
/// Size of a frame's row in the index.
const ROW_BYTES: usize = 12;
/// Most plain bytes of a frame. A grid block has 512 KiB and a prepare 1 MiB; the rest is room for
/// other tiers.
pub const FRAME_PLAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most frames of an object.
pub const FRAMES_MAX: u32 = 65_536;
/// Most plain bytes of an index, so that a hostile trailer cannot make a reader allocate more.
pub const INDEX_PLAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The index's frame number: beyond every real frame, so that a reader needs no count in advance.
pub const INDEX_NUMBER: u64 = u64::MAX;
/// The smallest object there can be: no frame, an index of two empty counts.
pub const OBJECT_BYTES_MIN: u64 = (OBJECT_HEADER_BYTES + TAG_BYTES + TRAILER_BYTES) as u64;
const _: () = assert!(FRAMES_MAX as usize * ROW_BYTES < INDEX_PLAIN_BYTES_MAX);

/// What an object holds. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// Grid blocks; one frame a block.
    Pack = 1,
    /// Prepares of the log.
    Segment = 2,
    /// A checkpoint manifest.
    Checkpoint = 3,
    /// A receipt: a promise that a manifest exists.
    Receipt = 4,
    /// The cluster that the repository belongs to.
    Cluster = 5,
    /// Where a timeline branches off.
    Timeline = 6,
    /// Ops of the log that were lost.
    Gap = 7,
    /// Who ships the log.
    Lease = 8,
    /// A plain file.
    File = 9,
    /// The promise that a plain file is stored.
    FileRecord = 10,
    /// That a run began or ended.
    Run = 11,
    /// The record of a backup, of any tier that needs no kind of its own. The name, to which the
    /// key is bound, says which tier's.
    Record = 12,
    /// What such a record names.
    Data = 13,
}

impl ObjectKind {
    const ALL: [ObjectKind; 13] = [
        ObjectKind::Pack,
        ObjectKind::Segment,
        ObjectKind::Checkpoint,
        ObjectKind::Receipt,
        ObjectKind::Cluster,
        ObjectKind::Timeline,
        ObjectKind::Gap,
        ObjectKind::Lease,
        ObjectKind::File,
        ObjectKind::FileRecord,
        ObjectKind::Run,
        ObjectKind::Record,
        ObjectKind::Data,
    ];

    /// The kind that an object's header says; whether that is true shows when it is opened.
    pub fn of_header(header: &[u8]) -> Option<ObjectKind> {
        let number = header.get(10..12).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes)?;
        ObjectKind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// Where one frame lies and how to expand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRow {
    /// Sealed size, tag included.
    pub stored_bytes: u32,
    /// Size once opened and expanded.
    pub plain_bytes: u32,
    /// How it is compressed.
    pub codec: Codec,
    /// The size of its records where the codec turns them into columns, 0 otherwise.
    pub record_bytes: u16,
}

/// The index of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its frames in order.
    pub frames: Vec<FrameRow>,
    /// What the object's kind adds (FORMAT.md says for each kind).
    pub entries: Vec<u8>,
}

/// Where the index lies, as the trailer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Offset of the sealed index in the object.
    pub index_offset: u64,
    /// Its sealed size.
    pub index_stored_bytes: u32,
    /// Its plain size.
    pub index_plain_bytes: u32,
    /// How it is compressed.
    pub codec: Codec,
}

/// A new object's header and the key that belongs to it.
pub fn new_object(key: &RepositoryKey, kind: ObjectKind, name: &str) -> Result<([u8; OBJECT_HEADER_BYTES], SealingKey)> {
    let mut header = [0; OBJECT_HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    header[10..12].copy_from_slice(&(kind as u16).to_le_bytes());
    header[16..48].copy_from_slice(&super::key::random::<32>()?);
    let sealing = object_key(key, &header, name)?;
    Ok((header, sealing))
}

/// The key and version of an object that was read, as its header gives them.
#[derive(Debug)]
pub struct ObjectKey {
    /// Its key.
    pub sealing: SealingKey,
    /// The version of its format, which says what its index may hold.
    pub version: u16,
}

/// The key of an object that was read. Its header must be of this kind, and of a version up to the
/// current one.
///
/// # Errors
/// [`Error::damaged`], naming the object.
pub fn key_of_object(key: &RepositoryKey, kind: ObjectKind, name: &str, header: &[u8]) -> Result<ObjectKey> {
    let mut fields = Fields::new(header);
    let mut read = || {
        let begins = fields.take(8)? == MAGIC;
        let version = fields.u16().filter(|version| begins && (1..=VERSION).contains(version))?;
        let of_kind = fields.u16()? == kind as u16;
        fields.zeros::<4>()?;
        fields.take(32)?;
        fields.zeros::<16>()?;
        fields.end()?;
        of_kind.then_some(version)
    };
    let Some(version) = read() else {
        return Err(Error::damaged(format!(
            "{name}: its header is not that of a {kind:?} of format version 1 to {VERSION}: damaged, swapped or written by a newer Amber"
        )));
    };
    Ok(ObjectKey { sealing: object_key(key, header, name)?, version })
}

fn object_key(key: &RepositoryKey, header: &[u8], name: &str) -> Result<SealingKey> {
    let derived = key.derive(b"amber/1/object", &[header, name.as_bytes()])?;
    SealingKey::new(&derived).ok_or_else(|| Error::bug("the library refused a 32-byte key"))
}

/// Compresses and seals one frame: the stored bytes and the row that describes them.
///
/// # Errors
/// [`Error::bug`] when the frame is larger than any may be, [`Error::try_again`] when zstd gets no
/// memory.
pub fn seal_frame(sealing: &SealingKey, number: u64, last: bool, plain: &[u8], encoding: &Encoding) -> Result<(Vec<u8>, FrameRow)> {
    let mut sealed = Vec::with_capacity(plain.len() + TAG_BYTES);
    let row = seal_frame_into(sealing, number, last, plain, encoding, &mut sealed)?;
    // A frame that waits for its upload must not keep the room that the plain bytes would have
    // needed.
    sealed.shrink_to_fit();
    Ok((sealed, row))
}

/// Compresses and seals one frame, and appends it to `out`. After an error `out` is as it was
/// before.
///
/// # Errors
/// As [`seal_frame`].
pub fn seal_frame_into(
    sealing: &SealingKey,
    number: u64,
    last: bool,
    plain: &[u8],
    encoding: &Encoding,
    out: &mut Vec<u8>,
) -> Result<FrameRow> {
    let sizes = u32::try_from(plain.len()).ok().filter(|_| plain.len() <= INDEX_PLAIN_BYTES_MAX);
    let plain_bytes = sizes.ok_or_else(|| Error::bug(format!("a frame of {} bytes", plain.len())))?;
    let from = out.len();
    let packed = if last { compress::compress_index(plain, encoding.level, out) } else { compress::compress(plain, encoding, out) };
    let sealed = packed.map_err(|error| Error::try_again(format!("zstd: {error}")).caused_by(error)).and_then(|packed| {
        sealing.seal(number, last, out, from).map_err(|_| Error::bug("AES-GCM refused a frame"))?;
        let stored_bytes = u32::try_from(out.len() - from).map_err(|_| Error::bug("a sealed frame over 4 GiB"))?;
        Ok(FrameRow { stored_bytes, plain_bytes, codec: packed.codec, record_bytes: packed.record_bytes })
    });
    if sealed.is_err() {
        out.truncate(from);
    }
    sealed
}

/// Opens and expands one frame. `sealed` is used up.
///
/// # Errors
/// [`Error::damaged`], naming the object and the frame.
pub fn open_frame(sealing: &SealingKey, number: u64, last: bool, sealed: &mut [u8], row: &FrameRow, name: &str) -> Result<Vec<u8>> {
    let damaged = |reason: &str| {
        let which = if last { "its index".to_owned() } else { format!("frame {number}") };
        Error::damaged(format!("{name}: {which} {reason}: the object was damaged, swapped or renamed"))
    };
    if sealed.len() != row.stored_bytes as usize {
        return Err(damaged("has the wrong size"));
    }
    let opened = sealing.open(number, last, sealed).map_err(|_| damaged("does not authenticate"))?;
    compress::expand(opened, row.codec, row.record_bytes, row.plain_bytes as usize).map_err(|reason| damaged(&reason))
}

/// Whether version 1 knows the codec. An index itself may use only such codecs, in every version.
fn of_version_1(codec: Codec) -> bool {
    matches!(codec, Codec::Raw | Codec::Zstd)
}

/// Opens one frame in place and expands it into all of `out`. `sealed` is used up.
///
/// # Errors
/// [`Error::damaged`], naming the object and the frame.
pub fn open_frame_into(sealing: &SealingKey, number: u64, sealed: &mut [u8], row: &FrameRow, name: &str, out: &mut [u8]) -> Result<()> {
    let damaged = |reason: &str| Error::damaged(format!("{name}: frame {number} {reason}: the object was damaged, swapped or renamed"));
    if sealed.len() != row.stored_bytes as usize || out.len() != row.plain_bytes as usize {
        return Err(damaged("has the wrong size"));
    }
    let opened = sealing.open(number, false, sealed).map_err(|_| damaged("does not authenticate"))?;
    compress::expand_into(opened, row.codec, row.record_bytes, out).map_err(|reason| damaged(&reason))
}

impl Index {
    /// The index's plain bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let too_large = || Error::bug("an index beyond its bounds");
        let count = u32::try_from(self.frames.len()).ok().filter(|count| *count <= FRAMES_MAX).ok_or_else(too_large)?;
        let mut bytes = Vec::with_capacity(8 + self.frames.len() * ROW_BYTES + self.entries.len());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for frame in &self.frames {
            bytes.extend_from_slice(&frame.stored_bytes.to_le_bytes());
            bytes.extend_from_slice(&frame.plain_bytes.to_le_bytes());
            bytes.extend_from_slice(&[frame.codec as u8, 0]);
            bytes.extend_from_slice(&frame.record_bytes.to_le_bytes());
        }
        bytes.extend_from_slice(&self.entries);
        if bytes.len() <= INDEX_PLAIN_BYTES_MAX { Ok(bytes) } else { Err(too_large()) }
    }

    /// Reads the index of an object of this version. Its bytes were authenticated; every bound is
    /// checked all the same.
    pub fn decode(bytes: &[u8], version: u16) -> Option<Index> {
        let mut fields = Fields::new(bytes);
        let count = fields.u32().filter(|count| *count <= FRAMES_MAX)?;
        fields.zeros::<4>()?;
        let mut rows = Fields::new(fields.take(count as usize * ROW_BYTES)?);
        let mut frames = Vec::with_capacity(count as usize);
        while rows.end().is_none() {
            let (stored_bytes, plain_bytes, codec) = (rows.u32()?, rows.u32()?, Codec::from_number(rows.u8()?)?);
            rows.zeros::<1>()?;
            let record_bytes = rows.u16()?;
            let bounded = plain_bytes as usize <= FRAME_PLAIN_BYTES_MAX && stored_bytes as usize <= FRAME_PLAIN_BYTES_MAX + TAG_BYTES;
            if !bounded || !codec.goes_with(record_bytes) || (version < 2 && !of_version_1(codec)) {
                return None;
            }
            frames.push(FrameRow { stored_bytes, plain_bytes, codec, record_bytes });
        }
        Some(Index { frames, entries: fields.rest().to_vec() })
    }

    /// Sealed size of all frames together.
    pub fn frames_bytes(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum()
    }
}

impl Trailer {
    /// The row that describes the index as a frame.
    pub fn row(&self) -> FrameRow {
        FrameRow { stored_bytes: self.index_stored_bytes, plain_bytes: self.index_plain_bytes, codec: self.codec, record_bytes: 0 }
    }

    /// The trailer's bytes.
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(&self.index_offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.index_stored_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.index_plain_bytes.to_le_bytes());
        bytes[16] = self.codec as u8;
        bytes[24..].copy_from_slice(MAGIC_END);
        bytes
    }

    /// Reads the trailer of an object of `object_bytes`; `None` unless the index fills exactly the
    /// room between frames and trailer.
    pub fn decode(bytes: &[u8], object_bytes: u64) -> Option<Trailer> {
        let mut fields = Fields::new(bytes);
        let trailer = Trailer {
            index_offset: fields.u64()?,
            index_stored_bytes: fields.u32()?,
            index_plain_bytes: fields.u32()?,
            codec: Codec::from_number(fields.u8()?).filter(|codec| of_version_1(*codec))?,
        };
        fields.zeros::<7>()?;
        let ends = fields.take(8)? == MAGIC_END && fields.end().is_some();
        let index_end = trailer.index_offset.checked_add(u64::from(trailer.index_stored_bytes))?.checked_add(TRAILER_BYTES as u64)?;
        let bounded = trailer.index_plain_bytes as usize <= INDEX_PLAIN_BYTES_MAX
            && trailer.index_stored_bytes as usize <= INDEX_PLAIN_BYTES_MAX + TAG_BYTES
            && trailer.index_offset >= OBJECT_HEADER_BYTES as u64;
        (ends && bounded && index_end == object_bytes).then_some(trailer)
    }
}

#[cfg(test)]
mod tests;
