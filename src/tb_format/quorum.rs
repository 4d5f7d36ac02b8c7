//! Which of four superblock copies is current (`vsr/superblock_quorums.zig`, threshold `open`).
//!
//! The server writes the copies one after the other, so at any instant a reader may find a new
//! state in some, the old state in others and one half written. A state counts when two copies hold
//! it; the one with the highest sequence is current. Copies of other states are then held against
//! it: they may be older, or one step ahead, but not of another history. On a running server a
//! refusal may come of reading while it writes, and reading again is the answer; on a stopped one
//! it is damage.

use super::checksum::Checksum;
use super::error::{LedgerError, QuorumFault};
use super::layout::{SUPERBLOCK_COPIES, SUPERBLOCK_COPY_BYTES, SUPERBLOCK_ZONE_BYTES};
use super::superblock::{SuperBlock, SuperBlockBytes, field, valid_checksum};

/// Copies that must agree: of four, the server makes sure that three are written, so two that are
/// read meet at least one of them.
const COPIES_TO_OPEN: u32 = 2;

/// What a person should know of one copy.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// Holds the current state.
    Valid,
    /// Holds an earlier state: the server was stopped before it wrote this copy, or the write was
    /// lost. It repairs it when it starts.
    Stale,
    /// Holds a later state that too few copies hold to count: the server is writing it, or was
    /// stopped while it did.
    Ahead,
    /// Its checksum is wrong: half written, or damaged.
    Torn,
}

/// The current superblock, and what became of each copy.
#[derive(Debug, Clone)]
pub struct Quorum {
    /// The current state.
    pub superblock: SuperBlock,
    /// By the place of the copy in the file.
    pub copies: [CopyState; SUPERBLOCK_COPIES],
}

/// The copies that hold one state.
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

    /// The best is the current state, if it is a quorum. The checksum comes last, to decide ties in
    /// the same way every time.
    fn rank(&self) -> (bool, u64, u32, Checksum) {
        (self.is_quorum(), self.sequence(), self.copies.count_ones(), self.checksum())
    }
}

/// Reads the superblock zone: the first 96 KiB of a data file.
///
/// # Errors
/// [`LedgerError::Length`] for less than that, [`LedgerError::Quorum`] when no state is current, or
/// what is wrong with the current one ([`LedgerError::Format`], [`LedgerError::Field`]).
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
        // No checksum covers the copy number. One that cannot be was damaged alone: the copy is
        // taken for that of its place.
        let copy = Some(usize::from(field::copy(bytes))).filter(|copy| *copy < SUPERBLOCK_COPIES).unwrap_or(slot);
        let bit = 1u8 << copy;
        match groups.iter_mut().find(|group| group.checksum() == field::checksum(bytes)) {
            Some(group) => group.copies |= bit,
            None => groups.push(Group { bytes, copies: bit }),
        }
    }
    groups
}

/// Holds the other states against the current one, best first, as the server does: the first that
/// is its parent settles the matter.
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
