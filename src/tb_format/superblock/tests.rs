//! A single superblock copy, and the checkpoint within.

use super::SuperBlock;
use crate::tb_format::checksum::{Checksum, checksum};
use crate::tb_format::error::LedgerError;
use crate::tb_format::layout::{BLOCK_BYTES, GRID_OFFSET, SUPERBLOCK_HEADER_BYTES};
use crate::tb_format::sample::{PrepareSample, Roots, SampleFile, root_header, seal_superblock, superblock_bytes};
use crate::tb_format::tests::{CLUSTER, field_of, property};
use crate::tb_format::wal;
use proptest::prelude::*;

type Bytes = [u8; SUPERBLOCK_HEADER_BYTES];

fn formatted() -> Bytes {
    superblock_bytes(&root_header(CLUSTER), &Roots::default(), 3)
}

fn loaded() -> Bytes {
    SampleFile::new(CLUSTER, 0).superblock
}

/// Replaces bytes of a valid copy, seals it, and returns the error with which it is refused.
fn refusal(bytes: &Bytes, offset: usize, replacement: &[u8]) -> LedgerError {
    let mut edited = *bytes;
    edited[offset..offset + replacement.len()].copy_from_slice(replacement);
    seal_superblock(&mut edited);
    SuperBlock::check(&edited).unwrap_err()
}

fn refused_field(bytes: &Bytes, offset: usize, replacement: &[u8]) -> &'static str {
    field_of(&refusal(bytes, offset, replacement))
}

#[test]
fn a_formatted_superblock_gives_back_its_fields() {
    let bytes = formatted();
    let superblock = SuperBlock::check(&bytes).unwrap();
    assert_eq!((superblock.sequence(), superblock.cluster(), superblock.parent()), (1, CLUSTER, Checksum(0)));
    assert_eq!((superblock.replica_count(), superblock.replica_index()), (3, 0));
    assert_eq!(superblock.members()[0], superblock.replica_id());
    assert_eq!((superblock.commit_max(), superblock.sync_op_min(), superblock.sync_op_max()), (0, 0, 0));
    assert_eq!((superblock.view(), superblock.log_view()), (0, 0));
    assert_eq!(superblock.view_headers().collect::<Vec<_>>(), [root_header(CLUSTER)]);
    assert_eq!(superblock.checksum(), checksum(&bytes[34..]));
    assert_eq!(superblock.bytes(), &bytes);
    let checkpoint = superblock.checkpoint();
    assert_eq!((checkpoint.header(), checkpoint.storage_size(), checkpoint.address_max()), (root_header(CLUSTER), GRID_OFFSET, 0));
    for trailer in [checkpoint.free_set_acquired(), checkpoint.free_set_released(), checkpoint.client_sessions()] {
        assert_eq!((trailer.last, trailer.checksum, trailer.size_bytes, trailer.block_count()), (None, checksum(&[]), 0, 0));
    }
    assert_eq!((checkpoint.manifest_oldest(), checkpoint.manifest_newest(), checkpoint.manifest_block_count()), (None, None, 0));
    let text = format!("{superblock:?}");
    assert!(text.contains("sequence: 1") && text.contains("0.16.78"), "{text}");
}

#[test]
fn a_loaded_superblock_gives_back_its_roots() {
    let mut file = SampleFile::new(CLUSTER, 0);
    let (offset_parent, offset_grandparent) = (96 + 496, 96 + 512);
    file.superblock[offset_parent] = 1;
    file.superblock[offset_grandparent] = 2;
    file.superblock[64] = 3;
    file.superblock[1336] = 4;
    file.superblock[1344] = 5;
    file.superblock[1360] = 6;
    seal_superblock(&mut file.superblock);
    let superblock = SuperBlock::check(&file.superblock).unwrap();
    assert_eq!((superblock.parent(), superblock.sync_op_min(), superblock.sync_op_max()), (Checksum(3), 4, 5));
    assert_eq!((superblock.view(), superblock.log_view(), superblock.commit_max()), (6, 0, 959));
    let checkpoint = superblock.checkpoint();
    assert_eq!((checkpoint.parent_checkpoint_id(), checkpoint.grandparent_checkpoint_id()), (Checksum(1), Checksum(2)));
    assert_eq!(checkpoint.checkpoint_id(), checksum(&file.superblock[96..1120]));
    assert_eq!(checkpoint.bytes().as_slice(), &file.superblock[96..1120]);
    assert_eq!(checkpoint.header().op(), 959);
    assert_eq!(checkpoint.manifest_oldest(), Some(file.blocks[0].0));
    assert_eq!(checkpoint.manifest_newest(), Some(file.blocks[1].0));
    assert_eq!((checkpoint.manifest_block_count(), checkpoint.address_max()), (2, 9));
    assert_eq!(checkpoint.client_sessions().last, Some(file.blocks[6].0));
    assert_eq!(checkpoint.client_sessions().size_bytes, 16_896);
    assert_eq!(checkpoint.free_set_acquired().last, Some(file.blocks[7].0));
    assert_eq!(checkpoint.free_set_acquired().block_count(), 1);
    assert_eq!((checkpoint.free_set_released().last, checkpoint.release()), (None, superblock.release_format()));
}

