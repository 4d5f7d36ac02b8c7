use super::{PrepareRow, SEALED_BYTES_MAX, SEGMENT_BYTES_TARGET, SegmentBuilder, SegmentEntry, SegmentReader, segment_entry};
use crate::error::{Error, Kind, Result};
use crate::pipeline::compress::Codec;
use crate::repository::Repository;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{RunId, SegmentName};
use crate::repository::object_reader::{ObjectReader, digest_stored};
use crate::repository::object_writer::ObjectWriter;
use crate::repository::tests::repository;
use crate::store::PutOutcome;
use crate::store::memory::MemoryStore;
use crate::tb_format::sample::{PrepareSample, log_after, root_header};
use crate::tb_format::wal::Prepare;
use proptest::prelude::*;
use std::sync::Arc;

fn build(log: &[Vec<u8>]) -> SegmentBuilder {
    let mut builder = SegmentBuilder::default();
    for bytes in log {
        builder.push(&Prepare::check(bytes).unwrap());
    }
    builder
}

fn write(repository: &Arc<Repository>, log: &[Vec<u8>]) -> SegmentEntry {
    let (name, finishing) = build(log).write(repository, 1, RunId(5)).unwrap().unwrap();
    segment_entry(name, finishing).unwrap()
}

fn read(repository: &Repository, entry: &SegmentEntry, first_op: u64, last_op: u64) -> Result<Vec<Vec<u8>>> {
    let mut prepares = Vec::new();
    SegmentReader::open(repository, entry)?.prepares(first_op, last_op, &mut |prepare| {
        prepares.push(prepare.bytes().to_vec());
        Ok(())
    })?;
    Ok(prepares)
}

#[test]
fn prepares_are_stored_as_columns_of_events() {
    let (_, repository) = repository();
    let log = log_after(&root_header(7), 20);
    let entry = write(&repository, &log);
    let sealed = build(&log).seal(&repository, 1, RunId(6)).unwrap().unwrap();
    sealed.object.put(&**repository.store()).unwrap();
    for name in [entry.name, sealed.name] {
        let object = ObjectReader::open(&repository, ObjectKind::Segment, &name.object(), None).unwrap();
        assert!(object.index.frames.iter().all(|row| (row.codec, row.record_bytes) == (Codec::Transposed, 128)));
    }
}

#[test]
fn prepares_come_back_verbatim_in_any_range() {
    let (_, repository) = repository();
    let mut log = log_after(&root_header(7), 20);
    // A prepare that fills a frame of its own, between small ones.
    for size in [900_000, 200_000, 16] {
        let last = Prepare::check(log.last().unwrap()).unwrap();
        log.push(PrepareSample { body: crate::repository::tests::noise(size, 9), ..PrepareSample::after(last.header()) }.bytes());
    }
    let entry = write(&repository, &log);
    assert_eq!(entry.name, SegmentName { timeline: 1, first_op: 1, last_op: 23, run: RunId(5) });
    for (first, last) in [(1, 23), (0, u64::MAX), (5, 5), (20, 22), (23, 23), (22, 100)] {
        let expected: Vec<Vec<u8>> = log[first.max(1) - 1..last.min(23) as usize].to_vec();
        assert_eq!(read(&repository, &entry, first as u64, last).unwrap(), expected, "{first} to {last}");
    }
    assert_eq!(read(&repository, &entry, 24, 30).unwrap(), Vec::<Vec<u8>>::new());
    let rows = SegmentReader::open(&repository, &entry).unwrap().rows;
    for (row, bytes) in rows.iter().zip(&log) {
        let header = *Prepare::check(bytes).unwrap().header();
        let expected =
            PrepareRow { op: header.op(), checksum: header.checksum(), timestamp_ns: header.timestamp(), size_bytes: bytes.len() as u32 };
        assert_eq!(*row, expected);
    }
}

