//! The status as metrics, for Prometheus and whatever reads the same text, and for a collector of
//! OpenTelemetry.
//!
//! Flow: every metric of one status is made anew (`families`). A scraper names the formats that it
//! accepts ([`Format::of`]) and gets the metrics as text ([`exposition`]). [`request`] turns the
//! same metrics, under the same names, into what a collector is sent ([`super::telemetry`]). So
//! there is no state that could go stale, and a scrape costs a fraction of a millisecond.
//!
//! Every metric has a help text. A metric with a unit has it in its name and in its metadata. Times
//! are seconds since the epoch, so that an age is `time() - metric`. Shares are ratios, where 1 is
//! all. The help text of a metric that is 1 or 0 says so.
//!
//! All metrics carry the labels `cluster` and `replica`. A metric whose value is not known has no
//! sample. Only the times of verification and drill are 0 then, so that an alert fires when there
//! never was one.

mod families;
mod otlp;

pub use otlp::request;

use super::status::AgentStatus;
use crate::error::{Error, Result};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::sync::atomic::AtomicU64;

/// The labels of one sample.
type Labels = Vec<(&'static str, String)>;

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, with units.
    OpenMetrics,
    /// Prometheus' own, older format, which every scraper reads.
    Prometheus,
}

impl Format {
    /// The better format of those that an `Accept` header names.
    pub fn of(accept: &str) -> Format {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// All metrics of a status as text.
///
/// # Errors
/// [`Error::bug`] when they cannot be written.
pub fn exposition(status: &AgentStatus, format: Format) -> Result<String> {
    let labels = [("cluster".into(), status.cluster.clone().into()), ("replica".into(), status.replica.to_string().into())];
    let mut registry = Registry::with_prefix_and_labels(PREFIX, labels.into_iter());
    Metrics::of(status).described.into_iter().for_each(|metric| metric.register(&mut registry));
    let mut written = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut written, &registry),
        Format::Prometheus => prometheus_text::encode(&mut written, &registry),
    }
    .map_err(|_| Error::bug("the metrics cannot be written as text"))?;
    Ok(written)
}

/// The prefix of every name.
const PREFIX: &str = "amber";

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows while the agent runs.
    Counter,
    /// Facts as labels of a sample that is always 1.
    Info,
}

/// A metric with its samples, of which there may be none. The name is without prefix, unit and
/// `_total`; the unit may be empty.
#[derive(Debug, Clone, PartialEq)]
struct Described {
    kind: Kind,
    name: String,
    unit: String,
    help: String,
    samples: Vec<(Labels, f64)>,
}

impl Described {
    fn register(self, registry: &mut Registry) {
        let Described { kind, name, unit, help, samples } = self;
        match kind {
            Kind::Gauge => {
                let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
                samples.iter().for_each(|(labels, value)| {
                    family.get_or_create(labels).set(*value);
                });
                register(registry, &name, &unit, &help, family);
            }
            Kind::Counter => {
                let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
                samples.iter().for_each(|(labels, value)| {
                    family.get_or_create(labels).inc_by(*value);
                });
                register(registry, &name, &unit, &help, family);
            }
            Kind::Info => samples.into_iter().for_each(|(labels, _)| registry.register(name.clone(), help.clone(), Info::new(labels))),
        }
    }
}

fn register(registry: &mut Registry, name: &str, unit: &str, help: &str, metric: impl Metric) {
    match unit_of(unit) {
        Some(unit) => registry.register_with_unit(name, help, unit, metric),
        None => registry.register(name, help, metric),
    }
}

/// All metrics of one status.
struct Metrics {
    described: Vec<Described>,
}

impl Metrics {
    fn of(status: &AgentStatus) -> Metrics {
        let mut metrics = Metrics { described: Vec::new() };
        families::all(&mut metrics, status);
        metrics
    }

    fn add(&mut self, kind: Kind, [name, unit, help]: [&str; 3], samples: Vec<(Labels, f64)>) {
        self.described.push(Described { kind, name: name.to_owned(), unit: unit.to_owned(), help: help.to_owned(), samples });
    }

    /// A value that goes up and down; `unit` may be empty.
    fn gauge(&mut self, name: &str, unit: &str, help: &str, value: f64) {
        self.add(Kind::Gauge, [name, unit, help], vec![(Vec::new(), value)]);
    }

    /// 1 or 0.
    fn flag(&mut self, name: &str, help: &str, value: bool) {
        self.gauge(name, "", help, f64::from(u8::from(value)));
    }

    /// What only grows while the agent runs.
    fn counter(&mut self, name: &str, unit: &str, help: &str, value: f64) {
        self.add(Kind::Counter, [name, unit, help], vec![(Vec::new(), value)]);
    }

    /// Gauges that differ by their labels; there may be none.
    fn gauges(&mut self, name: &str, unit: &str, help: &str, samples: impl Iterator<Item = (Labels, f64)>) {
        self.add(Kind::Gauge, [name, unit, help], samples.collect());
    }

    /// Counters that differ by their labels.
    fn counters(&mut self, name: &str, unit: &str, help: &str, samples: impl Iterator<Item = (Labels, u64)>) {
        self.add(Kind::Counter, [name, unit, help], samples.map(|(labels, count)| (labels, count as f64)).collect());
    }

    /// A gauge that is only there where its value is known.
    fn known(&mut self, name: &str, unit: &str, help: &str, value: Option<f64>) {
        self.gauges(name, unit, help, value.into_iter().map(|value| (Vec::new(), value)));
    }

    /// Facts as labels of a sample that is always 1.
    fn info(&mut self, name: &str, help: &str, labels: Labels) {
        self.add(Kind::Info, [name, "", help], vec![(labels, 1.0)]);
    }
}

fn unit_of(unit: &str) -> Option<Unit> {
    match unit {
        "" => None,
        "seconds" => Some(Unit::Seconds),
        "bytes" => Some(Unit::Bytes),
        other => Some(Unit::Other(other.to_owned())),
    }
}

#[cfg(test)]
mod tests;
