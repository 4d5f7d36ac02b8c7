//! Restores that take blocks from an older image. Whatever that image is, the result is exactly the
//! same, and the older image is not changed.

use super::Fixture;
use super::bulk::{Bulk, LEFT};
use crate::error::Kind;
use crate::progress::Silent;
use crate::tb_format::layout::block_offset;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{LOG_OPS, first_difference, next_checkpoint, write_data_file};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::pack::PackReader;
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::Restored;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with a backup of the later of two checkpoints, with the sample of that checkpoint,
/// and an image of the earlier one.
fn two_checkpoints() -> (Bulk, PathBuf) {
    let earlier = SampleFile::new(7, 1000);
    let fixture = Fixture::of(&earlier);
    let old = fixture.source.path().join("old");
    write_data_file(&earlier, &old).unwrap();
    let later = next_checkpoint(&earlier, LOG_OPS).unwrap();
    fixture.backup(&later);
    (Bulk::of(fixture, later), old)
}

/// The data between a file's holes.
fn data_of(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let (file, mut pieces, mut end) = (File::open(path).unwrap(), Vec::new(), 0);
    while let Ok(begin) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(end)) {
        end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(begin)).unwrap();
        let mut bytes = vec![0; (end - begin) as usize];
        file.read_exact_at(&mut bytes, begin).unwrap();
        pieces.push((begin, bytes));
    }
    pieces
}

impl Bulk {
    /// Restores with blocks from `base`, which must not change. Returns also what was fetched of
    /// blocks.
    fn delta(&self, base: &Path, fresh: bool) -> (Restored, u64) {
        let before = (data_of(base), std::fs::metadata(base).unwrap().modified().unwrap());
        let (restored, read) = self.restore_with(|request| {
            request.base = Some(base.to_owned());
            request.fresh = fresh;
        });
        assert!(self.image_is_right());
        assert!(before == (data_of(base), std::fs::metadata(base).unwrap().modified().unwrap()), "the base is only read");
        (restored, read)
    }
}

#[test]
fn an_older_image_gives_what_it_has() {
    let (bulk, old) = two_checkpoints();
    let frames = frames_of(&bulk);
    let new: u64 = [10, 11, 12].iter().map(|address| frames[address]).sum();
    let (restored, read) = bulk.delta(&old, false);
    assert!(restored.bytes_kept > 0 && restored.notes.is_empty(), "{:?}", restored.notes);
    assert!(read >= bulk.opening_bytes + new && read <= bulk.opening_bytes + new + new / 8, "{read}");
    // The image itself is the newest base there is; it is replaced by an equal one.
    let image = bulk.fixture.path("image");
    let (_, read) = bulk.restore_with(|request| request.base = Some(image.clone()));
    assert_eq!(read, bulk.opening_bytes);
    assert!(bulk.image_is_right());
}

/// Sealed bytes by block address, and what opening the packs reads.
fn frames_of(bulk: &Bulk) -> BTreeMap<u64, u64> {
    let name = bulk.repository.checkpoints().unwrap().pop().unwrap();
    let manifest = Manifest::read(&bulk.repository, &name, None).unwrap();
    let mut frames = BTreeMap::new();
    for entry in &manifest.packs {
        let pack = PackReader::open(&bulk.repository, entry).unwrap();
        for frame in 0..entry.blocks {
            frames.insert(pack.references(frame, 1).unwrap()[0].address, pack.stored_bytes(frame, 1).unwrap());
        }
    }
    frames
}

