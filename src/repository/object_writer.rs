//! Writes one sealed object: frames go to the workers, come back in any order, are joined in their
//! own order, cut into parts and sent.
//!
//! Flow: [`ObjectWriter::push`] hands a frame to the worker pool and collects frames that are done.
//! Sealed frames wait in `ready` for their turn and are then copied one after another into a part
//! (`parts`). [`ObjectWriter::finish`] seals the index and leaves the rest to the upload pool, so
//! that the caller can continue with the next object. [`Finishing::wait`] returns the outcome.
//! Frames in work and parts in flight are bounded, which bounds the memory; their buffers are used
//! again.
//!
//! Another process can resume a large object ([`ObjectWriter::create_resumable`],
//! [`ObjectWriter::resume`]): its frames are then given with their fingerprints and recorded in an
//! [`UploadJournal`].

use super::Repository;
use super::frame::{self, Encoding, FrameRow, Index, OBJECT_HEADER_BYTES, ObjectKind, Trailer};
use super::parts::PartSender;
pub use super::parts::{PART_BYTES, part_bytes_for};
use super::upload_journal::{JournalFile, SealedFrame, Subject, Unfinished, UploadJournal, hex};
use crate::disk::recycle::Recycled;
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::pipeline::compress::ENCODER_VERSION;
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::seal::{SealingKey, TAG_BYTES};
use crate::repository::stored_object::Answer;
use crate::repository::stored_object::StoredObject;
use crate::store::{Part, Resumed};
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Frames of one object that may be in work at once.
const FRAMES_IN_WORK_MAX: usize = 16;
/// What seals frames in this program. The same content becomes the same sealed bytes only as long
/// as none of this changes.
fn program() -> String {
    format!("amber {}, zstd 1.5.7, encoder {ENCODER_VERSION}, object version 2", env!("CARGO_PKG_VERSION"))
}

/// An object that holds one file.
pub struct FramedFile {
    /// The object's name.
    pub name: String,
    /// The file's size.
    pub file_bytes: u64,
    /// The size of a frame before compression; the last may be shorter.
    pub frame_bytes: u32,
}

type FrameResult = (u64, Result<(Recycled, FrameRow)>);

/// A frame that waits for its turn.
enum Ready {
    Sealed(Recycled, FrameRow),
    /// The server holds its bytes from an earlier run.
    Held(FrameRow),
}

/// An object being written.
pub struct ObjectWriter {
    name: String,
    sealing: Arc<SealingKey>,
    repository: Arc<Repository>,
    frames: Vec<FrameRow>,
    pushed: u64,
    in_work: usize,
    ready: BTreeMap<u64, Ready>,
    frame_results: (Sender<FrameResult>, Receiver<FrameResult>),
    parts: PartSender,
    stored_bytes: u64,
    /// For an object that can be resumed: the fingerprints of frames that are not in the journal
    /// yet.
    fingerprints: BTreeMap<u64, Fingerprint>,
    /// For a resumed object: its frames as the journal has them, and where each begins.
    before: Vec<(SealedFrame, u64)>,
    priority: Priority,
}

/// An object whose last bytes are on their way.
pub struct Finishing(Receiver<Result<StoredObject>>);

impl Finishing {
    /// Waits until the object is durable.
    ///
    /// # Errors
    /// Whatever the store said; the object does not exist then.
    pub fn wait(self) -> Result<StoredObject> {
        self.0.recv().unwrap_or_else(|_| Err(Error::bug("an upload thread ended early")))
    }
}

/// What became of a frame that was given to a resumed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is on its way.
    Taken,
    /// The server holds it already.
    Held,
    /// It is not the content that was sealed as this frame before: the upload must be aborted.
    Changed,
}

impl ObjectWriter {
    /// Begins an object.
    pub fn create(repository: &Arc<Repository>, kind: ObjectKind, name: String) -> Result<ObjectWriter> {
        ObjectWriter::create_for(repository, kind, name, 0)
    }

    /// Begins an object of about this many bytes.
    pub fn create_for(repository: &Arc<Repository>, kind: ObjectKind, name: String, object_bytes: u64) -> Result<ObjectWriter> {
        let (header, sealing) = frame::new_object(&repository.key, kind, &name)?;
        let parts = PartSender::new(repository, name.clone(), part_bytes_for(object_bytes), priority_of(kind), None);
        ObjectWriter::new(repository, name, &header, sealing, parts)
    }

    /// Begins an object that another process can resume if this one dies.
    ///
    /// # Errors
    /// Those of the journal's file.
    pub fn create_resumable(
        repository: &Arc<Repository>,
        kind: ObjectKind,
        file: FramedFile,
        journal: JournalFile,
    ) -> Result<ObjectWriter> {
        let FramedFile { name, file_bytes, frame_bytes } = file;
        let (header, sealing) = frame::new_object(&repository.key, kind, &name)?;
        let part_bytes = part_bytes_for(file_bytes);
        let subject = Subject {
            program: program(),
            repository: hex(&repository.header.repository_id),
            object: name.clone(),
            header: hex(&header),
            part_bytes: part_bytes as u64,
            level: repository.level,
            file_bytes,
            frame_bytes,
        };
        let parts = PartSender::new(repository, name.clone(), part_bytes, priority_of(kind), Some(journal.begin(subject)?));
        ObjectWriter::new(repository, name, &header, sealing, parts)
    }

