//! What can be wrong with bytes that claim to be TigerBeetle's.
//!
//! There is one variant for each case that the caller handles differently. The messages say what
//! was expected and what was found. The caller adds the file and the offset, which this module does
//! not know.

use super::checksum::Checksum;

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Too few bytes: a short read, or a file that was cut.
    #[error("{what}: {needed} bytes are needed but only {available} are there (a short read, or the file was cut)")]
    Length {
        /// What was being read.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// The header does not carry its own checksum: never written, torn, or damaged.
    #[error("header checksum does not match: stored {stored}, computed {computed} (never written, half written, or damaged)")]
    HeaderChecksum {
        /// The checksum that the header carries.
        stored: Checksum,
        /// The checksum computed over the bytes.
        computed: Checksum,
    },
    /// The header is valid but the body is not the one that it names: torn or damaged.
    #[error("body checksum does not match: the header says {stored}, the body gives {computed} (half written, or damaged)")]
    BodyChecksum {
        /// The checksum that the header gives.
        stored: Checksum,
        /// The checksum computed over the bytes.
        computed: Checksum,
    },
    /// A valid header, but of another kind of message.
    #[error("a header of command {found} where one of command {expected} belongs (a misdirected read or write)")]
    WrongCommand {
        /// The `command` that belongs here.
        expected: u8,
        /// The `command` found.
        found: u8,
    },
    /// A valid block that was written for another place.
    #[error("a block of address {found} where address {expected} belongs (a misdirected read or write)")]
    WrongAddress {
        /// The address asked for.
        expected: u64,
        /// The address in the header.
        found: u64,
    },
    /// A valid block, but not the one referred to: the node has reused the address since the
    /// reference was read.
    #[error("block {found} stands where {expected} is referred to (overwritten since: read the superblock again)")]
    NotTheReferenced {
        /// The checksum in the reference.
        expected: Checksum,
        /// The checksum of the block that was found.
        found: Checksum,
    },
    /// A field has a value that TigerBeetle never writes.
    #[error(
        "{what} is {value}, which TigerBeetle never writes (damaged before it was checksummed, or a release this program does not know)"
    )]
    Field {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u128,
    },
    /// The bytes are of a format or a version that this program does not read.
    #[error("{what} {value} is not supported (not a TigerBeetle data file, a development build, or a newer format)")]
    Format {
        /// What identifies the format.
        what: &'static str,
        /// Its value.
        value: u128,
    },
    /// The superblock copies do not agree on a current state.
    #[error("{fault} ({valid_copies} of 4 superblock copies carry a valid checksum)")]
    Quorum {
        /// What is wrong with the copies.
        fault: QuorumFault,
        /// Number of copies whose checksum is right.
        valid_copies: u8,
    },
    /// A prepare that does not continue the log: its parent is not the prepare before it.
    #[error("the log is broken at op {op}: it continues {found_parent}, but the op before it is {expected_parent} (a gap or a fork)")]
    Chain {
        /// The op refused.
        op: u64,
        /// The checksum of the op before.
        expected_parent: Checksum,
        /// The parent that the op names.
        found_parent: Checksum,
    },
    /// A prepare of another op than the next one.
    #[error("op {found} where op {expected} belongs (a gap, or a slot that was overwritten since)")]
    WrongOp {
        /// The op that belongs here.
        expected: u64,
        /// The op found.
        found: u64,
    },
    /// The bytes belong to another cluster.
    #[error("cluster {found} where cluster {expected} belongs (a file of another cluster)")]
    WrongCluster {
        /// The cluster asked for.
        expected: u128,
        /// The cluster found.
        found: u128,
    },
    /// An argument from which no valid image can be made: a bug in the caller, or a request that
    /// cannot be met.
    #[error("{what} cannot be {value}")]
    Argument {
        /// The argument.
        what: &'static str,
        /// Its value.
        value: u128,
    },
}

/// Why four superblock copies do not yield a current superblock (`vsr/superblock_quorums.zig`).
#[derive(Debug, Copy, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumFault {
    /// No copy is valid.
    #[error("no superblock copy is valid: this is not a TigerBeetle data file, or all of its superblock is damaged")]
    NotFound,
    /// No state is in at least two copies.
    #[error("no two superblock copies agree: read again if the server runs, else the superblock is damaged")]
    Lost,
    /// Two states share a sequence number.
    #[error("two different superblocks have the same sequence number: the file was written by two processes, or restored over")]
    Fork,
    /// A copy is more than one step ahead of the state that has a quorum.
    #[error("a superblock copy is ahead by more than one step: read again if the server runs, else updates were lost")]
    ParentSkipped,
    /// The previous state is not the one that the current state names as its parent.
    #[error("the superblock does not follow from the one before it: the file mixes two histories")]
    ParentNotConnected,
    /// The current state has a lower op, view or commit number than the state before.
    #[error("the superblock goes back behind the one before it: the file mixes two histories")]
    NotMonotonic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_both_sides() {
        let error = LedgerError::NotTheReferenced { expected: Checksum(1), found: Checksum(2) };
        let text = error.to_string();
        assert!(text.contains("00000000000000000000000000000001") && text.contains("00000000000000000000000000000002"), "{text}");

        let error = LedgerError::Quorum { fault: QuorumFault::NotFound, valid_copies: 0 };
        assert!(error.to_string().starts_with("no superblock copy is valid"));
        assert!(error.to_string().contains("0 of 4"));
    }

    #[test]
    fn stays_small_enough_to_return_by_value() {
        assert!(size_of::<LedgerError>() <= 64);
    }
}
