//! Points that no backup holds itself, but that the log after one reaches.

use super::beyond_a_hole;
use crate::disk::file::ReadOptions;
use crate::error::Kind;
use crate::progress::Silent;
use crate::replica::log::{LogSource, Polled};
use crate::replica::tail::Tail;
use crate::repository::name::{RunId, SEGMENTS, SegmentName};
use crate::repository::sample::{HookedStore, open};
use crate::store::Store;
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of, log_after, sample_timestamp};
use crate::tb_format::wal::Prepare;
use crate::tier::Tier;
use crate::tier::request::{AsOf, TierRestoreRequest};
use crate::tier::sample::{LOG_OPS, next_checkpoint};
use crate::tier::tigerbeetle::Tigerbeetle;
use crate::tier::tigerbeetle::format::log::{LogIndex, Piece};
use crate::tier::tigerbeetle::format::merge::merge;
use crate::tier::tigerbeetle::format::segment::{SegmentBuilder, segment_entry};
use crate::tier::tigerbeetle::format::timeline::{Branch, Lineage, PrepareRecord};
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::forward;
use crate::tier::tigerbeetle::restore::plan::RestorePlan;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::point::Selected;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use crate::tier::tigerbeetle::restore::select::select;
use crate::tier::tigerbeetle::restore::tests::Fixture;
use crate::units::time_text;
use std::sync::Arc;

/// Stores these prepares in segments of 100.
pub fn ship(fixture: &Fixture, timeline: u32, log: &[Vec<u8>]) {
    for part in log.chunks(100) {
        let mut builder = SegmentBuilder::default();
        for bytes in part {
            builder.push(&Prepare::check(bytes).unwrap());
        }
        let run = fixture.repository.new_run().unwrap();
        let (name, finishing) = builder.write(&fixture.repository, timeline, run).unwrap().unwrap();
        segment_entry(name, finishing).unwrap();
    }
}

fn selected(fixture: &Fixture, point: Point) -> Selected {
    select(&fixture.repository, point, None).unwrap()
}

fn text(op: u64) -> String {
    format!("op {op} ({})", time_text(sample_timestamp(op)))
}

/// A backup of checkpoint 959 that reaches op 1011, and the log after it to op 1500.
fn fixture() -> Fixture {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    // It begins before the backup's end.
    ship(&fixture, 1, &SampleFile::new(7, 541).log[41..]);
    fixture
}

#[test]
fn every_op_of_the_log_behind_a_backup_is_restored() {
    let fixture = fixture();
    for op in [1009, 1011, 1012, 1301, 1500] {
        let restored = fixture.restore(Point::Op(op)).unwrap();
        assert_eq!((restored.op, restored.timestamp_ns, restored.hops), (op, sample_timestamp(op), None));
        fixture.assert_image(&SampleFile::new(7, op - 959));
        std::fs::remove_file(fixture.path("image")).unwrap();
    }
    for (time, op) in [(sample_timestamp(1300), 1300), (sample_timestamp(1300) + 1, 1300), (sample_timestamp(1500), 1500)] {
        assert_eq!(selected(&fixture, Point::Time(time)).op, op);
    }
    let newest = fixture.restore(Point::Newest).unwrap();
    assert_eq!(newest.op, 1500);
    let plan = RestorePlan::make(&fixture.repository, Point::Op(1100), None).unwrap();
    assert_eq!((plan.hops.len(), plan.timestamp_ns), (0, sample_timestamp(1100)));
}

fn segment_of(fixture: &Fixture, first_op: u64, last_op: u64) -> String {
    let ops = format!("{first_op:020}-{last_op:020}");
    fixture.store.names().into_iter().find(|name| name.contains(&ops)).unwrap()
}

#[test]
fn where_the_end_of_the_log_is_damaged_the_newest_point_before_it_is_restored() {
    let fixture = fixture();
    // A segment that holds a single op.
    ship(&fixture, 1, &SampleFile::new(7, 542).log[541..]);
    assert_eq!((selected(&fixture, Point::Newest).op, selected(&fixture, Point::Newest).notes.len()), (1501, 0));
    let last = segment_of(&fixture, 1501, 1501);
    let length = fixture.store.bytes(&last).unwrap().len();
    for offset in (0..length).step_by(length / 40).chain([length - 1]) {
        assert!(fixture.store.corrupt(&last, offset, 1));
        let found = selected(&fixture, Point::Newest);
        assert_eq!((found.op, found.notes.len()), (1500, 1), "offset {offset}");
        assert!(found.notes[0].contains(&last) && found.notes[0].contains("to op 1501"), "{:?}", found.notes);
        fixture.store.corrupt(&last, offset, 1);
    }
    fixture.store.corrupt(&last, length / 2, 1);
    let restored = fixture.restore(Point::Newest).unwrap();
    assert!(restored.op == 1500 && restored.notes.iter().any(|note| note.contains(&last)), "{:?}", restored.notes);
    fixture.assert_image(&SampleFile::new(7, 541));
    // Several at the end, one before them that was cut, and then all of the log.
    let before = segment_of(&fixture, 1401, 1500);
    fixture.store.corrupt(&before, 70, 1);
    let found = selected(&fixture, Point::Newest);
    assert!(found.op == 1400 && found.notes[0].contains("(and 1 more)"), "{:?}", found.notes);
    let cut = segment_of(&fixture, 1101, 1200);
    let bytes = fixture.store.bytes(&cut).unwrap();
    fixture.store.replace(&cut, bytes.slice(..bytes.len() - 1));
    assert_eq!(selected(&fixture, Point::Newest).op, 1100);
    for name in fixture.store.names().iter().filter(|name| name.starts_with(SEGMENTS)) {
        fixture.store.corrupt(name, 70, 1);
    }
    let error = select(&fixture.repository, Point::Newest, None).unwrap_err();
    assert_eq!(error.kind, Kind::Damaged, "the backup needs its own log");
}

