use super::*;
use crate::log_shipping::tests::store_double::{WeatherStore, segments, segments_after};
use crate::repository::sample;
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::root_header;
use crate::tier::tigerbeetle::format::segment::SealedSegment;
use crate::units::MIB;

fn open(repository: &Arc<Repository>, folder: &Path) -> Spool {
    Spool::open(repository, folder, MIB).unwrap()
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let offset = if offset < bytes.len() { offset } else { bytes.len() - 40 };
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn names(found: &[Spooled]) -> Vec<SegmentName> {
    found.iter().map(|spooled| spooled.name).collect()
}

#[test]
fn what_is_put_is_found_in_order_and_read_back_as_it_was() {
    let (_, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("spool");
    let mut sealed = segments(&repository, 3);
    sealed.extend(segments_after(&repository, &root_header(7), 2, 1));
    let spool = open(&repository, &folder);
    assert_eq!((spool.found(), spool.damaged(), spool.foreign()), (&[][..], &[][..], &[][..]));
    let empty_bytes = spool.free_bytes();
    // Timeline 2 begins at op 1 again, but comes last.
    for segment in [&sealed[3], &sealed[1], &sealed[0], &sealed[2]] {
        spool.put(&segment.object).unwrap();
    }
    assert_eq!(empty_bytes - spool.free_bytes(), 4 * 4096);
    let free_bytes = spool.free_bytes();
    drop(spool);
    let spool = open(&repository, &folder);
    let expected = |segment: &SealedSegment| Spooled { name: segment.name, stored_bytes: segment.object.stored_bytes, last: segment.last };
    assert_eq!(spool.found(), sealed.iter().map(expected).collect::<Vec<_>>());
    assert_eq!(spool.free_bytes(), free_bytes, "what is in it counts after a restart");
    for segment in &sealed {
        for digest in [None, Some(&segment.object.digest)] {
            let read = spool.read(&segment.name, segment.object.stored_bytes, digest).unwrap();
            assert_eq!((read.body.concat(), read.digest), (segment.object.body.concat(), segment.object.digest));
        }
        spool.remove(&segment.object.name, segment.object.stored_bytes).unwrap();
        assert_eq!(spool.read(&segment.name, segment.object.stored_bytes, None).unwrap_err().kind, Kind::Damaged);
    }
    assert_eq!(spool.free_bytes(), empty_bytes);
    assert!(open(&repository, &folder).found().is_empty());
}

#[test]
fn a_full_spool_takes_nothing_and_one_of_no_bytes_gives_what_it_has() {
    let (_, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 3);
    let none = Spool::open(&repository, &folder.path().join("none"), 0).unwrap();
    assert!(none.put(&sealed[0].object).is_err() && none.free_bytes() == 0);
    assert!(!folder.path().join("none").exists());
    // Room for the header and two segments, one block each.
    let folder = folder.path().join("spool");
    let spool = Spool::open(&repository, &folder, 3 * BLOCK_BYTES + 17).unwrap();
    spool.put(&sealed[0].object).unwrap();
    spool.put(&sealed[1].object).unwrap();
    let error = spool.put(&sealed[2].object).unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("is full"), "{error}");
    spool.remove(&sealed[0].object.name, sealed[0].object.stored_bytes).unwrap();
    spool.put(&sealed[2].object).unwrap();
    drop(spool);
    let smaller = Spool::open(&repository, &folder, 0).unwrap();
    assert_eq!((names(smaller.found()), smaller.free_bytes()), (vec![sealed[1].name, sealed[2].name], 0));
}

#[test]
fn damaged_segments_are_told_once_and_set_aside() {
    let (_, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 5);
    let spool = open(&repository, folder.path());
    sealed.iter().for_each(|segment| spool.put(&segment.object).unwrap());
    let path = |number: usize| folder.path().join(&sealed[number].object.name);
    // Damages the index of a segment in the middle, a frame of another one, which only reading the
    // whole segment finds, and a frame of the last.
    flip(&path(1), usize::MAX);
    flip(&path(2), 70);
    flip(&path(4), 70);
    let spool = open(&repository, folder.path());
    assert_eq!(names(spool.found()), [sealed[0].name, sealed[2].name, sealed[3].name]);
    let damaged: Vec<SegmentName> = spool.damaged().iter().map(|damaged| damaged.name).collect();
    assert_eq!(damaged, [sealed[1].name, sealed[4].name]);
    for damaged in spool.damaged() {
        let aside = folder.path().join(DAMAGED).join(damaged.name.object());
        assert!(damaged.reason.contains(aside.to_str().unwrap()) && aside.exists(), "{}", damaged.reason);
    }
    let size = |number: usize| sealed[number].object.stored_bytes;
    for digest in [None, Some(&sealed[2].object.digest)] {
        assert_eq!(spool.read(&sealed[2].name, size(2), digest).unwrap_err().kind, Kind::Damaged);
    }
    assert!(spool.read(&sealed[3].name, size(3), None).is_ok());
    let cut = std::fs::File::options().write(true).open(path(3)).unwrap();
    cut.set_len(size(3) - 1).unwrap();
    assert_eq!(spool.read(&sealed[3].name, size(3), Some(&sealed[3].object.digest)).unwrap_err().kind, Kind::Damaged);
    let aside = spool.set_aside(&sealed[3].name, &Error::damaged("cut"));
    assert!(aside.reason.starts_with("cut; it was moved to"), "{}", aside.reason);
    assert!(spool.set_aside(&sealed[3].name, &Error::damaged("cut")).reason.contains("could not be moved"));
    let used_bytes = MIB - spool.free_bytes();
    // Every prepare of the last segment is read now. Damage that was reported is not reported
    // again.
    let spool = open(&repository, folder.path());
    assert_eq!((names(spool.found()), spool.damaged().len(), spool.damaged()[0].name), (vec![sealed[0].name], 1, sealed[2].name));
    let spool = open(&repository, folder.path());
    assert_eq!((names(spool.found()), spool.damaged()), (vec![sealed[0].name], &[][..]));
    assert_eq!(MIB - spool.free_bytes(), used_bytes, "what was set aside counts");
}

#[test]
fn files_that_are_not_ours_are_named_and_left_and_leftovers_go() {
    let (_, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 1);
    open(&repository, folder.path()).put(&sealed[0].object).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    std::fs::write(folder.path().join("tigerbeetle-logs/00000001/other"), "mine").unwrap();
    // A put that was killed leaves such a folder.
    std::fs::create_dir_all(folder.path().join(".tmp/999999-0")).unwrap();
    std::fs::write(folder.path().join(".tmp/999999-0/0"), "half").unwrap();
    let spool = open(&repository, folder.path());
    assert_eq!(spool.foreign(), ["notes.txt", "tigerbeetle-logs/00000001/other"]);
    assert_eq!((names(spool.found()), spool.damaged()), (vec![sealed[0].name], &[][..]));
    spool.remove(&sealed[0].object.name, sealed[0].object.stored_bytes).unwrap();
    spool.put(&sealed[0].object).unwrap();
    assert!(folder.path().join("notes.txt").exists() && !folder.path().join(".tmp/999999-0").exists());
}

#[test]
fn another_repository_does_not_get_the_segments() {
    let (_, repository) = WeatherStore::with_repository();
    let other = sample::create(&MemoryStore::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    open(&repository, folder.path()).put(&segments(&repository, 1)[0].object).unwrap();
    for bytes_max in [0, MIB] {
        let error = Spool::open(&other, folder.path(), bytes_max).unwrap_err();
        assert!(error.kind == Kind::Input && error.message.contains("another repository"), "{error}");
    }
    assert_eq!(open(&repository, folder.path()).found().len(), 1, "nothing was touched");
    let error = Spool::open(&repository, &folder.path().join("not/there"), MIB).unwrap_err();
    assert_eq!(error.kind, Kind::Input, "{error}");
}

#[test]
fn a_put_that_fails_leaves_nothing_and_may_be_tried_again() {
    let (_, repository) = WeatherStore::with_repository();
    let folder = tempfile::tempdir().unwrap();
    let sealed = segments(&repository, 1);
    let spool = open(&repository, folder.path());
    let free_bytes = spool.free_bytes();
    let obstacle = folder.path().join("tigerbeetle-logs");
    std::fs::write(&obstacle, "in the way").unwrap();
    let error = spool.put(&sealed[0].object).unwrap_err();
    assert!(error.message.starts_with("spool: "), "{error}");
    assert_eq!(spool.free_bytes(), free_bytes);
    std::fs::remove_file(&obstacle).unwrap();
    spool.put(&sealed[0].object).unwrap();
    assert_eq!(open(&repository, folder.path()).found().len(), 1);
}
