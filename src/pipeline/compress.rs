//! Compression of one frame with zstd, and its bounded opposite.
//!
//! Flow: [`compress`] appends either the zstd form or, where that saves less than a sixteenth, the plain bytes themselves; the [`Codec`]
//! it returns goes into the object's index. [`expand`] writes into a buffer of exactly the size that the (authenticated) index promised, so
//! no stored byte can make it allocate more.

use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// How a frame's plain bytes are stored. The numbers are part of the format (FORMAT.md, "Frames").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec of a stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::Raw),
            1 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// The fastest level that Amber lets a user ask for: below it the ratio is no better than lz4's.
pub const LEVEL_MIN: i32 = -7;
/// The highest level: beyond it zstd needs more memory than Amber's budget allows per worker.
pub const LEVEL_MAX: i32 = 15;
/// Level 1 compresses ledger records 3.0 to 3.9 times at 0.73 to 0.81 GB/s per core; level 3 gains an eighth for a third more time.
pub const LEVEL_DEFAULT: i32 = 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends `plain` to `out`, compressed at `level` if that makes it at least a sixteenth smaller.
///
/// # Errors
/// Only where zstd cannot get memory.
pub fn compress(plain: &[u8], level: i32, out: &mut Vec<u8>) -> std::io::Result<Codec> {
    let worthwhile = plain.len() - plain.len() / 16;
    let start = out.len();
    let written = COMPRESSOR.with_borrow_mut(|slot| -> std::io::Result<Option<usize>> {
        if slot.as_ref().is_none_or(|(ready, _)| *ready != level) {
            *slot = Some((level, Compressor::new(level)?));
        }
        let Some((_, compressor)) = slot else { return Ok(None) };
        out.resize(start + worthwhile, 0);
        // The destination ends where compressing stops to pay, so zstd gives up early on what does not shrink.
        Ok(compressor.compress_to_buffer(plain, &mut out[start..]).ok())
    })?;
    match written {
        Some(length) if length < worthwhile => {
            out.truncate(start + length);
            Ok(Codec::Zstd)
        }
        _ => {
            out.truncate(start);
            out.extend_from_slice(plain);
            Ok(Codec::Raw)
        }
    }
}

/// Expands `stored` into exactly `plain_bytes` bytes.
///
/// # Errors
/// A sentence on what does not fit; the stored bytes are damaged then.
pub fn expand(stored: &[u8], codec: Codec, plain_bytes: usize) -> Result<Vec<u8>, String> {
    if codec == Codec::Raw {
        return if stored.len() == plain_bytes {
            Ok(stored.to_vec())
        } else {
            Err(format!("{} raw bytes where the index promises {plain_bytes}", stored.len()))
        };
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Decompressor::new().map_err(|error| error.to_string())?);
        }
        let Some(decompressor) = slot else { return Err("no zstd context".into()) };
        let mut plain = vec![0; plain_bytes];
        let length = decompressor.decompress_to_buffer(stored, &mut plain[..]).map_err(|error| format!("zstd: {error}"))?;
        if length == plain_bytes { Ok(plain) } else { Err(format!("expands to {length} bytes where the index promises {plain_bytes}")) }
    })
}

/// Expands `stored` into all of `out`. `record_bytes` belongs to codecs that know records.
///
/// # Errors
/// A sentence on what does not fit; the stored bytes are damaged then.
pub fn expand_into(stored: &[u8], codec: Codec, _record_bytes: u16, out: &mut [u8]) -> Result<(), String> {
    let promised = out.len();
    if codec == Codec::Raw {
        if stored.len() != promised {
            return Err(format!("{} raw bytes where the index promises {promised}", stored.len()));
        }
        out.copy_from_slice(stored);
        return Ok(());
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Decompressor::new().map_err(|error| error.to_string())?);
        }
        let Some(decompressor) = slot else { return Err("no zstd context".into()) };
        let length = decompressor.decompress_to_buffer(stored, out).map_err(|error| format!("zstd: {error}"))?;
        if length == promised { Ok(()) } else { Err(format!("expands to {length} bytes where the index promises {promised}")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect()
    }

    #[test]
    fn there_and_back_for_all_shapes() {
        for plain in [vec![], vec![7; 1], vec![0; 524_288], noise(524_288), b"transfer ".repeat(5000), noise(15)] {
            for level in [LEVEL_MIN, LEVEL_DEFAULT, 3] {
                let mut out = b"before".to_vec();
                let codec = compress(&plain, level, &mut out).unwrap();
                assert_eq!(&out[..6], b"before");
                assert_eq!(expand(&out[6..], codec, plain.len()).unwrap(), plain);
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let mut out = Vec::new();
        assert_eq!(compress(&noise(100_000), 1, &mut out).unwrap(), Codec::Raw);
        assert_eq!(out.len(), 100_000);
        out.clear();
        assert_eq!(compress(&[0; 100_000], 1, &mut out).unwrap(), Codec::Zstd);
        assert!(out.len() < 100);
    }

    #[test]
    fn a_wrong_promise_is_refused() {
        let mut out = Vec::new();
        let codec = compress(&[5; 10_000], 1, &mut out).unwrap();
        assert!(expand(&out, codec, 9_999).is_err());
        assert!(expand(&out, codec, 10_001).is_err());
        assert!(expand(&out[..out.len() - 1], codec, 10_000).is_err());
        assert!(expand(b"abc", Codec::Raw, 4).is_err());
    }

    #[test]
    fn codec_numbers_are_the_formats() {
        assert_eq!(Codec::from_number(Codec::Raw as u8), Some(Codec::Raw));
        assert_eq!(Codec::from_number(Codec::Zstd as u8), Some(Codec::Zstd));
        assert_eq!(Codec::from_number(2), None);
    }
}
