//! The object of a file's backup: begun, or carried on where an earlier run was cut short.
//!
//! Flow: the journal of this name, if there is one, says what was uploaded as what; the store is
//! asked what it holds of it; then the file goes through from its beginning, and only what the
//! store does not hold is compressed, sealed and sent. Where anything does not fit (another file,
//! another program, an upload that is gone), the old upload is given back and a new one begins.

use super::capture::FileCaptureRequest;
use super::format::FileLayout;
use crate::disk::stream::{Content, Stream};
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::pipeline::fingerprint::{Fingerprint, Fingerprinter};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::FileName;
use crate::repository::object_writer::{ObjectWriter, Pushed, StoredObject};
use crate::repository::upload_journal::{JournalFile, Unfinished};
use bytes::Bytes;
use std::sync::Arc;

/// What was uploaded.
pub(super) struct Uploaded {
    pub name: FileName,
    pub stored: StoredObject,
    pub bytes_held: u64,
    pub bytes_read: u64,
    pub notes: Vec<String>,
}

/// An upload on its way.
struct Upload {
    name: FileName,
    writer: ObjectWriter,
    /// It is carried on, and this is its id.
    carried_on: Option<String>,
}

/// Uploads the file. `stream` is opened anew where the file has to be read again.
pub(super) fn upload(
    repository: &Arc<Repository>,
    request: &FileCaptureRequest,
    stream: &mut Stream,
    layout: FileLayout,
    progress: &dyn Progress,
) -> Result<Uploaded> {
    let mut notes = Vec::new();
    let mut bytes_read = 0;
    loop {
        let upload = begin(repository, request, layout, &mut notes)?;
        let (name, carried_on) = (upload.name.clone(), upload.carried_on.clone());
        match Pass::run(repository, upload.writer, stream, layout, progress)? {
            Some((stored, bytes_held)) => {
                bytes_read += stream.bytes_read();
                return Ok(Uploaded { name, stored, bytes_held, bytes_read, notes });
            }
            None => {
                let id = carried_on.ok_or_else(|| Error::bug("a new upload holds other frames"))?;
                give_back(repository, &name.data(), &id, "the file was changed since", &mut notes);
                discard(repository, request);
                bytes_read += stream.bytes_read();
                *stream = super::capture::open(&request.path, &layout, request.read)?;
            }
        }
    }
}

fn journal_path(repository: &Repository, request: &FileCaptureRequest) -> Option<std::path::PathBuf> {
    let id = crate::store::hex(&repository.header().repository_id);
    request.journals.as_ref().map(|folder| folder.join(format!("{id}-{}.journal", request.name)))
}

/// Nothing is carried on from this journal any more.
fn discard(repository: &Repository, request: &FileCaptureRequest) {
    if let Some(path) = journal_path(repository, request) {
        let _ = std::fs::remove_file(path);
    }
}

fn give_back(repository: &Repository, object: &str, upload_id: &str, reason: &str, notes: &mut Vec<String>) {
    let given_back = match repository.store().abort_upload(object, upload_id) {
        Ok(()) => "it was given back".to_owned(),
        Err(error) => format!("giving it back failed ({error}); `amber uploads` shows it"),
    };
    notes.push(format!("an upload that was cut short is not carried on, because {reason}: {given_back}"));
}

/// Begins an upload, or carries on the one that was cut short.
fn begin(repository: &Arc<Repository>, request: &FileCaptureRequest, layout: FileLayout, notes: &mut Vec<String>) -> Result<Upload> {
    let new_name = || Ok::<_, Error>(FileName { name: request.name.clone(), run: request.run.map_or_else(|| repository.new_run(), Ok)? });
    let Some(path) = journal_path(repository, request) else {
        let name = new_name()?;
        let writer = ObjectWriter::create_for(repository, ObjectKind::File, name.data(), layout.file_bytes)?;
        return Ok(Upload { name, writer, carried_on: None });
    };
    let journal = JournalFile::open(&path)?;
    if let Some(unfinished) = journal.unfinished()? {
        match resumable(repository, request, layout, &unfinished)? {
            Ok((name, resumed)) => {
                let carried_on = Some(unfinished.upload_id.clone());
                let writer = ObjectWriter::resume(repository, ObjectKind::File, (&unfinished, resumed), journal)?;
                notes.push("an upload that was cut short is carried on".to_owned());
                return Ok(Upload { name, writer, carried_on });
            }
            Err(reason) => give_back(repository, &unfinished.subject.object, &unfinished.upload_id, reason, notes),
        }
    }
    let name = new_name()?;
    let what = (name.data(), layout.file_bytes, layout.frame_bytes);
    let writer = ObjectWriter::create_resumable(repository, ObjectKind::File, what, journal)?;
    Ok(Upload { name, writer, carried_on: None })
}

