//! Plain files: every byte is restored, holes are kept, little is fetched over a base, and no file
//! gets its name when anything is wrong.

use super::*;
use crate::cancellation::CancelledAfter;
use crate::disk::file::ReadOptions;
use crate::error::Kind;
use crate::progress::Silent;
use crate::repository::name::PLAIN_FILES;
use crate::repository::sample::{Fault, FaultyStore, create, noise, open};
use crate::store::memory::MemoryStore;
use crate::tier::file::capture;
use crate::tier::sample::folder;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

struct Fixture {
    pub(crate) store: MemoryStore,
    folder: TempDir,
}

impl Fixture {
    fn new(content: &[u8]) -> Fixture {
        let store = MemoryStore::new();
        create(&store).unwrap();
        let fixture = Fixture { store, folder: tempfile::tempdir_in(folder()).unwrap() };
        fixture.back_up(content);
        fixture
    }

    fn repository(&self) -> Arc<Repository> {
        open(Arc::new(self.store.clone())).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn back_up(&self, content: &[u8]) -> capture::Backup {
        std::fs::write(self.path("source"), content).unwrap();
        self.back_up_source()
    }

    fn back_up_source(&self) -> capture::Backup {
        let request = crate::tier::file::request::FileCaptureRequest {
            path: self.path("source"),
            place: &PLAIN_FILES,
            name: "archive".into(),
            tenant: None,
            journals: None,
            read: ReadOptions::quick(),
            run: None,
        };
        capture::backup(&self.repository(), &request, &Silent).unwrap()
    }

    fn request(&self) -> FileRestoreRequest {
        FileRestoreRequest {
            place: &PLAIN_FILES,
            name: "archive".into(),
            run: None,
            output: self.path("out"),
            overwrite: false,
            base: None,
            read_back: true,
        }
    }

    fn restored(&self, request: &FileRestoreRequest) -> Restored {
        let restored = restore_file(&self.repository(), request, &Silent).unwrap();
        assert!(std::fs::read(self.path("out")).unwrap() == std::fs::read(self.path("source")).unwrap(), "the bytes are others");
        std::fs::remove_file(self.path("out")).unwrap();
        restored
    }

    /// Asserts that the folder holds nothing but what was there before.
    fn assert_nothing_left(&self) {
        let names: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["source"]);
    }
}

#[test]
fn files_of_all_sizes_come_back_as_they_were() {
    for length in [0, 1, 4095, 4096, MIB - 1, MIB, MIB + 1, 37 * MIB + 5] {
        let fixture = Fixture::new(&noise(length, 7));
        for read_back in [true, false] {
            let restored = fixture.restored(&FileRestoreRequest { read_back, ..fixture.request() });
            assert_eq!((restored.record.file_bytes, restored.bytes_kept), (length as u64, 0), "{read_back}");
            assert!(restored.bytes_fetched >= length as u64);
        }
        fixture.assert_nothing_left();
    }
}

#[test]
fn holes_modes_and_times_are_kept() {
    let fixture = Fixture::new(&[]);
    let file = std::fs::File::create(fixture.path("source")).unwrap();
    file.set_len(200 * MIB as u64).unwrap();
    file.write_all_at(&noise(2 * MIB, 3), 90 * MIB as u64 + 7).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o640)).unwrap();
    fixture.back_up_source();
    restore_file(&fixture.repository(), &fixture.request(), &Silent).unwrap();
    let metadata = |name: &str| std::fs::metadata(fixture.path(name)).unwrap();
    let (source, out) = (metadata("source"), metadata("out"));
    assert_eq!((out.len(), out.mode() & 0o7777, out.modified().unwrap()), (source.len(), 0o640, source.modified().unwrap()));
    assert!(out.blocks() * 512 < 8 * MIB as u64, "{} blocks", out.blocks());
    assert!(std::fs::read(fixture.path("out")).unwrap() == std::fs::read(fixture.path("source")).unwrap());
}

#[test]
fn a_file_of_holes_needs_room_for_what_it_holds() {
    let fixture = Fixture::new(&[]);
    // In memory, where there is less room than on most disks.
    let memory = tempfile::tempdir_in(crate::tier::sample::folder()).unwrap();
    let space = rustix::fs::statvfs(memory.path()).unwrap();
    let length = space.f_bavail * space.f_frsize * 2;
    let file = std::fs::File::create(fixture.path("source")).unwrap();
    file.set_len(length).unwrap();
    file.write_all_at(b"data", length - 4).unwrap();
    fixture.back_up_source();
    let out = memory.path().join("out");
    let request = FileRestoreRequest { output: out.clone(), ..fixture.request() };
    let restored = restore_file(&fixture.repository(), &request, &Silent).unwrap();
    assert_eq!(restored.record.file_bytes, length);
    let mut end = [0; 8];
    std::fs::File::open(out).unwrap().read_exact_at(&mut end, length - 8).unwrap();
    assert_eq!(&end, b"\0\0\0\0data");
}

