use super::Fixture;
use crate::error::Kind;
use crate::repository::name::timeline_object;
use crate::repository::sample::{Fault, FaultyStore, open};
use crate::store::Store;
use crate::tb_format::layout::HEADER_BYTES;
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of, sample_timestamp};
use crate::tier::Tier;
use crate::tier::sample::{LOG_OPS, as_replica, edited, next_checkpoint};
use crate::tier::tigerbeetle::Tigerbeetle;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::select::newest;
use crate::tier::tigerbeetle::restore::select::select;
use crate::units::time_text;
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

/// The op that a point selects.
fn op_of(fixture: &Fixture, point: Point) -> u64 {
    select(&fixture.repository, point, None).unwrap().op
}

#[test]
fn a_time_means_the_last_op_at_or_before_it() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    for op in 1000..=1011 {
        assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(op))), op);
        if op < 1011 {
            assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(op) + 1)), op);
            assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(op) + SECOND - 1)), op);
        }
    }
    let restored = fixture.restore(Point::Time(sample_timestamp(1009) + 5)).unwrap();
    assert_eq!((restored.op, restored.timestamp_ns), (1009, sample_timestamp(1009)));
    fixture.assert_image(&SampleFile::new(7, 50));
}

#[test]
fn a_point_outside_is_refused_with_the_nearest() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    let text = |op: u64| format!("op {op} ({})", time_text(sample_timestamp(op)));
    for (point, nearest) in [
        (Point::Op(999), format!("are {} after it", text(1000))),
        (Point::Op(1012), format!("are {} before it", text(1011))),
        (Point::Op(u64::MAX), format!("are {} before it", text(1011))),
        (Point::Time(sample_timestamp(1000) - 1), format!("are {} after it", text(1000))),
        (Point::Time(sample_timestamp(1011) + 1), format!("are {} before it", text(1011))),
        (Point::Time(0), format!("are {} after it", text(1000))),
    ] {
        let error = fixture.refused(point);
        assert_eq!(error.kind, Kind::Input);
        assert!(error.message.ends_with(&nearest), "{point:?}: {error}");
    }
}

#[test]
fn between_two_backups_both_sides_are_named() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    fixture.backup(&next_checkpoint(&SampleFile::new(7, 961), LOG_OPS).unwrap());
    assert_eq!(op_of(&fixture, Point::Newest), 1971);
    assert_eq!(op_of(&fixture, Point::Op(1960)), 1960);
    assert_eq!(op_of(&fixture, Point::Op(1001)), 1001);
    assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(1002))), 1002);
    assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(1961))), 1961);
    for point in [Point::Op(1012), Point::Op(1959), Point::Time(sample_timestamp(1011) + 1), Point::Time(sample_timestamp(1960) - 1)] {
        let error = fixture.refused(point);
        let nearest = format!(
            "op 1011 ({}) before it and op 1960 ({}) after it",
            time_text(sample_timestamp(1011)),
            time_text(sample_timestamp(1960))
        );
        assert!(error.kind == Kind::Input && error.message.ends_with(&nearest), "{point:?}: {error}");
    }
    fixture.restore(Point::Op(1970)).unwrap();
    fixture.assert_image(&next_checkpoint(&SampleFile::new(7, 960), 51).unwrap());
    fixture.restore(Point::Op(1010)).unwrap();
    fixture.assert_image(&SampleFile::new(7, 51));
}

#[test]
fn what_the_superblock_says_is_committed_cannot_be_left_out() {
    let sample = edited(&SampleFile::new(7, LOG_OPS), |bytes| bytes[1328..1336].copy_from_slice(&1009_u64.to_le_bytes()));
    let fixture = Fixture::of(&sample);
    assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(1009))), 1009);
    for point in [Point::Op(1008), Point::Time(sample_timestamp(1008))] {
        let error = fixture.refused(point);
        assert!(error.message.ends_with(&format!("are op 1009 ({}) after it", time_text(sample_timestamp(1009)))), "{error}");
    }
}

#[test]
fn an_empty_repository_says_how_to_fill_it() {
    let fixture = Fixture::empty();
    for point in [Point::Newest, Point::Op(1), Point::Time(1)] {
        let error = fixture.refused(point);
        assert!(error.kind == Kind::Input && error.message.contains("there is no backup in this repository yet"), "{error}");
    }
    assert_eq!(newest(&fixture.repository).unwrap_err().kind, Kind::Input);
}

#[test]
fn an_older_checkpoint_may_reach_further() {
    // The second replica lags: it has made the next checkpoint, but its log ends before that of the
    // first backup.
    let fixture = Fixture::of(&SampleFile::new(7, 1008));
    let lagging = next_checkpoint(&SampleFile::new(7, 960), 43).unwrap();
    fixture.backup(&as_replica(&lagging, 1).unwrap());
    assert_eq!(op_of(&fixture, Point::Newest), 1967);
    assert_eq!(op_of(&fixture, Point::Op(1965)), 1965);
    assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(1965))), 1965);
    assert_eq!(select(&fixture.repository, Point::Op(1961), None).unwrap().name.checkpoint_op, 1919);
}

