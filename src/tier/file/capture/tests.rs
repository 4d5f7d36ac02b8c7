//! Plain files: what is stored of them, and uploads that are resumed.

use super::Backup;
use super::backup;
use super::check_file_name;
use crate::cancellation::Cancellation;
use crate::disk::file::ReadOptions;
use crate::error::{Kind, Result};
use crate::host::Disk;
use crate::progress::{Progress, Silent};
use crate::repository::Repository;
use crate::repository::name::{FileName, PLAIN_FILES};
use crate::repository::sample::{Fault, FaultyStore, create, noise, open};
use crate::repository::upload_journal::JournalFile;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::tier::depth::Depth;
use crate::tier::file::format::FileReader;
use crate::tier::file::request::FileCaptureRequest;
use crate::tier::sample::folder;
use crate::verify::verify;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

mod clock;

const MIB: usize = 1024 * 1024;
/// The size of content that does not compress, so that it fills three parts and a piece of a
/// fourth.
const FILE_BYTES: usize = 27 * MIB + 12_345;

struct Fixture {
    pub(crate) store: MemoryStore,
    folder: TempDir,
}

impl Fixture {
    fn new(content: &[u8]) -> Fixture {
        let store = MemoryStore::new();
        create(&store).unwrap();
        let fixture = Fixture { store, folder: tempfile::tempdir_in(folder()).unwrap() };
        fixture.write(content);
        fixture
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn write(&self, content: &[u8]) {
        std::fs::write(self.path(), content).unwrap();
    }

    fn journals(&self) -> PathBuf {
        self.folder.path().join("state/uploads")
    }

    /// The journal, if there is one.
    fn journal(&self) -> Option<PathBuf> {
        std::fs::read_dir(self.journals()).ok()?.flatten().map(|entry| entry.path()).next()
    }

    fn request(&self) -> FileCaptureRequest {
        FileCaptureRequest {
            path: self.path(),
            place: &PLAIN_FILES,
            name: "archive-1".to_owned(),
            tenant: None,
            journals: Some(self.journals()),
            read: ReadOptions::quick(),
            run: None,
        }
    }

    /// A backup through a store that fails at this call, or at none.
    fn backup(&self, fault: Option<(u64, Fault)>) -> (Result<Backup>, FaultyStore) {
        let faulty = FaultyStore::new(&self.store);
        let repository = open(Arc::new(faulty.clone())).unwrap();
        let (at_call, fault) = fault.unwrap_or((u64::MAX, Fault::Gone));
        faulty.fail(at_call, fault);
        (backup(&repository, &self.request(), &Silent), faulty)
    }

    fn repository(&self) -> Arc<Repository> {
        open(Arc::new(self.store.clone())).unwrap()
    }

    /// The stored bytes of the newest backup.
    fn stored(&self) -> Vec<u8> {
        let repository = self.repository();
        let name = repository.files(&PLAIN_FILES, Some("archive-1")).unwrap().pop().unwrap();
        let record = repository.file_record(&name).unwrap();
        let file = FileReader::open(&repository, &name, &record).unwrap();
        let fingerprinter = repository.fingerprinter().unwrap();
        (0..file.layout.frames()).flat_map(|number| file.frame(number, &fingerprinter).unwrap()).collect()
    }

    fn assert_stored(&self, content: &[u8]) {
        assert!(self.stored() == content, "the stored bytes are others");
        let report = verify(&self.repository(), Depth::Full, &Silent).unwrap();
        assert_eq!((report.problems.as_slice(), report.backups(), report.backups_intact()), (&[][..], 1, 1));
        assert_eq!(self.store.unfinished("").unwrap(), []);
        assert_eq!(self.journal(), None);
    }
}

#[test]
fn files_of_all_sizes_are_stored_as_they_are() {
    for length in [0, 1, 4095, 4096, MIB - 1, MIB, MIB + 1, 9 * MIB] {
        let content = noise(length, 7);
        let fixture = Fixture::new(&content);
        let backup = fixture.backup(None).0.unwrap();
        assert_eq!((backup.record.file_bytes, backup.resumed_bytes), (length as u64, 0));
        fixture.assert_stored(&content);
    }
}

#[test]
fn holes_are_neither_read_nor_stored() {
    let fixture = Fixture::new(&[]);
    let file = std::fs::File::create(fixture.path()).unwrap();
    file.set_len(64 * MIB as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise(3 * MIB, 3), 20 * MIB as u64).unwrap();
    let backup = fixture.backup(None).0.unwrap();
    assert_eq!(backup.bytes_read, 3 * MIB as u64);
    assert!(backup.record.stored_bytes < 3 * MIB as u64 + 10_000, "{}", backup.record.stored_bytes);
    fixture.assert_stored(&std::fs::read(fixture.path()).unwrap());
}

#[test]
fn an_upload_that_was_cut_short_anywhere_is_carried_on() {
    let content = noise(FILE_BYTES, 11);
    let fixture = Fixture::new(&content);
    let (whole, calls) = fixture.backup(None);
    whole.unwrap();
    let calls = calls.calls();
    let record_call = calls - 1;
    let mut held = Vec::new();
    for (at_call, fault) in (1..=calls).flat_map(|call| [(call, Fault::Gone), (call, Fault::AnswerLost)]) {
        let fixture = Fixture::new(&content);
        let (cut, _) = fixture.backup(Some((at_call, fault)));
        let promised = fixture.repository().files(&PLAIN_FILES, None).unwrap().len();
        assert_eq!(cut.unwrap_err().kind, Kind::TryAgain, "call {at_call} {fault:?}");
        // The last call but one writes the record, which takes effect although its answer is lost;
        // the last one writes its receipt.
        let is_promised = at_call == calls || (at_call, fault) == (record_call, Fault::AnswerLost);
        assert_eq!(promised, usize::from(is_promised), "call {at_call} {fault:?}");
        if is_promised {
            let problems = || verify(&fixture.repository(), Depth::Digests, &Silent).unwrap().problems;
            assert_eq!(
                problems().len(),
                usize::from((at_call, fault) != (calls, Fault::AnswerLost)),
                "call {at_call} {fault:?}: the receipt"
            );
            fixture.backup(None).0.unwrap();
            assert_eq!(problems(), [], "call {at_call} {fault:?}: the next backup writes it");
            continue;
        }
        let (backup, _) = fixture.backup(None);
        held.push(backup.unwrap().resumed_bytes);
        fixture.assert_stored(&content);
        let left = verify(&fixture.repository(), Depth::Digests, &Silent).unwrap().notes;
        // An object whose upload was completed just before is deleted, except one that lacks only
        // its record.
        assert!(at_call == record_call || left.is_empty(), "call {at_call} {fault:?}: {left:?}");
    }
    // The later the upload is cut short, the more the store holds. At the end this is all but the
    // last frames, which lie in the last part too.
    assert_eq!(held[0], 0);
    assert!(held.iter().any(|held| *held >= 23 * MIB as u64), "{held:?}");
}

#[test]
fn only_what_is_missing_is_sent() {
    let content = noise(FILE_BYTES, 13);
    let fixture = Fixture::new(&content);
    let mut at_call = 1;
    let missing = loop {
        // The calls that begin the upload and send parts 1 and 2 succeed.
        let (cut, _) = fixture.backup(Some((at_call, Fault::Gone)));
        assert!(cut.is_err());
        let journal = fixture.journal().map(|path| std::fs::read_to_string(path).unwrap()).unwrap_or_default();
        let noted = journal.lines().filter(|line| line.contains("\"part\"")).count();
        if noted == 2 {
            break 2;
        }
        at_call += 1;
        // The first calls come before there is a journal.
        let _ = std::fs::remove_dir_all(fixture.journals());
        fixture
            .store
            .unfinished("")
            .unwrap()
            .iter()
            .for_each(|upload| fixture.store.abort_upload(&upload.name, &upload.upload_id).unwrap());
    };
    let (backup, store) = fixture.backup(None);
    let backup = backup.unwrap();
    // Lists, two parts, completion, the record and its receipt, and a few queries.
    assert!(store.calls() <= missing + 9, "{} calls", store.calls());
    assert_eq!(backup.resumed_bytes, 15 * MIB as u64);
    fixture.assert_stored(&content);
}

/// Cuts an upload short after parts were sent. Returns the name of its object.
fn cut_short(fixture: &Fixture) -> FileName {
    for at_call in 4.. {
        let (cut, _) = fixture.backup(Some((at_call, Fault::Gone)));
        assert!(cut.is_err());
        if fixture.journal().is_some_and(|path| std::fs::read_to_string(path).unwrap().contains("\"part\"")) {
            break;
        }
    }
    FileName::parse_data(&PLAIN_FILES, &fixture.store.unfinished(PLAIN_FILES.data).unwrap().last().unwrap().name).unwrap()
}

#[test]
fn another_content_never_goes_under_the_same_object() {
    let content = noise(FILE_BYTES, 17);
    for (change, what) in [(0, "first byte"), (5 * MIB, "middle")] {
        let fixture = Fixture::new(&content);
        let before = cut_short(&fixture);
        let mut changed = content.clone();
        changed[change] ^= 1;
        fixture.write(&changed);
        let backup = fixture.backup(None).0.unwrap();
        assert_ne!(backup.name, before, "{what}");
        assert!(backup.notes.iter().any(|note| note.contains("the file was changed since")), "{:?}", backup.notes);
        fixture.assert_stored(&changed);
    }
    let fixture = Fixture::new(&content);
    let before = cut_short(&fixture);
    fixture.write(&content[..FILE_BYTES - 1]);
    let backup = fixture.backup(None).0.unwrap();
    assert_ne!(backup.name, before);
    fixture.assert_stored(&content[..FILE_BYTES - 1]);
}

#[test]
fn frames_that_were_never_sent_may_change() {
    // The file is so long that frames are left when the failure is noticed: four parts are in
    // flight, and the workers hold more.
    let content = noise(90 * MIB, 19);
    let fixture = Fixture::new(&content);
    let before = cut_short(&fixture);
    let mut changed = content.clone();
    *changed.last_mut().unwrap() ^= 1;
    fixture.write(&changed);
    let backup = fixture.backup(None).0.unwrap();
    assert_eq!(backup.name, before);
    fixture.assert_stored(&changed);
}

#[test]
fn a_journal_that_cannot_be_relied_on_begins_anew() {
    let content = noise(FILE_BYTES, 23);
    type Spoil = fn(String) -> String;
    let spoils: [(Spoil, bool); 5] = [
        (|text| text + "{\"part\":{\"numb", true),
        (|text| text.replacen("\"frame\"", "\"fram\"", 1), false),
        (|text| text.replacen("zstd", "lz4", 1), false),
        (|text| text.lines().skip(1).map(|line| format!("{line}\n")).collect(), false),
        (|_| String::new(), false),
    ];
    for (spoil, is_resumed) in spoils {
        let fixture = Fixture::new(&content);
        let before = cut_short(&fixture);
        let path = fixture.journal().unwrap();
        let journal = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, spoil(journal)).unwrap();
        let backup = fixture.backup(None).0.unwrap();
        assert_eq!(backup.name == before, is_resumed);
        assert!(fixture.stored() == content);
    }
}

