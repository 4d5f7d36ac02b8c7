//! The log after a checkpoint, from the segments that its manifest lists.
//!
//! Segments may overlap; each op is taken from the first that holds it. The hash chain is followed
//! from the checkpoint through every prepare, so a gap or a fork is always noticed.

use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::sector_ceil;
use crate::tb_format::wal::{Chain, Prepare};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::segment::{PrepareRow, SegmentReader};
use crate::tier::tigerbeetle::restore::original_log::OriginalLog;

/// The log that a manifest lists. Any part of it can be read.
#[derive(Debug)]
pub struct ManifestLog<'a> {
    repository: &'a Repository,
    manifest: &'a Manifest,
    bytes_fetched: u64,
}

impl<'a> ManifestLog<'a> {
    /// The log of this backup.
    pub fn new(repository: &'a Repository, manifest: &'a Manifest) -> ManifestLog<'a> {
        ManifestLog { repository, manifest, bytes_fetched: 0 }
    }

    /// Stored bytes fetched so far.
    pub fn bytes_fetched(&self) -> u64 {
        self.bytes_fetched
    }

    /// Passes the stored prepares up to the checkpoint's own to `take`, if `first_op` lies among
    /// them.
    pub fn earlier(&mut self, first_op: u64, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<()> {
        if first_op <= self.manifest.summary.checkpoint_op {
            earlier(self.repository, self.manifest, take)?;
        }
        Ok(())
    }
}

impl OriginalLog for ManifestLog<'_> {
    fn prepares(&mut self, first_op: u64, last_op: u64, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<()> {
        self.earlier(first_op, take)?;
        let mut from_first = |prepare: &Prepare<'_>| if prepare.header().op() < first_op { Ok(()) } else { take(prepare) };
        self.bytes_fetched += prepares(self.repository, self.manifest, last_op, &mut from_first)?.1;
        Ok(())
    }

    fn last_op(&self) -> u64 {
        self.manifest.summary.recovered_to_op
    }
}

/// Passes the prepares after the checkpoint up to `last_op` to `take`, in order. Returns their
/// headers, and the stored bytes that were fetched.
///
/// # Errors
/// [`Error::damaged`] when the segments do not hold one unbroken chain from the checkpoint to
/// `last_op`.
pub fn prepares(
    repository: &Repository,
    manifest: &Manifest,
    last_op: u64,
    take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>,
) -> Result<(Vec<PrepareHeader>, u64)> {
    let checkpoint = manifest.superblock.checkpoint().header();
    let mut chain = Chain::after_header(&checkpoint);
    let (mut headers, mut bytes_fetched) = (Vec::new(), 0);
    for entry in &manifest.segments {
        if entry.name.last_op <= chain.op() || chain.op() >= last_op {
            continue;
        }
        let segment = SegmentReader::open(repository, entry)?;
        bytes_fetched += entry.stored_bytes;
        segment.prepares(chain.op() + 1, last_op, &mut |prepare| {
            let broken = |error| Error::damaged(format!("{}: op {}: {error}", entry.name.object(), prepare.header().op())).caused_by(error);
            chain.accept(prepare.header()).map_err(broken)?;
            headers.push(*prepare.header());
            take(prepare)
        })?;
    }
    if chain.op() != last_op {
        return Err(Error::damaged(format!("the log of checkpoint {} ends at op {}, op {last_op} is wanted", checkpoint.op(), chain.op())));
    }
    let (promised, found) = (&manifest.summary.recovered_to_checksum, chain.checksum().to_string());
    if last_op == manifest.summary.recovered_to_op && found != *promised {
        return Err(Error::damaged(format!(
            "the log of checkpoint {} ends with prepare {found}, the backup promised {promised}",
            checkpoint.op()
        )));
    }
    Ok((headers, bytes_fetched))
}

/// Passes the stored prepares before the checkpoint, up to its own, to `take`. Returns their
/// headers.
///
/// # Errors
/// [`Error::damaged`] when they do not lead to the checkpoint without a gap.
pub fn earlier(
    repository: &Repository,
    manifest: &Manifest,
    take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>,
) -> Result<Vec<PrepareHeader>> {
    let checkpoint = manifest.superblock.checkpoint().header();
    let mut headers: Vec<PrepareHeader> = Vec::new();
    for entry in manifest.segments.iter().filter(|entry| entry.name.first_op <= checkpoint.op()) {
        let next_op = headers.last().map_or(manifest.summary.log_first_op, |last| last.op() + 1);
        SegmentReader::open(repository, entry)?.prepares(next_op, checkpoint.op(), &mut |prepare| {
            let header = *prepare.header();
            let mut chain = headers.last().map_or_else(|| Chain::after(next_op - 1, header.parent()), Chain::after_header);
            chain
                .accept(&header)
                .map_err(|error| Error::damaged(format!("{}: op {}: {error}", entry.name.object(), header.op())).caused_by(error))?;
            headers.push(header);
            take(prepare)
        })?;
    }
    if headers.last().is_some_and(|last| last.checksum() == checkpoint.checksum()) {
        return Ok(headers);
    }
    Err(Error::damaged(format!("the log before checkpoint {} does not lead to it", checkpoint.op())))
}

fn rows(repository: &Repository, manifest: &Manifest) -> Result<Vec<PrepareRow>> {
    let mut rows: Vec<PrepareRow> = Vec::new();
    for entry in &manifest.segments {
        if entry.name.last_op <= manifest.summary.checkpoint_op {
            continue;
        }
        let next_op = rows.last().map_or(manifest.summary.checkpoint_op + 1, |row| row.op + 1);
        let segment = SegmentReader::open(repository, entry)?;
        rows.extend(segment.rows.iter().filter(|row| row.op >= next_op && row.op <= manifest.summary.recovered_to_op));
    }
    Ok(rows)
}

/// How many bytes the log of this backup takes in an image, with sectors filled up. The prepares
/// before the checkpoint are included.
pub fn plain_bytes(repository: &Repository, manifest: &Manifest) -> Result<u64> {
    let mut bytes = 0;
    for entry in &manifest.segments {
        let segment = SegmentReader::open(repository, entry)?;
        bytes += segment.rows.iter().map(|row| sector_ceil(u64::from(row.size_bytes))).sum::<u64>();
    }
    Ok(bytes)
}

/// The last op of this backup at or before a time, which must not lie before its checkpoint.
pub fn op_at(repository: &Repository, manifest: &Manifest, timestamp_ns: u64) -> Result<u64> {
    let rows = rows(repository, manifest)?;
    let count = rows.partition_point(|row| row.timestamp_ns <= timestamp_ns);
    Ok(count.checked_sub(1).map_or(manifest.summary.checkpoint_op, |last| rows[last].op))
}

/// The timestamp of an op that this backup holds; 0 if it does not hold the op.
pub fn timestamp_of(repository: &Repository, manifest: &Manifest, op: u64) -> Result<u64> {
    if op == manifest.summary.checkpoint_op {
        return Ok(manifest.summary.checkpoint_timestamp_ns);
    }
    Ok(rows(repository, manifest)?.iter().find(|row| row.op == op).map_or(0, |row| row.timestamp_ns))
}
