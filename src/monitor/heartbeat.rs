//! The heartbeat: a file, and a call to somebody else, both only while the agent is alive. Whoever
//! watches notices a dead agent, a dead machine and a dead network by what does not come.
//!
//! The file holds the time and the level (`safe`, `attention`, `danger`); its time of change is
//! what most watchers look at. The call is made while nothing is in danger: silence says that
//! somebody must look, whether the agent is dead or what it knows is bad.

use super::level::Level;
use super::status::AgentStatus;
use super::verdict::verdict;
use crate::error::{Error, Result};
use crate::host::Disk;
use crate::store::s3::TlsMinimum;
use crate::store::s3::tls_client_config;
use crate::units::time_text;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Empty;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long the other side may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The file in the state directory, if the configuration names no other.
pub const HEARTBEAT_FILE: &str = "heartbeat";

/// Calls one URL.
#[derive(Debug)]
struct Call {
    uri: Uri,
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// Shows that the agent is alive.
#[derive(Debug)]
pub struct Heartbeat {
    disk: Disk,
    file: PathBuf,
    call: Option<Call>,
}

impl Heartbeat {
    /// A heartbeat in this file, and to this URL if there is one.
    ///
    /// # Errors
    /// [`Error::try_again`] where the system gives no runtime, [`Error::input`] where its
    /// certificate authorities cannot be read.
    pub fn new(disk: Disk, file: PathBuf, uri: Option<Uri>) -> Result<Heartbeat> {
        Ok(Heartbeat { disk, file, call: uri.map(Call::new).transpose()? })
    }

    /// Shows once that the agent is alive.
    ///
    /// # Errors
    /// [`Error::try_again`] where the file cannot be written or the other side does not answer. It
    /// never says the URL, which is a secret of a kind.
    pub fn beat(&self, status: &AgentStatus, now_ns: u64) -> Result<()> {
        let level = verdict(status, now_ns).level;
        let written = write(self.disk, &self.file, level, now_ns);
        let called = match &self.call {
            Some(call) if level != Level::Danger => call.make(),
            _ => Ok(()),
        };
        written.and(called)
    }
}

fn write(disk: Disk, file: &Path, level: Level, now_ns: u64) -> Result<()> {
    let name = file.file_name().map(|name| format!(".{}.new", name.to_string_lossy())).unwrap_or_default();
    let line = format!("{} {}\n", time_text(now_ns), level.text());
    let failed = |error: std::io::Error| Error::try_again(format!("the heartbeat {}: {error}", file.display())).caused_by(error);
    disk.replace(file, &name, 0o644, line.as_bytes()).map_err(failed)
}

impl Call {
    fn new(uri: Uri) -> Result<Call> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::try_again(format!("the heartbeat cannot be sent: {error}")).caused_by(error))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TIMEOUT));
        let tls = tls_client_config(None, TlsMinimum::Tls12).map_err(Error::input)?;
        // Connections are not kept open: calls are a minute apart.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(HttpsConnector::from((tcp, tls)));
        Ok(Call { uri, runtime, client })
    }

    fn make(&self) -> Result<()> {
        let failed = |what: String| Error::try_again(format!("nobody takes the heartbeat (heartbeat_url): {what}"));
        let request = Request::get(&self.uri).header("user-agent", concat!("amber/", env!("CARGO_PKG_VERSION"))).body(Empty::new());
        let request = request.map_err(|error| failed(error.to_string()))?;
        let answer = self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.client.request(request)).await });
        let answer = answer.map_err(|_| failed(format!("no answer within {} s", TIMEOUT.as_secs())))?;
        let answer = answer.map_err(|error| failed(super::telemetry::causes(&error)))?;
        if answer.status().is_success() { Ok(()) } else { Err(failed(format!("the answer is {}", answer.status()))) }
    }
}

#[cfg(test)]
mod tests;
