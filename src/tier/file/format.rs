//! The format of a stored plain file: one object of frames of equal size, and a record that
//! promises it.
//!
//! Flow: the writer pushes the frames of the file in order, finishes the object with
//! [`FileLayout::entries`], and then writes the record ([`Repository::promise_file`]). A file's
//! backup exists when its record does. [`FileReader`] returns frames by number, each with its
//! fingerprint. By the fingerprints, a file that exists already is compared without fetching
//! anything.
//!
//! Layout: FORMAT.md, "Files".

use crate::error::{Error, Result};
use crate::pipeline::compress::Codec;
use crate::pipeline::fingerprint::{FINGERPRINT_BYTES, Fingerprint, Fingerprinter};
use crate::repository::frame::{FRAME_PLAIN_BYTES_MAX, FRAMES_MAX, ObjectKind};
use crate::repository::name::{FileName, FilePlace};
use crate::repository::object_reader::ObjectReader;
use crate::repository::promise::Receipt;
use crate::repository::upload_journal::hex;
use crate::repository::wire::Fields;
use crate::repository::{Repository, record};
use crate::store::{Digest, PutOutcome};
use crate::tier::promises::Listed;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Size of a frame, unless the file would then have too many of them.
const FRAME_BYTES_FIRST: u32 = 1024 * 1024;
/// Size of the entries before the fingerprints.
const FIXED_BYTES: usize = 16;

/// How a file is divided into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLayout {
    /// The file's size.
    pub file_bytes: u64,
    /// Size of each frame except the last.
    pub frame_bytes: u32,
}

/// What a record promises about a stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The path that the file was read from.
    pub path: String,
    /// The bytes of that path in hexadecimal where they are not UTF-8, and `path` shows some as
    /// `\xFF`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// Its size.
    pub file_bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified_ns: u64,
    /// Size of the object that holds it.
    pub stored_bytes: u64,
    /// Digest of that object, in hexadecimal.
    pub digest: String,
    /// Size of the parts that the digest is computed over.
    pub part_bytes: u64,
    /// When the backup began, by the writer's clock.
    pub began_ns: u64,
    /// When the backup ended, by the writer's clock.
    pub ended_ns: u64,
    /// The tenant whose data it is, in decimal; `None` where it is everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl FileLayout {
    /// The layout of a file of this size.
    ///
    /// # Errors
    /// [`Error::input`] for a file beyond the 512 GiB that an object holds.
    pub fn of(file_bytes: u64) -> Result<FileLayout> {
        let mut frame_bytes = FRAME_BYTES_FIRST;
        while u64::from(frame_bytes) * u64::from(FRAMES_MAX) < file_bytes {
            frame_bytes *= 2;
        }
        if frame_bytes as usize > FRAME_PLAIN_BYTES_MAX {
            let most = crate::units::bytes_text(u64::from(FRAMES_MAX) * FRAME_PLAIN_BYTES_MAX as u64);
            return Err(Error::input(format!("a file of {file_bytes} bytes is larger than the {most} that one object holds: split it")));
        }
        Ok(FileLayout { file_bytes, frame_bytes })
    }

    /// The number of frames.
    pub fn frames(&self) -> u32 {
        // Bounded by FRAMES_MAX where the layout was made or read.
        self.file_bytes.div_ceil(u64::from(self.frame_bytes)) as u32
    }

    /// Where a frame begins, and its size.
    pub fn frame(&self, number: u32) -> (u64, usize) {
        let offset = u64::from(number) * u64::from(self.frame_bytes);
        (offset, self.file_bytes.saturating_sub(offset).min(u64::from(self.frame_bytes)) as usize)
    }

    /// What the object's index holds besides the rows of its frames.
    pub fn entries(&self, fingerprints: &[Fingerprint]) -> Vec<u8> {
        let mut entries = Vec::with_capacity(FIXED_BYTES + fingerprints.len() * FINGERPRINT_BYTES);
        entries.extend_from_slice(&self.file_bytes.to_le_bytes());
        entries.extend_from_slice(&self.frame_bytes.to_le_bytes());
        entries.extend_from_slice(&[0; 4]);
        fingerprints.iter().for_each(|fingerprint| entries.extend_from_slice(fingerprint));
        entries
    }

    fn decode(entries: &[u8], frames: u32) -> Option<(FileLayout, Vec<Fingerprint>)> {
        let mut fields = Fields::new(entries);
        let layout = FileLayout { file_bytes: fields.u64()?, frame_bytes: fields.u32()? };
        fields.zeros::<4>()?;
        let in_bounds = layout.frame_bytes > 0 && layout.frame_bytes as usize <= FRAME_PLAIN_BYTES_MAX;
        if !in_bounds || layout.file_bytes.div_ceil(u64::from(layout.frame_bytes)) != u64::from(frames) {
            return None;
        }
        let mut fingerprints = Vec::with_capacity(frames as usize);
        while fields.end().is_none() {
            fingerprints.push(fields.array()?);
        }
        (fingerprints.len() == frames as usize).then_some((layout, fingerprints))
    }
}

