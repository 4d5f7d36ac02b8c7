use super::Fixture;
use crate::cancellation::Cancellation;
use crate::error::Kind;
use crate::progress::{Progress, Silent};
use crate::repository::sample::{Fault, FaultyStore, open};
use crate::store::Store;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::LOG_OPS;
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

#[test]
fn whichever_request_fails_nothing_stands_under_the_name() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    let faulty = FaultyStore::new(&fixture.store);
    let repository = open(Arc::new(faulty.clone()) as Arc<dyn Store>).unwrap();
    for point in [Point::Newest, Point::Op(1009), Point::Time(0)] {
        let request = fixture.request(point, Role::Same);
        faulty.fail(u64::MAX, Fault::Refused);
        let held = restore(&repository, &request, &Silent).is_ok();
        let calls = faulty.calls();
        let _ = std::fs::remove_file(fixture.path("image"));
        let mut survived = 0;
        for call in 1..=calls {
            faulty.fail(call, Fault::Refused);
            match restore(&repository, &request, &Silent) {
                // A restore continues without what it does not need, and reports that. A refusal
                // whose nearest point cannot be dated is the same refusal.
                Ok(restored) => {
                    survived += 1;
                    assert!(held && restored.notes.len() == 1, "call {call}: {:?}", restored.notes);
                    std::fs::remove_file(fixture.path("image")).unwrap();
                }
                Err(error) => {
                    assert!(error.kind == Kind::TryAgain || (!held && error.kind == Kind::Input), "call {call} of {calls}: {error}")
                }
            }
            // If the store may come back, what was fetched is left for the next attempt, and
            // nothing else.
            let partial = |name: &String| name.starts_with(".image.") && name.ends_with(".amber-partial");
            assert!(fixture.files().iter().all(partial) && fixture.files().len() <= 1, "call {call} of {calls}: {:?}", fixture.files());
            fixture.files().iter().for_each(|name| std::fs::remove_file(fixture.path(name)).unwrap());
        }
        assert!(survived <= 6, "{survived} of {calls}: only receipt and cluster can be done without");
    }
}

/// Fills a disk as soon as the log is being written, after the space was checked.
struct Filler(PathBuf);

impl Cancellation for Filler {}

impl Progress for Filler {
    fn begin(&self, step: &str, _total_bytes: Option<u64>) {
        if step == "log" {
            // Until the disk is full.
            let _ = std::fs::write(&self.0, vec![1; 64 << 20]);
        }
    }
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
}

/// A file system of 32 MiB; it is removed when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where the test may not mount one.
    fn mount(folder: &Path) -> Option<SmallDisk> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "amber-test"]).arg(folder).status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_an_input_error_and_leaves_nothing() {
    let fixture = Fixture::of(&SampleFile::new(7, LOG_OPS));
    let folder = fixture.path("disk");
    std::fs::create_dir(&folder).unwrap();
    let Some(disk) = SmallDisk::mount(&folder) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let request = |names: &[&str]| RestoreRequest {
        point: Point::Newest,
        outputs: names.iter().map(|name| (disk.0.join(name), Role::Same)).collect(),
        overwrite: false,
        binaries: Vec::new(),
        timeline: None,
        base: None,
        fresh: false,
    };
    let error = restore(&fixture.repository, &request(&["a", "b", "c"]), &Silent).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("are free: make room"), "{error}");
    assert_eq!(std::fs::read_dir(&disk.0).unwrap().count(), 0);

    let error = restore(&fixture.repository, &request(&["a"]), &Filler(disk.0.join("filler"))).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("make room, or restore to another disk"), "{error}");
    let left: Vec<_> = std::fs::read_dir(&disk.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["filler"]);
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    restore(&fixture.repository, &request(&["a"]), &Silent).unwrap();
}