#[test]
fn an_older_image_may_be_damaged_short_long_or_of_another_cluster() {
    let (bulk, old) = two_checkpoints();
    let frames = frames_of(&bulk);
    let kept = |base: &Path| bulk.delta(base, false).0.bytes_kept;
    let good = kept(&old);
    let file = OpenOptions::new().read(true).write(true).open(&old).unwrap();
    // A bit in a body.
    let place = block_offset(5).unwrap() + 300;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], place).unwrap();
    assert_eq!(kept(&old), good - frames[&5]);
    file.write_all_at(&byte, place).unwrap();
    // Longer than the image, and with content that is not wanted.
    file.set_len(block_offset(100).unwrap()).unwrap();
    file.write_all_at(&[1; 4096], block_offset(50).unwrap()).unwrap();
    assert_eq!(kept(&old), good);
    // It ends within block 3.
    file.set_len(block_offset(3).unwrap() + 100).unwrap();
    assert_eq!(kept(&old), frames[&1] + frames[&2]);
    file.set_len(0).unwrap();
    assert_eq!(kept(&old), 0);
    write_data_file(&SampleFile::new(8, LOG_OPS), &old).unwrap();
    let (restored, _) = bulk.delta(&old, true);
    assert_eq!(restored.bytes_kept, 0);
    assert!(restored.notes.iter().any(|note| note.contains("it is no older image of this ledger")), "{:?}", restored.notes);
}

#[test]
fn a_killed_delta_restore_goes_on_too() {
    let (bulk, old) = two_checkpoints();
    let left = bulk.fixture.path(LEFT);
    let file = File::create(&left).unwrap();
    // The new blocks were there already, and one of the old ones.
    for (offset, bytes) in bulk.blocks().iter().rev().take(4) {
        file.write_all_at(bytes, *offset).unwrap();
    }
    let (_, read) = bulk.delta(&old, false);
    assert_eq!(read, bulk.opening_bytes);
    assert_eq!(bulk.fixture.files(), ["image"]);
}

#[test]
fn a_base_that_is_no_file_is_refused() {
    let bulk = Bulk::new();
    for (base, says) in [
        (bulk.fixture.path("none"), "the older image cannot be read"),
        (bulk.fixture.source.path().to_owned(), "the older image must be a data file"),
        (PathBuf::from("/dev/null"), "the older image must be a data file"),
    ] {
        let request = RestoreRequest { base: Some(base), ..bulk.request() };
        let error = restore(&bulk.repository, &request, &Silent).unwrap_err();
        assert!(error.kind == Kind::Input && error.message.contains(says), "{error}");
        assert_eq!(bulk.fixture.files(), [""; 0]);
    }
}

/// A file system whose files can share their blocks; it is removed when this is dropped.
struct Sharing(PathBuf);

impl Sharing {
    /// `None` where the test may not make one.
    fn mount(image: &Path, folder: &Path) -> Option<Sharing> {
        File::create(image).ok()?.set_len(400 << 20).ok()?;
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            Command::new(program).args(arguments).output().is_ok_and(|done| done.status.success())
        };
        let option = |text: &'static str| std::ffi::OsStr::new(text);
        let made = run("mkfs.xfs", &[option("-q"), image.as_os_str()]);
        (made && run("mount", &[option("-o"), option("loop"), image.as_os_str(), folder.as_os_str()])).then(|| Sharing(folder.to_owned()))
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn where_files_can_share_blocks_the_older_image_is_not_even_read_through() {
    let (bulk, old) = two_checkpoints();
    let folder = bulk.fixture.path("disk");
    std::fs::create_dir(&folder).unwrap();
    let Some(disk) = Sharing::mount(&bulk.fixture.source.path().join("disk"), &folder) else {
        eprintln!("skipped: no such file system can be mounted here");
        return;
    };
    let base = disk.0.join("old");
    let copied = Command::new("cp").arg("--sparse=always").args([&old, &base]).status().unwrap();
    assert!(copied.success());
    let image = disk.0.join("image");
    let (restored, read) = bulk.restore_with(|request| {
        request.base = Some(base.clone());
        request.outputs = vec![(image.clone(), Role::Same)];
    });
    assert!(restored.bytes_kept > 0 && read < bulk.all_bytes);
    assert_eq!(first_difference(&image, &bulk.sample).unwrap(), None);
    assert!(Command::new("cmp").args([&base, &old]).status().unwrap().success(), "the older image is as it was");
    let frames = frames_of(&bulk);
    let sizes: u64 = bulk.sample.blocks.iter().filter(|(reference, _)| reference.address >= 10).map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(frames.len() >= 11 && restored.bytes_written < sizes + (100 << 20), "only new blocks and the log are written");
}
