//! Writes a checkpoint into the images: holes first, then blocks and client replies.
//!
//! ```text
//! fetch_queue: packs, cut into pieces -> each thread: which blocks does the disk have? (reuse)
//!   -> the rest: one GET for neighbouring frames -> opened in place
//!   -> expanded into an aligned buffer -> checked -> written to all images at once
//! ```
//!
//! Each block goes to its own address; unreachable grid space stays a hole. Every byte written was
//! checked by TigerBeetle's own checksum first.
//!
//! Memory of a thread: one buffer of 4 MiB for what it fetches, and 16 buffers of 512 KiB on their
//! way to the disk, so that it can fetch the next piece while they are written. There are at most 8
//! threads, which makes 96 MiB, whatever the size of the data file.

use super::fetch_queue::{FetchJob, FetchQueue, Opening, Piece};
use super::reuse::{ReusableBlocks, Spot};
use crate::disk::arena::{Arena, Buffer};
use crate::disk::target::Target;
use crate::disk::writer::{Failed, WriteOptions, WriteTarget, Writer};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::{Repository, fetch};
use crate::tb_format::layout::{BLOCK_BYTES, block_offset, reply_offset};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::pack::PackReader;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pieces restored at once at most. While some wait for the store, others use the cores.
const THREADS_MAX: usize = 8;
/// Pieces restored at once at least, so that some work while others wait for the store.
const THREADS_MIN: usize = 4;
/// Stored bytes fetched at once at most. A GET of some megabytes costs little more than its bytes;
/// a block has at most half a megabyte.
const FETCH_BYTES: usize = 4 << 20;
/// Frames of a piece at most, so that threads also share what compresses to almost nothing.
const PIECE_FRAMES: u32 = 64;
/// Blocks of a thread that may be on their way to the disk.
const WRITE_BUFFERS: u16 = 16;
/// Unneeded stored bytes that are fetched at once at most, where that saves a request.
const BRIDGED_BYTES_MAX: u64 = 256 * 1024;
/// All unneeded bytes together are at most this part (an eighth) of the needed ones.
const BRIDGED_PART: u64 = 8;
const _: () = assert!(FETCH_BYTES > 2 * BLOCK_BYTES);

/// Bytes that an image takes on the disk at most: its blocks, the log of `log_bytes`, the client
/// replies, and the fixed zones.
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
    /// Stored bytes that were not fetched, because the disk already had their blocks.
    pub bytes_kept: u64,
    /// Plain bytes written into each image.
    pub bytes_written: u64,
}

/// Images being written.
pub struct Image<'a> {
    repository: &'a Repository,
    manifest: &'a Manifest,
    targets: &'a [Target],
    places: Arc<[WriteTarget]>,
    held: ReusableBlocks<'a>,
    options: WriteOptions,
    fetched: AtomicU64,
    kept: AtomicU64,
    written: AtomicU64,
    /// Bytes of blocks that are done, each counted with its full size.
    done: AtomicU64,
}

