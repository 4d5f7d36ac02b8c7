//! Sealing: AES-256-GCM over one frame, in place.
//!
//! A [`SealingKey`] belongs to one object: it is derived from the repository key, the object's
//! random salt and its name, so the frame number can serve as the nonce and never repeats under a
//! key. Whatever else must not change unnoticed (frame number, last-frame flag) is authenticated
//! with each frame.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes that sealing adds to a frame: the GCM tag.
pub const TAG_BYTES: usize = 16;

/// The key of one object.
pub struct SealingKey(LessSafeKey);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SealingKey")
    }
}

/// The frame does not authenticate: its bytes, its number or its object's name are not those that
/// were sealed, or the key is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

impl SealingKey {
    /// A key from its 32 bytes; `None` only if the library refuses them.
    pub fn new(key: &Zeroizing<[u8; 32]>) -> Option<SealingKey> {
        UnboundKey::new(&AES_256_GCM, &key[..]).ok().map(|unbound| SealingKey(LessSafeKey::new(unbound)))
    }

    /// Encrypts `bytes[from..]` in place and appends the tag.
    ///
    /// # Errors
    /// [`NotAuthentic`] only if the frame is larger than GCM allows (64 GiB).
    pub fn seal(&self, number: u64, last: bool, bytes: &mut Vec<u8>, from: usize) -> Result<(), NotAuthentic> {
        let aad = Aad::from(associated(number, last));
        let tag = self.0.seal_in_place_separate_tag(nonce(number), aad, &mut bytes[from..]).map_err(|_| NotAuthentic)?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Checks and decrypts `sealed` in place; the plain bytes are all of it but the tag.
    ///
    /// # Errors
    /// [`NotAuthentic`] if a single bit of the frame, its number, its last-frame flag, the object's
    /// name or the key differs.
    pub fn open<'bytes>(&self, number: u64, last: bool, sealed: &'bytes mut [u8]) -> Result<&'bytes [u8], NotAuthentic> {
        let aad = Aad::from(associated(number, last));
        let plain = self.0.open_in_place(nonce(number), aad, sealed).map_err(|_| NotAuthentic)?;
        Ok(plain)
    }
}

/// The 96-bit nonce: four zero bytes, then the frame number.
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn associated(number: u64, last: bool) -> [u8; 9] {
    let mut bytes = [0; 9];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8] = u8::from(last);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::new(&Zeroizing::new([byte; 32])).unwrap()
    }

    #[test]
    fn opens_only_as_it_was_sealed() {
        let mut bytes = b"head".to_vec();
        bytes.extend_from_slice(b"secret ledger");
        key(1).seal(7, false, &mut bytes, 4).unwrap();
        assert_eq!(&bytes[..4], b"head");
        let sealed = bytes.split_off(4);
        assert_eq!(sealed.len(), 13 + TAG_BYTES);
        assert_eq!(key(1).open(7, false, &mut sealed.clone()).unwrap(), b"secret ledger");
        assert_eq!(key(2).open(7, false, &mut sealed.clone()), Err(NotAuthentic));
        assert_eq!(key(1).open(8, false, &mut sealed.clone()), Err(NotAuthentic));
        assert_eq!(key(1).open(7, true, &mut sealed.clone()), Err(NotAuthentic));
        for position in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[position] ^= 1;
            assert_eq!(key(1).open(7, false, &mut flipped), Err(NotAuthentic));
        }
        assert_eq!(key(1).open(7, false, &mut sealed[..10].to_vec()), Err(NotAuthentic));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", key(3)), "SealingKey");
    }
}
