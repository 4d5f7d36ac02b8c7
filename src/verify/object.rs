//! Checks packs and segments, a few at once.
//!
//! Always the digest of the stored bytes, which needs no key; with `full` every block and every prepare is opened too and checked by
//! TigerBeetle's own checksums.

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{CheckpointName, PackName, SegmentName};
use crate::repository::object_reader::digest_stored;
use crate::repository::pack::{PackEntry, PackReader};
use crate::repository::segment::{SegmentEntry, SegmentReader};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Objects checked at once.
const THREADS: usize = 4;
/// Blocks opened at once: 8 MiB.
const BLOCKS_A_FETCH: u32 = 16;

/// An object to check.
#[derive(Debug, Clone)]
pub enum Job {
    /// A pack.
    Pack(PackEntry),
    /// A segment.
    Segment(SegmentEntry),
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The object.
    pub name: String,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Whether it is whole.
    pub result: Result<()>,
}

impl Job {
    fn promised(&self) -> (String, u64, [u8; 32]) {
        match self {
            Job::Pack(entry) => (entry.name.object(), entry.stored_bytes, entry.digest),
            Job::Segment(entry) => (entry.name.object(), entry.stored_bytes, entry.digest),
        }
    }

    fn check(&self, repository: &Repository, full: bool) -> Outcome {
        let (name, size_bytes, digest) = self.promised();
        let mut bytes_read = 0;
        let mut check = || {
            let found = digest_stored(repository, &name)?;
            bytes_read = found.0;
            if found.0 != size_bytes {
                return Err(Error::damaged(format!("it has {} bytes, its manifest says {size_bytes}: it was cut or swapped", found.0)));
            }
            if found.1 != digest {
                return Err(Error::damaged(
                    "its bytes are not those that were stored: the digest differs. Delete it, and the next backup stores anew what it needs of it",
                ));
            }
            if full { self.open(repository) } else { Ok(()) }
        };
        let result = check();
        Outcome { name, bytes_read, result }
    }

    fn open(&self, repository: &Repository) -> Result<()> {
        match self {
            Job::Pack(entry) => {
                let pack = PackReader::open(repository, entry)?;
                let mut first = 0;
                while first < entry.blocks {
                    let count = (entry.blocks - first).min(BLOCKS_A_FETCH);
                    pack.blocks(first, count)?;
                    first += count;
                }
                Ok(())
            }
            Job::Segment(entry) => SegmentReader::open(repository, entry)?.prepares(0, u64::MAX, &mut |_| Ok(())),
        }
    }
}

type Users = Vec<CheckpointName>;

/// The jobs for all named objects, and for each the backups that need it.
pub fn jobs(
    packs: &BTreeMap<PackName, (PackEntry, Users)>,
    segments: &BTreeMap<SegmentName, (SegmentEntry, Users)>,
) -> (Vec<Job>, Vec<Users>) {
    let packs = packs.values().map(|(entry, users)| (Job::Pack(entry.clone()), users.clone()));
    packs.chain(segments.values().map(|(entry, users)| (Job::Segment(entry.clone()), users.clone()))).unzip()
}

/// Checks all jobs; outcomes in the order of the jobs.
pub fn check_all(repository: &Repository, jobs: &[Job], full: bool, progress: &dyn Progress) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let position = AtomicU64::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    let outcome = job.check(repository, full);
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