#[test]
fn behind_the_end_of_the_log_nothing_is_restored() {
    let fixture = fixture();
    for point in [Point::Op(1501), Point::Op(u64::MAX), Point::Time(sample_timestamp(1500) + 1)] {
        let error = fixture.refused(point);
        assert!(error.kind == Kind::Input && error.message.ends_with(&format!("are {} before it", text(1500))), "{point:?}: {error}");
    }
}

#[test]
fn points_in_a_gap_are_refused_with_both_neighbours() {
    let fixture = fixture();
    let whole = SampleFile::new(7, 960);
    // A gap from op 1501 to 1600.
    ship(&fixture, 1, &whole.log[641..]);
    let newest = selected(&fixture, Point::Newest);
    assert_eq!((newest.op, newest.notes.len()), (1500, 1));
    assert!(newest.notes[0].contains("from op 1601 to op 1919") && newest.notes[0].contains("ops 1501 to 1600"), "{:?}", newest.notes);
    let next = next_checkpoint(&whole, LOG_OPS).unwrap();
    fixture.backup(&next);
    for point in [1501, 1555, 1600, 1601, 1919, 1959].map(Point::Op).into_iter().chain([
        Point::Time(sample_timestamp(1500) + 1),
        Point::Time(sample_timestamp(1600)),
        Point::Time(sample_timestamp(1700)),
    ]) {
        let error = fixture.refused(point);
        let nearest = format!("are {} before it and {} after it", text(1500), text(1960));
        assert!(error.kind == Kind::Input && error.message.ends_with(&nearest), "{point:?}: {error}");
    }
    assert_eq!(selected(&fixture, Point::Op(1500)).name.checkpoint_op, 959);
    assert_eq!(selected(&fixture, Point::Op(1960)).name.checkpoint_op, 1919);
    assert_eq!(selected(&fixture, Point::Newest).op, 1971);
    // The gap is closed: what the backups hold themselves is unchanged, the rest is restorable.
    ship(&fixture, 1, &whole.log[541..641]);
    assert_eq!(selected(&fixture, Point::Op(1555)).name.checkpoint_op, 959);
    assert_eq!(selected(&fixture, Point::Time(sample_timestamp(1959))).op, 1959);
}

#[test]
fn log_lies_behind_a_hole_where_an_op_is_missing_and_not_where_it_is_the_next() {
    let fixture = fixture();
    let index = LogIndex::list(&fixture.repository, &Lineage::first(), 0).unwrap();
    assert!(beyond_a_hole(1500, &index).is_empty() && beyond_a_hole(959, &index).is_empty());
    let [note] = &beyond_a_hole(958, &index)[..] else { panic!("op 959 is missing") };
    assert!(note.contains("ops 959 to 959 are in no segment: nothing behind op 958"), "{note}");
}

#[test]
fn what_was_shipped_tells_which_prepares_came_to_count() {
    // The backup ends with two prepares that a view change replaced.
    let mut stale = SampleFile::new(7, LOG_OPS);
    for _ in 0..2 {
        let last = headers_of(&stale.log).pop().unwrap();
        stale.log.push(PrepareSample { commit: 1010, body: vec![9; 128], ..PrepareSample::after(&last) }.bytes());
    }
    let fixture = Fixture::of(&stale);
    let mut current = SampleFile::new(7, LOG_OPS);
    let last = headers_of(&current.log).pop().unwrap();
    let first = PrepareSample { view: 1, commit: 1011, ..PrepareSample::after(&last) }.bytes();
    let shipped = [vec![first.clone()], log_after(&headers_of(&[first])[0], 100)].concat();
    ship(&fixture, 1, &shipped);
    current.log.extend(shipped);
    for op in [1012, 1013, 1050] {
        let restored = fixture.restore(Point::Op(op)).unwrap();
        assert_eq!(restored.op, op);
        let headers = headers_of(&current.log);
        let behind = headers[(1011 - 960) as usize].checksum();
        let mut tail = Tail::open(&fixture.path("image"), ReadOptions::quick(), 1011, behind).unwrap();
        let mut last = None;
        let mut take = |prepare: &Prepare<'_>| {
            last = Some(prepare.header().checksum());
            Ok(())
        };
        while matches!(tail.poll(&mut take).unwrap(), Polled::Prepares(_)) {}
        assert_eq!(last, Some(headers[(op - 960) as usize].checksum()), "op {op} of the later view");
    }
}

