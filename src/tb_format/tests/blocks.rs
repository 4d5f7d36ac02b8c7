//! Blocks of every kind: their checksums and their contents.

use super::{CLUSTER, field_of, header, property};
use crate::tb_format::checksum::{Checksum, checksum};
use crate::tb_format::error::LedgerError;
use crate::tb_format::grid::{Block, BlockKind, BlockReference};
use crate::tb_format::layout::BLOCK_BYTES;
use crate::tb_format::manifest_log::{LiveTables, ManifestBlock, TableEvent};
use crate::tb_format::record::{Account, TREE_ACCOUNTS, Transfer};
use crate::tb_format::sample::{self, block, index_block, link, manifest_block, seal_header, table_info, value_block};
use crate::tb_format::table::{IndexBlock, ValueBlock, record_bytes_of};
use crate::tb_format::trailer::{CLIENT_SESSIONS_BYTES, ClientSessions};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn reference(address: u64) -> BlockReference {
    BlockReference { address, checksum: Checksum(u128::from(address) << 64) }
}

fn checked<'a>(sample: &'a (BlockReference, Vec<u8>)) -> Block<'a> {
    Block::check(&sample.1, sample.0).unwrap()
}

/// Sets one byte of a block's header and seals it again.
fn altered(sample: &(BlockReference, Vec<u8>), offset: usize, value: u8) -> Vec<u8> {
    let mut header = header(&sample.1);
    header[offset] = value;
    seal_header(&mut header, &sample.1[256..])
}

#[test]
fn a_block_gives_back_its_fields() {
    let sample = block(CLUSTER, BlockKind::Value, 0x0102, [3; 96], &[1, 2, 3]);
    let mut bytes = sample.1.clone();
    bytes.resize(BLOCK_BYTES, 0xee);
    let block = Block::check(&bytes, sample.0).unwrap();
    assert_eq!((block.reference(), block.address(), block.kind()), (sample.0, 0x0102, BlockKind::Value));
    assert_eq!((block.cluster(), block.release(), block.snapshot()), (CLUSTER, sample::SAMPLE_RELEASE, 1));
    assert_eq!((block.bytes(), block.body()), (sample.1.as_slice(), &[1, 2, 3][..]));
    assert_eq!(Block::check_unreferenced(&bytes).unwrap().reference(), sample.0);
    assert!(sample.0.to_string().starts_with("block 258 ("));
    let names: BTreeSet<&str> = [BlockKind::FreeSet, BlockKind::ClientSessions, BlockKind::Manifest, BlockKind::Index, BlockKind::Value]
        .map(BlockKind::name)
        .into();
    assert_eq!(names.len(), 5);
}

#[test]
fn another_block_is_told_from_a_damaged_one() {
    let (old, new) = (block(CLUSTER, BlockKind::Value, 5, [0; 96], &[1; 64]), block(CLUSTER, BlockKind::Value, 5, [0; 96], &[2; 64]));
    let moved_on = LedgerError::NotTheReferenced { expected: old.0.checksum, found: new.0.checksum };
    assert_eq!(Block::check(&new.1, old.0).unwrap_err(), moved_on);
    // A block that was read while it was overwritten: the new header, the old body.
    let torn = [&new.1[..256], &old.1[256..]].concat();
    assert_eq!(Block::check(&torn, old.0).unwrap_err(), moved_on);
    assert!(matches!(Block::check(&torn, new.0), Err(LedgerError::BodyChecksum { .. })));
    assert!(matches!(Block::check_unreferenced(&torn), Err(LedgerError::BodyChecksum { .. })));

    let misdirected = BlockReference { address: 6, ..old.0 };
    assert_eq!(Block::check(&old.1, misdirected).unwrap_err(), LedgerError::WrongAddress { expected: 6, found: 5 });
    assert!(matches!(Block::check(&[0; 4096], old.0), Err(LedgerError::HeaderChecksum { .. })));
    assert!(matches!(Block::check(&old.1[..300], old.0), Err(LedgerError::Length { needed: 320, available: 300, .. })));
    assert!(matches!(Block::check(&old.1[..200], old.0), Err(LedgerError::Length { needed: 256, available: 200, .. })));
    assert!(Block::check_unreferenced(&[]).is_err());
}

