//! Reading data files: every way to read gives the same bytes, a node that moves on is followed,
//! and what cannot be read is reported.

mod idle;
mod replaced;
pub(crate) mod tables;
mod walk;

use crate::disk::file::ReadOptions;
use crate::tb_format::layout::{GRID_OFFSET, reply_offset};
use crate::tb_format::sample::SampleFile;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// All combinations of read options.
pub(crate) fn all_options() -> [ReadOptions; 4] {
    [(true, true), (true, false), (false, true), (false, false)].map(|(direct, uring)| ReadOptions {
        direct,
        uring,
        ..ReadOptions::quick()
    })
}

/// A data file on the disk, or in memory.
pub(crate) struct DataFile {
    folder: TempDir,
}

impl DataFile {
    pub(crate) fn new(sample: &SampleFile, folder: &str) -> DataFile {
        let folder = if std::path::Path::new(folder).is_dir() { folder } else { "/tmp" };
        let data_file = DataFile { folder: tempfile::tempdir_in(folder).unwrap() };
        File::create(data_file.path()).unwrap().set_len(sample.checkpoint().storage_size()).unwrap();
        data_file.lay_out(sample);
        data_file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        OpenOptions::new().write(true).open(self.path()).unwrap().write_all_at(bytes, offset).unwrap();
    }

    pub(crate) fn lay_out(&self, sample: &SampleFile) {
        for (offset, bytes) in sample.pieces() {
            assert!(offset < reply_offset(1) || offset >= GRID_OFFSET);
            self.write(offset, &bytes);
        }
    }
}
