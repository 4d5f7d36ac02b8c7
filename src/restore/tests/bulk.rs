//! What need not be fetched: a killed restore goes on, an older image gives what it has; and the image is the very same whatever stood there before.

use super::Fixture;
use crate::error::Kind;
use crate::ledger::layout::{BLOCK_BYTES, GRID_OFFSET, WAL_PREPARES_OFFSET, block_offset};
use crate::ledger::sample::SampleFile;
use crate::progress::Silent;
use crate::repository::Repository;
use crate::repository::sample::{Fault, FaultyStore, open};
use crate::restore::copy::copy_image;
use crate::restore::image::ranges_to_fetch;
use crate::restore::select::Point;
use crate::restore::target::Target;
use crate::restore::{Request, Restored, Role, restore};
use crate::store::memory::MemoryStore;
use crate::store::{Capabilities, Digest, Listed, Multipart, PutOutcome, Store, StoreError};
use crate::tier::sample::{LOG_OPS, first_difference, next_checkpoint, write_data_file};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is read of packs.
#[derive(Debug, Clone)]
struct Counting {
    inner: MemoryStore,
    pack_bytes: Arc<AtomicU64>,
}

impl Store for Counting {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, name: &str, body: &[Bytes], digest: &Digest) -> Result<PutOutcome, StoreError> {
        self.inner.put(name, body, digest)
    }

    fn begin_multipart(&self, name: &str) -> Result<Box<dyn Multipart>, StoreError> {
        self.inner.begin_multipart(name)
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StoreError> {
        if name.starts_with("tigerbeetle/packs/") {
            self.pack_bytes.fetch_add(length, Ordering::SeqCst);
        }
        self.inner.get_range(name, offset, length)
    }

    fn size_bytes(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.inner.size_bytes(name)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix, after, limit)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name)
    }
}

/// A repository with one backup, and restores of it whose reads are counted.
struct Bulk {
    fixture: Fixture,
    store: Counting,
    repository: Arc<Repository>,
    sample: SampleFile,
    /// What a restore reads of packs when nothing is there, and what of that is no block.
    all_bytes: u64,
    opening_bytes: u64,
}

/// The temporary file of a run that is no longer.
const LEFT: &str = ".image.4194305.amber-partial";

impl Bulk {
    fn of(fixture: Fixture, sample: SampleFile) -> Bulk {
        let store = Counting { inner: fixture.store.clone(), pack_bytes: Arc::default() };
        let repository = open(Arc::new(store.clone())).unwrap();
        let mut bulk = Bulk { fixture, store, repository, sample, all_bytes: 0, opening_bytes: 0 };
        let (restored, read) = bulk.restore_with(|_| {});
        assert_eq!((restored.bytes_kept, bulk.image_is_right()), (0, true));
        bulk.all_bytes = read;
        bulk.opening_bytes = opening(&bulk);
        std::fs::remove_file(bulk.fixture.path("image")).unwrap();
        bulk
    }

    fn new() -> Bulk {
        let sample = SampleFile::new(7, LOG_OPS);
        Bulk::of(Fixture::of(&sample), sample)
    }

    fn request(&self) -> Request {
        Request { overwrite: true, ..self.fixture.request(Point::Newest, Role::Same) }
    }

    /// Restores; also what was read of packs.
    fn restore_with(&self, change: impl FnOnce(&mut Request)) -> (Restored, u64) {
        let mut request = self.request();
        change(&mut request);
        self.store.pack_bytes.store(0, Ordering::SeqCst);
        let restored = restore(&self.repository, &request, &Silent).unwrap();
        (restored, self.store.pack_bytes.load(Ordering::SeqCst))
    }

    fn image_is_right(&self) -> bool {
        first_difference(&self.fixture.path("image"), &self.sample).unwrap().is_none()
    }

    /// The reachable blocks with their places.
    fn blocks(&self) -> Vec<(u64, &[u8])> {
        let reachable = self.sample.blocks.iter().filter(|(reference, _)| reference.address != 9);
        reachable.map(|(reference, bytes)| (block_offset(reference.address).unwrap(), &bytes[..])).collect()
    }

    /// A restore over `prepare`d leftovers gives the image and leaves nothing else; what it read is what it says.
    fn goes_on(&self, prepare: impl FnOnce(&File)) -> (Restored, u64) {
        let file = OpenOptions::new().create_new(true).write(true).open(self.fixture.path(LEFT)).unwrap();
        prepare(&file);
        drop(file);
        let (restored, read) = self.restore_with(|_| {});
        assert_eq!(first_difference(&self.fixture.path("image"), &self.sample).unwrap(), None);
        assert_eq!(self.fixture.files(), ["image"]);
        let log_bytes = self.log_bytes();
        assert_eq!(restored.bytes_fetched - log_bytes, read, "it says what it fetched");
        std::fs::remove_file(self.fixture.path("image")).unwrap();
        (restored, read)
    }

