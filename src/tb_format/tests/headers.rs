//! The header that prepares, replies and blocks share, and the fields of prepares and replies.

use super::{CLUSTER, field_of, header, property};
use crate::tb_format::checksum::{Checksum, checksum};
use crate::tb_format::error::LedgerError;
use crate::tb_format::header::{PrepareHeader, operation_name, release_text, reserved_header, root_prepare};
use crate::tb_format::reply::{Reply, ReplyHeader};
use crate::tb_format::sample::{self, PrepareSample, SAMPLE_RELEASE, root_header, seal_header};
use crate::tb_format::wal::Prepare;
use proptest::prelude::*;

fn sample_prepare() -> Vec<u8> {
    PrepareSample { view: 3, commit: 0, ..PrepareSample::after(&root_header(CLUSTER)) }.bytes()
}

/// Sets one byte of a valid message's header, seals it, and returns the error with which it is
/// refused.
fn refusal(message: &[u8], offset: usize, value: u8, check: impl Fn(&[u8]) -> Result<(), LedgerError>) -> LedgerError {
    let mut header = header(message);
    header[offset] = value;
    let size: [u8; 4] = header[96..100].try_into().unwrap();
    let mut sealed = seal_header(&mut header, &message[256..]);
    if (96..100).contains(&offset) {
        // Sealing sets the size: restore it, and seal only the header.
        header[96..100].copy_from_slice(&size);
        let computed = checksum(&header[16..]).to_bytes();
        header[..16].copy_from_slice(&computed);
        sealed = [header.as_slice(), &message[256..]].concat();
    }
    check(&sealed).unwrap_err()
}

fn check_prepare(bytes: &[u8]) -> Result<(), LedgerError> {
    Prepare::check(bytes).map(|_| ())
}

fn check_reply(bytes: &[u8]) -> Result<(), LedgerError> {
    Reply::check(bytes).map(|_| ())
}

#[test]
fn a_prepare_gives_back_its_fields() {
    let bytes = sample_prepare();
    let prepare = Prepare::check(&bytes).unwrap();
    let header = prepare.header();
    assert_eq!((header.op(), header.commit(), header.view(), header.replica()), (1, 0, 3, 0));
    assert_eq!((header.cluster(), header.client(), header.request()), (CLUSTER, 7, 1));
    assert_eq!((header.operation(), header.release()), (139, SAMPLE_RELEASE));
    assert_eq!(header.timestamp(), 1_700_000_001_000_000_000);
    assert_eq!(header.size_bytes() as usize, bytes.len());
    assert_eq!(header.parent(), root_header(CLUSTER).checksum());
    assert_eq!(header.checkpoint_id(), Checksum(0));
    assert_eq!(header.checksum_body(), checksum(prepare.body()));
    assert_eq!(header.bytes().as_slice(), &bytes[..256]);
    assert_eq!(prepare.bytes(), bytes);
    assert_eq!(prepare.body(), &bytes[256..]);
    assert!(!header.is_reserved());
    let text = format!("{header:?}");
    assert!(text.contains("op: 1") && text.contains("create_transfers"), "{text}");
}

#[test]
fn a_slot_is_cut_to_its_prepare() {
    let bytes = sample_prepare();
    let mut slot = bytes.clone();
    slot.resize(4096, 0xee);
    assert_eq!(Prepare::check(&slot).unwrap().bytes(), bytes);
}

#[test]
fn cut_messages_are_refused() {
    let bytes = sample_prepare();
    for length in [0, 1, 255] {
        let error = Prepare::check(&bytes[..length]).unwrap_err();
        assert_eq!(error, LedgerError::Length { what: "prepare header", needed: 256, available: length as u64 });
    }
    let error = Prepare::check(&bytes[..bytes.len() - 1]).unwrap_err();
    assert_eq!(error, LedgerError::Length { what: "prepare", needed: bytes.len() as u64, available: bytes.len() as u64 - 1 });
}

#[test]
fn each_field_of_the_frame_is_checked() {
    let bytes = sample_prepare();
    let refuse = |offset, value| refusal(&bytes, offset, value, check_prepare);
    assert_eq!(refuse(112, 1), LedgerError::Format { what: "protocol version", value: 1 });
    assert_eq!(refuse(114, 20), LedgerError::WrongCommand { expected: 6, found: 20 });
    assert_eq!(field_of(&refuse(97, 0)), "header: size");
    assert_eq!(field_of(&refuse(99, 1)), "header: size");
    assert_eq!(field_of(&refuse(31, 1)), "header: checksum padding");
    assert_eq!(field_of(&refuse(63, 1)), "header: body checksum padding");
    assert_eq!(field_of(&refuse(79, 1)), "header: nonce");
    assert_eq!(field_of(&refuse(100, 1)), "header: epoch");
    assert_eq!(field_of(&refuse(127, 1)), "header: reserved bytes");
}

