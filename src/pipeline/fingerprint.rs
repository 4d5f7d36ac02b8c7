//! Fingerprints of plain bytes: they show whether two pieces are the same, without having both.
//!
//! A fingerprint is AEGIS-128L's MAC under a key of the repository: 128 bits, at a tenth of the
//! cost of SHA-256. Without the key nobody can make two pieces with one fingerprint, or learn from
//! a fingerprint what a piece holds.

use aegis::aegis128l::Aegis128LMac;
use zeroize::Zeroizing;

/// Size of a fingerprint in bytes.
pub const FINGERPRINT_BYTES: usize = 16;

/// The fingerprint of some plain bytes.
pub type Fingerprint = [u8; FINGERPRINT_BYTES];

/// Computes fingerprints under one key.
#[derive(Clone)]
pub struct Fingerprinter(Aegis128LMac<FINGERPRINT_BYTES>);

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fingerprinter")
    }
}

impl Fingerprinter {
    /// Uses the first half of these 32 bytes as the key and the second as the nonce, which for a
    /// MAC need not change.
    pub fn new(key: &Zeroizing<[u8; 32]>) -> Fingerprinter {
        let (mut first, mut second) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 16]));
        first.copy_from_slice(&key[..16]);
        second.copy_from_slice(&key[16..]);
        Fingerprinter(Aegis128LMac::new_with_nonce(&first, &second))
    }

    /// The fingerprint of `plain`.
    pub fn of(&self, plain: &[u8]) -> Fingerprint {
        let mut mac = self.0.clone();
        mac.update(plain);
        mac.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_and_nothing_else_have_the_same_fingerprint() {
        let key = |byte: u8| Fingerprinter::new(&Zeroizing::new([byte; 32]));
        let plain: Vec<u8> = (0..10_000).map(|number| number as u8).collect();
        assert_eq!(key(1).of(&plain), key(1).of(&plain));
        assert_eq!(key(1).clone().of(&plain), key(1).of(&plain));
        assert_ne!(key(1).of(&plain), key(2).of(&plain));
        assert_ne!(key(1).of(&plain), key(1).of(&plain[..9_999]));
        assert_ne!(key(1).of(&[]), key(1).of(&[0]));
        for position in [0, 31, 32, 5_000, 9_999] {
            let mut changed = plain.clone();
            changed[position] ^= 1;
            assert_ne!(key(1).of(&changed), key(1).of(&plain), "{position}");
        }
        // The second half counts too.
        let mut halves = [7; 32];
        halves[31] ^= 1;
        assert_ne!(Fingerprinter::new(&Zeroizing::new(halves)).of(&plain), key(7).of(&plain));
    }

    #[test]
    fn the_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", Fingerprinter::new(&Zeroizing::new([1; 32]))), "Fingerprinter");
    }
}