#[test]
fn each_field_of_a_block_is_checked() {
    let sample = block(CLUSTER, BlockKind::Value, 5, [0; 96], &[1; 64]);
    let refuse = |offset, value| Block::check_unreferenced(&altered(&sample, offset, value)).unwrap_err();
    assert_eq!(refuse(114, 6), LedgerError::WrongCommand { expected: 20, found: 6 });
    assert_eq!(field_of(&refuse(240, 0)), "block: kind");
    assert_eq!(field_of(&refuse(240, 6)), "block: kind");
    assert_eq!(field_of(&refuse(224, 0)), "block: address");
    assert_eq!(field_of(&refuse(104, 1)), "block: view");
    assert_eq!(field_of(&refuse(115, 1)), "block: replica");
    let no_body = block(CLUSTER, BlockKind::Value, 5, [0; 96], &[]);
    assert_eq!(field_of(&Block::check(&no_body.1, no_body.0).unwrap_err()), "block: size");
    let mut no_release = header(&sample.1);
    no_release[108..112].fill(0);
    assert_eq!(field_of(&Block::check_unreferenced(&seal_header(&mut no_release, &[1])).unwrap_err()), "block: release");
    let mut too_large = header(&sample.1);
    let oversized = seal_header(&mut too_large, &vec![0; BLOCK_BYTES]);
    assert_eq!(field_of(&Block::check_unreferenced(&oversized).unwrap_err()), "header: size");
}

#[test]
fn trailers_are_followed_back() {
    for kind in [BlockKind::FreeSet, BlockKind::ClientSessions] {
        let last = block(CLUSTER, kind, 8, link(Some(reference(7)), 0), &[1; 8]);
        assert_eq!(checked(&last).trailer_previous(), Ok(Some(reference(7))));
        let first = block(CLUSTER, kind, 8, link(None, 0), &[1; 8]);
        assert_eq!(checked(&first).trailer_previous(), Ok(None));
    }
    let refuse = |kind, metadata| field_of(&checked(&block(CLUSTER, kind, 8, metadata, &[1; 8])).trailer_previous().unwrap_err());
    assert_eq!(refuse(BlockKind::Manifest, link(None, 0)), "kind of a trailer's block");
    assert_eq!(refuse(BlockKind::FreeSet, link(None, 1)), "block: reserved metadata");
    let mut padding = link(None, 0);
    padding[31] = 1;
    assert_eq!(refuse(BlockKind::FreeSet, padding), "block: reserved metadata");
    let mut nameless = link(None, 0);
    nameless[0] = 1;
    assert_eq!(refuse(BlockKind::FreeSet, nameless), "block: checksum of no previous block");
}

#[test]
fn client_sessions_say_which_replies_count() {
    let replies = vec![sample::reply(CLUSTER, 7, 10, &[1; 50]), sample::reply(CLUSTER, 8, 11, &[])];
    let sample = sample::client_sessions_block(CLUSTER, 3, &replies);
    let block = checked(&sample);
    let sessions = ClientSessions::from_block(&block, checksum(block.body())).unwrap();
    let found: Vec<(u32, u64, u128)> = sessions.sessions().iter().map(|entry| (entry.slot, entry.session, entry.reply.client())).collect();
    assert_eq!(found, [(0, 1, 7), (1, 1, 8)]);
    assert_eq!(sessions.reply_slots().collect::<Vec<u32>>(), [0]);
    assert!(matches!(ClientSessions::from_block(&block, Checksum(1)), Err(LedgerError::BodyChecksum { .. })));
}

#[test]
fn unsound_client_sessions_are_refused() {
    let sample = sample::client_sessions_block(CLUSTER, 3, &[sample::reply(CLUSTER, 7, 10, &[1; 50])]);
    let refuse = |kind, body: &[u8]| {
        let sample = block(CLUSTER, kind, 3, link(None, 0), body);
        ClientSessions::from_block(&checked(&sample), checksum(body)).unwrap_err()
    };
    let body = &sample.1[256..];
    assert_eq!(field_of(&refuse(BlockKind::FreeSet, body)), "block: kind");
    assert_eq!(field_of(&refuse(BlockKind::ClientSessions, &body[8..])), "client sessions: size");
    let mut edited = body.to_vec();
    edited[256] = 1;
    assert_eq!(field_of(&refuse(BlockKind::ClientSessions, &edited)), "client sessions: reply header of a free slot");
    edited = body.to_vec();
    edited[200] ^= 1;
    assert!(matches!(refuse(BlockKind::ClientSessions, &edited), LedgerError::HeaderChecksum { .. }));
    edited = body.to_vec();
    edited[CLIENT_SESSIONS_BYTES - 64 * 8] = 11;
    assert_eq!(field_of(&refuse(BlockKind::ClientSessions, &edited)), "client sessions: session");
}

