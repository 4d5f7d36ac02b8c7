//! What every store must do, as checks that panic where it does not.
//!
//! [`contract`] runs all of them under one fresh prefix, so it may be run again and again on one
//! store. It removes what it created. For a store without race-free puts
//! ([`Capabilities::conditional_put`](super::Capabilities)) the race check is left out; everything
//! else must hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "checks of tests: what does not hold panics")]

use super::contract_resume::resuming;
use super::{Digest, Multipart, PART_BYTES_MIN, Part, PutOutcome, Store, StoreError};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// More names than one page of S3 holds (1000).
const MANY_NAMES: usize = 1100;
const THREADS: usize = 8;
const LARGE_BYTES: usize = 20 << 20;

/// SHA-256 of `content`.
pub fn digest_of(content: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content).as_ref());
    digest
}

/// What the caller of a multipart object knows of a part with this content.
pub fn part_of(content: &[u8]) -> Part {
    Part { size_bytes: content.len() as u64, digest: digest_of(content) }
}

/// Puts a small object and expects that its name was free.
pub fn put_bytes(store: &dyn Store, name: &str, content: &[u8]) {
    let outcome = store.put(name, &[Bytes::copy_from_slice(content)], &digest_of(content));
    assert_eq!(outcome, Ok(PutOutcome::Created), "{name}");
}

/// Bytes that do not repeat within a part and are the same every time.
pub fn pattern(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(length);
    Bytes::from(content)
}

/// Runs every check on `store`.
pub fn contract(store: Arc<dyn Store>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    let prefix = format!("contract-{}-{}", std::process::id(), now.as_nanos());
    let store = store.as_ref();
    create_only(store, &format!("{prefix}/create"));
    if store.capabilities().conditional_put {
        race(store, &format!("{prefix}/race"));
    }
    ranges(store, &format!("{prefix}/ranges"));
    empty_and_missing(store, &format!("{prefix}/empty"));
    wrong_digests(store, &format!("{prefix}/digests"));
    wrong_names(store);
    order(store, &format!("{prefix}/order"));
    paging(store, &format!("{prefix}/pages"));
    multipart(store, &format!("{prefix}/parts"));
    multipart_last_first(store, &format!("{prefix}/parts"));
    multipart_invisible(store, &format!("{prefix}/unfinished"));
    multipart_create_only(store, &format!("{prefix}/taken"));
    multipart_refused(store, &format!("{prefix}/refused"));
    resuming(store, &format!("{prefix}/resumed"));
    large(store, &format!("{prefix}/large"));
    remove_all(store, &format!("{prefix}/"));
}

fn create_only(store: &dyn Store, name: &str) {
    put_bytes(store, name, b"first");
    let again = store.put(name, &[Bytes::from_static(b"second")], &digest_of(b"second"));
    assert_eq!(again, Ok(PutOutcome::AlreadyExists));
    let same = store.put(name, &[Bytes::from_static(b"first")], &digest_of(b"first"));
    assert_eq!(same, Ok(PutOutcome::AlreadyExists), "the same bytes are another put");
    assert_eq!(store.get_range(name, 0, 5).unwrap(), &b"first"[..]);
    store.delete(name).unwrap();
    assert_eq!(store.size_bytes(name), Ok(None));
    store.delete(name).unwrap();
    store.delete(&format!("{name}.never")).unwrap();
    put_bytes(store, name, b"third");
    assert_eq!(store.get_range(name, 0, 5).unwrap(), &b"third"[..]);
}

