//! The thread that captures the log, step by step.

use super::*;
use crate::repository::sample::create;
use crate::store::memory::MemoryStore;
use crate::tb_format::layout::{prepare_offset, slot_of, wal_header_offset};
use crate::tb_format::sample::{SampleFile, headers_of, log_after};
use crate::tier::sample::{folder, write_data_file};
use crate::tier::tigerbeetle::capture::tests::complete;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

#[test]
fn what_was_given_away_is_kept_however_the_log_grows() {
    let (store, folder) = (MemoryStore::new(), tempfile::tempdir_in(folder()).unwrap());
    let (path, sample) = (folder.path().join("data"), SampleFile::new(7, 900));
    write_data_file(&sample, &path).unwrap();
    let options = ReadOptions::quick();
    let mut follower = Follower::new(create(&store).unwrap(), path.clone(), options, 1, RunId(1), StoredLog::default());
    let checkpoint = sample.checkpoint().header();
    follower.follow(checkpoint.op(), checkpoint.checksum()).unwrap();
    let given_away = complete(follower.finish(1859).unwrap()).segments;
    assert_eq!(given_away.len(), 1);
    let mut last = headers_of(&sample.log)[899];
    for _ in 0..=KEPT_PREPARES_MAX / 900 {
        let more = log_after(&last, 900);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for (prepare, header) in more.iter().zip(headers_of(&more)) {
            file.write_all_at(prepare, prepare_offset(slot_of(header.op()))).unwrap();
            file.write_all_at(header.bytes(), wal_header_offset(slot_of(header.op()))).unwrap();
        }
        last = headers_of(&more)[899];
        // Meanwhile a manifest may be written, which takes as long as the store needs.
        while follower.poll().unwrap() != Polled::Idle {}
    }
    assert!(store.bytes(&given_away[0].name.object()).is_some(), "a manifest promises it");
}