#[test]
fn a_manifest_block_gives_its_events() {
    let events = [table_info(reference(5), 7, 2, 1), table_info(reference(6), 18, 6, 2), table_info(reference(5), 7, 0, 3)];
    let sample = manifest_block(CLUSTER, 9, Some(reference(4)), &events);
    let manifest = ManifestBlock::from_block(checked(&sample)).unwrap();
    assert_eq!(manifest.previous(), Some(reference(4)));
    let found: Vec<_> = manifest.tables().map(|table| (table.reference, table.tree_id, table.level, table.event)).collect();
    let expected =
        [(reference(5), 7, 2, TableEvent::Insert), (reference(6), 18, 6, TableEvent::Update), (reference(5), 7, 0, TableEvent::Remove)];
    assert_eq!(found, expected);
    let first = manifest.tables().next().unwrap();
    assert_eq!((first.snapshot_min, first.snapshot_max, first.value_count), (1, u64::MAX, 2));
    assert_eq!((first.key_min[0], first.key_max[0]), (1, 9));
    assert_eq!(ManifestBlock::from_block(checked(&manifest_block(CLUSTER, 9, None, &events))).unwrap().previous(), None);
}

#[test]
fn unsound_manifest_blocks_are_refused() {
    let refuse = |sample: (BlockReference, Vec<u8>)| field_of(&ManifestBlock::from_block(checked(&sample)).unwrap_err());
    let edited = |offset: usize, value: u8| {
        let mut event = table_info(reference(5), 7, 2, 1);
        event[offset] = value;
        refuse(manifest_block(CLUSTER, 9, None, &[event]))
    };
    assert_eq!(edited(126, 2), "manifest: event");
    assert_eq!(edited(126, (1 << 6) | 7), "manifest: level");
    assert_eq!(edited(96, 0), "manifest: address of a table");
    assert_eq!(edited(95, 1), "manifest: checksum padding");
    let mut backwards = table_info(reference(5), 7, 2, 1);
    backwards[112..120].fill(0);
    assert_eq!(refuse(manifest_block(CLUSTER, 9, None, &[backwards])), "manifest: last snapshot of a table");
    let body = table_info(reference(5), 7, 2, 1);
    assert_eq!(refuse(block(CLUSTER, BlockKind::Manifest, 9, link(None, 2), &body)), "manifest: number of events");
    assert_eq!(refuse(block(CLUSTER, BlockKind::Manifest, 9, link(None, 1), &[&body[..], &[0]].concat())), "manifest: number of events");
    assert_eq!(refuse(block(CLUSTER, BlockKind::FreeSet, 9, link(None, 1), &body)), "block: kind");
}

#[test]
fn the_newest_event_of_a_table_wins() {
    let (a, b, c, d) = (reference(1), reference(2), reference(3), reference(4));
    // Oldest first. Address 2 holds two tables in turn: the first was removed, the second is
    // current. The table at address 4 was made invisible.
    let mut invisible = table_info(d, 18, 3, 2);
    invisible[112..120].copy_from_slice(&900u64.to_le_bytes());
    let older = [table_info(a, 7, 0, 1), table_info(b, 7, 0, 1), table_info(b, 7, 1, 2), table_info(c, 7, 0, 1), table_info(d, 18, 3, 1)];
    let newer = [table_info(b, 7, 1, 3), table_info(a, 7, 4, 2), table_info(b, 18, 5, 1), table_info(c, 7, 0, 3), invisible];
    let older = manifest_block(CLUSTER, 8, None, &older);
    let newer = manifest_block(CLUSTER, 9, Some(older.0), &newer);
    let mut tables = LiveTables::new();
    for sample in [&newer, &older] {
        tables.absorb(&ManifestBlock::from_block(checked(sample)).unwrap()).unwrap();
    }
    let found: Vec<_> = tables.tables().iter().map(|table| (table.reference, table.tree_id, table.level, table.visible)).collect();
    assert_eq!(found, [(d, 18, 3, false), (b, 18, 5, true), (a, 7, 4, true)]);
    assert_eq!(tables.tables()[0].value_count, 2);
    assert_eq!(tables.into_tables().len(), 3);
}

#[test]
fn a_table_cannot_be_removed_twice() {
    let removal = manifest_block(CLUSTER, 8, None, &[table_info(reference(1), 7, 0, 3)]);
    let manifest = ManifestBlock::from_block(checked(&removal)).unwrap();
    let mut tables = LiveTables::new();
    tables.absorb(&manifest).unwrap();
    assert_eq!(field_of(&tables.absorb(&manifest).unwrap_err()), "manifest: address of a table removed twice");
}