fn race(store: &dyn Store, prefix: &str) {
    for round in 0..4 {
        let name = format!("{prefix}/{round}");
        let created = AtomicUsize::new(0);
        let winner = AtomicUsize::new(usize::MAX);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (name, created, winner) = (&name, &created, &winner);
                scope.spawn(move || {
                    let content = pattern(thread as u64, 100_000);
                    if store.put(name, std::slice::from_ref(&content), &digest_of(&content)).unwrap() == PutOutcome::Created {
                        created.fetch_add(1, Ordering::SeqCst);
                        winner.store(thread, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(created.load(Ordering::SeqCst), 1, "exactly one of {THREADS} writers creates {name}");
        let content = pattern(winner.load(Ordering::SeqCst) as u64, 100_000);
        assert_eq!(store.get_range(&name, 0, 100_000).unwrap(), content, "and it is the one whose bytes are there");
    }
}

fn ranges(store: &dyn Store, name: &str) {
    let content = pattern(1, 10_000);
    let pieces = [content.slice(..1), content.slice(1..1), content.slice(1..7_000), content.slice(7_000..)];
    assert_eq!(store.put(name, &pieces, &digest_of(&content)), Ok(PutOutcome::Created));
    assert_eq!(store.size_bytes(name), Ok(Some(10_000)));
    for (offset, length) in [(0, 10_000), (0, 1), (1, 6_999), (6_999, 2), (9_999, 1), (0, 0), (5_000, 0), (10_000, 0)] {
        let found = store.get_range(name, offset, length).unwrap();
        let mut buffer = vec![7; length as usize];
        store.get_range_into(name, offset, &mut buffer).unwrap();
        assert_eq!(found, buffer);
        assert_eq!(found, content.slice(offset as usize..(offset + length) as usize), "{length} bytes at {offset}");
    }
    for (offset, length) in [(0, 10_001), (9_999, 2), (10_000, 1), (20_000, 1), (20_000, 0), (u64::MAX, 2)] {
        let into = store.get_range_into(name, offset, &mut vec![0; length as usize]);
        assert!(matches!(into, Err(StoreError::Short { .. })), "{length} bytes at {offset}: {into:?}");
        match store.get_range(name, offset, length) {
            Err(StoreError::Short { size_bytes, offset: at, end, .. }) => {
                assert_eq!((size_bytes, at, end), (10_000, offset, offset.saturating_add(length)));
            }
            other => panic!("{length} bytes at {offset}: {other:?}"),
        }
    }
}

fn empty_and_missing(store: &dyn Store, name: &str) {
    assert_eq!(store.size_bytes(name), Ok(None));
    for (offset, length) in [(0, 1), (0, 0), (5, 5)] {
        let found = store.get_range(name, offset, length);
        assert!(matches!(&found, Err(StoreError::NotFound { name: missing, .. }) if missing == name), "{found:?}");
    }
    assert!(matches!(store.get_range_into(name, 0, &mut [0]), Err(StoreError::NotFound { .. })));
    assert_eq!(store.put(name, &[], &digest_of(b"")), Ok(PutOutcome::Created));
    assert_eq!(store.size_bytes(name), Ok(Some(0)));
    assert_eq!(store.get_range(name, 0, 0).unwrap().len(), 0);
    assert!(matches!(store.get_range(name, 0, 1), Err(StoreError::Short { size_bytes: 0, .. })));
}

/// Whether requests had to be repeated. Then a request whose answer was lost did its work all the
/// same, and was carried out a second time.
pub(super) fn is_lossy(store: &dyn Store) -> bool {
    store.traffic().retries > 0
}

/// The error of a call that is refused in every attempt. On a connection that loses answers, the
/// last attempt's answer may be lost too, so that nobody knows what it said.
pub(super) fn refusal<T>(call: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let reported = (0..5).map(|_| call()).find(|outcome| !matches!(outcome, Err(StoreError::Unavailable { .. })));
    reported.expect("five calls brought no answer")
}

fn wrong_digests(store: &dyn Store, name: &str) {
    let refused = refusal(|| store.put(name, &[Bytes::from_static(b"content")], &digest_of(b"another")));
    assert!(matches!(refused, Err(StoreError::Corrupted { .. })), "{refused:?}");
    assert_eq!(store.size_bytes(name), Ok(None), "nothing is written");
    let upload = store.begin_multipart(name).unwrap();
    let refused = refusal(|| upload.part(1, &[Bytes::from_static(b"content")], &digest_of(b"another")));
    assert!(matches!(refused, Err(StoreError::Corrupted { .. })), "{refused:?}");
    upload.abort().unwrap();
}

fn wrong_names(store: &dyn Store) {
    for name in ["", "/a", "a/", "a//b", "../a", "a/..", ".", "A", "a b", "a\\b", ".tmp/a"] {
        let outcomes = [
            store.put(name, &[], &digest_of(b"")).err(),
            store.begin_multipart(name).err(),
            store.get_range(name, 0, 0).err(),
            store.size_bytes(name).err(),
            store.delete(name).err(),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Some(StoreError::Refused { .. })), "{name:?}: {outcome:?}");
        }
    }
    for prefix in ["/", "a//", "../", "A", ".tmp/"] {
        assert!(matches!(store.list(prefix, None, 1), Err(StoreError::Refused { .. })), "{prefix:?}");
    }
}

fn names(listed: &[super::Listed], prefix: &str) -> Vec<String> {
    listed.iter().map(|object| object.name.strip_prefix(prefix).expect("listed below its prefix").to_owned()).collect()
}

/// `-` and `.` come before `/`, digits after it. Folders must not be listed as if their names ended
/// before the `/`.
fn order(store: &dyn Store, prefix: &str) {
    let sorted = ["a-b", "a-b-c/d", "a.b", "a/b", "a/b-c/d", "a/b.c", "a/bb", "a/c/d", "a/c/e/f", "a/c0", "a0", "a_", "aa/b", "b/0"];
    let mut is_sorted = sorted;
    is_sorted.sort_unstable();
    assert_eq!(is_sorted, sorted);
    for (size, name) in sorted.iter().enumerate().rev() {
        put_bytes(store, &format!("{prefix}/{name}"), &pattern(3, size));
    }
    let below = format!("{prefix}/");
    let all = store.list(&below, None, 100).unwrap();
    assert_eq!(names(&all, &below), sorted);
    assert!(all.iter().enumerate().all(|(size, object)| object.size_bytes == size as u64), "{all:?}");
    for limit in [0, 1, 2, 5] {
        assert_eq!(names(&store.list(&below, None, limit).unwrap(), &below), sorted[..limit]);
    }
    for folder in ["a", "aa", "a/c", "a-b-c"] {
        let name = format!("{prefix}/{folder}");
        assert_eq!(store.size_bytes(&name), Ok(None), "{folder} is where names go on, but no object");
        assert!(matches!(store.get_range(&name, 0, 0), Err(StoreError::NotFound { .. })), "{folder}");
    }
    // After every name, and after names that are not there.
    let mut marks: Vec<String> = sorted.iter().map(|name| (*name).to_owned()).collect();
    marks.extend(["a", "a-", "a/", "a/b-", "a/c", "a/c/", "a/c/e", "a/c/z", "a/zz", "0", "z", "a.b.c", "a/b/c"].map(str::to_owned));
    for mark in &marks {
        let rest: Vec<&str> = sorted.iter().copied().filter(|name| *name > mark.as_str()).collect();
        for limit in [1, 3, 100] {
            let page = store.list(&below, Some(&format!("{below}{mark}")), limit).unwrap();
            assert_eq!(names(&page, &below), rest[..limit.min(rest.len())], "after {mark}, {limit}");
        }
    }
    for part in ["a", "a/", "a/b", "a/c", "a/c/", "a-", "a-b", "a.b", "b/0", "b/0/", "c", "a/b/"] {
        let fitting: Vec<&str> = sorted.iter().copied().filter(|name| name.starts_with(part)).collect();
        assert_eq!(names(&store.list(&format!("{below}{part}"), None, 100).unwrap(), &below), fitting, "prefix {part}");
        let after = store.list(&format!("{below}{part}"), Some(&format!("{below}a/b")), 100).unwrap();
        let later: Vec<&str> = fitting.into_iter().filter(|name| *name > "a/b").collect();
        assert_eq!(names(&after, &below), later, "prefix {part} after a/b");
    }
}

fn paging(store: &dyn Store, prefix: &str) {
    let expected: Vec<String> = (0..MANY_NAMES).map(|number| format!("{prefix}/{}/{number:05}", number / 700)).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(name) = expected.get(next.fetch_add(1, Ordering::Relaxed)) {
                    put_bytes(store, name, b"x");
                }
            });
        }
    });
    let below = format!("{prefix}/");
    for limit in [MANY_NAMES + 1, 1001, 333] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = store.list(&below, found.last().map(String::as_str), limit).unwrap();
            assert!(page.len() <= limit);
            let last = page.len() < limit;
            found.extend(page.into_iter().map(|object| object.name));
            if last {
                break;
            }
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
    assert_eq!(store.list(&below, None, MANY_NAMES).unwrap().len(), MANY_NAMES);
}

