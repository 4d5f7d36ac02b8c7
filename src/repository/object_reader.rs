//! Reads sealed objects: the index first, then any range of frames with one ranged read.
//!
//! Flow: [`ObjectReader::open`] fetches the object's tail, checks trailer, header and index, and
//! checks that frames, index and trailer fill the object to the byte. [`ObjectReader::frames`]
//! fetches neighbouring frames at once, opens and expands them.

use super::frame::{self, Index, OBJECT_BYTES_MIN, OBJECT_HEADER_BYTES, ObjectKey, ObjectKind, TRAILER_BYTES, Trailer};
use super::parts::{PART_BYTES, PART_BYTES_MAX};
use super::{Repository, fetch};
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::pipeline::digest::Digester;
use crate::pipeline::seal::SealingKey;
use crate::repository::stored_object::object_digest;
use crate::store::{Digest, Store};
use bytes::{Bytes, BytesMut};

/// How much of an object's end is fetched at first: it holds the index of nearly every object, and
/// all of a small one.
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
    opening_bytes: u64,
}

impl<'a> ObjectReader<'a> {
    /// Opens an object. `size_bytes` is what the manifest or listing says; without it the store is
    /// asked.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing, cut, swapped, renamed or changed.
    pub fn open(repository: &'a Repository, kind: ObjectKind, name: &str, size_bytes: Option<u64>) -> Result<ObjectReader<'a>> {
        ObjectReader::open_with_tail(repository, kind, name, size_bytes, TAIL_BYTES)
    }

    /// The same for a caller that knows roughly how large the index is. The last `tail_bytes` of
    /// the object are fetched at first, and at least the trailer.
    ///
    /// # Errors
    /// Those of [`ObjectReader::open`].
    pub fn open_with_tail(
        repository: &'a Repository,
        kind: ObjectKind,
        name: &str,
        size_bytes: Option<u64>,
        tail_bytes: u64,
    ) -> Result<ObjectReader<'a>> {
        let store = &*repository.store;
        let missing = || Error::damaged(format!("{}: object {name} is missing", store.describe()));
        let found_bytes = store.size_bytes(name)?.ok_or_else(missing)?;
        if size_bytes.is_some_and(|expected| expected != found_bytes) {
            let expected = size_bytes.unwrap_or_default();
            return Err(Error::damaged(format!("{name} has {found_bytes} bytes, its manifest says {expected}: it was cut or swapped")));
        }
        fetch::until_intact(|| ObjectReader::read(repository, kind, name, found_bytes, tail_bytes))
    }

