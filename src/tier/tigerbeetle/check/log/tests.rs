//! The log that agents ship, timelines and gaps: every damage is found. What looks the same as a
//! log that was never written is a note.

use super::{HOLES_REPORTED_MAX, OP_RANGES_SHOWN_MAX, Promises, explains, is_lost, ranges_text};
use crate::progress::Silent;
use crate::repository::name::{CheckpointName, GAPS, RunId, SEGMENTS, TIMELINES, timeline_object};
use crate::repository::sample::{HookedStore, open};
use crate::store::Store;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of};
use crate::tb_format::wal::Prepare;
use crate::tier::depth::Depth;
use crate::tier::findings::VerificationReport;
use crate::tier::sample::{LOG_OPS, backup, next_checkpoint};
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::manifest::Summary;
use crate::tier::tigerbeetle::format::merge::merge;
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::format::segment::SegmentBuilder;
use crate::tier::tigerbeetle::format::timeline::{Branch, Lineage, PrepareRecord};
use crate::verify::tests::Fixture;
use crate::verify::tests::damage::sibling;
use crate::verify::verify;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The log from op 960 on, of which the backup holds ops 960 to 1011.
fn log() -> Vec<Vec<u8>> {
    SampleFile::new(7, 100).log
}

/// Prepares of a later view after `header`.
fn other_log(header: &PrepareHeader, count: usize) -> Vec<Vec<u8>> {
    let (mut last, mut log) = (*header, Vec::new());
    for _ in 0..count {
        let bytes = PrepareSample { view: 5, ..PrepareSample::after(&last) }.bytes();
        last = *Prepare::check(&bytes).unwrap().header();
        log.push(bytes);
    }
    log
}

impl Fixture {
    fn ship(&self, timeline: u32, run: u64, log: &[Vec<u8>]) -> String {
        let mut builder = SegmentBuilder::default();
        for bytes in log {
            builder.push(&Prepare::check(bytes).unwrap());
        }
        let sealed = builder.seal(&self.repository, timeline, RunId(run)).unwrap().unwrap();
        sealed.object.put(&self.store).unwrap();
        sealed.name.object()
    }

    /// Timeline 1 has ops 1012 to 1017 in two segments, a recorded gap of two ops, and ops 1020 to
    /// 1022. Timeline 2 branches off after op 1014.
    fn with_log() -> Fixture {
        let (fixture, log) = (Fixture::new(), log());
        for (run, first) in [(1, 52), (2, 55), (3, 60)] {
            fixture.ship(1, run, &log[first..first + 3]);
        }
        let reason = "the ring was overwritten before it was read".to_owned();
        fixture.repository.record_gap(&Gap { timeline: 1, first_op: 1018, last_op: 1019, noticed_ns: 1, reason }, RunId(4)).unwrap();
        fixture.branch(&headers_of(&log)[54]);
        fixture.ship(2, 5, &other_log(&headers_of(&log)[54], 3));
        fixture.repository.take_lease(1, 0, "a", "a").unwrap().unwrap();
        fixture
    }

    fn branch(&self, common: &PrepareHeader) {
        let branch = Branch {
            timeline: 2,
            parent: 1,
            branch: Some(PrepareRecord { op: common.op(), checksum: common.checksum().to_string() }),
            first: None,
            replica: 0,
            began_ns: 1,
            reason: "test".into(),
        };
        assert!(self.repository.begin_timeline(&branch).unwrap());
    }

    /// The objects that an agent wrote.
    fn shipped(&self) -> Vec<String> {
        let named = |name: &String| name.starts_with(&format!("{SEGMENTS}00000001/00000000000000000960"));
        let ours = |name: &String| [SEGMENTS, TIMELINES, GAPS].iter().any(|prefix| name.starts_with(prefix));
        self.store.names().into_iter().filter(|name| ours(name) && !named(name)).collect()
    }
}

fn notes_of<'a>(report: &'a VerificationReport, part: &str) -> Vec<&'a String> {
    report.notes.iter().filter(|note| note.contains(part)).collect()
}