/// Ops 1012 and 1013 are prepared, but nobody knows yet whether they will be committed.
fn before_a_view_change() -> SampleFile {
    let mut sample = SampleFile::new(7, LOG_OPS);
    for _ in 0..2 {
        let last = headers_of(&sample.log).pop().unwrap();
        sample.log.push(PrepareSample { commit: 1010, ..PrepareSample::after(&last) }.bytes());
    }
    sample
}

/// The same ledger after a view change that replaced op 1012 and what followed by one other
/// prepare.
fn after_a_view_change() -> SampleFile {
    let mut sample = SampleFile::new(7, LOG_OPS);
    let last = headers_of(&sample.log)[LOG_OPS as usize - 1];
    let other = PrepareSample { view: 1, commit: 1011, body: vec![3; 128], ..PrepareSample::after(&last) }.bytes();
    let header = headers_of(std::slice::from_ref(&other))[0];
    sample.log.push(other);
    edited(&sample, |bytes| {
        bytes[40..48].copy_from_slice(&2_u64.to_le_bytes());
        bytes[1356..1360].copy_from_slice(&1_u32.to_le_bytes());
        bytes[1360..1364].copy_from_slice(&1_u32.to_le_bytes());
        bytes[4096..4096 + HEADER_BYTES].copy_from_slice(header.bytes());
    })
}

#[test]
fn what_a_view_change_replaced_is_not_the_newest_though_it_reaches_further() {
    let (stale, current) = (before_a_view_change(), after_a_view_change());
    for order in [[&stale, &current], [&current, &stale]] {
        let fixture = Fixture::empty();
        // Two replicas, so that the order of the names is not that of the backups.
        fixture.backup(order[0]);
        fixture.backup(&as_replica(order[1], 1).unwrap());
        let current_name = select(&fixture.repository, Point::Newest, None).unwrap();
        assert_eq!((current_name.op, current_name.manifest.superblock.log_view()), (1012, 1));
        assert_eq!(newest(&fixture.repository).unwrap().1.recovered_to_op, 1012);
        let at_fork = select(&fixture.repository, Point::Op(1012), None).unwrap();
        assert_eq!(at_fork.name, current_name.name, "op 1012 of the later view");
        assert_eq!(op_of(&fixture, Point::Op(1010)), 1010);
        assert_eq!(op_of(&fixture, Point::Op(1013)), 1013, "only the older history holds it");
    }
}

#[test]
fn a_lagging_replica_of_a_later_view_that_agrees_is_not_the_newest() {
    let longer = SampleFile::new(7, LOG_OPS + 2);
    let lagging = edited(&SampleFile::new(7, LOG_OPS), |bytes| {
        bytes[1356..1360].copy_from_slice(&1_u32.to_le_bytes());
        bytes[1360..1364].copy_from_slice(&1_u32.to_le_bytes());
        bytes[4096..4096 + HEADER_BYTES].copy_from_slice(headers_of(&longer.log)[LOG_OPS as usize + 1].bytes());
    });
    let fixture = Fixture::of(&longer);
    fixture.backup(&as_replica(&lagging, 1).unwrap());
    assert_eq!(op_of(&fixture, Point::Newest), 1013);
}

#[test]
fn of_two_histories_of_one_length_the_later_view_counts() {
    let mut stale = SampleFile::new(7, LOG_OPS);
    let last = headers_of(&stale.log).pop().unwrap();
    stale.log.push(PrepareSample { commit: 1010, ..PrepareSample::after(&last) }.bytes());
    let current = after_a_view_change();
    for (first, second) in [(&stale, &current), (&current, &stale)] {
        let fixture = Fixture::of(first);
        fixture.backup(&as_replica(second, 1).unwrap());
        assert_eq!(select(&fixture.repository, Point::Newest, None).unwrap().manifest.superblock.log_view(), 1);
    }
}

