//! Every store against one list of checks (`amber::store::contract`).
//!
//! Memory and folder run here as they are. S3 needs a server: whoever has one running calls [`s3_contract`] with its endpoint.

use amber::store::contract::contract;
use amber::store::folder::FolderStore;
use amber::store::memory::MemoryStore;
use amber::store::s3::{AccessKey, S3Options, S3Store};
use amber::store::{Capabilities, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An S3 server to run the checks on.
#[derive(Debug, Clone)]
pub struct S3Server<'a> {
    /// URL, as `http://127.0.0.1:8333`.
    pub endpoint: &'a str,
    /// Access key that may make buckets.
    pub access_key_id: &'a str,
    /// Its secret.
    pub secret_access_key: &'a str,
    /// PEM file of the server's certificate authority, for `https://`.
    pub ca_file: Option<&'a Path>,
}

impl S3Server<'_> {
    /// How to reach this server.
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

    /// A store in `bucket`, which is made if it is not there.
    pub fn store(&self, bucket: &str, prefix: &str) -> S3Store {
        let store = S3Store::open(bucket, prefix, &self.options()).expect("the options are good");
        store.create_bucket().expect("the bucket can be made");
        store
    }
}

/// Runs the checks on a server, without a prefix and with one; `expected` is what the server is known to do.
pub fn s3_contract(server: &S3Server<'_>, expected: Capabilities) {
    let store = server.store("amber-contract", "");
    assert_eq!(store.capabilities(), expected, "{}", server.endpoint);
    contract(Arc::new(store));
    let below = server.store("amber-contract", "Some/prefix.of-the_user");
    contract(Arc::new(below));
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
