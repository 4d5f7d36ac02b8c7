//! Tests of the folder store that look at its files.

use super::*;
use crate::store::contract::{contract, digest_of, part_of, pattern, put_bytes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("amber-folder-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn store(&self) -> FolderStore {
        FolderStore::open(&self.0).unwrap()
    }

    /// Sessions (not the lock, not the uploads) below `.tmp`.
    fn sessions(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.0.join(".tmp")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir() && !path.ends_with("uploads")).collect()
    }

    /// Uploads below `.tmp`.
    fn uploads(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.0.join(".tmp/uploads")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn passes_the_contract() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.store());
    contract(store.clone());
    let session = scratch.sessions();
    assert_eq!(session.len(), 1);
    assert_eq!(std::fs::read_dir(&session[0]).unwrap().count(), 1, "only the lock is left");
    assert_eq!(scratch.uploads(), Vec::<PathBuf>::new(), "nothing is left of any upload");
    drop(store);
    assert!(scratch.sessions().is_empty());
}

#[test]
fn the_root_is_made_by_the_first_put_only() {
    let scratch = Scratch::new();
    let root = scratch.0.join("new");
    let store = FolderStore::open(&root).unwrap();
    assert_eq!(store.describe(), root.display().to_string());
    assert_eq!(store.size_bytes("a"), Ok(None));
    assert_eq!(store.list("", None, 10), Ok(Vec::new()));
    assert_eq!(store.list("a/b", None, 10), Ok(Vec::new()));
    store.delete("a").unwrap();
    assert!(matches!(store.get_range("a", 0, 0), Err(StoreError::NotFound { .. })));
    assert!(!root.exists());
    put_bytes(&store, "a/b/c", b"content");
    assert_eq!(std::fs::read(root.join("a/b/c")).unwrap(), b"content");
    let deeper = FolderStore::open(&scratch.0.join("x/y")).unwrap();
    let refused = deeper.put("a", &[], &digest_of(b"")).unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason, .. } if reason.contains("does not exist")), "{refused}");
    let file = FolderStore::open(&root.join("a/b/c")).unwrap_err();
    assert!(matches!(&file, StoreError::Refused { action: "open", .. }), "{file}");
}

#[test]
fn relative_roots_work() {
    let scratch = Scratch::new();
    let files = Files::new(Path::new("."));
    assert!(files.open_root().unwrap().is_some());
    drop(scratch);
}

#[test]
fn a_file_is_no_folder_and_a_folder_no_file() {
    let scratch = Scratch::new();
    let store = scratch.store();
    put_bytes(&store, "a/b", b"1");
    for name in ["a", "a/b/c", "a/b/c/d"] {
        let refused = store.put(name, &[], &digest_of(b"")).unwrap_err();
        assert!(matches!(&refused, StoreError::Refused { reason, .. } if reason.contains("stands where")), "{name}: {refused}");
        let upload = store.begin_multipart(name).unwrap();
        upload.part(1, &[Bytes::from_static(b"1")], &digest_of(b"1")).unwrap();
        assert!(matches!(upload.complete(&[part_of(b"1")]), Err(StoreError::Refused { .. })), "{name}");
        assert_eq!(store.size_bytes(name), Ok(None));
        assert!(matches!(store.get_range(name, 0, 0), Err(StoreError::NotFound { .. })));
        store.delete(name).unwrap();
    }
    assert_eq!(store.size_bytes("a/b"), Ok(Some(1)));
}

