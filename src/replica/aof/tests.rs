//! The append-only file: growth, torn tails, repeats, other histories, damage, rotation.

use super::AofTail;
use crate::disk::read_error::SourceError;
use crate::error::{Error, Kind};
use crate::replica::log::{LogSource, Loss, Polled};
use crate::replica::tail::tests::{poll, poll_all};
use crate::tb_format::aof::AOF_MAGIC;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::{PrepareHeader, PrepareId};
use crate::tb_format::layout::{HEADER_BYTES, PREPARE_BYTES_MAX};
use crate::tb_format::sample::{PrepareSample, headers_of, log_after, root_header};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

struct Aof(TempDir);

impl Aof {
    fn new(prepares: &[Vec<u8>]) -> Aof {
        let aof = Aof(tempfile::tempdir().unwrap());
        fs::write(aof.path(), b"").unwrap();
        aof.append(&entries(prepares));
        aof
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("0.aof")
    }

    fn append(&self, bytes: &[u8]) {
        OpenOptions::new().append(true).create(true).open(self.path()).unwrap().write_all(bytes).unwrap();
    }

    /// The tail after op `op` of `log`; 0 is before its first.
    fn tail(&self, log: &[Vec<u8>], op: usize) -> AofTail {
        let header = op.checked_sub(1).map_or(root_header(7), |index| headers_of(log)[index]);
        AofTail::open(&self.path(), header.op(), header.checksum()).unwrap()
    }
}

fn entries(prepares: &[Vec<u8>]) -> Vec<u8> {
    prepares.iter().flat_map(|prepare| [AOF_MAGIC.to_le_bytes().as_slice(), prepare].concat()).collect()
}

/// Ops 1 to `ops`.
fn log(ops: u64) -> Vec<Vec<u8>> {
    log_after(&root_header(7), ops)
}

/// `ops` other ops after op `op` of `log`.
fn branch(log: &[Vec<u8>], op: usize, ops: u64) -> Vec<Vec<u8>> {
    let mut parent = headers_of(log)[op - 1];
    let mut branch = Vec::new();
    for _ in 0..ops {
        branch.push(PrepareSample { view: 1, ..PrepareSample::after(&parent) }.bytes());
        parent = headers_of(&branch)[branch.len() - 1];
    }
    branch
}

fn place(header: &PrepareHeader) -> Option<PrepareId> {
    Some((header.op(), header.checksum()))
}

fn loss(tail: &mut AofTail) -> (u64, Loss) {
    match poll(tail).0 {
        Polled::Lost { op, loss, .. } => (op, loss),
        polled => panic!("it is lost, not {polled:?}"),
    }
}

/// Polls until the poll fails: what was handed on, and the error.
fn poll_failing(tail: &mut AofTail) -> (Vec<Vec<u8>>, SourceError) {
    let mut prepares = Vec::new();
    let error = tail.poll(&mut |prepare| {
        prepares.push(prepare.bytes().to_vec());
        Ok(())
    });
    (prepares, error.unwrap_err())
}

#[test]
fn the_log_comes_in_order_as_the_file_grows() {
    let log = log(30);
    let aof = Aof::new(&log[..10]);
    let mut tail = aof.tail(&log, 0);
    assert_eq!(tail.commit_known_op(), 0);
    assert_eq!(poll(&mut tail), (Polled::Prepares(10), log[..10].to_vec()));
    assert_eq!((tail.op(), tail.checksum()), place(&headers_of(&log)[9]).unwrap());
    assert_eq!(tail.commit_known_op(), 10, "what is in the file is committed");
    for ops in [11, 12, 20, 30] {
        let before = tail.op() as usize;
        let bytes_read = tail.bytes_read();
        assert_eq!(poll(&mut tail), (Polled::Idle, vec![]));
        assert_eq!(tail.bytes_read(), bytes_read, "an idle poll reads nothing");
        let new = entries(&log[before..ops]);
        aof.append(&new);
        assert_eq!(poll(&mut tail), (Polled::Prepares((ops - before) as u64), log[before..ops].to_vec()));
        assert_eq!(tail.bytes_read() - bytes_read, new.len() as u64);
    }
    assert_eq!((tail.replaced().unwrap(), tail.notes()), (None, vec![]));
}

