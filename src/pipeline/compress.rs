//! Compression of one frame, and its bounded opposite.
//!
//! Flow of [`compress`]: a frame of zeros is recognised first and costs nothing to store. Of a
//! frame of some size a few samples are tried (`probe`). If no sample shrinks, the frame is stored
//! raw ([`Codec::Raw`]) without a full try; if some shrink and many do not, it gets entropy coding
//! alone. Records of a known size are turned into columns ([`super::transpose`]) in a buffer that
//! the thread keeps. One zstd frame of the result is written straight into the room after `out`'s
//! end. [`shrink`] does the same for callers that can seal the plain bytes where they lie. The
//! [`Packed`] that they return goes into the object's index.
//!
//! [`expand_into`] writes into a buffer of exactly the size that the (authenticated) index
//! promised, so stored bytes can never make it allocate more.
//!
//! Records of a known size are always turned into columns: over all blocks of a data file that took
//! 0.66 CPU-s per GiB instead of 1.67 at level 1 and stored 19 % less, and every tree took less CPU
//! (perf/results/codec.md). The few blocks that come out larger, 5 of 1844 by 5 to 17 %, are not
//! worth compressing samples of every block both ways.

use super::probe::{self, PROBED_BYTES_MIN, Worth};
use super::transpose::{self, HEAD_BYTES, RECORD_BYTES_MAX};
use std::cell::RefCell;
use std::io::{Cursor, Result as IoResult};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, ParamSwitch};

/// How a frame's plain bytes are stored. The numbers are part of the format (FORMAT.md, "Frames").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// The bytes as they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
    /// One zstd frame of the bytes with their records turned into columns.
    Transposed = 2,
    /// Not at all: every byte is zero.
    Zeros = 3,
}

impl Codec {
    /// The codec of a stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Zstd),
            2 => Some(Codec::Transposed),
            3 => Some(Codec::Zeros),
            _ => None,
        }
    }

    /// Whether an index may name records of `record_bytes` beside it: a size for
    /// [`Codec::Transposed`], 0 for every other.
    pub fn goes_with(self, record_bytes: u16) -> bool {
        if self == Codec::Transposed { (1..=RECORD_BYTES_MAX).contains(&record_bytes) } else { record_bytes == 0 }
    }
}

/// How a frame is to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// zstd's level, [`LEVEL_MIN`] to [`LEVEL_MAX`].
    pub level: i32,
    /// The size of the records after the frame's first 256 bytes, if it has records. Beyond
    /// [`RECORD_BYTES_MAX`] or 0 means none.
    pub record_bytes: Option<u16>,
}

/// How a frame was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Its codec.
    pub codec: Codec,
    /// The record size of [`Codec::Transposed`], 0 otherwise.
    pub record_bytes: u16,
}

/// The fastest level that Amber lets a user ask for: below it the ratio is no better than lz4's.
pub const LEVEL_MIN: i32 = -7;
/// The highest level: beyond it zstd needs more memory than Amber's budget allows per worker.
pub const LEVEL_MAX: i32 = 15;
/// A smaller frame is stored raw: what zstd could save is less than its own header.
const TRIED_BYTES_MIN: usize = 64;
/// Increased with every change after which the same plain bytes may be stored differently. An
/// upload that was begun before such a change is not resumed, because no nonce may seal two
/// contents. A test checks what this version makes.
pub const ENCODER_VERSION: u32 = 2;

/// The level at which zstd hardly searches for what repeats.
const ENTROPY_ONLY_LEVEL: i32 = -100;
/// Entropy coding has one table of symbols for this many bytes. In data that changes every 64 KiB,
/// twice as many would store 3 % more.
const ENTROPY_ONLY_BLOCK_BYTES: u32 = 64 * 1024;

