//! The log that is captured during the walk.

use super::{Fixture, complete, push};
use crate::disk::file::ReadOptions;
use crate::error::Kind;
use crate::progress::Silent;
use crate::replica::checkpoint::CheckpointSink;
use crate::replica::extent::BlockSink;
use crate::repository::name::{PACKS, RunId, SEGMENTS};
use crate::tb_format::grid::BlockKind;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::{prepare_offset, slot_of, wal_header_offset};
use crate::tb_format::sample::{SampleFile, block, headers_of, log_after};
use crate::tb_format::superblock::SuperBlock;
use crate::tier::sample::write_data_file;
use crate::tier::tigerbeetle::capture::block_sink::PackSink;
use crate::tier::tigerbeetle::capture::log_capture::CapturedLog;
use crate::tier::tigerbeetle::capture::log_capture::LogCapture;
use crate::tier::tigerbeetle::capture::stored_log::StoredLog;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

impl Fixture {
    fn capture(&self, sample: &SampleFile) -> LogCapture {
        write_data_file(sample, &self.path()).unwrap();
        LogCapture::start(&self.repository, &self.path(), ReadOptions::quick(), 1, RunId(1), StoredLog::default()).unwrap()
    }
}

fn ops(headers: &[PrepareHeader]) -> Option<(u64, u64)> {
    Some((headers.first()?.op(), headers.last()?.op()))
}

#[test]
fn what_lies_before_the_followed_checkpoint_is_forgotten() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, 80));
    let headers = headers_of(&sample.log);
    let log = fixture.capture(&sample);
    let checkpoint = sample.checkpoint().header();
    log.follow(checkpoint.op(), checkpoint.checksum()).unwrap();
    let first = complete(log.finish(1039).unwrap());
    assert_eq!((ops(&first.headers), first.segments.len(), first.replies.len()), (Some((960, 1039)), 1, 1));
    assert_eq!(fixture.names(SEGMENTS).len(), 1);
    // Only a part of the segment is older, so it stays.
    log.follow(1000, headers[40].checksum()).unwrap();
    let second = complete(log.finish(1039).unwrap());
    assert_eq!((ops(&second.headers), &second.segments), (Some((1001, 1039)), &first.segments));
    // The same call again changes nothing.
    log.follow(1000, headers[40].checksum()).unwrap();
    assert_eq!(ops(&complete(log.finish(1039).unwrap()).headers), Some((1001, 1039)));
    // All of it is older, so it is deleted.
    log.follow(1039, headers[79].checksum()).unwrap();
    let third = complete(log.finish(1039).unwrap());
    assert_eq!((ops(&third.headers), third.segments.len(), fixture.names(SEGMENTS).len()), (None, 0, 0));
    // The checkpoint is not among the captured ones, so the log is read from the beginning.
    log.follow(checkpoint.op(), checkpoint.checksum()).unwrap();
    assert_eq!(ops(&complete(log.finish(1039).unwrap()).headers), Some((960, 1039)));
}

#[test]
fn more_log_than_is_kept_loses_its_beginning_but_never_what_was_given_away() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, 900));
    let log = fixture.capture(&sample);
    let checkpoint = sample.checkpoint().header();
    let (mut last, mut prepares) = (headers_of(&sample.log)[899], 900);
    loop {
        log.follow(checkpoint.op(), checkpoint.checksum()).unwrap();
        match log.finish(last.op()).unwrap() {
            CapturedLog::Complete(captured) => {
                assert_eq!(captured.headers.len(), prepares);
                let held = fixture.names(SEGMENTS);
                assert!(captured.segments.iter().all(|segment| held.contains(&segment.name.object())));
            }
            CapturedLog::Unusable(reason) => {
                assert!(prepares > 16_384 && reason.contains("more than 16384 prepares"), "{prepares}: {reason}");
                break;
            }
        }
        let more = log_after(&last, 900);
        let file = OpenOptions::new().write(true).open(fixture.path()).unwrap();
        for (prepare, header) in more.iter().zip(headers_of(&more)) {
            file.write_all_at(prepare, prepare_offset(slot_of(header.op()))).unwrap();
            file.write_all_at(header.bytes(), wal_header_offset(slot_of(header.op()))).unwrap();
        }
        (last, prepares) = (headers_of(&more)[899], prepares + 900);
    }
    // From a newer checkpoint on it is complete again.
    log.follow(last.op(), last.checksum()).unwrap();
    assert_eq!(complete(log.finish(last.op()).unwrap()).headers.len(), 0);
}

#[test]
fn a_segment_that_is_still_being_written_is_taken_back_too() {
    let (fixture, mut sample) = (Fixture::new(), SampleFile::new(7, 0));
    for op in 960..=980 {
        push(&mut sample, 0, op - 1, &vec![op as u8; 1_000_000]);
    }
    let log = fixture.capture(&sample);
    log.follow(959, sample.checkpoint().header().checksum()).unwrap();
    let began = Instant::now();
    while fixture.names(SEGMENTS).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "the full segment does not appear");
        std::thread::yield_now();
    }
    log.follow(980, headers_of(&sample.log)[20].checksum()).unwrap();
    assert_eq!(complete(log.finish(980).unwrap()).segments, []);
    assert_eq!(fixture.names(SEGMENTS), [""; 0]);
}

#[test]
fn a_log_that_nobody_follows_cannot_be_finished() {
    let fixture = Fixture::new();
    let log = fixture.capture(&SampleFile::new(7, 3));
    assert_eq!(log.finish(0).unwrap_err().kind, Kind::Bug);
}

#[test]
fn a_file_that_is_gone_is_told_at_the_finish() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, 3));
    let log = fixture.capture(&sample);
    std::fs::remove_file(fixture.path()).unwrap();
    log.follow(959, sample.checkpoint().header().checksum()).unwrap();
    assert_eq!(log.finish(960).unwrap_err().kind, Kind::Input);
}

#[test]
fn a_pack_of_a_round_that_came_to_nothing_is_taken_back() {
    let (fixture, sample) = (Fixture::new(), SampleFile::new(7, 3));
    let log = fixture.capture(&sample);
    let superblock = SuperBlock::check(&sample.superblock).unwrap();
    let mut sink = PackSink::new(&fixture.repository, RunId(1), &superblock, None, &log, &Silent);
    sink.begin_round(&superblock).unwrap();
    let (root, _) = block(7, BlockKind::Value, 1, [0; 96], &[1; 64]);
    assert!(!sink.holds(root));
    sink.begin_extent(root).unwrap();
    sink.abandon_extent();
    assert_eq!(sink.end_extent().unwrap_err().kind, Kind::Bug, "it was abandoned");
    sink.begin_round(&superblock).unwrap();
    sink.expect_extents(5);
    let (packs, extents, _) = sink.finish().unwrap();
    assert_eq!((packs, extents, fixture.names(PACKS)), (Vec::new(), Vec::new(), Vec::new()));
}
