//! The metrics in the form that OpenTelemetry collectors accept: an `ExportMetricsServiceRequest`
//! in OTLP's JSON (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding").
//!
//! Names are those of `/metrics`, so that the same rules and dashboards fit both. What is the same
//! for all samples is the resource: the program, cluster and replica. Numbers of 64 bits are text,
//! as in protobuf's JSON.

use super::{Described, Kind, Labels, Metrics, PREFIX};
use crate::monitor::status::AgentStatus;
use serde_json::{Value, json};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`: counted since the agent began.
const CUMULATIVE: u8 = 2;

/// The request that sends a status to a collector.
pub fn request(status: &AgentStatus) -> Value {
    let (cluster, replica, version) = (status.cluster.clone(), status.replica.to_string(), env!("CARGO_PKG_VERSION").to_owned());
    let resource = [
        ("service.name", PREFIX.to_owned()),
        ("service.version", version.clone()),
        ("service.instance.id", format!("{cluster}/{replica}")),
        ("cluster", cluster),
        ("replica", replica),
    ];
    let metrics = Metrics::of(status).described.into_iter().filter(|metric| !metric.samples.is_empty());
    let metrics: Vec<Value> = metrics.map(|metric| metric_json(&metric, status)).collect();
    json!({
        "resourceMetrics": [{
            "resource": { "attributes": resource.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>() },
            "scopeMetrics": [{ "scope": { "name": PREFIX, "version": version }, "metrics": metrics }],
        }],
    })
}

fn metric_json(metric: &Described, status: &AgentStatus) -> Value {
    let points: Vec<Value> = metric.samples.iter().map(|(labels, value)| point(metric.kind, labels, *value, status)).collect();
    let data = match metric.kind {
        Kind::Counter => ("sum", json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true })),
        Kind::Gauge | Kind::Info => ("gauge", json!({ "dataPoints": points })),
    };
    let (name, unit) = (name(metric), unit(metric));
    json!({ "name": name, "unit": unit, "description": metric.help, data.0: data.1 })
}

/// The name as in the text for Prometheus.
fn name(metric: &Described) -> String {
    let unit = if metric.unit.is_empty() { String::new() } else { format!("_{}", metric.unit) };
    let ending = match metric.kind {
        Kind::Gauge => "",
        Kind::Counter => "_total",
        Kind::Info => "_info",
    };
    format!("{PREFIX}_{}{unit}{ending}", metric.name)
}

/// A unit as UCUM writes it; the name of what is counted stands in braces.
fn unit(metric: &Described) -> String {
    match metric.unit.as_str() {
        "" | "ratio" => "1".to_owned(),
        "seconds" => "s".to_owned(),
        "bytes" => "By".to_owned(),
        counted => format!("{{{counted}}}"),
    }
}

fn point(kind: Kind, labels: &Labels, value: f64, status: &AgentStatus) -> Value {
    let attributes: Vec<Value> = labels.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut point = json!({ "attributes": attributes, "timeUnixNano": status.written_ns.to_string(), "asDouble": value });
    if kind == Kind::Counter {
        point["startTimeUnixNano"] = json!(status.began_ns.to_string());
    }
    point
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

#[cfg(test)]
mod tests;