#[test]
fn each_timeline_restores_to_its_own_history() {
    let fixture = fixture();
    // The cluster was restored to op 1300, and continued with other prepares.
    let log = SampleFile::new(7, 541).log;
    let common = headers_of(&log)[1300 - 960];
    let first = PrepareSample { view: 3, body: vec![5; 128], ..PrepareSample::after(&common) }.bytes();
    let other = [vec![first.clone()], log_after(&headers_of(&[first])[0], 149)].concat();
    let branch = Branch {
        timeline: 2,
        parent: 1,
        branch: Some(PrepareRecord { op: 1300, checksum: common.checksum().to_string() }),
        first: None,
        replica: 0,
        began_ns: 1,
        reason: "a test".into(),
    };
    assert!(fixture.repository.begin_timeline(&branch).unwrap());
    let last_of = |timeline: Option<u32>, point: Point| {
        let request = RestoreRequest { timeline, ..fixture.request(point, Role::Same) };
        let restored = restore(&fixture.repository, &request, &crate::progress::Silent).unwrap();
        let superblock = forward::superblock_of(&fixture.path("image")).unwrap();
        (restored.op, restored.timeline, superblock.view())
    };
    assert_eq!(last_of(None, Point::Newest), (1300, 2, 0), "nothing was shipped of it yet");
    ship(&fixture, 2, &other);
    assert_eq!(last_of(None, Point::Newest), (1450, 2, 3));
    assert_eq!(last_of(Some(2), Point::Op(1301)), (1301, 2, 3));
    assert_eq!(last_of(Some(2), Point::Op(1300)), (1300, 2, 0));
    assert_eq!(last_of(Some(1), Point::Newest), (1500, 1, 0));
    assert_eq!(last_of(Some(1), Point::Op(1301)), (1301, 1, 0));
    let error = select(&fixture.repository, Point::Op(1451), None).unwrap_err();
    assert!(error.message.contains(&format!("are {} before it", text(1450))), "{error}");
    assert_eq!(select(&fixture.repository, Point::Newest, Some(3)).unwrap_err().kind, Kind::Input);
}

#[test]
fn a_restore_survives_an_agent_that_merges_the_log_meanwhile() {
    let whole = SampleFile::new(7, 541);
    // Early, in the middle of planning, and while the log is written.
    for at_read in [1, 4, 9, 16, 25, 36, 49] {
        let fixture = fixture();
        let hooked = HookedStore::new(&fixture.store);
        let reader = open(Arc::new(hooked.clone()) as Arc<dyn Store>).unwrap();
        let (repository, store, mut reads) = (Arc::clone(&fixture.repository), fixture.store.clone(), 0);
        hooked.before_reads(move |name, _| {
            reads += u32::from(SegmentName::parse(name).is_some_and(|name| name.first_op > 960));
            if reads < at_read {
                return true;
            }
            let index = LogIndex::list(&repository, &Lineage::first(), 1012).unwrap();
            let pieces: Vec<Piece> = index.pieces().iter().filter(|piece| piece.name.first_op > 960).copied().collect();
            merge(&repository, RunId(1), &pieces).unwrap();
            for piece in pieces {
                store.remove(&piece.name.object()).unwrap();
            }
            false
        });
        let restored = restore(&reader, &fixture.request(Point::Op(1450), Role::Same), &Silent).unwrap();
        assert_eq!(restored.op, 1450, "read {at_read}");
        fixture.assert_image(&SampleFile { log: whole.log[..491].to_vec(), ..SampleFile::new(7, 491) });
    }
}

#[test]
fn a_backup_by_its_run_is_restored_from_its_own_history() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    // The cluster was restored to an op before the backup's end, and continued with other prepares.
    let common = headers_of(&SampleFile::new(7, LOG_OPS).log)[1005 - 960];
    let first = PrepareSample { view: 3, body: vec![5; 128], ..PrepareSample::after(&common) }.bytes();
    let branch = Branch {
        timeline: 2,
        parent: 1,
        branch: Some(PrepareRecord { op: 1005, checksum: common.checksum().to_string() }),
        first: None,
        replica: 0,
        began_ns: 1,
        reason: "a test".into(),
    };
    assert!(fixture.repository.begin_timeline(&branch).unwrap());
    ship(&fixture, 2, &[vec![first.clone()], log_after(&headers_of(&[first])[0], 149)].concat());
    let restored = |as_of| {
        let request = TierRestoreRequest { as_of, name: None, output: fixture.path("image"), overwrite: true };
        let estimate = Tigerbeetle.estimate(&fixture.repository, as_of, None).unwrap();
        let done = Tigerbeetle.restore(&fixture.repository, &request, &Silent).unwrap();
        assert_eq!(done.estimate, estimate);
        (done.state, forward::superblock_of(&fixture.path("image")).unwrap().view())
    };
    assert_eq!(restored(AsOf::Newest), (text(1155), 3), "the newest timeline's end");
    assert_eq!(restored(AsOf::Run(backup.name.run)), (text(1011), 0));
    fixture.assert_image(&SampleFile::new(7, LOG_OPS));
}
