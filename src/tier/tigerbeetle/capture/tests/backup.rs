use super::{Fixture, push};
use crate::cancellation::Cancellation;
use crate::disk::file::ReadOptions;
use crate::progress::{Progress, Silent};
use crate::repository::name::{CHECKPOINTS, PACKS, RECEIPTS, SEGMENTS};
use crate::store::memory::MemoryStore;
use crate::tb_format::layout;
use crate::tb_format::sample::{Roots, SampleFile, headers_of, root_header, sample_timestamp, superblock_bytes};
use crate::tier::depth::Depth;
use crate::tier::sample::{LOG_OPS, as_replica, edited, next_checkpoint, write_data_file};
use crate::tier::tigerbeetle::capture;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::verify::{record_damage, verify};
use std::sync::Mutex;

#[test]
fn a_first_backup_stores_everything_and_says_so() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    let backup = fixture.backup(&sample);
    let (summary, end) = (&backup.summary, headers_of(&sample.log)[LOG_OPS as usize - 1]);
    assert_eq!((summary.blocks, summary.blocks_stored, summary.blocks_reused, summary.rounds), (8, 8, 0, 1));
    assert_eq!(
        (summary.checkpoint_op, summary.first_restorable_op, summary.recovered_to_op, summary.commit_known_op),
        (959, 1000, 1011, 1010)
    );
    assert_eq!((summary.checkpoint_timestamp_ns, summary.recovered_to_timestamp_ns), (sample_timestamp(959), sample_timestamp(1011)));
    assert_eq!(
        (&summary.recovered_to_checksum, &summary.checkpoint_id),
        (&end.checksum().to_string(), &sample.checkpoint().checkpoint_id().to_string())
    );
    assert_eq!((summary.replica, summary.replica_count, summary.release.as_str()), (0, 3, "0.16.78"));
    assert_eq!((summary.cluster.as_str(), summary.timeline), ("00000000000000000000000000000007", 1));
    assert_eq!(summary.data_file_bytes, sample.checkpoint().storage_size());
    let stored: usize =
        [PACKS, SEGMENTS].iter().flat_map(|prefix| fixture.names(prefix)).map(|name| fixture.store.bytes(&name).unwrap().len()).sum();
    assert_eq!(summary.bytes_stored, stored as u64);
    assert_eq!(backup.manifest_bytes, fixture.store.bytes(&backup.name.object()).unwrap().len() as u64);
    assert!(summary.began_ns <= summary.ended_ns && summary.bytes_read > 8 * 512 * 1024);
    fixture.assert_restores(&sample);
}

#[test]
fn a_second_backup_of_the_same_state_stores_nothing_but_its_manifest() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    fixture.backup(&sample);
    let before = fixture.store.names().len();
    let second = fixture.backup(&sample);
    assert_eq!((second.summary.blocks_stored, second.summary.blocks_reused, second.summary.bytes_stored), (0, 8, 0));
    assert_eq!(fixture.store.names().len(), before + 2);
    assert_eq!([PACKS, SEGMENTS, CHECKPOINTS, RECEIPTS].map(|prefix| fixture.names(prefix).len()), [1, 1, 2, 2]);
    fixture.assert_restores(&sample);
}

#[test]
fn another_replica_stores_no_block_twice() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    fixture.backup(&sample);
    let other = as_replica(&SampleFile::new(7, LOG_OPS + 3), 2).unwrap();
    let second = fixture.backup(&other);
    assert_eq!((second.summary.replica, second.summary.blocks_stored, second.summary.recovered_to_op), (2, 0, 1014));
    assert_eq!(fixture.names(PACKS).len(), 1);
    let segments = fixture.names(SEGMENTS);
    assert_eq!(segments.len(), 2);
    assert!(segments[1].contains("00000000000000001012-00000000000000001014"), "only the new ops: {segments:?}");
    fixture.assert_restores(&other);
}

#[test]
fn the_next_checkpoint_stores_what_changed() {
    let fixture = Fixture::new();
    let first = SampleFile::new(7, 962);
    fixture.backup(&first);
    let second = fixture.backup(&next_checkpoint(&first, LOG_OPS).unwrap());
    assert_eq!((second.summary.blocks, second.summary.blocks_stored, second.summary.blocks_reused), (11, 3, 8));
    assert_eq!((second.summary.checkpoint_op, second.summary.recovered_to_op), (1919, 1971));
    assert!(
        fixture.names(SEGMENTS).last().unwrap().contains("00000000000000001922-00000000000000001971"),
        "the first backup holds 1920 and 1921"
    );
    fixture.assert_restores(&next_checkpoint(&first, LOG_OPS).unwrap());
}

