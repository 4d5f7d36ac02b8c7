//! Writes one sealed object: frames go to the workers, come back in any order, are joined in their own order, cut into parts and sent.
//!
//! Flow: [`ObjectWriter::push`] hands a frame to the worker pool and takes in what is done; sealed frames wait in `ready` until their turn;
//! each full part goes to the upload pool, which digests and sends it. [`ObjectWriter::finish`] seals the index and leaves the rest to the upload
//! pool, so that the caller goes on with the next object; [`Finishing::wait`] gets the outcome. An object of at most one part is a
//! single put. Frames in work and parts in flight are bounded, which bounds the memory.

use super::Repository;
use super::frame::{self, Encoding, FrameRow, Index, OBJECT_HEADER_BYTES, ObjectKind, Trailer};
use crate::error::{Error, Result};
use crate::pipeline::digest;
use crate::pipeline::governor::Priority;
use crate::pipeline::seal::SealingKey;
use crate::store::{Digest, Multipart, Part, PutOutcome, Store};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The size of every part but the last. S3 wants at least 5 MiB; 8 MiB keeps four parts in flight within the memory budget.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// Frames of one object that may be in work at once.
const FRAMES_IN_WORK_MAX: usize = 16;
/// Parts of one object that may wait for or be in transfer at once.
const PARTS_IN_FLIGHT_MAX: usize = 3;

/// A stored object, as its manifest records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest: see [`object_digest`].
    pub digest: Digest,
    /// How many frames it has.
    pub frames: u32,
}

/// The digest of an object from those of its parts: of one part its SHA-256, of several the SHA-256 of their SHA-256s, as S3 composes it.
pub fn object_digest(parts: &[Digest]) -> Digest {
    match parts {
        [only] => *only,
        _ => digest::digest_of(parts.concat().as_slice()),
    }
}

type FrameResult = (u64, Result<(Vec<u8>, FrameRow)>);
type PartResult = (usize, Result<Part>);

/// Who waits for a task hears of it also when its thread panics: without that it would wait for ever.
struct Answer<K: Copy, T> {
    number: K,
    waiting: Option<Sender<(K, Result<T>)>>,
}

impl<K: Copy, T> Answer<K, T> {
    fn to(waiting: &Sender<(K, Result<T>)>, number: K) -> Answer<K, T> {
        Answer { number, waiting: Some(waiting.clone()) }
    }

    fn send(mut self, result: Result<T>) {
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.send((self.number, result));
        }
    }
}

impl<K: Copy, T> Drop for Answer<K, T> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.send((self.number, Err(Error::bug("a thread panicked"))));
        }
    }
}

/// An object being written.
pub struct ObjectWriter {
    name: String,
    sealing: Arc<SealingKey>,
    repository: Arc<Repository>,
    frames: Vec<FrameRow>,
    pushed: u64,
    in_work: usize,
    ready: BTreeMap<u64, (Vec<u8>, FrameRow)>,
    frame_results: (Sender<FrameResult>, Receiver<FrameResult>),
    parts: PartSender,
    stored_bytes: u64,
    priority: Priority,
}

/// Cuts a byte stream into parts and sends them.
struct PartSender {
    name: String,
    store: Arc<dyn Store>,
    multipart: Option<Arc<Box<dyn Multipart>>>,
    pieces: Vec<Bytes>,
    pieces_bytes: usize,
    begun: usize,
    in_flight: usize,
    sent: Vec<Option<Part>>,
    results: (Sender<PartResult>, Receiver<PartResult>),
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

impl ObjectWriter {
    /// Begins an object.
    pub fn create(repository: &Arc<Repository>, kind: ObjectKind, name: String) -> Result<ObjectWriter> {
        let (header, sealing) = frame::new_object(&repository.key, kind, &name)?;
        let mut parts = PartSender::new(Arc::clone(&repository.store), name.clone());
        parts.push(Bytes::copy_from_slice(&header));
        Ok(ObjectWriter {
            name,
            sealing: Arc::new(sealing),
            repository: Arc::clone(repository),
            frames: Vec::new(),
            pushed: 0,
            in_work: 0,
            ready: BTreeMap::new(),
            frame_results: crossbeam_channel::unbounded(),
            parts,
            stored_bytes: OBJECT_HEADER_BYTES as u64,
            priority: priority_of(kind),
        })
    }

