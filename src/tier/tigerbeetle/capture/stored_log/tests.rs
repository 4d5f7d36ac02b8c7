use super::*;
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of};
use crate::tb_format::wal::Prepare;
use crate::tier::sample::LOG_OPS;
use crate::tier::tigerbeetle::capture::tests::Fixture;
use crate::tier::tigerbeetle::format::segment::{SegmentBuilder, segment_entry};

/// A backup of checkpoint 959 that reaches op 1011.
struct Case {
    fixture: Fixture,
    base: Manifest,
    log: Vec<Vec<u8>>,
}

impl Case {
    fn new() -> Case {
        let (fixture, sample) = (Fixture::new(), SampleFile::new(7, LOG_OPS));
        let backup = fixture.backup(&sample);
        let base = Manifest::read(&fixture.repository, &backup.name, None).unwrap();
        Case { fixture, base, log: sample.log }
    }

    /// What counts as stored after this checkpoint if the backup has these segments.
    fn of(&mut self, parts: &[(u64, u64)], checkpoint_op: u64) -> StoredLog {
        self.base.segments = parts.iter().map(|(first, last)| self.segment(*first, *last)).collect();
        StoredLog::of(&self.fixture.repository, &self.base, checkpoint_op).unwrap()
    }

    fn segment(&self, first: u64, last: u64) -> SegmentEntry {
        let mut builder = SegmentBuilder::default();
        for bytes in &self.log[(first - 960) as usize..=(last - 960) as usize] {
            builder.push(&Prepare::check(bytes).unwrap());
        }
        let run = self.fixture.repository.new_run().unwrap();
        let (name, finishing) = builder.write(&self.fixture.repository, 1, run).unwrap().unwrap();
        segment_entry(name, finishing).unwrap()
    }

    fn header(&self, op: u64) -> PrepareHeader {
        headers_of(&self.log)[(op - 960) as usize]
    }
}

#[test]
fn segments_count_while_each_begins_no_later_than_behind_the_one_before() {
    let mut case = Case::new();
    let end = Some((1011, case.header(1011).checksum()));
    for (parts, counts) in [
        (&[(960, 1011)][..], true),
        (&[(961, 1011)], false),
        (&[(960, 980), (981, 1011)], true),
        (&[(960, 980), (980, 1011)], true),
        (&[(960, 980), (982, 1011)], false),
        (&[(960, 960), (961, 961), (962, 1011)], true),
    ] {
        let stored = case.of(parts, 959);
        assert_eq!((stored.end, stored.segments.len()), if counts { (end, parts.len()) } else { (None, 0) }, "{parts:?}");
    }
    // Only what lies behind the checkpoint.
    for (checkpoint_op, count) in [(979, 2), (980, 1), (1010, 1), (1011, 0)] {
        let stored = case.of(&[(960, 980), (981, 1011)], checkpoint_op);
        assert_eq!((stored.segments.len(), stored.end.is_some()), (count, count > 0), "checkpoint {checkpoint_op}");
    }
}

#[test]
fn a_prepare_is_compared_at_the_end_and_at_what_was_committed() {
    let mut case = Case::new();
    let other = |before: &PrepareHeader| headers_of(&[PrepareSample { body: vec![9; 128], ..PrepareSample::after(before) }.bytes()])[0];
    for (commit_known_op, committed_op) in [(959, None), (960, Some(960)), (1010, Some(1010)), (1011, Some(1011)), (1012, Some(1011))] {
        case.base.summary.commit_known_op = commit_known_op;
        let stored = case.of(&[(960, 1011)], 959);
        assert_eq!(stored.committed, committed_op.map(|op| (op, case.header(op).checksum())), "{commit_known_op}");
    }
    case.base.summary.commit_known_op = 1010;
    let stored = case.of(&[(960, 1011)], 959);
    let (last, behind) = (case.header(1011), PrepareSample::after(&case.header(1011)).bytes());
    let behind = headers_of(&[behind])[0];
    assert!(stored.covers(&case.header(960)) && stored.covers(&last) && !stored.covers(&behind));
    assert!(!stored.forks_at(&last) && !stored.forks_at(&behind) && !stored.forks_at(&other(&case.header(1009))));
    assert!(stored.forks_at(&other(&case.header(1010))));
    stored.check_history(&case.header(1010)).unwrap();
    stored.check_history(&other(&case.header(1010))).unwrap();
    stored.check_history(&other(&case.header(1008))).unwrap();
    assert_eq!(stored.check_history(&other(&case.header(1009))).unwrap_err().kind, Kind::Input);
    let repository = &case.fixture.repository;
    assert!(stored.agrees_with(repository, &case.header(1005)).unwrap());
    assert!(!stored.agrees_with(repository, &other(&case.header(1004))).unwrap());
}