#[test]
fn cut_and_damaged_copies_are_refused() {
    let bytes = loaded();
    assert!(matches!(SuperBlock::check(&bytes[..8191]), Err(LedgerError::Length { needed: 8192, available: 8191, .. })));
    let covered = (0..16).chain(34..SUPERBLOCK_HEADER_BYTES);
    let covered: Vec<usize> = covered.collect();
    property(500, &(prop::sample::select(covered), 0..8u32), |(at, bit)| {
        let mut damaged = bytes;
        damaged[at] ^= 1 << bit;
        let refused = matches!(SuperBlock::check(&damaged), Err(LedgerError::HeaderChecksum { .. }));
        prop_assert!(refused);
        Ok(())
    });
    let mut padding = bytes;
    padding[20] = 1;
    assert!(matches!(SuperBlock::check(&padding), Err(LedgerError::HeaderChecksum { .. })));
}

#[test]
fn the_copy_number_is_no_part_of_the_state() {
    let mut bytes = loaded();
    bytes[32] = 3;
    let superblock = SuperBlock::check(&bytes).unwrap();
    assert_eq!(superblock, SuperBlock::check(&loaded()).unwrap());
    assert_eq!(superblock.bytes()[32], 0);
    bytes[32] = 4;
    assert_eq!(field_of(&SuperBlock::check(&bytes).unwrap_err()), "superblock: copy number");
}

#[test]
fn other_formats_are_refused() {
    let bytes = loaded();
    assert_eq!(refusal(&bytes, 34, &[0]), LedgerError::Format { what: "superblock version", value: 0 });
    assert!(matches!(refusal(&bytes, 2144, &[1]), LedgerError::Format { value: 1, .. }));
    assert_eq!(refused_field(&bytes, 80, &[1]), "superblock: parent padding");
    assert_eq!(refused_field(&bytes, 1365, &[1]), "superblock: reserved state");
    assert_eq!(refused_field(&bytes, 4095, &[1]), "superblock: reserved bytes");
    assert_eq!(refused_field(&bytes, 8191, &[1]), "superblock: reserved view headers");
}

#[test]
fn the_consensus_state_is_checked() {
    let bytes = loaded();
    assert_eq!(refused_field(&bytes, 36, &[0; 4]), "superblock: release");
    assert_eq!(refused_field(&bytes, 40, &[0]), "superblock: sequence");
    assert_eq!(refused_field(&bytes, 48, &[0]), "superblock: cluster of the checkpoint");
    assert_eq!(refused_field(&bytes, 1328, &[0]), "superblock: commit_max");
    assert_eq!(refused_field(&bytes, 1336, &[1]), "superblock: sync_op_max");
    assert_eq!(refused_field(&bytes, 1356, &[1]), "superblock: view");
    assert_eq!(refused_field(&bytes, 1364, &[0]), "superblock: replica count");
    assert_eq!(refused_field(&bytes, 1364, &[7]), "superblock: replica count");
}

#[test]
fn the_members_are_checked() {
    let bytes = loaded();
    let member = |index: usize| &bytes[1136 + 16 * index..1136 + 16 * (index + 1)];
    assert_eq!(refused_field(&bytes, 1120, &[0; 16]), "superblock: replica id");
    assert_eq!(refused_field(&bytes, 1120, &[9; 16]), "superblock: replica id");
    assert_eq!(refused_field(&bytes, 1136 + 16, member(0)), "superblock: member");
    assert_eq!(refused_field(&bytes, 1136 + 16, &[0; 16]), "superblock: member");
    // Fewer members are valid, and so is a file of another one of them.
    let mut fewer = bytes;
    fewer[1136 + 32..1328].fill(0);
    fewer[1120..1136].copy_from_slice(member(1));
    seal_superblock(&mut fewer);
    assert_eq!(SuperBlock::check(&fewer).unwrap().replica_index(), 1);
}

