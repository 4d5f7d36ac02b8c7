use super::{Failed, WriteOptions, WriteTarget, Writer};
use crate::disk::arena::Arena;
use crate::disk::uring::Uring;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const BLOCK: usize = 64 * 1024;
const ALL_OPTIONS: [WriteOptions; 4] = [
    WriteOptions { direct: true, uring: true },
    WriteOptions { direct: true, uring: false },
    WriteOptions { direct: false, uring: true },
    WriteOptions { direct: false, uring: false },
];

/// This many empty files, open for writing.
fn places(folder: &Path, count: usize, options: WriteOptions) -> Arc<[WriteTarget]> {
    let path = |number: usize| folder.join(number.to_string());
    let open = |number: usize| {
        File::create(path(number)).unwrap();
        WriteTarget::to_write(&path(number), options).unwrap()
    };
    (0..count).map(open).collect()
}

#[test]
fn every_place_that_wants_a_buffer_gets_it_whichever_way_it_goes() {
    for root in ["/tmp", "/dev/shm"] {
        for options in ALL_OPTIONS {
            let folder = TempDir::new_in(root).unwrap();
            let places = places(folder.path(), 3, options);
            let mut writer = Writer::new(&places, BLOCK, 2, options).unwrap();
            assert_eq!(writer.has_ring(), options.uring && places.iter().all(WriteTarget::is_direct));
            // There are more blocks than buffers, so buffers come back. The last block of a file is
            // half as long.
            for number in 0..10_u64 {
                let mut buffer = writer.take().unwrap();
                buffer.fill(number as u8 + 1);
                let length = if number == 9 { BLOCK / 2 } else { BLOCK };
                let wanted = if number % 2 == 0 { vec![0, 1, 2] } else { vec![2, 1] };
                writer.write(buffer, number * BLOCK as u64, length, wanted).unwrap();
            }
            writer.finish().unwrap();
            for number in 0..3 {
                let bytes = std::fs::read(folder.path().join(number.to_string())).unwrap();
                assert_eq!(bytes.len(), if number == 0 { 9 * BLOCK } else { 9 * BLOCK + BLOCK / 2 }, "{options:?} in {root}");
                for (index, piece) in bytes.chunks(BLOCK).enumerate() {
                    let expected = if number == 0 && index % 2 == 1 { 0 } else { index as u8 + 1 };
                    assert!(piece.iter().all(|byte| *byte == expected), "{options:?} in {root}: {number} {index}");
                }
            }
            let mut aligned = Arena::new(BLOCK, 1).unwrap().take().unwrap();
            assert_eq!(places[1].read(9 * BLOCK as u64, &mut aligned).unwrap(), BLOCK / 2);
            assert!(aligned[..BLOCK / 2].iter().all(|byte| *byte == 10));
        }
    }
}

#[test]
fn what_cannot_be_written_past_the_page_cache_is_written_through_it() {
    for options in ALL_OPTIONS {
        let folder = TempDir::new_in("/tmp").unwrap();
        let places = places(folder.path(), 1, options);
        let mut writer = Writer::new(&places, BLOCK, 1, options).unwrap();
        let mut buffer = writer.take().unwrap();
        buffer.fill(3);
        writer.write(buffer, 100, 1000, vec![0]).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(folder.path().join("0")).unwrap();
        assert!(bytes.len() == 1100 && bytes[100..].iter().all(|byte| *byte == 3), "{options:?}");
        let mut odd = [0; 10];
        assert_eq!(places[0].read(1095, &mut odd).unwrap(), 5, "{options:?}");
    }
}

#[test]
fn a_write_that_fails_names_its_place() {
    for options in ALL_OPTIONS {
        let folder = TempDir::new_in("/tmp").unwrap();
        let places = places(folder.path(), 2, options);
        let mut writer = Writer::new(&places, BLOCK, 2, options).unwrap();
        let buffer = writer.take().unwrap();
        // No file is this large.
        let failed = writer.write(buffer, 1 << 62, BLOCK, vec![1]).and_then(|()| writer.finish()).unwrap_err();
        assert_eq!(failed.place, 1, "{options:?}: {}", failed.error);
    }
}