/// How zstd is asked to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    Level(i32),
    EntropyOnly,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<(Effort, Compressor<'static>)>> = const { RefCell::new(None) };
    /// A separate compressor, because frames of both kinds alternate.
    static ENTROPY_ONLY: RefCell<Option<(Effort, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    /// Room for a frame's columns. It only grows, up to the largest frame that the thread has met,
    /// so it is zeroed once and not for each frame.
    static COLUMNS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Appends `plain` to `out` in the form that pays: compressed if that makes it at least a sixteenth
/// smaller, otherwise raw.
///
/// # Errors
/// Only where zstd cannot get memory.
pub fn compress(plain: &[u8], encoding: &Encoding, out: &mut Vec<u8>) -> IoResult<Packed> {
    if let Some(packed) = shrink(plain, encoding, out)? {
        return Ok(packed);
    }
    out.extend_from_slice(plain);
    Ok(Packed { codec: Codec::Raw, record_bytes: 0 })
}

/// Appends `plain` to `out` if it gets at least a sixteenth smaller; otherwise returns `None`, and
/// `out` is as it was.
///
/// # Errors
/// Only where zstd cannot get memory.
pub fn shrink(plain: &[u8], encoding: &Encoding, out: &mut Vec<u8>) -> IoResult<Option<Packed>> {
    if !plain.is_empty() && all_zero(plain) {
        return Ok(Some(Packed { codec: Codec::Zeros, record_bytes: 0 }));
    }
    let known = |size: &u16| (2..=RECORD_BYTES_MAX).contains(size) && plain.len() >= HEAD_BYTES + 2 * usize::from(*size);
    let record_bytes = encoding.record_bytes.filter(known).unwrap_or(0);
    let is_probed = plain.len() >= PROBED_BYTES_MIN;
    let worth = if is_probed { probe::worth(plain, encoding.level, usize::from(record_bytes))? } else { Worth::Level };
    let effort = match worth {
        Worth::Nothing => return Ok(None),
        Worth::EntropyOnly => Effort::EntropyOnly,
        Worth::Level => Effort::Level(encoding.level),
    };
    if record_bytes == 0 {
        let shrunk = shrink_with_zstd(plain, effort, out)?;
        return Ok(shrunk.then_some(Packed { codec: Codec::Zstd, record_bytes }));
    }
    let shrunk = with_columns(plain.len(), |columns| {
        transpose::to_columns(plain, usize::from(record_bytes), columns);
        shrink_with_zstd(columns, effort, out)
    })?;
    Ok(shrunk.then_some(Packed { codec: Codec::Transposed, record_bytes }))
}

/// Appends `plain` to `out` with [`Codec::Raw`] or [`Codec::Zstd`], the codecs that an index may
/// use.
///
/// # Errors
/// Only where zstd cannot get memory.
pub fn compress_index(plain: &[u8], level: i32, out: &mut Vec<u8>) -> IoResult<Packed> {
    let shrunk = shrink_with_zstd(plain, Effort::Level(level), out)?;
    if !shrunk {
        out.extend_from_slice(plain);
    }
    Ok(Packed { codec: if shrunk { Codec::Zstd } else { Codec::Raw }, record_bytes: 0 })
}

/// Appends the zstd form if it is at least a sixteenth smaller. Otherwise `out` is as it was.
fn shrink_with_zstd(plain: &[u8], effort: Effort, out: &mut Vec<u8>) -> IoResult<bool> {
    if plain.len() < TRIED_BYTES_MIN {
        return Ok(false);
    }
    let worthwhile = plain.len() - plain.len() / 16;
    let start = out.len();
    // zstd writes after the vector's end, into room that was not zeroed. If that room is no larger
    // than this, zstd gives up on what does not shrink.
    out.reserve(worthwhile);
    let written = with_compressor(effort, |compressor| {
        let mut room = Cursor::new(&mut *out);
        room.set_position(start as u64);
        compressor.compress_to_buffer(plain, &mut room).ok()
    })?;
    let shrunk = written.flatten().is_some_and(|length| length < worthwhile);
    if !shrunk {
        out.truncate(start);
    }
    Ok(shrunk)
}

fn with_compressor<T>(effort: Effort, task: impl FnOnce(&mut Compressor<'static>) -> T) -> IoResult<Option<T>> {
    let kept = if effort == Effort::EntropyOnly { &ENTROPY_ONLY } else { &COMPRESSOR };
    kept.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(ready, _)| *ready != effort) {
            *slot = Some((effort, compressor(effort)?));
        }
        Ok(slot.as_mut().map(|(_, compressor)| task(compressor)))
    })
}

