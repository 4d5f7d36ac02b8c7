//! Objects: written in pieces of any size, read back in any range.

use super::{noise, repository};
use crate::error::{Kind, Result};
use crate::pipeline::digest::digest_of;
use crate::repository::Repository;
use crate::repository::frame::{FRAME_PLAIN_BYTES_MAX, OBJECT_BYTES_MIN, ObjectKind};
use crate::repository::object_reader::{ObjectReader, digest_stored};
use crate::repository::object_writer::ObjectWriter;
use crate::repository::object_writer::PART_BYTES;
use crate::repository::sample::{Fault, FaultyStore, create, open, options, secret};
use crate::repository::stored_object::StoredObject;
use crate::repository::stored_object::object_digest;
use crate::store::contract;
use crate::store::memory::MemoryStore;
use std::sync::Arc;

const NAME: &str = "tigerbeetle/packs/x";

fn write(repository: &Arc<Repository>, frames: &[Vec<u8>], entries: &[u8]) -> Result<StoredObject> {
    let mut writer = ObjectWriter::create(repository, ObjectKind::Pack, NAME.to_owned())?;
    for (number, frame) in frames.iter().enumerate() {
        assert_eq!(writer.push(frame.clone())?, number as u64);
    }
    assert_eq!(writer.frames(), frames.len() as u64);
    writer.finish(entries.to_vec())?.wait()
}

fn read(repository: &Repository) -> Result<ObjectReader<'_>> {
    ObjectReader::open(repository, ObjectKind::Pack, NAME, None)
}

#[test]
fn objects_of_all_shapes_read_back() {
    for frames in [
        vec![],
        vec![vec![]],
        vec![vec![7; 1], vec![], noise(1000, 1)],
        (0..100).map(|number| noise(3000, number)).collect(),
        vec![vec![0; FRAME_PLAIN_BYTES_MAX]],
    ] {
        let (store, repository) = repository();
        let stored = write(&repository, &frames, b"entries").unwrap();
        let object = read(&repository).unwrap();
        assert_eq!((object.frame_count() as usize, object.index.entries.as_slice(), object.name()), (frames.len(), &b"entries"[..], NAME));
        assert_eq!(object.frames(0, frames.len() as u32).unwrap(), frames);
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!(object.frames(number, 1).unwrap(), std::slice::from_ref(frame));
        }
        // And into buffers of the caller's, however much of the end was fetched at first.
        for tail_bytes in [0, 33, 200, u64::MAX] {
            let object = ObjectReader::open_with_tail(&repository, ObjectKind::Pack, NAME, None, tail_bytes).unwrap();
            // What it needs, and the header twice where the tail holds a part of it.
            let opening_bytes = object.opening_bytes();
            assert!((OBJECT_BYTES_MIN..=stored.size_bytes + 64).contains(&opening_bytes), "{opening_bytes} of {}", stored.size_bytes);
            assert!(opening_bytes >= tail_bytes.min(stored.size_bytes));
            let mut sealed = vec![0; object.stored_bytes(0, frames.len() as u32).unwrap() as usize];
            object.fetch_into(0, frames.len() as u32, &mut sealed).unwrap();
            let mut rest = &mut sealed[..];
            for (number, frame) in (0..).zip(&frames) {
                let (first, behind) = rest.split_at_mut(object.stored_bytes(number, 1).unwrap() as usize);
                let mut plain = vec![9; frame.len()];
                object.open_into(number, first, &mut plain).unwrap();
                assert_eq!(plain, *frame);
                rest = behind;
            }
        }
        let bytes = store.bytes(NAME).unwrap();
        assert!(bytes.len() as u64 >= OBJECT_BYTES_MIN);
        assert_eq!((stored.size_bytes, stored.frames as usize, stored.digest), (bytes.len() as u64, frames.len(), digest_of(&bytes)));
        assert_eq!(digest_stored(&repository, NAME).unwrap(), (stored.size_bytes, stored.digest));
    }
}

