//! Uploads the object of a file's backup. An upload that an earlier run left unfinished is resumed.
//!
//! Flow: the journal of this name, if there is one, says which parts were uploaded and with which
//! content. The store is asked which of them it holds. Then the file is read from its beginning,
//! and only frames that the store does not hold are compressed, sealed and sent. If anything does
//! not fit (another file, another program version, an upload that is gone), the old upload is
//! aborted and a new one begins.
//!
//! Before the upload is completed, the file must be as it was when the reading began. If only its
//! time of change is another, the file is read again: it counts as unchanged if every frame has the
//! fingerprint that it had.

use super::format::FileLayout;
use crate::disk::file_state::Since;
use crate::disk::stream::{Content, Stream, Verdict};
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::pipeline::fingerprint::{Fingerprint, Fingerprinter};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::FileName;
use crate::repository::object_writer::Pushed;
use crate::repository::object_writer::{FramedFile, ObjectWriter};
use crate::repository::remove::Reason;
use crate::repository::stored_object::StoredObject;
use crate::repository::upload_journal::{JournalFile, Unfinished};
use crate::tier::file::request::FileCaptureRequest;
use bytes::Bytes;
use std::sync::Arc;

/// How often a file is read again that somebody touches each time.
const READ_AGAIN_MAX: u32 = 2;

/// The result of an upload.
pub(super) struct Uploaded {
    pub name: FileName,
    pub stored: StoredObject,
    pub resumed_bytes: u64,
    pub bytes_read: u64,
    pub notes: Vec<String>,
}

/// An upload in progress.
struct Upload {
    name: FileName,
    writer: ObjectWriter,
    /// The id of the upload that is resumed; `None` for a new one.
    resumed_upload: Option<String>,
}

/// Uploads the file. `stream` is opened again where the file has to be read again.
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
        let (name, resumed_upload) = (upload.name.clone(), upload.resumed_upload.clone());
        let mut pass = Pass::new(repository, upload.writer, layout, progress)?;
        match pass.run(stream)? {
            true => {
                while stream.check_unchanged()? == Verdict::Touched {
                    bytes_read += stream.bytes_read();
                    pass.read_again(stream, request)?;
                }
                bytes_read += stream.bytes_read();
                let (stored, resumed_bytes) = pass.finish()?;
                return Ok(Uploaded { name, stored, resumed_bytes, bytes_read, notes });
            }
            false => {
                let id = resumed_upload.ok_or_else(|| Error::bug("a new upload holds other frames"))?;
                abort_unrecorded(repository, &name.data(), &id, "the file was changed since", &mut notes);
                discard(repository, request);
                bytes_read += stream.bytes_read();
                *stream = crate::tier::file::request::open(&request.path, &layout, request.read)?;
            }
        }
    }
}

fn journal_path(repository: &Repository, request: &FileCaptureRequest) -> Option<std::path::PathBuf> {
    let id = crate::store::hex(&repository.header().repository_id);
    request.journals.as_ref().map(|folder| folder.join(format!("{id}-{}.journal", request.name)))
}

/// Removes the journal, so that nothing is resumed from it any more.
fn discard(repository: &Repository, request: &FileCaptureRequest) {
    if let Some(path) = journal_path(repository, request) {
        let _ = repository.host().disk.remove(&path);
    }
}

fn abort_unrecorded(repository: &Repository, object: &str, upload_id: &str, reason: &str, notes: &mut Vec<String>) {
    let outcome = match repository.abort_upload(object, upload_id) {
        Ok(()) => "it was aborted".to_owned(),
        Err(error) => format!("aborting it failed ({error}); `amber uploads` shows it"),
    };
    notes.push(format!("an upload that was cut short is not resumed, because {reason}: {outcome}"));
}

/// Begins an upload, or resumes the one that was cut short.
fn begin(repository: &Arc<Repository>, request: &FileCaptureRequest, layout: FileLayout, notes: &mut Vec<String>) -> Result<Upload> {
    let new_name = || {
        Ok::<_, Error>(FileName {
            place: request.place,
            name: request.name.clone(),
            run: request.run.map_or_else(|| repository.new_run(), Ok)?,
        })
    };
    let Some(path) = journal_path(repository, request) else {
        let name = new_name()?;
        let writer = ObjectWriter::create_for(repository, ObjectKind::File, name.data(), layout.file_bytes)?;
        return Ok(Upload { name, writer, resumed_upload: None });
    };
    let mut journal = JournalFile::open(repository.host().disk, &path)?;
    if let Some(unfinished) = journal.unfinished()? {
        match resumable(repository, request, layout, &unfinished)? {
            Resumable::Yes { name, resumed } => {
                let resumed_upload = Some(unfinished.upload_id.clone());
                let writer = ObjectWriter::resume(repository, ObjectKind::File, &unfinished, resumed, journal)?;
                notes.push("an upload that was cut short is resumed".to_owned());
                return Ok(Upload { name, writer, resumed_upload });
            }
            Resumable::No { reason } => abort_unrecorded(repository, &unfinished.subject.object, &unfinished.upload_id, reason, notes),
        }
    }
    let name = new_name()?;
    let file = FramedFile { name: name.data(), file_bytes: layout.file_bytes, frame_bytes: layout.frame_bytes };
    let writer = ObjectWriter::create_resumable(repository, ObjectKind::File, file, journal)?;
    Ok(Upload { name, writer, resumed_upload: None })
}

