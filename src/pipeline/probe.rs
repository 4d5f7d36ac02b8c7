//! Finds out from a few samples what compressing a frame is worth, at a fraction of the cost of
//! compressing it.
//!
//! Flow: samples are taken from all over the frame, in no order that it could have itself, and each
//! is compressed by itself. If the first few all shrink, the frame is [`Worth::Level`], and the
//! rest is not examined. If none shrinks it is [`Worth::Nothing`]. If a third or more of a frame
//! does not shrink, it is [`Worth::EntropyOnly`]: searching for what repeats would take most of the
//! CPU time and save little in all. On 64 KiB of text and 64 KiB of random bytes in turn, level 1
//! takes three times as long as entropy coding to store 12 % less; on machine code, where nearly
//! every sample shrinks, it would store 35 % less (perf/results/codec.md). A user who asks for more
//! than the default level wants small objects and gets them: then any sample that shrinks is
//! enough. The same holds for records, which compress well wherever they are.

use super::transpose::{self, HEAD_BYTES};
use crate::pipeline::level::LEVEL_DEFAULT;
use std::cell::RefCell;
use std::io::Result as IoResult;
use zstd::bulk::Compressor;

/// A smaller frame is compressed completely to see: samples would cost nearly as much.
pub(super) const PROBED_BYTES_MIN: usize = 64 * 1024;
/// A smaller frame is compressed as asked as soon as one sample shrinks: to examine more samples
/// would cost a noticeable part of that.
const WEIGHED_BYTES_MIN: usize = 512 * 1024;
/// Bytes of a sample.
pub(super) const SAMPLE_BYTES: usize = 2048;
/// There is one sample for this many bytes, and never fewer than [`SAMPLES_MIN`].
const SAMPLED_BYTES: usize = 64 * 1024;
/// Odd, because a stride of a ninth has no period in common with powers of two. With this many
/// samples, one sample that shrinks is enough.
const SAMPLES_MIN: usize = 9;
/// If this many samples shrink and none does not, no more of the frame is examined.
const SAMPLES_AGREED: usize = 5;

thread_local! {
    /// A separate compressor for samples, so that the tables of the other keep their size.
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
}

/// What compressing a frame is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Nothing: not even a try.
    Nothing,
    /// The cheapest compression there is.
    EntropyOnly,
    /// The level that the user asks for.
    Level,
}

/// Examines samples of a frame of at least [`PROBED_BYTES_MIN`] bytes. `record_bytes` is 0 for a
/// frame without records.
///
/// # Errors
/// Only where zstd cannot get memory.
pub(super) fn worth(plain: &[u8], level: i32, record_bytes: usize) -> IoResult<Worth> {
    let is_weighed = record_bytes == 0 && level <= LEVEL_DEFAULT && plain.len() >= WEIGHED_BYTES_MIN;
    let (mut shrunk, mut seen) = (0, 0);
    for offset in sample_offsets(plain.len()) {
        seen += 1;
        shrunk += usize::from(sample_shrinks(plain, offset, level, record_bytes)?);
        let is_decided = if is_weighed { shrunk == seen && seen >= SAMPLES_AGREED || seen >= SAMPLES_MIN } else { true };
        if shrunk > 0 && is_decided {
            break;
        }
    }
    Ok(match shrunk {
        0 => Worth::Nothing,
        _ if is_weighed && (seen - shrunk) * 3 >= seen => Worth::EntropyOnly,
        _ => Worth::Level,
    })
}

/// Where the samples of a frame of `length` bytes begin. `length` is at least [`PROBED_BYTES_MIN`].
/// The frame is divided into as many equal strata as there are samples. The position in a stratum
/// moves by the golden ratio, so that the samples share no period with data that alternates. The
/// strata are visited in strides of the golden ratio, too, so that the samples come from all over
/// the frame, however few are examined.
pub(super) fn sample_offsets(length: usize) -> impl Iterator<Item = usize> {
    let samples = (length / SAMPLED_BYTES).max(SAMPLES_MIN) | 1;
    let stratum = length / samples;
    let room = stratum.saturating_sub(SAMPLE_BYTES);
    // 40 503 / 65 536 is the golden ratio's fraction. A stride without a common factor gives every
    // stratum its turn.
    let stride = (samples * 25_033 / 65_536..).find(|stride| has_no_common_factor(*stride, samples)).unwrap_or(1);
    let strata = (0..samples).map(move |turn| turn * stride % samples);
    strata.map(move |sample| sample * stratum + ((sample + 1) * 40_503 % 65_536) * room / 65_536)
}

fn has_no_common_factor(one: usize, other: usize) -> bool {
    if other == 0 { one == 1 } else { has_no_common_factor(other, one % other) }
}

/// Whether the sample at this offset gets at least a sixteenth smaller.
fn sample_shrinks(plain: &[u8], offset: usize, level: i32, record_bytes: usize) -> IoResult<bool> {
    let mut columns = [0; SAMPLE_BYTES];
    let mut packed = [0; SAMPLE_BYTES - SAMPLE_BYTES / 16];
    let mut sample = &plain[offset..offset + SAMPLE_BYTES];
    if record_bytes != 0 {
        // From the beginning of a record, unless the sample would be too short.
        let begin = offset.saturating_sub(HEAD_BYTES).next_multiple_of(record_bytes) + HEAD_BYTES;
        let records = SAMPLE_BYTES - SAMPLE_BYTES % record_bytes;
        if let Some(aligned) = plain.get(begin..begin + records) {
            transpose::records_to_columns(aligned, record_bytes, &mut columns[..records]);
            sample = &columns[..records];
        }
    }
    let room = sample.len() - sample.len() / 16;
    COMPRESSOR.with_borrow_mut(|slot| {
        let level = level.min(1);
        if slot.as_ref().is_none_or(|(ready, _)| *ready != level) {
            *slot = Some((level, Compressor::new(level)?));
        }
        Ok(slot.as_mut().is_some_and(|(_, compressor)| compressor.compress_to_buffer(sample, &mut packed[..room]).is_ok()))
    })
}

#[cfg(test)]
mod tests;
