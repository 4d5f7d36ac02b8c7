//! Four copies, in every state in which a running, stopped or damaged server can leave them.

use crate::tb_format::error::{LedgerError, QuorumFault};
use crate::tb_format::layout::{SUPERBLOCK_COPY_BYTES, SUPERBLOCK_HEADER_BYTES, SUPERBLOCK_ZONE_BYTES};
use crate::tb_format::sample::{Roots, SampleFile, root_header, seal_superblock, superblock_bytes};
use crate::tb_format::superblock::{CopyState, read_quorum};
use crate::tb_format::tests::{CLUSTER, property};
use CopyState::{Ahead, Stale, Torn, Valid};
use proptest::prelude::*;

type Bytes = [u8; SUPERBLOCK_HEADER_BYTES];

/// A history of states, each the parent of the next: sequences 1, 2, ...
fn history(length: usize) -> Vec<Bytes> {
    let mut states = vec![superblock_bytes(&root_header(CLUSTER), &Roots::default(), 1)];
    while states.len() < length {
        let parent = states[states.len() - 1];
        states.push(edited(&parent, |state| {
            state[64..80].copy_from_slice(&parent[..16]);
            state[40] = parent[40] + 1;
        }));
    }
    states
}

fn edited(state: &Bytes, edit: impl Fn(&mut Bytes)) -> Bytes {
    let mut state = *state;
    edit(&mut state);
    seal_superblock(&mut state);
    state
}

const TORN: Option<&Bytes> = None;

/// A zone of these copies, each with the number of its place.
fn zone(copies: [Option<&Bytes>; 4]) -> Vec<u8> {
    let mut zone = vec![0; SUPERBLOCK_ZONE_BYTES];
    for (place, copy) in copies.iter().enumerate() {
        if let Some(copy) = copy {
            let start = place * SUPERBLOCK_COPY_BYTES;
            zone[start..start + SUPERBLOCK_HEADER_BYTES].copy_from_slice(&copy[..]);
            zone[start + 32] = place as u8;
        }
    }
    zone
}

fn current(copies: [Option<&Bytes>; 4]) -> (u64, [CopyState; 4]) {
    let quorum = read_quorum(&zone(copies)).unwrap();
    (quorum.superblock.sequence(), quorum.copies)
}

fn fault(copies: [Option<&Bytes>; 4]) -> (QuorumFault, u8) {
    match read_quorum(&zone(copies)).unwrap_err() {
        LedgerError::Quorum { fault, valid_copies } => (fault, valid_copies),
        other => panic!("{other}"),
    }
}

#[test]
fn two_of_four_are_enough() {
    let [a, ..] = history(1)[..] else { panic!() };
    assert_eq!(current([Some(&a); 4]), (1, [Valid; 4]));
    assert_eq!(current([TORN, Some(&a), TORN, Some(&a)]), (1, [Torn, Valid, Torn, Valid]));
    assert_eq!(fault([TORN, TORN, TORN, Some(&a)]), (QuorumFault::Lost, 1));
    assert_eq!(fault([TORN; 4]), (QuorumFault::NotFound, 0));
}

#[test]
fn an_update_is_current_once_two_copies_hold_it() {
    let states = history(2);
    let (a, b) = (Some(&states[0]), Some(&states[1]));
    assert_eq!(current([TORN, a, a, a]), (1, [Torn, Valid, Valid, Valid]));
    assert_eq!(current([b, a, a, a]), (1, [Ahead, Valid, Valid, Valid]));
    assert_eq!(current([b, TORN, a, a]), (1, [Ahead, Torn, Valid, Valid]));
    assert_eq!(current([b, b, a, a]), (2, [Valid, Valid, Stale, Stale]));
    assert_eq!(current([b, b, TORN, a]), (2, [Valid, Valid, Torn, Stale]));
    assert_eq!(current([b, b, b, b]), (2, [Valid; 4]));
    assert_eq!(fault([b, TORN, TORN, a]), (QuorumFault::Lost, 2));
}