#[test]
fn frames_go_only_into_buffers_of_their_size() {
    let (_, repository) = repository();
    let stored = write(&repository, &[vec![7; 5000], noise(3000, 1)], b"").unwrap();
    let object = read(&repository).unwrap();
    assert!(object.opening_bytes() == stored.size_bytes);
    let length = object.stored_bytes(1, 1).unwrap() as usize;
    for (first, count, length) in [(1, 1, length - 1), (1, 1, length + 1), (1, 2, length), (2, 1, 0), (u32::MAX, 2, 0)] {
        let error = object.fetch_into(first, count, &mut vec![0; length]).unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.contains(&format!("frames {first} to")), "{error}");
    }
    let mut sealed = vec![0; length];
    object.fetch_into(1, 1, &mut sealed).unwrap();
    for (number, length, plain, says) in
        [(1, length, 2999, "has the wrong size"), (1, length - 1, 3000, "has the wrong size"), (2, length, 3000, "it has 2")]
    {
        let error = object.open_into(number, &mut sealed.clone()[..length], &mut vec![0; plain]).unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.contains(says), "{error}");
    }
    let error = object.open_into(0, &mut sealed.clone(), &mut vec![0; 5000]).unwrap_err();
    assert!(error.message.contains("has the wrong size"), "{error}");
    sealed[100] ^= 1;
    let error = object.open_into(1, &mut sealed, &mut vec![0; 3000]).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("frame 1 does not authenticate"), "{error}");
}

#[test]
fn a_large_object_goes_in_parts() {
    let (store, repository) = repository();
    // What does not compress, with frames that straddle the borders of parts; more parts than may
    // be in flight.
    let frames: Vec<Vec<u8>> = (0..42).map(|number| noise(1_000_000, number + 1)).collect();
    let stored = write(&repository, &frames, &[1; 28]).unwrap();
    let bytes = store.bytes(NAME).unwrap();
    let parts: Vec<[u8; 32]> = bytes.chunks(PART_BYTES).map(digest_of).collect();
    assert_eq!(parts.len(), 6);
    assert_eq!((stored.size_bytes, stored.digest), (bytes.len() as u64, object_digest(&parts)));
    assert_eq!(digest_stored(&repository, NAME).unwrap(), (stored.size_bytes, stored.digest));
    let object = read(&repository).unwrap();
    assert_eq!(object.frames(7, 3).unwrap(), frames[7..10]);
    assert_eq!(object.frames(41, 1).unwrap(), frames[41..]);
    assert_eq!(object.frames(0, 42).unwrap(), frames);
}

/// How much plain noise makes an object of exactly one part: header, tag, index and trailer take
/// the rest.
fn noise_for(object_bytes: usize) -> Vec<Vec<u8>> {
    let halves = object_bytes - 64 - 2 * 16 - 32 - (8 + 2 * 12) - 16;
    vec![noise(halves / 2, 1), noise(halves - halves / 2, 2)]
}

#[test]
fn an_object_of_exactly_one_part_is_a_single_put() {
    for (excess, calls_more) in [(-1, 0), (0, 0), (1, 3)] {
        let (store, _) = repository();
        let faulty = FaultyStore::new(&store);
        let repository = open(Arc::new(faulty.clone())).unwrap();
        faulty.fail(u64::MAX, Fault::Refused);
        let stored = write(&repository, &noise_for((PART_BYTES as i64 + excess) as usize), b"").unwrap();
        assert_eq!(stored.size_bytes as i64, PART_BYTES as i64 + excess);
        assert_eq!(faulty.calls(), 1 + calls_more, "begin, two parts, complete instead of a put");
        assert_eq!(digest_stored(&repository, NAME).unwrap(), (stored.size_bytes, stored.digest));
    }
}

#[test]
fn a_name_that_is_taken_is_not_written_over() {
    for frames in [vec![vec![1; 10]], noise_for(PART_BYTES + 10)] {
        let (store, repository) = repository();
        store.replace(NAME, &b"somebody else's"[..]);
        let error = write(&repository, &frames, b"").unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.contains("exists already"), "{error}");
        assert_eq!(store.bytes(NAME).unwrap(), &b"somebody else's"[..]);
    }
}

#[test]
fn whichever_request_of_a_large_object_fails_there_is_no_object() {
    let frames: Vec<Vec<u8>> = (0..20).map(|number| noise(1_000_000, number + 1)).collect();
    // Begin, three parts, complete.
    for call in 1..=5 {
        let (store, _) = repository();
        let faulty = FaultyStore::new(&store);
        let repository = open(Arc::new(faulty.clone())).unwrap();
        faulty.fail(call, Fault::Refused);
        assert_eq!(write(&repository, &frames, b"").unwrap_err().kind, Kind::TryAgain, "call {call}");
        assert_eq!(store.bytes(NAME), None, "call {call}");
        faulty.fail(u64::MAX, Fault::Refused);
        write(&repository, &frames, b"").unwrap();
        assert_eq!(faulty.calls(), 5);
    }
}

