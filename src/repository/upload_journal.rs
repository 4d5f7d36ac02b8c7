//! What a process that uploads a large object records on its own disk, so that another process can
//! resume the upload.
//!
//! Flow: [`JournalFile::open`] locks the file (one process at a time). [`UploadJournal::begin`]
//! records what is uploaded as what. Then each frame is recorded as it was sealed, and each part
//! that the server has accepted. [`JournalFile::unfinished`] reads the journal back after the
//! process has died.
//!
//! **Frames are durable in the journal before a part that holds them is sent**
//! ([`UploadJournal::sync`]). A frame's number is its nonce, so two different contents must never
//! be sealed as one frame of one object. The process that resumes compares each frame of the source
//! with its fingerprint. The same content gives the same sealed bytes again; other content ends the
//! upload. A frame whose tag is another when it is sealed again ends the upload too. A frame that
//! is not in the journal was never sent.
//!
//! The journal holds no content and no key, but sizes, tags and digests of sealed bytes, and keyed
//! fingerprints. It has one JSON value per line. A last line that is cut was not yet relied on;
//! anything else that cannot be read ends the upload too.

use super::frame::{FrameRow, OBJECT_HEADER_BYTES};
use crate::error::{Error, Result};
use crate::host::Disk;
use crate::host::disk::LockedFile;
use crate::pipeline::compress::Codec;
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::seal::TAG_BYTES;
use crate::store::{KnownPart, Part};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A larger file is no journal: 65 536 frames and 10 000 parts need 10 MB.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is uploaded, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// What seals the frames. Another program might seal the same content into other bytes, which
    /// must not be sent under the same nonce.
    pub program: String,
    /// The repository's id, in hexadecimal.
    pub repository: String,
    /// The object's name.
    pub object: String,
    /// The object's header, in hexadecimal; it contains the salt.
    pub header: String,
    /// The size of its parts.
    pub part_bytes: u64,
    /// zstd level of its frames.
    pub level: i32,
    /// Size of the file that it will hold.
    pub file_bytes: u64,
    /// Size of its frames, except the last.
    pub frame_bytes: u32,
}

/// One line of the journal.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    #[serde(rename = "begin")]
    Begin { subject: Subject, upload_id: String },
    /// Stored size, plain size, codec, record size, fingerprint, tag.
    #[serde(rename = "frame")]
    Frame(u32, u32, u8, u16, String, String),
    #[serde(rename = "part")]
    Part { number: u32, size_bytes: u64, digest: String, tag: String },
}

/// The journal of an upload that is in progress.
#[derive(Debug)]
pub struct UploadJournal {
    disk: Disk,
    path: PathBuf,
    file: Box<dyn LockedFile>,
    subject: Subject,
    begun: bool,
    /// Lines that are not yet written.
    waiting: Vec<u8>,
}

/// What is recorded of a sealed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedFrame {
    /// Its row in the index.
    pub row: FrameRow,
    /// The fingerprint of its content.
    pub fingerprint: Fingerprint,
    /// The tag at its end. When they are sealed again, the same key, number and bytes give the same
    /// tag, and other bytes another.
    pub tag: [u8; TAG_BYTES],
}

/// The journal of an upload whose process has died.
#[derive(Debug)]
pub struct Unfinished {
    /// What was uploaded.
    pub subject: Subject,
    /// The id that the server gave the upload.
    pub upload_id: String,
    /// The frames that were sealed, from the first on.
    pub frames: Vec<SealedFrame>,
    /// The parts that the server has accepted.
    pub parts: Vec<KnownPart>,
    /// Length of the journal up to its last complete line.
    journal_bytes: u64,
}

impl Subject {
    /// The object's header.
    pub fn header_bytes(&self) -> Option<[u8; OBJECT_HEADER_BYTES]> {
        bytes_of(&self.header)
    }
}

/// The file of a journal, locked: nobody else uploads the same.
#[derive(Debug)]
pub struct JournalFile {
    disk: Disk,
    path: PathBuf,
    file: Box<dyn LockedFile>,
}

impl JournalFile {
    /// Opens the file and locks it; its folder is made if it is missing.
    ///
    /// # Errors
    /// [`Error::try_again`] while another process has it, [`Error::input`] when it cannot be made.
    pub fn open(disk: Disk, path: &Path) -> Result<JournalFile> {
        let failed =
            |error: std::io::Error| Error::input(format!("{}: {error}: choose another --state-dir", path.display())).caused_by(error);
        if let Some(folder) = path.parent() {
            make_folders(disk, folder).map_err(failed)?;
        }
        match disk.lock(path, 0o644).map_err(failed)? {
            Some(file) => Ok(JournalFile { disk, path: path.to_owned(), file }),
            None => Err(Error::try_again(format!("{}: another process is uploading this: wait for it", path.display()))),
        }
    }

    /// What an upload that did not end has left; `None` if there is none, or if it cannot be relied
    /// on.
    ///
    /// # Errors
    /// [`Error::input`] when the file cannot be read.
    pub fn unfinished(&mut self) -> Result<Option<Unfinished>> {
        let content = self.file.read_start(JOURNAL_BYTES_MAX + 1);
        let content = content.map_err(|error| Error::input(format!("{}: {error}", self.path.display())).caused_by(error))?;
        let text = std::str::from_utf8(&content).ok().filter(|text| text.len() as u64 <= JOURNAL_BYTES_MAX);
        Ok(text.and_then(Unfinished::parse))
    }