    /// The same as bulk work, whatever its kind: it waits where the limits have no room.
    pub fn as_bulk(mut self) -> ObjectWriter {
        self.priority = Priority::Bulk;
        self
    }

    /// Adds a frame; it is compressed and sealed on a worker. Waits where too much is in work. Returns the frame's number.
    pub fn push(&mut self, plain: impl AsRef<[u8]> + Send + 'static) -> Result<u64> {
        self.push_records(plain, None)
    }

    /// [`ObjectWriter::push`] of a frame that holds records of this size behind its first 256 bytes, which makes it compress better.
    pub fn push_records(&mut self, plain: impl AsRef<[u8]> + Send + 'static, record_bytes: Option<u16>) -> Result<u64> {
        let number = self.pushed;
        if number >= u64::from(frame::FRAMES_MAX) || plain.as_ref().len() > frame::FRAME_PLAIN_BYTES_MAX {
            return Err(Error::bug(format!(
                "{}: frame {number} of {} bytes is beyond the format's bounds",
                self.name,
                plain.as_ref().len()
            )));
        }
        self.repository.governor.admit(self.priority, plain.as_ref().len() as u64);
        while self.in_work >= FRAMES_IN_WORK_MAX {
            self.take_frame(true)?;
        }
        let (sealing, answer) = (Arc::clone(&self.sealing), Answer::to(&self.frame_results.0, number));
        let encoding = Encoding { level: self.repository.level, record_bytes };
        let queued = self.repository.workers.submit(move || {
            let sealed = frame::seal_frame(&sealing, number, false, plain.as_ref(), &encoding);
            // The buffer goes back to its arena before anybody is told.
            drop(plain);
            answer.send(sealed);
        });
        if !queued {
            return Err(Error::bug("the workers are gone"));
        }
        self.pushed += 1;
        self.in_work += 1;
        while self.take_frame(false)? {}
        Ok(number)
    }

    /// Stored bytes so far; lags behind what was pushed by the frames in work.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Frames pushed so far.
    pub fn frames(&self) -> u64 {
        self.pushed
    }

    /// Takes in one finished frame, and appends whatever is in turn. `false` if none was done.
    fn take_frame(&mut self, wait: bool) -> Result<bool> {
        let result = if wait { self.frame_results.1.recv().ok() } else { self.frame_results.1.try_recv().ok() };
        let Some((number, sealed)) = result else { return Ok(false) };
        self.in_work -= 1;
        self.ready.insert(number, sealed?);
        while let Some((bytes, row)) = self.ready.remove(&(self.frames.len() as u64)) {
            self.frames.push(row);
            self.stored_bytes += bytes.len() as u64;
            self.append(Bytes::from(bytes))?;
        }
        Ok(true)
    }

    fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.parts.push(bytes);
        while self.parts.full() {
            self.repository.governor.admit_upload(self.priority, PART_BYTES as u64);
            self.parts.send_part(&self.repository)?;
        }
        Ok(())
    }

    /// Seals the index and lets the upload pool finish the object. `entries` is what the object's kind adds to its index.
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
        self.append(Bytes::from(sealed))?;
        self.append(Bytes::copy_from_slice(&trailer.encode()))?;
        self.repository.governor.admit_upload(self.priority, self.parts.pieces_bytes as u64);
        let (name, parts) = (self.name, self.parts);
        let (done, outcome) = crossbeam_channel::bounded(1);
        let queued = self.repository.uploads.submit(move || {
            let stored = parts.finish().map(|(size_bytes, digest)| StoredObject { name, size_bytes, digest, frames });
            let _ = done.send(stored);
        });
        if queued { Ok(Finishing(outcome)) } else { Err(Error::bug("the upload threads are gone")) }
    }
}

impl PartSender {
    fn new(store: Arc<dyn Store>, name: String) -> PartSender {
        PartSender {
            name,
            store,
            multipart: None,
            pieces: Vec::new(),
            pieces_bytes: 0,
            begun: 0,
            in_flight: 0,
            sent: Vec::new(),
            results: crossbeam_channel::unbounded(),
        }
    }

    fn push(&mut self, bytes: Bytes) {
        self.pieces_bytes += bytes.len();
        self.pieces.push(bytes);
    }

