//! Cuts an object's bytes into parts and sends them, each digested once.
//!
//! Flow: sealed frames are copied one after another into a part's buffer, which is used again and
//! again. A full part goes to the upload pool as soon as it is certain that the object continues
//! after it; there it is digested and sent. An object of at most one part is a single put. The
//! bytes of parts in flight are bounded, which bounds the memory.
//!
//! With an [`UploadJournal`] another process can resume the upload: what the parts hold is written
//! down before they are sent, what the server has accepted after. Parts that the server already
//! holds are skipped.

use super::Repository;
use super::upload_journal::UploadJournal;
use crate::disk::recycle::Recycled;
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::pipeline::digest;
use crate::repository::stored_object::Answer;
use crate::repository::stored_object::StoredObject;
use crate::repository::stored_object::object_digest;
use crate::store::{Digest, Multipart, PARTS_MAX, Part, PutOutcome};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The size of every part but the last, in objects of up to 8192 parts. S3 wants at least 5 MiB; 8
/// MiB keeps four parts in flight within the memory budget.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// The largest part. With this size one part is in flight while the next is filled.
pub const PART_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parts that an object should have at most. The rest up to [`PARTS_MAX`] is for what does not
/// compress and for the index.
const PARTS_WANTED_MAX: u64 = 8192;
/// Bytes of one object's parts that may wait for or be in transfer at once.
const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The capacity that a buffer begins with; most objects are small.
const BUFFER_BYTES_FIRST: usize = 64 * 1024;
const _: () = assert!(PARTS_WANTED_MAX < PARTS_MAX as u64);

/// The size of the parts of an object of about so many bytes: it grows with the object, because an
/// upload has at most [`PARTS_MAX`] parts.
pub fn part_bytes_for(object_bytes: u64) -> usize {
    let mut part_bytes = PART_BYTES;
    while part_bytes < PART_BYTES_MAX && (part_bytes as u64) * PARTS_WANTED_MAX < object_bytes {
        part_bytes *= 2;
    }
    part_bytes
}

type Sent = (Part, String);
type PartResult = (usize, Result<Sent>);

/// An upload that may be left for a later run instead of being aborted.
struct Upload {
    multipart: Option<Box<dyn Multipart>>,
    keep: bool,
}

impl Upload {
    fn get(&self) -> Result<&dyn Multipart> {
        self.multipart.as_deref().ok_or_else(|| Error::bug("an upload that is over"))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(multipart) = self.multipart.take().filter(|_| self.keep) {
            multipart.keep();
        }
    }
}

/// Cuts a byte stream into parts and sends them.
pub(super) struct PartSender {
    name: String,
    repository: Arc<Repository>,
    part_bytes: usize,
    pub(super) priority: Priority,
    upload: Option<Arc<Upload>>,
    journal: Option<UploadJournal>,
    /// Parts that the server holds from an earlier run, by number from 1.
    held: BTreeMap<u32, Part>,
    buffer: Recycled,
    /// Bytes of the part that is being filled. They count also where the server holds the part and
    /// nothing of it is buffered.
    filled: usize,
    in_flight: usize,
    sent: Vec<Option<Part>>,
    results: (Sender<PartResult>, Receiver<PartResult>),
}

impl PartSender {
    pub(super) fn new(
        repository: &Arc<Repository>,
        name: String,
        part_bytes: usize,
        priority: Priority,
        journal: Option<UploadJournal>,
    ) -> PartSender {
        PartSender {
            name,
            part_bytes,
            priority,
            upload: None,
            journal,
            held: BTreeMap::new(),
            buffer: repository.part_buffers.take(BUFFER_BYTES_FIRST),
            filled: 0,
            in_flight: 0,
            sent: Vec::new(),
            results: crossbeam_channel::unbounded(),
            repository: Arc::clone(repository),
        }
    }

    /// Resumes an upload of which the server holds these parts.
    pub(super) fn resume(&mut self, multipart: Box<dyn Multipart>, held: BTreeMap<u32, Part>) {
        self.upload = Some(Arc::new(Upload { multipart: Some(multipart), keep: true }));
        self.held = held;
    }

    /// The journal of an upload that can be resumed.
    pub(super) fn journal(&mut self) -> Option<&mut UploadJournal> {
        self.journal.as_mut()
    }

    /// Whether the server holds all of the object's bytes `begin .. end`.
    pub(super) fn holds(&self, begin: u64, end: u64) -> bool {
        let number = |offset: u64| u32::try_from(offset / self.part_bytes as u64 + 1).unwrap_or(u32::MAX);
        !self.held.is_empty() && (number(begin)..=number(end.saturating_sub(1))).all(|number| self.held.contains_key(&number))
    }

