//! The arguments that name and open a repository, the same for every command.

use crate::config::place::{self, StoreLocation};
use crate::config::secret::SecretSource;
use crate::error::{Error, Result};
use crate::repository::key::Secret;
use crate::repository::{Options, Repository};
use crate::store::{S3Options, ServerSideEncryption, Store, StoreUrl, TlsMinimum};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;

/// The least TLS version, as an argument.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TlsArgument {
    /// TLS 1.2 or 1.3.
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 only.
    #[value(name = "1.3")]
    Tls13,
}

/// Which repository, and how to reach it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Repository")]
pub struct PlaceArguments {
    /// The repository: a folder, or s3://bucket/prefix.
    #[arg(long, env = "AMBER_REPO", value_name = "URL")]
    pub repo: String,
    /// URL of an S3 server other than AWS, for example http://127.0.0.1:8333. Implies path-style
    /// requests.
    #[arg(long, env = "AMBER_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// S3 Region; the AWS configuration's otherwise.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The bucket goes into the path (true) or the host name (false).
    #[arg(long, value_name = "BOOL")]
    path_style: Option<bool>,
    /// PEM file with the only certificate authorities to trust, instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The least TLS version that is accepted.
    #[arg(long, value_enum, default_value = "1.3")]
    tls_minimum: TlsArgument,
    /// Encryption by the S3 server beneath Amber's own: `s3`, `kms` or `kms:KEY_ID`; the bucket's
    /// setting otherwise.
    #[arg(long, value_name = "KIND")]
    server_side_encryption: Option<String>,
    /// S3 storage class of new objects, for example STANDARD_IA.
    #[arg(long, value_name = "CLASS")]
    storage_class: Option<String>,
    /// Profile of the AWS configuration.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

/// What opens the repository.
#[derive(Debug, Args)]
#[command(next_help_heading = "Repository")]
pub struct SecretArguments {
    /// File that holds the passphrase (a newline at its end does not count); AMBER_PASSPHRASE
    /// otherwise.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
    /// File of 32 to 4096 random bytes that opens the repository instead of a passphrase (head -c
    /// 32 /dev/urandom > FILE).
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// A repository and what opens it.
#[derive(Debug, Args)]
pub struct RepositoryArguments {
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    secret: SecretArguments,
}

impl PlaceArguments {
    /// Opens the store. The error says what is wrong with the arguments.
    pub fn store(&self) -> Result<Arc<dyn Store>> {
        self.open(&self.repo)
    }

    /// Opens the store at the folder of this name below the repository, for objects that must not
    /// be mixed with those of the repository.
    pub fn store_below(&self, folder: &str) -> Result<Arc<dyn Store>> {
        self.open(&format!("{}/{folder}", self.repo.trim_end_matches('/')))
    }

    /// The folder in which [`PlaceArguments::store_below`] stores its objects, if it is on this
    /// machine.
    pub fn folder_below(&self, folder: &str) -> Option<PathBuf> {
        match StoreUrl::parse(&self.repo) {
            Ok(StoreUrl::Folder(path)) => Some(path.join(folder)),
            _ => None,
        }
    }

    fn open(&self, url: &str) -> Result<Arc<dyn Store>> {
        let server_side_encryption = match self.server_side_encryption.as_deref() {
            None => ServerSideEncryption::default(),
            Some(word) => place::server_side_encryption(word)
                .map_err(|advice| Error::input(format!("--server-side-encryption {word:?}: {advice}")))?,
        };
        let s3 = S3Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            ca_file: self.ca_file.clone(),
            tls_minimum: match self.tls_minimum {
                TlsArgument::Tls12 => TlsMinimum::Tls12,
                TlsArgument::Tls13 => TlsMinimum::Tls13,
            },
            server_side_encryption,
            storage_class: self.storage_class.clone(),
            profile: self.profile.clone(),
            ..S3Options::default()
        };
        StoreLocation { url: StoreUrl::parse(url)?, s3 }.open()
    }
}

impl SecretArguments {
    /// The passphrase or key.
    pub fn secret(&self) -> Result<Secret> {
        let source = match (&self.key_file, &self.passphrase_file) {
            (Some(path), _) => SecretSource::KeyFile(path.clone()),
            (None, Some(path)) => SecretSource::PassphraseFile(path.clone()),
            (None, None) => SecretSource::Environment,
        };
        source.read()
    }
}

impl RepositoryArguments {
    /// What the user wrote.
    pub fn url(&self) -> &str {
        &self.place.repo
    }

    /// Opens the repository.
    pub fn open(&self, options: Options) -> Result<Arc<Repository>> {
        let secret = self.secret.secret()?;
        Repository::open(self.place.store()?, &secret, options)
    }
}