#[test]
fn a_replica_that_lags_is_restored_to_its_own_end() {
    let (fixture, lagging) = (Fixture::new(), as_replica(&SampleFile::new(7, LOG_OPS - 2), 1).unwrap());
    fixture.backup(&SampleFile::new(7, LOG_OPS));
    let second = fixture.backup(&lagging);
    assert_eq!((second.summary.recovered_to_op, second.summary.bytes_stored), (1009, 0));
    fixture.assert_restores(&SampleFile::new(7, LOG_OPS));
}

#[test]
fn a_log_larger_than_a_segment_is_cut() {
    let (fixture, mut sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    for op in 1012..=1030 {
        let noise: Vec<u8> = (0..1_000_000_u64).map(|at| (at.wrapping_mul(op * 2_654_435_761) >> 24) as u8).collect();
        push(&mut sample, 0, op - 1, &noise);
    }
    let backup = fixture.backup(&sample);
    assert_eq!(backup.summary.recovered_to_op, 1030);
    assert_eq!(fixture.names(SEGMENTS).len(), 2, "17 prepares fill one, two are left");
    fixture.assert_restores(&sample);
}

#[test]
fn a_log_that_goes_beyond_the_ring_is_capped_and_continued() {
    let fixture = Fixture::new();
    let beyond = SampleFile::new(7, 1011);
    let first = fixture.backup(&beyond);
    assert_eq!((first.summary.recovered_to_op, first.summary.rounds), (1967, 6), "five more rounds in the hope of a newer checkpoint");
    fixture.assert_restores(&SampleFile::new(7, 1008));
    let next = next_checkpoint(&beyond, 60).unwrap();
    assert_eq!(fixture.backup(&next).summary.recovered_to_op, 1979);
    fixture.assert_restores(&next);
}

#[test]
fn however_the_file_is_read_the_backup_is_the_same() {
    let sample = SampleFile::new(7, LOG_OPS);
    let disk = tempfile::tempdir_in("/tmp").unwrap();
    write_data_file(&sample, &disk.path().join("data")).unwrap();
    for direct in [true, false] {
        for uring in [true, false] {
            let fixture = Fixture::new();
            let backup = capture::backup(
                &fixture.repository,
                &disk.path().join("data"),
                ReadOptions { direct, uring, ..ReadOptions::quick() },
                &Silent,
            )
            .unwrap();
            assert_eq!(backup.summary.blocks_stored, 8);
            fixture.assert_restores(&sample);
        }
    }
}

#[test]
fn a_backup_right_behind_a_checkpoint_stores_the_log_before_it_once() {
    for sample in [SampleFile::new(7, 3), next_checkpoint(&SampleFile::new(7, 960), 0).unwrap()] {
        let fixture = Fixture::new();
        let first = fixture.backup(&sample);
        let (begin, checkpoint) = (headers_of(&sample.earlier)[0].op(), sample.checkpoint().header().op());
        assert_eq!((first.summary.log_first_op, first.summary.first_restorable_op), (begin, checkpoint));
        fixture.assert_newest(&told_to_be_committed(&sample));
        let names = fixture.store.names().len();
        let second = fixture.backup(&sample);
        assert_eq!((second.summary.bytes_stored, second.summary.log_first_op, fixture.store.names().len()), (0, begin, names + 2));
        fixture.assert_restores(&told_to_be_committed(&sample));
        // It is stored again if a part of it is gone.
        fixture.store.remove(&fixture.names(SEGMENTS)[0]);
        let third = fixture.backup(&sample);
        assert!(third.summary.bytes_stored > 0 && third.summary.log_first_op == begin);
        fixture.assert_newest(&told_to_be_committed(&sample));
    }
}

#[test]
fn segments_are_not_listed_twice_however_often_a_resting_node_is_backed_up() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, 12));
    // The same ledger before its first checkpoint. Its one segment continues beyond that
    // checkpoint.
    let before = SampleFile {
        superblock: superblock_bytes(&root_header(7), &Roots::default(), 3),
        blocks: Vec::new(),
        earlier: Vec::new(),
        log: [&sample.earlier[..], &sample.log].concat(),
        reply: Vec::new(),
    };
    fixture.backup(&before);
    let segments = |backup: &capture::Backup| Manifest::read(&fixture.repository, &backup.name, None).unwrap().segments;
    let second = segments(&fixture.backup(&sample));
    assert_eq!(second.len(), 2, "the log before the checkpoint, and that which was held");
    for _ in 0..2 {
        assert_eq!(segments(&fixture.backup(&sample)), second);
    }
    fixture.assert_restores(&told_to_be_committed(&sample));
}

