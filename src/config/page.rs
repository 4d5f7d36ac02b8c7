//! `[page]`: where the monitoring page, the metrics and the health checks are served, and who may
//! use them.
//!
//! An address that other machines can reach, without anything that keeps strangers out, is refused
//! here, before an agent runs with it.

use super::origin::Origin;
use crate::config::reader::Reader;
use crate::config::value::Value;
use crate::error::Result;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The default address to listen on.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:9630";

/// `[page]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageSection {
    /// Address and port, or `off`.
    pub listen: Value<String>,
    /// The file that contains the token.
    pub token_file: Value<String>,
    /// The page's certificate.
    pub tls_certificate: Value<String>,
    /// Its key.
    pub tls_key: Value<String>,
    /// The authority of the clients' certificates.
    pub client_ca_file: Value<String>,
    /// Host names of the page.
    pub host_names: Value<Vec<String>>,
}

/// A file that is read when the agent starts, and where the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path.
    pub path: PathBuf,
    /// The line that names it.
    pub origin: Origin,
}

/// `[page]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePlan {
    /// The address to listen on; `None` if the page is off.
    pub listen: Option<SocketAddr>,
    /// The file that contains the token, without which nobody may act.
    pub token_file: Option<NamedFile>,
    /// The page's certificate and key.
    pub tls: Option<(NamedFile, NamedFile)>,
    /// The authority of the clients' certificates.
    pub client_ca_file: Option<NamedFile>,
    /// Host names of the page, in lower case.
    pub host_names: Vec<String>,
}

impl PagePlan {
    /// Whether reading needs no token: only this machine can connect, or clients show a
    /// certificate.
    pub fn is_open_to_read(&self) -> bool {
        self.client_ca_file.is_some() || self.listen.is_none_or(|listen| listen.ip().is_loopback())
    }
}

impl Reader<'_> {
    /// Checks `[page]`.
    pub(super) fn page(&self, section: &PageSection) -> Result<PagePlan> {
        let listen = self.listen(&section.listen)?;
        let token_file = self.named_file(&section.token_file)?;
        let (certificate, key) = (self.named_file(&section.tls_certificate)?, self.named_file(&section.tls_key)?);
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(certificate), None) => {
                return Err(certificate.origin.refuse("a certificate needs its key: write tls_key = \"FILE\" too"));
            }
            (None, Some(key)) => return Err(key.origin.refuse("a key needs its certificate: write tls_certificate = \"FILE\" too")),
        };
        let client_ca_file = self.named_file(&section.client_ca_file)?;
        if let Some(file) = client_ca_file.as_ref().filter(|_| tls.is_none()) {
            return Err(file.origin.refuse("only TLS asks clients for certificates: write tls_certificate and tls_key too"));
        }
        if listen.is_some_and(|listen| !listen.ip().is_loopback()) && token_file.is_none() && client_ca_file.is_none() {
            return Err(self.origin(&section.listen).refuse(
                "other machines could read this page and nothing would keep them out: write token_file = \"FILE\" in [page], or tls_certificate, \
                 tls_key and client_ca_file, or listen on 127.0.0.1",
            ));
        }
        let host_names =
            section.host_names.as_ref().map(|names| names.get_ref().iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>());
        let host_names = host_names.unwrap_or_default();
        let is_name = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if !host_names.iter().all(is_name) {
            return Err(self
                .origin(&section.host_names)
                .refuse("write names as a browser asks for them, without port: [\"amber.example.net\"]"));
        }
        Ok(PagePlan { listen, token_file, tls, client_ca_file, host_names })
    }

    fn listen(&self, value: &Value<String>) -> Result<Option<SocketAddr>> {
        let written = value.as_ref().map_or(LISTEN_DEFAULT, |value| value.get_ref());
        if written == "off" {
            return Ok(None);
        }
        let advice = "write an address and a port, listen = \"127.0.0.1:9630\", or \"off\"";
        written.parse().map(Some).map_err(|_| self.origin(value).refuse(advice))
    }

    fn named_file(&self, value: &Value<String>) -> Result<Option<NamedFile>> {
        Ok(self.path(value)?.map(|path| NamedFile { path, origin: self.origin(value) }))
    }
}
