use super::{Target, Ways, check_space, folder_of, rename_to_free};
use crate::error::Kind;
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_appears_when_it_is_committed_and_not_before() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    let target = Target::create(&path, false).unwrap();
    target.set_length(10_000).unwrap();
    target.write(4096, b"ledger").unwrap();
    target.sync().unwrap();
    assert!(!path.exists() && target.temporary().exists());
    assert_eq!(target.path(), path);
    target.commit().unwrap();
    assert_eq!(names(&folder), ["data"]);
    let bytes = fs::read(&path).unwrap();
    assert_eq!((bytes.len(), &bytes[4096..4102]), (10_000, &b"ledger"[..]));
}

#[test]
fn what_is_being_restored_is_nobody_elses_business() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut target = Target::create(&path, false).unwrap();
    target.write(0, b"secret").unwrap();
    assert_eq!(mode(target.temporary()), 0o600);
    target.keep();
    let temporary = target.temporary().to_owned();
    drop(target);
    // What an older version left open is closed before it is written to.
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o644)).unwrap();
    let target = Target::resume(&path, false).unwrap();
    assert_eq!((target.is_adopted(), mode(target.temporary())), (true, 0o600));
    target.commit().unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_target_that_is_dropped_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    drop(Target::create(&folder.path().join("data"), false).unwrap());
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_name_that_cannot_be_is_refused() {
    let folder = TempDir::new().unwrap();
    let taken = folder.path().join("taken");
    fs::write(&taken, b"old").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    for (path, overwrite, says) in [
        (taken.as_path(), false, "the file exists"),
        (&folder.path().join("link"), false, "the file exists"),
        (folder.path(), false, "is a directory"),
        (folder.path(), true, "is a directory"),
        (Path::new("/"), false, "give the name of a file"),
        (Path::new(".."), false, "give the name of a file"),
        (Path::new(""), false, "give the name of a file"),
        (&folder.path().join("missing/data"), false, "cannot write there"),
        (&taken.join("data"), false, "cannot write there"),
    ] {
        let error = Target::create(path, overwrite).unwrap_err();
        assert_eq!(error.kind, Kind::Input, "{}", path.display());
        assert!(error.message.contains(says), "{}: {error}", path.display());
    }
    assert_eq!(names(&folder), ["link", "taken"]);
    assert_eq!(fs::read(&taken).unwrap(), b"old");
}

#[test]
fn overwriting_replaces_in_one_step_and_only_if_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    fs::write(&path, b"old").unwrap();
    let target = Target::create(&path, true).unwrap();
    target.write(0, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    target.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(&folder), ["data"]);
}

#[test]
fn a_name_that_is_taken_meanwhile_is_not_overwritten() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    let target = Target::create(&path, false).unwrap();
    fs::write(&path, b"somebody else's").unwrap();
    let error = target.commit().unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("rename"), "{error}");
    assert_eq!(names(&folder), ["data"]);
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
}

#[test]
fn two_restores_to_one_name_do_not_meet() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    let first = Target::create(&path, false).unwrap();
    assert_eq!(Target::create(&path, false).unwrap_err().kind, Kind::Input);
    first.commit().unwrap();
    assert_eq!(names(&folder), ["data"]);
}

#[test]
fn what_killed_runs_left_is_removed_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (dead, living) = (".data.4194305.amber-partial", ".data.4194306.amber-partial");
    let others = [".data.x1.amber-partial", ".data.5.amber-partial-not", ".other.5.amber-partial", "data.5.amber-partial"];
    for name in others.iter().chain([&dead, &living]) {
        fs::write(path(name), b"").unwrap();
    }
    let held = fs::File::open(path(living)).unwrap();
    held.lock().unwrap();
    Target::create(&path("data"), false).unwrap().commit().unwrap();
    let mut expected: Vec<&str> = others.iter().copied().chain([living, "data"]).collect();
    expected.sort_unstable();
    assert_eq!(names(&folder), expected);
    drop(held);
    drop(Target::create(&path("data"), true).unwrap());
    assert!(!path(living).exists());
}

#[test]
fn a_bare_name_means_the_current_folder() {
    assert_eq!(folder_of(Path::new("data")), Path::new("."));
    assert_eq!(folder_of(Path::new("a/data")), Path::new("a"));
}

#[test]
fn what_cannot_fit_is_refused_early() {
    let folder = TempDir::new().unwrap();
    let targets = [Target::create(&folder.path().join("a"), false).unwrap(), Target::create(&folder.path().join("b"), false).unwrap()];
    check_space(&targets, 1 << 20).unwrap();
    let error = check_space(&targets, u64::MAX / 2).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("the restore needs 16.0 EiB"), "{error}");
    check_space(&[], u64::MAX).unwrap();
}

