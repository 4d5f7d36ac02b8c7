use super::{Location, PACK_BLOCKS_TARGET, PackEntry, PackReader, PackWriter};
use crate::error::Kind;
use crate::pipeline::compress::Codec;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{PackName, RunId};
use crate::repository::object_reader::ObjectReader;
use crate::repository::object_writer::ObjectWriter;
use crate::repository::tests::repository;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::grid::{BlockKind, BlockReference};
use crate::tb_format::sample::{block, index_block, value_block};

fn value(address: u64, body: &[u8]) -> (BlockReference, Vec<u8>) {
    block(7, BlockKind::Value, address, [0; 96], body)
}

#[test]
fn extents_come_back_from_where_they_lie() {
    let (_, repository) = repository();
    let mut packs = PackWriter::new(&repository, RunId(5), 959, 3);
    let extents: Vec<Vec<_>> =
        (0..4_u64).map(|extent| (0..=extent).map(|number| value(1 + extent * 10 + number, &[extent as u8; 500])).collect()).collect();
    let mut locations = Vec::new();
    for extent in &extents {
        packs.begin_extent().unwrap();
        for (reference, bytes) in extent {
            packs.block(*reference, bytes.clone()).unwrap();
        }
        locations.push(packs.end_extent().unwrap());
    }
    assert_eq!(locations[2], Location { pack: 3, first_frame: 3, blocks: 3 });
    let entries = packs.finish().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].name, entries[0].blocks), (PackName { checkpoint_op: 959, run: RunId(5), sequence: 0 }, 10));
    let pack = PackReader::open(&repository, &entries[0]).unwrap();
    for (location, extent) in locations.iter().zip(&extents) {
        assert_eq!(pack.blocks(location.first_frame, location.blocks).unwrap(), *extent);
        let references: Vec<BlockReference> = extent.iter().map(|(reference, _)| *reference).collect();
        assert_eq!(pack.references(location.first_frame, location.blocks).unwrap(), references);
        assert!(pack.stored_bytes(location.first_frame, location.blocks).unwrap() > 0);
    }
    assert_eq!((pack.references(9, 2), pack.references(u32::MAX, 2)), (None, None));
    assert_eq!(pack.blocks(9, 2).unwrap_err().kind, Kind::Damaged);
}

#[test]
fn values_are_stored_as_columns_and_other_blocks_as_they_are() {
    let (_, repository) = repository();
    let records: Vec<[u8; 32]> = (0..200_u8).map(|number| [number; 32]).collect();
    let values = value_block(7, 2, 3, &records.iter().map(|record| &record[..]).collect::<Vec<_>>());
    let index = index_block(7, 1, 3, &[values.0]);
    let mut packs = PackWriter::new(&repository, RunId(5), 959, 0);
    packs.begin_extent().unwrap();
    for (reference, bytes) in [&index, &values] {
        packs.block(*reference, bytes.clone()).unwrap();
    }
    packs.end_extent().unwrap();
    let entries = packs.finish().unwrap();
    let object = ObjectReader::open(&repository, ObjectKind::Pack, &entries[0].name.object(), None).unwrap();
    let stored: Vec<_> = object.index.frames.iter().map(|row| (row.codec, row.record_bytes)).collect();
    assert_eq!(stored, [(Codec::Zstd, 0), (Codec::Transposed, 32)]);
    assert_eq!(PackReader::open(&repository, &entries[0]).unwrap().blocks(0, 2).unwrap(), [index, values]);
}

#[test]
fn a_pack_is_closed_at_its_target_and_never_within_an_extent() {
    let (_, repository) = repository();
    let mut packs = PackWriter::new(&repository, RunId(5), 959, 0);
    let mut write = |blocks: u64| {
        packs.begin_extent().unwrap();
        for address in 1..=blocks {
            let (reference, bytes) = value(address, &[1; 16]);
            packs.block(reference, bytes).unwrap();
        }
        packs.end_extent().unwrap()
    };
    let last_of_first = PACK_BLOCKS_TARGET - 1;
    assert_eq!(write(last_of_first).pack, 0);
    assert_eq!(write(5), Location { pack: 0, first_frame: last_of_first as u32, blocks: 5 }, "it was not full yet");
    for pack in 1..=4 {
        assert_eq!(write(PACK_BLOCKS_TARGET), Location { pack, first_frame: 0, blocks: PACK_BLOCKS_TARGET as u32 });
    }
    let entries = packs.finish().unwrap();
    let blocks: Vec<u64> = entries.iter().map(|entry| u64::from(entry.blocks)).collect();
    assert_eq!(blocks, [&[PACK_BLOCKS_TARGET + 4][..], &[PACK_BLOCKS_TARGET; 4]].concat());
    assert!((0..).zip(&entries).all(|(sequence, entry)| entry.name.sequence == sequence), "in order, though they finish in the background");
}

