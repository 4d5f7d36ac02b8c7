//! Writes what a checkpoint is made of into the images: holes first, then blocks and client replies.
//!
//! Flow: packs are shared out among a few threads; each fetches runs of neighbouring frames, opens, expands and checks them, and writes every
//! block at its own address into all images at once. Unreachable grid space stays a hole. Every byte written was checked by TigerBeetle's own
//! checksum first.

use super::target::Target;
use crate::error::{Error, Result};
use crate::ledger::layout::{BLOCK_BYTES, block_offset, reply_offset};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::manifest::Manifest;
use crate::repository::pack::PackReader;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Packs read at once.
const THREADS: usize = 4;
/// Frames fetched at once: 8 MiB of blocks, which bounds the memory of each thread.
const FRAMES_A_FETCH: u32 = 16;

/// Bytes an image takes on the disk at the most: its blocks, the log of `log_bytes`, the client replies, and the fixed zones.
pub fn bytes_needed(manifest: &Manifest, log_bytes: u64) -> u64 {
    let replies: u64 = manifest.replies.iter().map(|(_, reply)| reply.len() as u64).sum();
    manifest.summary.blocks.saturating_mul(BLOCK_BYTES as u64).saturating_add(log_bytes).saturating_add(replies).saturating_add(8 << 20)
}

/// Stored bytes of the packs that a restore reads.
pub fn stored_bytes(manifest: &Manifest) -> u64 {
    manifest.packs.iter().map(|pack| pack.stored_bytes).sum()
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes fetched from the store.
    pub bytes_fetched: u64,
    /// Plain bytes written into each image.
    pub bytes_written: u64,
}

/// Images being written.
pub struct Image<'a> {
    repository: &'a Repository,
    manifest: &'a Manifest,
    targets: &'a [Target],
    fetched: AtomicU64,
    written: AtomicU64,
}

/// A run of frames of one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u32,
    count: u32,
}

impl<'a> Image<'a> {
    /// Gives the images their length.
    pub fn begin(repository: &'a Repository, manifest: &'a Manifest, targets: &'a [Target]) -> Result<Image<'a>> {
        for target in targets {
            target.set_length(manifest.summary.data_file_bytes)?;
        }
        Ok(Image { repository, manifest, targets, fetched: AtomicU64::new(0), written: AtomicU64::new(0) })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.targets.iter().try_for_each(|target| target.write(offset, bytes))
    }

    /// Writes all blocks.
    ///
    /// # Errors
    /// The first that a thread met.
    pub fn write_blocks(&self, progress: &dyn Progress) -> Result<()> {
        let runs = runs_by_pack(self.manifest);
        let next = Mutex::new(runs.iter().enumerate());
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..THREADS.min(runs.len()) {
                scope.spawn(|| {
                    loop {
                        let Some((pack, runs)) = next.lock().ok().and_then(|mut next| next.next()) else { return };
                        if runs.is_empty() {
                            continue;
                        }
                        if let Err(error) = self.write_pack(pack, runs, progress)
                            && let Ok(mut failed) = failed.lock()
                        {
                            failed.get_or_insert(error);
                        }
                        if failed.lock().map_or(true, |failed| failed.is_some()) {
                            return;
                        }
                    }
                });
            }
        });
        match failed.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(Error::bug("a restoring thread panicked")),
        }
    }

    fn write_pack(&self, pack: usize, runs: &[Run], progress: &dyn Progress) -> Result<()> {
        let reader = PackReader::open(self.repository, &self.manifest.packs[pack])?;
        for run in runs {
            for (reference, bytes) in reader.blocks(run.first, run.count)? {
                let beyond = || Error::damaged(format!("block address {} lies beyond the data file", reference.address));
                let offset =
                    block_offset(reference.address).filter(|offset| offset + BLOCK_BYTES as u64 <= self.manifest.summary.data_file_bytes);
                self.write(offset.ok_or_else(beyond)?, &bytes)?;
            }
            let stored_bytes = reader.stored_bytes(run.first, run.count).unwrap_or(0);
            progress.position(self.fetched.fetch_add(stored_bytes, Ordering::Relaxed) + stored_bytes);
        }
        Ok(())
    }

    /// Writes the client replies.
    pub fn write_replies(&self) -> Result<()> {
        self.manifest.replies.iter().try_for_each(|(slot, reply)| self.write(reply_offset(*slot), reply))
    }

    /// What was moved in all.
    pub fn end(self) -> Moved {
        Moved { bytes_fetched: self.fetched.into_inner(), bytes_written: self.written.into_inner() }
    }
}

/// For each pack of the table the frames to fetch, neighbouring extents joined.
fn runs_by_pack(manifest: &Manifest) -> Vec<Vec<Run>> {
    let mut extents: Vec<(u32, u32, u32)> =
        manifest.extents.iter().map(|extent| (extent.location.pack, extent.location.first_frame, extent.location.blocks)).collect();
    extents.sort_unstable();
    let mut packs: Vec<Vec<Run>> = vec![Vec::new(); manifest.packs.len()];
    for (pack, first, blocks) in extents {
        let runs = &mut packs[pack as usize];
        let mut first = first;
        let end = first + blocks;
        while first < end {
            let count = (end - first).min(FRAMES_A_FETCH);
            match runs.last_mut() {
                Some(last) if last.first + last.count == first && last.count + count <= FRAMES_A_FETCH => last.count += count,
                _ => runs.push(Run { first, count }),
            }
            first += count;
        }
    }
    packs
}