#[test]
fn each_field_of_a_prepare_is_checked() {
    let bytes = sample_prepare();
    let refuse = |offset, value| field_of(&refusal(&bytes, offset, value, check_prepare));
    assert_eq!(refuse(144, 1), "prepare: parent padding");
    assert_eq!(refuse(176, 1), "prepare: request checksum padding");
    assert_eq!(refuse(255, 1), "prepare: reserved bytes");
    assert_eq!(refuse(232, 1), "prepare: op");
    assert_eq!(refuse(252, 0), "reserved prepare: op");
    assert_eq!(refuse(252, 1), "root prepare: op");

    let mut no_release = header(&bytes);
    no_release[108..112].fill(0);
    assert_eq!(field_of(&PrepareHeader::check(&seal_header(&mut no_release, &[])).unwrap_err()), "prepare: release");
    let no_time = PrepareSample { timestamp: 0, ..PrepareSample::after(&root_header(CLUSTER)) }.bytes();
    assert_eq!(field_of(&PrepareHeader::check(&no_time).unwrap_err()), "prepare: timestamp");
    let no_op = PrepareSample { op: 0, commit: 0, ..PrepareSample::after(&root_header(CLUSTER)) }.bytes();
    assert_eq!(field_of(&PrepareHeader::check(&no_op).unwrap_err()), "prepare: op");
}

#[test]
fn empty_slots_and_the_root_are_as_formatting_writes_them() {
    // This is how `tigerbeetle inspect` prints op 0 of cluster 0.
    let root = PrepareHeader::check(&root_prepare(0)).unwrap();
    assert_eq!(root.checksum(), Checksum(0x5146_b8d0_e1f6_9ca2_e686_7c42_bb82_63b7));
    assert_eq!((root.op(), root.operation()), (0, 1));

    let reserved = PrepareHeader::check(&reserved_header(CLUSTER, 1025)).unwrap();
    assert_eq!((reserved.op(), reserved.operation(), reserved.cluster()), (1, 0, CLUSTER));
    assert_eq!(reserved.size_bytes(), 256);
    assert!(reserved.is_reserved());
    // The WAL ring of prepares holds the same headers without a body.
    assert!(Prepare::check(&reserved_header(CLUSTER, 5)).unwrap().body().is_empty());
}

#[test]
fn a_reply_gives_back_its_fields() {
    let bytes = sample::reply(CLUSTER, 9, 12, &[5; 100]);
    let mut slot = bytes.clone();
    slot.resize(4096, 0xee);
    let reply = Reply::check(&slot).unwrap();
    let header = reply.header();
    assert_eq!((header.cluster(), header.client(), header.op(), header.request()), (CLUSTER, 9, 12, 12));
    assert_eq!((header.operation(), header.size_bytes()), (139, 356));
    assert!(header.has_body());
    assert_eq!((reply.bytes(), reply.body()), (bytes.as_slice(), &[5; 100][..]));
    assert_eq!(header.bytes().as_slice(), &bytes[..256]);
    assert_eq!(header.checksum().to_bytes(), bytes[..16]);
    assert!(!ReplyHeader::check(&sample::reply(CLUSTER, 9, 12, &[])).unwrap().has_body());
}

#[test]
fn each_field_of_a_reply_is_checked() {
    let bytes = sample::reply(CLUSTER, 9, 12, &[5; 100]);
    let refuse = |offset, value| field_of(&refusal(&bytes, offset, value, check_reply));
    assert_eq!(refuse(144, 1), "reply: request checksum padding");
    assert_eq!(refuse(176, 1), "reply: context padding");
    assert_eq!(refuse(255, 1), "reply: reserved bytes");
    assert_eq!(refuse(192, 0), "reply: client");
    assert_eq!(refuse(208, 0), "reply: op");
    assert_eq!(refusal(&bytes, 114, 6, check_reply), LedgerError::WrongCommand { expected: 8, found: 6 });
    assert!(matches!(Reply::check(&bytes[..300]), Err(LedgerError::Length { needed: 356, available: 300, .. })));
}

#[test]
fn releases_and_operations_have_names() {
    assert_eq!(release_text(SAMPLE_RELEASE), "0.16.78");
    assert_eq!(release_text(u32::MAX), "65535.255.255");
    let named: Vec<&str> = (0..=u8::MAX).map(operation_name).filter(|name| *name != "unknown").collect();
    assert_eq!(named.len(), 27);
    for (operation, name) in
        [(0, "reserved"), (1, "root"), (2, "register"), (3, "reconfigure"), (4, "pulse"), (5, "upgrade"), (6, "noop"), (128, "pulse")]
    {
        assert_eq!(operation_name(operation), name);
    }
    assert_eq!(operation_name(138), "create_accounts");
    assert_eq!(operation_name(139), "create_transfers");
    assert_eq!(operation_name(145), "query_transfers");
    assert_eq!([146, 147, 148].map(operation_name), ["create_accounts", "create_transfers", "unknown"], "those of 0.17");
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let prepare = sample_prepare();
    let reply = sample::reply(CLUSTER, 9, 12, &[5; 100]);
    property(2000, &(any::<prop::sample::Index>(), 0..8u32), |(index, bit)| {
        let mut damaged = prepare.clone();
        let at = index.index(damaged.len());
        damaged[at] ^= 1 << bit;
        let error = Prepare::check(&damaged).unwrap_err();
        prop_assert_eq!(matches!(error, LedgerError::HeaderChecksum { .. }), at < 256);
        prop_assert_eq!(matches!(error, LedgerError::BodyChecksum { .. }), at >= 256);

        let mut damaged = reply.clone();
        damaged[index.index(reply.len())] ^= 1 << bit;
        prop_assert!(Reply::check(&damaged).is_err());
        Ok(())
    });
}

#[test]
fn random_bytes_are_refused() {
    property(500, &prop::collection::vec(any::<u8>(), 0..600), |bytes| {
        prop_assert!(Prepare::check(&bytes).is_err());
        prop_assert!(Reply::check(&bytes).is_err());
        Ok(())
    });
}
