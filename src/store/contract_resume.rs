//! What every store must do with unfinished uploads that a writer left: checks that panic where it
//! does not. Run by [`contract`](super::contract::contract).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "checks of tests: what does not hold panics")]

use super::contract::{digest_of, is_lossy, known, part_of, put_bytes, refusal, send, three_parts};
use super::{KnownPart, Part, PutOutcome, Resumed, Store, StoreError};
use bytes::Bytes;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs every check of uploads that are left and resumed, under one prefix.
pub(super) fn resuming(store: &dyn Store, prefix: &str) {
    only_what_is_missing(store, &format!("{prefix}/missing"));
    what_changed_is_not_held(store, &format!("{prefix}/changed"));
    if store.capabilities().digest_checked {
        a_changed_digest_never_becomes_an_object(store, &format!("{prefix}/digest"));
    }
    complete_still_checks(store, &format!("{prefix}/checks"));
    a_joined_name_stays_create_only(store, &format!("{prefix}/taken"));
    gone(store, &format!("{prefix}/gone"));
    listed(store, &format!("{prefix}/listed"));
}

/// Begins an upload, sends these parts and leaves it. Returns its id, and what its writer would
/// have noted.
fn left(store: &dyn Store, name: &str, parts: &[Bytes], numbers: &[usize]) -> (String, Vec<KnownPart>) {
    let upload = store.begin_multipart(name).unwrap();
    let noted = numbers.iter().map(|&number| {
        let tag = send(upload.as_ref(), parts, number);
        assert!(!tag.is_empty(), "every part has a tag");
        KnownPart { number: number as u32, part: part_of(&parts[number - 1]), tag: Some(tag) }
    });
    let noted = noted.collect();
    let upload_id = upload.upload_id();
    upload.keep();
    (upload_id, noted)
}

fn resume(store: &dyn Store, name: &str, upload_id: &str, noted: &[KnownPart]) -> Resumed {
    store.resume_multipart(name, upload_id, noted).unwrap().expect("the upload is there")
}

/// Checks that nothing is left of these uploads. If the answer to the request that begins an upload
/// was lost, the request was repeated and may have begun two uploads. The other one is not ours.
fn nothing_left(store: &dyn Store, name: &str, begun: &[String]) {
    let is_lossy = is_lossy(store);
    let mut uploads = store.unfinished(name).unwrap();
    uploads.retain(|upload| !is_lossy || begun.contains(&upload.upload_id));
    assert_eq!(uploads, [], "what ended is given back");
}

fn only_what_is_missing(store: &dyn Store, prefix: &str) {
    let parts = three_parts(70);
    // The last part may be there or not, and so may the first: the size of the parts is not always
    // certain yet.
    for (round, sent) in [&[1usize, 3][..], &[3, 1], &[2], &[3], &[1, 2], &[1, 2, 3], &[]].iter().enumerate() {
        let name = format!("{prefix}/{round}");
        let (upload_id, noted) = left(store, &name, &parts, sent);
        assert_eq!(store.size_bytes(&name), Ok(None), "nothing is visible");
        let resumed = resume(store, &name, &upload_id, &noted);
        let mut expected: Vec<u32> = sent.iter().map(|&number| number as u32).collect();
        expected.sort_unstable();
        assert_eq!(resumed.held, expected, "round {round}");
        assert_eq!(resumed.multipart.upload_id(), upload_id);
        for number in 1..=3 {
            if !sent.contains(&number) {
                send(resumed.multipart.as_ref(), &parts, number);
            }
        }
        assert_eq!(resumed.multipart.complete(&known(&parts)), Ok(PutOutcome::Created));
        let whole = parts.concat();
        assert_eq!(store.get_range(&name, 0, whole.len() as u64).unwrap(), whole, "round {round}");
        assert!(store.resume_multipart(&name, &upload_id, &noted).unwrap().is_none(), "what is complete cannot be resumed");
        store.delete(&name).unwrap();
    }
}

