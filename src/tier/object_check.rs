//! Checks packs, segments and plain files, a few at once.
//!
//! The digest of the stored bytes is always checked, which needs no key. With `full`, every block
//! and every prepare is also opened and checked against TigerBeetle's own checksums, and the
//! prepares of a segment must continue each other. No manifest holds the digest of a segment that
//! an agent shipped. Such a segment is checked by opening every frame instead.

use super::file::format::{FileReader, FileRecord};
use super::tigerbeetle::format::pack::{PackEntry, PackReader};
use super::tigerbeetle::format::segment::{SegmentEntry, SegmentReader};
use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::progress::Progress;
use crate::repository::name::{FileName, PackName, SegmentName};
use crate::repository::object_reader::digest_stored_in_parts;
use crate::repository::object_writer::PART_BYTES;
use crate::repository::{Repository, fetch};
use crate::store::Digest;
use crate::tb_format::wal::Chain;
use crate::tier::findings::check_wanted;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Objects checked at once.
const THREADS: usize = 4;
/// Blocks opened at once: 8 MiB.
const BLOCKS_A_FETCH: u32 = 16;

/// An object to check.
#[derive(Debug, Clone)]
pub enum ObjectCheck {
    /// A pack.
    Pack(PackEntry),
    /// A segment that a manifest names.
    Segment(SegmentEntry),
    /// A segment that no manifest names, and its size as it was listed.
    Shipped(SegmentName, u64),
    /// A plain file.
    File(FileName, FileRecord),
}

/// The result of one check.
#[derive(Debug)]
pub struct CheckOutcome {
    /// The object.
    pub name: String,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Whether it is intact.
    pub result: Result<()>,
}

/// What a manifest or record promises about an object.
struct Promised {
    name: String,
    size_bytes: u64,
    digest: Digest,
    part_bytes: u64,
}

impl Promised {
    fn of(name: String, size_bytes: u64, digest: Digest) -> Promised {
        Promised { name, size_bytes, digest, part_bytes: PART_BYTES as u64 }
    }
}

impl ObjectCheck {
    fn check(&self, repository: &Repository, full: bool, progress: &dyn Progress) -> CheckOutcome {
        let promised = match self {
            ObjectCheck::Pack(entry) => Promised::of(entry.name.object(), entry.stored_bytes, entry.digest),
            ObjectCheck::Segment(entry) => Promised::of(entry.name.object(), entry.stored_bytes, entry.digest),
            ObjectCheck::File(name, record) => {
                Promised { part_bytes: record.part_bytes, ..Promised::of(name.data(), record.stored_bytes, record.digest_bytes()) }
            }
            ObjectCheck::Shipped(name, stored_bytes) => {
                let authenticate = || SegmentReader::open_listed(repository, name, Some(*stored_bytes))?.authenticate(repository);
                let check = || if full { self.open(repository) } else { authenticate() };
                let result = check_wanted(progress).and_then(|()| check());
                let bytes_read = if result.is_ok() { *stored_bytes } else { 0 };
                return CheckOutcome { name: name.object(), bytes_read, result };
            }
        };
        self.check_promised(repository, promised, full, progress)
    }

    fn check_promised(&self, repository: &Repository, promised: Promised, full: bool, progress: &dyn Progress) -> CheckOutcome {
        let Promised { name, size_bytes, digest, part_bytes } = promised;
        let mut bytes_read = 0;
        let digest_stored = || {
            let found = digest_stored_in_parts(repository, &name, part_bytes, &|| check_wanted(progress))?;
            bytes_read = found.0;
            if found.0 != size_bytes {
                return Err(Error::damaged(format!("it has {} bytes, its manifest says {size_bytes}: it was cut or swapped", found.0)));
            }
            if found.1 != digest {
                return Err(Error::damaged(
                    "its bytes are not those that were stored: the digest differs. Delete it, and the next backup stores anew what it needs of it",
                ));
            }
            Ok(())
        };
        let stored = fetch::until_intact(digest_stored);
        let result = stored.and_then(|()| if full { fetch::until_intact(|| self.open(repository)) } else { Ok(()) });
        CheckOutcome { name, bytes_read, result }
    }

    fn open(&self, repository: &Repository) -> Result<()> {
        match self {
            ObjectCheck::Pack(entry) => {
                let pack = PackReader::open(repository, entry)?;
                let mut first = 0;
                while first < entry.blocks {
                    let count = (entry.blocks - first).min(BLOCKS_A_FETCH);
                    repository.admit_fetch(Priority::Bulk, pack.stored_bytes(first, count).unwrap_or(0));
                    pack.blocks(first, count)?;
                    first += count;
                }
                Ok(())
            }
            ObjectCheck::Segment(entry) => prepares(repository, &SegmentReader::open(repository, entry)?, &entry.name),
            ObjectCheck::File(name, record) => {
                let file = FileReader::open(repository, name, record)?;
                let fingerprinter = repository.fingerprinter()?;
                (0..file.layout.frames()).try_for_each(|number| {
                    repository.admit_fetch(Priority::Bulk, file.object().stored_bytes(number, 1).unwrap_or_default());
                    file.frame(number, &fingerprinter).map(drop)
                })
            }
            ObjectCheck::Shipped(name, stored_bytes) => {
                prepares(repository, &SegmentReader::open_listed(repository, name, Some(*stored_bytes))?, name)
            }
        }
    }
}

/// Opens every prepare and follows the hash chain through them.
fn prepares(repository: &Repository, segment: &SegmentReader<'_>, name: &SegmentName) -> Result<()> {
    let mut chain: Option<Chain> = None;
    segment.prepares(0, u64::MAX, &mut |prepare| {
        let header = prepare.header();
        repository.admit_fetch(Priority::Bulk, prepare.bytes().len() as u64);
        let mut end = chain.unwrap_or_else(|| Chain::after(header.op().saturating_sub(1), header.parent()));
        end.accept(header).map_err(|error| Error::damaged(format!("{}: op {}: {error}", name.object(), header.op())).caused_by(error))?;
        chain = Some(end);
        Ok(())
    })
}

/// The backups that need an object, as positions in the list of backups.
pub type Users = Vec<u32>;

/// The checks for all objects that manifests name, and for each object the backups that need it.
pub fn jobs(
    packs: &BTreeMap<PackName, (PackEntry, Users)>,
    segments: &BTreeMap<SegmentName, (SegmentEntry, Users)>,
) -> (Vec<ObjectCheck>, Vec<Users>) {
    let packs = packs.values().map(|(entry, users)| (ObjectCheck::Pack(entry.clone()), users.clone()));
    packs.chain(segments.values().map(|(entry, users)| (ObjectCheck::Segment(entry.clone()), users.clone()))).unzip()
}

/// Runs all checks. Returns the outcomes in the order of the jobs.
pub fn check_all(repository: &Repository, jobs: &[ObjectCheck], full: bool, progress: &dyn Progress) -> Vec<CheckOutcome> {
    let next = AtomicUsize::new(0);
    let position = AtomicU64::new(0);
    let outcomes: Mutex<Vec<(usize, CheckOutcome)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(jobs.len()) {
            scope.spawn(|| {
                repository.governor().meter();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    let outcome = job.check(repository, full, progress);
                    progress.position(position.fetch_add(outcome.bytes_read, Ordering::Relaxed) + outcome.bytes_read);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push((number, outcome));
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
