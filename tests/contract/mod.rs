//! Runs one list of checks on every store (`amber::store::contract`).
//!
//! Memory and folder run here directly. S3 needs a server: a caller that has one running calls
//! [`s3_contract`] with its endpoint.

use amber::store::contract::contract;
use amber::store::folder::FolderStore;
use amber::store::memory::MemoryStore;
use amber::store::s3::{AccessKey, S3Options, S3Store};
use amber::store::{Capabilities, Store, StoreError, TlsMinimum};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An S3 server on which to run the checks.
#[derive(Debug, Clone)]
pub struct S3Server<'a> {
    /// URL, as `http://127.0.0.1:8333`.
    pub endpoint: &'a str,
    /// Access key that may create buckets.
    pub access_key_id: &'a str,
    /// Its secret.
    pub secret_access_key: &'a str,
    /// PEM file of the server's certificate authority, for `https://`.
    pub ca_file: Option<&'a Path>,
}

impl S3Server<'_> {
    /// The options for connecting to this server.
    pub fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.endpoint.to_owned()),
            access_key: Some(AccessKey {
                access_key_id: self.access_key_id.to_owned(),
                secret_access_key: self.secret_access_key.to_owned(),
                session_token: None,
            }),
            ca_file: self.ca_file.map(Path::to_owned),
            ..S3Options::default()
        }
    }

    /// A store in `bucket`, which is created if it does not exist.
    pub fn store(&self, bucket: &str, prefix: &str) -> S3Store {
        let store = S3Store::open(bucket, prefix, &self.options()).expect("the options are good");
        store.create_bucket().expect("the bucket can be made");
        store
    }
}

/// Runs the checks on a server, without a prefix and with one. `expected` is what the server is
/// known to support.
pub fn s3_contract(server: &S3Server<'_>, expected: Capabilities) {
    let store = server.store("amber-contract", "");
    assert_eq!(store.capabilities(), expected, "{}", server.endpoint);
    contract(Arc::new(store));
    let below = server.store("amber-contract", "Some/prefix.of-the_user");
    contract(Arc::new(below));
}

/// Checks certificates: the server's own authority (`server.ca_file`) is accepted; another one, and
/// those of this machine, are refused.
pub fn s3_certificates(server: &S3Server<'_>, foreign_ca_file: &Path) {
    let list = |ca_file: Option<&Path>| {
        let other = S3Server { ca_file, ..server.clone() };
        S3Store::open("amber-contract", "", &other.options()).and_then(|store| store.list("", None, 1))
    };
    server.store("amber-contract", "");
    assert!(list(server.ca_file).is_ok());
    for ca_file in [Some(foreign_ca_file), None] {
        let refused = list(ca_file).expect_err("the certificate is not trusted");
        assert!(matches!(&refused, StoreError::Refused { reason, .. } if reason.contains("certificate is not valid")), "{refused}");
    }
}

/// Checks the minimum TLS version on a server that offers no more than TLS 1.2, as `openssl
/// s_server -tls1_2 -www` does (which is not an S3 server).
pub fn s3_tls_minimum(old_server: &S3Server<'_>) {
    let list = |tls_minimum| {
        let options = S3Options { tls_minimum, attempts: 1, ..old_server.options() };
        S3Store::open("amber-contract", "", &options).and_then(|store| store.list("", None, 1)).expect_err("it is no S3").to_string()
    };
    let refused = list(TlsMinimum::Tls13);
    assert!(refused.contains("least TLS version"), "{refused}");
    let connected = list(TlsMinimum::Tls12);
    assert!(connected.contains("HTTP status 200"), "{connected}");
}

#[test]
fn memory_passes_the_contract() {
    contract(Arc::new(MemoryStore::new()));
}

#[test]
fn folder_passes_the_contract() {
    let root: PathBuf = std::env::temp_dir().join(format!("amber-contract-{}", std::process::id()));
    contract(Arc::new(FolderStore::open(&root).expect("the folder can be opened")));
    std::fs::remove_dir_all(&root).expect("the test's own folder goes");
}