#[test]
fn the_log_before_a_checkpoint_is_not_needed_once_the_log_behind_it_is_long_enough() {
    let fixture = Fixture::new();
    fixture.backup(&SampleFile::new(7, 3));
    let grown = fixture.backup(&SampleFile::new(7, LOG_OPS));
    assert_eq!((grown.summary.log_first_op, grown.summary.first_restorable_op), (960, 1000));
    fixture.assert_restores(&SampleFile::new(7, LOG_OPS));
}

/// Right after a checkpoint, a restored superblock says that all of the log is committed.
fn told_to_be_committed(sample: &SampleFile) -> SampleFile {
    let newest: Vec<_> = headers_of(&sample.log).into_iter().rev().take(9).collect();
    let newest = if newest.is_empty() { vec![sample.checkpoint().header()] } else { newest };
    edited(sample, |bytes| {
        bytes[1328..1336].copy_from_slice(&newest[0].op().to_le_bytes());
        bytes[2152..2156].copy_from_slice(&(newest.len() as u32).to_le_bytes());
        for (slot, header) in newest.iter().enumerate() {
            bytes[4096 + slot * 256..][..256].copy_from_slice(header.bytes());
        }
    })
}

/// A byte of block 3.
const REWRITTEN: u64 = layout::GRID_OFFSET + 2 * 512 * 1024 + 300;

/// Writes the next checkpoint when the second round begins, with one block that is still being
/// rewritten, and completes it when the third round begins.
struct NodeMovesOn<'a> {
    rounds: Mutex<u32>,
    path: std::path::PathBuf,
    next: &'a SampleFile,
}

impl Cancellation for NodeMovesOn<'_> {}

impl Progress for NodeMovesOn<'_> {
    fn begin(&self, step: &str, _total_bytes: Option<u64>) {
        let mut rounds = self.rounds.lock().unwrap();
        *rounds += u32::from(step.starts_with("checkpoint"));
        if *rounds >= 2 {
            write_data_file(self.next, &self.path).unwrap();
        }
        if *rounds == 2 {
            super::refused::overwrite(&self.path, REWRITTEN, &[0xff]);
        }
    }
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
}

#[test]
fn a_node_that_moves_on_is_followed_to_its_next_checkpoint() {
    let (fixture, first) = (Fixture::new(), SampleFile::new(7, 970));
    let next = next_checkpoint(&first, LOG_OPS).unwrap();
    write_data_file(&first, &fixture.path()).unwrap();
    // The last table that is read is being rewritten, so the first round fails.
    super::refused::overwrite(&fixture.path(), REWRITTEN, &[0xff]);
    let progress = NodeMovesOn { rounds: Mutex::new(0), path: fixture.path(), next: &next };
    let backup = capture::backup(&fixture.repository, &fixture.path(), ReadOptions::quick(), &progress).unwrap();
    assert_eq!((backup.summary.checkpoint_op, backup.summary.blocks, backup.summary.blocks_reused), (1919, 11, 0));
    assert_eq!(backup.summary.rounds, 3);
    fixture.assert_restores(&next);
}

/// Collects the notes.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Cancellation for Notes {}

impl Progress for Notes {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
    fn end(&self) {}
}

#[test]
fn two_damaged_superblock_copies_are_a_note() {
    for damaged in [&[1][..], &[0, 3]] {
        let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
        write_data_file(&sample, &fixture.path()).unwrap();
        for copy in damaged {
            super::refused::overwrite(&fixture.path(), copy * 24 * 1024 + 100, &[0xff]);
        }
        let notes = Notes::default();
        let backup = capture::backup(&fixture.repository, &fixture.path(), ReadOptions::quick(), &notes).unwrap();
        let of_copies = |notes: &[String]| notes.iter().filter(|note| note.contains("is damaged or was being written")).count();
        assert_eq!((of_copies(&backup.notes), of_copies(&notes.0.lock().unwrap())), (damaged.len(), damaged.len()), "{:?}", backup.notes);
        fixture.assert_restores(&sample);
    }
}