#[test]
fn a_writer_used_out_of_order_says_so() {
    let (store, repository) = repository();
    let mut packs = PackWriter::new(&repository, RunId(5), 959, 0);
    let (reference, bytes) = value(1, &[1; 16]);
    assert_eq!(packs.block(reference, bytes).unwrap_err().kind, Kind::Bug);
    assert_eq!(packs.end_extent().unwrap_err().kind, Kind::Bug);
    let names = store.names().len();
    assert_eq!(packs.finish().unwrap(), []);
    assert_eq!(store.names().len(), names, "no extent, no pack");
}

/// A pack in the stored format with these entries.
fn forged(blocks: &[Vec<u8>], entries: Vec<u8>, count: u32) -> crate::error::Result<Vec<(BlockReference, Vec<u8>)>> {
    let (_, repository) = repository();
    let name = PackName { checkpoint_op: 959, run: RunId(5), sequence: 0 };
    let mut writer = ObjectWriter::create(&repository, ObjectKind::Pack, name.object())?;
    for bytes in blocks {
        writer.push(bytes.clone())?;
    }
    let stored = writer.finish(entries)?.wait()?;
    let entry = PackEntry { name, blocks: count, stored_bytes: stored.size_bytes, digest: stored.digest };
    let pack = PackReader::open(&repository, &entry)?;
    let blocks = pack.blocks(0, count);
    // The same block by block, into buffers of the caller.
    let one = |frame| {
        let mut sealed = vec![0; pack.stored_bytes(frame, 1).unwrap_or(0) as usize];
        let mut plain = vec![0; pack.block_bytes(frame).unwrap_or(0)];
        pack.fetch_into(frame, 1, &mut sealed)?;
        pack.open_into(frame, &mut sealed, &mut plain)?;
        Ok((pack.references(frame, 1).unwrap()[0], plain))
    };
    let single: crate::error::Result<Vec<_>> = (0..count).map(one).collect();
    assert_eq!(blocks, single);
    blocks
}

fn row(reference: BlockReference) -> Vec<u8> {
    [&reference.address.to_le_bytes()[..], &reference.checksum.to_bytes()].concat()
}

#[test]
fn a_pack_that_is_authentic_but_not_sound_is_damage() {
    let (reference, bytes) = value(1, &[1; 16]);
    forged(std::slice::from_ref(&bytes), row(reference), 1).unwrap();
    let other = BlockReference { checksum: Checksum(1), ..reference };
    let moved = BlockReference { address: 2, ..reference };
    let longer = [&bytes[..], &[0]].concat();
    for (blocks, entries, count, says) in [
        (vec![bytes.clone()], row(reference), 2, "does not list 2 blocks"),
        (vec![bytes.clone()], [row(reference), row(reference)].concat(), 2, "does not list 2 blocks"),
        (vec![bytes.clone()], [row(reference), row(reference)].concat(), 1, "does not list 1 blocks"),
        (vec![bytes.clone()], row(reference)[1..].to_vec(), 1, "does not list 1 blocks"),
        (vec![bytes.clone()], row(other), 1, "block at address 1"),
        (vec![bytes.clone()], row(moved), 1, "block at address 2"),
        (vec![longer], row(reference), 1, "has bytes behind its end"),
        (vec![Vec::new()], row(reference), 1, "block at address 1"),
    ] {
        let error = forged(&blocks, entries, count).unwrap_err();
        assert!(error.kind == Kind::Damaged && error.message.contains(says), "{says}: {error}");
    }
}
