//! Checks packs and segments. Opened, every block and every prepare is checked against
//! TigerBeetle's own checksums, and the prepares of a segment must continue each other.

use crate::error::{Error, Result};
use crate::limits::governor::Priority;
use crate::repository::Repository;
use crate::repository::name::SegmentName;
use crate::repository::object_writer::PART_BYTES;
use crate::store::Digest;
use crate::tb_format::wal::Chain;
use crate::tier::object_check::{Expected, ObjectCheck};
use crate::tier::reference::PromisedBytes;
use crate::tier::tigerbeetle::format::pack::{PackEntry, PackReader};
use crate::tier::tigerbeetle::format::segment::{SegmentEntry, SegmentReader};

/// Blocks opened at once: 8 MiB.
const BLOCKS_A_FETCH: u32 = 16;

/// The backups that need an object, as positions in the list of backups.
pub type Users = Vec<u32>;

/// An object to check.
#[derive(Debug, Clone)]
pub enum LedgerObject {
    /// A pack.
    Pack(PackEntry),
    /// A segment that a manifest names.
    Segment(SegmentEntry),
    /// A segment that no manifest names, and its size as it was listed.
    Shipped(SegmentName, u64),
}

/// What a manifest promises of an object's bytes.
pub fn promised(size_bytes: u64, digest: Digest) -> PromisedBytes {
    PromisedBytes { size_bytes, digest, part_bytes: PART_BYTES as u64 }
}

impl ObjectCheck for LedgerObject {
    fn name(&self) -> String {
        match self {
            LedgerObject::Pack(entry) => entry.name.object(),
            LedgerObject::Segment(entry) => entry.name.object(),
            LedgerObject::Shipped(name, _) => name.object(),
        }
    }

    fn expected(&self) -> Expected {
        match self {
            LedgerObject::Pack(entry) => Expected::Promised(promised(entry.stored_bytes, entry.digest)),
            LedgerObject::Segment(entry) => Expected::Promised(promised(entry.stored_bytes, entry.digest)),
            LedgerObject::Shipped(_, stored_bytes) => Expected::Listed(*stored_bytes),
        }
    }

    fn open(&self, repository: &Repository) -> Result<()> {
        match self {
            LedgerObject::Pack(entry) => blocks(repository, entry),
            LedgerObject::Segment(entry) => prepares(repository, &SegmentReader::open(repository, entry)?, &entry.name),
            LedgerObject::Shipped(name, stored_bytes) => {
                prepares(repository, &SegmentReader::open_listed(repository, name, Some(*stored_bytes))?, name)
            }
        }
    }

    fn authenticate(&self, repository: &Repository) -> Result<()> {
        match self {
            LedgerObject::Shipped(name, stored_bytes) => {
                SegmentReader::open_listed(repository, name, Some(*stored_bytes))?.authenticate(repository)
            }
            named => named.open(repository),
        }
    }
}

fn blocks(repository: &Repository, entry: &PackEntry) -> Result<()> {
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
