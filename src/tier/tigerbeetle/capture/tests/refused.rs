//! Files that cannot be backed up: which error is returned, and that nothing is promised.

use super::{Fixture, push};
use crate::cancellation::Cancellation;
use crate::disk::file::ReadOptions;
use crate::error::{Error, Kind};
use crate::progress::{Progress, Silent};
use crate::repository::name::{CHECKPOINTS, RECEIPTS};
use crate::tb_format::image::superblock_zone;
use crate::tb_format::layout::{BLOCK_BYTES, GRID_OFFSET, WAL_HEADERS_OFFSET, prepare_offset, slot_of};
use crate::tb_format::sample::{SampleFile, headers_of};
use crate::tb_format::superblock::SuperBlock;
use crate::tier::sample::{edited, next_checkpoint, write_data_file};
use crate::tier::tigerbeetle::capture;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

impl Fixture {
    /// Writes a file, damages it, and backs it up, which must fail.
    fn refused(&self, sample: &SampleFile, spoil: impl FnOnce(&Path)) -> Error {
        write_data_file(sample, &self.path()).unwrap();
        spoil(&self.path());
        let error = capture::backup(&self.repository, &self.path(), ReadOptions::quick(), &Silent).unwrap_err();
        assert_eq!([CHECKPOINTS, RECEIPTS].map(|prefix| self.names(prefix).len()), [0, 0]);
        error
    }
}

#[track_caller]
fn assert_error(error: &Error, kind: Kind, says: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(says.iter().all(|part| error.message.contains(part)), "{error}");
}

#[test]
fn three_damaged_superblock_copies_are_damage() {
    let error =
        Fixture::new().refused(&SampleFile::new(7, 3), |path| (0..3).for_each(|copy| overwrite(path, copy * 24 * 1024 + 100, &[0xff])));
    assert_error(&error, Kind::Damaged, &["superblock", "1 of 4", "another replica"]);
}

#[test]
fn what_is_no_data_file_is_an_input_error() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, 3));
    let four = fixture.refused(&sample, |path| (0..4).for_each(|copy| overwrite(path, copy * 24 * 1024 + 100, &[0xff])));
    assert_error(&four, Kind::Input, &["no superblock copy is valid", "tigerbeetle start"]);
    let short = fixture.refused(&sample, |path| std::fs::write(path, b"SQLite format 3").unwrap());
    assert_error(&short, Kind::Input, &["bytes are needed but only 15"]);
    let empty = fixture.refused(&sample, |path| std::fs::write(path, b"").unwrap());
    assert_error(&empty, Kind::Input, &["tigerbeetle start"]);
    let other = fixture.refused(&sample, |path| std::fs::write(path, vec![7; 200_000]).unwrap());
    assert_error(&other, Kind::Input, &["no superblock copy is valid"]);
    let folder = fixture.refused(&sample, |path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    });
    assert_error(&folder, Kind::Input, &["it is a directory"]);
    std::fs::remove_dir(fixture.path()).unwrap();
    let missing = fixture.refused(&sample, |path| std::fs::remove_file(path).unwrap());
    assert_error(&missing, Kind::Input, &["No such file"]);
}

#[test]
fn a_newer_format_is_an_input_error() {
    let newer = edited(&SampleFile::new(7, 3), |bytes| bytes[34] = 3);
    let error = Fixture::new().refused(&SampleFile::new(7, 3), |path| {
        for copy in 0..4_u8 {
            overwrite(path, u64::from(copy) * 24 * 1024, &newer.superblock);
            overwrite(path, u64::from(copy) * 24 * 1024 + 32, &[copy]);
        }
    });
    assert_error(&error, Kind::Input, &["superblock version 3 is not supported"]);
}

#[test]
fn a_file_that_was_cut_is_damaged() {
    let cut = |length: u64| move |path: &Path| OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
    let error = Fixture::new().refused(&SampleFile::new(7, 3), cut(GRID_OFFSET + 3 * BLOCK_BYTES as u64));
    assert_error(&error, Kind::Damaged, &["end of the file", "it was cut"]);
    let error = Fixture::new().refused(&SampleFile::new(7, 3), cut(1 << 20));
    assert_error(&error, Kind::Damaged, &["it was cut"]);
}

