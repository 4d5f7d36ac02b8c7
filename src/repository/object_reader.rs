//! Reads sealed objects: the index first, then any run of frames with one ranged read.
//!
//! Flow: [`ObjectReader::open`] fetches the object's tail, checks trailer, header and index, and that frames, index and trailer fill the
//! object to the byte; [`ObjectReader::frames`] fetches neighbouring frames at once, opens and expands them.

use super::Repository;
use super::fetch;
use super::frame::{self, Index, OBJECT_BYTES_MIN, OBJECT_HEADER_BYTES, ObjectKind, TRAILER_BYTES, Trailer};
use super::object_writer::{PART_BYTES, object_digest};
use crate::error::{Error, Result};
use crate::pipeline::digest::digest_of;
use crate::pipeline::seal::SealingKey;
use crate::store::{Digest, Store};
use bytes::{Bytes, BytesMut};

/// How much of an object's end is fetched at first: it holds the index of nearly every object, and all of a small one.
const TAIL_BYTES: u64 = 128 * 1024;

/// An object whose index was read and authenticated.
pub struct ObjectReader<'a> {
    store: &'a dyn Store,
    name: String,
    sealing: SealingKey,
    /// The object's index.
    pub index: Index,
    /// Where each frame begins, and where the last one ends.
    offsets: Vec<u64>,
    tail: Bytes,
    tail_offset: u64,
}

impl<'a> ObjectReader<'a> {
    /// Opens an object. `size_bytes` is what the manifest or listing says; without it the store is asked.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing, cut, swapped, renamed or changed.
    pub fn open(repository: &'a Repository, kind: ObjectKind, name: &str, size_bytes: Option<u64>) -> Result<ObjectReader<'a>> {
        let store = &*repository.store;
        let missing = || Error::damaged(format!("{}: object {name} is missing", store.describe()));
        let found_bytes = store.size_bytes(name)?.ok_or_else(missing)?;
        if size_bytes.is_some_and(|expected| expected != found_bytes) {
            let expected = size_bytes.unwrap_or_default();
            return Err(Error::damaged(format!("{name} has {found_bytes} bytes, its manifest says {expected}: it was cut or swapped")));
        }
        fetch::twice(|| ObjectReader::read(repository, kind, name, found_bytes))
    }

    fn read(repository: &'a Repository, kind: ObjectKind, name: &str, found_bytes: u64) -> Result<ObjectReader<'a>> {
        let store = &*repository.store;
        let damaged = |what: &str| Error::damaged(format!("{name}: {what}: the object was damaged, cut or swapped"));
        if found_bytes < OBJECT_BYTES_MIN {
            return Err(damaged("it is too short to be an object"));
        }
        let tail_offset = found_bytes - found_bytes.min(TAIL_BYTES);
        let tail = store.get_range(name, tail_offset, found_bytes - tail_offset)?;
        let mut reader = ObjectReader {
            store,
            name: name.to_owned(),
            sealing: frame::key_of_object(
                &repository.key,
                kind,
                name,
                &fetch(store, name, &tail, tail_offset, 0, OBJECT_HEADER_BYTES as u64)?,
            )?,
            index: Index { frames: Vec::new(), entries: Vec::new() },
            offsets: Vec::new(),
            tail,
            tail_offset,
        };
        let trailer = Trailer::decode(&reader.tail[reader.tail.len() - TRAILER_BYTES..], found_bytes)
            .ok_or_else(|| damaged("its trailer is wrong"))?;
        reader.read_index(&trailer)?;
        Ok(reader)
    }

    fn read_index(&mut self, trailer: &Trailer) -> Result<()> {
        let damaged = || Error::damaged(format!("{}: its index does not fit its frames", self.name));
        let sealed = self.fetch(trailer.index_offset, u64::from(trailer.index_stored_bytes))?;
        let row =
            frame::FrameRow { stored_bytes: trailer.index_stored_bytes, plain_bytes: trailer.index_plain_bytes, codec: trailer.codec };
        let plain = frame::open_frame(&self.sealing, frame::INDEX_NUMBER, true, &mut BytesMut::from(sealed), &row, &self.name)?;
        let index = Index::decode(&plain).ok_or_else(damaged)?;
        let mut offset = OBJECT_HEADER_BYTES as u64;
        self.offsets.push(offset);
        for frame in &index.frames {
            offset += u64::from(frame.stored_bytes);
            self.offsets.push(offset);
        }
        if offset != trailer.index_offset {
            return Err(damaged());
        }
        self.index = index;
        Ok(())
    }

    fn fetch(&self, offset: u64, length: u64) -> Result<Bytes> {
        fetch(self.store, &self.name, &self.tail, self.tail_offset, offset, length)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of frames.
    pub fn frame_count(&self) -> u32 {
        self.index.frames.len() as u32
    }

    /// Sealed bytes of frames `first .. first + count`, or `None` if there are not so many.
    pub fn stored_bytes(&self, first: u32, count: u32) -> Option<u64> {
        let end = first.checked_add(count)?;
        Some(self.offsets.get(end as usize)? - self.offsets.get(first as usize)?)
    }

    /// Frames `first .. first + count`, opened and expanded, fetched with one ranged read.
    ///
    /// # Errors
    /// [`Error::damaged`] when a frame does not authenticate or there are not so many.
    pub fn frames(&self, first: u32, count: u32) -> Result<Vec<Vec<u8>>> {
        fetch::twice(|| self.frames_once(first, count))
    }

    fn frames_once(&self, first: u32, count: u32) -> Result<Vec<Vec<u8>>> {
        let length = self.stored_bytes(first, count).ok_or_else(|| {
            Error::damaged(format!(
                "{}: frames {first} to {} are asked for, it has {}",
                self.name,
                first.saturating_add(count),
                self.frame_count()
            ))
        })?;
        let mut sealed = BytesMut::from(self.fetch(self.offsets[first as usize], length)?);
        let mut plain = Vec::with_capacity(count as usize);
        for number in first..first + count {
            let row = &self.index.frames[number as usize];
            let mut frame = sealed.split_to(row.stored_bytes as usize);
            plain.push(frame::open_frame(&self.sealing, u64::from(number), false, &mut frame, row, &self.name)?);
        }
        Ok(plain)
    }
}

/// A range of the object, out of the tail in hand if it lies there.
fn fetch(store: &dyn Store, name: &str, tail: &Bytes, tail_offset: u64, offset: u64, length: u64) -> Result<Bytes> {
    let within = offset.checked_sub(tail_offset).map(|begin| begin as usize..begin.saturating_add(length) as usize);
    match within.filter(|range| range.end <= tail.len()) {
        Some(range) => Ok(tail.slice(range)),
        None => Ok(store.get_range(name, offset, length)?),
    }
}

/// Size and digest of an object as it is stored, read whole, part by part.
///
/// # Errors
/// [`Error::damaged`] when it is missing.
pub fn digest_stored(repository: &Repository, name: &str) -> Result<(u64, Digest)> {
    let store = &*repository.store;
    let size_bytes = store.size_bytes(name)?.ok_or_else(|| Error::damaged(format!("{}: object {name} is missing", store.describe())))?;
    let mut parts = Vec::new();
    let mut offset = 0;
    while offset < size_bytes || parts.is_empty() {
        let length = (size_bytes - offset).min(PART_BYTES as u64);
        parts.push(digest_of(&store.get_range(name, offset, length)?));
        offset += length;
    }
    Ok((size_bytes, object_digest(&parts)))
}
