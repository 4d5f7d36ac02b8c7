//! Where a repository is and how to reach it, as written in the configuration file or on the
//! command line.

use crate::error::Result;
use crate::store::{self, S3Options, ServerSideEncryption, Store, StoreUrl, TlsMinimum};
use std::sync::Arc;

/// Where a store is, ready to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreLocation {
    /// Its URL.
    pub url: StoreUrl,
    /// How to reach it if it is S3.
    pub s3: S3Options,
}

impl StoreLocation {
    /// Opens the store. No request is sent to an S3 server yet.
    ///
    /// # Errors
    /// The store's error: a folder that may not be used, or a file that is no certificate.
    pub fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(store::open(&self.url, &self.s3)?)
    }
}

/// Reads `s3`, `kms` or `kms:KEY_ID`; the error says what to write.
pub fn server_side_encryption(word: &str) -> Result<ServerSideEncryption, &'static str> {
    match word {
        "s3" => Ok(ServerSideEncryption::S3),
        "kms" => Ok(ServerSideEncryption::Kms { key_id: None }),
        other => match other.strip_prefix("kms:").filter(|key_id| !key_id.is_empty()) {
            Some(key_id) => Ok(ServerSideEncryption::Kms { key_id: Some(key_id.to_owned()) }),
            None => Err("write s3, kms or kms:KEY_ID"),
        },
    }
}

/// Reads `1.2` or `1.3`; the error says what to write.
pub fn tls_minimum(word: &str) -> Result<TlsMinimum, &'static str> {
    match word {
        "1.2" => Ok(TlsMinimum::Tls12),
        "1.3" => Ok(TlsMinimum::Tls13),
        _ => Err("write 1.2 or 1.3; older versions of TLS are not safe"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_options() {
        assert_eq!(server_side_encryption("s3"), Ok(ServerSideEncryption::S3));
        assert_eq!(server_side_encryption("kms"), Ok(ServerSideEncryption::Kms { key_id: None }));
        assert_eq!(server_side_encryption("kms:a:b"), Ok(ServerSideEncryption::Kms { key_id: Some("a:b".to_owned()) }));
        for word in ["", "kms:", "S3", "aes"] {
            assert!(server_side_encryption(word).is_err(), "{word}");
        }
        assert_eq!((tls_minimum("1.2"), tls_minimum("1.3")), (Ok(TlsMinimum::Tls12), Ok(TlsMinimum::Tls13)));
        assert!(tls_minimum("1.1").is_err() && tls_minimum("").is_err());
    }
}