fn compressor(effort: Effort) -> IoResult<Compressor<'static>> {
    let Effort::Level(level) = effort else {
        let mut compressor = Compressor::new(ENTROPY_ONLY_LEVEL)?;
        compressor.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        compressor.set_parameter(CParameter::MaxBlockSize(ENTROPY_ONLY_BLOCK_BYTES))?;
        return Ok(compressor);
    };
    Compressor::new(level)
}

fn with_columns<T>(length: usize, task: impl FnOnce(&mut [u8]) -> T) -> T {
    COLUMNS.with_borrow_mut(|columns| {
        if columns.len() < length {
            columns.resize(length, 0);
        }
        task(&mut columns[..length])
    })
}

fn all_zero(bytes: &[u8]) -> bool {
    // In strides, so that the compiler compares vectors; most frames that are not zeros are
    // recognised by the first stride.
    bytes.chunks(1024).all(|stride| stride.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// Expands `stored` into exactly `plain_bytes` bytes. `record_bytes` is that of the index.
///
/// # Errors
/// A sentence on what does not match; the stored bytes are damaged then.
pub fn expand(stored: &[u8], codec: Codec, record_bytes: u16, plain_bytes: usize) -> Result<Vec<u8>, String> {
    if codec == Codec::Raw && stored.len() == plain_bytes {
        return Ok(stored.to_vec());
    }
    let mut plain = vec![0; plain_bytes];
    expand_into(stored, codec, record_bytes, &mut plain)?;
    Ok(plain)
}

/// Expands `stored` into all of `out`. After an error `out` holds bytes without meaning.
///
/// # Errors
/// A sentence on what does not match; the stored bytes are damaged then.
pub fn expand_into(stored: &[u8], codec: Codec, record_bytes: u16, out: &mut [u8]) -> Result<(), String> {
    if !codec.goes_with(record_bytes) {
        return Err(format!("records of {record_bytes} bytes do not go with its codec"));
    }
    match codec {
        Codec::Raw if stored.len() == out.len() => {
            out.copy_from_slice(stored);
            Ok(())
        }
        Codec::Raw => Err(format!("{} raw bytes where the index promises {}", stored.len(), out.len())),
        Codec::Zeros if stored.is_empty() => {
            out.fill(0);
            Ok(())
        }
        Codec::Zeros => Err(format!("{} stored bytes where there are only zeros", stored.len())),
        Codec::Zstd => expand_zstd(stored, out),
        Codec::Transposed => with_columns(out.len(), |columns| {
            expand_zstd(stored, columns)?;
            transpose::to_records(columns, usize::from(record_bytes), out);
            Ok(())
        }),
    }
}

fn expand_zstd(stored: &[u8], out: &mut [u8]) -> Result<(), String> {
    // The library would continue with a second frame after the first; the format allows only one.
    if zstd::zstd_safe::find_frame_compressed_size(stored) != Ok(stored.len()) {
        return Err("its bytes are not exactly one zstd frame".into());
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Decompressor::new().map_err(|error| error.to_string())?);
        }
        let Some(decompressor) = slot else { return Err("no zstd context".into()) };
        let length = decompressor.decompress_to_buffer(stored, out).map_err(|error| format!("zstd: {error}"))?;
        if length == out.len() { Ok(()) } else { Err(format!("expands to {length} bytes where the index promises {}", out.len())) }
    })
}

#[cfg(test)]
pub(super) mod tests;