    fn log_bytes(&self) -> u64 {
        let plan = crate::restore::plan::Plan::make(&self.repository, Point::Newest, None).unwrap();
        plan.log_stored_bytes
    }
}

#[test]
fn a_killed_restore_goes_on_after_any_block() {
    let bulk = Bulk::new();
    let blocks = bulk.blocks();
    let mut before = (u64::MAX, 0);
    for count in 0..=blocks.len() {
        let (restored, read) = bulk.goes_on(|file| {
            file.set_len(bulk.sample.checkpoint().storage_size()).unwrap();
            for (offset, bytes) in &blocks[..count] {
                file.write_all_at(bytes, *offset).unwrap();
            }
            // The next one is torn.
            if let Some((offset, bytes)) = blocks.get(count) {
                file.write_all_at(&[&bytes[..bytes.len() - 1], &[!bytes[bytes.len() - 1]]].concat(), *offset).unwrap();
            }
        });
        assert!(restored.bytes_kept >= before.1, "{count}: {restored:?} after {before:?}");
        let needed = bulk.all_bytes - bulk.opening_bytes - restored.bytes_kept;
        assert!(read >= bulk.opening_bytes + needed && read <= bulk.opening_bytes + needed + needed / 8, "{count}: {read}");
        assert_eq!(restored.bytes_kept == 0, count == 0);
        before = (read, restored.bytes_kept);
    }
    assert_eq!(before, (bulk.opening_bytes, bulk.all_bytes - bulk.opening_bytes), "nothing but the index");
}

#[test]
fn nothing_of_what_stood_there_before_remains() {
    let bulk = Bulk::new();
    let blocks = bulk.blocks();
    let length = bulk.sample.checkpoint().storage_size();
    let (restored, _) = bulk.goes_on(|file| {
        // Longer than the image, with something in every zone, before the grid and at an address that the image does not have.
        file.set_len(length + 5 * BLOCK_BYTES as u64).unwrap();
        for offset in [0, 8192, 200_000, WAL_PREPARES_OFFSET + (700 << 20), GRID_OFFSET - 4096, block_offset(9).unwrap(), length + 4096] {
            file.write_all_at(&[0xaa; 4096], offset).unwrap();
        }
        for (offset, bytes) in &blocks {
            file.write_all_at(bytes, *offset).unwrap();
            // Behind it in its last sector, and in its place.
            file.write_all_at(&[0xbb; 10], offset + bytes.len() as u64).unwrap();
            file.write_all_at(&[0xcc; 5000], offset + 300_000).unwrap();
        }
    });
    assert_eq!(restored.bytes_kept, bulk.all_bytes - bulk.opening_bytes, "the blocks themselves are right");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever sectors a kill left, and whatever else happened to the file.
    #[test]
    fn any_leftover_becomes_the_image(
        length_bytes in prop_oneof![Just(0), Just(GRID_OFFSET), GRID_OFFSET..GRID_OFFSET + 12 * BLOCK_BYTES as u64],
        states in prop::collection::vec(0..4_u8, 64),
        noise in prop::collection::vec((0..GRID_OFFSET + 12 * BLOCK_BYTES as u64, 1..9000_usize), 0..8),
    ) {
        thread_local!(static BULK: Bulk = Bulk::new());
        BULK.with(|bulk| {
            let blocks = bulk.blocks();
            let (restored, read) = bulk.goes_on(|file| {
                file.set_len(length_bytes).unwrap();
                for (offset, length) in &noise {
                    file.write_all_at(&vec![0x5a; *length], *offset).unwrap();
                }
                let sectors = blocks.iter().flat_map(|(offset, bytes)| bytes.chunks(4096).zip(0..).map(move |(sector, n)| (offset + n * 4096, sector)));
                for ((offset, sector), state) in sectors.zip(states.iter().cycle()) {
                    match state {
                        0 | 1 => file.write_all_at(sector, offset).unwrap(),
                        2 => file.write_all_at(&vec![0xff; sector.len()], offset).unwrap(),
                        _ => {}
                    }
                }
            });
            let needed = bulk.all_bytes - bulk.opening_bytes - restored.bytes_kept;
            prop_assert!(read >= bulk.opening_bytes + needed && read <= bulk.opening_bytes + needed + needed / 8);
            Ok(())
        })?;
    }

    /// All that is wanted comes, in order, and what comes for nothing is bounded.
    #[test]
    fn fetched_ranges_hold_all_that_is_wanted(sizes in prop::collection::vec(1..600_000_u64, 1..64), picks in prop::collection::vec(any::<bool>(), 64)) {
        let wanted: Vec<u32> = (0..sizes.len() as u32).filter(|frame| picks[*frame as usize]).collect();
        let stored = |frames: &std::ops::Range<u32>| sizes[frames.start as usize..frames.end as usize].iter().sum::<u64>();
        let ranges = ranges_to_fetch(&wanted, &stored);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        prop_assert!(wanted.iter().all(|frame| ranges.iter().any(|range| range.contains(frame))));
        prop_assert!(ranges.iter().all(|range| wanted.contains(&range.start) && wanted.contains(&(range.end - 1))));
        let needed: u64 = wanted.iter().map(|frame| sizes[*frame as usize]).sum();
        let fetched: u64 = ranges.iter().map(stored).sum();
        prop_assert!(fetched <= needed + needed / 8);
    }
}

