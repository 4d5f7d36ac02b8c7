//! Writing: edited superblocks, the zone of copies, and the layout of the log.

use super::{SlotContent, SuperBlockEdit, WalImage, superblock_zone};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::error::LedgerError;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::{WAL_HEADERS_BYTES, WAL_SLOTS};
use crate::tb_format::sample::{PrepareSample, Roots, SampleFile, headers_of, log_after, root_header, superblock_bytes};
use crate::tb_format::superblock::{CopyState, SuperBlock, read_quorum};
use crate::tb_format::tests::CLUSTER;
use crate::tb_format::wal::{HeaderRing, SlotHeader, root_prepare};

fn superblock() -> SuperBlock {
    SuperBlock::check(&SampleFile::new(CLUSTER, 0).superblock).unwrap()
}

/// The newest `count` headers of the log after the sample's checkpoint, newest first.
fn newest(ops: u64, count: usize) -> Vec<PrepareHeader> {
    headers_of(&SampleFile::new(CLUSTER, ops).log).into_iter().rev().take(count).collect()
}

fn rewind(view: u32, headers: &[PrepareHeader], commit_max: u64) -> Result<SuperBlock, LedgerError> {
    SuperBlockEdit::new(&superblock()).rewind(view, headers, commit_max)?.finish()
}

#[test]
fn an_unedited_superblock_stays_as_it_is() {
    assert_eq!(SuperBlockEdit::new(&superblock()).finish().unwrap(), superblock());
}