#[test]
fn links_are_not_followed() {
    let outside = Scratch::new();
    std::fs::write(outside.0.join("secret"), b"outside").unwrap();
    let scratch = Scratch::new();
    symlink(&outside.0, scratch.0.join("folder")).unwrap();
    symlink(outside.0.join("secret"), scratch.0.join("file")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, scratch.0.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let store = scratch.store();
    for name in ["file", "folder/secret", "fifo"] {
        assert!(matches!(store.get_range(name, 0, 1), Err(StoreError::NotFound { .. })), "{name}");
        assert_eq!(store.size_bytes(name), Ok(None));
    }
    assert_eq!(store.list("", None, 10), Ok(Vec::new()));
    let refused = store.put("folder/new", &[], &digest_of(b"")).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert!(matches!(store.put("file", &[], &digest_of(b"")), Err(StoreError::Refused { .. })));
    assert!(matches!(store.put("fifo", &[], &digest_of(b"")), Err(StoreError::Refused { .. })));
    std::fs::write(scratch.0.join("plain"), b"").unwrap();
    assert!(matches!(store.put("plain/under", &[], &digest_of(b"")), Err(StoreError::Refused { .. })));
    store.delete("folder/secret").unwrap();
    assert_eq!(std::fs::read_dir(&outside.0).unwrap().count(), 1);
    let linked = scratch.0.join("root");
    symlink(&outside.0, &linked).unwrap();
    assert_eq!(FolderStore::open(&linked).unwrap().size_bytes("secret"), Ok(Some(7)), "the root itself may be a link");
}

#[test]
fn leftovers_of_the_dead_go_and_of_the_living_stay() {
    let scratch = Scratch::new();
    let living = scratch.store();
    let upload = living.begin_multipart("a").unwrap();
    upload.part(1, &[Bytes::from_static(b"1")], &digest_of(b"1")).unwrap();
    let dead = scratch.0.join(".tmp/1-0");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("lock"), b"").unwrap();
    std::fs::write(dead.join("0"), b"half").unwrap();
    let dead_early = scratch.0.join(".tmp/1-1");
    std::fs::create_dir(&dead_early).unwrap();
    std::fs::write(scratch.0.join(".tmp/stray"), b"").unwrap();
    put_bytes(&scratch.store(), "b", b"2");
    assert!(!dead.exists() && !dead_early.exists());
    assert_eq!(scratch.sessions().len(), 1, "the living one");
    assert_eq!(upload.complete(&[part_of(b"1")]), Ok(PutOutcome::Created));
    assert_eq!(living.size_bytes("a"), Ok(Some(1)));
}

fn noted(number: u32, content: &Bytes) -> KnownPart {
    KnownPart { number, part: part_of(content), tag: None }
}

#[test]
fn uploads_outlive_their_writers_for_a_week() {
    let scratch = Scratch::new();
    let content = pattern(1, 8);
    let leave = |name: &str, store: &FolderStore| {
        let upload = store.begin_multipart(name).unwrap();
        upload.part(1, std::slice::from_ref(&content), &digest_of(&content)).unwrap();
        let id = upload.upload_id();
        upload.keep();
        id
    };
    let first = scratch.store();
    let (old, new) = (leave("old", &first), leave("new", &first));
    let busy = first.begin_multipart("busy").unwrap();
    let age = |id: &str, days: u64| {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 3600 + 60);
        File::options().write(true).open(scratch.0.join(".tmp/uploads").join(id).join("object")).unwrap().set_modified(then).unwrap();
    };
    age(&old, 7);
    age(&new, 6);
    age(&busy.upload_id(), 8);
    std::fs::create_dir(scratch.0.join(".tmp/uploads/strange")).unwrap();
    let second = scratch.store();
    put_bytes(&second, "b", b"2");
    let left: Vec<String> = second.unfinished("").unwrap().into_iter().map(|upload| upload.name).collect();
    assert_eq!(left, ["busy", "new"], "somebody is still at work on the one, and the other is not old enough");
    assert!(second.resume_multipart("old", &old, &[noted(1, &content)]).unwrap().is_none());
    let resumed = second.resume_multipart("new", &new, &[noted(1, &content)]).unwrap().unwrap();
    assert_eq!(resumed.held, [1]);
    assert_eq!(resumed.multipart.complete(&[part_of(&content)]), Ok(PutOutcome::Created));
    assert!(scratch.0.join(".tmp/uploads/strange").exists(), "what is not ours stays");
}

#[test]
fn one_writer_at_a_time() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let upload = store.begin_multipart("a").unwrap();
    let id = upload.upload_id();
    for other in [&store, &scratch.store()] {
        let busy = other.resume_multipart("a", &id, &[]).err();
        assert!(matches!(&busy, Some(StoreError::Unavailable { reason, .. }) if reason.contains("at work")), "{busy:?}");
        assert!(matches!(other.abort_upload("a", &id), Err(StoreError::Unavailable { .. })));
    }
    upload.keep();
    scratch.store().abort_upload("a", &id).unwrap();
    assert_eq!(scratch.uploads(), Vec::<PathBuf>::new());
}