/// Three parts: two of the least size and a small last one.
pub(super) fn three_parts(seed: u64) -> Vec<Bytes> {
    let least = PART_BYTES_MIN as usize;
    vec![pattern(seed, least), pattern(seed + 1, least), pattern(seed + 2, 1_000)]
}

pub(super) fn send(upload: &dyn Multipart, parts: &[Bytes], number: usize) -> String {
    let content = &parts[number - 1];
    let half = content.len() / 2;
    upload.part(number as u32, &[content.slice(..half), content.slice(half..)], &digest_of(content)).unwrap()
}

pub(super) fn known(parts: &[Bytes]) -> Vec<Part> {
    parts.iter().map(|content| part_of(content)).collect()
}

fn multipart(store: &dyn Store, prefix: &str) {
    let name = format!("{prefix}/several-threads");
    let parts = three_parts(10);
    let upload = store.begin_multipart(&name).unwrap();
    assert_eq!(store.size_bytes(&name), Ok(None), "nothing is visible before it is complete");
    thread::scope(|scope| {
        for number in [2, 3, 1] {
            let (upload, parts) = (&upload, &parts);
            scope.spawn(move || drop(send(upload.as_ref(), parts, number)));
        }
    });
    assert_eq!(upload.complete(&known(&parts)), Ok(PutOutcome::Created));
    let whole = parts.concat();
    assert_eq!(store.size_bytes(&name), Ok(Some(whole.len() as u64)));
    let seam = PART_BYTES_MIN - 100;
    assert_eq!(store.get_range(&name, seam, 200).unwrap(), whole[seam as usize..][..200]);
    assert_eq!(store.get_range(&name, 0, whole.len() as u64).unwrap(), whole);
}

