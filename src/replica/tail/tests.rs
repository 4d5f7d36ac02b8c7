use super::{Tail, header_ring};
use crate::disk::file::ReadOptions;
use crate::error::Error;
use crate::replica::log::{LogSource, Loss, Polled};
use crate::replica::tests::{DataFile, all_options};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::layout::{prepare_offset, reply_offset, slot_of, wal_header_offset};
use crate::tb_format::sample::{SampleFile, headers_of, reply};

/// The log after the checkpoint of a sample.
pub(crate) fn tail_of(data_file: &DataFile, sample: &SampleFile, options: ReadOptions) -> Tail {
    let checkpoint = sample.checkpoint().header();
    Tail::open(&data_file.path(), options, checkpoint.op(), checkpoint.checksum()).unwrap()
}

/// Polls once. Returns the result and the prepares.
pub(crate) fn poll(tail: &mut dyn LogSource) -> (Polled, Vec<Vec<u8>>) {
    let mut prepares = Vec::new();
    let polled = tail
        .poll(&mut |prepare| {
            prepares.push(prepare.bytes().to_vec());
            Ok(())
        })
        .unwrap();
    (polled, prepares)
}

/// Polls until nothing new comes. Returns the prepares and the last result.
pub(crate) fn poll_all(tail: &mut dyn LogSource) -> (Vec<Vec<u8>>, Polled) {
    let mut all = Vec::new();
    loop {
        let (polled, prepares) = poll(tail);
        all.extend(prepares);
        if !matches!(polled, Polled::Prepares(_)) {
            return (all, polled);
        }
    }
}

#[test]
fn the_whole_log_comes_in_order_round_the_ring() {
    let sample = SampleFile::new(7, 1000);
    let data_file = DataFile::new(&sample, "/dev/shm");
    for options in all_options() {
        let mut tail = tail_of(&data_file, &sample, options);
        let (prepares, end) = poll_all(&mut tail);
        assert!(prepares == sample.log, "{options:?}");
        assert_eq!((end, tail.op()), (Polled::Idle, 1959));
        assert!(tail.bytes_read() > 0);
    }
}

#[test]
fn what_is_written_meanwhile_follows() {
    let sample = SampleFile::new(7, 2);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    assert_eq!(poll(&mut tail).0, Polled::Prepares(2));
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    data_file.lay_out(&SampleFile::new(7, 3));
    let (polled, prepares) = poll(&mut tail);
    assert_eq!((polled, prepares.as_slice()), (Polled::Prepares(1), &SampleFile::new(7, 3).log[2..]));
}

#[test]
fn an_op_that_the_ring_has_overwritten_is_lost() {
    let sample = SampleFile::new(7, 1030);
    // The WAL ring holds ops 966 to 1989.
    let data_file = DataFile::new(&sample, "/dev/shm");
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    let Polled::Lost { op, loss, reason } = poll(&mut tail).0 else { panic!("it is lost") };
    assert!(op == 960 && reason.contains("holds op 1984 in its place"), "{reason}");
    assert_eq!(loss, Loss::Wrapped { found_op: 1984 });
    assert_eq!(tail.replaced().unwrap(), None, "a slot that holds a later op says nothing about a view change");
    tail.restart(965, headers_of(&sample.log)[5].checksum());
    let (prepares, end) = poll_all(&mut tail);
    assert_eq!((prepares.len(), end, tail.op()), (1024, Polled::Idle, 1989));
}

#[test]
fn what_comes_before_a_lost_op_is_handed_on_first() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let later = SampleFile::new(7, 1027).log.pop().unwrap();
    data_file.write(wal_header_offset(slot_of(962)), &later[..256]);
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    let (polled, prepares) = poll(&mut tail);
    assert!(matches!(polled, Polled::Lost { op: 962, .. }), "{polled:?}");
    assert_eq!(prepares, sample.log[..2]);
}

#[test]
fn a_torn_header_is_taken_from_its_prepare() {
    let sample = SampleFile::new(7, 5);
    for torn in 960..=964 {
        let data_file = DataFile::new(&sample, "/dev/shm");
        data_file.write(wal_header_offset(slot_of(torn)) + 20, &[0xff]);
        let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
        let (prepares, end) = poll_all(&mut tail);
        assert!(prepares == sample.log && end == Polled::Idle, "op {torn}");
    }
}

#[test]
fn a_torn_prepare_is_waited_for() {
    let sample = SampleFile::new(7, 5);
    for (within, options) in [(20, all_options()[0]), (300, all_options()[0]), (300, all_options()[3])] {
        let data_file = DataFile::new(&sample, "/dev/shm");
        data_file.write(prepare_offset(slot_of(962)) + within, &[0xff]);
        let mut tail = tail_of(&data_file, &sample, options);
        let (prepares, end) = poll_all(&mut tail);
        assert_eq!((prepares.as_slice(), end), (&sample.log[..2], Polled::Idle));
        data_file.lay_out(&sample);
        assert_eq!(poll_all(&mut tail).0, sample.log[2..]);
    }
}

#[test]
fn both_torn_is_waited_for_too() {
    let sample = SampleFile::new(7, 2);
    let data_file = DataFile::new(&sample, "/dev/shm");
    data_file.write(prepare_offset(slot_of(960)) + 20, &[0xff]);
    data_file.write(wal_header_offset(slot_of(960)) + 20, &[0xff]);
    assert_eq!(poll(&mut tail_of(&data_file, &sample, ReadOptions::quick())).0, Polled::Idle);
}

#[test]
fn another_parent_is_another_history() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let mut tail = Tail::open(&data_file.path(), ReadOptions::quick(), 959, Checksum(1)).unwrap();
    let Polled::Lost { op, reason, .. } = poll(&mut tail).0 else { panic!("it is lost") };
    assert!(op == 960 && reason.contains("another history"), "{reason}");
}

#[test]
fn an_error_of_the_taker_ends_the_poll_and_nothing_is_lost() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    let error = tail.poll(&mut |_| Err(Error::bug("full"))).unwrap_err();
    assert_eq!(error.to_string(), "full");
    assert_eq!(poll_all(&mut tail).0, sample.log);
}

#[test]
fn replies_that_are_whole_are_read() {
    let sample = SampleFile::new(7, 0);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let other = reply(7, 9, 951, &[2; 5000]);
    for slot in [2, 5, 63] {
        data_file.write(reply_offset(slot), &other);
    }
    data_file.write(reply_offset(2) + 4500, &[0xff]);
    data_file.write(reply_offset(5) + 20, &[0xff]);
    for options in all_options() {
        let mut tail = tail_of(&data_file, &sample, options);
        assert_eq!(tail.client_replies().unwrap(), [(0, sample.reply.clone()), (63, other.clone())]);
    }
}

#[test]
fn the_ring_of_headers_can_be_looked_at() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let ring = header_ring(&data_file.path(), ReadOptions::quick()).unwrap();
    assert_eq!(ring.len(), 1024 * 256);
    assert_eq!(ring[960 * 256..961 * 256], sample.log[0][..256]);
}
