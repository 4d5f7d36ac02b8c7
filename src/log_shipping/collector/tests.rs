use super::*;
use crate::log_shipping::tests::bench::{Bench, HOUR};
use crate::log_shipping::tests::store_double;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::sample::{headers_of, log_after, root_header};

/// Takes prepares; returns whether all of them belong to the stored history.
fn take(collector: &mut Collector, log: &[Vec<u8>]) -> bool {
    log.iter().all(|bytes| collector.take(&Prepare::check(bytes).unwrap()).unwrap() == Taken::Fits)
}

fn waiting(bench: &Bench) -> u64 {
    bench.shipper.counters().waiting.memory_segments
}

#[test]
fn a_segment_ends_where_the_next_prepare_would_not_fit() {
    let (bench, log) = (Bench::new(1 << 20), log_after(&root_header(7), 7));
    let mut collector = bench.collector(3 * log[0].len() as u64 + 1, HOUR);
    assert!(take(&mut collector, &log));
    assert_eq!((waiting(&bench), collector.last().0, collector.oldest().is_some()), (2, 7, true));
    collector.flush().unwrap();
    collector.flush().unwrap();
    assert_eq!((waiting(&bench), collector.oldest()), (3, None), "nothing is no segment");
    bench.board.lead(true, None);
    store_double::eventually("all is stored", || bench.stored().len() == 3);
    assert_eq!(bench.stored(), [(1, 3), (4, 6), (7, 7)]);
}

#[test]
fn a_segment_ends_when_its_oldest_prepare_has_waited() {
    let (bench, log) = (Bench::new(1 << 20), log_after(&root_header(7), 2));
    let mut patient = bench.collector(1 << 20, HOUR);
    assert_eq!(patient.due_in(), None);
    assert!(take(&mut patient, &log));
    patient.flush_if_due().unwrap();
    assert!(waiting(&bench) == 0 && patient.due_in().is_some_and(|due| due > HOUR / 2));
    let mut hasty = bench.collector(1 << 20, Duration::ZERO);
    hasty.flush_if_due().unwrap();
    assert!(take(&mut hasty, &log));
    assert_eq!(hasty.due_in(), Some(Duration::ZERO));
    hasty.flush_if_due().unwrap();
    assert_eq!((waiting(&bench), hasty.due_in()), (1, None));
}

#[test]
fn what_is_stored_is_only_compared() {
    let (bench, log) = (Bench::new(1 << 20), log_after(&root_header(7), 6));
    let mut collector = bench.collector(1 << 20, HOUR);
    collector.skip_to((4, headers_of(&log)[3].checksum()));
    assert!(take(&mut collector, &log[..3]) && !collector.has_joined() && collector.oldest().is_none());
    assert!(take(&mut collector, &log[3..]) && collector.has_joined());
    collector.flush().unwrap();
    assert_eq!(collector.taken, Some((6, headers_of(&log)[5].checksum())));
    assert_eq!((collector.taken_before(7), collector.taken_before(8)), (collector.taken, None));
    let mut other = bench.collector(1 << 20, HOUR);
    other.skip_to((4, Checksum(1)));
    assert!(!take(&mut other, &log));
}

#[test]
fn what_finds_no_room_is_let_go_until_it_begins_anew() {
    let (bench, log) = (Bench::new(1), log_after(&root_header(7), 9));
    let mut collector = bench.collector(3 * log[0].len() as u64, HOUR);
    assert!(take(&mut collector, &log[..8]));
    assert_eq!((collector.dropped(), collector.oldest(), collector.last().0, waiting(&bench)), (Some(1), None, 8, 0));
    assert_eq!(collector.drop_from(7), 1, "the first counts");
    let run = collector.run;
    collector.begin_anew().unwrap();
    assert!(collector.dropped().is_none() && collector.run != run);
    assert!(take(&mut collector, &log[8..]) && collector.oldest().is_some());
}

#[test]
fn a_shipper_that_ends_is_an_error() {
    let (bench, log) = (Bench::new(1 << 20), log_after(&root_header(7), 1));
    let mut collector = bench.collector(1 << 20, HOUR);
    assert!(take(&mut collector, &log));
    bench.shipper.drain(Duration::ZERO);
    assert!(collector.flush().is_err());
}

#[test]
fn a_segment_is_filled_to_its_last_byte() {
    let log = log_after(&root_header(7), 5);
    assert!(log.iter().all(|bytes| bytes.len() == log[0].len()));
    for (spare_bytes, first) in [(0_i64, (1, 3)), (-1, (1, 2)), (1, (1, 3))] {
        let bench = Bench::new(1 << 20);
        let mut collector = bench.collector((3 * log[0].len() as i64 + spare_bytes) as u64, HOUR);
        assert!(take(&mut collector, &log));
        collector.flush().unwrap();
        bench.board.lead(true, None);
        store_double::eventually("all is stored", || bench.stored().last().is_some_and(|(_, last_op)| *last_op == 5));
        assert_eq!(bench.stored()[0], first, "{spare_bytes}");
    }
    // A prepare that is larger than a segment is one.
    let bench = Bench::new(1 << 20);
    let mut collector = bench.collector(1, HOUR);
    assert!(take(&mut collector, &log[..2]));
    assert_eq!(waiting(&bench), 1);
}
