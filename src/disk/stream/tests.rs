//! What happens to a file between the first and the last byte that is read of it.

use super::*;
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::Duration;
use tempfile::TempDir;

const FRAME: usize = 64 * 1024;
const FRAMES: usize = 8;

struct Source(TempDir);

impl Source {
    fn new(folder: &str) -> Source {
        let source = Source(tempfile::tempdir_in(folder).unwrap());
        std::fs::write(source.path(), vec![7; FRAME * FRAMES]).unwrap();
        source
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("source")
    }

    fn other(&self) -> std::path::PathBuf {
        self.0.path().join("other")
    }

    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.path()).unwrap()
    }

    /// Changes the file by `change` and sets the modification time back.
    fn unnoticed(&self, change: impl FnOnce(&File)) {
        let file = self.open();
        let modified = file.metadata().unwrap().modified().unwrap();
        change(&file);
        file.set_modified(modified).unwrap();
    }
}

/// Reads a file whose middle meets `change`; `None` where the end of it refuses already.
fn read(source: &Source, change: &dyn Fn(&Source)) -> Option<Verdict> {
    let mut stream = Stream::open(&source.path(), FRAME, ReadOptions::quick()).unwrap();
    for frame in 0.. {
        if frame == FRAMES / 2 {
            // A kernel without finer times gives two changes of one tick the same time.
            std::thread::sleep(Duration::from_millis(11));
            change(source);
        }
        match stream.next_frame() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(SourceError::NotNow { .. }) => return None,
            Err(error) => panic!("{error}"),
        }
    }
    stream.check_unchanged().ok()
}

fn folders() -> impl Iterator<Item = &'static str> {
    ["/tmp", "/dev/shm"].into_iter().filter(|folder| Path::new(folder).is_dir())
}

/// What somebody does to a file, and its name.
type Change<'a> = (&'a str, &'a dyn Fn(&Source));

#[test]
fn a_file_that_nobody_changes_is_unchanged() {
    for folder in folders() {
        assert_eq!(read(&Source::new(folder), &|_| {}), Some(Verdict::Unchanged));
        assert_eq!(read(&Source::new(folder), &|source| drop(std::fs::read(source.path()).unwrap())), Some(Verdict::Unchanged));
    }
}

#[test]
fn every_change_shows() {
    let changes: [Change<'_>; 10] = [
        ("written to", &|source| source.open().write_all_at(b"other", 9).unwrap()),
        ("grown", &|source| source.open().set_len((FRAME * FRAMES + 1) as u64).unwrap()),
        ("grown, time set back", &|source| source.unnoticed(|file| file.set_len((FRAME * FRAMES + 1) as u64).unwrap())),
        ("cut", &|source| source.open().set_len(9).unwrap()),
        ("cut by a byte, time set back", &|source| source.unnoticed(|file| file.set_len((FRAME * FRAMES - 1) as u64).unwrap())),
        ("touched", &|source| source.open().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap()),
        ("renamed", &|source| std::fs::rename(source.path(), source.other()).unwrap()),
        ("deleted", &|source| std::fs::remove_file(source.path()).unwrap()),
        ("replaced", &|source| {
            std::fs::copy(source.path(), source.other()).unwrap();
            std::fs::rename(source.other(), source.path()).unwrap();
        }),
        ("replaced by a link", &|source| {
            std::fs::rename(source.path(), source.other()).unwrap();
            std::fs::write(source.0.path().join("third"), vec![7; FRAME * FRAMES]).unwrap();
            std::os::unix::fs::symlink("third", source.path()).unwrap();
        }),
    ];
    for folder in folders() {
        for (what, change) in changes {
            assert_eq!(read(&Source::new(folder), change), None, "{what} in {folder}");
        }
    }
}

#[test]
fn a_change_whose_modification_time_was_set_back_is_doubtful() {
    let changes: [Change<'_>; 7] = [
        ("written to", &|source| source.unnoticed(|file| file.write_all_at(b"other", 9).unwrap())),
        ("written to at its end", &|source| source.unnoticed(|file| file.write_all_at(b"other", (FRAME * FRAMES - 9) as u64).unwrap())),
        ("punched", &|source| {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            source.unnoticed(|file| rustix::fs::fallocate(file, punch, 0, FRAME as u64).unwrap());
        }),
        ("cut and grown", &|source| {
            source.unnoticed(|file| {
                file.set_len(9).unwrap();
                file.set_len((FRAME * FRAMES) as u64).unwrap();
            });
        }),
        ("mode", &|source| std::fs::set_permissions(source.path(), Permissions::from_mode(0o604)).unwrap()),
        ("linked", &|source| std::fs::hard_link(source.path(), source.other()).unwrap()),
        ("renamed and back", &|source| {
            std::fs::hard_link(source.path(), source.other()).unwrap();
            std::fs::remove_file(source.path()).unwrap();
            std::fs::rename(source.other(), source.path()).unwrap();
        }),
    ];
    for folder in folders() {
        for (what, change) in changes {
            assert_eq!(read(&Source::new(folder), change), Some(Verdict::Touched), "{what} in {folder}");
        }
    }
}
