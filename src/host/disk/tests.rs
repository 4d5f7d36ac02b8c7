use super::sample::MemoryDisk;
use super::*;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let replace = |content: &[u8]| Disk::SYSTEM.replace(&path, "state.new", 0o640, content);
    replace(b"a longer content").unwrap();
    replace(b"the second").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"the second");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    // A folder is where the temporary file should be: nothing is changed.
    std::fs::create_dir(folder.path().join("state.new")).unwrap();
    replace(b"the third").unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), b"the second");
}

/// The machine's disk and the one in memory do the same, as far as an agent can see.
#[test]
fn the_disk_in_memory_is_as_the_machines() {
    let folder = tempfile::tempdir().unwrap();
    for disk in [Disk::SYSTEM, MemoryDisk::with_folder(folder.path()).handle()] {
        let path = |name: &str| folder.path().join(name);
        let names = |folder: &Path| {
            let mut names = Vec::new();
            disk.each_name(folder, &mut |name| {
                names.push(name.to_owned());
                Ok(())
            })
            .map(|()| {
                names.sort();
                names
            })
        };
        let write = |name: &str, content: &[u8]| disk.create(&path(name), 0o600).and_then(|mut file| file.write_all(content));
        assert_eq!(disk.read(&path("a"), 9).unwrap_err().kind(), ErrorKind::NotFound);
        write("a", b"first").unwrap();
        write("a", b"content").unwrap();
        assert_eq!((disk.read(&path("a"), 9).unwrap(), disk.read(&path("a"), 3).unwrap()), (b"content".to_vec(), b"con".to_vec()));
        disk.make_folder(&path("folder"), 0o700).unwrap();
        assert_eq!(disk.make_folder(&path("folder"), 0o700).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.make_folder(&path("no/folder"), 0o700).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(disk.is_folder(&path("folder")) && !disk.is_folder(&path("a")) && !disk.is_folder(&path("none")));
        assert_eq!(write("none/a", b"").unwrap_err().kind(), ErrorKind::NotFound);
        write("b", b"other").unwrap();
        disk.rename(&path("b"), &path("a")).unwrap();
        assert_eq!(disk.rename(&path("b"), &path("a")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(
            (names(folder.path()).unwrap(), disk.read(&path("a"), 9).unwrap()),
            (vec!["a".into(), "folder".into()], b"other".to_vec())
        );
        assert_eq!(names(&path("none")).unwrap_err().kind(), ErrorKind::NotFound);
        let refused = disk.each_name(folder.path(), &mut |_| Err(ErrorKind::Other.into()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(disk.is_locked(&path("lock")).unwrap_err().kind(), ErrorKind::NotFound);
        let mut locked = disk.lock(&path("lock"), 0o600).unwrap().expect("nobody has it");
        assert!(disk.lock(&path("lock"), 0o600).unwrap().is_none() && disk.is_locked(&path("lock")).unwrap());
        locked.write_all(b"a line and a half").unwrap();
        assert_eq!(locked.read_start(6).unwrap(), b"a line");
        locked.cut(6).and_then(|()| locked.write_all(b" more")).and_then(|()| locked.sync()).unwrap();
        drop(locked);
        assert!(!disk.is_locked(&path("lock")).unwrap());
        let mut again = disk.lock(&path("lock"), 0o600).unwrap().expect("it is free again");
        assert_eq!(again.read_start(99).unwrap(), b"a line more");
        again.write_all(b" and more").unwrap();
        assert_eq!(disk.read(&path("lock"), 99).unwrap(), b"a line more and more");
        drop(again);
        disk.remove(&path("lock")).unwrap();
        assert_eq!(disk.lock(&path("none/lock"), 0o600).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(disk.may_write(folder.path()).is_ok() && disk.may_write(&path("none")).is_err());
        disk.sync_folder(folder.path()).unwrap();
        disk.remove(&path("a")).unwrap();
        assert_eq!(disk.remove(&path("a")).unwrap_err().kind(), ErrorKind::NotFound);
        disk.remove_folder(&path("folder")).unwrap();
        assert!(names(folder.path()).unwrap().is_empty() && disk.remove_folder(&path("folder")).is_err());
    }
}

#[test]
fn after_a_crash_a_file_has_its_old_content_or_the_new_one() {
    let (folder, path) = (Path::new("/state"), Path::new("/state/jobs.json"));
    let memory = MemoryDisk::with_folder(folder);
    let disk = memory.handle();
    disk.replace(path, "new", 0o600, b"old").unwrap();
    memory.crash();
    assert_eq!(disk.read(path, 9).unwrap(), b"old");
    // Renamed before it was synced, it would be empty after the crash.
    let mut file = disk.create(&folder.join("new"), 0o600).unwrap();
    file.write_all(b"new").unwrap();
    disk.rename(&folder.join("new"), path).unwrap();
    memory.crash();
    assert_eq!(disk.read(path, 9).unwrap(), b"old", "the folder was not synced");
    memory.set_full(true);
    assert_eq!(disk.replace(path, "new", 0o600, b"new").unwrap_err().kind(), ErrorKind::StorageFull);
    memory.set_full(false);
    let before = memory.syncs();
    disk.replace(path, "new", 0o600, b"new").unwrap();
    assert_eq!(memory.syncs() - before, 2, "the file and its folder");
    memory.crash();
    assert_eq!(disk.read(path, 9).unwrap(), b"new");
}

#[test]
fn a_lock_ends_with_its_holder_and_keeps_what_was_synced() {
    let (folder, path) = (Path::new("/state"), Path::new("/state/upload.journal"));
    let memory = MemoryDisk::with_folder(folder);
    let disk = memory.handle();
    let mut held = disk.lock(path, 0o600).unwrap().unwrap();
    held.write_all(b"sent").and_then(|()| held.sync()).unwrap();
    disk.sync_folder(folder).unwrap();
    held.write_all(b" and not synced").unwrap();
    std::mem::forget(held);
    memory.crash();
    let mut after = disk.lock(path, 0o600).unwrap().expect("a crash ends the lock");
    assert_eq!(after.read_start(99).unwrap(), b"sent");
}