#[test]
fn a_whole_log_has_no_problems() {
    let fixture = Fixture::with_log();
    assert_eq!(fixture.shipped().len(), 6);
    for report in [fixture.verify().unwrap(), fixture.full()] {
        assert_eq!((report.problems.as_slice(), report.backups_intact()), (&[][..], 1));
        assert_eq!(["segments", "timelines", "gaps", "leases"].map(|figure| report.figure(figure)), [5, 2, 1, 1]);
        assert_eq!(report.objects, 13);
        let ranges =
            |ops: &[(u64, u64)]| ops.iter().map(|(first_op, last_op)| json!({ "first_op": first_op, "last_op": last_op })).collect();
        let (first, second): (Vec<Value>, Vec<Value>) = (ranges(&[(960, 1017), (1020, 1022)]), ranges(&[(1015, 1017)]));
        assert_eq!(report.figure("log_runs"), json!([{ "timeline": 1, "runs": first }, { "timeline": 2, "runs": second }]));
        let [note] = &report.notes[..] else { panic!("{:?}", report.notes) };
        assert!(note.contains("ops 1018 to 1019") && note.contains("the ring was overwritten"), "{note}");
    }
}

#[test]
fn every_flipped_byte_of_what_was_shipped_is_detected() {
    let fixture = Fixture::with_log();
    for object in fixture.shipped() {
        let size = fixture.store.bytes(&object).unwrap().len();
        assert!((100..4096).contains(&size), "{object} has {size} bytes");
        for offset in 0..size {
            let (mask, what) = (1 << (offset % 8), format!("{object}, byte {offset} of {size}"));
            assert!(fixture.store.corrupt(&object, offset, mask));
            fixture.assert_detected(&[&object], &what);
            assert!(fixture.store.corrupt(&object, offset, mask));
        }
        let whole = fixture.store.bytes(&object).unwrap();
        for length in (0..size).step_by(13).chain([size - 1]) {
            fixture.store.replace(&object, whole.slice(..length));
            fixture.assert_detected(&[&object], &format!("{object}, cut to {length}"));
        }
        fixture.store.replace(&object, [&whole[..], &[0]].concat());
        fixture.assert_detected(&[&object], &format!("{object}, one byte longer"));
        fixture.store.replace(&object, whole);
    }
    assert_eq!(fixture.full().problems, []);
}

#[test]
fn renamed_and_swapped_objects_are_detected() {
    let fixture = Fixture::with_log();
    let names = fixture.shipped();
    for (position, left) in names.iter().enumerate() {
        let other = sibling(left);
        assert!(fixture.store.rename(left, &other));
        fixture.assert_detected(&[left, &other], &format!("{left} renamed"));
        assert!(fixture.store.rename(&other, left));
        for right in &names[position + 1..] {
            let (first, second) = (fixture.store.bytes(left).unwrap(), fixture.store.bytes(right).unwrap());
            fixture.store.replace(left, second.clone());
            fixture.store.replace(right, first.clone());
            for object in [left, right] {
                fixture.assert_detected(&[object], &format!("{left} swapped with {right}"));
            }
            fixture.store.replace(left, first);
            fixture.store.replace(right, second);
        }
    }
    assert_eq!(fixture.full().problems, []);
}

#[test]
fn what_is_missing_is_told() {
    let fixture = Fixture::with_log();
    let segment = fixture.shipped().into_iter().find(|name| name.contains("1015-") && name.contains("/00000001/")).unwrap();
    let whole = fixture.store.remove(&segment).unwrap();
    let report = fixture.full();
    assert_eq!(report.problems, [], "nothing promised it");
    assert_eq!(notes_of(&report, "ops 1015 to 1019 are in no segment").len(), 1, "{:?}", report.notes);
    fixture.store.replace(&segment, whole);

    let gap = fixture.object(GAPS);
    let whole = fixture.store.remove(&gap).unwrap();
    assert_eq!(notes_of(&fixture.full(), "ops 1018 to 1019 are in no segment, and no record says why").len(), 1);
    fixture.store.replace(&gap, whole);

    fixture.store.remove(&timeline_object(2)).unwrap();
    let report = fixture.full();
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].object, timeline_object(2));
    assert!(report.problems[0].what.contains("nothing of it is restored"), "{:?}", report.problems);
}

#[test]
fn a_hole_in_what_a_backup_promises_is_a_problem() {
    let fixture = Fixture::with_log();
    let promised = fixture.store.names().into_iter().find(|name| name.contains("00000000000000000960-")).unwrap();
    fixture.store.remove(&promised).unwrap();
    let report = fixture.verify().unwrap();
    let found: Vec<_> = report.problems.iter().map(|problem| problem.object.clone()).collect();
    assert_eq!((found, report.backups_intact()), (vec![promised], 0), "{:?}", report.problems);
}

