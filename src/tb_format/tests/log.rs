//! The chain, the WAL ring of headers, and the AOF.

use super::{CLUSTER, property};
use crate::tb_format::aof::{AOF_ENTRY_BYTES_MAX, AOF_MAGIC, AofEntries, AofItem};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::error::LedgerError;
use crate::tb_format::header::PrepareHeader;
use crate::tb_format::layout::{WAL_HEADERS_BYTES, WAL_SLOTS};
use crate::tb_format::sample::{PrepareSample, headers_of, log_after, root_header};
use crate::tb_format::wal::{Chain, HeaderRing, SlotHeader, reserved_header, reserved_sector, root_prepare, root_sector};
use proptest::prelude::*;

fn formatted_ring() -> Vec<u8> {
    let mut zone: Vec<u8> = (0..WAL_SLOTS).flat_map(|slot| reserved_header(CLUSTER, slot)).collect();
    zone[..256].copy_from_slice(&root_prepare(CLUSTER));
    zone
}

#[test]
fn the_chain_takes_ops_in_order_only() {
    let headers = headers_of(&log_after(&root_header(CLUSTER), 3));
    let mut chain = Chain::root(CLUSTER);
    assert_eq!((chain.op(), chain.checksum()), (0, root_header(CLUSTER).checksum()));
    assert_eq!(chain.accept(&headers[1]), Err(LedgerError::WrongOp { expected: 1, found: 2 }));
    for header in &headers {
        chain.accept(header).unwrap();
    }
    assert_eq!(chain, Chain::after(3, headers[2].checksum()));
    assert_eq!(chain.accept(&headers[2]), Err(LedgerError::WrongOp { expected: 4, found: 3 }));
}

#[test]
fn the_chain_refuses_forks_empty_slots_and_the_end_of_numbers() {
    let headers = headers_of(&log_after(&root_header(CLUSTER), 2));
    let mut chain = Chain::after(1, Checksum(5));
    let fork = LedgerError::Chain { op: 2, expected_parent: Checksum(5), found_parent: headers[0].checksum() };
    assert_eq!(chain.accept(&headers[1]), Err(fork));
    assert_eq!(chain, Chain::after(1, Checksum(5)));

    let empty = PrepareHeader::check(&reserved_header(CLUSTER, 2)).unwrap();
    assert!(matches!(chain.accept(&empty), Err(LedgerError::Field { value: 0, .. })));
    let mut last = Chain::after(u64::MAX, Checksum(0));
    assert_eq!(last.accept(&headers[0]), Err(LedgerError::WrongOp { expected: u64::MAX, found: 1 }));
}

#[test]
fn the_ring_says_what_each_slot_holds() {
    let log = headers_of(&log_after(&root_header(CLUSTER), 1027));
    let mut zone = formatted_ring();
    let ring = HeaderRing::new(&zone).unwrap();
    assert_eq!(ring.slot(0), SlotHeader::Valid(root_header(CLUSTER)));
    assert_eq!(ring.slot(WAL_SLOTS + 1), SlotHeader::Reserved);
    assert_eq!(ring.head(), Some(root_header(CLUSTER)));

    zone[256..512].copy_from_slice(log[1024].bytes());
    zone[512..768].copy_from_slice(log[1].bytes());
    zone[768] ^= 1;
    zone[1024..1280].copy_from_slice(&reserved_header(CLUSTER, 9));
    zone[1280..1536].copy_from_slice(log[5].bytes());
    let ring = HeaderRing::new(&zone).unwrap();
    assert_eq!(ring.slot(1), SlotHeader::Valid(log[1024]));
    assert_eq!(ring.slot(2), SlotHeader::Valid(log[1]));
    assert_eq!(ring.slot(3), SlotHeader::Invalid, "torn");
    assert_eq!(ring.slot(4), SlotHeader::Invalid, "the empty slot 9");
    assert_eq!(ring.slot(5), SlotHeader::Invalid, "op 6");
    assert_eq!(ring.head(), Some(log[1024]));
}

#[test]
fn a_cut_or_empty_ring_has_no_head() {
    let zone = formatted_ring();
    let error = HeaderRing::new(&zone[1..]).unwrap_err();
    assert!(matches!(error, LedgerError::Length { needed: 262_144, available: 262_143, .. }));
    assert_eq!(HeaderRing::new(&vec![0; WAL_HEADERS_BYTES]).unwrap().head(), None);
}

#[test]
fn sectors_are_zero_behind_the_header() {
    let sector = reserved_sector(CLUSTER, 3);
    assert_eq!(sector[..256], reserved_header(CLUSTER, 3));
    assert!(sector[256..].iter().all(|byte| *byte == 0));
    assert_eq!(root_sector(CLUSTER)[..256], root_prepare(CLUSTER));
}