#[test]
fn a_torn_tail_is_waited_for_wherever_it_is_cut() {
    let log = log(3);
    let entry = entries(&log[2..]);
    for cut in [1, 15, 16, 17, 16 + 255, 16 + 256, 16 + 257, entry.len() - 1] {
        let aof = Aof::new(&log[..2]);
        let mut tail = aof.tail(&log, 0);
        aof.append(&entry[..cut]);
        assert_eq!(poll_all(&mut tail), (log[..2].to_vec(), Polled::Idle), "cut after {cut} bytes");
        aof.append(&entry[cut..]);
        assert_eq!(poll_all(&mut tail), (log[2..].to_vec(), Polled::Idle), "cut after {cut} bytes");
    }
}

#[test]
fn repeats_are_passed_over() {
    let log = log(40);
    let aof = Aof::new(&log[..30]);
    let mut tail = aof.tail(&log, 0);
    assert_eq!(poll_all(&mut tail).0, log[..30]);
    aof.append(&entries(&log[5..30]));
    assert_eq!(poll_all(&mut tail), (vec![], Polled::Idle));
    aof.append(&entries(&log[9..]));
    assert_eq!(poll_all(&mut tail), (log[30..].to_vec(), Polled::Idle));
    // A tail that starts later skips the repeats too, also those from before the op after which it
    // starts.
    aof.append(&entries(&log[3..]));
    for op in [0, 7, 20, 30, 39] {
        assert_eq!(poll_all(&mut aof.tail(&log, op)), (log[op..].to_vec(), Polled::Idle), "behind op {op}");
    }
}

#[test]
fn the_place_to_start_is_waited_for() {
    let log = log(20);
    let aof = Aof::new(&log[..10]);
    for op in [10, 12] {
        let mut tail = aof.tail(&log, op);
        assert_eq!(poll_all(&mut tail), (vec![], Polled::Idle));
        assert_eq!(tail.commit_known_op(), if op == 10 { 10 } else { 0 });
    }
    let mut tail = aof.tail(&log, 12);
    poll_all(&mut tail);
    aof.append(&entries(&log[10..]));
    assert_eq!(poll_all(&mut tail), (log[12..].to_vec(), Polled::Idle));
    // One file begins directly after the op, one begins later.
    let later = Aof::new(&log[10..]);
    assert_eq!(poll_all(&mut later.tail(&log, 10)), (log[10..].to_vec(), Polled::Idle));
    assert_eq!(loss(&mut later.tail(&log, 9)), (10, Loss::Wrapped { found_op: 11 }));
}

#[test]
fn another_history_is_said_and_can_be_followed() {
    let log = log(30);
    let other = branch(&log, 20, 15);
    let aof = Aof::new(&log);
    let mut tail = aof.tail(&log, 0);
    poll_all(&mut tail);
    // The data file was put back to op 20; the server executes again from its checkpoint at op 15.
    aof.append(&entries(&log[15..20]));
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    aof.append(&entries(&other));
    let restart = place(&headers_of(&log)[19]);
    for _ in 0..2 {
        assert_eq!(loss(&mut tail), (31, Loss::Replaced { restart }));
    }
    let (op, checksum) = restart.unwrap();
    tail.restart(op, checksum);
    assert_eq!(poll_all(&mut tail), (other.clone(), Polled::Idle), "the newer history, though the older one stands before it");
    assert_eq!((tail.op(), tail.commit_known_op()), (35, 35));
    // A tail that starts at the beginning gets both histories, one after the other.
    let mut tail = aof.tail(&log, 0);
    let (prepares, end) = poll_all(&mut tail);
    assert!(prepares == log && matches!(end, Polled::Lost { op: 31, loss: Loss::Replaced { restart: found }, .. } if found == restart));
    // Tails that start at the end of either history.
    let last = headers_of(&other)[14];
    assert_eq!(poll_all(&mut AofTail::open(&aof.path(), last.op(), last.checksum()).unwrap()), (vec![], Polled::Idle));
    assert_eq!(loss(&mut aof.tail(&log, 30)), (31, Loss::Replaced { restart: None }));
}