/// Whether an upload can be resumed.
enum Resumable {
    Yes { name: FileName, resumed: crate::store::Resumed },
    No { reason: &'static str },
}

fn resumable(repository: &Repository, request: &FileCaptureRequest, layout: FileLayout, unfinished: &Unfinished) -> Result<Resumable> {
    let no = |reason| Ok(Resumable::No { reason });
    let subject = &unfinished.subject;
    if !ObjectWriter::can_resume(repository, subject) {
        return no("it was begun by another version of Amber or with other settings");
    }
    if (subject.file_bytes, subject.frame_bytes) != (layout.file_bytes, layout.frame_bytes) {
        return no("the file has another size now");
    }
    let Some(name) = FileName::parse_data(request.place, &subject.object).filter(|name| name.name == request.name) else {
        return no("its journal is of something else");
    };
    match repository.resume_upload(&subject.object, &unfinished.upload_id, &unfinished.parts)? {
        Some(resumed) => Ok(Resumable::Yes { name, resumed }),
        None => {
            // The upload may have been completed in the last moment of that run. If no record
            // promises the object, none ever will.
            let _ = repository.remove(&subject.object, Reason::Unpromised(name.run));
            no("the store does not know it any more")
        }
    }
}

/// One pass over the file, from its beginning to its end.
struct Pass<'a> {
    repository: &'a Repository,
    writer: ObjectWriter,
    layout: FileLayout,
    fingerprinter: Fingerprinter,
    fingerprints: Vec<Fingerprint>,
    /// The zeros of the last hole frame, and their fingerprint.
    hole: Option<(Bytes, Fingerprint)>,
    resumed_bytes: u64,
    /// How often the file was read again.
    read_again: u32,
    progress: &'a dyn Progress,
}

impl<'a> Pass<'a> {
    fn new(repository: &'a Repository, writer: ObjectWriter, layout: FileLayout, progress: &'a dyn Progress) -> Result<Self> {
        let (fingerprinter, fingerprints) = (repository.fingerprinter()?, Vec::with_capacity(layout.frames() as usize));
        Ok(Pass { repository, writer, layout, fingerprinter, fingerprints, hole: None, resumed_bytes: 0, read_again: 0, progress })
    }

    /// Pushes all frames; `false` if the file is not the one that the upload was begun with.
    fn run(&mut self, stream: &mut Stream) -> Result<bool> {
        let mut position = 0;
        while let Some(content) = self.next_frame(stream)? {
            let (pushed, length) = self.push(content)?;
            match pushed {
                Pushed::Changed => return Ok(false),
                Pushed::Held => self.resumed_bytes += length as u64,
                Pushed::Taken => {}
            }
            position += length as u64;
            self.progress.position(position);
        }
        Ok(true)
    }

    /// Opens the file again as `stream` and compares every frame with what was pushed.
    ///
    /// # Errors
    /// [`Error::try_again`] at the first that is another, or when this was done too often.
    fn read_again(&mut self, stream: &mut Stream, request: &FileCaptureRequest) -> Result<()> {
        let mut again = crate::tier::file::request::open(&request.path, &self.layout, request.read)?;
        if self.read_again == READ_AGAIN_MAX || stream.state().compare(again.state()) == Since::Replaced {
            return Err(stream.changed().into());
        }
        self.read_again += 1;
        self.progress.note(&format!(
            "{}: its time of change moved while it was read, its modification time did not: it is read again and compared",
            request.path.display()
        ));
        for number in 0.. {
            let Some(content) = self.next_frame(&mut again)? else { break };
            let fingerprint = match &content {
                Content::Data(bytes) => self.fingerprinter.of(bytes.as_ref()),
                Content::Hole(length) => self.zeros(*length).1,
            };
            if self.fingerprints.get(number) != Some(&fingerprint) {
                return Err(again.changed().into());
            }
        }
        *stream = again;
        Ok(())
    }

    fn next_frame(&self, stream: &mut Stream) -> Result<Option<Content>> {
        let content = stream.next_frame()?;
        if let Some(Content::Data(bytes)) = &content {
            self.repository.governor().admit_read(Priority::Bulk, bytes.as_ref().len() as u64);
        }
        if content.is_some() && self.progress.is_cancelled() {
            return Err(Error::try_again("the backup was cancelled before its end"));
        }
        Ok(content)
    }

    /// Completes the upload. Returns the stored object, and how many of the file's bytes the store
    /// held already.
    fn finish(self) -> Result<(StoredObject, u64)> {
        let entries = self.layout.entries(&self.fingerprints);
        Ok((self.writer.finish(entries)?.wait()?, self.resumed_bytes))
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

    /// Zeros of this length and their fingerprint, computed once for frames of one size.
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
