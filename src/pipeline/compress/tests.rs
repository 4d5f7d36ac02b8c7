use super::*;
use crate::pipeline::level::LEVEL_DEFAULT;
use crate::pipeline::transpose::naive;
use proptest::prelude::*;

const PLAIN: Encoding = Encoding { level: 1, record_bytes: None };

pub(in crate::pipeline) fn noise(length: usize) -> Vec<u8> {
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

pub(in crate::pipeline) fn text(length: usize) -> Vec<u8> {
    let words = noise(length);
    words
        .iter()
        .flat_map(|byte| [&b"debit "[..], b"credit ", b"ledger ", b"pending "][usize::from(byte % 4)])
        .copied()
        .take(length)
        .collect()
}

/// Records with random ids, a rising timestamp, small amounts and padding.
fn ledger(record_bytes: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let random = noise(length);
    for (number, record) in bytes[HEAD_BYTES..].chunks_mut(record_bytes).enumerate() {
        let fields = [&random[number * 8..number * 8 + 8], &(1_700_000_000_000_000_000 + number as u64 * 7).to_le_bytes()].concat();
        record.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
    }
    bytes[..HEAD_BYTES].copy_from_slice(&random[..HEAD_BYTES]);
    bytes
}

fn pack(plain: &[u8], encoding: &Encoding) -> (Packed, Vec<u8>) {
    let mut out = b"before".to_vec();
    let packed = compress(plain, encoding, &mut out).unwrap();
    assert_eq!(&out[..6], b"before");
    let stored = out.split_off(6);
    let mut again = vec![0xee; plain.len()];
    expand_into(&stored, packed.codec, packed.record_bytes, &mut again).unwrap();
    assert!(again == plain);
    assert!(expand(&stored, packed.codec, packed.record_bytes, plain.len()).unwrap() == plain);
    (packed, stored)
}

fn codec_of(plain: &[u8], record_bytes: Option<u16>) -> Codec {
    pack(plain, &Encoding { level: 1, record_bytes }).0.codec
}

#[test]
fn there_and_back_for_all_shapes() {
    let shapes = [vec![], vec![7; 1], vec![0; 524_288], noise(524_288), text(50_000), noise(15), ledger(128, 524_256), ledger(32, 3000)];
    for plain in shapes {
        for level in [LEVEL_MIN, LEVEL_DEFAULT, 3] {
            for record_bytes in [None, Some(0), Some(1), Some(32), Some(128), Some(RECORD_BYTES_MAX), Some(RECORD_BYTES_MAX + 1)] {
                pack(&plain, &Encoding { level, record_bytes });
            }
        }
    }
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    for length in [1, 4000, 65_535, 65_536, 524_288, 1_000_000] {
        for record_bytes in [None, Some(128)] {
            assert_eq!(codec_of(&noise(length), record_bytes), Codec::Raw);
            let mut out = b"before".to_vec();
            assert_eq!(shrink(&noise(length), &Encoding { level: 1, record_bytes }, &mut out).unwrap(), None);
            assert_eq!(out, b"before");
        }
    }
    assert_eq!(codec_of(&text(100_000), None), Codec::Zstd);
}

#[test]
fn zeros_store_nothing() {
    for length in [1, 1023, 1024, 1025, 524_288] {
        let (packed, stored) = pack(&vec![0; length], &Encoding { level: 1, record_bytes: Some(128) });
        assert_eq!((packed, stored.len()), (Packed { codec: Codec::Zeros, record_bytes: 0 }, 0));
        let mut nearly = vec![0; length];
        nearly[length - 1] = 1;
        assert_ne!(codec_of(&nearly, None), Codec::Zeros);
    }
}

#[test]
fn records_become_columns_where_there_are_some() {
    let (packed, stored) = pack(&ledger(128, 524_256), &Encoding { level: 1, record_bytes: Some(128) });
    assert_eq!(packed, Packed { codec: Codec::Transposed, record_bytes: 128 });
    let rows = pack(&ledger(128, 524_256), &PLAIN).1;
    assert!(stored.len() * 10 < rows.len() * 9, "{} as columns, {} as rows", stored.len(), rows.len());
    // What is stored is one zstd frame of the columns that the format defines.
    assert!(zstd::bulk::decompress(&stored, 524_256).unwrap() == naive(&ledger(128, 524_256), 128));
    // A single record, or no record size that an index could name.
    assert_eq!(codec_of(&[&[7; 200][..], &[9; 200]].concat(), Some(128)), Codec::Zstd);
    assert_eq!(codec_of(&ledger(128, 10_000), Some(RECORD_BYTES_MAX + 1)), Codec::Zstd);
}

#[test]
fn half_compressible_frames_and_ledger_blocks_are_not_taken_for_noise() {
    let alternating = |first: usize| -> Vec<u8> {
        let (random, words) = (noise(1 << 20), text(1 << 20));
        (0..1 << 20).map(|at| if (at + first) >> 16 & 1 == 0 { random[at] } else { words[at] }).collect()
    };
    for first in (0..128 * 1024).step_by(8 * 1024) {
        for length in [256 * 1024, 512 * 1024, 640 * 1024, 1 << 20] {
            assert_eq!(codec_of(&alternating(first)[..length], None), Codec::Zstd, "{length} bytes from {first}");
        }
    }
    for record_bytes in [16, 32, 128, 256] {
        assert_eq!(codec_of(&ledger(record_bytes, 524_256), Some(record_bytes as u16)), Codec::Transposed);
        assert_eq!(codec_of(&ledger(record_bytes, 70_000), Some(record_bytes as u16)), Codec::Transposed);
    }
}

/// An upload that is resumed seals its frames again under the nonces that they had. So the same
/// plain bytes must become the same stored bytes, or [`ENCODER_VERSION`] must change.
#[test]
fn an_encoder_of_one_version_makes_the_same_bytes() {
    let mixed: Vec<u8> =
        text(1 << 20).chunks(1 << 16).zip(noise(1 << 20).chunks(1 << 16)).flat_map(|(one, other)| [one, other].concat()).collect();
    let mut all = Vec::new();
    for (plain, record_bytes) in
        [(text(600_000), None), (mixed, None), (ledger(128, 524_256), Some(128)), (ledger(16, 70_000), Some(16)), (noise(4096), None)]
    {
        for level in [LEVEL_MIN, LEVEL_DEFAULT, 3] {
            let (packed, stored) = pack(&plain, &Encoding { level, record_bytes });
            all.push(packed.codec as u8);
            all.extend(stored);
        }
    }
    let digest: String = crate::pipeline::digest::digest_of(&all).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((ENCODER_VERSION, digest.as_str()), (2, "bb593036c8fbe5c0a914fee3eb4355156758482005da0e7e13274049d2e4f4dd"));
}

#[test]
fn a_second_frame_behind_the_first_is_refused() {
    let (packed, stored) = pack(&[5; 10_000], &PLAIN);
    assert_eq!(packed.codec, Codec::Zstd);
    let twice = [stored.clone(), stored.clone()].concat();
    assert!(expand(&twice, Codec::Zstd, 0, 20_000).unwrap_err().contains("exactly one zstd frame"));
    assert!(expand(&[&stored[..], &[0]].concat(), Codec::Zstd, 0, 10_000).is_err());
    assert!(expand(&[], Codec::Zstd, 0, 0).is_err());
}

#[test]
fn a_wrong_promise_is_refused() {
    let encoding = Encoding { level: 1, record_bytes: Some(32) };
    for plain in [vec![5; 10_000], ledger(32, 10_000)] {
        let (Packed { codec, record_bytes }, stored) = pack(&plain, &encoding);
        for wrong in [0, 9_999, 10_001] {
            assert!(expand(&stored, codec, record_bytes, wrong).is_err());
        }
        assert!(expand(&stored[..stored.len() - 1], codec, record_bytes, 10_000).is_err());
        for wrong in [0, RECORD_BYTES_MAX + 1, u16::MAX] {
            assert!(expand(&stored, Codec::Transposed, wrong, 10_000).unwrap_err().contains("do not go with"));
        }
        assert!(expand(&stored, Codec::Zstd, 32, 10_000).unwrap_err().contains("do not go with"));
    }
    assert!(expand(b"abc", Codec::Raw, 0, 4).is_err());
    assert!(expand(b"abc", Codec::Raw, 0, 2).is_err());
    assert!(expand(b"", Codec::Zeros, 1, 2).is_err());
    assert!(expand(b"a", Codec::Zeros, 0, 1).is_err());
    assert_eq!(expand(b"", Codec::Zeros, 0, 3).unwrap(), [0; 3]);
}

#[test]
fn an_index_is_raw_or_zstd() {
    for (plain, codec) in [(vec![0; 8], Codec::Raw), (vec![0; 1000], Codec::Zstd), (noise(1000), Codec::Raw)] {
        let mut out = Vec::new();
        assert_eq!(compress_index(&plain, 1, &mut out).unwrap(), Packed { codec, record_bytes: 0 });
        assert_eq!(expand(&out, codec, 0, plain.len()).unwrap(), plain);
    }
}

#[test]
fn codec_numbers_are_the_formats() {
    for (number, codec) in (0..).zip([Codec::Raw, Codec::Zstd, Codec::Transposed, Codec::Zeros]) {
        assert_eq!((Codec::from_number(number), codec as u8), (Some(codec), number));
        assert_eq!(
            [0, 1, 4096, 4097].map(|size| codec.goes_with(size)),
            if number == 2 { [false, true, true, false] } else { [true, false, false, false] }
        );
    }
    assert_eq!(Codec::from_number(4), None);
}

proptest! {
    #[test]
    fn hostile_bytes_fill_the_buffer_or_are_refused(stored in prop::collection::vec(any::<u8>(), 0..300), tame in any::<bool>(), number in 0_u8..4, record_bytes in any::<u16>(), length in 0_usize..4000) {
        // A tame input begins as a zstd frame does.
        let stored = if tame { [&0xfd2f_b528_u32.to_le_bytes()[..], &stored].concat() } else { stored };
        let codec = Codec::from_number(number).unwrap();
        let record_bytes = if codec == Codec::Transposed { record_bytes % 5000 } else { record_bytes % 2 };
        let mut out = vec![0; length];
        if expand_into(&stored, codec, record_bytes, &mut out).is_ok() {
            prop_assert!(codec.goes_with(record_bytes));
            prop_assert_eq!(expand(&stored, codec, record_bytes, length).unwrap(), out);
        }
    }
}