#[test]
fn of_several_leftovers_one_is_taken_and_those_of_the_living_are_left_alone() {
    let bulk = Bulk::new();
    let blocks = bulk.blocks();
    let path = |number: u32| bulk.fixture.path(&format!(".image.{number}.amber-partial"));
    for (number, count) in [(1, 2), (2, blocks.len()), (3, 1), (4, blocks.len()), (5, 0)] {
        let file = File::create(path(number)).unwrap();
        for (offset, bytes) in &blocks[..count] {
            file.write_all_at(bytes, *offset).unwrap();
        }
    }
    let lent = |number: u32| PathBuf::from(format!("{}.lent", path(number).display()));
    for number in [2, 4, 9] {
        File::create(lent(number)).unwrap();
    }
    // The fourth is lent by a process that lives, the fifth is being written.
    let (living, writing) = (File::open(lent(4)).unwrap(), File::open(path(5)).unwrap());
    living.lock().unwrap();
    writing.lock().unwrap();
    let (_, read) = bulk.restore_with(|_| {});
    assert_eq!(read, bulk.opening_bytes, "the second held everything");
    assert!(bulk.image_is_right());
    assert_eq!(bulk.fixture.files(), [".image.4.amber-partial", ".image.4.amber-partial.lent", ".image.5.amber-partial", "image"]);
}

#[test]
fn what_somebody_else_put_there_is_not_taken_over() {
    let bulk = Bulk::new();
    let (dear, linked, symlinked) = (bulk.fixture.path("dear"), bulk.fixture.path(LEFT), bulk.fixture.path(".image.1.amber-partial"));
    std::fs::write(&dear, b"dear").unwrap();
    std::fs::hard_link(&dear, &linked).unwrap();
    std::os::unix::fs::symlink(&dear, &symlinked).unwrap();
    let foreign = bulk.fixture.path(".image.2.amber-partial");
    write_data_file(&bulk.sample, &foreign).unwrap();
    // Only root can give files away.
    let given = std::os::unix::fs::chown(&foreign, Some(1), None).is_ok();
    let (restored, _) = bulk.restore_with(|_| {});
    assert_eq!(restored.bytes_kept == 0, given);
    assert!(bulk.image_is_right());
    assert_eq!(std::fs::read(&dear).unwrap(), b"dear");
    assert!(linked.exists() && symlinked.exists() && foreign.exists() == given);
}

#[test]
fn a_fresh_start_takes_nothing_over() {
    let bulk = Bulk::new();
    write_data_file(&bulk.sample, &bulk.fixture.path(LEFT)).unwrap();
    let (restored, read) = bulk.restore_with(|request| request.fresh = true);
    assert_eq!((restored.bytes_kept, read), (0, bulk.all_bytes));
    assert_eq!(bulk.fixture.files(), ["image"]);
    assert!(bulk.image_is_right());
}

