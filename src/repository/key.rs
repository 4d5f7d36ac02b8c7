//! The repository key and how it is stored: wrapped, once for every way to open it.
//!
//! Flow: `amber init` draws a random 32-byte repository key and stores it wrapped (AES-256-GCM)
//! under a key-encryption key that comes from a passphrase (Argon2id) or a key file (HKDF). Opening
//! unwraps it again; object keys are derived from it and never stored. A repository may hold
//! several wrapped copies; wrapping anew rotates a passphrase without touching data. Kind 3, AWS
//! KMS, has its number in the format already, so that it can be added to these two.
//!
//! Layout: FORMAT.md, "Keys".

use super::wire::Fields;
use crate::error::{Error, Result};
use crate::host::Random;
use crate::pipeline::digest::digest_of;
use crate::pipeline::seal::SealingKey;
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"AMBERKEY";
const VERSION: u16 = 1;
const SALT_BYTES: usize = 32;
const WRAPPED_BYTES: usize = 48;
/// Everything in a key object before the wrapped key; it is authenticated with the key.
const HEAD_BYTES: usize = 8 + 2 + 2 + 4 + 4 + 4 + SALT_BYTES;
/// The exact size of a key object.
pub const KEY_OBJECT_BYTES: usize = HEAD_BYTES + WRAPPED_BYTES + 32;

/// RFC 9106, section 4, second recommended option: 64 MiB, three passes, four lanes.
const ARGON2_DEFAULT: Argon2Cost = Argon2Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
/// A stored cost above these limits means a damaged or hostile key object: opening must not take
/// more memory than an agent may have under systemd (`MemoryMax`), or unbounded time. It is four
/// times the cost of the keys that Amber writes.
const ARGON2_MAX: Argon2Cost = Argon2Cost { memory_kib: 256 * 1024, passes: 12, lanes: 16 };

/// A key file must hold at least as many bytes as the key that it protects.
pub const KEY_FILE_BYTES_MIN: usize = 32;
/// And at most this many: a larger file is surely another file.
pub const KEY_FILE_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// What the user opens a repository with.
pub enum Secret {
    /// A passphrase, as typed.
    Passphrase(Zeroizing<Vec<u8>>),
    /// The content of a key file.
    KeyFile(Zeroizing<Vec<u8>>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Secret::Passphrase(_) => "Passphrase",
            Secret::KeyFile(_) => "KeyFile",
        })
    }
}

impl Secret {
    fn kind(&self) -> u16 {
        match self {
            Secret::Passphrase(_) => 1,
            Secret::KeyFile(_) => 2,
        }
    }
}

/// The repository key. Zeroized when dropped; never printed.
#[derive(Clone)]
pub struct RepositoryKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for RepositoryKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RepositoryKey")
    }
}

/// What a key object gave.
#[derive(Debug)]
pub enum Unwrapped {
    /// The repository key.
    Key(RepositoryKey),
    /// The object is of another kind than the secret.
    OtherKind,
    /// The secret is wrong, or the object belongs to another repository.
    WrongSecret,
    /// The object's bytes are damaged; the text says what is wrong.
    Damaged(&'static str),
}

impl RepositoryKey {
    /// A new random key.
    pub fn generate() -> Result<RepositoryKey> {
        Ok(RepositoryKey(Zeroizing::new(random::<32>()?)))
    }

