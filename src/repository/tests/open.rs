//! Making and opening a repository.

use super::hiding::HidingStore;
use super::repository;
use crate::error::{Error, Kind};
use crate::repository::header::{FORMAT_VERSION, HEADER_BYTES, Header, UncheckedHeader};
use crate::repository::key::{RepositoryKey, Secret};
use crate::repository::name::{CHECKPOINTS, HEADER, KEYS};
use crate::repository::sample::{CREATED_NS, Fault, FaultyStore, HookedStore, create, open, options, secret};
use crate::repository::{Options, Repository};
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};
use std::sync::Arc;
use zeroize::Zeroizing;

fn error_of(store: &MemoryStore) -> Error {
    open(Arc::new(store.clone())).unwrap_err()
}

#[test]
fn a_repository_is_made_once_and_opened_again() {
    let (store, repository) = repository();
    assert_eq!((repository.header().created_ns, repository.describe().as_str()), (CREATED_NS, "memory"));
    assert_eq!(open(Arc::new(store.clone())).unwrap().header(), repository.header());
    let names = store.names();
    let error = create(&store).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("there is a repository already"), "{error}");
    assert_eq!(store.names(), names, "nothing was changed");
    assert!(Options::default().workers >= 1);
}

#[test]
fn two_that_make_one_repository_do_not_both_believe_it() {
    let store = MemoryStore::new();
    let faulty = FaultyStore::new(&store);
    // The header was not there when it was looked for, and is when it is to be written: its answer
    // is lost, and the caller tries again.
    faulty.fail(3, Fault::AnswerLost);
    let shared: Arc<dyn Store> = Arc::new(faulty);
    assert_eq!(Repository::init(&shared, &secret(), 1).unwrap_err().kind, Kind::TryAgain);
    assert_eq!(Repository::init(&shared, &secret(), 2).unwrap_err().kind, Kind::Input);
    assert_eq!(open(Arc::new(store)).unwrap().header().created_ns, 1);
}

#[test]
fn the_quicker_of_two_that_make_one_repository_has_it() {
    let store = MemoryStore::new();
    let header = create(&store).unwrap().header();
    let shared: Arc<dyn Store> = Arc::new(HidingStore::new(&store, HEADER));
    let error = Repository::init(&shared, &secret(), 1).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("there is a repository already"), "{error}");
    assert_eq!(open(Arc::new(store)).unwrap().header(), header, "the other's key beside its own harms nothing");
}

#[test]
fn an_init_that_was_cut_short_is_done_again() {
    for call in 1..=3 {
        let store = MemoryStore::new();
        let faulty = FaultyStore::new(&store);
        faulty.fail(call, Fault::Refused);
        assert_eq!(Repository::init(&(Arc::new(faulty) as Arc<dyn Store>), &secret(), 1).unwrap_err().kind, Kind::TryAgain);
        create(&store).unwrap();
    }
}

#[test]
fn a_place_without_a_repository_says_what_is_missing() {
    let store = MemoryStore::new();
    let error = error_of(&store);
    assert!(error.kind == Kind::Input && error.message.contains("`amber init --repo memory`"), "{error}");
    create(&store).unwrap();
    let header = store.remove(HEADER).unwrap();
    let error = error_of(&store);
    assert!(error.kind == Kind::Damaged && error.message.contains("header amber/repository is missing"), "{error}");
    store.replace(HEADER, header);
    let key = store.names().into_iter().find(|name| name.starts_with(KEYS)).unwrap();
    let object = store.remove(&key).unwrap();
    let error = error_of(&store);
    assert!(error.kind == Kind::Damaged && error.message.contains("there is no key object"), "{error}");
    store.replace(&key, object.slice(1..));
    let error = error_of(&store);
    assert!(error.kind == Kind::Damaged && error.message.contains(&format!("{key}: it has the wrong size")), "{error}");
    store.replace(&key, vec![0; 5000]);
    let error = error_of(&store);
    assert!(error.kind == Kind::Damaged && error.message.contains("has 5000 bytes"), "{error}");
}

#[test]
fn a_store_that_is_away_is_no_missing_repository() {
    let (store, _) = repository();
    let faulty = FaultyStore::new(&store);
    for call in 1..=5 {
        faulty.fail(call, Fault::Refused);
        assert_eq!(open(Arc::new(faulty.clone())).unwrap_err().kind, Kind::TryAgain, "call {call}");
    }
}

#[test]
fn many_keys_may_open_one_repository() {
    let (store, repository) = repository();
    let others = [Secret::KeyFile(Zeroizing::new(vec![8; 40])), Secret::KeyFile(Zeroizing::new(vec![9; 40]))];
    for (number, other) in others.iter().enumerate() {
        let name = format!("{KEYS}{number:016x}");
        store.replace(&name, repository.key.wrap(other, &repository.header().repository_id, &name).unwrap());
    }
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    for secret in others.iter().chain([&secret()]) {
        assert_eq!(Repository::open(Arc::clone(&shared), secret, options()).unwrap().header(), repository.header());
    }
    let wrong = Secret::KeyFile(Zeroizing::new(vec![1; 40]));
    let error = Repository::open(shared, &wrong, options()).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("none of its 3 keys opens"), "{error}");
}