#[test]
fn a_longer_log_that_cannot_be_compared_is_still_the_newest() {
    let fixture = Fixture::of(&before_a_view_change());
    let current = fixture.backup(&as_replica(&after_a_view_change(), 1).unwrap()).name;
    let names = fixture.store.names();
    let segment = names.iter().find(|name| name.contains("00000000000000000960-00000000000000001013")).unwrap();
    let whole = fixture.store.remove(segment).unwrap();
    assert_eq!(newest(&fixture.repository).unwrap().1.recovered_to_op, 1013);
    assert_eq!(fixture.refused(Point::Newest).kind, Kind::Damaged);
    fixture.store.replace(segment, whole);
    assert_eq!(newest(&fixture.repository).unwrap().0, current);
    // A store that cannot be reached is no answer.
    let faulty = FaultyStore::new(&fixture.store);
    let repository = open(Arc::new(faulty.clone()) as Arc<dyn Store>).unwrap();
    faulty.fail(u64::MAX, Fault::Refused);
    newest(&repository).unwrap();
    for call in 1..=faulty.calls() {
        faulty.fail(call, Fault::Refused);
        assert_eq!(newest(&repository).unwrap_err().kind, Kind::TryAgain, "call {call}");
    }
}

#[test]
fn the_checkpoints_own_op_has_a_time_too() {
    let fixture = Fixture::of(&SampleFile::new(7, 3));
    let error = fixture.refused(Point::Op(958));
    assert!(error.message.ends_with(&format!("are op 959 ({}) after it", time_text(sample_timestamp(959)))), "{error}");
    assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(959))), 959);
    assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(960) - 1)), 959);
    assert_eq!(op_of(&fixture, Point::Time(sample_timestamp(962))), 962);
}

#[test]
fn far_older_backups_are_not_even_read() {
    // And one of checkpoint 0, which reaches op 1007 at the most: it does not open.
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    let second = next_checkpoint(&SampleFile::new(7, 961), LOG_OPS).unwrap();
    fixture.backup(&second);
    fixture.store.replace("tigerbeetle/checkpoints/00000001/00000000000000000000-00-0000000000000001", &b"x"[..]);
    assert_eq!(op_of(&fixture, Point::Newest), 1971);
    assert_eq!(op_of(&fixture, Point::Op(1011)), 1011);
    assert_eq!(fixture.refused(Point::Op(2000)).kind, Kind::Input, "nothing so old could hold it");
    assert_eq!(fixture.refused(Point::Op(999)).kind, Kind::Damaged, "but this it might");
}

#[test]
fn a_damaged_backup_does_not_hide_the_others() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    let second = fixture.backup(&next_checkpoint(&SampleFile::new(7, 961), LOG_OPS).unwrap()).name;
    let whole = fixture.store.bytes(&second.object()).unwrap();
    for damage in [None, Some(whole.slice(..whole.len() - 1))] {
        fixture.store.remove(&second.object());
        if let Some(cut) = damage {
            fixture.store.replace(&second.object(), cut);
        }
        let restored = fixture.restore(Point::Op(1010)).unwrap();
        assert!(restored.notes.iter().any(|note| note.contains(&second.object()) && note.contains("skipped")), "{:?}", restored.notes);
        std::fs::remove_file(fixture.path("image")).unwrap();
        let error = fixture.refused(Point::Op(1965));
        assert_eq!(error.kind, Kind::Damaged);
        assert!(error.message.contains("op 1011") && error.message.contains(&second.object()), "{error}");
        // What opens is restored, and what may lie beyond is named.
        let restored = fixture.restore(Point::Newest).unwrap();
        assert!(restored.op == 1011 && restored.notes.iter().any(|note| note.contains(&second.object())), "{:?}", restored.notes);
        std::fs::remove_file(fixture.path("image")).unwrap();
        assert_eq!(newest(&fixture.repository).unwrap().1.recovered_to_op, 1011);
    }
}

#[test]
fn junk_under_the_name_of_a_timeline_hides_nothing() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    assert_eq!(op_of(&fixture, Point::Newest), 1011);
    let junk = timeline_object(2);
    fixture.store.replace(&junk, &b"junk"[..]);
    for point in [Point::Newest, Point::Op(1011), Point::Time(sample_timestamp(1011))] {
        let found = select(&fixture.repository, point, None).unwrap();
        assert!(found.op == 1011 && found.notes.iter().any(|note| note.contains(&junk)), "{point:?}: {:?}", found.notes);
    }
    let error = select(&fixture.repository, Point::Newest, Some(2)).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains(&junk), "{error}");
    let listing = Tigerbeetle.list(&fixture.repository).unwrap();
    assert!(listing.failure.unwrap().message.contains(&junk));
    assert_eq!(listing.sections.iter().map(|section| section.rows.len()).sum::<usize>(), 1);
}

#[test]
fn when_the_only_backup_is_damaged_that_is_said() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    let name = newest(&fixture.repository).unwrap().0;
    fixture.store.corrupt(&name.object(), 70, 1);
    assert_eq!(newest(&fixture.repository).unwrap_err().kind, Kind::Damaged);
    assert_eq!(fixture.refused(Point::Newest).kind, Kind::Damaged);
    let error = fixture.refused(Point::Op(1010));
    assert!(error.kind == Kind::Damaged && error.message.contains("nearest restorable points are none"), "{error}");
}
