//! View changes: prepares that were handed on are replaced, and the tail names the place where the
//! new log joins.

use super::DataFile;
use crate::disk::file::ReadOptions;
use crate::replica::log::{LogSource, Loss, Polled};
use crate::replica::tail::Tail;
use crate::replica::tail::tests::{poll, poll_all, tail_of};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::{PrepareHeader, PrepareId};
use crate::tb_format::layout::{slot_of, wal_header_offset};
use crate::tb_format::sample::{PrepareSample, SampleFile, headers_of};

/// A log in which each prepare says that those up to seven before it are committed, as in a full
/// pipeline.
fn pipelined(ops: u64) -> SampleFile {
    let mut sample = SampleFile::new(7, 0);
    (0..ops).for_each(|_| push(&mut sample, 0, 7));
    sample
}

/// Adds a prepare of this view, whose commit is `behind` ops before it.
fn push(sample: &mut SampleFile, view: u32, behind: u64) {
    let last = headers_of(&sample.log).pop().unwrap_or(sample.checkpoint().header());
    let next = PrepareSample::after(&last);
    sample.log.push(PrepareSample { view, commit: next.op - 1 - behind, ..next }.bytes());
}

/// The log as a view change left it: the last `replaced` prepares are others, and `added` follow
/// them.
fn after_view_change(sample: &SampleFile, replaced: usize, added: usize) -> SampleFile {
    let mut after = sample.clone();
    after.log.truncate(sample.log.len() - replaced);
    (0..replaced + added).for_each(|_| push(&mut after, 1, 7));
    after
}

fn place(header: &PrepareHeader) -> Option<PrepareId> {
    Some((header.op(), header.checksum()))
}

#[test]
fn what_is_replaced_at_the_head_is_seen_with_nothing_behind_it() {
    let before = pipelined(20);
    let headers = headers_of(&before.log);
    for replaced in 1..=16 {
        let data_file = DataFile::new(&before, "/dev/shm");
        let mut tail = tail_of(&data_file, &before, ReadOptions::quick());
        poll_all(&mut tail);
        assert_eq!(tail.replaced().unwrap(), None);
        let after = after_view_change(&before, replaced, 0);
        data_file.lay_out(&after);
        assert_eq!(poll(&mut tail).0, Polled::Idle, "a poll looks forward only");
        let restart = place(&headers[19 - replaced]);
        assert_eq!(tail.replaced().unwrap(), Some(Loss::Replaced { restart }), "{replaced} replaced");
        let (op, checksum) = restart.unwrap();
        tail.restart(op, checksum);
        assert_eq!(poll_all(&mut tail).0, after.log[20 - replaced..]);
        assert_eq!(tail.replaced().unwrap(), None);
    }
}

#[test]
fn what_is_replaced_and_goes_on_is_lost_with_the_place_to_start_again() {
    let before = pipelined(20);
    let headers = headers_of(&before.log);
    for replaced in 1..=8 {
        let data_file = DataFile::new(&before, "/dev/shm");
        let mut tail = tail_of(&data_file, &before, ReadOptions::quick());
        poll_all(&mut tail);
        let after = after_view_change(&before, replaced, 2);
        data_file.lay_out(&after);
        let Polled::Lost { op: 980, loss, reason } = poll(&mut tail).0 else { panic!("it is lost") };
        let restart = place(&headers[19 - replaced]);
        assert_eq!(loss, Loss::Replaced { restart });
        assert!(reason.contains(&format!("behind op {}", 979 - replaced)), "{reason}");
        let (op, checksum) = restart.unwrap();
        tail.restart(op, checksum);
        assert_eq!(poll_all(&mut tail), (after.log[20 - replaced..].to_vec(), Polled::Idle));
    }
}

#[test]
fn a_header_that_stands_behind_a_replaced_one_is_not_the_place() {
    let before = pipelined(20);
    let data_file = DataFile::new(&before, "/dev/shm");
    let mut tail = tail_of(&data_file, &before, ReadOptions::quick());
    poll_all(&mut tail);
    // The new view has got as far as op 977: 978 and 979 are those of the old view.
    let after = after_view_change(&before, 4, 0);
    data_file.write(wal_header_offset(slot_of(976)), after.log[16].first_chunk::<256>().unwrap());
    data_file.write(wal_header_offset(slot_of(977)), after.log[17].first_chunk::<256>().unwrap());
    let restart = place(&headers_of(&before.log)[15]);
    assert_eq!(tail.replaced().unwrap(), Some(Loss::Replaced { restart }));
    // Where the header before is torn, the place is the one before that.
    data_file.write(wal_header_offset(slot_of(975)) + 20, &[0xff]);
    let restart = place(&headers_of(&before.log)[14]);
    assert_eq!(tail.replaced().unwrap(), Some(Loss::Replaced { restart }));
}