/// What a crash of the machine may leave: bytes that never reached the disk, half a line, no line.
#[test]
fn what_the_disk_lost_is_sent_again() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let parts = [pattern(1, 8), pattern(2, 8), pattern(3, 5)];
    let known: Vec<KnownPart> = (1u32..).zip(&parts).map(|(number, part)| noted(number, part)).collect();
    type Damage = fn(&Path);
    let damage: [(&[u32], Damage); 5] = [
        (&[1, 3], |folder| File::options().write(true).open(folder.join("object")).unwrap().write_all_at(b"x", 9).unwrap()),
        (&[1, 2], |folder| File::options().write(true).open(folder.join("object")).unwrap().set_len(20).unwrap()),
        (&[], |folder| File::options().write(true).open(folder.join("object")).unwrap().set_len(0).unwrap()),
        (&[], |folder| {
            let about = std::fs::read_to_string(folder.join("about")).unwrap();
            std::fs::write(folder.join("about"), about.trim_end()).unwrap();
        }),
        (&[], |folder| {
            let about = std::fs::read_to_string(folder.join("about")).unwrap();
            std::fs::write(folder.join("about"), about.replace("bytes 8", "bytes 18446744073709551615")).unwrap();
        }),
    ];
    for (round, (held, damage)) in damage.into_iter().enumerate() {
        let name = format!("a{round}");
        let upload = store.begin_multipart(&name).unwrap();
        let send = |upload: &dyn Multipart, number: u32| {
            let part = &parts[number as usize - 1];
            upload.part(number, std::slice::from_ref(part), &digest_of(part)).unwrap();
        };
        (1..=3).for_each(|number| send(upload.as_ref(), number));
        let id = upload.upload_id();
        upload.keep();
        damage(&scratch.0.join(".tmp/uploads").join(&id));
        let resumed = store.resume_multipart(&name, &id, &known).unwrap().unwrap();
        assert_eq!(resumed.held, held, "round {round}");
        // The last part first: if the size is lost too, it must be found again.
        (1..=3).rev().filter(|number| !held.contains(number)).for_each(|number| send(resumed.multipart.as_ref(), number));
        assert_eq!(resumed.multipart.complete(&parts.each_ref().map(|part| part_of(part))), Ok(PutOutcome::Created));
        assert_eq!(store.get_range(&name, 0, 21).unwrap(), parts.concat());
    }
    for bad in ["", "else", "amber upload 1\nb\n1\n"] {
        let upload = store.begin_multipart("a").unwrap();
        let id = upload.upload_id();
        upload.keep();
        std::fs::write(scratch.0.join(".tmp/uploads").join(&id).join("about"), bad).unwrap();
        assert!(store.resume_multipart("a", &id, &known).unwrap().is_none(), "{bad:?}");
    }
}

#[test]
fn sessions_begin_one_after_the_other() {
    let scratch = Scratch::new();
    put_bytes(&scratch.store(), "a", b"1");
    let gate = File::open(scratch.0.join(".tmp/lock")).unwrap();
    gate.lock().unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| put_bytes(&scratch.store(), "b", b"2"));
        std::thread::sleep(std::time::Duration::from_millis(60));
        assert!(!second.is_finished(), "it waits for the lock");
        gate.unlock().unwrap();
    });
}

#[test]
fn strange_files_are_not_listed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    put_bytes(&store, "a/b", b"1");
    std::fs::create_dir(scratch.0.join("lost+found")).unwrap();
    std::fs::create_dir(scratch.0.join("empty")).unwrap();
    std::fs::write(scratch.0.join("Notes"), b"").unwrap();
    std::fs::write(scratch.0.join("a").join(std::ffi::OsString::from("\u{e4}")), b"").unwrap();
    let listed = store.list("", None, 10).unwrap();
    assert_eq!(listed, [Listed { name: "a/b".to_owned(), size_bytes: 1 }]);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let upload = store.begin_multipart("a").unwrap();
    let send = |number, content: &Bytes| upload.part(number, std::slice::from_ref(content), &digest_of(content));
    let (four, five, three) = (pattern(1, 4), pattern(2, 5), pattern(3, 3));
    send(3, &three).unwrap();
    send(3, &three).unwrap();
    send(2, &four).unwrap();
    assert!(matches!(send(4, &five), Err(StoreError::Refused { .. })));
    assert!(matches!(send(1, &three), Err(StoreError::Refused { .. })));
    send(1, &four).unwrap();
    let parts = [part_of(&four), part_of(&four), part_of(&three)];
    assert_eq!(upload.complete(&parts), Ok(PutOutcome::Created));
    assert_eq!(store.get_range("a", 0, 11).unwrap(), [&four[..], &four, &three].concat());
}