#[test]
fn view_headers_are_checked() {
    let bytes = loaded();
    assert_eq!(refused_field(&bytes, 2152, &[0]), "superblock: number of view headers");
    assert_eq!(refused_field(&bytes, 2152, &[12]), "superblock: number of view headers");
    assert!(matches!(refusal(&bytes, 4096, &[0]), LedgerError::HeaderChecksum { .. }));
    let reserved = wal::reserved_header(CLUSTER, 3);
    assert_eq!(refused_field(&bytes, 4096, &reserved), "superblock: operation of a view header");

    // Three headers: op 959, a blank 958, then 957.
    let mut blank = reserved;
    blank[..16].fill(0);
    blank[32..48].fill(0);
    blank[80..96].fill(0);
    blank[224..232].copy_from_slice(&958u64.to_le_bytes());
    let earlier = PrepareSample { op: 957, commit: 0, ..PrepareSample::after(&root_header(CLUSTER)) }.bytes();
    let mut several = bytes;
    several[2152] = 3;
    several[4096 + 256..4096 + 512].copy_from_slice(&blank);
    several[4096 + 512..4096 + 768].copy_from_slice(&earlier[..256]);
    seal_superblock(&mut several);
    let superblock = SuperBlock::check(&several).unwrap();
    assert_eq!(superblock.view_headers().map(|header| header.op()).collect::<Vec<_>>(), [959, 957]);
    assert_eq!(refused_field(&several, 4096 + 512, &blank), "superblock: op of a view header");
    assert!(matches!(refusal(&several, 4096 + 256 + 80, &[1]), LedgerError::HeaderChecksum { .. }), "not quite blank");
}

#[test]
fn the_checkpoint_is_checked() {
    let bytes = loaded();
    assert!(matches!(refusal(&bytes, 96, &[0]), LedgerError::HeaderChecksum { .. }));
    let reserved = wal::reserved_header(CLUSTER, 3);
    assert_eq!(refused_field(&bytes, 96, &reserved), "checkpoint: operation of its prepare");
    assert_eq!(refused_field(&bytes, 96 + 612, &[0; 4]), "checkpoint: release");
    assert_eq!(refused_field(&bytes, 96 + 576, &(GRID_OFFSET - BLOCK_BYTES as u64).to_le_bytes()), "checkpoint: storage size");
    assert_eq!(refused_field(&bytes, 96 + 576, &(GRID_OFFSET + 4096).to_le_bytes()), "checkpoint: storage size");
    for offset in [272, 304, 336, 368, 400] {
        assert_eq!(refused_field(&bytes, 96 + offset, &[1]), "checkpoint: padding");
    }
    assert_eq!(refused_field(&bytes, 96 + 416, &[1]), "checkpoint: snapshots block");
    assert_eq!(refused_field(&bytes, 96 + 568, &[1]), "checkpoint: snapshots block");
    assert_eq!(refused_field(&bytes, 96 + 1023, &[1]), "checkpoint: reserved bytes");
}

#[test]
fn the_roots_are_checked() {
    let bytes = loaded();
    assert_eq!(refused_field(&bytes, 96 + 584, &[0; 8]), "checkpoint: size of a trailer");
    assert_eq!(refused_field(&bytes, 96 + 592, &[8]), "checkpoint: size of a trailer");
    assert_eq!(refused_field(&bytes, 96 + 464, &[0]), "checkpoint: checksum of an empty trailer");
    assert_eq!(refused_field(&bytes, 96 + 288, &[1]), "checkpoint: checksum of no block");
    assert_eq!(refused_field(&bytes, 96 + 600, &[1]), "checkpoint: size of the client sessions");
    for count in [0, 1] {
        assert_eq!(refused_field(&bytes, 96 + 608, &[count]), "checkpoint: number of manifest blocks");
    }
    let file = SampleFile::new(CLUSTER, 0);
    let (oldest, checkpoint) = (file.blocks[0].0, file.checkpoint().header());
    let one = |count| superblock_bytes(&checkpoint, &Roots { manifest: Some((oldest, oldest, count)), ..Roots::default() }, 1);
    assert!(SuperBlock::check(&one(1)).is_ok());
    assert_eq!(field_of(&SuperBlock::check(&one(2)).unwrap_err()), "checkpoint: number of manifest blocks");
}

#[test]
fn any_sealed_bytes_can_be_looked_at() {
    let bytes = loaded();
    property(1000, &prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), |edits| {
        let mut edited = bytes;
        for (index, value) in edits {
            // The fields are at two places; anywhere else the change hits reserved bytes.
            let at = index.index(2156 - 34 + 256);
            edited[if at < 2156 - 34 { at + 34 } else { at - (2156 - 34) + 4096 }] = value;
        }
        seal_superblock(&mut edited);
        if let Ok(superblock) = SuperBlock::check(&edited) {
            prop_assert!(superblock.view_headers().count() >= 1);
            prop_assert!(superblock.replica_index() < 12);
            prop_assert!(superblock.checkpoint().address_max() < u64::MAX);
            prop_assert!(superblock.checkpoint().free_set_acquired().block_count() <= u64::MAX / 2);
        }
        Ok(())
    });
}
