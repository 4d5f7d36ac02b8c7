//! The status as metrics, for Prometheus and whatever reads the same text.
//!
//! Flow: [`Format::of`] looks what the scraper takes, [`exposition`] makes every metric of one status anew (`families`) and writes them. So there is no state that could
//! go stale, and a scrape costs a fraction of a millisecond. Every metric has a help text, and a unit in its name and its metadata where it has one; times are seconds
//! since the epoch, so that an age is `time() - metric`; shares are ratios, 1 is all; what is 1 or 0 says so.
//!
//! All carry the labels `cluster` and `replica`. What is not known has no sample; only the times of verification and drill are 0 then, so that an alert fires when there
//! never was one.

mod families;

use super::status::AgentStatus;
use crate::error::{Error, Result};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// The labels of one sample.
type Labels = Vec<(&'static str, String)>;

/// How the text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, with units.
    OpenMetrics,
    /// Prometheus' own older one, which everything reads.
    Prometheus,
}

impl Format {
    /// The better one of those that an `Accept` header names.
    pub fn of(accept: &str) -> Format {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The `Content-Type` of it.
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
    let mut metrics = Metrics { registry: Registry::with_prefix_and_labels("amber", labels.into_iter()) };
    families::all(&mut metrics, status);
    let mut written = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut written, &metrics.registry),
        Format::Prometheus => prometheus_text::encode(&mut written, &metrics.registry),
    }
    .map_err(|_| Error::bug("the metrics cannot be written as text"))?;
    Ok(written)
}

/// The metrics of one exposition. Names come without prefix, unit and `_total`, which are added.
struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A value that goes up and down; `unit` may be empty.
    fn gauge(&mut self, name: &str, unit: &str, help: &str, value: f64) {
        let metric = ConstGauge::new(value);
        match unit_of(unit) {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }

    /// 1 or 0.
    fn flag(&mut self, name: &str, help: &str, value: bool) {
        self.gauge(name, "", help, f64::from(u8::from(value)));
    }

    /// What only grows while the agent runs.
    fn counter(&mut self, name: &str, unit: &str, help: &str, value: f64) {
        let metric = ConstCounter::new(value);
        match unit_of(unit) {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }

    /// Gauges that differ by their labels; without any there is no sample.
    fn gauges(&mut self, name: &str, unit: &str, help: &str, samples: impl Iterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).set(value);
        }
        match unit_of(unit) {
            Some(unit) => self.registry.register_with_unit(name, help, unit, family),
            None => self.registry.register(name, help, family),
        }
    }

    /// Counters that differ by their labels.
    fn counters(&mut self, name: &str, unit: &str, help: &str, samples: impl Iterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, prometheus_client::metrics::counter::Counter>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).inc_by(value);
        }
        match unit_of(unit) {
            Some(unit) => self.registry.register_with_unit(name, help, unit, family),
            None => self.registry.register(name, help, family),
        }
    }

    /// A gauge that is only there where its value is known.
    fn known(&mut self, name: &str, unit: &str, help: &str, value: Option<f64>) {
        self.gauges(name, unit, help, value.into_iter().map(|value| (Vec::new(), value)));
    }

    /// Facts as labels of a sample that is always 1.
    fn info(&mut self, name: &str, help: &str, labels: Labels) {
        self.registry.register(name, help, Info::new(labels));
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
#[path = "../tests/metrics.rs"]
mod tests;