#[test]
fn only_what_a_base_lacks_is_fetched() {
    let mut content = noise(40 * MIB, 11);
    let fixture = Fixture::new(&content);
    let first = fixture.back_up(&content).name.run;
    std::fs::copy(fixture.path("source"), fixture.path("base")).unwrap();
    content[17 * MIB..17 * MIB + 100].fill(1);
    content.truncate(39 * MIB + 5);
    fixture.back_up(&content);
    let base = Some(fixture.path("base"));
    let restored = fixture.restored(&FileRestoreRequest { base: base.clone(), ..fixture.request() });
    assert_eq!(restored.bytes_kept, 38 * MIB as u64 + 5, "all but the changed frame; what is left of the last one is the same");
    assert!(restored.bytes_fetched < 2 * MIB as u64, "{}", restored.bytes_fetched);

    // An older backup is restored by its run. The base is that backup.
    std::fs::copy(fixture.path("base"), fixture.path("source")).unwrap();
    let restored = fixture.restored(&FileRestoreRequest { base, run: Some(first), ..fixture.request() });
    assert_eq!((restored.name.run, restored.bytes_kept), (first, 40 * MIB as u64));

    let missing = FileRestoreRequest { base: Some(fixture.path("nothing")), ..fixture.request() };
    let error = restore_file(&fixture.repository(), &missing, &Silent).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("nothing"), "{error}");
    let folder = FileRestoreRequest { base: Some(fixture.folder.path().to_owned()), ..fixture.request() };
    let error = restore_file(&fixture.repository(), &folder, &Silent).unwrap_err();
    assert!(error.message.contains("the base cannot be read"), "{error}");
    assert!(!fixture.path("out").exists());
}

#[test]
fn what_there_is_not_is_said_by_name() {
    let fixture = Fixture::new(b"content");
    let refused = |request: FileRestoreRequest| restore_file(&fixture.repository(), &request, &Silent).unwrap_err();
    let error = refused(FileRestoreRequest { name: "another".into(), ..fixture.request() });
    assert!(error.kind == Kind::Input && error.message.contains("no file another: `amber list`"), "{error}");
    let error = refused(FileRestoreRequest { run: Some(RunId(7)), ..fixture.request() });
    assert!(error.kind == Kind::Input && error.message.contains("archive of run 0000000000000007"), "{error}");
    fixture.assert_nothing_left();
    std::fs::write(fixture.path("out"), "was there").unwrap();
    assert_eq!(refused(fixture.request()).kind, Kind::Input);
    assert_eq!(std::fs::read(fixture.path("out")).unwrap(), b"was there");
    restore_file(&fixture.repository(), &FileRestoreRequest { overwrite: true, ..fixture.request() }, &Silent).unwrap();
    assert_eq!(std::fs::read(fixture.path("out")).unwrap(), b"content");
}

#[test]
fn whichever_request_fails_nothing_stands_under_the_name() {
    let fixture = Fixture::new(&noise(35 * MIB, 5));
    let faulty = FaultyStore::new(&fixture.store);
    let repository = open(Arc::new(faulty.clone())).unwrap();
    faulty.fail(u64::MAX, Fault::Gone);
    restore_file(&repository, &fixture.request(), &Silent).unwrap();
    std::fs::remove_file(fixture.path("out")).unwrap();
    let calls = faulty.calls();
    assert!(calls > 4, "{calls}");
    for call in 1..=calls {
        faulty.fail(call, Fault::Gone);
        let error = restore_file(&repository, &fixture.request(), &Silent).unwrap_err();
        assert_eq!(error.kind, Kind::TryAgain, "call {call}: {error}");
        fixture.assert_nothing_left();
    }
}

#[test]
fn a_damaged_frame_is_named_and_nothing_is_left() {
    let fixture = Fixture::new(&noise(3 * MIB, 5));
    let object = fixture.store.names().into_iter().max_by_key(|name| fixture.store.bytes(name).map(|bytes| bytes.len())).unwrap();
    assert!(fixture.store.corrupt(&object, MIB + 4096, 1));
    let error = restore_file(&fixture.repository(), &fixture.request(), &Silent).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("frame 1"), "{error}");
    fixture.assert_nothing_left();
}

/// Cancelled before it began.
fn given_up() -> CancelledAfter {
    CancelledAfter { pauses: 0.into() }
}

#[test]
fn what_nobody_wants_any_more_ends() {
    let fixture = Fixture::new(&noise(3 * MIB, 5));
    let error = restore_file(&fixture.repository(), &fixture.request(), &given_up()).unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("cancelled"), "{error}");
    fixture.assert_nothing_left();
}