impl<'a> Image<'a> {
    /// Sets the length of the images, and finds out what they or an older image already hold.
    ///
    /// # Errors
    /// Those of reading the base and of opening the targets.
    pub fn begin(
        repository: &'a Repository,
        manifest: &'a Manifest,
        targets: &'a [Target],
        base: Option<&Path>,
        options: WriteOptions,
    ) -> Result<Image<'a>> {
        let held = ReusableBlocks::new(targets, base, manifest.summary.data_file_bytes)?;
        let places: Result<Vec<WriteTarget>> = targets
            .iter()
            .map(|target| WriteTarget::to_write(target.temporary(), options).map_err(|error| target.failed("open", error)))
            .collect();
        Ok(Image {
            repository,
            manifest,
            targets,
            places: places?.into(),
            held,
            options,
            fetched: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            written: AtomicU64::new(0),
            done: AtomicU64::new(0),
        })
    }

    /// The total for the progress of [`Image::write_blocks`]: every block counts with its full
    /// size.
    pub fn total_bytes(&self) -> u64 {
        self.manifest.summary.blocks.saturating_mul(BLOCK_BYTES as u64)
    }

    /// What is slower than it could be, in sentences for the user.
    pub fn notes(&self) -> Vec<String> {
        let slow = self.targets.iter().zip(&*self.places).filter(|(_, place)| self.options.direct && !place.is_direct());
        let note = |target: &Target| {
            format!("{}: the file system refuses O_DIRECT: writing through the page cache, which costs more CPU", target.path().display())
        };
        slow.map(|(target, _)| note(target)).collect()
    }

    /// Writes all blocks.
    ///
    /// # Errors
    /// The first that a thread met.
    pub fn write_blocks(&self, progress: &dyn Progress) -> Result<()> {
        let feed = FetchQueue::new(self.manifest);
        let cores = std::thread::available_parallelism().map_or(THREADS_MIN, usize::from);
        self.repository.host().workers.share((cores * 2).clamp(THREADS_MIN, THREADS_MAX), || {
            if let Err(error) = self.work(&feed, progress) {
                feed.fail(error);
            }
        });
        match feed.into_error() {
            None => self.held.clear_rest(self.manifest.summary.data_file_bytes),
            Some(error) => Err(error),
        }
    }

    /// What one thread does.
    fn work(&self, feed: &FetchQueue<'a>, progress: &dyn Progress) -> Result<()> {
        let mut hands: Option<Hands<'_, 'a>> = None;
        while let Some(job) = feed.next() {
            match job {
                FetchJob::Open(opening) => self.open(opening)?,
                FetchJob::Restore(piece) => {
                    let hands = match &mut hands {
                        Some(hands) => hands,
                        none => none.insert(Hands::new(self)?),
                    };
                    hands.restore(&piece, progress)?;
                }
            }
        }
        hands.map_or(Ok(()), |mut hands| hands.writer.finish().map_err(|failed| self.failed(failed)))
    }

    fn open(&self, opening: Opening<'_, 'a>) -> Result<()> {
        let pack = Arc::new(PackReader::open(self.repository, &self.manifest.packs[opening.pack])?);
        self.fetched.fetch_add(pack.opening_bytes(), Ordering::Relaxed);
        let mut pieces = Vec::new();
        for needed in &opening.frames {
            let mut first = needed.start;
            while first < needed.end {
                let end = piece_end(&pack, first, needed.end);
                pieces.push(Piece { pack: Arc::clone(&pack), frames: first..end });
                first = end;
            }
        }
        opening.done(pieces);
        Ok(())
    }

    fn spot(&self, pack: &PackReader<'_>, frame: u32) -> Result<Spot> {
        let reference = pack.references(frame, 1).and_then(|references| references.first().copied());
        let (Some(reference), Some(size_bytes)) = (reference, pack.block_bytes(frame)) else {
            return Err(Error::damaged(format!("{}: there is no frame {frame}", pack.name())));
        };
        if size_bytes > BLOCK_BYTES || pack.stored_bytes(frame, 1).is_none_or(|stored_bytes| stored_bytes > FETCH_BYTES as u64) {
            return Err(Error::damaged(format!("{}: frame {frame} holds {size_bytes} bytes: no block is so large", pack.name())));
        }
        let offset = block_offset(reference.address).filter(|offset| offset + BLOCK_BYTES as u64 <= self.manifest.summary.data_file_bytes);
        let beyond = || Error::damaged(format!("block address {} lies beyond the data file", reference.address));
        Ok(Spot { reference, offset: offset.ok_or_else(beyond)?, size_bytes })
    }

    fn failed(&self, failed: Failed) -> Error {
        match self.targets.get(failed.place) {
            Some(target) => target.failed("write", failed.error),
            None => Error::bug(format!("a write to no target: {}", failed.error)),
        }
    }

    /// Writes the client replies.
    pub fn write_replies(&self) -> Result<()> {
        for (slot, reply) in &self.manifest.replies {
            self.written.fetch_add(reply.len() as u64, Ordering::Relaxed);
            self.targets.iter().try_for_each(|target| target.write(reply_offset(*slot), reply))?;
        }
        Ok(())
    }

    /// What was moved in all.
    pub fn end(self) -> Moved {
        let (bytes_fetched, bytes_kept) = (self.fetched.into_inner(), self.kept.into_inner());
        Moved { bytes_fetched, bytes_kept, bytes_written: self.written.into_inner() }
    }
}

/// What one thread works with.
struct Hands<'image, 'a> {
    image: &'image Image<'a>,
    writer: Writer,
    fetched: Buffer,
}

impl<'image, 'a> Hands<'image, 'a> {
    fn new(image: &'image Image<'a>) -> Result<Hands<'image, 'a>> {
        let no_memory = |what: &dyn std::fmt::Display| Error::bug(format!("no buffers to restore with: {what}"));
        let writer = Writer::new(&image.places, BLOCK_BYTES, WRITE_BUFFERS, image.options).map_err(|error| no_memory(&error))?;
        let fetched = Arena::new(FETCH_BYTES, 1).and_then(|arena| arena.take()).ok_or_else(|| no_memory(&FETCH_BYTES))?;
        Ok(Hands { image, writer, fetched })
    }

