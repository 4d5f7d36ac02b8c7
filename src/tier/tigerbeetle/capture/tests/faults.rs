//! Backups through a store that fails at every request in turn.

use super::Fixture;
use crate::disk::file::ReadOptions;
use crate::error::Kind;
use crate::progress::Silent;
use crate::repository::name::RECEIPTS;
use crate::repository::sample::{Fault, FaultyStore, open};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::{SampleFile, headers_of};
use crate::tier::depth::Depth;
use crate::tier::sample::{LOG_OPS, next_checkpoint, write_data_file};
use crate::tier::tigerbeetle::capture;
use crate::verify::verify;
use std::sync::Arc;

/// What may be wrong with a repository after a failed run: nothing, or a missing receipt where the
/// run failed in its last moment.
fn assert_nothing_is_lost(store: &MemoryStore, whole_before: u64, what: &str) {
    let repository = open(Arc::new(store.clone())).unwrap();
    let report = verify(&repository, Depth::Full, &Silent).unwrap();
    let only_receipts =
        report.problems.iter().all(|problem| problem.object.starts_with(RECEIPTS) && problem.what.contains("receipt is missing"));
    assert!(only_receipts && report.problems.len() <= 1, "{what}: {:?}", report.problems);
    assert!(report.notes.iter().all(|note| note.contains("belong to no backup")), "{what}: {:?}", report.notes);
    assert!(report.backups_intact() == report.backups() && report.backups() >= whole_before, "{what}");
}

/// Every request of a backup fails once, both for the first backup of a repository and for one that
/// builds on another.
fn every_request_fails_once(fault: Fault, first: Option<&SampleFile>, sample: &SampleFile) {
    let fixture = Fixture::new();
    if let Some(first) = first {
        fixture.backup(first);
    }
    write_data_file(sample, &fixture.path()).unwrap();
    let last_op = headers_of(&sample.log).last().unwrap().op();
    let mut call = 0;
    loop {
        call += 1;
        let store = MemoryStore::new();
        for name in fixture.store.names() {
            store.replace(&name, fixture.store.bytes(&name).unwrap());
        }
        let faulty = FaultyStore::new(&store);
        let failing = open(Arc::new(faulty.clone()) as Arc<dyn Store>).unwrap();
        faulty.fail(call, fault);
        let outcome = capture::backup(&failing, &fixture.path(), ReadOptions::quick(), &Silent);
        let what = format!("{fault:?} at call {call} of {}", faulty.calls());
        if faulty.calls() < call {
            outcome.unwrap();
            break;
        }
        if let Err(error) = outcome {
            assert_eq!(error.kind, Kind::TryAgain, "{what}: {error}");
        }
        assert_nothing_is_lost(&store, u64::from(first.is_some()), &what);
        let repository = open(Arc::new(store.clone())).unwrap();
        capture::backup(&repository, &fixture.path(), ReadOptions::quick(), &Silent).unwrap();
        assert_eq!(verify(&repository, Depth::Full, &Silent).unwrap().problems, [], "{what}: the next backup repairs it");
        assert_eq!(repository.newest_checkpoint().unwrap().best.unwrap().1.recovered_to_op, last_op);
    }
    assert!(call > 10, "{call} requests cannot be all of a backup");
}

#[test]
fn the_first_backup_fails_cleanly_when_a_request_is_refused() {
    every_request_fails_once(Fault::Refused, None, &SampleFile::new(7, LOG_OPS));
}

#[test]
fn the_first_backup_fails_cleanly_when_an_answer_is_lost() {
    every_request_fails_once(Fault::AnswerLost, None, &SampleFile::new(7, LOG_OPS));
}

#[test]
fn the_first_backup_fails_cleanly_when_the_store_goes_away() {
    every_request_fails_once(Fault::Gone, None, &SampleFile::new(7, LOG_OPS));
}

#[test]
fn a_later_backup_fails_cleanly_whatever_happens() {
    let first = SampleFile::new(7, 962);
    let second = next_checkpoint(&first, LOG_OPS).unwrap();
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Gone] {
        every_request_fails_once(fault, Some(&first), &second);
    }
}