fn what_changed_is_not_held(store: &dyn Store, name: &str) {
    let parts = three_parts(80);
    let (upload_id, noted) = left(store, name, &parts, &[1, 2]);
    let changed = |change: &dyn Fn(&mut KnownPart)| {
        let mut noted = noted.clone();
        change(&mut noted[1]);
        let resumed = resume(store, name, &upload_id, &noted);
        resumed.multipart.keep();
        resumed.held
    };
    assert_eq!(changed(&|_| {}), [1, 2]);
    assert_eq!(changed(&|part| part.part.size_bytes += 1), [1], "another size");
    assert_eq!(changed(&|part| part.part.size_bytes -= 1), [1], "another size");
    assert_eq!(changed(&|part| part.tag = Some("another".to_owned())), [1], "another tag");
    assert_eq!(changed(&|part| (part.part.digest[0] ^= 1, part.tag = None).0), [1], "another digest");
    assert_eq!(changed(&|part| part.number = 3), [1], "never sent");
    for number in [0, 10_001, u32::MAX] {
        assert_eq!(changed(&|part| part.number = number), [1], "no such number");
    }
    // Parts that the store does not hold are sent again, and then the object is right.
    let mut noted = noted;
    noted[0].part.digest[0] ^= 1;
    noted[0].tag = None;
    let resumed = resume(store, name, &upload_id, &noted);
    assert_eq!(resumed.held, [2]);
    send(resumed.multipart.as_ref(), &parts, 3);
    send(resumed.multipart.as_ref(), &parts, 1);
    assert_eq!(resumed.multipart.complete(&known(&parts)), Ok(PutOutcome::Created));
    let whole = parts.concat();
    assert_eq!(store.get_range(name, 0, whole.len() as u64).unwrap(), whole);
}

/// A store that lists no digests recognises a part by its tag, and compares the digest only when it
/// joins the parts.
fn a_changed_digest_never_becomes_an_object(store: &dyn Store, name: &str) {
    let parts = three_parts(85);
    let (upload_id, mut noted) = left(store, name, &parts, &[1, 2, 3]);
    noted[1].part.digest[0] ^= 1;
    let resumed = resume(store, name, &upload_id, &noted);
    if resumed.held == [1, 2, 3] {
        let wrong: Vec<Part> = noted.into_iter().map(|known| known.part).collect();
        let outcome = resumed.multipart.complete(&wrong);
        // The refusal comes from the server, and its last answer may be lost. What counts is that
        // no object was created.
        let is_lost = matches!(outcome, Err(StoreError::Unavailable { .. })) && is_lossy(store);
        assert!(is_lost || matches!(outcome, Err(StoreError::Refused { .. } | StoreError::Corrupted { .. })), "{outcome:?}");
        assert_eq!(store.size_bytes(name), Ok(None));
    } else {
        assert_eq!(resumed.held, [1, 3]);
    }
}

fn complete_still_checks(store: &dyn Store, name: &str) {
    let parts = three_parts(90);
    let good = known(&parts);
    let mut wrong: Vec<Part> = good.clone();
    wrong[0].digest[0] ^= 1;
    // The store holds all three, but part 2 was noted by nobody.
    let cases: [(&[usize], &[Part]); 3] = [(&[0, 2], &good), (&[0, 1, 2], &wrong), (&[0, 1, 2], &good[..2])];
    let mut begun = Vec::new();
    for (noted_at, expected) in cases {
        let (upload_id, noted) = left(store, name, &parts, &[1, 2, 3]);
        begun.push(upload_id.clone());
        let noted: Vec<KnownPart> = noted_at.iter().map(|&at| noted[at].clone()).collect();
        let resumed = resume(store, name, &upload_id, &noted);
        assert_eq!(resumed.held.len(), noted.len());
        let outcome = resumed.multipart.complete(expected);
        assert!(matches!(outcome, Err(StoreError::Refused { .. })), "{outcome:?}");
        assert_eq!(store.size_bytes(name), Ok(None));
    }
    nothing_left(store, name, &begun);
    let (upload_id, noted) = left(store, name, &parts, &[1, 2]);
    let resumed = resume(store, name, &upload_id, &noted);
    let outcome = refusal(|| resumed.multipart.part(3, &[Bytes::from_static(b"content")], &digest_of(b"another")));
    assert!(matches!(outcome, Err(StoreError::Corrupted { .. })), "{outcome:?}");
    resumed.multipart.abort().unwrap();
}