#[test]
fn what_is_missing_of_the_base_is_stored_again() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    fixture.backup(&sample);
    for prefix in [PACKS, SEGMENTS] {
        let name = fixture.names(prefix).pop().unwrap();
        let whole = fixture.store.bytes(&name).unwrap();
        for cut in [None, Some(whole.slice(..whole.len() - 1))] {
            fixture.store.remove(&name);
            if let Some(cut) = cut {
                fixture.store.replace(&name, cut);
            }
            let again = fixture.backup(&sample);
            assert!(again.summary.bytes_stored > 0);
            assert_eq!(again.notes.iter().any(|note| note.contains(&name)), prefix == PACKS, "{:?}", again.notes);
            fixture.assert_newest(&sample);
            fixture.store.remove(&again.name.object());
            fixture.store.remove(&again.name.receipt());
        }
        fixture.store.replace(&name, whole);
    }
}

#[test]
fn what_was_found_damaged_is_stored_again() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    fixture.backup(&sample);
    let pack = fixture.names(PACKS).pop().unwrap();
    fixture.store.corrupt(&pack, fixture.store.bytes(&pack).unwrap().len() / 2, 1);
    // Its size is right, so only a verification notices.
    let unnoticed = fixture.backup(&sample);
    assert_eq!(unnoticed.summary.blocks_stored, 0);
    let mut found = verify(&fixture.repository, Depth::Digests, &Silent).unwrap();
    record_damage(&fixture.repository, &mut found);
    assert!(found.problems.iter().any(|problem| problem.object == pack) && found.notes.is_empty(), "{found:?}");
    let again = fixture.backup(&sample);
    assert!(again.summary.blocks_stored > 0 && again.notes.iter().any(|note| note.contains(&pack)), "{:?}", again.notes);
    fixture.assert_newest(&sample);
    assert_eq!(fixture.backup(&sample).summary.blocks_stored, 0, "what was stored again is built on");
}

#[test]
fn a_held_log_that_does_not_open_is_stored_anew() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    fixture.backup(&sample);
    let name = fixture.names(SEGMENTS).pop().unwrap();
    // In the index, which the next backup reads.
    fixture.store.corrupt(&name, fixture.store.bytes(&name).unwrap().len() - 40, 1);
    let again = fixture.backup(&sample);
    assert_eq!(fixture.names(SEGMENTS).len(), 2);
    assert_eq!((again.summary.blocks_stored, again.summary.recovered_to_op), (0, 1011));
    fixture.assert_newest(&sample);
}

#[test]
fn a_damaged_backup_is_not_built_on_and_keeps_none_from_being_made() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    let first = fixture.backup(&sample);
    for receipt_too in [false, true] {
        fixture.store.corrupt(&first.name.object(), 100, 1);
        let receipt = fixture.store.bytes(&first.name.receipt()).unwrap();
        if receipt_too {
            fixture.store.remove(&first.name.receipt());
        }
        let second = fixture.backup(&sample);
        assert_eq!(second.summary.blocks_stored, 8);
        assert!(second.notes.iter().any(|note| note.contains(&first.name.object())), "{:?}", second.notes);
        fixture.store.remove(&second.name.object());
        fixture.store.remove(&second.name.receipt());
        fixture.store.corrupt(&first.name.object(), 100, 1);
        fixture.store.replace(&first.name.receipt(), receipt);
    }
    // Damage in a part that only a full read of the manifest shows.
    let third = fixture.backup(&sample);
    assert_eq!(third.summary.blocks_stored, 0);
}

#[test]
fn a_missing_receipt_is_made_up_for() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    let first = fixture.backup(&sample);
    let receipt = fixture.repository.receipt(&first.name).unwrap();
    fixture.store.remove(&first.name.receipt());
    fixture.backup(&sample);
    assert_eq!(fixture.repository.receipt(&first.name).unwrap(), receipt);
    fixture.assert_restores(&sample);
}

#[test]
fn a_capture_that_fails_in_the_middle_leaves_no_promise() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
    write_data_file(&sample, &fixture.path()).unwrap();
    super::refused::overwrite(&fixture.path(), layout::GRID_OFFSET + 4 * 512 * 1024 + 300, &[0xff]);
    capture::backup(&fixture.repository, &fixture.path(), ReadOptions::quick(), &Silent).unwrap_err();
    assert_eq!([CHECKPOINTS, RECEIPTS].map(|prefix| fixture.names(prefix).len()), [0, 0]);
    let _: &MemoryStore = &fixture.store;
    fixture.backup(&sample);
    fixture.assert_restores(&sample);
}