/// A caller that retries because of another error must meet the failure again.
#[test]
fn after_a_write_that_failed_every_call_fails() {
    for options in ALL_OPTIONS {
        let folder = TempDir::new_in("/tmp").unwrap();
        let places = places(folder.path(), 2, options);
        let mut writer = Writer::new(&places, BLOCK, 3, options).unwrap();
        let (first, second) = (writer.take().unwrap(), writer.take().unwrap());
        let failed = writer.write(first, 1 << 62, BLOCK, vec![1]).and_then(|()| writer.finish()).unwrap_err();
        let same = |again: Failed| {
            assert_eq!((again.place, again.error.raw_os_error()), (failed.place, failed.error.raw_os_error()), "{options:?}");
        };
        assert!(failed.error.raw_os_error().is_some());
        same(writer.write(second, 0, BLOCK, vec![0]).unwrap_err());
        same(writer.take().unwrap_err());
        same(writer.finish().unwrap_err());
        assert_eq!(std::fs::metadata(folder.path().join("0")).unwrap().len(), 0);
    }
}

#[test]
fn who_holds_all_buffers_waits_for_none() {
    let folder = TempDir::new_in("/tmp").unwrap();
    for options in ALL_OPTIONS {
        let places = places(folder.path(), 1, options);
        let mut writer = Writer::new(&places, BLOCK, 1, options).unwrap();
        let held = writer.take().unwrap();
        assert!(writer.take().unwrap_err().error.to_string().contains("no buffer is free"));
        drop(held);
        writer.take().unwrap();
    }
    let error = Writer::new(&places(folder.path(), 1, WriteOptions::default()), 1000, 1, WriteOptions::default()).unwrap_err();
    assert!(error.to_string().contains("1 buffers of 1000 bytes are no arena"), "{error}");
}

#[test]
fn a_place_that_cannot_be_opened_or_written_says_so() {
    let folder = TempDir::new_in("/tmp").unwrap();
    assert!(WriteTarget::to_read(&folder.path().join("none")).is_err());
    let path = folder.path().join("some");
    std::fs::write(&path, [5; 4096]).unwrap();
    let place = WriteTarget::to_read(&path).unwrap();
    assert!(place.write(0, &[1; 4096]).is_err());
    let mut buffer = Arena::new(4096, 1).unwrap().take().unwrap();
    assert_eq!(place.read(0, &mut buffer).unwrap(), 4096);
    assert!(buffer.iter().all(|byte| *byte == 5));
    assert!(WriteTarget::to_read(folder.path()).unwrap().read(0, &mut buffer).is_err(), "a directory");
}

#[test]
fn a_ring_gives_back_what_it_cannot_write() {
    let folder = TempDir::new_in("/tmp").unwrap();
    let open = |name: &str| File::create(folder.path().join(name)).unwrap();
    let arena = Arena::new(4096, 3).unwrap();
    let mut ring = Uring::over(vec![open("a"), open("b")], &arena, 2).unwrap();
    let take = |fill: u8| {
        let mut buffer = arena.take().unwrap();
        buffer.fill(fill);
        buffer
    };
    assert_eq!(ring.write(2, take(1), 0, 4096, 1).unwrap_err().len(), 4096, "there is no such file");
    ring.write(0, take(1), 0, 4096, 1).unwrap();
    ring.write(1, take(2), 4096, 4096, 2).unwrap();
    assert_eq!(ring.write(1, take(3), 0, 4096, 3).unwrap_err().len(), 4096, "it is full");
    // When it is dropped with writes in flight, it waits for them.
    drop(ring);
    assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), [1; 4096]);
    assert_eq!(std::fs::read(folder.path().join("b")).unwrap()[4096..], [2; 4096]);
}
