//! `[telemetry]`: the OpenTelemetry collector that metrics are sent to. It is off unless
//! `otlp_endpoint` is written.

use super::bounds;
use super::origin::Text;
use crate::config::value::Value;
use crate::error::Result;
use http::Uri;
use serde::Deserialize;
use std::time::Duration;

/// The path at which a collector accepts metrics (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP
/// Request").
const PATH: &str = "/v1/metrics";

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySection {
    /// The collector, without the path.
    pub otlp_endpoint: Value<String>,
    /// How often.
    pub send_interval_s: Value<i64>,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryPlan {
    /// Where metrics are sent to.
    pub uri: Uri,
    /// How often.
    pub interval: Duration,
}

/// Checks the section; `None` if it is off.
///
/// # Errors
/// [`crate::error::Error::input`] with the line and what to write.
pub(super) fn read(text: &Text<'_>, section: &TelemetrySection) -> Result<Option<TelemetryPlan>> {
    let interval = Duration::from_secs(bounds::SEND_INTERVAL_S.check(text, &section.send_interval_s)?);
    let Some(endpoint) = &section.otlp_endpoint else { return Ok(None) };
    let advice = "write the collector beside the agent as \"http://127.0.0.1:4318\": OTLP over HTTP, without TLS, without user and without /v1/metrics";
    let uri = place(endpoint.get_ref()).ok_or_else(|| text.origin(endpoint.span()).refuse(advice))?;
    Ok(Some(TelemetryPlan { uri, interval }))
}

/// The URI that metrics are sent to, from an endpoint in the form of `OTEL_EXPORTER_OTLP_ENDPOINT`.
fn place(endpoint: &str) -> Option<Uri> {
    let base = endpoint.trim_end_matches('/');
    let uri: Uri = format!("{base}{PATH}").parse().ok()?;
    let authority = uri.authority()?.as_str();
    let is_plain = !authority.is_empty() && !authority.contains('@') && uri.query().is_none();
    (uri.scheme_str() == Some("http") && is_plain && !base.ends_with(PATH)).then_some(uri)
}