fn a_joined_name_stays_create_only(store: &dyn Store, name: &str) {
    let parts = three_parts(100);
    let (upload_id, noted) = left(store, name, &parts, &[1, 2, 3]);
    put_bytes(store, name, b"was quicker");
    let resumed = resume(store, name, &upload_id, &noted);
    assert_eq!(resumed.multipart.complete(&known(&parts)), Ok(PutOutcome::AlreadyExists));
    assert_eq!(store.size_bytes(name), Ok(Some(11)));
    nothing_left(store, name, &[upload_id]);
}

fn gone(store: &dyn Store, name: &str) {
    let parts = three_parts(110);
    let (upload_id, noted) = left(store, name, &parts, &[1]);
    assert!(store.resume_multipart(&format!("{name}-other"), &upload_id, &noted).unwrap().is_none(), "an upload belongs to its name");
    store.abort_upload(name, &upload_id).unwrap();
    assert!(store.resume_multipart(name, &upload_id, &noted).unwrap().is_none());
    store.abort_upload(name, &upload_id).unwrap();
    for never in ["", "never", "0123456789abcdef0123456789abcdef", "../../a"] {
        // A server may say that this is not one of its ids.
        let resumed = store.resume_multipart(name, never, &noted).map(|resumed| resumed.is_some());
        assert!(matches!(resumed, Ok(false) | Err(StoreError::Refused { .. })), "{never:?}: {resumed:?}");
    }
    for drops in [true, false] {
        let (upload_id, noted) = left(store, name, &parts, &[1]);
        let resumed = resume(store, name, &upload_id, &noted);
        if drops {
            drop(resumed);
        } else {
            resumed.multipart.abort().unwrap();
        }
        assert!(store.resume_multipart(name, &upload_id, &noted).unwrap().is_none());
    }
    for bad in ["", "a//b", ".tmp/a"] {
        let resumed = store.resume_multipart(bad, &upload_id, &noted).err();
        assert!(matches!(resumed, Some(StoreError::Refused { .. })), "{bad:?}: {resumed:?}");
        assert!(matches!(store.abort_upload(bad, &upload_id), Err(StoreError::Refused { .. })), "{bad:?}");
    }
    assert!(matches!(store.unfinished("../"), Err(StoreError::Refused { .. })));
}

fn listed(store: &dyn Store, prefix: &str) {
    let parts = three_parts(120);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let names = ["a", "a-b", "a/b", "b"].map(|leaf| format!("{prefix}/{leaf}"));
    let mut ids: Vec<(String, String)> = Vec::new();
    for name in names.iter().rev().chain([&names[0]]) {
        ids.push((name.clone(), left(store, name, &parts[2..], &[1]).0));
    }
    ids.sort_unstable();
    let list = |prefix: &str| -> Vec<(String, String)> {
        store.unfinished(prefix).unwrap().into_iter().map(|upload| (upload.name, upload.upload_id)).collect()
    };
    // If the answer to the request that begins an upload was lost, the request was repeated and may
    // have begun two uploads. The listing shows both.
    let is_lossy = is_lossy(store);
    let holds = |prefix: &str, begun: &[(String, String)]| {
        let mut listed = list(prefix);
        assert!(listed.is_sorted(), "{listed:?}");
        if is_lossy {
            assert!(
                listed.iter().all(|(name, _)| begun.iter().any(|(known, _)| known == name)),
                "{listed:?} has names that were not asked for"
            );
            listed.retain(|upload| begun.contains(upload));
        }
        assert_eq!(listed, begun, "under {prefix}: two of one name are two");
    };
    holds(&format!("{prefix}/"), &ids);
    holds(&names[3], &ids[4..]);
    holds(&format!("{prefix}/a/"), &ids[3..4]);
    assert_eq!(list(&format!("{prefix}/c")), []);
    assert_eq!(store.list(&format!("{prefix}/"), None, 10), Ok(Vec::new()), "they are no objects");
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for upload in store.unfinished(&format!("{prefix}/")).unwrap() {
        let began = upload.began_ns.expect("every store tells when") / 1_000_000_000;
        // The server's clock may differ from ours.
        assert!((before - 60..=after + 60).contains(&began), "{began} is not about {before}");
        store.abort_upload(&upload.name, &upload.upload_id).unwrap();
    }
    assert_eq!(list(&format!("{prefix}/")), []);
}