#[test]
fn waiting_part_that_comes_again_is_taken_from_the_second_time() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let upload = store.begin_multipart("a").unwrap();
    let send = |number, content: &Bytes| upload.part(number, std::slice::from_ref(content), &digest_of(content)).unwrap();
    let (first, old, new) = (pattern(1, 8), pattern(2, 8), pattern(3, 8));
    send(2, &old);
    send(1, &first);
    send(2, &new);
    assert_eq!(upload.complete(&[part_of(&first), part_of(&new)]), Ok(PutOutcome::Created));
    assert_eq!(store.get_range("a", 0, 16).unwrap(), [first, new].concat());
}

#[test]
fn errors_say_what_to_do() {
    let scratch = Scratch::new();
    let files = Files::new(&scratch.0);
    let text = |errno| files.error("put", "a", errno).to_string();
    assert!(text(Errno::NOSPC).contains("bytes and"), "{}", text(Errno::NOSPC));
    assert!(matches!(files.error("put", "a", Errno::DQUOT), StoreError::Unavailable { .. }));
    assert!(matches!(files.error("get", "a", Errno::IO), StoreError::Damaged { .. }));
    assert!(matches!(files.error("put", "a", Errno::NOMEM), StoreError::Unavailable { .. }));
    assert!(matches!(files.error("put", "a", Errno::AGAIN), StoreError::Unavailable { .. }));
    for errno in [Errno::ACCESS, Errno::ROFS, Errno::XDEV, Errno::NAMETOOLONG, Errno::LOOP, Errno::INVAL] {
        assert!(matches!(files.error("put", "a", errno), StoreError::Refused { .. }), "{errno}");
    }
    assert!(Files::new(Path::new("/does/not/exist")).error("put", "a", Errno::NOSPC).to_string().contains("unknown"));
    assert_eq!(errno(&std::io::Error::other("no number")), Errno::IO);
}

/// A full disk: /dev/shm is too large to fill, so another test uses a process limit. This one uses
/// a folder that may not be written.
#[test]
fn missing_permission_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o555)).unwrap();
    let outcome = store.put("a", &[], &digest_of(b""));
    if std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
        assert!(matches!(outcome, Err(StoreError::Refused { .. })), "{outcome:?}");
    }
    std::fs::set_permissions(&scratch.0, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).unwrap();
    let put =
        |name: &str, content: &'static str| store.put(name, &[Bytes::from_static(content.as_bytes())], &digest_of(content.as_bytes()));
    let fail = |count: u32| store.files.mount.refusals.failing_syncs.store(count, Ordering::SeqCst);
    let inode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().ino();
    put("a/first", "1").unwrap();
    fail(1);
    assert!(matches!(put("a/b", "content"), Err(StoreError::Damaged { .. })));
    let before = inode("a/b");
    // A sync that succeeds now proves nothing.
    assert_eq!(put("a/b", "content").unwrap(), PutOutcome::Created);
    assert_ne!(inode("a/b"), before);
    assert_eq!(put("a/b", "content").unwrap(), PutOutcome::AlreadyExists);
    // The same while syncs go on failing, and for an object that was there before.
    fail(2);
    put("a/c", "content").unwrap_err();
    put("a/c", "content").unwrap_err();
    assert_eq!(put("a/c", "content").unwrap(), PutOutcome::Created);
    fail(1);
    put("a/first", "1").unwrap_err();
    // What somebody else put there is neither replaced nor believed.
    fail(1);
    put("a/d", "ours").unwrap_err();
    std::fs::write(folder.path().join("a/d"), "theirs").unwrap();
    assert!(put("a/d", "ours").is_err());
    assert_eq!(std::fs::read(folder.path().join("a/d")).unwrap(), b"theirs");
    // A new folder whose entry cannot be synced is made again.
    fail(1);
    put("new/a", "1").unwrap_err();
    assert!(!folder.path().join("new").exists());
    put("new/a", "1").unwrap();
}

