//! TLS for the page: its certificate and key, and the authority of its clients' certificates if
//! clients must have one.

use crate::error::{Error, Result};
use crate::host::Disk;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// More than any chain of certificates has.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// The files, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The page's certificate, and the intermediate certificates up to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Clients must have a certificate that this authority signed.
    pub client_authority: Option<PathBuf>,
}

/// Reads the files.
///
/// # Errors
/// [`Error::input`] naming the file that is missing, is not valid, or does not fit the others.
pub fn load(files: &Files) -> Result<Arc<ServerConfig>> {
    let certificates = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.map_err(|error| refused(&files.key, &format!("no private key in PEM ({error})")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug(format!("TLS: {error}")).caused_by(error))?;
    let builder = match &files.client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(path)? {
                roots.add(certificate).map_err(|error| refused(path, &error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| refused(path, &error.to_string()))?)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| refused(&files.certificate, &format!("it and {} cannot be used together ({error})", files.key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    match CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refused(path, "no certificate in PEM is in it")),
        Err(error) => Err(refused(path, &format!("no certificates in PEM ({error})"))),
    }
}

/// The content of a file, which may be a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let content = Disk::SYSTEM.read(path, PEM_BYTES_MAX + 1).map(Zeroizing::new).map_err(|error| refused(path, &error.to_string()))?;
    if content.len() as u64 > PEM_BYTES_MAX {
        return Err(refused(path, &format!("it has more than {PEM_BYTES_MAX} bytes: is it the right file?")));
    }
    Ok(content)
}

fn refused(path: &Path, what: &str) -> Error {
    Error::input(format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests;
