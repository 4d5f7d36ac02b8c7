//! Pushes the metrics to an OpenTelemetry collector: OTLP over HTTP, as JSON.
//!
//! Flow: the agent calls [`Exporter::send`] at an interval. The status becomes one request
//! (`metrics::request`), which is POSTed to the collector. Nothing is kept for later: counters
//! count from the agent's beginning, so the next request contains what a lost one did. There is no
//! TLS, because a collector runs next to what it collects from and uses TLS from there on.

use super::metrics;
use super::status::AgentStatus;
use crate::error::{Error, Result};
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long a collector may take to answer. It answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends to one collector.
#[derive(Debug)]
pub struct Exporter {
    uri: Uri,
    runtime: Runtime,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Exporter {
    /// An exporter to this URI.
    ///
    /// # Errors
    /// [`Error::try_again`] where the system gives it no runtime.
    pub fn new(uri: Uri) -> Result<Exporter> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::try_again(format!("the metrics cannot be sent: {error}")).caused_by(error))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TIMEOUT));
        // Connections are not kept open: requests are a minute apart.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Exporter { uri, runtime, client })
    }

    /// Sends a status, and waits for the answer.
    ///
    /// # Errors
    /// [`Error::try_again`] with the URI and the collector's answer, if it did not accept the
    /// metrics.
    pub fn send(&self, status: &AgentStatus) -> Result<()> {
        let failed = |what: String| Error::try_again(format!("{} does not take the metrics: {what}", self.uri));
        let body = metrics::request(status).to_string();
        let request = Request::builder().method(Method::POST).uri(&self.uri).header("content-type", "application/json");
        let request = request.body(Full::from(body)).map_err(|error| failed(error.to_string()))?;
        let answer = self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.client.request(request)).await });
        let answer = answer.map_err(|_| failed(format!("no answer within {} s", TIMEOUT.as_secs())))?;
        let answer = answer.map_err(|error| failed(causes(&error)))?;
        if answer.status().is_success() { Ok(()) } else { Err(failed(format!("it answers {}", answer.status()))) }
    }
}

/// An error and its causes, down to that of the system.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", causes(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
