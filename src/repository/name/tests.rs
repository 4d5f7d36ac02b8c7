use super::*;

#[test]
fn names_read_back_as_themselves() {
    let run = RunId(0x00ab_cdef);
    let checkpoint = CheckpointName { timeline: 1, checkpoint_op: 959, replica: 2, run };
    assert_eq!(checkpoint.object(), "tigerbeetle/checkpoints/00000001/00000000000000000959-02-0000000000abcdef");
    assert_eq!(CheckpointName::parse(&checkpoint.object()), Some(checkpoint));
    assert_eq!(CheckpointName::parse_receipt(&checkpoint.receipt()), Some(checkpoint));
    let pack = PackName { checkpoint_op: u64::MAX, run, sequence: 7 };
    assert_eq!(PackName::parse(&pack.object()), Some(pack));
    let segment = SegmentName { timeline: 3, first_op: 960, last_op: 1000, run };
    assert_eq!(SegmentName::parse(&segment.object()), Some(segment));
    let backup = BackupName::from(checkpoint);
    assert_eq!((backup.record_object(), backup.receipt_object()), (checkpoint.object(), checkpoint.receipt()));
    for place in [&PLAIN_FILES, &CATALOG_FILES] {
        let file = FileName { place, name: "a".into(), run };
        assert_eq!(FileName::parse_data(place, &file.data()), Some(file.clone()));
        assert_eq!(FileName::parse_record(place, &file.record()), Some(file.clone()));
        assert_eq!(FileName::parse_receipt(place, &file.receipt()), Some(file.clone()));
        assert_eq!(FileName::parse_record(place, &file.data()), None);
        let backup = BackupName::from(&file);
        assert_eq!((backup.record_object(), backup.receipt_object()), (file.record(), file.receipt()));
    }
    let gap = GapName { timeline: 2, first_op: 77, run };
    assert_eq!(GapName::parse(&gap.object()), Some(gap));
    let lease = LeaseName { timeline: 2, fence: 3, beat: u64::MAX };
    assert_eq!(LeaseName::parse(&lease.object()), Some(lease));
    for has_ended in [true, false] {
        let name = RunName { run, has_ended };
        assert_eq!(RunName::parse(&name.object()), Some(name));
    }
    assert_eq!(RunName::parse("catalog/runs/0000000000abcdef/over"), None);
    assert_eq!(parse_timeline(&timeline_object(12)), Some(12));
    assert_eq!(parse_timeline("tigerbeetle/timelines/12"), None);
}

#[test]
fn whatever_is_not_exactly_a_name_is_none() {
    let run = RunId(1);
    let checkpoint = CheckpointName { timeline: 1, checkpoint_op: 959, replica: 2, run };
    let pack = PackName { checkpoint_op: 1, run, sequence: 7 };
    let segment = SegmentName { timeline: 3, first_op: 960, last_op: 1000, run };
    for name in [checkpoint.object(), checkpoint.receipt(), pack.object(), segment.object()] {
        for broken in [format!("{name}x"), format!("{name}-0"), name.replace("0000", "000"), name[..name.len() - 1].into(), "x/y".into()] {
            assert_eq!(CheckpointName::parse(&broken), None, "{broken}");
            assert_eq!(CheckpointName::parse_receipt(&broken), None, "{broken}");
            assert_eq!(PackName::parse(&broken), None, "{broken}");
            assert_eq!(SegmentName::parse(&broken), None, "{broken}");
        }
    }
}

#[test]
fn names_sort_in_the_order_of_restore() {
    let name = |timeline, checkpoint_op| CheckpointName { timeline, checkpoint_op, replica: 0, run: RunId(9) }.object();
    assert!(name(1, 959) < name(1, 10_559));
    assert!(name(1, 10_559) < name(2, 0));
}