/// A store on a file system that answers these calls with these errors.
fn lacking(scratch: &Scratch, rename: Errno, link: Option<Errno>, locks: Option<Errno>) -> FolderStore {
    let store = scratch.store();
    let refusals = &store.files.mount.refusals;
    *refusals.rename.lock().unwrap() = Some(rename);
    *refusals.link.lock().unwrap() = link;
    *refusals.lock.lock().unwrap() = locks;
    *refusals.sync_folder.lock().unwrap() = Some(Errno::INVAL);
    store
}

#[test]
fn a_mount_that_lacks_something_keeps_the_contract() {
    for (rename, link) in [(Errno::INVAL, None), (Errno::NOSYS, Some(Errno::PERM)), (Errno::OPNOTSUPP, Some(Errno::OPNOTSUPP))] {
        let scratch = Scratch::new();
        let store = Arc::new(lacking(&scratch, rename, link, None));
        if link == Some(Errno::PERM) {
            contract(store.clone());
        }
        put_bytes(&*store, "first", b"1");
        assert_eq!(store.put("first", &[Bytes::from_static(b"2")], &digest_of(b"2")), Ok(PutOutcome::AlreadyExists));
        assert_eq!(store.get_range("first", 0, 1).unwrap(), Bytes::from_static(b"1"));
        let asked = || store.files.mount.refusals.asked.load(Ordering::SeqCst);
        let before = asked();
        put_bytes(&*store, "once", b"1");
        assert_eq!(asked() - before, u8::from(link.is_none()), "what it cannot do is found out once");
        assert_eq!(std::fs::read_dir(&scratch.sessions()[0]).unwrap().count(), 1, "only the lock is left");
    }
}

#[test]
fn without_hard_links_one_of_many_writers_gets_the_name() {
    let scratch = Scratch::new();
    for round in 0..20 {
        let name = format!("name-{round}");
        // Two processes, as far as locks are concerned, of two threads each.
        let stores = [(); 2].map(|()| lacking(&scratch, Errno::INVAL, Some(Errno::PERM), None));
        let put = |store: &FolderStore, content: u8| store.put(&name, &[Bytes::from(vec![content; 9])], &digest_of(&[content; 9])).unwrap();
        let (put, stores) = (&put, &stores);
        let outcomes = std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|number: u8| scope.spawn(move || put(&stores[usize::from(number % 2)], number)));
            threads.map(|thread| thread.join().unwrap())
        });
        let created = outcomes.iter().filter(|outcome| **outcome == PutOutcome::Created).count();
        let winner = outcomes.iter().position(|outcome| *outcome == PutOutcome::Created).unwrap();
        assert_eq!((created, std::fs::read(scratch.0.join(&name)).unwrap()), (1, vec![winner as u8; 9]));
    }
}

#[test]
fn a_mount_on_which_something_would_be_lost_is_named() {
    let scratch = Scratch::new();
    let store = lacking(&scratch, Errno::INVAL, Some(Errno::PERM), Some(Errno::NOSYS));
    let error = store.put("a", &[Bytes::from_static(b"1")], &digest_of(b"1")).unwrap_err();
    assert!(matches!(&error, StoreError::Refused { reason, .. } if reason.contains("nor lock files")), "{error}");
    assert_eq!(store.size_bytes("a"), Ok(None));
    // Of a folder's sync, too, only what means that there is none is passed over.
    let store = lacking(&scratch, Errno::INVAL, None, None);
    *store.files.mount.refusals.sync_folder.lock().unwrap() = Some(Errno::IO);
    let error = store.put("b", &[Bytes::from_static(b"1")], &digest_of(b"1")).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { .. }), "{error}");
    let text = store.files.error("put", "a", Errno::FBIG).to_string();
    assert!(text.contains("ulimit -f"), "{text}");
}