#[test]
fn a_history_that_joins_nowhere_is_said() {
    let long = log(1100);
    let aof = Aof::new(&long);
    let mut tail = aof.tail(&long, 0);
    poll_all(&mut tail);
    // The server goes back as far as a start can, and then further. The latter means that the file
    // was put back, though what it repeats first is the same.
    aof.append(&entries(&long[76..78]));
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    aof.append(&entries(&long[75..76]));
    assert_eq!(loss(&mut tail), (1101, Loss::Replaced { restart: None }));
    // A prepare that was never logged here, under the op that is wanted and under the next one.
    for op in [20, 21] {
        let aof = Aof::new(&long[..op]);
        let mut tail = AofTail::open(&aof.path(), 20, Checksum(1)).unwrap();
        assert_eq!(loss(&mut tail), (21, Loss::Replaced { restart: None }));
    }
    // The next op with another parent.
    let aof = Aof::new(&[&long[..20], &branch(&long, 19, 2)[1..]].concat());
    let mut tail = aof.tail(&long, 0);
    let (prepares, end) = poll_all(&mut tail);
    assert!(prepares == long[..20] && matches!(end, Polled::Lost { op: 21, loss: Loss::Replaced { restart: None }, .. }), "{end:?}");
}

#[test]
fn an_entry_that_skips_ops_is_a_gap() {
    let log = log(30);
    let aof = Aof::new(&[&log[..10], &log[12..]].concat());
    let mut tail = aof.tail(&log, 0);
    let (prepares, end) = poll_all(&mut tail);
    assert_eq!(prepares, log[..10]);
    let Polled::Lost { op: 11, loss: Loss::Wrapped { found_op: 13 }, reason } = end else { panic!("{end:?}") };
    assert!(reason.contains("goes on with op 13"), "{reason}");
    assert_eq!(loss(&mut tail), (11, Loss::Wrapped { found_op: 13 }));
    tail.restart(12, headers_of(&log)[11].checksum());
    assert_eq!(poll_all(&mut tail), (log[12..].to_vec(), Polled::Idle));
}

#[test]
fn damage_that_a_repeat_heals_is_passed_over() {
    let log = log(30);
    let mut bytes = entries(&log[..20]);
    let damaged = entries(&log[..10]).len();
    bytes[damaged + 300] ^= 1;
    let aof = Aof::new(&[]);
    aof.append(&bytes);
    let mut tail = aof.tail(&log, 0);
    let (prepares, error) = poll_failing(&mut tail);
    assert_eq!(prepares, log[..10]);
    assert!(matches!(&error, SourceError::Damaged { offset, .. } if *offset == damaged as u64), "{error}");
    let error = Error::from(error);
    assert!(error.kind == Kind::Damaged && error.message.contains("where op 11 should be"), "{error}");
    assert!(matches!(poll_failing(&mut tail), (none, SourceError::Damaged { .. }) if none.is_empty()), "it stays so");
    aof.append(&entries(&log[5..]));
    assert_eq!(poll_all(&mut tail), (log[10..].to_vec(), Polled::Idle));
    assert!(tail.notes()[0].contains(&format!("offset {damaged}: damaged bytes")), "{:?}", tail.notes());
    // A tail that starts after the damage is not affected. A tail that starts within it cannot
    // continue with the entries before the repeat, but it can with the repeat.
    for op in [0, 10, 11, 15, 30] {
        assert_eq!(poll_all(&mut aof.tail(&log, op)), (log[op..].to_vec(), Polled::Idle), "behind op {op}");
    }
}