    /// 32 bytes derived with HKDF-SHA256 from this key, a salt and an info string given in pieces.
    pub fn derive(&self, salt: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>> {
        hkdf(&self.0[..], salt, info)
    }

    /// The key object that opens with `secret`, for the repository `repository_id`, under the
    /// object name `name`.
    pub fn wrap(&self, secret: &Secret, repository_id: &[u8; 16], name: &str) -> Result<Vec<u8>> {
        let cost = match secret {
            Secret::Passphrase(_) => ARGON2_DEFAULT,
            Secret::KeyFile(_) => Argon2Cost { memory_kib: 0, passes: 0, lanes: 0 },
        };
        let mut object = Vec::with_capacity(KEY_OBJECT_BYTES);
        object.extend_from_slice(MAGIC);
        object.extend_from_slice(&VERSION.to_le_bytes());
        object.extend_from_slice(&secret.kind().to_le_bytes());
        for field in [cost.memory_kib, cost.passes, cost.lanes] {
            object.extend_from_slice(&field.to_le_bytes());
        }
        object.extend_from_slice(&random::<SALT_BYTES>()?);
        let sealing = wrapping_key(secret, cost, &object, repository_id, name)?;
        let start = object.len();
        object.extend_from_slice(&self.0[..]);
        sealing.seal(0, true, &mut object, start).map_err(|_| Error::bug("wrapping the repository key failed"))?;
        let checksum = digest_of(&object);
        object.extend_from_slice(&checksum);
        Ok(object)
    }

    /// Unwraps the repository key from a key object.
    ///
    /// # Errors
    /// [`Error::damaged`] where Argon2id refuses the object's parameters.
    pub fn unwrap(object: &[u8], secret: &Secret, repository_id: &[u8; 16], name: &str) -> Result<Unwrapped> {
        let (kind, cost) = match check_key_object(object) {
            Ok(checked) => checked,
            Err(reason) => return Ok(Unwrapped::Damaged(reason)),
        };
        if kind != secret.kind() {
            return Ok(Unwrapped::OtherKind);
        }
        let (head, rest) = object.split_at(HEAD_BYTES);
        let sealing = wrapping_key(secret, cost, head, repository_id, name)?;
        let mut wrapped = Zeroizing::new(rest[..WRAPPED_BYTES].to_vec());
        let opened = sealing.open(0, true, &mut wrapped).ok().and_then(|plain| <[u8; 32]>::try_from(plain).ok());
        Ok(opened.map_or(Unwrapped::WrongSecret, |key| Unwrapped::Key(RepositoryKey(Zeroizing::new(key)))))
    }
}

/// Checks a key object's size, checksum and fields, without any secret. Returns its kind, and the
/// cost of opening it.
fn check_key_object(object: &[u8]) -> Result<(u16, Argon2Cost), &'static str> {
    if object.len() != KEY_OBJECT_BYTES {
        return Err("it has the wrong size");
    }
    let (covered, checksum) = object.split_at(KEY_OBJECT_BYTES - 32);
    if digest_of(covered)[..] != *checksum {
        return Err("its checksum does not match");
    }
    let mut fields = Fields::new(covered);
    if fields.take(8) != Some(&MAGIC[..]) || fields.u16() != Some(VERSION) {
        return Err("it is not a key object of format version 1");
    }
    let read = || Some((fields.u16()?, Argon2Cost { memory_kib: fields.u32()?, passes: fields.u32()?, lanes: fields.u32()? }));
    let (kind, cost) = { read }().ok_or("it is too short")?;
    let within = cost.memory_kib <= ARGON2_MAX.memory_kib && cost.passes <= ARGON2_MAX.passes && cost.lanes <= ARGON2_MAX.lanes;
    if !(1..=2).contains(&kind) {
        return Err("it is of a kind that this version does not know");
    }
    if within { Ok((kind, cost)) } else { Err("it asks for more memory or time than any key of ours") }
}

/// What is damaged in a key object; `None` if it is intact. Verification uses it, because that must
/// not need every secret.
pub fn key_object_damage(object: &[u8]) -> Option<&'static str> {
    check_key_object(object).err()
}

/// The key that wraps. It is bound to the head of the key object, the repository and the object's
/// name.
fn wrapping_key(secret: &Secret, cost: Argon2Cost, head: &[u8], repository_id: &[u8; 16], name: &str) -> Result<SealingKey> {
    let salt = &head[head.len() - SALT_BYTES..];
    let stretched = match secret {
        Secret::Passphrase(passphrase) => stretch(passphrase, salt, cost)?,
        Secret::KeyFile(content) => hkdf(content, salt, &[b"amber/1/key-file"])?,
    };
    let bound = hkdf(&stretched[..], salt, &[b"amber/1/wrap", head, repository_id, name.as_bytes()])?;
    SealingKey::new(&bound).ok_or_else(|| Error::bug("the library refused a 32-byte key"))
}

fn stretch(passphrase: &[u8], salt: &[u8], cost: Argon2Cost) -> Result<Zeroizing<[u8; 32]>> {
    let wrong = |error: argon2::Error| Error::damaged(format!("a key object's Argon2id parameters are unusable: {error}")).caused_by(error);
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(wrong)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(passphrase, salt, &mut key[..]).map_err(wrong)?;
    Ok(key)
}

fn hkdf(secret: &[u8], salt: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>> {
    use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
    let mut key = Zeroizing::new([0; 32]);
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    let filled = extracted.expand(info, HKDF_SHA256).and_then(|material| material.fill(&mut key[..]));
    filled.map(|()| key).map_err(|_| Error::bug("HKDF refused to derive a key"))
}

/// Random bytes from the system.
///
/// # Errors
/// When the system has none to give.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    Random::SYSTEM.bytes()
}

#[cfg(test)]
mod tests;