#[test]
fn a_frame_or_a_range_beyond_the_bounds_is_refused() {
    let (_, repository) = repository();
    let mut writer = ObjectWriter::create(&repository, ObjectKind::Pack, NAME.to_owned()).unwrap();
    let error = writer.push(vec![0; FRAME_PLAIN_BYTES_MAX + 1]).unwrap_err();
    assert!(error.kind == Kind::Bug && error.message.contains("beyond the format's bounds"), "{error}");
    drop(writer);
    write(&repository, &[vec![1], vec![2]], b"").unwrap();
    let object = read(&repository).unwrap();
    for (first, count) in [(0, 3), (2, 1), (3, 0), (u32::MAX, 1), (1, u32::MAX)] {
        assert_eq!(object.stored_bytes(first, count), None);
        assert_eq!(object.frames(first, count).unwrap_err().kind, Kind::Damaged, "{first} {count}");
    }
    assert_eq!((object.stored_bytes(2, 0), object.stored_bytes(0, 2)), (Some(0), Some(2 + 32)));
}

#[test]
fn an_object_that_is_not_what_was_promised_does_not_open() {
    let (store, repository) = repository();
    write(&repository, &[vec![1; 100]], b"").unwrap();
    let size = store.bytes(NAME).unwrap().len() as u64;
    let open = |kind, name, size| ObjectReader::open(&repository, kind, name, size).map(|_| ()).unwrap_err();
    for (error, says) in [
        (open(ObjectKind::Segment, NAME, None), "not that of a Segment"),
        (open(ObjectKind::Pack, "tigerbeetle/packs/y", None), "is missing"),
        (open(ObjectKind::Pack, NAME, Some(size + 1)), "it was cut or swapped"),
        (digest_stored(&repository, "tigerbeetle/packs/y").unwrap_err(), "is missing"),
    ] {
        assert!(error.kind == Kind::Damaged && error.message.contains(says), "{error}");
    }
    for length in [0, 1, OBJECT_BYTES_MIN - 1] {
        store.replace("tigerbeetle/packs/y", vec![0; length as usize]);
        assert!(open(ObjectKind::Pack, "tigerbeetle/packs/y", None).message.contains("too short"), "{length}");
    }
}

#[test]
fn an_index_that_does_not_fit_its_frames_is_damage() {
    let store = MemoryStore::new();
    let repository = create(&store).unwrap();
    write(&repository, &[vec![1; 100]], b"").unwrap();
    let whole = store.bytes(NAME).unwrap();
    // A byte between the frames and the index: authentic all of it, but not the object that was
    // written.
    let index_offset = u64::from_le_bytes(whole[whole.len() - 32..whole.len() - 24].try_into().unwrap());
    let mut shifted = whole[..index_offset as usize].to_vec();
    shifted.push(0);
    shifted.extend_from_slice(&whole[index_offset as usize..]);
    let trailer = shifted.len() - 32;
    shifted[trailer..trailer + 8].copy_from_slice(&(index_offset + 1).to_le_bytes());
    store.replace(NAME, shifted);
    let error = read(&repository).map(|_| ()).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("does not fit its frames"), "{error}");
}

/// A frame whose bytes cannot be had on a worker.
struct Bomb;

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        assert_ne!(std::thread::current().name(), Some("amber-worker"), "on purpose");
        &[]
    }
}

#[test]
fn a_worker_that_panics_ends_the_object_and_nobody_waits_for_ever() {
    let (store, repository) = repository();
    let mut writer = ObjectWriter::create(&repository, ObjectKind::Pack, NAME.to_owned()).unwrap();
    // A slow caller gets the error while it is still pushing.
    let error = writer.push(Bomb).map(|_| ()).and_then(|()| writer.finish(Vec::new()).map(|_| ())).unwrap_err();
    assert!(error.kind == Kind::Bug && error.message.contains("panicked"), "{error}");
    assert_eq!(store.bytes(NAME), None);
    // The only worker is gone by now, or will be before it takes another task.
    let mut writer = ObjectWriter::create(&repository, ObjectKind::Pack, NAME.to_owned()).unwrap();
    let refused = (0..100).find_map(|_| writer.push(vec![1]).err()).unwrap();
    assert_eq!(refused.kind, Kind::Bug);
}

#[test]
fn a_store_that_fails_on_purpose_is_a_store_otherwise() {
    contract::contract(Arc::new(FaultyStore::new(&MemoryStore::new())));
}

#[test]
fn many_threads_write_what_one_does() {
    let (store, _) = repository();
    let many = crate::repository::Options { workers: 8, transfers: 3, ..options() };
    let repository = Repository::open(Arc::new(store), &secret(), many).unwrap();
    let frames: Vec<Vec<u8>> = (0..200).map(|number| noise(100_000, number + 1)).collect();
    write(&repository, &frames, b"").unwrap();
    assert_eq!(read(&repository).unwrap().frames(0, 200).unwrap(), frames);
}