#[test]
fn images_of_one_download_help_one_another() {
    let bulk = Bulk::new();
    // The first lost two blocks, the second others, the third is new.
    for (name, lost) in [("a", [0, 1]), ("b", [2, 3])] {
        let path = bulk.fixture.path(&format!(".{name}.1.amber-partial"));
        write_data_file(&bulk.sample, &path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        lost.iter().for_each(|number: &usize| file.write_all_at(&[0xee; 300], bulk.blocks()[*number].0).unwrap());
    }
    let names = ["a", "b", "c"];
    let (restored, read) =
        bulk.restore_with(|request| request.outputs = names.iter().map(|name| (bulk.fixture.path(name), Role::Same)).collect());
    assert_eq!(read, bulk.opening_bytes);
    assert_eq!(restored.bytes_kept, bulk.all_bytes - bulk.opening_bytes);
    assert_eq!(bulk.fixture.files(), names);
    for name in names {
        assert_eq!(first_difference(&bulk.fixture.path(name), &bulk.sample).unwrap(), None, "{name}");
    }
}

#[test]
fn when_the_store_goes_away_the_same_command_goes_on_later() {
    let bulk = Bulk::new();
    let faulty = FaultyStore::new(&bulk.fixture.store);
    let repository = open(Arc::new(faulty.clone()) as Arc<dyn Store>).unwrap();
    faulty.fail(u64::MAX, Fault::Refused);
    restore(&repository, &bulk.request(), &Silent).unwrap();
    std::fs::remove_file(bulk.fixture.path("image")).unwrap();
    // Reading the log comes last.
    faulty.fail(faulty.calls(), Fault::Gone);
    let error = restore(&repository, &bulk.request(), &Silent).unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("the same command goes on from what is in"), "{error}");
    assert_eq!(bulk.fixture.files().len(), 1);
    let (_, read) = bulk.restore_with(|_| {});
    assert_eq!(read, bulk.opening_bytes);
    assert_eq!(bulk.fixture.files(), ["image"]);
    assert!(bulk.image_is_right());
}

/// A repository with a backup of the ledger one checkpoint later, an image of the earlier one, and of the later one the sample.
fn two_checkpoints() -> (Bulk, PathBuf) {
    let earlier = SampleFile::new(7, 1000);
    let fixture = Fixture::of(&earlier);
    let old = fixture.source.path().join("old");
    write_data_file(&earlier, &old).unwrap();
    let later = next_checkpoint(&earlier, LOG_OPS).unwrap();
    fixture.backup(&later);
    (Bulk::of(fixture, later), old)
}

/// What stands between a file's holes.
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
    /// A restore that may take from `base`, which is not changed: what was fetched of blocks.
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
    // The image itself is the newest base there is; it is replaced by its like.
    let image = bulk.fixture.path("image");
    let (_, read) = bulk.restore_with(|request| request.base = Some(image.clone()));
    assert_eq!(read, bulk.opening_bytes);
    assert!(bulk.image_is_right());
}

/// Sealed bytes by block address, and what opening the packs reads.
fn frames_of(bulk: &Bulk) -> BTreeMap<u64, u64> {
    let name = bulk.repository.checkpoints().unwrap().pop().unwrap();
    let manifest = crate::repository::manifest::Manifest::read(&bulk.repository, &name, None).unwrap();
    let mut frames = BTreeMap::new();
    for entry in &manifest.packs {
        let pack = crate::repository::pack::PackReader::open(&bulk.repository, entry).unwrap();
        for frame in 0..entry.blocks {
            frames.insert(pack.references(frame, 1).unwrap()[0].address, pack.stored_bytes(frame, 1).unwrap());
        }
    }
    frames
}

/// What opening the packs reads.
fn opening(bulk: &Bulk) -> u64 {
    let name = bulk.repository.checkpoints().unwrap().pop().unwrap();
    let manifest = crate::repository::manifest::Manifest::read(&bulk.repository, &name, None).unwrap();
    let open = |entry| crate::repository::pack::PackReader::open(&bulk.repository, entry).unwrap().opening_bytes();
    manifest.packs.iter().map(open).sum()
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
    // Longer than the image, and what is there is not wanted.
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
        let request = Request { base: Some(base), ..bulk.request() };
        let error = restore(&bulk.repository, &request, &Silent).unwrap_err();
        assert!(error.kind == Kind::Input && error.message.contains(says), "{error}");
        assert_eq!(bulk.fixture.files(), [""; 0]);
    }
}

#[test]
fn a_copy_over_a_leftover_is_the_original_with_its_holes() {
    let bulk = Bulk::new();
    let path = |name: &str| bulk.fixture.path(name);
    std::fs::write(path(".copy.1.amber-partial"), vec![9; 100_000]).unwrap();
    let (original, copy) = (Target::create(&path("original"), false).unwrap(), Target::resume(&path("copy"), false).unwrap());
    assert!(copy.is_adopted() && copy.allocated_bytes() >= 100_000);
    original.set_length(1 << 20).unwrap();
    original.write(500_000, b"ledger").unwrap();
    copy_image(&original, std::slice::from_ref(&copy), &Silent).unwrap();
    copy.commit().unwrap();
    original.commit().unwrap();
    assert_eq!(std::fs::read(path("copy")).unwrap(), std::fs::read(path("original")).unwrap());
}

/// A file system whose files can share their blocks; taken away again when it is dropped.
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