#[test]
fn a_header_reads_back_and_no_bit_of_it_may_change() {
    let key = RepositoryKey::generate().unwrap();
    let header = Header { repository_id: [5; 16], created_ns: 7 };
    let bytes = header.encode(&key).unwrap();
    assert_eq!(bytes.len(), HEADER_BYTES);
    let unchecked = UncheckedHeader::decode(&bytes, "here").unwrap();
    assert_eq!(unchecked.repository_id(), &[5; 16]);
    assert_eq!(unchecked.check(&key, "here").unwrap(), header);
    for offset in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1;
        let error = UncheckedHeader::decode(&damaged, "here").and_then(|header| header.check(&key, "here")).unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.starts_with("here: "), "byte {offset}: {error}");
    }
    let other_key = RepositoryKey::generate().unwrap();
    assert!(UncheckedHeader::decode(&bytes, "here").unwrap().check(&other_key, "here").is_err());
}

#[test]
fn a_header_of_another_version_or_of_something_else_is_named() {
    let bytes = Header { repository_id: [5; 16], created_ns: 7 }.encode(&RepositoryKey::generate().unwrap()).unwrap();
    let message = |bytes: &[u8]| UncheckedHeader::decode(bytes, "here").unwrap_err().message;
    let mut newer = bytes.clone();
    newer[8] = FORMAT_VERSION as u8 + 1;
    assert!(message(&newer).contains("format version 2, this Amber reads version 1"));
    assert!(message(b"").contains("not an Amber header"));
    assert!(message(b"AMBERREP").contains("not an Amber header"));
    assert!(message(b"something else entirely").contains("something else wrote it"));
    assert!(message(&bytes[..71]).contains("not an Amber header"));
    assert!(message(&[&bytes[..], &[0]].concat()).contains("not an Amber header"));
}

#[test]
fn more_names_than_a_page_are_all_listed() {
    let (store, repository) = repository();
    let names: Vec<String> = (0..2000).map(|run| super::checkpoint(959, run).object()).collect();
    for name in &names {
        store.replace(name, &b"x"[..]);
    }
    store.replace(&format!("{CHECKPOINTS}stranger"), &b"x"[..]);
    assert_eq!(repository.list_all(CHECKPOINTS).unwrap().len(), 2001);
    let parsed: Vec<String> = repository.checkpoints().unwrap().iter().map(|name| name.object()).collect();
    assert_eq!(parsed, names, "in their order, without the stranger");
}

#[test]
fn runs_sort_by_age_and_differ() {
    let (_, repository) = repository();
    let first = repository.new_run().unwrap();
    let others: Vec<u64> = (0..100).map(|_| repository.new_run().unwrap().0).collect();
    assert!(others.iter().all(|run| *run != first.0 && run >> 23 >= first.0 >> 23));
}

#[test]
fn errors_of_the_store_are_sorted_by_what_to_do() {
    let (store, name) = (|| "s".to_owned(), || "n".to_owned());
    for (error, kind) in [
        (StoreError::NotFound { store: store(), name: name() }, Kind::Damaged),
        (StoreError::Short { store: store(), name: name(), size_bytes: 1, offset: 2, end: 3 }, Kind::Damaged),
        (StoreError::Refused { store: store(), action: "put", name: name(), reason: String::new() }, Kind::Input),
        (StoreError::Unavailable { store: store(), action: "put", name: name(), reason: String::new() }, Kind::TryAgain),
        (StoreError::Corrupted { store: store(), action: "put", name: name(), reason: String::new() }, Kind::TryAgain),
    ] {
        let text = error.to_string();
        assert_eq!(Error::from(error), Error::new(kind, text));
    }
}

#[test]
fn a_secret_is_not_called_wrong_because_the_header_changed_on_the_way() {
    let (store, repository) = repository();
    let whole = store.bytes(HEADER).unwrap();
    let mut other = whole.to_vec();
    other[16] ^= 1;
    let (hooked, memory, mut reads) = (HookedStore::new(&store), store.clone(), 0);
    let changed = other.clone();
    hooked.before_reads(move |name, length| {
        reads += u32::from(name == HEADER && length > 0);
        memory.replace(HEADER, if reads == 1 { changed.clone() } else { whole.to_vec() });
        reads < 2
    });
    assert_eq!(open(Arc::new(hooked)).unwrap().header(), repository.header());
    store.replace(HEADER, other);
    let error = error_of(&store);
    assert!(error.kind == Kind::Input && error.message.contains("none of its 1 keys opens"), "{error}");
}