fn entry(prepare: &[u8]) -> Vec<u8> {
    [&AOF_MAGIC.to_le_bytes(), prepare].concat()
}

/// One letter for each item, with its place: entry, damage, torn tail.
fn items(bytes: &[u8]) -> Vec<(char, usize, usize)> {
    let shape = |item| match item {
        AofItem::Entry { offset, prepare } => ('e', offset, prepare.bytes().len()),
        AofItem::Damaged { offset, length, .. } => ('d', offset, length),
        AofItem::TornTail { offset, length } => ('t', offset, length),
    };
    AofEntries::new(bytes).map(shape).collect()
}

#[test]
fn an_aof_gives_its_prepares() {
    let log = log_after(&root_header(CLUSTER), 3);
    let aof: Vec<u8> = log.iter().flat_map(|prepare| entry(prepare)).collect();
    let size = log[0].len();
    assert_eq!(items(&aof), [('e', 0, size), ('e', size + 16, size), ('e', 2 * (size + 16), size)]);
    let mut chain = Chain::root(CLUSTER);
    for item in AofEntries::new(&aof) {
        if let AofItem::Entry { prepare, .. } = item {
            chain.accept(prepare.header()).unwrap();
        }
    }
    assert_eq!(chain.op(), 3);
    assert!(items(&[]).is_empty());
    let largest = PrepareSample { body: vec![1; 1024 * 1024 - 256], ..PrepareSample::after(&root_header(CLUSTER)) };
    assert_eq!(entry(&largest.bytes()).len(), AOF_ENTRY_BYTES_MAX);
}

#[test]
fn a_torn_tail_is_reported_wherever_it_is_cut() {
    let log = log_after(&root_header(CLUSTER), 2);
    let aof: Vec<u8> = log.iter().flat_map(|prepare| entry(prepare)).collect();
    let first = log[0].len() + 16;
    for cut in first + 1..aof.len() {
        assert_eq!(items(&aof[..cut]), [('e', 0, log[0].len()), ('t', first, cut - first)]);
    }
}

#[test]
fn damage_is_reported_and_reading_goes_on_after_it() {
    let log = log_after(&root_header(CLUSTER), 3);
    let size = log[0].len() + 16;
    let aof: Vec<u8> = log.iter().flat_map(|prepare| entry(prepare)).collect();
    // The damage is in the magic number, in the header, in the body.
    for at in [0, 20, size - 1] {
        let mut damaged = aof.clone();
        damaged[size + at] ^= 1;
        assert_eq!(items(&damaged), [('e', 0, size - 16), ('d', size, size), ('e', 2 * size, size - 16)], "at {at}");
    }
    let mut no_magic = aof.clone();
    no_magic[size] ^= 1;
    let error = AofEntries::new(&no_magic).find_map(|item| if let AofItem::Damaged { error, .. } = item { Some(error) } else { None });
    assert!(matches!(error, Some(LedgerError::Format { .. })));
}

#[test]
fn damage_at_the_end_leaves_a_cut_magic_number_to_be_read_again() {
    let log = log_after(&root_header(CLUSTER), 1);
    let mut aof = entry(&log[0]);
    aof[30] ^= 1;
    let size = aof.len();
    assert_eq!(items(&aof), [('d', 0, size)]);
    aof.extend_from_slice(&AOF_MAGIC.to_le_bytes()[..7]);
    assert_eq!(items(&aof), [('d', 0, size), ('t', size, 7)]);
    assert_eq!(items(b"short"), [('d', 0, 5)]);
}

#[test]
fn every_byte_of_an_aof_is_accounted_for() {
    let log = log_after(&root_header(CLUSTER), 4);
    let aof: Vec<u8> = log.iter().flat_map(|prepare| entry(prepare)).collect();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    property(300, &(edits, any::<prop::sample::Index>()), |(edits, cut)| {
        let mut bytes = aof.clone();
        for (index, value) in edits {
            bytes[index.index(aof.len())] = value;
        }
        bytes.truncate(cut.index(aof.len() + 1));
        let mut end = 0;
        for (kind, offset, length) in items(&bytes) {
            prop_assert_eq!(offset, end);
            end = offset + length + if kind == 'e' { 16 } else { 0 };
        }
        prop_assert_eq!(end, bytes.len());
        Ok(())
    });
}

#[test]
fn random_rings_and_aofs_never_panic() {
    property(200, &prop::collection::vec(any::<u8>(), 0..400), |bytes| {
        let zone: Vec<u8> = bytes.iter().copied().cycle().take(WAL_HEADERS_BYTES).collect();
        if let Ok(ring) = HeaderRing::new(&zone) {
            prop_assert_eq!(ring.slot(7), SlotHeader::Invalid);
        }
        prop_assert!(items(&bytes).iter().all(|item| item.0 != 'e'));
        Ok(())
    });
}