#[test]
fn damage_that_nothing_heals_is_left_by_starting_again() {
    let log = log(20);
    let mut bytes = entries(&log[..12]);
    let damaged = entries(&log[..10]).len();
    bytes[damaged] ^= 1;
    let aof = Aof::new(&[]);
    aof.append(&bytes);
    // After op 10 the next entry is damaged. After op 11 the prepare itself is damaged, but the
    // next one names it.
    assert!(matches!(poll_failing(&mut aof.tail(&log, 10)).1, SourceError::Damaged { .. }));
    assert_eq!(poll_all(&mut aof.tail(&log, 11)), (log[11..12].to_vec(), Polled::Idle));
    let mut tail = aof.tail(&log, 0);
    poll_failing(&mut tail);
    tail.restart(15, headers_of(&log)[14].checksum());
    assert_eq!(poll_all(&mut tail), (vec![], Polled::Idle));
    aof.append(&entries(&log[12..]));
    assert_eq!(poll_all(&mut tail), (log[15..].to_vec(), Polled::Idle));
}

#[test]
fn garbage_at_the_end_waits_for_what_comes_behind_it() {
    let log = log(4);
    let aof = Aof::new(&log[..2]);
    let mut tail = aof.tail(&log, 0);
    aof.append(&[0; 5000]);
    assert_eq!(poll_all(&mut tail), (log[..2].to_vec(), Polled::Idle));
    aof.append(&entries(&log[2..]));
    assert_eq!(poll_all(&mut tail), (log[2..].to_vec(), Polled::Idle));
}

#[test]
fn an_entry_that_a_crash_cut_does_not_hide_those_behind_it() {
    let headers = headers_of(&log(2));
    let large = PrepareSample { body: vec![7; 500_000], ..PrepareSample::after(&headers[1]) };
    let mut log = log(2);
    log.push(large.bytes());
    log.extend(log_after(&headers_of(&log)[2], 2));
    let aof = Aof::new(&log[..2]);
    aof.append(&entries(&log[2..3])[..1000]);
    let mut tail = aof.tail(&log, 0);
    assert_eq!(poll_all(&mut tail), (log[..2].to_vec(), Polled::Idle));
    // The server starts again, and executes from its checkpoint at op 1. That is far less than the
    // bytes that the torn entry still lacks.
    aof.append(&entries(&log[1..2]));
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    aof.append(&entries(&log[2..]));
    assert_eq!(poll_all(&mut tail), (log[2..].to_vec(), Polled::Idle));
}

#[test]
fn what_a_crash_left_is_passed_over_without_waiting_for_its_length() {
    let mut log = log(3);
    log[2] = PrepareSample { body: vec![7; 500_000], ..PrepareSample::after(&headers_of(&log)[1]) }.bytes();
    let mut torn = log.clone();
    // After the crash the client did not repeat its request: op 3 is another, small one. The first
    // was never executed.
    torn[2].truncate(1000);
    log.truncate(2);
    log.extend(log_after(&headers_of(&log)[1], 2));
    let aof = Aof::new(&torn);
    let mut tail = aof.tail(&log, 0);
    assert_eq!(poll_all(&mut tail), (log[..2].to_vec(), Polled::Idle));
    aof.append(&entries(&log[2..]));
    assert_eq!(poll_all(&mut tail), (log[2..].to_vec(), Polled::Idle));
    // The same for a tail that finds the file in this state, at its second poll.
    let mut tail = aof.tail(&log, 0);
    poll_all(&mut tail);
    aof.append(&[0]);
    poll_all(&mut tail);
    assert_eq!(tail.op(), 4);
}

#[test]
fn rotation_loses_nothing() {
    let log = log(40);
    let aof = Aof::new(&log[..10]);
    let mut tail = aof.tail(&log, 0);
    assert_eq!(poll(&mut tail).0, Polled::Prepares(10));
    // The operator moves the file away. The server continues to write to it until its next
    // checkpoint, then creates a new one.
    let moved = aof.0.path().join("old.aof");
    let append_old = |bytes: &[u8]| OpenOptions::new().append(true).open(&moved).unwrap().write_all(bytes).unwrap();
    fs::rename(aof.path(), &moved).unwrap();
    assert_eq!(poll(&mut tail).0, Polled::Idle);
    append_old(&entries(&log[10..15]));
    assert_eq!(poll(&mut tail), (Polled::Prepares(5), log[10..15].to_vec()));
    append_old(&entries(&log[15..20]));
    aof.append(&entries(&log[20..25]));
    assert_eq!(poll(&mut tail), (Polled::Prepares(10), log[15..25].to_vec()), "the old one to its end, then the new one");
    // The next file is removed as soon as it is moved away.
    fs::remove_file(aof.path()).unwrap();
    aof.append(&entries(&log[25..30]));
    assert_eq!(poll(&mut tail), (Polled::Prepares(5), log[25..30].to_vec()));
    // The file is cut in place, against TigerBeetle's rules: it is read from its beginning.
    fs::write(aof.path(), entries(&log[30..32])).unwrap();
    assert_eq!(poll(&mut tail), (Polled::Prepares(2), log[30..32].to_vec()));
    // Two rotations between two polls: the file in between is missed, and that is reported.
    fs::remove_file(aof.path()).unwrap();
    aof.append(&entries(&log[36..]));
    assert_eq!(loss(&mut tail), (33, Loss::Wrapped { found_op: 37 }));
}

