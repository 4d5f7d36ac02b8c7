//! Every local stage alone, on one thread: the cost of each for the same bytes.
//!
//! Flow: a window of blocks is read, then each stage runs over all of it before the next begins. So
//! a stage is measured in one go, and the sample need not fit into memory. The output of one stage
//! is the input of the next: compressed frames are sealed, sealed frames are digested, opened and
//! expanded again. The buffers are kept from window to window, as the pipeline keeps its own, so
//! that no stage pays for pages that a real run allocates once.

use super::cost::Cost;
use super::data::{Data, Piece};
use crate::disk::writer::{WriteOptions, WriteTarget};
use crate::error::{Error, Result};
use crate::pipeline::compress::{self, Codec, Encoding, Packed};
use crate::pipeline::digest::digest_of;
use crate::pipeline::seal::{SealingKey, TAG_BYTES};
use crate::progress::Progress;
use crate::repository::key;
use crate::tb_format::table::record_bytes_of;
use std::fs::File;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The unit of reads and writes past the page cache.
const SECTOR_BYTES: u64 = 4096;

/// Compression at one level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelCost {
    /// The zstd level.
    pub level: i32,
    /// What it took.
    pub cost: Cost,
    /// The size after compression.
    pub stored_bytes: u64,
}

/// What each stage took for the whole sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stages {
    /// Bytes read, or generated if there is no file.
    pub source_bytes: u64,
    /// Bytes in blocks, without what follows them on the disk.
    pub plain_bytes: u64,
    /// Sealed bytes at the first level.
    pub stored_bytes: u64,
    /// Reading; `None` for generated data.
    pub read: Option<Cost>,
    /// Checking TigerBeetle's checksums; `None` for other files.
    pub verify: Option<Cost>,
    /// Compressing, at each level.
    pub levels: Vec<LevelCost>,
    /// AES-256-GCM over the output of compressing at the first level.
    pub seal: Cost,
    /// SHA-256 of the sealed bytes.
    pub digest: Cost,
    /// Opening the sealed bytes.
    pub open: Cost,
    /// Expanding them.
    pub expand: Cost,
    /// Writing the plain bytes to a file; `None` without a folder for it.
    pub write: Option<Cost>,
}

impl Stages {
    /// CPU seconds of a stage per byte of the source.
    pub fn per_source_byte(&self, cost: &Cost) -> f64 {
        cost.cpu_seconds / self.source_bytes.max(1) as f64
    }

    /// Compression at the first level.
    pub fn compress(&self) -> LevelCost {
        self.levels.first().copied().unwrap_or(LevelCost { level: 0, cost: Cost::default(), stored_bytes: 0 })
    }

    /// CPU seconds of all local stages of a backup per byte of the source.
    pub fn backup_per_source_byte(&self) -> f64 {
        let local = [self.read, self.verify, Some(self.compress().cost), Some(self.seal), Some(self.digest)];
        local.iter().flatten().map(|cost| self.per_source_byte(cost)).sum()
    }

    /// CPU seconds of all local stages of a restore per byte of the source.
    pub fn restore_per_source_byte(&self) -> f64 {
        let local = [Some(self.open), Some(self.expand), self.verify, self.write];
        local.iter().flatten().map(|cost| self.per_source_byte(cost)).sum()
    }

    /// Sealed bytes per byte of the source.
    pub fn stored_share(&self) -> f64 {
        self.stored_bytes as f64 / self.source_bytes.max(1) as f64
    }
}

/// The buffers that stages write into.
#[derive(Default)]
struct Buffers {
    /// Frames at the first level, which are the input of the next stages.
    frames: Vec<(Packed, Vec<u8>)>,
    /// Frames at any other level.
    others: Vec<(Packed, Vec<u8>)>,
    /// An expanded piece.
    expanded: Vec<u8>,
}

/// Measures all stages over the sample.
///
/// # Errors
/// Those of the file, and [`Error::try_again`] where a running server changed the sample.
pub fn run(data: &mut Data, levels: &[i32], scratch: Option<&Path>, progress: &dyn Progress) -> Result<Stages> {
    let sealing = SealingKey::new(&Zeroizing::new(key::random()?)).ok_or_else(|| Error::bug("the library refused a 32-byte key"))?;
    let mut stages = Stages { levels: levels.iter().map(|level| empty_level(*level)).collect(), ..Stages::default() };
    let (mut read, mut verify) = (Cost::default(), Cost::default());
    let mut buffers = Buffers::default();
    let mut sink = scratch.map(Sink::create).transpose()?;
    progress.begin("each stage alone", Some(data.total_bytes()));
    loop {
        let mut window = data.next_window(&mut read)?;
        if window.is_empty() {
            break;
        }
        stages.source_bytes += bytes_of(&window);
        if data.is_checked() {
            let (bytes, count) = (bytes_of(&window), window.len());
            verify.of(bytes, || window.iter_mut().enumerate().try_for_each(|(number, piece)| data.check(number, count, piece)))?;
        }
        stages.plain_bytes += bytes_of(&window);
        stages.window(&window, &sealing, &mut buffers)?;
        if let Some(sink) = &mut sink {
            sink.write(&window)?;
        }
        progress.position(stages.source_bytes);
    }
    progress.end();
    stages.read = (read.bytes > 0).then_some(read);
    stages.verify = (verify.bytes > 0).then_some(verify);
    stages.write = sink.map(Sink::finish).transpose()?;
    Ok(stages)
}