    fn read(repository: &'a Repository, kind: ObjectKind, name: &str, found_bytes: u64, tail_bytes: u64) -> Result<ObjectReader<'a>> {
        let store = &*repository.store;
        let damaged = |what: &str| Error::damaged(format!("{name}: {what}: the object was damaged, cut or swapped"));
        if found_bytes < OBJECT_BYTES_MIN {
            return Err(damaged("it is too short to be an object"));
        }
        let tail_offset = found_bytes - found_bytes.min(tail_bytes.max(TRAILER_BYTES as u64));
        let tail = store.get_range(name, tail_offset, found_bytes - tail_offset)?;
        let header = fetch(store, name, &tail, tail_offset, 0, OBJECT_HEADER_BYTES as u64)?;
        let ObjectKey { sealing, version } = frame::key_of_object(&repository.key, kind, name, &header)?;
        let mut reader = ObjectReader {
            store,
            name: name.to_owned(),
            sealing,
            index: Index { frames: Vec::new(), entries: Vec::new() },
            offsets: Vec::new(),
            opening_bytes: tail.len() as u64 + if tail_offset > 0 { OBJECT_HEADER_BYTES as u64 } else { 0 },
            tail,
            tail_offset,
        };
        let trailer = Trailer::decode(&reader.tail[reader.tail.len() - TRAILER_BYTES..], found_bytes)
            .ok_or_else(|| damaged("its trailer is wrong"))?;
        reader.read_index(&trailer, version)?;
        Ok(reader)
    }

    fn read_index(&mut self, trailer: &Trailer, version: u16) -> Result<()> {
        let damaged = || Error::damaged(format!("{}: its index does not fit its frames", self.name));
        let sealed = self.fetch(trailer.index_offset, u64::from(trailer.index_stored_bytes))?;
        if trailer.index_offset < self.tail_offset {
            self.opening_bytes += u64::from(trailer.index_stored_bytes);
        }
        let row = trailer.row();
        let plain = frame::open_frame(&self.sealing, frame::INDEX_NUMBER, true, &mut BytesMut::from(sealed), &row, &self.name)?;
        let index = Index::decode(&plain, version).ok_or_else(damaged)?;
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

    /// Bytes of the object that opening it fetched.
    pub fn opening_bytes(&self) -> u64 {
        self.opening_bytes
    }

    /// Fetches the sealed bytes of frames `first .. first + count` into `buffer`, which must be as
    /// long as they are ([`ObjectReader::stored_bytes`]).
    ///
    /// # Errors
    /// [`Error::damaged`] when there are not so many; those of the store.
    pub fn fetch_into(&self, first: u32, count: u32, buffer: &mut [u8]) -> Result<()> {
        if self.stored_bytes(first, count) != Some(buffer.len() as u64) {
            return Err(self.no_such_frames(first, count));
        }
        Ok(self.store.get_range_into(&self.name, self.offsets[first as usize], buffer)?)
    }

    /// Opens a fetched frame in place, and expands it into `out`, which must have the size that its
    /// row says.
    ///
    /// # Errors
    /// [`Error::damaged`] when it does not authenticate or expand.
    pub fn open_into(&self, number: u32, sealed: &mut [u8], out: &mut [u8]) -> Result<()> {
        let row = self.index.frames.get(number as usize).ok_or_else(|| self.no_such_frames(number, 1))?;
        frame::open_frame_into(&self.sealing, u64::from(number), sealed, row, &self.name, out)
    }

    fn no_such_frames(&self, first: u32, count: u32) -> Error {
        let end = first.saturating_add(count);
        Error::damaged(format!("{}: frames {first} to {end} are asked for, it has {}", self.name, self.frame_count()))
    }

    /// Frames `first .. first + count`, opened and expanded, fetched with one ranged read.
    ///
    /// # Errors
    /// [`Error::damaged`] when a frame does not authenticate or there are not so many.
    pub fn frames(&self, first: u32, count: u32) -> Result<Vec<Vec<u8>>> {
        let length = self.stored_bytes(first, count).ok_or_else(|| self.no_such_frames(first, count))?;
        let offset = self.offsets[first as usize];
        // The tail in memory is tried only once: it may have been changed on the way, even though
        // the index in it was not.
        let mut from_tail = true;
        fetch::until_intact(|| {
            let first_time = std::mem::replace(&mut from_tail, false);
            let sealed = if first_time { self.fetch(offset, length)? } else { self.store.get_range(&self.name, offset, length)? };
            self.open_all(first, count, BytesMut::from(sealed))
        })
    }

    /// Opens and expands neighbouring frames out of their sealed bytes.
    fn open_all(&self, first: u32, count: u32, mut sealed: BytesMut) -> Result<Vec<Vec<u8>>> {
        let mut plain = Vec::with_capacity(count as usize);
        for number in first..first + count {
            let row = &self.index.frames[number as usize];
            let mut frame = sealed.split_to(row.stored_bytes as usize);
            plain.push(frame::open_frame(&self.sealing, u64::from(number), false, &mut frame, row, &self.name)?);
        }
        Ok(plain)
    }
}

/// A range of the object, taken from the tail in memory if it lies there.
fn fetch(store: &dyn Store, name: &str, tail: &Bytes, tail_offset: u64, offset: u64, length: u64) -> Result<Bytes> {
    let within = offset.checked_sub(tail_offset).map(|begin| begin as usize..begin.saturating_add(length) as usize);
    match within.filter(|range| range.end <= tail.len()) {
        Some(range) => Ok(tail.slice(range)),
        None => Ok(store.get_range(name, offset, length)?),
    }
}

/// Size and digest of an object as it is stored. It is read completely, part by part, as bulk work.
///
/// # Errors
/// [`Error::damaged`] when it is missing.
pub fn digest_stored(repository: &Repository, name: &str) -> Result<(u64, Digest)> {
    digest_stored_in_parts(repository, name, PART_BYTES as u64, &|| Ok(()))
}

/// The same for an object that was sent in parts of another size. `wanted` is asked before each
/// read; its error ends the work.
///
/// # Errors
/// [`Error::damaged`] when it is missing, or no object has parts of this size; that of `wanted`.
pub fn digest_stored_in_parts(
    repository: &Repository,
    name: &str,
    part_bytes: u64,
    wanted: &dyn Fn() -> Result<()>,
) -> Result<(u64, Digest)> {
    let store = &*repository.store;
    if !(PART_BYTES as u64..=PART_BYTES_MAX as u64).contains(&part_bytes) {
        return Err(Error::damaged(format!("{name}: parts of {part_bytes} bytes, which no object has")));
    }
    let size_bytes = store.size_bytes(name)?.ok_or_else(|| Error::damaged(format!("{}: object {name} is missing", store.describe())))?;
    let mut parts = Vec::new();
    let mut offset = 0;
    while offset < size_bytes || parts.is_empty() {
        let part_end = (offset + part_bytes).min(size_bytes);
        let mut digester = Digester::default();
        while offset < part_end {
            let length = (part_end - offset).min(PART_BYTES as u64);
            wanted()?;
            repository.admit_fetch(Priority::Bulk, length);
            digester.update(&store.get_range(name, offset, length)?);
            offset += length;
        }
        parts.push(digester.finish());
    }
    Ok((size_bytes, object_digest(&parts)))
}