#[test]
fn every_kind_of_damaged_block_is_named() {
    for (address, what) in [
        (1, "manifest log block"),
        (2, "manifest log block"),
        (3, "value block of tree 7"),
        (4, "index block of tree 7"),
        (5, "value block of tree 18"),
        (6, "index block of tree 18"),
        (7, "client sessions block"),
        (8, "free set block"),
    ] {
        let offset = GRID_OFFSET + (address - 1) * BLOCK_BYTES as u64;
        for within in [0, 300] {
            let error = Fixture::new().refused(&SampleFile::new(7, 3), |path| overwrite(path, offset + within, &[0x5a]));
            let place =
                [&format!("offset {offset}: {what} at address {address}"), "replica 0, checkpoint op 959", "Back up another replica"];
            assert_error(&error, Kind::Damaged, &place.map(|part| part as &str));
        }
    }
}

#[test]
fn a_replica_that_is_fetching_its_state_is_not_captured() {
    let syncing = edited(&SampleFile::new(7, 3), |bytes| bytes[1344..1352].copy_from_slice(&961_u64.to_le_bytes()));
    assert_error(&Fixture::new().refused(&syncing, |_| {}), Kind::TryAgain, &["sync up to op 961"]);
}

#[test]
fn a_log_that_does_not_reach_what_is_committed_is_not_captured() {
    let committed = edited(&SampleFile::new(7, 3), |bytes| bytes[1328..1336].copy_from_slice(&963_u64.to_le_bytes()));
    let error = Fixture::new().refused(&committed, |_| {});
    assert_error(&error, Kind::TryAgain, &["op 963 is committed, but the log ends at op 962: op 963 is missing", "does not change"]);
}

#[test]
fn a_log_of_another_view_that_does_not_reach_what_is_committed_is_not_captured() {
    // Op 961 is in the ring, but of an older view than the superblock knows, which began with op
    // 960.
    let stale = super::in_view(&SampleFile::new(7, 2), 1, 960);
    let stale = edited(&stale, |bytes| bytes[1328..1336].copy_from_slice(&961_u64.to_le_bytes()));
    let error = Fixture::new().refused(&stale, |_| {});
    assert_error(&error, Kind::TryAgain, &["older than the replica's view", "does not change"]);
}

#[test]
fn a_log_right_behind_a_checkpoint_needs_the_one_before() {
    for sample in [SampleFile::new(7, 3), next_checkpoint(&SampleFile::new(7, 960), 3).unwrap()] {
        let headers = headers_of(&sample.earlier);
        for torn in [headers[0].op(), headers[0].op() + 5, headers[959.min(headers.len() - 1)].op() - 1] {
            let error = Fixture::new().refused(&sample, |path| {
                overwrite(path, WAL_HEADERS_OFFSET + (torn % 1024) * 256 + 20, &[0xff]);
                overwrite(path, prepare_offset(slot_of(torn)) + 20, &[0xff]);
            });
            assert_error(&error, Kind::TryAgain, &["so close behind the checkpoint that a server would not start"]);
        }
    }
}

/// Makes op 960 in the ring continue another op 959.
fn break_the_log(path: &Path) {
    let mut elsewhere = SampleFile::new(8, 0);
    push(&mut elsewhere, 0, 959, b"x");
    overwrite(path, WAL_HEADERS_OFFSET + 960 * 256, &elsewhere.log[0][..256]);
}

#[test]
fn a_log_that_does_not_continue_the_checkpoint_is_not_captured() {
    let error = Fixture::new().refused(&SampleFile::new(7, 3), break_the_log);
    assert_error(&error, Kind::TryAgain, &["op 960: it continues another history", "does not change"]);
}

/// Changes the superblock, but not the checkpoint, in every round.
struct Restless(PathBuf, AtomicU64);

impl Cancellation for Restless {}

impl Progress for Restless {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {
        let sequence = self.1.fetch_add(1, Ordering::SeqCst) + 2;
        let next = edited(&SampleFile::new(7, 3), |bytes| bytes[40..48].copy_from_slice(&sequence.to_le_bytes()));
        overwrite(&self.0, 0, &superblock_zone(&SuperBlock::check(&next.superblock).unwrap()));
    }
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
}

#[test]
fn a_log_that_is_lost_again_and_again_ends_the_backup() {
    let fixture = Fixture::new();
    write_data_file(&SampleFile::new(7, 3), &fixture.path()).unwrap();
    break_the_log(&fixture.path());
    let restless = Restless(fixture.path(), AtomicU64::new(0));
    let error = capture::backup(&fixture.repository, &fixture.path(), ReadOptions::quick(), &restless).unwrap_err();
    assert_error(&error, Kind::TryAgain, &["moves on faster than a checkpoint can be copied", "op 960"]);
    assert_eq!(restless.1.into_inner(), 51);
}