impl FileRecord {
    /// The object's digest. If the record holds no valid digest, this is all zeros, which no
    /// object's digest is.
    pub fn digest_bytes(&self) -> Digest {
        self.try_digest().unwrap_or_default()
    }

    fn try_digest(&self) -> Option<Digest> {
        crate::repository::upload_journal::bytes_of(&self.digest)
    }
}

impl Repository {
    /// The function that computes the fingerprints of this repository's plain bytes.
    ///
    /// # Errors
    /// [`Error::bug`] when the library refuses the key.
    pub fn fingerprinter(&self) -> Result<Fingerprinter> {
        Ok(Fingerprinter::new(&self.key.derive(b"amber/1/fingerprint", &[])?))
    }

    /// Writes the record that promises a stored file: from now on its backup exists. Then its
    /// receipt. Returns what the receipt says.
    ///
    /// # Errors
    /// The errors of the store.
    pub fn promise_file(self: &Arc<Self>, name: &FileName, record: &FileRecord) -> Result<Receipt> {
        let sealed = record::seal(self, ObjectKind::FileRecord, name.record(), record)?;
        if self.put_sealed(&sealed)? == PutOutcome::AlreadyExists {
            return Err(Error::damaged(format!("{} exists already, but nobody else draws this name", name.record())));
        }
        let receipt = Receipt { size_bytes: sealed.stored_bytes, digest: sealed.digest };
        self.write_receipt(name, &receipt)?;
        Ok(receipt)
    }

    /// The record of a stored file.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or not what was written.
    pub fn file_record(&self, name: &FileName) -> Result<FileRecord> {
        let record: FileRecord = record::read(self, ObjectKind::FileRecord, &name.record())?;
        match record.try_digest() {
            Some(_) if record.part_bytes > 0 => Ok(record),
            _ => Err(Error::damaged(format!("{}: its digest or part size is none", name.record()))),
        }
    }

    /// All stored files of a place, of this name or of every name, in the order of their names, the
    /// oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn files(&self, place: &'static FilePlace, name: Option<&str>) -> Result<Vec<FileName>> {
        let records = place.promises.records;
        let prefix = name.map_or_else(|| records.to_owned(), |name| format!("{records}{name}/"));
        Ok(self.list_all(&prefix)?.iter().filter_map(|listed| FileName::parse_record(place, &listed.name)).collect())
    }

    /// Records and receipts of the files of a place.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn listed_files(&self, place: &'static FilePlace) -> Result<Listed<FileName>> {
        Listed::read(self, (place.promises.records, place.promises.receipts), |object| {
            [FileName::parse_record(place, object), FileName::parse_receipt(place, object)]
        })
    }
}

/// Reads frames of a stored file.
pub struct FileReader<'a> {
    object: ObjectReader<'a>,
    /// How the file is divided into frames.
    pub layout: FileLayout,
    /// The fingerprint of each frame.
    pub fingerprints: Vec<Fingerprint>,
}

impl<'a> FileReader<'a> {
    /// Opens a file that a record promises.
    ///
    /// # Errors
    /// [`Error::damaged`] when the object is not the one that the record promises.
    pub fn open(repository: &'a Repository, name: &FileName, record: &FileRecord) -> Result<FileReader<'a>> {
        let object = ObjectReader::open(repository, ObjectKind::File, &name.data(), Some(record.stored_bytes))?;
        let damaged = || Error::damaged(format!("{}: its index does not describe a file of {} bytes", name.data(), record.file_bytes));
        let decoded = FileLayout::decode(&object.index.entries, object.frame_count());
        let (layout, fingerprints) = decoded.filter(|(layout, _)| layout.file_bytes == record.file_bytes).ok_or_else(damaged)?;
        let fits = |(number, row): (u32, &crate::repository::frame::FrameRow)| layout.frame(number).1 == row.plain_bytes as usize;
        if !(0..).zip(&object.index.frames).all(fits) {
            return Err(damaged());
        }
        Ok(FileReader { object, layout, fingerprints })
    }

    /// The object that holds it.
    pub fn object(&self) -> &ObjectReader<'a> {
        &self.object
    }

    /// What the file takes on a disk, in bytes: its length without what is only zeros.
    pub fn data_bytes(&self) -> u64 {
        let data = self.object.index.frames.iter().filter(|row| row.codec != Codec::Zeros);
        data.map(|row| u64::from(row.plain_bytes)).sum()
    }

    /// One frame's bytes, checked against its fingerprint.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is not what was stored.
    pub fn frame(&self, number: u32, fingerprinter: &Fingerprinter) -> Result<Vec<u8>> {
        let plain = self.object.frames(number, 1)?.pop().unwrap_or_default();
        if self.fingerprints.get(number as usize) != Some(&fingerprinter.of(&plain)) {
            return Err(Error::damaged(format!("{}: frame {number} does not have its fingerprint", self.object.name())));
        }
        Ok(plain)
    }
}

/// A digest as records write it, in hexadecimal.
pub fn digest_text(digest: &Digest) -> String {
    hex(digest)
}