#[test]
fn a_search_goes_on_into_the_next_file() {
    let log = log(20);
    let aof = Aof::new(&log[..10]);
    let mut tail = aof.tail(&log, 12);
    let mut in_the_old = aof.tail(&log, 5);
    fs::rename(aof.path(), aof.0.path().join("old.aof")).unwrap();
    aof.append(&entries(&log[10..]));
    assert_eq!(poll_all(&mut tail), (log[12..].to_vec(), Polled::Idle));
    assert_eq!(poll_all(&mut in_the_old), (log[5..].to_vec(), Polled::Idle));
}

#[test]
fn an_entry_cut_by_a_rotation_is_healed_by_the_next_file_or_said() {
    let log = log(20);
    for (first_repeated, heals) in [(8, true), (11, false)] {
        let aof = Aof::new(&log[..10]);
        aof.append(&entries(&log[10..11])[..100]);
        let mut tail = aof.tail(&log, 0);
        assert_eq!(poll_all(&mut tail).0, log[..10]);
        fs::rename(aof.path(), aof.0.path().join("old.aof")).unwrap();
        aof.append(&entries(&log[first_repeated..]));
        if heals {
            assert_eq!(poll_all(&mut tail), (log[10..].to_vec(), Polled::Idle));
        } else {
            let (prepares, error) = poll_failing(&mut tail);
            assert!(prepares.is_empty() && error.to_string().contains("rotated out"), "{error}");
        }
    }
}

#[test]
fn an_error_of_the_taker_ends_the_poll_and_nothing_is_lost() {
    let log = log(5);
    let aof = Aof::new(&log);
    let mut tail = aof.tail(&log, 0);
    let mut taken = 0;
    let error = tail.poll(&mut |_| {
        taken += 1;
        if taken == 3 { Err(Error::bug("full")) } else { Ok(()) }
    });
    assert_eq!(error.unwrap_err().to_string(), "full");
    assert_eq!(poll_all(&mut tail), (log[2..].to_vec(), Polled::Idle));
}

#[test]
fn a_large_file_comes_in_bounded_pieces() {
    // 100 of the largest prepares: more than a poll reads, and more than the buffer holds.
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut parent = root_header(7);
    for _ in 0..100 {
        let next = PrepareSample { body: vec![parent.op() as u8; PREPARE_BYTES_MAX - HEADER_BYTES], ..PrepareSample::after(&parent) };
        log.push(next.bytes());
        parent = headers_of(&log[log.len() - 1..])[0];
    }
    let aof = Aof::new(&log);
    let mut tail = aof.tail(&log, 0);
    assert_eq!(poll(&mut tail), (Polled::Prepares(0), vec![]), "the search has not reached the end");
    let (polled, first) = poll(&mut tail);
    assert!(matches!(polled, Polled::Prepares(1..100)), "{polled:?}");
    let (rest, end) = poll_all(&mut tail);
    assert!(end == Polled::Idle && [first, rest].concat() == log);
}

#[test]
fn a_path_that_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: PathBuf| Error::from(AofTail::open(&path, 0, Checksum(1)).unwrap_err());
    for (path, words) in [(folder.path().join("none.aof"), "open"), (folder.path().to_owned(), "not a file")] {
        let error = open(path);
        assert!(error.kind == Kind::Input && error.message.contains(words), "{error}");
    }
}