    /// Whether this program, with these settings, can resume an upload of that object.
    pub fn can_resume(repository: &Repository, subject: &Subject) -> bool {
        subject.program == program()
            && subject.repository == hex(&repository.header.repository_id)
            && subject.level == repository.level
            && subject.part_bytes == part_bytes_for(subject.file_bytes) as u64
    }

    /// Resumes an upload. The frames must be pushed again from the first on, with their
    /// fingerprints.
    ///
    /// # Errors
    /// [`Error::input`] when the journal contradicts itself; the upload must be aborted then.
    pub fn resume(
        repository: &Arc<Repository>,
        kind: ObjectKind,
        unfinished: &Unfinished,
        resumed: Resumed,
        journal: JournalFile,
    ) -> Result<ObjectWriter> {
        let subject = &unfinished.subject;
        let damaged = || Error::input(format!("the journal of the upload of {} is damaged", subject.object));
        let header = subject.header_bytes().ok_or_else(damaged)?;
        let sealing = frame::key_of_object(&repository.key, kind, &subject.object, &header)?.sealing;
        let journal: UploadJournal = journal.resume(unfinished)?;
        let part_bytes = part_bytes_for(subject.file_bytes);
        let mut parts = PartSender::new(repository, subject.object.clone(), part_bytes, priority_of(kind), Some(journal));
        let known = unfinished.parts.iter().filter(|known| resumed.held.contains(&known.number));
        let held: BTreeMap<u32, Part> = known.map(|known| (known.number, known.part.clone())).collect();
        parts.resume(resumed.multipart, held);
        let mut writer = ObjectWriter::new(repository, subject.object.clone(), &header, sealing, parts)?;
        let mut offset = OBJECT_HEADER_BYTES as u64;
        for frame in &unfinished.frames {
            writer.before.push((*frame, offset));
            offset += u64::from(frame.row.stored_bytes);
        }
        Ok(writer)
    }

    fn new(repository: &Arc<Repository>, name: String, header: &[u8], sealing: SealingKey, mut parts: PartSender) -> Result<ObjectWriter> {
        parts.append(header)?;
        Ok(ObjectWriter {
            name,
            sealing: Arc::new(sealing),
            repository: Arc::clone(repository),
            frames: Vec::new(),
            pushed: 0,
            in_work: 0,
            ready: BTreeMap::new(),
            frame_results: crossbeam_channel::unbounded(),
            stored_bytes: OBJECT_HEADER_BYTES as u64,
            fingerprints: BTreeMap::new(),
            before: Vec::new(),
            priority: parts.priority,
            parts,
        })
    }

    /// The same writer as bulk work, whatever its kind: it waits where the limits have no room.
    pub fn as_bulk(mut self) -> ObjectWriter {
        (self.priority, self.parts.priority) = (Priority::Bulk, Priority::Bulk);
        self
    }

    /// Adds a frame, which a worker compresses and seals. Waits while too much is in work. Returns
    /// the frame's number.
    pub fn push(&mut self, plain: impl AsRef<[u8]> + Send + 'static) -> Result<u64> {
        self.push_records(plain, None)
    }

    /// [`ObjectWriter::push`] of a frame that holds records of this size after its first 256 bytes,
    /// which makes it compress better.
    pub fn push_records(&mut self, plain: impl AsRef<[u8]> + Send + 'static, record_bytes: Option<u16>) -> Result<u64> {
        let number = self.next_number(plain.as_ref())?;
        let encoding = Encoding { level: self.repository.level, record_bytes };
        self.repository.governor.admit(self.priority, plain.as_ref().len() as u64);
        while self.in_work >= FRAMES_IN_WORK_MAX {
            self.take_frame(true)?;
        }
        let (sealing, answer) = (Arc::clone(&self.sealing), Answer::to(&self.frame_results.0, number));
        let mut sealed = self.repository.frame_buffers.take(plain.as_ref().len() + TAG_BYTES);
        let queued = self.repository.workers.submit(move || {
            let row = frame::seal_frame_into(&sealing, number, false, plain.as_ref(), &encoding, &mut sealed);
            // The buffer goes back to its arena before anybody is notified.
            drop(plain);
            answer.send(row.map(|row| (sealed, row)));
        });
        if !queued {
            return Err(Error::bug("the workers are gone"));
        }
        self.pushed += 1;
        self.in_work += 1;
        while self.take_frame(false)? {}
        Ok(number)
    }

