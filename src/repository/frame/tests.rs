use super::{
    Encoding, FRAME_PLAIN_BYTES_MAX, FRAMES_MAX, FrameRow, INDEX_NUMBER, INDEX_PLAIN_BYTES_MAX, Index, OBJECT_HEADER_BYTES, ObjectKind,
    TRAILER_BYTES, Trailer,
};
use crate::error::Kind;
use crate::pipeline::compress::Codec;
use crate::pipeline::seal::TAG_BYTES;
use crate::repository::frame;
use crate::repository::key::RepositoryKey;
use proptest::prelude::*;

const PLAIN: Encoding = Encoding { level: 1, record_bytes: None };

fn row(stored_bytes: u32, plain_bytes: u32) -> FrameRow {
    FrameRow { stored_bytes, plain_bytes, codec: Codec::Zstd, record_bytes: 0 }
}

#[test]
fn an_index_beyond_its_bounds_is_refused() {
    let encode = |frames: usize, entries: usize| Index { frames: vec![row(1, 1); frames], entries: vec![0; entries] }.encode();
    assert!(encode(FRAMES_MAX as usize, 0).is_ok());
    assert_eq!(encode(FRAMES_MAX as usize + 1, 0).unwrap_err().kind, Kind::Bug);
    assert!(encode(0, INDEX_PLAIN_BYTES_MAX - 8).is_ok());
    assert_eq!(encode(0, INDEX_PLAIN_BYTES_MAX - 7).unwrap_err().kind, Kind::Bug);
    let too_many = [&(FRAMES_MAX + 1).to_le_bytes()[..], &[0; 4], &vec![0; (FRAMES_MAX as usize + 1) * 12]].concat();
    assert_eq!(Index::decode(&too_many, 2), None);
    for beyond in [row(1, FRAME_PLAIN_BYTES_MAX as u32 + 1), row((FRAME_PLAIN_BYTES_MAX + TAG_BYTES) as u32 + 1, 1)] {
        assert_eq!(Index::decode(&Index { frames: vec![beyond], entries: Vec::new() }.encode().unwrap(), 2), None);
    }
}

#[test]
fn a_frame_larger_than_any_is_a_bug_of_ours() {
    let key = RepositoryKey::generate().unwrap();
    let (_, sealing) = frame::new_object(&key, ObjectKind::Pack, "x").unwrap();
    let error = frame::seal_frame(&sealing, 0, false, &vec![0; INDEX_PLAIN_BYTES_MAX + 1], &PLAIN).unwrap_err();
    assert_eq!(error.kind, Kind::Bug);
}

#[test]
fn a_frame_opens_only_in_its_place() {
    let key = RepositoryKey::generate().unwrap();
    let (header, sealing) = frame::new_object(&key, ObjectKind::Pack, "a/name").unwrap();
    let (sealed, row) = frame::seal_frame(&sealing, 3, false, &[7; 1000], &PLAIN).unwrap();
    let open =
        |sealing: &_, number, last, sealed: &[u8], row| frame::open_frame(sealing, number, last, &mut sealed.to_vec(), row, "a/name");
    let same = frame::key_of_object(&key, ObjectKind::Pack, "a/name", &header).unwrap().sealing;
    assert_eq!(open(&same, 3, false, &sealed, &row).unwrap(), [7; 1000]);
    let message = |error: crate::error::Error| {
        assert_eq!(error.kind, Kind::Damaged);
        error.message
    };
    assert!(message(open(&same, 4, false, &sealed, &row).unwrap_err()).contains("a/name: frame 4 does not authenticate"));
    assert!(message(open(&same, 3, true, &sealed, &row).unwrap_err()).contains("its index does not authenticate"));
    assert!(message(open(&same, 3, false, &sealed[1..], &row).unwrap_err()).contains("has the wrong size"));
    let longer = FrameRow { plain_bytes: 1001, ..row };
    assert!(message(open(&same, 3, false, &sealed, &longer).unwrap_err()).contains("expands to 1000 bytes"));
    for (other_key, name) in [(&key, "another/name"), (&RepositoryKey::generate().unwrap(), "a/name")] {
        let other = frame::key_of_object(other_key, ObjectKind::Pack, name, &header).unwrap().sealing;
        assert!(open(&other, 3, false, &sealed, &row).is_err());
    }
    assert!(message(frame::key_of_object(&key, ObjectKind::Segment, "a/name", &header).unwrap_err()).contains("not that of a Segment"));
    for offset in (0..16).chain(48..OBJECT_HEADER_BYTES) {
        let mut damaged = header;
        damaged[offset] ^= 1;
        assert!(frame::key_of_object(&key, ObjectKind::Pack, "a/name", &damaged).is_err(), "byte {offset}");
    }
    assert!(frame::key_of_object(&key, ObjectKind::Pack, "a/name", &header[1..]).is_err());
}