#[test]
fn a_builder_knows_when_it_is_full_and_forgets_what_is_old() {
    let log = log_after(&root_header(7), 3);
    let mut builder = build(&log);
    assert_eq!((builder.ops(), builder.is_full()), (Some((1, 3)), false));
    assert!(!builder.forget_through(2), "op 3 is still wanted");
    assert_eq!(builder.ops(), Some((1, 3)));
    assert!(builder.forget_through(3));
    assert_eq!((builder.ops(), builder.forget_through(9)), (None, false));
    let mut last = *Prepare::check(&log[2]).unwrap().header();
    let mut pushed = 0;
    while !builder.is_full() {
        let bytes = PrepareSample { body: vec![0; 1_000_000], ..PrepareSample::after(&last) }.bytes();
        let prepare = Prepare::check(&bytes).unwrap();
        builder.push(&prepare);
        last = *prepare.header();
        pushed += bytes.len();
    }
    assert!((SEGMENT_BYTES_TARGET..SEGMENT_BYTES_TARGET + (1 << 20)).contains(&pushed));
}

#[test]
fn nothing_to_write_writes_nothing() {
    let (store, repository) = repository();
    let names = store.names();
    assert!(SegmentBuilder::default().write(&repository, 1, RunId(5)).unwrap().is_none());
    assert_eq!(store.names(), names);
}

#[test]
fn what_the_taker_says_ends_the_reading() {
    let (_, repository) = repository();
    let entry = write(&repository, &log_after(&root_header(7), 3));
    let segment = SegmentReader::open(&repository, &entry).unwrap();
    let mut taken = 0;
    let error = segment.prepares(1, 3, &mut |_| {
        taken += 1;
        if taken < 2 { Ok(()) } else { Err(Error::try_again("enough")) }
    });
    assert_eq!((error.unwrap_err(), taken), (Error::try_again("enough"), 2));
}

/// A segment in the stored format with these frames and entries, under a name that promises ops 1
/// to `last_op`.
fn forged(frames: &[Vec<u8>], entries: Vec<u8>, last_op: u64) -> Result<Vec<Vec<u8>>> {
    let (_, repository) = repository();
    let name = SegmentName { timeline: 1, first_op: 1, last_op, run: RunId(5) };
    let mut writer = ObjectWriter::create(&repository, ObjectKind::Segment, name.object())?;
    for bytes in frames {
        writer.push(bytes.clone())?;
    }
    let stored = writer.finish(entries)?.wait()?;
    read(&repository, &SegmentEntry { name, stored_bytes: stored.size_bytes, digest: stored.digest }, 0, u64::MAX)
}

fn entries(first_op: u64, counts: &[u32], log: &[Vec<u8>]) -> Vec<u8> {
    let mut entries = [&first_op.to_le_bytes()[..], &(log.len() as u64).to_le_bytes()].concat();
    entries.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
    for bytes in log {
        let header = *Prepare::check(bytes).unwrap().header();
        entries.extend_from_slice(&header.checksum().to_bytes());
        entries.extend_from_slice(&header.timestamp().to_le_bytes());
        entries.extend_from_slice(&header.size_bytes().to_le_bytes());
    }
    entries
}

#[test]
fn a_segment_that_is_authentic_but_not_sound_is_damage() {
    let log = log_after(&root_header(7), 3);
    let (whole, good) = (log.concat(), entries(1, &[3], &log));
    assert_eq!(forged(std::slice::from_ref(&whole), good.clone(), 3).unwrap(), log);
    assert_eq!(forged(&[log[0].clone(), log[1..].concat()], entries(1, &[1, 2], &log), 3).unwrap(), log);
    let mut other_time = good.clone();
    other_time[16 + 4 + 16] ^= 1;
    let mut torn = whole.clone();
    torn[300] ^= 1;
    let mut swapped_sizes = good.clone();
    for (row, size) in [(0, 511_u32), (1, 513)] {
        swapped_sizes[16 + 4 + row * 28 + 24..][..4].copy_from_slice(&size.to_le_bytes());
    }
    let lists = "does not list the ops that its name promises";
    for (frames, entries, last_op, says) in [
        (vec![whole.clone()], good.clone(), 4, lists),
        (vec![whole.clone()], good.clone(), 2, lists),
        (vec![whole.clone()], entries(2, &[3], &log), 3, lists),
        (vec![whole.clone()], entries(1, &[2], &log), 3, lists),
        (vec![whole.clone()], entries(1, &[3], &log[..2]), 3, lists),
        (vec![whole.clone()], good[..good.len() - 1].to_vec(), 3, lists),
        (vec![whole.clone()], [&good[..], &[0]].concat(), 3, lists),
        (vec![whole.clone()], Vec::new(), 3, lists),
        (vec![whole.clone()], good[..18].to_vec(), 3, lists),
        (vec![whole.clone()], entries(u64::MAX, &[3], &log), 3, lists),
        (vec![], entries(1, &[], &[]), 0, lists),
        (vec![log[..2].concat(), log[2].clone()], entries(1, &[1, 2], &log), 3, lists),
        (vec![whole[1..].to_vec()], good.clone(), 3, lists),
        (vec![torn], good.clone(), 3, "op 1: body checksum does not match"),
        (vec![whole.clone()], other_time, 3, "another prepare than the index says"),
        (vec![whole.clone()], swapped_sizes, 3, "op 1"),
        (vec![[&log[1][..], &log[0], &log[2]].concat()], good.clone(), 3, "op 1: it is another prepare"),
    ] {
        let error = forged(&frames, entries, last_op).unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.contains(says), "{says}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_entries_make_the_reader_panic_or_take_what_is_not_there(bytes in prop::collection::vec(any::<u8>(), 0..120), prepares in 0_u64..6, tame in any::<bool>()) {
        let log = log_after(&root_header(7), 3);
        let mut bytes = bytes;
        if tame && bytes.len() >= 16 {
            bytes[..8].copy_from_slice(&1_u64.to_le_bytes());
            bytes[8..16].copy_from_slice(&prepares.to_le_bytes());
        }
        prop_assert_eq!(forged(&[log.concat()], bytes, 3).map_err(|error| error.kind), Err(Kind::Damaged));
    }
}

