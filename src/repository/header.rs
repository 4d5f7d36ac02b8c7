//! The repository's header: what it is, which version, whose id.
//!
//! It is the last object that `amber init` writes, create-only, so a repository exists when its
//! header does. Its id can be read without a key, because the key objects are bound to it. Its
//! message authentication code is checked once the key is open, so no bit of it can change
//! unnoticed.
//!
//! Layout: FORMAT.md, "Header".

use super::key::RepositoryKey;
use super::wire::Fields;
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"AMBERREP";
/// The format version that this code writes and the highest that it reads.
pub const FORMAT_VERSION: u16 = 1;
const COVERED_BYTES: usize = 40;
/// The exact size of the header object.
pub const HEADER_BYTES: usize = COVERED_BYTES + 32;

/// A repository's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Random; binds keys and objects to this repository.
    pub repository_id: [u8; 16],
    /// When `amber init` made it, in nanoseconds since the epoch.
    pub created_ns: u64,
}

/// A header as read. Its code has not been checked, because the key is not open yet.
#[derive(Debug, Clone)]
pub struct UncheckedHeader {
    header: Header,
    bytes: Vec<u8>,
}

impl Header {
    /// The header object.
    pub fn encode(&self, key: &RepositoryKey) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&self.repository_id);
        bytes.extend_from_slice(&self.created_ns.to_le_bytes());
        let code = authentication_code(key, &bytes)?;
        bytes.extend_from_slice(&code);
        Ok(bytes)
    }
}

impl UncheckedHeader {
    /// Reads a header object.
    ///
    /// # Errors
    /// [`Error::damaged`] for anything but the header of this version. Without its code a newer
    /// version cannot be distinguished from a flipped bit.
    pub fn decode(bytes: &[u8], store: &str) -> Result<UncheckedHeader> {
        let foreign =
            || Error::damaged(format!("{store}: amber/repository is not an Amber header: it is damaged or something else wrote it"));
        let mut fields = Fields::new(bytes);
        if fields.take(8) != Some(&MAGIC[..]) {
            return Err(foreign());
        }
        let version = fields.u16().ok_or_else(foreign)?;
        if version != FORMAT_VERSION {
            return Err(Error::damaged(format!(
                "{store}: the repository has format version {version}, this Amber reads version {FORMAT_VERSION}: use a newer Amber, or its header is damaged"
            )));
        }
        let mut read = || {
            fields.zeros::<6>()?;
            let header = Header { repository_id: fields.array()?, created_ns: fields.u64()? };
            fields.take(32)?;
            fields.end()?;
            Some(header)
        };
        let header = read().ok_or_else(foreign)?;
        Ok(UncheckedHeader { header, bytes: bytes.to_vec() })
    }

    /// The id as read. It is only good for finding the key, which is bound to it.
    pub fn repository_id(&self) -> &[u8; 16] {
        &self.header.repository_id
    }

    /// The header, if its code matches.
    ///
    /// # Errors
    /// [`Error::damaged`] when it does not.
    pub fn check(self, key: &RepositoryKey, store: &str) -> Result<Header> {
        let (covered, code) = self.bytes.split_at(COVERED_BYTES);
        if authentication_code(key, covered)?[..] == *code {
            Ok(self.header)
        } else {
            Err(Error::damaged(format!(
                "{store}: amber/repository was changed after it was written: its authentication code does not match"
            )))
        }
    }
}

/// HKDF with the covered bytes as info is a keyed function of them: equal codes mean equal bytes
/// and key.
fn authentication_code(key: &RepositoryKey, covered: &[u8]) -> Result<[u8; 32]> {
    Ok(*key.derive(b"amber/1/header", &[covered])?)
}