    fn restore(&mut self, piece: &Piece<'_>, progress: &dyn Progress) -> Result<()> {
        let pack = &*piece.pack;
        let mut missing = Vec::new();
        for frame in piece.frames.clone() {
            let spot = self.image.spot(pack, frame)?;
            if self.image.held.is_nothing() || !self.keep(spot)? {
                missing.push((frame, spot));
                continue;
            }
            self.image.kept.fetch_add(pack.stored_bytes(frame, 1).unwrap_or(0), Ordering::Relaxed);
            self.done(1, progress);
        }
        let stored = |frames: &Range<u32>| pack.stored_bytes(frames.start, frames.end - frames.start).unwrap_or(u64::MAX);
        let wanted: Vec<u32> = missing.iter().map(|(frame, _)| *frame).collect();
        let mut missing = missing.into_iter().peekable();
        for frames in ranges_to_fetch(&wanted, &stored) {
            let spots: Vec<(u32, Spot)> = std::iter::from_fn(|| missing.next_if(|(frame, _)| *frame < frames.end)).collect();
            self.fetch(pack, &frames, stored(&frames), &spots)?;
            self.done(spots.len() as u64, progress);
        }
        Ok(())
    }

    /// Whether the disk already holds a block. Images that lack the block get it from there.
    fn keep(&mut self, spot: Spot) -> Result<bool> {
        let image = self.image;
        let mut buffer = self.writer.take().map_err(|failed| image.failed(failed))?;
        let Some(missing) = image.held.find(spot, &image.places, &mut buffer)? else { return Ok(false) };
        if !missing.is_empty() {
            self.write(buffer, spot, missing)?;
        }
        Ok(true)
    }

    /// Fetches neighbouring frames and writes the blocks that are wanted. Fetches them again if
    /// they arrive damaged.
    fn fetch(&mut self, pack: &PackReader<'_>, frames: &Range<u32>, stored_bytes: u64, spots: &[(u32, Spot)]) -> Result<()> {
        fetch::until_intact(|| self.fetch_once(pack, frames, stored_bytes, spots))
    }

    fn fetch_once(&mut self, pack: &PackReader<'_>, frames: &Range<u32>, stored_bytes: u64, spots: &[(u32, Spot)]) -> Result<()> {
        let image = self.image;
        pack.fetch_into(frames.start, frames.end - frames.start, &mut self.fetched[..stored_bytes as usize])?;
        image.fetched.fetch_add(stored_bytes, Ordering::Relaxed);
        for (frame, spot) in spots {
            let begin = pack.stored_bytes(frames.start, frame - frames.start).unwrap_or(0) as usize;
            let length = pack.stored_bytes(*frame, 1).unwrap_or(0) as usize;
            let mut buffer = self.writer.take().map_err(|failed| image.failed(failed))?;
            let (plain, padding) = buffer[..spot.padded_bytes()].split_at_mut(spot.size_bytes);
            pack.open_into(*frame, &mut self.fetched[begin..begin + length], plain)?;
            padding.fill(0);
            self.write(buffer, *spot, (0..image.targets.len()).collect())?;
        }
        Ok(())
    }

    fn write(&mut self, buffer: Buffer, spot: Spot, targets: Vec<usize>) -> Result<()> {
        self.image.written.fetch_add(spot.size_bytes as u64, Ordering::Relaxed);
        let written = self.writer.write(buffer, spot.offset, spot.padded_bytes(), targets);
        written.map_err(|failed| self.image.failed(failed))
    }

    fn done(&self, blocks: u64, progress: &dyn Progress) {
        let bytes = blocks * BLOCK_BYTES as u64;
        progress.position(self.image.done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    }
}

/// Where the piece that begins at frame `first` ends: a piece is what one GET fetches.
fn piece_end(pack: &PackReader<'_>, first: u32, end: u32) -> u32 {
    let fits = |candidate: &u32| pack.stored_bytes(first, candidate - first).is_some_and(|stored_bytes| stored_bytes <= FETCH_BYTES as u64);
    let last = end.min(first.saturating_add(PIECE_FRAMES));
    (first + 2..=last).take_while(fits).last().unwrap_or(first + 1)
}

/// The ranges of frames to fetch so that all of `wanted` (ascending) come. Frames between two of
/// them are fetched too where that saves a request and costs little. `stored` gives the size of a
/// range.
pub(super) fn ranges_to_fetch(wanted: &[u32], stored: &dyn Fn(&Range<u32>) -> u64) -> Vec<Range<u32>> {
    let mut spare = wanted.iter().map(|frame| stored(&(*frame..frame + 1))).sum::<u64>() / BRIDGED_PART;
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for frame in wanted {
        if let Some(last) = ranges.last_mut() {
            let gap = stored(&(last.end..*frame));
            if gap <= spare.min(BRIDGED_BYTES_MAX) {
                spare -= gap;
                last.end = frame + 1;
                continue;
            }
        }
        ranges.push(*frame..frame + 1);
    }
    ranges
}

#[cfg(test)]
mod tests;