#[test]
fn the_slots_round_the_end_of_the_ring_are_looked_at() {
    // Op 1023 is in the last slot, op 1024 in the first.
    let before = pipelined(68);
    let headers = headers_of(&before.log);
    assert_eq!(headers[67].op(), 1027);
    let data_file = DataFile::new(&before, "/dev/shm");
    let mut tail = tail_of(&data_file, &before, ReadOptions::quick());
    assert_eq!(poll_all(&mut tail), (before.log.clone(), Polled::Idle));
    let after = after_view_change(&before, 6, 0);
    data_file.lay_out(&after);
    let restart = place(&headers[61]);
    assert_eq!((restart.unwrap().0, tail.replaced().unwrap()), (1021, Some(Loss::Replaced { restart })));
    data_file.lay_out(&after_view_change(&before, 6, 1));
    assert!(matches!(poll(&mut tail).0, Polled::Lost { op: 1028, loss: Loss::Replaced { restart: again }, .. } if again == restart));
}

#[test]
fn nothing_is_named_where_nothing_stands() {
    // The log is wanted after a prepare that was replaced while nobody polled.
    let before = pipelined(20);
    let last = headers_of(&before.log)[19];
    let mut data_file = DataFile::new(&after_view_change(&before, 1, 0), "/dev/shm");
    let mut tail = Tail::open(&data_file.path(), ReadOptions::quick(), last.op(), last.checksum()).unwrap();
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    assert_eq!(tail.replaced().unwrap(), Some(Loss::Replaced { restart: None }));
    // More than any view change replaces: the place is found among all that are remembered, if it
    // is there.
    for (replaced, expected) in [(40, place(&headers_of(&pipelined(100).log)[59])), (70, None)] {
        let before = pipelined(100);
        data_file = DataFile::new(&before, "/dev/shm");
        let mut tail = tail_of(&data_file, &before, ReadOptions::quick());
        poll_all(&mut tail);
        data_file.lay_out(&after_view_change(&before, replaced, 0));
        assert_eq!(tail.replaced().unwrap(), Some(Loss::Replaced { restart: expected }));
    }
}

#[test]
fn a_leftover_of_an_ended_view_is_waited_out() {
    // The old view wrote 980 after another 979; the new one has written 979 and not yet 980.
    let log = pipelined(20);
    let mut old_view = after_view_change(&log, 1, 1);
    let leftover = old_view.log.pop().unwrap();
    let data_file = DataFile::new(&log, "/dev/shm");
    data_file.write(wal_header_offset(slot_of(980)), &leftover[..256]);
    let mut tail = tail_of(&data_file, &log, ReadOptions::quick());
    assert_eq!(poll_all(&mut tail), (log.log.clone(), Polled::Idle));
    assert_eq!(tail.replaced().unwrap(), None);
    let mut next = log.clone();
    push(&mut next, 2, 7);
    data_file.lay_out(&next);
    assert_eq!(poll_all(&mut tail), (next.log[20..].to_vec(), Polled::Idle));
}

#[test]
fn a_replacement_that_is_proven_before_it_is_written_is_not_missed() {
    // 979 is followed by 980 of a view that replaced 979, and eight more: the last says that 980 is
    // committed.
    let before = pipelined(20);
    let after = after_view_change(&before, 1, 9);
    let data_file = DataFile::new(&before, "/dev/shm");
    let mut tail = tail_of(&data_file, &before, ReadOptions::quick());
    poll_all(&mut tail);
    for (prepare, header) in after.log.iter().zip(headers_of(&after.log)).skip(20) {
        data_file.write(wal_header_offset(slot_of(header.op())), &prepare[..256]);
        let restart = place(&headers_of(&before.log)[18]);
        match poll(&mut tail).0 {
            Polled::Idle => assert!(header.commit() < 979, "{header:?}"),
            polled => {
                assert!(header.commit() >= 979, "{header:?}");
                assert!(matches!(polled, Polled::Lost { op: 980, loss: Loss::Replaced { restart: found }, .. } if found == restart));
            }
        }
    }
    // After a restart the tail does not hand on the old 979, which is still in its slot.
    tail.restart(978, headers_of(&before.log)[18].checksum());
    assert_eq!(poll_all(&mut tail), (vec![], Polled::Idle));
    data_file.lay_out(&after);
    assert_eq!(poll_all(&mut tail), (after.log[19..].to_vec(), Polled::Idle));
}

#[test]
fn what_is_certain_is_told_from_what_is_only_prepared() {
    let sample = pipelined(20);
    let headers = headers_of(&sample.log);
    let data_file = DataFile::new(&sample, "/dev/shm");
    let mut tail = tail_of(&data_file, &sample, ReadOptions::quick());
    assert_eq!(tail.commit_known_op(), 0);
    poll_all(&mut tail);
    assert_eq!((tail.op(), tail.checksum(), tail.commit_known_op()), (979, headers[19].checksum(), 971));
    tail.restart(975, headers[15].checksum());
    assert_eq!(tail.commit_known_op(), 971, "it is the same history");
    tail.restart(970, headers[10].checksum());
    assert_eq!(tail.commit_known_op(), 970, "nothing behind the last op is known");
    poll_all(&mut tail);
    tail.restart(975, Checksum(1));
    assert_eq!((tail.op(), tail.checksum(), tail.commit_known_op()), (975, Checksum(1), 0), "another history");
}