#[test]
fn copies_of_another_history_are_refused() {
    let states = history(4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| Some(&states[index]));
    assert_eq!(fault([b, b, b, d]), (QuorumFault::ParentSkipped, 4));
    // A copy that is far behind is only stale.
    assert_eq!(current([d, d, a, a]), (4, [Valid, Valid, Stale, Stale]));
    assert_eq!(current([d, d, c, a]).0, 4);

    let fork = edited(&states[1], |state| state[1356] = 0);
    let fork = edited(&fork, |state| (state[1360], state[40]) = (9, 2));
    assert_eq!(fault([b, b, Some(&fork), b]), (QuorumFault::Fork, 4));
    assert_eq!(fault([c, c, Some(&fork), c]), (QuorumFault::ParentNotConnected, 4));
    // A fork of the parent is not examined when the true parent, which has more copies, outranks
    // it. The server does not examine it either.
    assert_eq!(current([c, c, b, b]).0, 3);
}

#[test]
fn going_back_is_refused() {
    let states = history(2);
    for offset in [1328, 1360] {
        let before = edited(&states[0], |state| state[offset] = 5);
        let after = edited(&states[1], |state| state[64..80].copy_from_slice(&before[..16]));
        assert_eq!(fault([Some(&after), Some(&after), Some(&before), TORN]), (QuorumFault::NotMonotonic, 3));
    }
}

#[test]
fn a_copy_of_another_replica_or_cluster_is_left_out() {
    let states = history(2);
    let b = Some(&states[1]);
    let other_cluster = edited(&states[1], |state| state[48] ^= 1);
    let other_replica = edited(&states[1], |state| state.copy_within(1136 + 16..1136 + 32, 1120));
    assert_eq!(current([b, b, b, Some(&other_cluster)]), (2, [Valid, Valid, Valid, Stale]));
    assert_eq!(current([b, b, b, Some(&other_replica)]), (2, [Valid, Valid, Valid, Stale]));
}

#[test]
fn a_copy_written_twice_counts_once() {
    let states = history(1);
    let a = Some(&states[0]);
    let mut twice = zone([a, TORN, a, TORN]);
    twice[2 * SUPERBLOCK_COPY_BYTES + 32] = 0;
    assert!(matches!(read_quorum(&twice), Err(LedgerError::Quorum { fault: QuorumFault::Lost, valid_copies: 2 })));
    // If the copy number is impossible, only the number was damaged: the copy counts as that of its
    // place.
    twice[2 * SUPERBLOCK_COPY_BYTES + 33] = 9;
    assert_eq!(read_quorum(&twice).unwrap().copies, [Valid, Torn, Valid, Torn]);
}

#[test]
fn the_current_state_must_be_sound() {
    let development = edited(&history(1)[0], |state| state[34] = 0);
    let error = read_quorum(&zone([Some(&development); 4])).unwrap_err();
    assert_eq!(error, LedgerError::Format { what: "superblock version", value: 0 });
    let error = read_quorum(&vec![0; SUPERBLOCK_ZONE_BYTES - 1]).unwrap_err();
    assert!(matches!(error, LedgerError::Length { needed: 98_304, available: 98_303, .. }));
}

#[test]
fn one_damaged_byte_costs_at_most_one_copy() {
    let state = SampleFile::new(CLUSTER, 0).superblock;
    let whole = zone([Some(&state); 4]);
    property(300, &(any::<prop::sample::Index>(), 1..=u8::MAX), |(index, mask)| {
        let mut damaged = whole.clone();
        damaged[index.index(whole.len())] ^= mask;
        let quorum = read_quorum(&damaged).unwrap();
        prop_assert_eq!(quorum.superblock.bytes(), &state);
        prop_assert!(quorum.copies.iter().filter(|copy| **copy == Torn).count() <= 1);
        Ok(())
    });
}
