//! TigerBeetle's checksum: it identifies every header, block, prepare and superblock.
//!
//! AEGIS-128L with key 0 and nonce 0: the data is the associated data of an empty message, and the
//! 128-bit tag, read as a little-endian integer, is the checksum (`vsr/checksum.zig`). This is the
//! tag of the authenticated encryption, not that of the newer AEGIS-MAC, whose finalisation
//! differs. It guards against faulty disks and misdirected reads, not against an adversary: the key
//! is public.

use aegis::aegis128l::Aegis128L;
use std::fmt;

/// The checksum of some bytes, which is also their name.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Default)]
pub struct Checksum(pub u128);

impl Checksum {
    /// The sixteen bytes as they are in the file.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// From the sixteen bytes as they are in the file.
    pub const fn from_bytes(bytes: [u8; 16]) -> Checksum {
        Checksum(u128::from_le_bytes(bytes))
    }
}

/// 32 hexadecimal digits, as TigerBeetle's own log and `tigerbeetle inspect` print it.
impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The checksum of `bytes`. Costs about one pass over memory (AES instructions), no allocation.
pub fn checksum(bytes: &[u8]) -> Checksum {
    Checksum::from_bytes(Aegis128L::<16>::new(&[0; 16], &[0; 16]).encrypt_in_place(&mut [], bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_vectors_of_tigerbeetle() {
        assert_eq!(checksum(&[]), Checksum(0x49f1_7461_8255_402d_e6e7_e3c4_0d60_cc83));
        assert_eq!(checksum(&[0; 16]), Checksum(0x263a_bed4_1c10_3361_65d1_5dd0_8dd4_2af7));
    }

    #[test]
    fn prints_thirty_two_digits() {
        assert_eq!(Checksum(0xab).to_string(), "000000000000000000000000000000ab");
        assert_eq!(format!("{:?}", Checksum(u128::MAX)), "f".repeat(32));
    }

    #[test]
    fn bytes_are_little_endian_and_round_trip() {
        assert_eq!(Checksum(1).to_bytes()[0], 1);
        assert_eq!(Checksum::from_bytes(Checksum(0x0102).to_bytes()), Checksum(0x0102));
    }
}