#[test]
fn a_frame_that_is_sealed_into_other_bytes_is_never_sent() {
    let content = noise(FILE_BYTES, 41);
    let fixture = Fixture::new(&content);
    cut_short(&fixture);
    let path = fixture.journal().unwrap();
    let journal = std::fs::read_to_string(&path).unwrap();
    // The last frame's tag, which no stored part contains completely.
    let last = journal.lines().rfind(|line| line.contains("\"frame\"")).unwrap();
    let tag = &last[last.len() - 35..last.len() - 3];
    std::fs::write(&path, journal.replace(tag, &"0".repeat(32))).unwrap();
    let error = fixture.backup(None).0.unwrap_err();
    assert!(error.message.contains("sealed into other bytes"), "{}", error.message);
    assert_eq!(fixture.repository().files(&PLAIN_FILES, None).unwrap(), []);
}

#[test]
fn an_upload_that_the_store_does_not_know_any_more_begins_anew() {
    let content = noise(FILE_BYTES, 29);
    let fixture = Fixture::new(&content);
    let before = cut_short(&fixture);
    let upload = fixture.store.unfinished(PLAIN_FILES.data).unwrap().pop().unwrap();
    fixture.store.abort_upload(&upload.name, &upload.upload_id).unwrap();
    let backup = fixture.backup(None).0.unwrap();
    assert_ne!(backup.name, before);
    fixture.assert_stored(&content);
}