    /// More than a part waits: it is now sure that the object has a part after this one.
    fn full(&self) -> bool {
        self.pieces_bytes > PART_BYTES
    }

    /// Takes exactly one part's bytes off the front, without copying.
    fn cut(&mut self) -> Vec<Bytes> {
        let (mut part, mut room) = (Vec::new(), PART_BYTES);
        let mut rest = Vec::new();
        for mut piece in std::mem::take(&mut self.pieces) {
            if piece.len() <= room {
                room -= piece.len();
                part.push(piece);
            } else {
                let front = piece.split_to(room);
                room = 0;
                if !front.is_empty() {
                    part.push(front);
                }
                rest.push(piece);
            }
        }
        self.pieces_bytes -= PART_BYTES;
        self.pieces = rest;
        part
    }

    fn send_part(&mut self, repository: &Repository) -> Result<()> {
        let pieces = self.cut();
        while self.in_flight >= PARTS_IN_FLIGHT_MAX {
            self.take_part()?;
        }
        let multipart = match &self.multipart {
            Some(multipart) => Arc::clone(multipart),
            None => Arc::clone(self.multipart.insert(Arc::new(self.store.begin_multipart(&self.name)?))),
        };
        let (slot, answer) = (self.begun, Answer::to(&self.results.0, self.begun));
        self.begun += 1;
        self.in_flight += 1;
        self.sent.push(None);
        let queued = repository.uploads.submit(move || {
            let result = transfer(&**multipart, slot, &pieces);
            drop(multipart);
            answer.send(result);
        });
        if queued { Ok(()) } else { Err(Error::bug("the upload threads are gone")) }
    }

    fn take_part(&mut self) -> Result<()> {
        let (slot, result) = self.results.1.recv().map_err(|_| Error::bug("an upload thread ended early"))?;
        self.in_flight -= 1;
        self.sent[slot] = Some(result?);
        Ok(())
    }

    /// Sends what is left and makes the object visible. Runs on an upload thread.
    fn finish(mut self) -> Result<(u64, Digest)> {
        let Some(multipart) = self.multipart.take() else {
            let digest = digest::digest(&self.pieces);
            let size_bytes = self.pieces_bytes as u64;
            return expect_created(self.store.put(&self.name, &self.pieces, &digest)?, &self.name).map(|()| (size_bytes, digest));
        };
        let last = transfer(&**multipart, self.begun, &self.pieces);
        while self.in_flight > 0 {
            self.take_part()?;
        }
        let mut parts: Vec<Part> = self.sent.drain(..).flatten().collect();
        parts.push(last?);
        let digests: Vec<Digest> = parts.iter().map(|part| part.digest).collect();
        let size_bytes = parts.iter().map(|part| part.size_bytes).sum();
        let multipart = Arc::try_unwrap(multipart).map_err(|_| Error::bug("a part is still in flight"))?;
        expect_created(multipart.complete(&parts)?, &self.name)?;
        Ok((size_bytes, object_digest(&digests)))
    }
}

/// Prepares, and the small objects that say what is there, never wait for the limits.
fn priority_of(kind: ObjectKind) -> Priority {
    match kind {
        ObjectKind::Segment | ObjectKind::Receipt | ObjectKind::Cluster | ObjectKind::Timeline | ObjectKind::Gap | ObjectKind::Lease => {
            Priority::Log
        }
        _ => Priority::Bulk,
    }
}

fn transfer(multipart: &dyn Multipart, slot: usize, pieces: &[Bytes]) -> Result<Part> {
    let digest = digest::digest(pieces);
    let number = u32::try_from(slot + 1).map_err(|_| Error::bug("more parts than an object can have"))?;
    multipart.part(number, pieces, &digest)?;
    Ok(Part { size_bytes: pieces.iter().map(|piece| piece.len() as u64).sum(), digest })
}

/// Names carry a random run number, so a name that is taken means that something else writes under our names.
fn expect_created(outcome: PutOutcome, name: &str) -> Result<()> {
    match outcome {
        PutOutcome::Created => Ok(()),
        PutOutcome::AlreadyExists => {
            Err(Error::damaged(format!("{name} exists already, but nobody else draws this name: nothing was overwritten")))
        }
    }
}
