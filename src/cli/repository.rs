//! The arguments that name and open a repository, alike for every command.

use crate::error::{Error, Result};
use crate::repository::key::{KEY_FILE_BYTES_MAX, KEY_FILE_BYTES_MIN, Secret};
use crate::repository::{Options, Repository};

use crate::store::{self, S3Options, ServerSideEncryption, Store, StoreUrl, TlsMinimum};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A passphrase file larger than this is surely another file.
const PASSPHRASE_BYTES_MAX: u64 = 4096;
/// The variable that may hold the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "AMBER_PASSPHRASE";

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
    /// URL of an S3 server other than AWS, for example http://127.0.0.1:8333. Implies path-style requests.
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
    /// Encryption by the S3 server beneath Amber's own: `s3`, `kms` or `kms:KEY_ID`; the bucket's setting otherwise.
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
    /// File that holds the passphrase (a newline at its end does not count); AMBER_PASSPHRASE otherwise.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
    /// File of 32 to 4096 random bytes that opens the repository instead of a passphrase (head -c 32 /dev/urandom > FILE).
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
    /// Opens the store; says what is wrong with the arguments.
    pub fn store(&self) -> Result<Arc<dyn Store>> {
        let url = StoreUrl::parse(&self.repo)?;
        let options = S3Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.path_style,
            ca_file: self.ca_file.clone(),
            tls_minimum: match self.tls_minimum {
                TlsArgument::Tls12 => TlsMinimum::Tls12,
                TlsArgument::Tls13 => TlsMinimum::Tls13,
            },
            server_side_encryption: self.encryption()?,
            storage_class: self.storage_class.clone(),
            profile: self.profile.clone(),
            ..S3Options::default()
        };
        Ok(store::open(&url, &options)?)
    }

    fn encryption(&self) -> Result<ServerSideEncryption> {
        match self.server_side_encryption.as_deref() {
            None => Ok(ServerSideEncryption::BucketDefault),
            Some("s3") => Ok(ServerSideEncryption::S3),
            Some("kms") => Ok(ServerSideEncryption::Kms { key_id: None }),
            Some(other) => match other.strip_prefix("kms:").filter(|key_id| !key_id.is_empty()) {
                Some(key_id) => Ok(ServerSideEncryption::Kms { key_id: Some(key_id.to_owned()) }),
                None => Err(Error::input(format!("--server-side-encryption {other:?}: write s3, kms or kms:KEY_ID"))),
            },
        }
    }
}

impl SecretArguments {
    /// The passphrase or key.
    pub fn secret(&self) -> Result<Secret> {
        if let Some(path) = &self.key_file {
            let content = read_secret(path, KEY_FILE_BYTES_MAX as u64)?;
            if content.len() < KEY_FILE_BYTES_MIN {
                let length = content.len();
                return Err(Error::input(format!(
                    "{}: a key file has at least {KEY_FILE_BYTES_MIN} bytes, this one has {length}",
                    path.display()
                )));
            }
            return Ok(Secret::KeyFile(content));
        }
        let (passphrase, source) = match &self.passphrase_file {
            Some(path) => (without_line_end(read_secret(path, PASSPHRASE_BYTES_MAX)?), path.display().to_string()),
            None => (from_environment()?, PASSPHRASE_VARIABLE.to_owned()),
        };
        if passphrase.is_empty() {
            return Err(Error::input(format!("{source}: the passphrase is empty")));
        }
        Ok(Secret::Passphrase(passphrase))
    }
}

impl RepositoryArguments {
    /// Opens the repository.
    pub fn open(&self, options: Options) -> Result<Arc<Repository>> {
        let secret = self.secret.secret()?;
        Repository::open(self.place.store()?, &secret, options)
    }
}

fn from_environment() -> Result<Zeroizing<Vec<u8>>> {
    let value = std::env::var_os(PASSPHRASE_VARIABLE)
        .ok_or_else(|| Error::input(format!("no passphrase: give --passphrase-file or --key-file, or set {PASSPHRASE_VARIABLE}")))?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}

fn without_line_end(mut content: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if content.ends_with(b"\n") {
        content.pop();
    }
    if content.ends_with(b"\r") {
        content.pop();
    }
    content
}

fn read_secret(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: std::io::Error| Error::input(format!("{}: {error}", path.display()));
    let size_bytes = std::fs::metadata(path).map_err(failed)?.len();
    if size_bytes > bytes_max {
        return Err(Error::input(format!(
            "{}: it has {size_bytes} bytes, a secret has at most {bytes_max}: is it the right file?",
            path.display()
        )));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(failed)
}
