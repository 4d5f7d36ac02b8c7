//! SHA-256 over bytes in pieces.
//!
//! Each stored part is digested once; the digest is S3's checksum, the signature's payload hash and
//! the manifest's entry.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// SHA-256 of the pieces as if they were one.
pub fn digest(pieces: &[Bytes]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update(piece);
    }
    hasher.finalize().into()
}

/// SHA-256 of bytes that arrive one after the other.
#[derive(Debug, Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes together.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// SHA-256 of one slice.
pub fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter() {
        let whole = digest(&[Bytes::from_static(b"abc")]);
        assert_eq!(whole, digest(&[Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"bc")]));
        assert_eq!(whole, digest_of(b"abc"));
        let mut digester = Digester::default();
        digester.update(b"ab");
        digester.update(b"c");
        assert_eq!(whole, digester.finish());
        // FIPS 180-2, appendix B.1.
        assert_eq!(whole[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