#[test]
fn a_lent_file_can_be_locked_by_another_and_is_not_left_behind() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    let mut target = Target::create(&path, false).unwrap();
    let server = fs::File::open(target.temporary()).unwrap();
    assert!(server.try_lock().is_err(), "not lent yet");
    for _ in 0..2 {
        target.lend().unwrap();
        // Another restore to the same name, before the server has started and while it runs.
        drop(Target::create(&folder.path().join("data"), false).err());
        server.lock().unwrap();
        assert!(target.temporary().exists());
        drop(Target::create(&folder.path().join("data"), false).err());
        assert!(target.temporary().exists());
        server.unlock().unwrap();
        target.relock().unwrap();
        assert!(server.try_lock().is_err());
    }
    target.commit().unwrap();
    assert_eq!(names(&folder), ["data"]);
}

#[test]
fn a_lent_file_of_a_killed_run_is_removed_with_its_mark() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (file, mark, orphan) = (".data.4194305.amber-partial", ".data.4194305.amber-partial.lent", ".data.4194306.amber-partial.lent");
    for name in [file, mark, orphan] {
        fs::write(path(name), b"").unwrap();
    }
    let held = fs::File::open(path(mark)).unwrap();
    held.lock().unwrap();
    Target::create(&path("data"), true).unwrap().commit().unwrap();
    assert_eq!(names(&folder), [file, mark, "data"], "its owner lives");
    drop(held);
    let server = fs::File::open(path(file)).unwrap();
    server.lock().unwrap();
    Target::create(&path("data"), true).unwrap().commit().unwrap();
    assert_eq!(names(&folder), [file, mark, "data"], "its server lives");
    drop(server);
    Target::create(&path("data"), true).unwrap().commit().unwrap();
    assert_eq!(names(&folder), ["data"]);
}

#[test]
fn data_is_found_between_holes() {
    let folder = TempDir::new().unwrap();
    let target = Target::create(&folder.path().join("data"), false).unwrap();
    target.set_length(16 << 20).unwrap();
    assert_eq!(target.data_after(0, 16 << 20).unwrap(), None);
    target.write(4 << 20, &[1; 4096]).unwrap();
    target.write(8 << 20, &[2; 8192]).unwrap();
    target.sync().unwrap();
    assert_eq!(target.data_after(0, 16 << 20).unwrap(), Some((4 << 20, (4 << 20) + 4096)));
    assert_eq!(target.data_after((4 << 20) + 4096, 16 << 20).unwrap(), Some((8 << 20, (8 << 20) + 8192)));
    assert_eq!(target.data_after((8 << 20) + 8192, 16 << 20).unwrap(), None);
    target.punch_hole(0, 5 << 20);
    assert_eq!(target.data_after(0, 16 << 20).unwrap(), Some((8 << 20, (8 << 20) + 8192)));
    let copy = Target::create(&folder.path().join("copy"), false).unwrap();
    crate::tier::tigerbeetle::restore::copy::copy_image(&target, std::slice::from_ref(&copy), &crate::progress::Silent).unwrap();
    assert_eq!(copy.length().unwrap(), 16 << 20);
    let mut bytes = [0; 8192];
    copy.read(8 << 20, &mut bytes).unwrap();
    assert_eq!(bytes, [2; 8192]);
    assert_eq!(copy.data_after(0, 16 << 20).unwrap(), Some((8 << 20, (8 << 20) + 8192)), "holes stay holes");
}

#[test]
fn a_name_is_only_taken_where_it_is_free_whatever_the_file_system_lacks() {
    const NO_RENAME: Ways = Ways { rename: |_, _| Err(Errno::INVAL), ..Ways::SYSTEM };
    const NO_LINK: Ways = Ways { link: |_, _| Err(Errno::PERM), ..NO_RENAME };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (number, ways) in [Ways::SYSTEM, NO_RENAME, NO_LINK].into_iter().enumerate() {
        std::fs::write(path("from"), number.to_string()).unwrap();
        std::fs::write(path("taken"), "theirs").unwrap();
        assert_eq!(rename_to_free(&path("from"), &path("taken"), &ways), Err(Errno::EXIST));
        assert_eq!(std::fs::read(path("taken")).unwrap(), b"theirs");
        let free = path(&format!("free-{number}"));
        assert_eq!(rename_to_free(&path("from"), &free, &ways), Ok(()));
        assert_eq!(std::fs::read_to_string(free).unwrap(), number.to_string());
        assert!(!path("from").exists());
    }
    std::fs::write(path("from"), "content").unwrap();
    let nothing = Ways { lock: |_| Err(Errno::NOSYS), ..NO_LINK };
    assert_eq!(rename_to_free(&path("from"), &path("free"), &nothing), Err(Errno::NOLCK));
    assert!(path("from").exists() && !path("free").exists());
}

#[test]
fn names_that_are_no_text_are_not_mixed_up() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let path = |bytes: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(bytes));
    let mut first = Target::create(&path(b"a\xff"), false).unwrap();
    first.write(0, b"first").unwrap();
    first.keep();
    let (left, other) = (first.temporary().to_owned(), path(b"a\xfe"));
    drop(first);
    assert!(!Target::resume(&other, false).unwrap().is_adopted());
    drop(Target::create(&other, false).unwrap());
    assert!(left.exists(), "it is what a restore to another name left");
    assert!(Target::resume(&path(b"a\xff"), false).unwrap().is_adopted());
}
