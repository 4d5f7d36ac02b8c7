use super::{ReadOptions, Reader};
use crate::disk::arena::Arena;
use crate::disk::read_error::SourceError;
use crate::disk::uring::Uring;
use crate::error::{Error, Kind};
use crate::replica::tests::{DataFile, all_options};
use crate::tb_format::layout::GRID_OFFSET;
use crate::tb_format::sample::SampleFile;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

const BLOCK: usize = 512 * 1024;

#[test]
fn many_reads_in_flight_arrive_whole_whichever_way_they_go() {
    let sample = SampleFile::new(7, 0);
    for folder in ["/tmp", "/dev/shm"] {
        let data_file = DataFile::new(&sample, folder);
        for options in all_options() {
            let mut reader = Reader::open(&data_file.path(), BLOCK, 4, options).unwrap();
            assert!((0..4).all(|number| reader.begin(GRID_OFFSET + number * BLOCK as u64, BLOCK, number)));
            assert!(!reader.begin(GRID_OFFSET, BLOCK, 9), "all buffers are out");
            assert_eq!(reader.in_flight(), 4);
            let mut arrived = BTreeMap::new();
            while let Some(read) = reader.next_read().unwrap() {
                assert_eq!(read.length, BLOCK);
                arrived.insert(read.token, read);
            }
            for (number, (reference, bytes)) in (0..4).zip(&sample.blocks) {
                assert_eq!(reference.address, number + 1);
                assert_eq!(&arrived[&number].buffer[..bytes.len()], &bytes[..], "{options:?} in {folder}");
            }
            assert_eq!((reader.in_flight(), reader.bytes_read()), (0, 4 * BLOCK as u64));
            drop(arrived);
            assert!(reader.begin_waiting(0, BLOCK, 1));
            reader.drain().unwrap();
            assert!(reader.next_read().unwrap().is_none());
        }
    }
}

#[test]
fn a_read_beyond_the_end_is_short() {
    let data_file = DataFile::new(&SampleFile::new(7, 0), "/tmp");
    let length = std::fs::metadata(data_file.path()).unwrap().len();
    for options in all_options() {
        let mut reader = Reader::open(&data_file.path(), BLOCK, 1, options).unwrap();
        assert_eq!(reader.file_bytes().unwrap(), length);
        assert_eq!(reader.read_now(length - 8192, BLOCK).unwrap().length, 8192, "{options:?}");
        assert_eq!(reader.read_now(length, BLOCK).unwrap().length, 0, "{options:?}");
        assert_eq!(reader.read_now(length + (1 << 30), 4096).unwrap().length, 0, "{options:?}");
        assert_eq!(reader.read_now(0, usize::MAX).unwrap().length, BLOCK, "never more than the buffer");
    }
}

#[test]
fn a_place_that_no_file_has_is_an_error_and_no_panic() {
    let data_file = DataFile::new(&SampleFile::new(7, 0), "/tmp");
    for options in all_options() {
        let mut reader = Reader::open(&data_file.path(), 4096, 1, options).unwrap();
        match reader.read_now(u64::MAX - u64::MAX % 4096, 4096) {
            Ok(read) => assert_eq!(read.length, 0),
            Err(error) => assert!(matches!(error, SourceError::Io { .. })),
        }
        assert_eq!(reader.read_now(0, 4096).unwrap().length, 4096, "it goes on");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Reader::open(path, 4096, 1, ReadOptions::default()).unwrap_err();
    assert!(matches!(open(folder.path()), SourceError::NotADataFile { reason, .. } if reason.contains("a directory")));
    assert!(
        matches!(open(Path::new("/dev/null")), SourceError::NotADataFile { reason, .. } if reason.contains("neither a file nor a block device"))
    );
    assert!(matches!(open(&folder.path().join("none")), SourceError::Io { .. }));
    let path = folder.path().join("some");
    File::create(&path).unwrap();
    let error = Reader::open(&path, 1000, 1, ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("1 buffers of 1000 bytes are no arena"), "{error}");
}

#[test]
fn where_direct_reads_are_refused_it_says_so() {
    // O_DIRECT does not work for the files of /proc.
    let reader = Reader::open(Path::new("/proc/self/status"), 4096, 1, ReadOptions::default()).unwrap();
    assert!(reader.notes()[0].contains("refuses O_DIRECT"), "{:?}", reader.notes());
    assert_eq!(reader.path(), Path::new("/proc/self/status"));
    let reader =
        Reader::open(Path::new("/proc/self/status"), 4096, 1, ReadOptions { direct: false, uring: false, ..ReadOptions::default() })
            .unwrap();
    assert_eq!(reader.notes(), [""; 0]);
}

#[test]
fn a_ring_gives_back_what_it_cannot_take() {
    let data_file = DataFile::new(&SampleFile::new(7, 0), "/tmp");
    let (file, arena) = (File::open(data_file.path()).unwrap(), Arena::new(4096, 3).unwrap());
    let mut ring = Uring::new(&file, &arena, 2).unwrap();
    assert!(ring.completed(true).unwrap().is_none(), "nothing to wait for");
    ring.read(arena.take().unwrap(), 0, 4096, 1).unwrap();
    ring.read(arena.take().unwrap(), 4096, 4096, 2).unwrap();
    assert_eq!(ring.in_flight(), 2);
    let third = ring.read(arena.take().unwrap(), 0, 4096, 3).unwrap_err();
    assert_eq!(third.len(), 4096);
    assert!(format!("{ring:?}").contains("2 in flight"));
    assert_eq!(ring.registered(), ring.registered());
    // When it is dropped with reads in flight it waits for them, and their buffers come back.
    drop(third);
    drop(ring);
    assert!((0..3).map(|_| arena.take()).collect::<Vec<_>>().iter().all(Option::is_some));
}

#[test]
fn errors_are_sorted_by_what_the_reader_does_next() {
    let io = |error: std::io::Error| Error::from(SourceError::io(Path::new("data"), "read", error));
    for (error, kind) in [
        (std::io::Error::from(ErrorKind::NotFound), Kind::Input),
        (std::io::Error::from(ErrorKind::PermissionDenied), Kind::Input),
        (std::io::Error::from_raw_os_error(5), Kind::Damaged),
        (std::io::Error::from_raw_os_error(12), Kind::TryAgain),
    ] {
        let error = io(error);
        assert!(error.kind == kind && error.message.starts_with("data: read: "), "{error}");
    }
    let inner = Error::bug("ours");
    assert_eq!(Error::from(SourceError::Sink(inner.clone())), inner);
    let path = || Path::new("data").to_owned();
    assert_eq!(Error::from(SourceError::NotNow { path: path(), reason: String::new() }).kind, Kind::TryAgain);
    assert_eq!(Error::from(SourceError::NotADataFile { path: path(), reason: String::new() }).kind, Kind::Input);
    let damaged = SourceError::Damaged { path: path(), offset: 9, what: "block".into(), reason: "torn".into() };
    assert_eq!(Error::from(damaged), Error::damaged("data: offset 9: block: torn"));
}
