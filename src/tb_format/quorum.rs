//! Which of four superblock copies is current (`vsr/superblock_quorums.zig`, threshold `open`).
//!
//! The server writes the copies one after the other. So at any instant a reader may find a new
//! state in some copies, the old state in others, and one copy half written. A state counts when
//! two copies hold it; the one with the highest sequence is current. The copies of other states are
//! then compared with it: they may be older, or one step ahead, but not of another history. On a
//! running server the reason for a refusal may be that the server was writing, and reading again
//! resolves it. On a stopped server a refusal means damage.

use super::checksum::Checksum;
use super::error::{LedgerError, QuorumFault};
use super::layout::{SUPERBLOCK_COPIES, SUPERBLOCK_COPY_BYTES, SUPERBLOCK_ZONE_BYTES};
use super::superblock::{SuperBlock, SuperBlockBytes, field, valid_checksum};

/// Copies that must agree. Of four copies the server makes sure that three are written, so any two
/// that are read include at least one of them.
const COPIES_TO_OPEN: u32 = 2;

/// The state of one copy, for a report to the user.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// Holds the current state.
    Valid,
    /// Holds an earlier state: the server was stopped before it wrote this copy, or the write was
    /// lost. The server repairs the copy when it starts.
    Stale,
    /// Holds a later state that too few copies hold for it to count: the server is writing it, or
    /// was stopped while writing it.
    Ahead,
    /// Its checksum is wrong: half written, or damaged.
    Torn,
}

/// The current superblock, and the state of each copy.
#[derive(Debug, Clone)]
pub struct Quorum {
    /// The current state.
    pub superblock: SuperBlock,
    /// The state of each copy, by its place in the file.
    pub copies: [CopyState; SUPERBLOCK_COPIES],
}

/// The copies that hold the same state.
struct Group<'a> {
    bytes: &'a SuperBlockBytes,
    /// One bit for each copy number found, so that a copy written to two places counts once.
    copies: u8,
}

impl Group<'_> {
    fn checksum(&self) -> Checksum {
        field::checksum(self.bytes)
    }

    fn sequence(&self) -> u64 {
        field::sequence(self.bytes)
    }

    fn is_quorum(&self) -> bool {
        self.copies.count_ones() >= COPIES_TO_OPEN
    }

    /// The highest rank is the current state, if it has a quorum. The checksum comes last, so that
    /// ties are always decided in the same way.
    fn rank(&self) -> (bool, u64, u32, Checksum) {
        (self.is_quorum(), self.sequence(), self.copies.count_ones(), self.checksum())
    }
}

/// Reads the superblock zone: the first 96 KiB of a data file.
///
/// # Errors
/// [`LedgerError::Length`] for less than that, [`LedgerError::Quorum`] when no state is current, or
/// the error of the current one ([`LedgerError::Format`], [`LedgerError::Field`]).
pub fn read_quorum(zone: &[u8]) -> Result<Quorum, LedgerError> {
    let zone = zone.get(..SUPERBLOCK_ZONE_BYTES).ok_or(LedgerError::Length {
        what: "superblock zone",
        needed: SUPERBLOCK_ZONE_BYTES as u64,
        available: zone.len() as u64,
    })?;
    let slots: Vec<&SuperBlockBytes> = zone.chunks(SUPERBLOCK_COPY_BYTES).filter_map(|copy| copy.first_chunk()).collect();
    let valid: Vec<bool> = slots.iter().map(|bytes| valid_checksum(bytes)).collect();
    let valid_copies = valid.iter().filter(|valid| **valid).count() as u8;
    let fault = |fault| LedgerError::Quorum { fault, valid_copies };

    let groups = group(&slots, &valid);
    let current = groups.iter().max_by_key(|group| group.rank()).ok_or(fault(QuorumFault::NotFound))?;
    if !current.is_quorum() {
        return Err(fault(QuorumFault::Lost));
    }
    judge_others(current, &groups).map_err(fault)?;

    let superblock = SuperBlock::check_content(current.bytes)?;
    let mut copies = [CopyState::Torn; SUPERBLOCK_COPIES];
    for ((state, bytes), valid) in copies.iter_mut().zip(&slots).zip(&valid) {
        if *valid {
            *state = state_of(bytes, &superblock);
        }
    }
    Ok(Quorum { superblock, copies })
}

fn group<'a>(slots: &[&'a SuperBlockBytes], valid: &[bool]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::with_capacity(SUPERBLOCK_COPIES);
    for (slot, (bytes, _)) in slots.iter().zip(valid).enumerate().filter(|(_, (_, valid))| **valid) {
        // No checksum covers the copy number. If the number is impossible, only the number was
        // damaged: the copy counts as that of its place.
        let copy = Some(usize::from(field::copy(bytes))).filter(|copy| *copy < SUPERBLOCK_COPIES).unwrap_or(slot);
        let bit = 1u8 << copy;
        match groups.iter_mut().find(|group| group.checksum() == field::checksum(bytes)) {
            Some(group) => group.copies |= bit,
            None => groups.push(Group { bytes, copies: bit }),
        }
    }
    groups
}

/// Compares the other states with the current one, best first, as the server does. The first one
/// that precedes it by one step decides.
fn judge_others(current: &Group<'_>, groups: &[Group<'_>]) -> Result<(), QuorumFault> {
    let mut others: Vec<&Group<'_>> = groups.iter().filter(|group| group.checksum() != current.checksum()).collect();
    others.sort_by_key(|group| std::cmp::Reverse(group.rank()));
    for other in others {
        let same_replica = field::cluster(other.bytes) == field::cluster(current.bytes)
            && field::replica_id(other.bytes) == field::replica_id(current.bytes);
        if !same_replica {
            continue;
        }
        if other.sequence() == current.sequence() {
            return Err(QuorumFault::Fork);
        }
        if other.sequence().checked_sub(current.sequence()).is_some_and(|ahead| ahead > 1) {
            return Err(QuorumFault::ParentSkipped);
        }
        if other.sequence().checked_add(1) == Some(current.sequence()) {
            return judge_parent(other.bytes, current.bytes);
        }
    }
    Ok(())
}

fn judge_parent(parent: &SuperBlockBytes, current: &SuperBlockBytes) -> Result<(), QuorumFault> {
    if field::parent(current) != field::checksum(parent) {
        return Err(QuorumFault::ParentNotConnected);
    }
    let went_back = field::progress(parent).iter().zip(field::progress(current)).any(|(before, now)| *before > now);
    if went_back { Err(QuorumFault::NotMonotonic) } else { Ok(()) }
}

fn state_of(bytes: &SuperBlockBytes, current: &SuperBlock) -> CopyState {
    if field::checksum(bytes) == current.checksum() {
        CopyState::Valid
    } else if field::sequence(bytes) > current.sequence() {
        CopyState::Ahead
    } else {
        CopyState::Stale
    }
}

#[cfg(test)]
mod tests;