#[test]
fn sealing_behind_other_frames_gives_the_same_bytes() {
    let key = RepositoryKey::generate().unwrap();
    let (_, sealing) = frame::new_object(&key, ObjectKind::Pack, "x").unwrap();
    let records = [[0; 256].to_vec(), (0..40_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()].concat();
    let encoding = Encoding { level: 1, record_bytes: Some(16) };
    for (number, plain, codec, record_bytes) in
        [(0, &records[..], Codec::Transposed, 16), (1, &[0; 1000], Codec::Zeros, 0), (2, b"short", Codec::Raw, 0), (3, &[], Codec::Raw, 0)]
    {
        let (mut sealed, row) = frame::seal_frame(&sealing, number, false, plain, &encoding).unwrap();
        assert_eq!((row.codec, row.record_bytes, row.plain_bytes as usize), (codec, record_bytes, plain.len()));
        let mut out = b"frames before".to_vec();
        assert_eq!(frame::seal_frame_into(&sealing, number, false, plain, &encoding, &mut out).unwrap(), row);
        assert_eq!(out, [&b"frames before"[..], &sealed].concat());
        assert_eq!(row.stored_bytes as usize, sealed.len());
        assert!(codec != Codec::Zeros || sealed.len() == TAG_BYTES);
        assert_eq!(frame::open_frame(&sealing, number, false, &mut sealed, &row, "x").unwrap(), plain);
        // An index uses neither of the newer codecs.
        let (_, row) = frame::seal_frame(&sealing, INDEX_NUMBER, true, plain, &encoding).unwrap();
        assert!(matches!(row.codec, Codec::Raw | Codec::Zstd) && row.record_bytes == 0);
    }
    let mut out = b"frames before".to_vec();
    frame::seal_frame_into(&sealing, 0, false, &vec![0; INDEX_PLAIN_BYTES_MAX + 1], &encoding, &mut out).unwrap_err();
    assert_eq!(out, b"frames before");
}

#[test]
fn version_1_is_read_and_knows_no_newer_codec() {
    let key = RepositoryKey::generate().unwrap();
    let (header, _) = frame::new_object(&key, ObjectKind::Pack, "x").unwrap();
    assert_eq!(frame::key_of_object(&key, ObjectKind::Pack, "x", &header).unwrap().version, 2);
    let of_version = |version: u8| {
        let mut header = header;
        header[8] = version;
        frame::key_of_object(&key, ObjectKind::Pack, "x", &header)
    };
    assert_eq!(of_version(1).unwrap().version, 1);
    assert!(of_version(0).is_err() && of_version(3).is_err());
    let index = |codec, record_bytes| {
        Index { frames: vec![FrameRow { stored_bytes: 16, plain_bytes: 9, codec, record_bytes }], entries: Vec::new() }.encode().unwrap()
    };
    for (codec, record_bytes, version_1, version_2) in [
        (Codec::Raw, 0, true, true),
        (Codec::Zstd, 0, true, true),
        (Codec::Zstd, 1, false, false),
        (Codec::Raw, 256, false, false),
        (Codec::Transposed, 128, false, true),
        (Codec::Transposed, 0, false, false),
        (Codec::Transposed, 4097, false, false),
        (Codec::Zeros, 0, false, true),
        (Codec::Zeros, 16, false, false),
    ] {
        let bytes = index(codec, record_bytes);
        assert_eq!(
            (Index::decode(&bytes, 1).is_some(), Index::decode(&bytes, 2).is_some()),
            (version_1, version_2),
            "{codec:?} {record_bytes}"
        );
        let mut reserved = bytes;
        reserved[17] = 1;
        assert_eq!(Index::decode(&reserved, 2), None);
    }
    for codec in [Codec::Transposed, Codec::Zeros] {
        let trailer = Trailer { index_offset: 100, index_stored_bytes: 50, index_plain_bytes: 70, codec };
        assert_eq!(Trailer::decode(&trailer.encode(), 182), None, "an index of codec {codec:?}");
    }
}

#[test]
fn a_trailer_says_exactly_where_the_index_lies() {
    let trailer = Trailer { index_offset: 100, index_stored_bytes: 50, index_plain_bytes: 70, codec: Codec::Zstd };
    let bytes = trailer.encode();
    assert_eq!(Trailer::decode(&bytes, 182), Some(trailer));
    for wrong in [0, 181, 183, u64::MAX] {
        assert_eq!(Trailer::decode(&bytes, wrong), None);
    }
    assert_eq!(Trailer::decode(&bytes[1..], 182), None);
    for offset in [12, 20, 30] {
        let mut damaged = bytes;
        damaged[offset] = 0xff;
        damaged[offset + 1] = 0xff;
        assert_eq!(Trailer::decode(&damaged, 182).filter(|_| offset != 12), None, "byte {offset}");
    }
    let decode = |trailer: Trailer| {
        let end =
            trailer.index_offset.checked_add(u64::from(trailer.index_stored_bytes)).and_then(|end| end.checked_add(TRAILER_BYTES as u64));
        Trailer::decode(&trailer.encode(), end.unwrap_or(0))
    };
    assert_eq!(decode(Trailer { index_offset: 63, ..trailer }), None, "inside the header");
    assert_eq!(decode(Trailer { index_plain_bytes: INDEX_PLAIN_BYTES_MAX as u32 + 1, ..trailer }), None);
    assert_eq!(decode(Trailer { index_stored_bytes: (INDEX_PLAIN_BYTES_MAX + TAG_BYTES) as u32 + 1, ..trailer }), None);
    assert_eq!(decode(Trailer { index_offset: u64::MAX, ..trailer }), None);
    assert_eq!(INDEX_NUMBER, u64::MAX);
}

fn any_row() -> impl Strategy<Value = FrameRow> {
    (0..=(FRAME_PLAIN_BYTES_MAX + TAG_BYTES) as u32, 0..=FRAME_PLAIN_BYTES_MAX as u32, 0_u8..4, 1_u16..=4096).prop_map(
        |(stored_bytes, plain_bytes, number, record_bytes)| {
            let codec = Codec::from_number(number).unwrap();
            FrameRow { stored_bytes, plain_bytes, codec, record_bytes: if codec == Codec::Transposed { record_bytes } else { 0 } }
        },
    )
}

proptest! {
    #[test]
    fn every_index_reads_back(frames in prop::collection::vec(any_row(), 0..50), entries in prop::collection::vec(any::<u8>(), 0..200)) {
        let index = Index { frames, entries };
        prop_assert_eq!(index.frames_bytes(), index.frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum::<u64>());
        prop_assert_eq!(Index::decode(&index.encode().unwrap(), 2), Some(index));
    }

    #[test]
    fn any_bytes_are_an_index_that_encodes_to_them_or_none(mut bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0_u8..40, tame in any::<bool>()) {
        if tame && bytes.len() >= 8 {
            // Otherwise nearly every count is beyond the bytes.
            bytes[..8].copy_from_slice(&[count, 0, 0, 0, 0, 0, 0, 0]);
        }
        if let Some(index) = Index::decode(&bytes, 2) {
            prop_assert!(index.frames.len() * 12 + index.entries.len() + 8 == bytes.len());
            prop_assert_eq!(index.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_a_trailer_that_encodes_to_them_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64), object_bytes in any::<u64>()) {
        if let Some(trailer) = Trailer::decode(&bytes, object_bytes) {
            prop_assert_eq!(&trailer.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn every_trailer_reads_back(offset in 64..u64::MAX / 2, stored in 0..=INDEX_PLAIN_BYTES_MAX as u32, plain in 0..=INDEX_PLAIN_BYTES_MAX as u32) {
        let trailer = Trailer { index_offset: offset, index_stored_bytes: stored, index_plain_bytes: plain, codec: Codec::Raw };
        prop_assert_eq!(Trailer::decode(&trailer.encode(), offset + u64::from(stored) + TRAILER_BYTES as u64), Some(trailer));
    }
}
