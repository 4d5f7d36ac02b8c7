//! What a restore will do and what it will cost. All of it is known before a byte is written.

use super::binaries::{Binaries, ReleaseNeeded};
use super::forward;
use super::forward::Hop;
use super::history::{History, SelectedLog};
use super::image;
use super::log;
use super::select::select;
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::tb_format::header::release_text;
use crate::tb_format::layout::{WAL_PREPARES_BYTES, prepare_max_for_checkpoint, sector_ceil};
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::restore::original_log::OriginalLog;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::point::Selected;
use crate::tier::tigerbeetle::restore::point::point_text;
use std::path::PathBuf;

/// How fast a store is expected to deliver and a disk to write, where nothing is known yet.
const BYTES_PER_SECOND_ESTIMATE: f64 = 100e6;
/// Seconds for what does not depend on the size: opening the repository, reading the image back.
const SECONDS_ESTIMATE: f64 = 1.0;

/// What a restore does.
#[derive(Debug)]
pub struct RestorePlan {
    /// The backup to start from, the op to reach, and the log between them.
    pub selected: Selected,
    /// The timestamp of that op, in nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// What that op is ([`crate::tb_format::header::operation_name`]).
    pub operation: u8,
    /// The hops that a server makes, if the log after the checkpoint does not reach the op.
    pub hops: Vec<Hop>,
    /// The releases of TigerBeetle that the hops need.
    pub releases: Vec<ReleaseNeeded>,
    /// The release that the images need in the end.
    pub release: u32,
    /// Stored bytes of the log that are fetched.
    pub log_stored_bytes: u64,
    /// Stored bytes of the blocks that are fetched.
    pub blocks_stored_bytes: u64,
    /// The same log in plain bytes, each prepare padded to full sectors.
    pub log_bytes: u64,
}

impl RestorePlan {
    /// Makes the plan for a point of the history that ends with `timeline`, or with the newest one.
    ///
    /// # Errors
    /// Those of [`select`], and when the log cannot be read.
    pub fn make(repository: &Repository, point: Point, timeline: Option<u32>) -> Result<RestorePlan> {
        let selected = select(repository, point, timeline)?;
        let (manifest, op) = (&selected.manifest, selected.op);
        let checkpoint = manifest.superblock.checkpoint();
        let hops = forward::plan_hops(checkpoint.header().op(), op);
        let mut end = checkpoint.header();
        let mut log = SelectedLog::new(repository, &selected);
        if op > end.op() {
            let mut take = |prepare: &Prepare<'_>| {
                end = *prepare.header();
                Ok(())
            };
            log.prepares(op, op, &mut take)?;
        }
        let releases = forward::required_releases(&hops, checkpoint.release(), &mut log)?;
        let (log_stored_bytes, log_bytes) = log_bytes(repository, &selected)?;
        Ok(RestorePlan {
            timestamp_ns: end.timestamp(),
            operation: end.operation(),
            release: releases.last().map_or(checkpoint.release(), |needed| needed.release),
            log_stored_bytes,
            blocks_stored_bytes: image::stored_bytes(manifest),
            log_bytes,
            hops,
            releases,
            selected,
        })
    }

    /// How long the restore is expected to take in all, in seconds.
    pub fn estimate_seconds(&self) -> f64 {
        let bytes = self.log_stored_bytes.saturating_add(self.blocks_stored_bytes);
        SECONDS_ESTIMATE + bytes as f64 / BYTES_PER_SECOND_ESTIMATE + forward::estimate_seconds(self.hops.len(), self.log_bytes)
    }

    /// How much of the disk an image takes, in bytes. How much a server adds to the ledger during
    /// the hops is not known beforehand; it has been at least four times the log.
    pub fn bytes_needed(&self) -> u64 {
        let growth = if self.hops.is_empty() { 0 } else { self.log_bytes.saturating_mul(4) };
        let window = self.log_bytes.min(WAL_PREPARES_BYTES);
        image::bytes_needed(&self.selected.manifest, window).saturating_add(growth)
    }

    /// Checks that `binaries` can make the hops.
    ///
    /// # Errors
    /// [`Error::input`], naming what is missing. If no binary is given at all, it also names the
    /// nearest points that need none.
    pub fn require_binaries(&self, repository: &Repository, binaries: &[PathBuf]) -> Result<()> {
        if self.hops.is_empty() {
            return Ok(());
        }
        if binaries.is_empty() {
            return Err(self.needs_hops(repository)?);
        }
        let binaries = Binaries::ask(binaries)?;
        self.releases.iter().try_for_each(|needed| binaries.for_release(*needed).map(|_| ()))
    }

    fn needs_hops(&self, repository: &Repository) -> Result<Error> {
        let checkpoint_op = self.selected.manifest.summary.checkpoint_op;
        let mut releases: Vec<String> = self.releases.iter().map(|needed| release_text(needed.release)).collect();
        releases.dedup();
        let mut nearest = vec![format!("op {} before it", prepare_max_for_checkpoint(checkpoint_op))];
        let history = History::of(repository, Some(self.selected.timeline))?;
        if let Some(name) = history.backups()?.iter().find(|name| name.checkpoint_op > checkpoint_op) {
            let first_op = Manifest::read_summary(repository, name).map(|summary| summary.first_restorable_op);
            nearest.extend(first_op.ok().filter(|op| *op > self.selected.op).map(|op| format!("op {op} after it")));
        }
        Ok(Error::input(format!(
            "{} lies {} checkpoints after the backup at op {checkpoint_op}, so a TigerBeetle server must execute the log up to there: give --tigerbeetle PATH of a binary of release {}; the nearest points that need none are {}",
            point_text(self.selected.op, self.timestamp_ns),
            self.hops.len(),
            releases.join(" and another of release "),
            nearest.join(" and ")
        )))
    }
}

/// Stored and plain bytes of the log that is fetched.
fn log_bytes(repository: &Repository, selected: &Selected) -> Result<(u64, u64)> {
    let Some(resolved) = &selected.log else {
        let needed = selected.manifest.segments.iter().filter(|entry| entry.name.first_op <= selected.op);
        return Ok((needed.map(|entry| entry.stored_bytes).sum(), log::plain_bytes(repository, &selected.manifest)?));
    };
    resolved.clone().surviving(repository, &mut |pieces| {
        let (mut stored_bytes, mut plain_bytes) = (0, 0);
        for piece in pieces.iter().filter(|piece| piece.first_op <= selected.op) {
            let (first_op, last_op) = (piece.first_op, piece.last_op.min(selected.op));
            let reader = piece.open(repository)?;
            stored_bytes += reader.stored_bytes_of(first_op, last_op);
            let rows = reader.rows.iter().filter(|row| (first_op..=last_op).contains(&row.op));
            plain_bytes += rows.map(|row| sector_ceil(u64::from(row.size_bytes))).sum::<u64>();
        }
        Ok((stored_bytes, plain_bytes))
    })
}