    /// Appends bytes. Waits where too much is in flight.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let taken = self.make_room()?.min(bytes.len());
            let (now, later) = bytes.split_at(taken);
            if !self.is_held() {
                self.buffer.extend_from_slice(now);
            }
            self.filled += taken;
            bytes = later;
        }
        Ok(())
    }

    /// Skips bytes that the server [`holds`](PartSender::holds).
    pub(super) fn pass(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let room = self.make_room()?;
            if !self.is_held() {
                return Err(Error::bug(format!("{}: bytes are skipped that nobody has", self.name)));
            }
            let taken = length.min(room as u64);
            self.filled += taken as usize;
            length -= taken;
        }
        Ok(())
    }

    /// Sends the current part if it is full, now that more follows. Returns how many bytes the
    /// current part still takes.
    fn make_room(&mut self) -> Result<usize> {
        if self.filled == self.part_bytes {
            self.send_part()?;
        }
        Ok(self.part_bytes - self.filled)
    }

    /// Whether the server holds the current part.
    fn is_held(&self) -> bool {
        self.held.contains_key(&(self.sent.len() as u32 + 1))
    }

    fn send_part(&mut self) -> Result<()> {
        let slot = self.sent.len();
        self.filled = 0;
        if let Some(part) = self.held.get(&(slot as u32 + 1)) {
            self.sent.push(Some(part.clone()));
            return Ok(());
        }
        while self.in_flight > 0 && (self.in_flight + 1) * self.part_bytes > IN_FLIGHT_BYTES_MAX {
            self.take_part()?;
        }
        // What was sent is noted in the journal soon, so that little is sent again after a kill.
        while !self.results.1.is_empty() {
            self.take_part()?;
        }
        let upload = self.begun()?;
        self.repository.governor.admit_upload(self.priority, self.part_bytes as u64);
        let body = self.take_buffer();
        let answer = Answer::to(&self.results.0, slot);
        self.in_flight += 1;
        self.sent.push(None);
        let queued = self.repository.uploads.submit(move || {
            let result = transfer(&upload, slot, body);
            drop(upload);
            answer.send(result);
        });
        if queued { Ok(()) } else { Err(Error::bug("the upload threads are gone")) }
    }

    fn take_buffer(&mut self) -> Bytes {
        Bytes::from_owner(std::mem::replace(&mut self.buffer, self.repository.part_buffers.take(self.part_bytes)))
    }

    /// The upload, begun if necessary. If there is a journal, it durably holds all frames of the
    /// current part when this returns.
    fn begun(&mut self) -> Result<Arc<Upload>> {
        if self.upload.is_none() {
            let multipart = self.repository.store.begin_multipart(&self.name)?;
            if let Some(journal) = &mut self.journal {
                journal.begin(&multipart.upload_id())?;
            }
            self.upload = Some(Arc::new(Upload { multipart: Some(multipart), keep: self.journal.is_some() }));
        }
        if let Some(journal) = &mut self.journal {
            journal.sync()?;
        }
        self.upload.clone().ok_or_else(|| Error::bug("an upload that did not begin"))
    }

    fn take_part(&mut self) -> Result<()> {
        let (slot, result) = self.results.1.recv().map_err(|_| Error::bug("an upload thread ended early"))?;
        self.in_flight -= 1;
        let (part, tag) = result?;
        if let Some(journal) = &mut self.journal {
            journal.part(slot as u32 + 1, &part, &tag)?;
        }
        self.sent[slot] = Some(part);
        Ok(())
    }

    /// Waits until the limits have room for what is left.
    pub(super) fn admit_last(&self) {
        self.repository.governor.admit_upload(self.priority, self.buffer.len() as u64);
    }

    /// Sends what is left and makes the object visible. Runs on an upload thread.
    pub(super) fn finish(mut self, frames: u32) -> Result<StoredObject> {
        let name = self.name.clone();
        let part_bytes = self.part_bytes as u64;
        if self.upload.is_none() {
            let body = [self.take_buffer()];
            let (digest, size_bytes) = (digest::digest(&body), body[0].len() as u64);
            expect_created(self.repository.store.put(&name, &body, &digest)?, &name)?;
            self.forget_journal();
            return Ok(StoredObject { name, size_bytes, digest, frames, part_bytes });
        }
        let upload = self.begun()?;
        let last = if self.is_held() {
            self.held.get(&(self.sent.len() as u32 + 1)).cloned().ok_or_else(|| Error::bug("a held part is gone"))
        } else {
            let (slot, body) = (self.sent.len(), self.take_buffer());
            transfer(&upload, slot, body).map(|(part, _)| part)
        };
        drop(upload);
        while self.in_flight > 0 {
            self.take_part()?;
        }
        let mut parts: Vec<Part> = self.sent.drain(..).flatten().collect();
        parts.push(last?);
        let digests: Vec<Digest> = parts.iter().map(|part| part.digest).collect();
        let size_bytes = parts.iter().map(|part| part.size_bytes).sum();
        let upload = self.upload.take().and_then(|upload| Arc::try_unwrap(upload).ok());
        let multipart = upload.and_then(|mut upload| upload.multipart.take()).ok_or_else(|| Error::bug("a part is still in flight"))?;
        expect_created(multipart.complete(&parts)?, &name)?;
        self.forget_journal();
        Ok(StoredObject { name, size_bytes, digest: object_digest(&digests), frames, part_bytes })
    }

    fn forget_journal(&mut self) {
        if let Some(journal) = self.journal.take() {
            journal.remove();
        }
    }
}

fn transfer(upload: &Upload, slot: usize, body: Bytes) -> Result<Sent> {
    let body = [body];
    let digest = digest::digest(&body);
    let number = u32::try_from(slot + 1).map_err(|_| Error::bug("more parts than an object can have"))?;
    let tag = upload.get()?.part(number, &body, &digest)?;
    Ok((Part { size_bytes: body[0].len() as u64, digest }, tag))
}

/// Names contain a random run number. So a name that is taken means that something else writes
/// under our names.
fn expect_created(outcome: PutOutcome, name: &str) -> Result<()> {
    match outcome {
        PutOutcome::Created => Ok(()),
        PutOutcome::AlreadyExists => {
            Err(Error::damaged(format!("{name} exists already, but nobody else draws this name: nothing was overwritten")))
        }
    }
}