/// The smaller last part before all others, then one part twice.
fn multipart_last_first(store: &dyn Store, prefix: &str) {
    let name = format!("{prefix}/last-first");
    let parts = three_parts(20);
    let upload = store.begin_multipart(&name).unwrap();
    for number in [3, 2, 1, 2] {
        send(upload.as_ref(), &parts, number);
    }
    assert_eq!(upload.complete(&known(&parts)), Ok(PutOutcome::Created));
    assert_eq!(store.get_range(&name, 0, 2 * PART_BYTES_MIN + 1_000).unwrap(), parts.concat());
    let single = format!("{prefix}/single");
    let upload = store.begin_multipart(&single).unwrap();
    send(upload.as_ref(), &parts[2..], 1);
    assert_eq!(upload.complete(&known(&parts[2..])), Ok(PutOutcome::Created));
    assert_eq!(store.get_range(&single, 0, 1_000).unwrap(), parts[2]);
}

fn multipart_invisible(store: &dyn Store, name: &str) {
    let parts = three_parts(30);
    for abort in [true, false] {
        let upload = store.begin_multipart(name).unwrap();
        send(upload.as_ref(), &parts, 1);
        assert_eq!(store.size_bytes(name), Ok(None));
        assert_eq!(store.list(name, None, 10), Ok(Vec::new()));
        if abort {
            upload.abort().unwrap();
        } else {
            drop(upload);
        }
        assert_eq!(store.size_bytes(name), Ok(None));
        assert!(matches!(store.get_range(name, 0, 1), Err(StoreError::NotFound { .. })));
    }
}

fn multipart_create_only(store: &dyn Store, name: &str) {
    let parts = three_parts(40);
    let upload = store.begin_multipart(name).unwrap();
    (1..=3).for_each(|number| drop(send(upload.as_ref(), &parts, number)));
    put_bytes(store, name, b"was quicker");
    assert_eq!(upload.complete(&known(&parts)), Ok(PutOutcome::AlreadyExists));
    assert_eq!(store.size_bytes(name), Ok(Some(11)));
}

fn multipart_refused(store: &dyn Store, name: &str) {
    let parts = three_parts(50);
    let good = known(&parts);
    let mut wrong_digest = good.clone();
    wrong_digest[1].digest[0] ^= 1;
    let mut wrong_size = good.clone();
    wrong_size[2].size_bytes += 1;
    let mut longer = good.clone();
    longer.push(good[2].clone());
    let sent = Vec::from([1, 2, 3]);
    for (numbers, expected) in [
        (&sent, &wrong_digest),
        (&sent, &wrong_size),
        (&sent, &longer),
        (&sent, &good[..2].to_vec()),
        (&sent, &Vec::new()),
        (&Vec::from([1, 3]), &good),
        (&Vec::from([1, 3]), &good[..2].to_vec()),
    ] {
        let upload = store.begin_multipart(name).unwrap();
        numbers.iter().for_each(|number| drop(send(upload.as_ref(), &parts, *number)));
        let outcome = upload.complete(expected);
        assert!(matches!(outcome, Err(StoreError::Refused { .. })), "{outcome:?}");
        assert_eq!(store.size_bytes(name), Ok(None));
    }
    let upload = store.begin_multipart(name).unwrap();
    for number in [0, 10_001] {
        let outcome = upload.part(number, &[], &digest_of(b""));
        assert!(matches!(outcome, Err(StoreError::Refused { .. })), "part {number}: {outcome:?}");
    }
    upload.abort().unwrap();
}

fn large(store: &dyn Store, name: &str) {
    let content = pattern(60, LARGE_BYTES);
    let pieces: Vec<Bytes> = (0..LARGE_BYTES).step_by(512 << 10).map(|start| content.slice(start..start + (512 << 10))).collect();
    assert_eq!(store.put(name, &pieces, &digest_of(&content)), Ok(PutOutcome::Created));
    assert_eq!(store.get_range(name, 0, LARGE_BYTES as u64).unwrap(), content);
    let middle = LARGE_BYTES as u64 / 2 + 1;
    assert_eq!(store.get_range(name, middle, 8 << 20).unwrap(), content.slice(middle as usize..middle as usize + (8 << 20)));
}

fn remove_all(store: &dyn Store, prefix: &str) {
    loop {
        let page = store.list(prefix, None, 1000).unwrap();
        if page.is_empty() {
            return;
        }
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(object) = page.get(next.fetch_add(1, Ordering::Relaxed)) {
                        store.delete(&object.name).unwrap();
                    }
                });
            }
        });
    }
}