type Resumable = std::result::Result<(FileName, crate::store::Resumed), &'static str>;

/// Whether an upload can be carried on; the inner error says why not.
fn resumable(repository: &Repository, request: &FileCaptureRequest, layout: FileLayout, unfinished: &Unfinished) -> Result<Resumable> {
    let subject = &unfinished.subject;
    if !ObjectWriter::can_resume(repository, subject) {
        return Ok(Err("it was begun by another version of Amber or with other settings"));
    }
    if (subject.file_bytes, subject.frame_bytes) != (layout.file_bytes, layout.frame_bytes) {
        return Ok(Err("the file has another size now"));
    }
    let Some(name) = FileName::parse_data(&subject.object).filter(|name| name.name == request.name) else {
        return Ok(Err("its journal is of something else"));
    };
    match repository.store().resume_multipart(&subject.object, &unfinished.upload_id, &unfinished.parts)? {
        Some(resumed) => Ok(Ok((name, resumed))),
        None => {
            // It may have been joined in the run's last moment: nothing promises the object, and
            // nothing will.
            repository.store().delete(&subject.object)?;
            Ok(Err("the store does not know it any more"))
        }
    }
}

/// The file on its way through, once.
struct Pass<'a> {
    writer: ObjectWriter,
    fingerprinter: Fingerprinter,
    fingerprints: Vec<Fingerprint>,
    /// Of a frame that is a hole, and its size.
    hole: Option<(Bytes, Fingerprint)>,
    bytes_held: u64,
    progress: &'a dyn Progress,
}

impl Pass<'_> {
    /// The stored object, and how many of the file's bytes the store had already; `None` where the
    /// file is not the one that was begun with.
    fn run(
        repository: &Repository,
        writer: ObjectWriter,
        stream: &mut Stream,
        layout: FileLayout,
        progress: &dyn Progress,
    ) -> Result<Option<(StoredObject, u64)>> {
        let (fingerprinter, fingerprints) = (repository.fingerprinter()?, Vec::with_capacity(layout.frames() as usize));
        let mut pass = Pass { writer, fingerprinter, fingerprints, hole: None, bytes_held: 0, progress };
        let mut position = 0;
        while let Some(content) = stream.next_frame()? {
            if let Content::Data(bytes) = &content {
                repository.governor().admit_read(Priority::Bulk, bytes.as_ref().len() as u64);
            }
            if progress.is_given_up() {
                return Err(Error::try_again("the backup was given up before its end"));
            }
            let (pushed, length) = pass.push(content)?;
            match pushed {
                Pushed::Changed => return Ok(None),
                Pushed::Held => pass.bytes_held += length as u64,
                Pushed::Taken => {}
            }
            position += length as u64;
            pass.progress.position(position);
        }
        stream.check_unchanged()?;
        let entries = layout.entries(&pass.fingerprints);
        let stored = pass.writer.finish(entries)?.wait()?;
        Ok(Some((stored, pass.bytes_held)))
    }

    fn push(&mut self, content: Content) -> Result<(Pushed, usize)> {
        let (fingerprint, pushed, length) = match content {
            Content::Data(bytes) => {
                let (fingerprint, length) = (self.fingerprinter.of(bytes.as_ref()), bytes.as_ref().len());
                (fingerprint, self.writer.push_fingerprinted(bytes, fingerprint)?, length)
            }
            Content::Hole(length) => {
                let (zeros, fingerprint) = self.zeros(length);
                (fingerprint, self.writer.push_fingerprinted(zeros, fingerprint)?, length)
            }
        };
        self.fingerprints.push(fingerprint);
        Ok((pushed, length))
    }

    /// Zeros of this length and their fingerprint, made once for frames of one size.
    fn zeros(&mut self, length: usize) -> (Bytes, Fingerprint) {
        match &self.hole {
            Some((zeros, fingerprint)) if zeros.len() == length => (zeros.clone(), *fingerprint),
            _ => {
                let zeros = Bytes::from(vec![0; length]);
                let fingerprint = self.fingerprinter.of(&zeros);
                self.hole = Some((zeros.clone(), fingerprint));
                (zeros, fingerprint)
            }
        }
    }
}
