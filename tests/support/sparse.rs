//! Files of a gigabyte of which only a few megabytes are not zero. Only those are copied and
//! compared.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const CHUNK_BYTES: usize = 1 << 20;

/// The ranges of a file that are not holes.
fn data(file: &File) -> Vec<(u64, u64)> {
    let (mut ranges, mut offset) = (Vec::new(), 0);
    loop {
        let begin = match seek(file, SeekFrom::Data(offset)) {
            Ok(begin) => begin,
            // No more data.
            Err(Errno::NXIO) => return ranges,
            Err(error) => panic!("data behind {offset}: {error}"),
        };
        offset = seek(file, SeekFrom::Hole(begin)).unwrap();
        ranges.push((begin, offset));
    }
}

/// Calls `take` with each chunk of a file that is no hole.
fn chunks(file: &File, mut take: impl FnMut(u64, &[u8])) {
    let mut chunk = vec![0; CHUNK_BYTES];
    for (begin, end) in data(file) {
        let mut offset = begin;
        while offset < end {
            let length = CHUNK_BYTES.min((end - offset) as usize);
            file.read_exact_at(&mut chunk[..length], offset).unwrap();
            take(offset, &chunk[..length]);
            offset += length as u64;
        }
    }
}

/// Copies a file; zeros become holes.
pub fn copy(from: &Path, to: &Path) {
    let (from, to) = (File::open(from).unwrap(), File::create(to).unwrap());
    to.set_len(from.metadata().unwrap().len()).unwrap();
    // Compared as a whole, which is a call into the C library; byte by byte it takes seconds for a
    // gigabyte in code that is hardly optimised.
    let zeros = vec![0; CHUNK_BYTES];
    chunks(&from, |offset, bytes| {
        if *bytes != zeros[..bytes.len()] {
            to.write_all_at(bytes, offset).unwrap();
        }
    });
}

/// Asserts that two files have the same length and the same bytes.
pub fn assert_same(left: &Path, right: &Path) {
    let (a, b) = (File::open(left).unwrap(), File::open(right).unwrap());
    assert_eq!(a.metadata().unwrap().len(), b.metadata().unwrap().len(), "{} and {}", left.display(), right.display());
    let mut other = vec![0; CHUNK_BYTES];
    let mut compare = |of: &File, with: &File| {
        chunks(of, |offset, bytes| {
            with.read_exact_at(&mut other[..bytes.len()], offset).unwrap();
            assert!(other[..bytes.len()] == *bytes, "{} differs from {} in the MiB at {offset}", left.display(), right.display());
        });
    };
    compare(&a, &b);
    // What is a hole in one need not be in the other.
    compare(&b, &a);
}