#[test]
fn one_process_at_a_time_uploads_under_a_name() {
    let fixture = Fixture::new(&noise(100, 1));
    let path = {
        cut_short_dir(&fixture);
        fixture.journals().join(format!("{}-archive-1.journal", crate::store::hex(&fixture.repository().header().repository_id)))
    };
    let held = JournalFile::open(Disk::SYSTEM, &path).unwrap();
    let error = fixture.backup(None).0.unwrap_err();
    assert_eq!(error.kind, Kind::TryAgain);
    assert!(error.message.contains("another process"), "{}", error.message);
    drop(held);
    fixture.backup(None).0.unwrap();
}

fn cut_short_dir(fixture: &Fixture) {
    std::fs::create_dir_all(fixture.journals()).unwrap();
}

#[test]
fn without_a_journal_nothing_is_kept() {
    let content = noise(FILE_BYTES, 31);
    let fixture = Fixture::new(&content);
    let faulty = FaultyStore::new(&fixture.store);
    let repository = open(Arc::new(faulty.clone())).unwrap();
    let request = FileCaptureRequest { journals: None, ..fixture.request() };
    // Two lists and the beginning come first.
    faulty.fail(6, Fault::Refused);
    assert!(backup(&repository, &request, &Silent).is_err());
    assert_eq!(fixture.store.unfinished("").unwrap(), []);
    backup(&repository, &request, &Silent).unwrap();
    fixture.assert_stored(&content);
}