fn empty_level(level: i32) -> LevelCost {
    LevelCost { level, cost: Cost::default(), stored_bytes: 0 }
}

fn bytes_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.as_ref().len() as u64).sum()
}

impl Stages {
    /// The stages between reading and sending, in both directions.
    fn window(&mut self, window: &[Piece], sealing: &SealingKey, buffers: &mut Buffers) -> Result<()> {
        let plain_bytes = bytes_of(window);
        let Buffers { frames, others, expanded } = buffers;
        for (number, level) in self.levels.iter_mut().enumerate() {
            let made = if number == 0 { &mut *frames } else { &mut *others };
            level.cost.of(plain_bytes, || compress_all(window, level.level, made))?;
            level.stored_bytes += made.iter().map(|(_, frame)| frame.len() as u64).sum::<u64>();
        }
        let packed_bytes = frames.iter().map(|(_, frame)| frame.len() as u64).sum();
        let sealed = self
            .seal
            .of(packed_bytes, || (0..).zip(&mut *frames).try_for_each(|(number, (_, frame))| sealing.seal(number, false, frame, 0)));
        sealed.map_err(|_| Error::bug("AES-GCM refused a frame"))?;
        let sealed_bytes = frames.iter().map(|(_, frame)| frame.len() as u64).sum();
        self.stored_bytes += sealed_bytes;
        self.digest.of(sealed_bytes, || {
            for (_, frame) in &*frames {
                std::hint::black_box(digest_of(frame));
            }
        });
        let opened = self.open.of(sealed_bytes, || {
            (0..).zip(&mut *frames).try_fold(Vec::new(), |mut opened, (number, (packed, frame))| {
                opened.push((*packed, sealing.open(number, false, frame).map_err(|_| Error::bug("a frame does not open again"))?));
                Ok::<_, Error>(opened)
            })
        })?;
        let largest = window.iter().map(|piece| piece.as_ref().len()).max().unwrap_or_default();
        expanded.resize(largest.max(expanded.len()), 0);
        self.expand.of(plain_bytes, || {
            opened
                .iter()
                .zip(window)
                .try_for_each(|((packed, frame), piece)| expand_as(frame, *packed, &mut expanded[..piece.as_ref().len()]))
        })
    }
}

/// Compresses each piece into the buffer of its number.
fn compress_all(window: &[Piece], level: i32, frames: &mut Vec<(Packed, Vec<u8>)>) -> Result<()> {
    frames.resize_with(window.len(), || (Packed { codec: Codec::Raw, record_bytes: 0 }, Vec::new()));
    for (piece, (packed, frame)) in window.iter().zip(frames) {
        let plain = piece.as_ref();
        frame.clear();
        frame.reserve(plain.len() + TAG_BYTES);
        let encoding = Encoding { level, record_bytes: record_bytes_of(plain) };
        *packed =
            compress::compress(plain, &encoding, frame).map_err(|error| Error::try_again(format!("zstd: {error}")).caused_by(error))?;
    }
    Ok(())
}

fn expand_as(frame: &[u8], packed: Packed, out: &mut [u8]) -> Result<()> {
    compress::expand_into(frame, packed.codec, packed.record_bytes, out).map_err(Error::bug)?;
    std::hint::black_box(out);
    Ok(())
}

/// A file that takes plain bytes and is removed afterwards.
struct Sink {
    place: WriteTarget,
    path: PathBuf,
    cost: Cost,
}

impl Sink {
    fn create(folder: &Path) -> Result<Sink> {
        let path = folder.join(format!("amber-bench-{:016x}", u64::from_le_bytes(key::random()?)));
        File::create_new(&path).map_err(|error| refused(&path, error))?;
        let place = WriteTarget::to_write(&path, WriteOptions::default()).map_err(|error| refused(&path, error))?;
        Ok(Sink { place, path, cost: Cost::default() })
    }

    fn write(&mut self, window: &[Piece]) -> Result<()> {
        let Sink { place, path, cost } = self;
        let mut offset = cost.bytes.next_multiple_of(SECTOR_BYTES);
        cost.of(bytes_of(window), || {
            for piece in window {
                // Whole sectors from the buffer that was read into, as a restore writes them past
                // the page cache.
                let sectors = piece.sectors();
                place.write(offset, sectors).map_err(|error| refused(path, error))?;
                offset += (sectors.len() as u64).next_multiple_of(SECTOR_BYTES);
            }
            Ok(())
        })
    }

    fn finish(mut self) -> Result<Cost> {
        let Sink { path, cost, .. } = &mut self;
        let file = File::open(&path).map_err(|error| refused(path, error))?;
        cost.of(0, || file.sync_data()).map_err(|error| refused(path, error))?;
        Ok(*cost)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // If the file cannot be removed now, its name still cannot be confused with any other file
        // in the user's folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn refused(path: &Path, error: std::io::Error) -> Error {
    Error::input(format!("{}: {error}: --scratch wants a folder that can be written to, with room for the sample", path.display()))
        .caused_by(error)
}
