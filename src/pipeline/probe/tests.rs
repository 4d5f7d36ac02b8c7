use super::*;
use crate::pipeline::compress::tests::{noise, text};

#[test]
fn samples_meet_both_sides_of_whatever_alternates() {
    for length in (PROBED_BYTES_MIN..1 << 20).step_by(20_000).chain((1 << 20..=8 << 20).step_by(512 * 1024)) {
        let offsets: Vec<usize> = sample_offsets(length).collect();
        assert!(offsets.iter().all(|offset| offset + SAMPLE_BYTES <= length));
        assert!(offsets.len() * SAMPLE_BYTES <= length / 2);
        for period in [64 * 1024, 128 * 1024, 128_000, 256 * 1024, 1 << 20] {
            let sides: Vec<bool> = offsets.iter().map(|offset| offset % period < period / 2).collect();
            let both = sides.contains(&true) && sides.contains(&false);
            assert!(both || length < 2 * period, "{length} bytes, period {period}: {offsets:?}");
        }
    }
}

/// Text and random bytes in turn, 64 KiB of each, beginning this far into the first.
fn alternating(first: usize, random: &[u8], words: &[u8]) -> Vec<u8> {
    let mut frame = words.to_vec();
    for (at, byte) in frame.iter_mut().enumerate().filter(|(at, _)| (at + first) >> 16 & 1 == 0) {
        *byte = random[at];
    }
    frame
}

#[test]
fn every_stratum_has_its_turn() {
    for length in [PROBED_BYTES_MIN, 512 * 1024, 1 << 20, 8 << 20] {
        let mut offsets: Vec<usize> = sample_offsets(length).collect();
        let first = offsets.clone();
        offsets.sort_unstable();
        let stratum = length / offsets.len();
        assert!(offsets.iter().enumerate().all(|(number, offset)| offset / stratum == number), "{length}: {offsets:?}");
        // The first five samples cover at least four of the fifths.
        let fifths: std::collections::BTreeSet<usize> = first[..5].iter().map(|offset| offset / (length / 5)).collect();
        assert!(fifths.len() >= 4, "{length}: {first:?}");
    }
}

#[test]
fn a_frame_is_worth_what_its_samples_say() {
    for length in [PROBED_BYTES_MIN, 512 * 1024, 1 << 20, 8 << 20] {
        assert_eq!(worth(&noise(length), 1, 0).unwrap(), Worth::Nothing);
        assert_eq!(worth(&noise(length), 1, 128).unwrap(), Worth::Nothing);
        assert_eq!(worth(&text(length), 1, 0).unwrap(), Worth::Level);
        // A seventh of noise does not change that, wherever it is.
        for begin in [0, length / 2, length - length / 7] {
            let mut some = text(length);
            some[begin..begin + length / 7].copy_from_slice(&noise(length / 7));
            assert_eq!(worth(&some, 1, 0).unwrap(), Worth::Level, "{length} bytes with noise at {begin}");
        }
    }
}

#[test]
fn a_mixed_frame_gets_entropy_coding_unless_more_is_asked_for() {
    let mut misjudged = 0;
    for length in [512 * 1024, 1 << 20, 8 << 20] {
        let (random, words) = (noise(length), text(length));
        for first in (0..128 * 1024).step_by(4 * 1024) {
            let frame = alternating(first, &random, &words);
            misjudged += usize::from(worth(&frame, 1, 0).unwrap() != Worth::EntropyOnly);
            assert_eq!(worth(&frame, 2, 0).unwrap(), Worth::Level);
            let short = &frame[..256 * 1024];
            assert_eq!(worth(short, 1, 0).unwrap(), Worth::Level, "too short to be weighed");
        }
        // Most of it is noise, but not all.
        let mut rare = random;
        rare[length / 2..length / 2 + length / 4].copy_from_slice(&words[..length / 4]);
        assert_eq!(worth(&rare, 1, 0).unwrap(), Worth::EntropyOnly);
    }
    // Nine samples of 512 KiB are nearly in step with 128 KiB: from some starting points they meet
    // too little noise.
    assert!(misjudged <= 16, "{misjudged} of 96");
}