#[test]
fn shipped_log_that_is_gone_is_a_problem_once_nothing_can_be_on_its_way() {
    let fixture = Fixture::new();
    let (sample, mut run) = (SampleFile::new(7, 963), RunId::SHIPS);
    let mut ship = |first_op: u64, last_op: u64| {
        run += 1;
        fixture.ship(1, run, &sample.log[(first_op - 960) as usize..=(last_op - 960) as usize])
    };
    ship(1012, 1100);
    let many = ship(1101, 1199);
    let one = ship(1200, 1200);
    ship(1201, 1922);
    assert!(fixture.full().problems.is_empty());
    let problems = |report: &VerificationReport| report.problems.iter().map(|problem| problem.what.clone()).collect::<Vec<_>>();
    // A segment that is being uploaded looks the same, so without a later checkpoint it is a note.
    let removed = fixture.store.remove(&one).unwrap();
    assert_eq!(notes_of(&fixture.full(), "ops 1200 to 1200 are in no segment, and no record says why").len(), 1);
    assert!(fixture.full().problems.is_empty());
    backup(&fixture.repository, &next_checkpoint(&sample, LOG_OPS).unwrap(), &fixture.path("later")).unwrap();
    let report = fixture.verify().unwrap();
    assert_eq!((report.problems.len(), report.backups_intact()), (1, 2), "{:?}", report.problems);
    assert!(problems(&report)[0].contains("ops 1200 to 1200 are in no segment"), "{:?}", report.problems);
    fixture.store.remove(&many).unwrap();
    assert!(problems(&fixture.verify().unwrap())[0].contains("ops 1101 to 1200"));
    // What a record explains is none.
    fixture.store.replace(&one, removed);
    let gap = Gap { timeline: 1, first_op: 1101, last_op: 1199, noticed_ns: 1, reason: "on purpose".into() };
    fixture.repository.record_gap(&gap, RunId(4)).unwrap();
    let report = fixture.verify().unwrap();
    assert!(report.problems.is_empty() && notes_of(&report, "on purpose").len() == 1, "{:?}", report.problems);
}

#[test]
fn full_verification_finds_segments_that_do_not_continue_each_other() {
    let fixture = Fixture::with_log();
    // By its name it continues after op 1022, but it belongs to another history.
    let common = headers_of(&log())[61];
    fixture.ship(1, 9, &other_log(&common, 4)[1..]);
    assert_eq!(fixture.verify().unwrap().problems, []);
    let report = fixture.full();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].what.contains("not one chain"), "{:?}", report.problems);
}

#[test]
fn a_timeline_that_does_not_continue_its_parent_is_found() {
    let fixture = Fixture::new();
    let (log, headers) = (log(), headers_of(&log()));
    fixture.ship(1, 1, &log[52..60]);
    fixture.branch(&headers[54]);
    // It continues a prepare of op 1014 that the parent does not hold.
    fixture.ship(2, 5, &other_log(&headers[53], 4)[1..]);
    let report = fixture.full();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].what.contains("not one chain"), "{:?}", report.problems);
}

#[test]
fn segments_that_are_merged_meanwhile_are_no_damage() {
    let fixture = Fixture::with_log();
    let hooked = HookedStore::new(&fixture.store);
    let repository = open(Arc::new(hooked.clone()) as Arc<dyn Store>).unwrap();
    let (inner, store) = (Arc::clone(&fixture.repository), fixture.store.clone());
    hooked.before_reads(move |name, _| {
        if !name.contains("1012-") {
            return true;
        }
        let index = LogIndex::list(&inner, &Lineage::only(1), 1012).unwrap();
        let pieces = index.pieces()[..2].to_vec();
        assert_eq!(pieces[1].last_op, 1017);
        merge(&inner, RunId(77), &pieces).unwrap();
        for piece in pieces {
            store.remove(&piece.name.object()).unwrap();
        }
        false
    });
    let report = verify(&repository, Depth::Full, &Silent).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.figure("segments"), 4);
    let ops = json!([{ "first_op": 960, "last_op": 1017 }, { "first_op": 1020, "last_op": 1022 }]);
    assert_eq!(report.figure("log_runs")[0]["runs"], ops);
}

#[test]
fn strangers_under_the_logs_prefixes_are_noted() {
    let fixture = Fixture::with_log();
    for name in ["tigerbeetle-logs/x", "tigerbeetle/timelines/2", "tigerbeetle/gaps/1", "amber/leases/tigerbeetle/00000001/1"] {
        fixture.store.replace(name, &b"?"[..]);
        let report = fixture.full();
        assert_eq!((report.problems.as_slice(), notes_of(&report, name).len()), (&[][..], 1), "{name}: {:?}", report.notes);
    }
}