#[test]
fn a_segment_sealed_in_memory_is_the_same_format() {
    let (store, repository) = repository();
    let log = log_after(&root_header(7), 30);
    let sealed = build(&log).seal(&repository, 2, RunId(6)).unwrap().unwrap();
    assert_eq!(sealed.name, SegmentName { timeline: 2, first_op: 1, last_op: 30, run: RunId(6) });
    assert_eq!(sealed.last.checksum, Prepare::check(&log[29]).unwrap().header().checksum());
    assert_eq!(sealed.object.put(&store).unwrap(), PutOutcome::Created);
    assert_eq!(sealed.object.put(&store).unwrap(), PutOutcome::AlreadyExists);
    assert_eq!(read(&repository, &sealed.entry(), 1, 30).unwrap(), log);
    let digested = digest_stored(&repository, &sealed.object.name).unwrap();
    assert_eq!(digested, (sealed.object.stored_bytes, sealed.object.digest));
    assert!(SegmentBuilder::default().seal(&repository, 1, RunId(7)).unwrap().is_none());
    // The copy of the repository in another place opens the same bytes, and only those that are
    // there.
    let spool = MemoryStore::new();
    let elsewhere = repository.over(Arc::new(spool.clone())).unwrap();
    assert_eq!(SegmentReader::open_listed(&elsewhere, &sealed.name, None).err().map(|error| error.kind), Some(Kind::Damaged));
    sealed.object.put(&spool).unwrap();
    assert_eq!(SegmentReader::open_listed(&elsewhere, &sealed.name, None).unwrap().rows.len(), 30);
}

#[test]
fn a_sealed_segment_of_the_largest_size_is_one_part_and_a_larger_one_is_refused() {
    let (_, repository) = repository();
    let mut last = root_header(7);
    let mut builder = SegmentBuilder::default();
    let mut push = |builder: &mut SegmentBuilder, size: usize| {
        let bytes =
            PrepareSample { body: crate::repository::tests::noise(size, builder.plain_bytes() as u64), ..PrepareSample::after(&last) }
                .bytes();
        let prepare = Prepare::check(&bytes).unwrap();
        last = *prepare.header();
        builder.push(&prepare);
    };
    while builder.plain_bytes() + 256 + 1_000_000 <= SEALED_BYTES_MAX {
        push(&mut builder, 1_000_000);
    }
    while builder.plain_bytes() + 256 + 16 <= SEALED_BYTES_MAX {
        push(&mut builder, 16);
    }
    let sealed = builder.seal(&repository, 1, RunId(1)).unwrap().unwrap();
    assert!(sealed.object.stored_bytes > 6 << 20, "{}", sealed.object.stored_bytes);
    let mut builder = SegmentBuilder::default();
    while !builder.is_full() {
        push(&mut builder, 1_000_000);
    }
    assert_eq!(builder.seal(&repository, 1, RunId(1)).unwrap_err().kind, Kind::Bug);
}
