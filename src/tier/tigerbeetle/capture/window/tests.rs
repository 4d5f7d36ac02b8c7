//! Where checkpoint and log meet.

use super::CaptureWindow;
use crate::error::Kind;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::durable_op_for_checkpoint;
use crate::tb_format::sample::{SampleFile, headers_of};
use crate::tb_format::superblock::SuperBlock;
use crate::tier::sample::{edited, next_checkpoint};
use crate::tier::tigerbeetle::capture::tests::{in_view, push};

fn superblock(sample: &SampleFile) -> SuperBlock {
    SuperBlock::check(&sample.superblock).unwrap()
}

/// The window of one superblock that did not change meanwhile.
fn choose(sample: &SampleFile) -> Option<CaptureWindow> {
    CaptureWindow::choose(superblock(sample), superblock(sample), &headers_of(&sample.log)).unwrap()
}

fn end_of(sample: &SampleFile) -> u64 {
    choose(sample).unwrap().end.op()
}

#[test]
fn it_ends_with_the_log() {
    let window = choose(&SampleFile::new(7, 3)).unwrap();
    assert_eq!((window.end.op(), window.commit_known_op, window.capped), (962, 961, false));
    let window = choose(&SampleFile::new(7, 0)).unwrap();
    assert_eq!((window.end.op(), window.commit_known_op), (959, 959));
}

#[test]
fn the_newer_superblock_counts_while_the_checkpoint_is_the_same() {
    let mut sample = SampleFile::new(7, 3);
    push(&mut sample, 2, 962, b"x");
    let later_view = in_view(&sample, 2, 962);
    let window = CaptureWindow::choose(superblock(&sample), superblock(&later_view), &headers_of(&sample.log)).unwrap().unwrap();
    assert_eq!((window.superblock.view(), window.end.op()), (2, 963));
    let next = next_checkpoint(&SampleFile::new(7, 960), 0).unwrap();
    let window = CaptureWindow::choose(superblock(&sample), superblock(&next), &headers_of(&sample.log)).unwrap().unwrap();
    assert_eq!(
        (window.superblock.checkpoint().header().op(), window.end.op()),
        (959, 962),
        "op 963 is of a view that the walked superblock does not know"
    );
}

#[test]
fn a_log_with_a_gap_or_a_fork_is_a_bug_of_ours() {
    let sample = SampleFile::new(7, 3);
    let headers = headers_of(&sample.log);
    let mut forked = SampleFile::new(7, 1);
    push(&mut forked, 0, 960, b"x");
    let cases: [Vec<PrepareHeader>; 3] =
        [headers[1..].to_vec(), vec![headers[0], headers[2]], vec![headers[0], headers_of(&forked.log)[1], headers[2]]];
    for headers in cases {
        let error = CaptureWindow::choose(superblock(&sample), superblock(&sample), &headers).unwrap_err();
        assert_eq!(error.kind, Kind::Bug);
    }
}

#[test]
fn prepares_of_older_views_count_only_as_the_view_began() {
    // View 1 began with op 962. Ops 960 and 961 lie before it.
    let sample = SampleFile::new(7, 5);
    assert_eq!(end_of(&in_view(&sample, 1, 962)), 962);
    // The prepare of op 962 in the log is not the one that the view began with.
    let mut replaced = SampleFile::new(7, 2);
    push(&mut replaced, 0, 960, b"replaced");
    let other_head = SampleFile { superblock: in_view(&sample, 1, 962).superblock, ..replaced };
    assert_eq!(end_of(&other_head), 961);
    // Prepares of the new view itself follow.
    let mut renewed = SampleFile::new(7, 3);
    push(&mut renewed, 1, 962, b"x");
    assert_eq!(end_of(&in_view(&renewed, 1, 962)), 963);
}

#[test]
fn a_prepare_of_a_later_view_does_not_count() {
    let mut sample = SampleFile::new(7, 3);
    push(&mut sample, 1, 962, b"x");
    assert_eq!(end_of(&sample), 962);
}

#[test]
fn what_is_committed_must_be_reached() {
    let committed = |op: u64| edited(&SampleFile::new(7, 3), |bytes| bytes[1328..1336].copy_from_slice(&op.to_le_bytes()));
    assert_eq!(choose(&committed(962)).unwrap().commit_known_op, 962);
    assert!(choose(&committed(963)).is_none());
}

#[test]
fn the_ring_of_the_image_bounds_it() {
    let window = choose(&SampleFile::new(7, 1008)).unwrap();
    assert_eq!((window.end.op(), window.capped), (1967, false));
    let window = choose(&SampleFile::new(7, 1010)).unwrap();
    assert_eq!((window.end.op(), window.commit_known_op, window.capped), (1967, 1967, true));
}

#[test]
fn it_ends_early_up_to_the_op_before_the_checkpoint_is_durable() {
    let durable_ops = durable_op_for_checkpoint(959) - 959;
    for (log_ops, ends_early) in [(0, true), (durable_ops - 1, true), (durable_ops, false), (durable_ops + 1, false)] {
        assert_eq!(choose(&SampleFile::new(7, log_ops)).unwrap().ends_early(), ends_early, "{log_ops} ops behind the checkpoint");
    }
}