#[test]
fn the_zone_holds_four_copies_that_make_a_quorum() {
    let zone = superblock_zone(&superblock());
    assert_eq!(zone.len(), 96 * 1024);
    let quorum = read_quorum(&zone).unwrap();
    assert_eq!((quorum.superblock, quorum.copies), (superblock(), [CopyState::Valid; 4]));
    for copy in 0..4 {
        assert_eq!(zone[copy * 24 * 1024 + 32], copy as u8);
        assert!(zone[copy * 24 * 1024 + 8192..(copy + 1) * 24 * 1024].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn any_member_can_have_the_image() {
    let original = superblock();
    for index in 0..12 {
        let edited = SuperBlockEdit::new(&original).replica(index).unwrap().finish().unwrap();
        assert_eq!((edited.replica_index(), edited.replica_id()), (index, original.members()[usize::from(index)]));
        assert_eq!(edited.checkpoint().checkpoint_id(), original.checkpoint().checkpoint_id());
        assert_eq!(edited.checksum() == original.checksum(), index == 0);
    }
    let error = SuperBlockEdit::new(&original).replica(12).unwrap_err();
    assert_eq!(error, LedgerError::Argument { what: "the replica of an image", value: 12 });
}

#[test]
fn a_solo_fork_is_replica_zero_of_one() {
    let third = SuperBlockEdit::new(&superblock()).replica(2).unwrap().finish().unwrap();
    let solo = SuperBlockEdit::new(&third).solo().finish().unwrap();
    assert_eq!((solo.replica_count(), solo.replica_index()), (1, 0));
    assert_eq!(solo.members(), third.members());
}

#[test]
fn a_fork_becomes_any_replica_of_the_cluster_again() {
    let original = superblock();
    let solo = SuperBlockEdit::new(&original).solo().finish().unwrap();
    for index in 0..original.replica_count() {
        let back = SuperBlockEdit::new(&solo).replica_count(original.replica_count()).unwrap().replica(index).unwrap().finish().unwrap();
        let member = SuperBlockEdit::new(&original).replica(index).unwrap().finish().unwrap();
        assert_eq!(back.bytes(), member.bytes());
    }
    for count in [0, 7] {
        let error = SuperBlockEdit::new(&solo).replica_count(count).unwrap_err();
        assert_eq!(error, LedgerError::Argument { what: "the number of replicas of an image", value: count.into() });
    }
}

#[test]
fn rewinding_sets_the_consensus_state() {
    let headers = newest(20, 9);
    let edited = rewind(3, &headers, 970).unwrap();
    assert_eq!((edited.view(), edited.log_view(), edited.commit_max()), (3, 3, 970));
    assert_eq!(edited.view_headers().collect::<Vec<_>>(), headers);
    assert_eq!(edited.checkpoint().checkpoint_id(), superblock().checkpoint().checkpoint_id());
    // The second edit has fewer headers: none of the first one's remain.
    let again = SuperBlockEdit::new(&edited).rewind(3, &headers[..1], 979).unwrap().finish().unwrap();
    assert!(again.bytes()[4096 + 256..].iter().all(|byte| *byte == 0));
    // A log without an op after the checkpoint.
    let checkpoint = superblock().checkpoint().header();
    assert_eq!(rewind(0, &[checkpoint], 959).unwrap().view_headers().collect::<Vec<_>>(), [checkpoint]);
}

#[test]
fn contradictory_rewinds_are_refused() {
    let headers = newest(20, 10);
    let argument = |result: Result<SuperBlock, LedgerError>| match result.unwrap_err() {
        LedgerError::Argument { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(argument(rewind(0, &[], 970)), "the number of view headers");
    assert_eq!(argument(rewind(0, &headers, 970)), "the number of view headers");
    assert_eq!(argument(rewind(0, &headers[..9], 980)), "commit_max");
    assert_eq!(argument(rewind(0, &headers[..9], 958)), "commit_max");
    let later_view = PrepareSample { view: 2, ..PrepareSample::after(&headers[0]) }.bytes();
    assert_eq!(argument(rewind(1, &headers_of(&[later_view]), 970)), "the view, being older than the newest prepare's,");

    let gap = [headers[0], headers[2]];
    assert_eq!(rewind(0, &gap, 970).unwrap_err(), LedgerError::WrongOp { expected: 978, found: 979 });
    let mut fork = PrepareSample::after(&headers[1]);
    fork.parent = Checksum(1);
    let fork = [headers_of(&[fork.bytes()])[0], headers[1]];
    assert!(matches!(rewind(0, &fork, 970), Err(LedgerError::Chain { op: 979, .. })));
    let foreign = headers_of(&SampleFile::new(1, 3).log);
    assert_eq!(rewind(0, &foreign[..1], 960).unwrap_err(), LedgerError::WrongCluster { expected: CLUSTER, found: 1 });
}

#[test]
fn the_log_of_an_image_is_that_of_the_checkpoint_and_nothing_else() {
    let file = SampleFile::new(CLUSTER, 100);
    let headers = headers_of(&file.log);
    let image = WalImage::new(&file.checkpoint().header(), headers.iter().copied()).unwrap();
    assert_eq!((image.end().op(), image.end().checksum()), (1059, headers[99].checksum()));
    assert_eq!(image.headers_zone().len(), WAL_HEADERS_BYTES);
    assert_eq!(image.contents().len(), WAL_SLOTS as usize);
    let ring = HeaderRing::new(image.headers_zone()).unwrap();
    for slot in 0..WAL_SLOTS {
        let op = if slot < 36 { u64::from(slot) + 1024 } else { slot.into() };
        match image.contents()[slot as usize] {
            SlotContent::Prepare { op: found } => {
                assert_eq!(found, op);
                assert_eq!(ring.slot(slot), SlotHeader::Valid(headers[(op - 960) as usize]));
            }
            SlotContent::Reserved => assert!((36..960).contains(&slot) && ring.slot(slot) == SlotHeader::Reserved),
            SlotContent::Root => panic!("root in slot {slot}"),
        }
    }
}

#[test]
fn the_root_prepare_stands_before_the_first_op() {
    let root = root_header(CLUSTER);
    let log = headers_of(&log_after(&root, 1008));
    let image = WalImage::new(&root, log[..3].iter().copied()).unwrap();
    assert_eq!(image.headers_zone()[..256], root_prepare(CLUSTER));
    let expected = [SlotContent::Root, SlotContent::Prepare { op: 1 }, SlotContent::Prepare { op: 2 }, SlotContent::Prepare { op: 3 }];
    assert_eq!(image.contents()[..4], expected);
    assert_eq!(image.contents()[4], SlotContent::Reserved);
    // The log may reach the next checkpoint's prepare_max and no further.
    assert_eq!(WalImage::new(&root, log[..1007].iter().copied()).unwrap().end().op(), 1007);
    let error = WalImage::new(&root, log.iter().copied()).unwrap_err();
    assert_eq!(error, LedgerError::Argument { what: "the last op of an image", value: 1008 });
}

#[test]
fn a_log_that_does_not_meet_the_checkpoint_is_refused() {
    let file = SampleFile::new(CLUSTER, 5);
    let headers = headers_of(&file.log);
    let checkpoint = file.checkpoint().header();
    let image = |headers: &[PrepareHeader]| WalImage::new(&checkpoint, headers.iter().copied()).unwrap_err();
    assert_eq!(image(&headers[1..]), LedgerError::WrongOp { expected: 960, found: 961 });
    let foreign = headers_of(&SampleFile::new(1, 1).log);
    assert_eq!(image(&foreign), LedgerError::WrongCluster { expected: CLUSTER, found: 1 });
    let fork = PrepareSample { parent: Checksum(1), ..PrepareSample::after(&checkpoint) };
    assert!(matches!(image(&headers_of(&[fork.bytes()])), LedgerError::Chain { op: 960, .. }));
    // An edit cannot make a superblock that a reader would refuse.
    let mut bytes = superblock_bytes(&checkpoint, &Roots::default(), 6);
    bytes[1364] = 7;
    crate::tb_format::sample::seal_superblock(&mut bytes);
    assert!(SuperBlock::check(&bytes).is_err());
}