#[test]
fn damage_in_a_stored_file_is_found() {
    let fixture = Fixture::new(&noise(3 * MIB, 37));
    let name = fixture.backup(None).0.unwrap().name;
    for (object, full) in [(name.data(), false), (name.data(), true), (name.record(), false)] {
        let whole = fixture.store.bytes(&object).unwrap();
        fixture.store.corrupt(&object, whole.len() / 2, 1);
        let report = verify(&fixture.repository(), depth_of(full), &Silent).unwrap();
        assert_eq!((report.problems.len(), report.backups_intact()), (1, 0), "{object}");
        assert_eq!(report.problems[0].object, object);
        fixture.store.corrupt(&object, whole.len() / 2, 1);
    }
    fixture.store.delete(&name.record()).unwrap();
    let lost = verify(&fixture.repository(), Depth::Full, &Silent).unwrap();
    assert_eq!((lost.problems.len(), lost.backups_intact()), (1, 0));
    assert!(lost.problems[0].object == name.record() && lost.problems[0].what.contains("its receipt promises it"), "{:?}", lost.problems);
    // Without its receipt nothing shows that there ever was a file.
    fixture.store.delete(&name.receipt()).unwrap();
    let report = verify(&fixture.repository(), Depth::Full, &Silent).unwrap();
    assert!(report.problems.is_empty() && report.notes.iter().any(|note| note.contains("belong to no backup")), "{:?}", report.notes);
}

#[test]
fn what_is_no_file_or_name_is_refused() {
    for name in ["", ".", "..", "A", "a/b", "a b", "ä", &"a".repeat(129)] {
        assert_eq!(check_file_name(name).unwrap_err().kind, Kind::Input, "{name:?}");
    }
    for name in ["a", "0", "a.parquet", "2026-10_x", &"a".repeat(128)] {
        check_file_name(name).unwrap();
    }
    let fixture = Fixture::new(&[]);
    std::fs::remove_file(fixture.path()).unwrap();
    assert_eq!(fixture.backup(None).0.unwrap_err().kind, Kind::Input);
    std::fs::create_dir(fixture.path()).unwrap();
    assert_eq!(fixture.backup(None).0.unwrap_err().kind, Kind::Input);
}

