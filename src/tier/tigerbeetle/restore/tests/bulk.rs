//! What need not be fetched: a killed restore is resumed, and the image is exactly the same
//! whatever was there before.

use super::Fixture;
use crate::disk::target::Target;
use crate::error::Kind;
use crate::progress::Silent;
use crate::repository::Repository;
use crate::repository::sample::{Fault, FaultyStore, HookedStore, open};
use crate::tb_format::layout::{BLOCK_BYTES, GRID_OFFSET, WAL_PREPARES_OFFSET, block_offset};
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{LOG_OPS, first_difference, write_data_file};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::pack::PackReader;
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::Restored;
use crate::tier::tigerbeetle::restore::copy::copy_image;
use crate::tier::tigerbeetle::restore::image::ranges_to_fetch;
use crate::tier::tigerbeetle::restore::plan::RestorePlan;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::restore;
use crate::tier::tigerbeetle::restore::role::Role;
use proptest::prelude::*;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A repository with one backup, and restores of it whose reads are counted.
pub(super) struct Bulk {
    pub(super) fixture: Fixture,
    /// What was read of packs.
    pack_bytes: Arc<AtomicU64>,
    pub(super) repository: Arc<Repository>,
    pub(super) sample: SampleFile,
    /// What a restore reads of packs when nothing is there, and how much of that is no block.
    pub(super) all_bytes: u64,
    pub(super) opening_bytes: u64,
}

/// The temporary file of a restore whose process is gone.
pub(super) const LEFT: &str = ".image.4194305.amber-partial";

impl Bulk {
    pub(super) fn of(fixture: Fixture, sample: SampleFile) -> Bulk {
        let (store, pack_bytes) = (HookedStore::new(&fixture.store), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&pack_bytes);
        store.before_reads(move |name, length| {
            if name.starts_with("tigerbeetle/packs/") {
                counted.fetch_add(length, Ordering::SeqCst);
            }
            true
        });
        let repository = open(Arc::new(store)).unwrap();
        let mut bulk = Bulk { fixture, pack_bytes, repository, sample, all_bytes: 0, opening_bytes: 0 };
        let (restored, read) = bulk.restore_with(|_| {});
        assert_eq!((restored.bytes_kept, bulk.image_is_right()), (0, true));
        bulk.all_bytes = read;
        bulk.opening_bytes = opening(&bulk);
        std::fs::remove_file(bulk.fixture.path("image")).unwrap();
        bulk
    }

    pub(super) fn new() -> Bulk {
        let sample = SampleFile::new(7, LOG_OPS);
        Bulk::of(Fixture::of(&sample), sample)
    }

    pub(super) fn request(&self) -> RestoreRequest {
        RestoreRequest { overwrite: true, ..self.fixture.request(Point::Newest, Role::Same) }
    }

    /// Restores; returns also what was read of packs.
    pub(super) fn restore_with(&self, change: impl FnOnce(&mut RestoreRequest)) -> (Restored, u64) {
        let mut request = self.request();
        change(&mut request);
        self.pack_bytes.store(0, Ordering::SeqCst);
        let restored = restore(&self.repository, &request, &Silent).unwrap();
        (restored, self.pack_bytes.load(Ordering::SeqCst))
    }

    pub(super) fn image_is_right(&self) -> bool {
        first_difference(&self.fixture.path("image"), &self.sample).unwrap().is_none()
    }

    /// The reachable blocks with their places.
    pub(super) fn blocks(&self) -> Vec<(u64, &[u8])> {
        let reachable = self.sample.blocks.iter().filter(|(reference, _)| reference.address != 9);
        reachable.map(|(reference, bytes)| (block_offset(reference.address).unwrap(), &bytes[..])).collect()
    }

    /// A restore over the leftovers that `prepare` makes gives the image and leaves nothing else.
    /// It reports exactly what it read.
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
        let plan = RestorePlan::make(&self.repository, Point::Newest, None).unwrap();
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
        // Longer than the image, with something in every zone, before the grid and at an address
        // that the image does not have.
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

    /// Everything that is wanted comes, in order, and the unneeded bytes are bounded.
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
    // The fourth is lent by a living process, the fifth is being written.
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
    let repository = open(Arc::new(faulty.clone()) as Arc<dyn crate::store::Store>).unwrap();
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

/// What opening the packs reads.
fn opening(bulk: &Bulk) -> u64 {
    let name = bulk.repository.checkpoints().unwrap().pop().unwrap();
    let manifest = Manifest::read(&bulk.repository, &name, None).unwrap();
    let open = |entry| PackReader::open(&bulk.repository, entry).unwrap().opening_bytes();
    manifest.packs.iter().map(open).sum()
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
