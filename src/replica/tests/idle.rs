//! The cost of a poll: one sector when nothing is new.

use super::{DataFile, all_options};
use crate::disk::file::ReadOptions;
use crate::replica::log::{LogSource, Loss, Polled};
use crate::replica::tail::Tail;
use crate::replica::tail::tests::{poll, poll_all, tail_of};
use crate::tb_format::layout::{prepare_offset, sector_ceil, slot_of, wal_header_offset};
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of, log_after};

/// How many bytes a poll of this tail read, and its result.
fn cost(tail: &mut Tail) -> (u64, Polled) {
    let before = tail.bytes_read();
    let polled = poll(tail).0;
    (tail.bytes_read() - before, polled)
}

#[test]
fn an_idle_poll_reads_one_sector() {
    // The next op's slot is the first of a sector, one in the middle, the last; and the last and
    // first of the WAL ring.
    for log_ops in [0, 1, 7, 15, 63, 64] {
        let sample = SampleFile::new(7, log_ops);
        let data_file = DataFile::new(&sample, "/dev/shm");
        for options in all_options() {
            let mut tail = tail_of(&data_file, &sample, options);
            poll_all(&mut tail);
            assert_eq!(cost(&mut tail), (4096, Polled::Idle), "behind op {}", tail.op());
        }
    }
}

#[test]
fn a_file_that_rests_is_read_one_poll_in_four() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let idle_since = |seconds| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        std::fs::OpenOptions::new().write(true).open(data_file.path()).unwrap().set_modified(time).unwrap();
    };
    idle_since(60);
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    poll_all(&mut tail);
    let bytes_read: Vec<u64> = (0..8).map(|_| cost(&mut tail).0).collect();
    assert_eq!(bytes_read, [0, 0, 0, 4096, 0, 0, 0, 4096]);
    // A write is seen at once, or three polls later where the modification time hides it.
    data_file.lay_out(&SampleFile::new(7, 4));
    assert_eq!(poll(&mut tail).0, Polled::Prepares(1));
    idle_since(60);
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    let time = data_file.path().metadata().unwrap().modified().unwrap();
    data_file.lay_out(&SampleFile::new(7, 5));
    std::fs::OpenOptions::new().write(true).open(data_file.path()).unwrap().set_modified(time).unwrap();
    assert_eq!([0; 4].map(|_| poll(&mut tail).0), [Polled::Idle, Polled::Idle, Polled::Idle, Polled::Prepares(1)]);
    // A tail that is restarted elsewhere does not skip its first read.
    idle_since(60);
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    tail.restart(959, sample.checkpoint().header().checksum());
    assert_eq!(poll(&mut tail).0, Polled::Prepares(5));
}

#[test]
fn what_was_handed_on_of_a_file_that_rests_is_looked_at_one_time_in_four() {
    let (sample, mut after) = (SampleFile::new(7, 3), SampleFile::new(7, 2));
    let last = headers_of(&after.log).pop().unwrap();
    after.log.push(PrepareSample { view: 1, ..PrepareSample::after(&last) }.bytes());
    let replaced = Some(Loss::Replaced { restart: Some((last.op(), last.checksum())) });
    let data_file = DataFile::new(&sample, "/dev/shm");
    let set_modified = |time| std::fs::OpenOptions::new().write(true).open(data_file.path()).unwrap().set_modified(time).unwrap();
    let a_minute_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    set_modified(a_minute_ago);
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    poll_all(&mut tail);
    let look = |tail: &mut Tail| {
        let before = tail.bytes_read();
        let loss = tail.replaced().unwrap();
        (tail.bytes_read() - before, loss)
    };
    // The slot of the checkpoint's op and those after it are in two sectors. That the polls may
    // skip reads does not affect these checks.
    let bytes_read: Vec<u64> = (0..9).map(|_| look(&mut tail).0).collect();
    assert_eq!(bytes_read, [8192, 0, 0, 0, 8192, 0, 0, 0, 8192]);
    // A replacement that the modification time hides is seen three checks later.
    data_file.lay_out(&after);
    set_modified(a_minute_ago);
    assert_eq!([0; 4].map(|_| look(&mut tail)), [(0, None), (0, None), (0, None), (8192, replaced)]);
    // A replacement in a file that has just changed is seen at once, and as long as it remains.
    data_file.lay_out(&sample);
    set_modified(a_minute_ago);
    assert_eq!([0; 2].map(|_| look(&mut tail)), [(8192, None), (0, None)]);
    data_file.lay_out(&after);
    assert_eq!([0; 2].map(|_| look(&mut tail)), [(8192, replaced); 2]);
    // A tail that is restarted elsewhere does not skip its first read.
    data_file.lay_out(&sample);
    set_modified(a_minute_ago);
    assert_eq!([0; 2].map(|_| look(&mut tail)), [(8192, None), (0, None)]);
    let (op, checksum) = (tail.op(), tail.checksum());
    tail.restart(op, checksum);
    assert_eq!(look(&mut tail), (8192, None));
}

#[test]
fn an_older_op_in_the_slot_is_not_worth_a_look_at_its_prepare() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    // What the WAL ring held one round before.
    let mut older = log_after(&sample.checkpoint().header(), 0);
    older.extend(log_after(&crate::tb_format::sample::root_header(7), 962));
    data_file.write(wal_header_offset(slot_of(963)), &older[961][..256]);
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    poll_all(&mut tail);
    assert_eq!(cost(&mut tail), (4096, Polled::Idle));
}

#[test]
fn a_torn_header_costs_one_sector_more() {
    let sample = SampleFile::new(7, 3);
    let data_file = DataFile::new(&sample, "/dev/shm");
    data_file.write(wal_header_offset(slot_of(963)) + 20, &[0xff]);
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    poll_all(&mut tail);
    assert_eq!(cost(&mut tail), (2 * 4096, Polled::Idle));
    // What the prepare itself shows counts as much as the header: a later op is a loss, and the
    // tail does not wait.
    let later = SampleFile::new(7, 1028).log.pop().unwrap();
    data_file.write(prepare_offset(slot_of(963)), &later);
    assert!(matches!(poll(&mut tail).0, Polled::Lost { op: 963, loss: Loss::Wrapped { found_op: 1987 }, .. }));
}

#[test]
fn headers_are_read_on_only_behind_a_whole_sector_of_new_ones() {
    let prepare_bytes = |ops: u64| ops * sector_ceil(SampleFile::new(7, 1).log[0].len() as u64);
    // Slot 960 begins a sector: 15 new ops do not fill it, 16 do.
    for (log_ops, header_bytes) in [(15, 4096), (16, 16_384), (64, 16_384)] {
        let sample = SampleFile::new(7, log_ops);
        let data_file = DataFile::new(&sample, "/dev/shm");
        let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
        assert_eq!(cost(&mut tail), (header_bytes + prepare_bytes(log_ops), Polled::Prepares(log_ops)));
    }
    // From the first slot of the WAL ring on there is room for the full 64 KiB, 256 headers.
    let sample = SampleFile::new(7, 64 + 300);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    assert_eq!(poll(&mut tail).0, Polled::Prepares(64));
    assert_eq!(cost(&mut tail), (65_536 + prepare_bytes(256), Polled::Prepares(256)));
    assert_eq!(poll(&mut tail).0, Polled::Prepares(44));
}
