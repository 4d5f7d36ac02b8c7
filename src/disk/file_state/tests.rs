use super::*;
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};

const STATE: FileState =
    FileState { device: 1, inode: 2, size_bytes: 3, mode: 0o100_600, modified: (1_000_000, 5), changed: (1_000_000, 7) };

fn after(seconds: u64, nanoseconds: u32) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

#[test]
fn each_difference_is_told() {
    let is = |later: FileState, since: Since| assert_eq!(STATE.compare(&later), since, "{later:?}");
    is(STATE, Since::Unchanged);
    is(FileState { mode: 0o100_644, ..STATE }, Since::Unchanged);
    is(FileState { changed: (1_000_000, 8), ..STATE }, Since::Touched);
    is(FileState { changed: (999_999, 7), ..STATE }, Since::Touched);
    is(FileState { modified: (1_000_000, 4), ..STATE }, Since::Written);
    is(FileState { size_bytes: 4, ..STATE }, Since::Written);
    is(FileState { size_bytes: 2, ..STATE }, Since::Written);
    is(FileState { inode: 3, ..STATE }, Since::Replaced);
    is(FileState { device: 2, ..STATE }, Since::Replaced);
}

#[test]
fn it_waits_as_long_as_two_changes_may_have_one_time() {
    assert_eq!(STATE.wait(after(1_000_000, 7)), STEP_FINE);
    assert_eq!(STATE.wait(after(1_003_600, 7)), STEP_FINE);
    assert_eq!(STATE.wait(after(1_003_600, 8)), Duration::ZERO);
    assert_eq!(STATE.wait(after(1, 0)), STEP_FINE, "the file server's clock is ahead, or ours was set back");
    let coarse = FileState { changed: (1_000_000, 0), ..STATE };
    assert_eq!(coarse.wait(after(1_000_001, 0)), STEP_COARSE);
    assert_eq!(coarse.wait(after(1_003_601, 0)), Duration::ZERO);
    assert_eq!(FileState { changed: (-5, 3), ..STATE }.wait(after(2, 0)), STEP_FINE, "a time before 1970");
    assert_eq!(FileState { modified: (-5, 3), ..STATE }.modified_ns(), 0);
    assert_eq!(STATE.modified_ns(), 1_000_000_000_000_005);
}

#[test]
fn both_ways_of_asking_agree() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"content").unwrap();
    let state = FileState::of(file.as_file()).unwrap();
    assert_eq!(state, FileState::at(file.path()).unwrap());
    assert_eq!(state, FileState::from_metadata(&file.as_file().metadata().unwrap()));
    assert_eq!((state.size_bytes, state.mode & 0o170_000), (7, 0o100_000));
}

#[test]
fn a_file_that_does_not_come_to_rest_is_not_now() {
    /// A clock on which every wait meets another change.
    #[derive(Debug)]
    struct Busy(std::path::PathBuf, std::sync::atomic::AtomicU32);
    impl crate::host::clock::TimeSource for Busy {
        fn now(&self) -> std::time::Instant {
            std::time::Instant::now()
        }
        fn now_on_the_wall(&self) -> SystemTime {
            SystemTime::now()
        }
        fn wait(&self, _pause: Duration) -> Duration {
            use std::sync::atomic::Ordering::SeqCst;
            if self.1.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                let mode = std::fs::metadata(&self.0).unwrap().mode() ^ 0o007;
                std::fs::set_permissions(&self.0, Permissions::from_mode(mode)).unwrap();
                OpenOptions::new().write(true).open(&self.0).unwrap().write_all_at(b"other", 0).unwrap();
            }
            // Longer than a kernel without finer times counts.
            Duration::from_millis(11)
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let settled = |changes: u32| {
        let clock = Clock::of(Box::leak(Box::new(Busy(file.path().to_owned(), changes.into()))));
        FileState::settled(file.as_file(), file.path(), clock)
    };
    assert_eq!(settled(0).unwrap(), FileState::of(file.as_file()).unwrap());
    assert_eq!(settled(TRIES_MAX - 1).unwrap(), FileState::of(file.as_file()).unwrap());
    let error = settled(TRIES_MAX).unwrap_err();
    assert!(matches!(&error, SourceError::NotNow { reason, .. } if reason.contains("being written to")), "{error}");
}

#[test]
fn what_a_file_system_cannot_tell_is_said() {
    let path = Path::new("data");
    let text = |magic| limits_of_kind(magic, path).unwrap_or_default();
    assert!(text(0x0102_1994).contains("data: it lies in memory"), "{}", text(0x0102_1994));
    assert!(text(0x6969).contains("NFS") && text(0x6969).contains("other machines"), "{}", text(0x6969));
    // ext4
    assert_eq!(text(0xef53), "");
}