/// Runs the work of the threads on the given disk.
fn on_disk(fixture: &Fixture, disk: &Path, progress: &dyn Progress, act: impl FnOnce(&FileRestoreWork<'_>) -> Result<()>) -> Result<()> {
    let repository = fixture.repository();
    let name = find(&repository, &fixture.request()).unwrap();
    let record = repository.file_record(&name).unwrap();
    let reader = FileReader::open(&repository, &name, &record).unwrap();
    let target = Target::create(&fixture.path("out"), false).unwrap();
    let places: Arc<[WriteTarget]> = Arc::new([WriteTarget::to_write(disk, WriteOptions::default()).unwrap()]);
    let fingerprinter = repository.fingerprinter().unwrap();
    act(&FileRestoreWork { threads: 1, run_bytes: MIB, ..FileRestoreWork::new(&reader, fingerprinter, places, &target, progress) })
}

#[test]
fn a_disk_that_does_not_keep_what_it_takes_is_found_out() {
    let fixture = Fixture::new(&noise(70 * MIB, 9));
    // This disk accepts every write and returns nothing.
    let error = on_disk(&fixture, Path::new("/dev/null"), &Silent, |work| work.run()).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("the disk does not give back"), "{error}");

    // One byte differs.
    let mut content = std::fs::read(fixture.path("source")).unwrap();
    content[5 * MIB + 9] ^= 1;
    std::fs::write(fixture.path("disk"), &content).unwrap();
    let mut buffer = Arena::new(MIB, 1).unwrap().take().unwrap();
    let mut check = |frames| on_disk(&fixture, &fixture.path("disk"), &Silent, |work| work.check_run(frames, &mut buffer));
    check(0..5).unwrap();
    check(6..70).unwrap();
    let error = check(0..70).unwrap_err();
    assert!(error.message.contains("offset 5242880: the disk does not give back"), "{error}");

    // The disk cannot be read at all.
    let error = on_disk(&fixture, Path::new("/proc/self/mem"), &Silent, |work| work.check_run(0..1, &mut buffer)).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("read back"), "{error}");

    // The disk holds less than was written.
    std::fs::write(fixture.path("disk"), &content[..69 * MIB + 5]).unwrap();
    let mut check = |frames| on_disk(&fixture, &fixture.path("disk"), &Silent, |work| work.check_run(frames, &mut buffer));
    assert!(check(69..70).unwrap_err().message.contains("offset 72351744"));
}

/// One thread takes range after range, and hands every one of them to the checkers. A range that no
/// thread took is noticed.
#[test]
fn every_run_is_read_back() {
    let fixture = Fixture::new(&noise(5 * MIB + 1000, 9));
    std::fs::write(fixture.path("disk"), "").unwrap();
    let disk = fixture.path("disk");
    on_disk(&fixture, &disk, &Silent, |work| {
        work.run()?;
        assert_eq!(work.done.load(Ordering::Relaxed), 5 * MIB as u64 + 1000);
        Ok(())
    })
    .unwrap();
    let source = std::fs::read(fixture.path("source")).unwrap();
    let disk_bytes = std::fs::read(&disk).unwrap();
    assert!(disk_bytes[..source.len()] == source, "to the end of a sector");

    // A range that no thread took, although nothing failed.
    let passed_over = on_disk(&fixture, &disk, &Silent, |work| {
        work.next.store(1, Ordering::Relaxed);
        work.run()
    });
    let error = passed_over.unwrap_err();
    assert!(error.message.contains("4195304 of 5243880 bytes"), "{error}");
}

#[test]
fn checkers_end_with_the_others() {
    let fixture = Fixture::new(&noise(MIB, 9));
    let (written, to_check) = crossbeam_channel::unbounded();
    written.send(0..1).unwrap();
    drop(written);
    // The disk is empty, so a check would fail.
    std::fs::write(fixture.path("disk"), "").unwrap();
    on_disk(&fixture, &fixture.path("disk"), &given_up(), |work| work.check(&to_check)).unwrap();
}

#[test]
fn a_lost_record_does_not_make_an_older_file_the_newest() {
    let fixture = Fixture::new(&noise(MIB, 5));
    let older = fixture.back_up_source().name;
    let newest = fixture.back_up_source().name;
    fixture.store.remove(&newest.record()).unwrap();
    let lost = restore_file(&fixture.repository(), &fixture.request(), &Silent).map(|_| ()).unwrap_err();
    assert!(lost.kind == Kind::Damaged && lost.message.contains(&newest.record()), "{lost}");
    let request = FileRestoreRequest { run: Some(older.run), ..fixture.request() };
    assert_eq!(restore_file(&fixture.repository(), &request, &Silent).unwrap().name, older);
}