/// Changes the file once when this many bytes were read, and remembers what it was told.
struct Meddler<'a> {
    at_bytes: u64,
    change: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
    notes: Mutex<Vec<String>>,
}

impl Cancellation for Meddler<'_> {}

impl Progress for Meddler<'_> {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, position_bytes: u64) {
        if position_bytes >= self.at_bytes
            && let Some(change) = self.change.lock().unwrap().take()
        {
            // A kernel without finer times gives two changes of one tick the same time.
            std::thread::sleep(Duration::from_millis(11));
            change();
        }
    }
    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
    fn end(&self) {}
}

/// So many MiB, each of another byte, that cost little to compress and to send.
fn quick_content(mebibytes: u8) -> Vec<u8> {
    (1..=mebibytes).flat_map(|byte| vec![byte; MIB]).collect()
}

/// A backup of a file that is changed in its middle, and the notes.
fn meddled(fixture: &Fixture, change: impl FnOnce() + Send) -> (Result<Backup>, String) {
    let meddler = Meddler { at_bytes: 60 * MIB as u64, change: Mutex::new(Some(Box::new(change))), notes: Mutex::default() };
    let made = backup(&fixture.repository(), &fixture.request(), &meddler);
    assert!(meddler.change.lock().unwrap().is_none());
    (made, meddler.notes.into_inner().unwrap().join("\n"))
}

fn time_set_back(path: &Path, change: impl FnOnce(&File)) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    change(&file);
    file.set_modified(modified).unwrap();
}

#[test]
fn a_torn_file_is_never_promised_whatever_its_modification_time() {
    // Longer than what is read ahead, so that one range was read before and one will be read after.
    let content = quick_content(100);
    let fixture = Fixture::new(&content);
    let path = fixture.path();
    let (made, notes) = meddled(&fixture, || {
        time_set_back(&path, |file| [0, 99 * MIB as u64].iter().for_each(|at| file.write_all_at(b"other bytes", *at).unwrap()));
    });
    let error = made.unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("changed while it was read"), "{error}");
    assert!(notes.contains("read again and compared"), "{notes}");
    assert_eq!(fixture.repository().files(&PLAIN_FILES, None).unwrap(), []);

    let (made, _) = meddled(&fixture, || {
        std::fs::copy(&path, path.with_extension("new")).unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
    });
    let error = made.unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("another file took its name"), "{error}");
    assert_eq!(fixture.repository().files(&PLAIN_FILES, None).unwrap(), []);
    // Then nobody writes to it.
    fixture.backup(None).0.unwrap();
    fixture.assert_stored(&std::fs::read(fixture.path()).unwrap());
}

#[test]
fn a_file_that_is_only_touched_is_read_again_and_stored() {
    let content = quick_content(70);
    let fixture = Fixture::new(&content);
    let (path, end) = (fixture.path(), content.len() as u64 - 1);
    let mode = 0o640;
    let (made, notes) = meddled(&fixture, || {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        time_set_back(&path, |file| file.write_all_at(&content[end as usize..], end).unwrap());
    });
    let backup = made.unwrap();
    assert!(notes.contains("read again and compared"), "{notes}");
    assert_eq!((backup.record.mode, backup.bytes_read), (mode, 2 * content.len() as u64));
    fixture.assert_stored(&content);
}

#[test]
fn a_path_that_is_no_text_is_recorded_to_the_byte() {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::new(b"content");
    let path = fixture.folder.path().join(std::ffi::OsStr::from_bytes(b"a\xff\n"));
    std::fs::rename(fixture.path(), &path).unwrap();
    let request = FileCaptureRequest { path: path.clone(), ..fixture.request() };
    let record = backup(&fixture.repository(), &request, &Silent).unwrap().record;
    assert!(record.path.ends_with("/a\\xff\n"), "{}", record.path);
    assert_eq!(record.path_bytes, Some(path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()));
    assert!(fixture.stored() == b"content");
}

fn depth_of(full: bool) -> Depth {
    if full { Depth::Full } else { Depth::Digests }
}