#[test]
fn one_op_decides_whether_a_hole_is_lost_log() {
    let fixture = Fixture::new();
    let log = SampleFile::new(7, 250).log;
    fixture.ship(1, RunId::SHIPS | 1, &log[52..141]);
    fixture.ship(1, RunId::SHIPS | 2, &log[142..250]);
    let repository = &fixture.repository;
    let index = LogIndex::list(repository, &Lineage::only(1), 0).unwrap();
    let timelines = repository.timelines().unwrap();
    let (name, summary) = repository.newest_checkpoint().unwrap().best.unwrap();
    let lost = |first_op, last_op, checkpoint_op, log_first_op| {
        let manifests = BTreeMap::from([(CheckpointName { checkpoint_op, ..name }, Summary { log_first_op, ..summary.clone() })]);
        let promises = Promises { timelines: &timelines, gaps: &[], manifests: &manifests, in_manifests: &BTreeSet::new() };
        is_lost(&promises, &index, OpRange { first_op, last_op })
    };
    assert!(lost(1101, 1101, 1102, 1101), "one op, behind which a checkpoint was taken, and which was restorable");
    assert!(!lost(1101, 1101, 1101, 1101), "it may be on its way");
    assert!(!lost(1101, 1101, 1102, 1102), "nothing was restorable through it");
    assert!(!lost(1100, 1101, 1102, 1100) && !lost(1101, 1102, 1103, 1100), "an agent shipped what lies beside it");
    assert!(!lost(1102, 1101, 1103, 960) && !lost(1101, 1100, 1103, 960));
}

#[test]
fn a_gap_explains_every_hole_that_it_touches() {
    let gap = |first_op, last_op| Gap { timeline: 1, first_op, last_op, noticed_ns: 1, reason: String::new() };
    for (first_op, last_op, expected) in [(8, 9, false), (8, 10, true), (11, 11, true), (12, 14, true), (13, 14, false), (8, 14, true)] {
        assert_eq!(explains(&gap(first_op, last_op), OpRange { first_op: 10, last_op: 12 }), expected, "{first_op} to {last_op}");
    }
}

#[test]
fn as_many_holes_as_are_reported_one_by_one_and_one_more() {
    let fixture = Fixture::new();
    let log = SampleFile::new(7, 200).log;
    // Single ops with holes of one op between them, behind the backup's own log, which ends with
    // op 1011.
    for number in 1..=HOLES_REPORTED_MAX {
        fixture.ship(1, RunId::SHIPS | number as u64, &log[51 + 2 * number..][..1]);
        let notes = fixture.verify().unwrap().notes;
        assert_eq!(notes.iter().filter(|note| note.contains("are in no segment")).count(), number, "{notes:?}");
        assert_eq!(notes.len(), number);
    }
    let number = HOLES_REPORTED_MAX + 1;
    fixture.ship(1, RunId::SHIPS | number as u64, &log[51 + 2 * number..][..1]);
    let report = fixture.verify().unwrap();
    assert_eq!(notes_of(&report, "are in no segment").len(), HOLES_REPORTED_MAX);
    assert_eq!(notes_of(&report, "has 1 holes between op 1012 and op 1052: these are more").len(), 1, "{:?}", report.notes);
    let ranges = ranges_of_log(&report);
    assert_eq!((ranges.len(), ranges[0], ranges[21]), (22, (960, 1011), (1053, 1053)));
}

fn ranges_of_log(report: &VerificationReport) -> Vec<(u64, u64)> {
    let runs = report.figure("log_runs")[0]["runs"].as_array().unwrap().clone();
    runs.iter().map(|range| (range["first_op"].as_u64().unwrap(), range["last_op"].as_u64().unwrap())).collect()
}

#[test]
fn as_many_ranges_as_the_text_shows_and_one_more() {
    let range = |first_op| OpRange { first_op, last_op: first_op + 1 };
    let ranges: Vec<OpRange> = (0..=OP_RANGES_SHOWN_MAX as u64).map(|number| range(10 * number)).collect();
    assert_eq!(ranges_text(&ranges[..OP_RANGES_SHOWN_MAX]), "ops 0 to 1, 10 to 11, 20 to 21, 30 to 31, 40 to 41");
    assert_eq!(ranges_text(&ranges), "ops 0 to 1, 10 to 11, 20 to 21, 30 to 31, 40 to 41 and 1 more runs");
}