    /// Begins the journal of a new upload. The previous content of the file is gone.
    ///
    /// # Errors
    /// [`Error::input`] when the file cannot be written.
    pub fn begin(self, subject: Subject) -> Result<UploadJournal> {
        self.journal(subject, 0, false)
    }

    /// Continues the journal of an unfinished upload, after its last complete line. Nothing of it
    /// is ever missing meanwhile.
    ///
    /// # Errors
    /// [`Error::input`] when the file cannot be written.
    pub fn resume(self, unfinished: &Unfinished) -> Result<UploadJournal> {
        self.journal(unfinished.subject.clone(), unfinished.journal_bytes, true)
    }

    fn journal(mut self, subject: Subject, length_bytes: u64, begun: bool) -> Result<UploadJournal> {
        self.file.cut(length_bytes).map_err(|error| failed(&self.path, error))?;
        Ok(UploadJournal { disk: self.disk, path: self.path, file: self.file, subject, begun, waiting: Vec::new() })
    }
}

impl UploadJournal {
    /// What is uploaded.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Records that the upload begins. Its first frames may have been recorded already.
    ///
    /// # Errors
    /// [`Error::input`] when the file cannot be written.
    pub fn begin(&mut self, upload_id: &str) -> Result<()> {
        let frames = std::mem::take(&mut self.waiting);
        self.note(&Line::Begin { subject: self.subject.clone(), upload_id: upload_id.to_owned() })?;
        self.waiting.extend(frames);
        self.begun = true;
        Ok(())
    }

    /// Records that the next frame was sealed.
    ///
    /// # Errors
    /// [`Error::bug`] when it cannot be written as JSON.
    pub fn frame(&mut self, frame: &SealedFrame) -> Result<()> {
        let SealedFrame { row, fingerprint, tag } = frame;
        self.note(&Line::Frame(row.stored_bytes, row.plain_bytes, row.codec as u8, row.record_bytes, hex(fingerprint), hex(tag)))
    }

    /// Records that the server has accepted a part.
    ///
    /// # Errors
    /// [`Error::input`] when the file cannot be written.
    pub fn part(&mut self, number: u32, part: &Part, tag: &str) -> Result<()> {
        self.note(&Line::Part { number, size_bytes: part.size_bytes, digest: hex(&part.digest), tag: tag.to_owned() })?;
        self.write()
    }

    /// Everything that was recorded is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::input`] when the file cannot be written.
    pub fn sync(&mut self) -> Result<()> {
        self.write()?;
        self.file.sync().map_err(|error| failed(&self.path, error))
    }

    /// Removes the journal, because the upload is over.
    pub fn remove(self) {
        // If this fails, the next run finds an upload that the server does not know any more.
        let _ = self.disk.remove(&self.path);
    }

    fn note(&mut self, line: &Line) -> Result<()> {
        serde_json::to_writer(&mut self.waiting, line)
            .map_err(|error| Error::bug(format!("{}: {error}", self.path.display())).caused_by(error))?;
        self.waiting.push(b'\n');
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        if self.begun && !self.waiting.is_empty() {
            self.file.write_all(&self.waiting).map_err(|error| failed(&self.path, error))?;
            self.waiting.clear();
        }
        Ok(())
    }
}

impl Unfinished {
    fn parse(text: &str) -> Option<Unfinished> {
        let whole = text.rsplit_once('\n')?.0;
        let mut lines = whole.lines().map(serde_json::from_str::<Line>);
        let Some(Ok(Line::Begin { subject, upload_id })) = lines.next() else { return None };
        let (mut frames, mut parts) = (Vec::new(), Vec::new());
        for line in lines {
            match line.ok()? {
                Line::Begin { .. } => return None,
                Line::Frame(stored_bytes, plain_bytes, codec, record_bytes, fingerprint, tag) => {
                    let row = FrameRow { stored_bytes, plain_bytes, codec: Codec::from_number(codec)?, record_bytes };
                    frames.push(SealedFrame { row, fingerprint: bytes_of(&fingerprint)?, tag: bytes_of(&tag)? });
                }
                Line::Part { number, size_bytes, digest, tag } => {
                    parts.push(KnownPart { number, part: Part { size_bytes, digest: bytes_of(&digest)? }, tag: Some(tag) });
                }
            }
        }
        Some(Unfinished { subject, upload_id, frames, parts, journal_bytes: whole.len() as u64 + 1 })
    }
}

/// Makes a folder, and those above it that are missing.
fn make_folders(disk: Disk, folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || disk.is_folder(folder) {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(disk, above)?;
    }
    match disk.make_folder(folder, 0o755) {
        // Another process may have made it meanwhile.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && disk.is_folder(folder) => Ok(()),
        made => made,
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::input(format!("{}: the upload's journal cannot be written: {error}", path.display())).caused_by(error)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    crate::store::hex(bytes)
}

pub(crate) fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