#[test]
fn an_index_block_names_its_value_blocks() {
    let values = [reference(5), reference(9), reference(2)];
    let sample = index_block(CLUSTER, 4, 18, &values);
    let index = IndexBlock::from_block(checked(&sample)).unwrap();
    assert_eq!(index.tree_id(), 18);
    assert_eq!(index.value_blocks().len(), 3);
    assert_eq!(index.value_blocks().collect::<Vec<_>>(), values);
}

#[test]
fn unsound_index_blocks_are_refused() {
    let sample = index_block(CLUSTER, 4, 18, &[reference(5)]);
    let refuse = |bytes: &[u8]| field_of(&IndexBlock::from_block(Block::check_unreferenced(bytes).unwrap()).unwrap_err());
    assert_eq!(refuse(&altered(&sample, 240, 5)), "block: kind");
    assert_eq!(refuse(&altered(&sample, 128 + 4, 0)), "index: most value blocks");
    assert_eq!(refuse(&altered(&sample, 128 + 7, 0xff)), "index: most value blocks");
    assert_eq!(refuse(&altered(&sample, 128, 0)), "index: number of value blocks");
    assert_eq!(refuse(&altered(&sample, 128, 3)), "index: number of value blocks");
    assert_eq!(refuse(&altered(&sample, 128 + 8, 0)), "index: size of a key");
    assert_eq!(refuse(&altered(&sample, 128 + 11, 1)), "index: size of a key");
    assert_eq!(refuse(&altered(&sample, 128 + 8, 16)), "index: size");
    assert_eq!(refuse(&altered(&sample, 128 + 14, 1)), "index: reserved metadata");
    let mut padded = sample.1.clone();
    padded[256 + 16] = 1;
    assert_eq!(refuse(&seal_header(&mut header(&sample.1), &padded[256..])), "index: checksum padding");
    let nowhere = index_block(CLUSTER, 4, 18, &[BlockReference { address: 0, checksum: Checksum(1) }]);
    assert_eq!(refuse(&nowhere.1), "index: address of a value block");
}

#[test]
fn a_value_block_gives_its_records() {
    let records = [sample::account(1, 2, 3, 4), sample::account(5, 6, 7, 8)];
    let sample = value_block(CLUSTER, 4, TREE_ACCOUNTS, &[&records[0], &records[1]]);
    let values = ValueBlock::from_block(checked(&sample)).unwrap();
    assert_eq!((values.tree_id(), values.value_size(), values.records().len()), (TREE_ACCOUNTS, 128, 2));
    assert_eq!(values.records().collect::<Vec<_>>(), records);

    let refuse = |offset: usize, value| {
        let bytes = altered(&sample, 128 + offset, value);
        field_of(&ValueBlock::from_block(Block::check_unreferenced(&bytes).unwrap()).unwrap_err())
    };
    assert_eq!(refuse(0, 1), "values: number");
    assert_eq!(refuse(4, 1), "values: size of all");
    assert_eq!(refuse(8, 0), "values: size of one");
    assert_eq!(refuse(11, 0xff), "values: size of all");
    assert_eq!(refuse(95, 1), "values: reserved metadata");
    assert_eq!(field_of(&ValueBlock::from_block(checked(&index_block(CLUSTER, 4, 18, &[reference(5)]))).unwrap_err()), "block: kind");
}