    /// Adds a frame of an object that can be resumed.
    pub fn push_fingerprinted(&mut self, plain: impl AsRef<[u8]> + Send + 'static, fingerprint: Fingerprint) -> Result<Pushed> {
        let number = self.next_number(plain.as_ref())?;
        if let Some((SealedFrame { row, fingerprint: before, .. }, offset)) = self.before.get(number as usize).copied() {
            if before != fingerprint || row.plain_bytes as usize != plain.as_ref().len() {
                return Ok(Pushed::Changed);
            }
            if self.parts.holds(offset, offset + u64::from(row.stored_bytes)) {
                self.pushed += 1;
                self.ready.insert(number, Ready::Held(row));
                self.append_ready()?;
                return Ok(Pushed::Held);
            }
        }
        self.fingerprints.insert(number, fingerprint);
        self.push_records(plain, None)?;
        Ok(Pushed::Taken)
    }

    fn next_number(&self, plain: &[u8]) -> Result<u64> {
        let number = self.pushed;
        if number >= u64::from(frame::FRAMES_MAX) || plain.len() > frame::FRAME_PLAIN_BYTES_MAX {
            let (name, length) = (&self.name, plain.len());
            return Err(Error::bug(format!("{name}: frame {number} of {length} bytes is beyond the format's bounds")));
        }
        Ok(number)
    }

    /// Stored bytes so far. Frames that are still in work do not count yet.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Frames pushed so far.
    pub fn frames(&self) -> u64 {
        self.pushed
    }

    /// Collects one finished frame, and appends all frames whose turn it is. `false` if none was
    /// done.
    fn take_frame(&mut self, wait: bool) -> Result<bool> {
        let result = if wait { self.frame_results.1.recv().ok() } else { self.frame_results.1.try_recv().ok() };
        let Some((number, sealed)) = result else { return Ok(false) };
        self.in_work -= 1;
        let (bytes, row) = sealed?;
        let is_other = |(before, _): &(SealedFrame, u64)| before.row != row || before.tag != tag_of(&bytes);
        if self.before.get(number as usize).is_some_and(is_other) {
            let name = &self.name;
            return Err(Error::bug(format!(
                "{name}: frame {number} was sealed into other bytes before, by another build: abort the upload with `amber uploads --abort`"
            )));
        }
        self.ready.insert(number, Ready::Sealed(bytes, row));
        self.append_ready()?;
        Ok(true)
    }

    /// Appends the frames whose turn it is.
    fn append_ready(&mut self) -> Result<()> {
        while let Some(ready) = self.ready.remove(&(self.frames.len() as u64)) {
            let number = self.frames.len();
            let row = match &ready {
                Ready::Sealed(_, row) | Ready::Held(row) => *row,
            };
            self.frames.push(row);
            self.stored_bytes += u64::from(row.stored_bytes);
            let fingerprint = self.fingerprints.remove(&(number as u64));
            match ready {
                Ready::Sealed(bytes, _) => {
                    if let (Some(journal), Some(fingerprint)) = (self.parts.journal(), fingerprint)
                        && number >= self.before.len()
                    {
                        journal.frame(&SealedFrame { row, fingerprint, tag: tag_of(&bytes) })?;
                    }
                    self.parts.append(&bytes)?;
                }
                Ready::Held(row) => self.parts.pass(u64::from(row.stored_bytes))?,
            }
        }
        Ok(())
    }

    /// Seals the index and lets the upload pool finish the object. `entries` is what the object's
    /// kind adds to its index.
    pub fn finish(mut self, entries: Vec<u8>) -> Result<Finishing> {
        while self.in_work > 0 {
            self.take_frame(true)?;
        }
        let index = Index { frames: std::mem::take(&mut self.frames), entries };
        let frames = self.pushed as u32;
        let encoding = Encoding { level: self.repository.level, record_bytes: None };
        let (sealed, row) = frame::seal_frame(&self.sealing, frame::INDEX_NUMBER, true, &index.encode()?, &encoding)?;
        let trailer = Trailer {
            index_offset: OBJECT_HEADER_BYTES as u64 + index.frames_bytes(),
            index_stored_bytes: row.stored_bytes,
            index_plain_bytes: row.plain_bytes,
            codec: row.codec,
        };
        self.parts.append(&sealed)?;
        self.parts.append(&trailer.encode())?;
        self.parts.admit_last();
        let parts = self.parts;
        let (done, outcome) = crossbeam_channel::bounded(1);
        let queued = self.repository.uploads.submit(move || {
            let _ = done.send(parts.finish(frames));
        });
        if queued { Ok(Finishing(outcome)) } else { Err(Error::bug("the upload threads are gone")) }
    }
}

/// The tag at a sealed frame's end.
fn tag_of(sealed: &[u8]) -> [u8; TAG_BYTES] {
    sealed.last_chunk().copied().unwrap_or_default()
}

/// Log segments, and the small objects that say what is there, never wait for the limits.
fn priority_of(kind: ObjectKind) -> Priority {
    match kind {
        ObjectKind::Segment
        | ObjectKind::Receipt
        | ObjectKind::Cluster
        | ObjectKind::Timeline
        | ObjectKind::Gap
        | ObjectKind::Lease
        | ObjectKind::Run => Priority::Log,
        ObjectKind::Pack | ObjectKind::Checkpoint | ObjectKind::File | ObjectKind::FileRecord | ObjectKind::Record | ObjectKind::Data => {
            Priority::Bulk
        }
    }
}