#[test]
fn accounts_and_transfers_give_back_their_fields() {
    let bytes: [u8; 128] = std::array::from_fn(|index| index as u8 + 1);
    let little_endian = |offset: usize, length: usize| {
        let mut value = [0; 16];
        value[..length].copy_from_slice(&bytes[offset..offset + length]);
        u128::from_le_bytes(value)
    };
    let account = Account::from_bytes(&bytes).unwrap();
    assert_eq!(account.id(), little_endian(0, 16));
    assert_eq!((account.debits_pending(), account.debits_posted()), (little_endian(16, 16), little_endian(32, 16)));
    assert_eq!((account.credits_pending(), account.credits_posted()), (little_endian(48, 16), little_endian(64, 16)));
    assert_eq!((account.user_data_128(), u128::from(account.user_data_64())), (little_endian(80, 16), little_endian(96, 8)));
    assert_eq!((u128::from(account.user_data_32()), u128::from(account.ledger())), (little_endian(104, 4), little_endian(112, 4)));
    assert_eq!((u128::from(account.code()), u128::from(account.flags())), (little_endian(116, 2), little_endian(118, 2)));
    assert_eq!(u128::from(account.timestamp()), little_endian(120, 8) & !(1 << 63));
    assert!(account.is_tombstone());
    assert_eq!(account.bytes(), &bytes);

    let transfer = Transfer::from_bytes(&bytes).unwrap();
    assert_eq!((transfer.id(), transfer.debit_account_id()), (little_endian(0, 16), little_endian(16, 16)));
    assert_eq!((transfer.credit_account_id(), transfer.amount()), (little_endian(32, 16), little_endian(48, 16)));
    assert_eq!((transfer.pending_id(), transfer.user_data_128()), (little_endian(64, 16), little_endian(80, 16)));
    assert_eq!((u128::from(transfer.user_data_64()), u128::from(transfer.user_data_32())), (little_endian(96, 8), little_endian(104, 4)));
    assert_eq!((u128::from(transfer.timeout_s()), u128::from(transfer.ledger())), (little_endian(108, 4), little_endian(112, 4)));
    assert_eq!((u128::from(transfer.code()), u128::from(transfer.flags())), (little_endian(116, 2), little_endian(118, 2)));
    assert_eq!(u128::from(transfer.timestamp()), little_endian(120, 8) & !(1 << 63));
    assert!(transfer.is_tombstone());
    assert_eq!(transfer.bytes(), &bytes);

    assert!(!Account::from_bytes(&sample::account(1, 2, 3, 4)).unwrap().is_tombstone());
    assert!(!Transfer::from_bytes(&sample::transfer(1, 2, 3, 4, 5)).unwrap().is_tombstone());
    assert!(matches!(Account::from_bytes(&bytes[1..]), Err(LedgerError::Length { needed: 128, available: 127, .. })));
    assert!(Transfer::from_bytes(&[0; 129]).is_err());
}

#[test]
fn a_flipped_bit_in_a_block_is_refused() {
    let sample = index_block(CLUSTER, 4, 18, &[reference(5), reference(6)]);
    property(2000, &(any::<prop::sample::Index>(), 0..8u32), |(index, bit)| {
        let mut damaged = sample.1.clone();
        damaged[index.index(sample.1.len())] ^= 1 << bit;
        prop_assert!(Block::check(&damaged, sample.0).is_err());
        Ok(())
    });
}

#[test]
fn any_metadata_and_body_can_be_looked_at() {
    let metadata = prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>()], 96);
    let body = prop::collection::vec(any::<u8>(), 1..700);
    property(1000, &(metadata, body, 1..6u8), |(metadata, body, number)| {
        let kinds = [BlockKind::FreeSet, BlockKind::ClientSessions, BlockKind::Manifest, BlockKind::Index, BlockKind::Value];
        let kind = kinds[usize::from(number) - 1];
        let sample = block(CLUSTER, kind, 1, metadata.try_into().unwrap(), &body);
        let block = checked(&sample);
        let _ = block.trailer_previous();
        let _ = ClientSessions::from_block(&block, checksum(&body));
        if let Ok(manifest) = ManifestBlock::from_block(block) {
            let _ = LiveTables::new().absorb(&manifest);
        }
        if let Ok(index) = IndexBlock::from_block(block) {
            prop_assert!(index.value_blocks().len() * 40 <= body.len());
        }
        if let Ok(values) = ValueBlock::from_block(block) {
            prop_assert_eq!(values.records().map(<[u8]>::len).sum::<usize>(), body.len());
        }
        Ok(())
    });
}

#[test]
fn only_value_blocks_name_a_record_size() {
    let values = value_block(CLUSTER, 5, 7, &[&[1; 32], &[2; 32]]);
    assert_eq!(ValueBlock::from_block(checked(&values)).unwrap().value_size(), 32);
    assert_eq!(record_bytes_of(&values.1), Some(32));
    assert_eq!(record_bytes_of(&index_block(CLUSTER, 5, 7, &[values.0]).1), None);
    assert_eq!(record_bytes_of(&manifest_block(CLUSTER, 5, None, &[table_info(values.0, 7, 0, 1)]).1), None);
    // Bytes that were never checked give a hint or none.
    assert_eq!(record_bytes_of(&values.1[..255]), None);
    assert_eq!(record_bytes_of(&altered(&values, 114, 6)), None);
    assert_eq!(record_bytes_of(&altered(&values, 136, 0)), None);
    assert_eq!(record_bytes_of(&altered(&values, 138, 1)), None);
}
