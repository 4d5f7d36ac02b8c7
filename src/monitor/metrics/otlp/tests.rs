//! What a collector is sent is what a scraper reads: the same names, labels and values.

use super::*;
use crate::monitor::metrics::{Format, exposition};
use crate::monitor::sample::{healthy, troubled};
use std::collections::BTreeMap;

const NOW_NS: u64 = 1_800_000_000_000_000_000;

/// Maps name and labels to the value that a scraper reads, without the labels that all metrics
/// have.
fn scraped(status: &AgentStatus) -> BTreeMap<String, f64> {
    let text = exposition(status, Format::Prometheus).unwrap();
    let all = format!("cluster=\"{}\",replica=\"{}\"", status.cluster, status.replica);
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let own = series.replace(&all, "").replace("{,", "{").replace("{}", "");
        (own, value.parse().unwrap())
    });
    samples.collect()
}

/// The same for a request to a collector.
fn sent(request: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for metric in metrics(request) {
        let data = if metric["sum"].is_object() { &metric["sum"] } else { &metric["gauge"] };
        for point in data["dataPoints"].as_array().unwrap() {
            let labels = point["attributes"].as_array().unwrap().iter().map(|attribute| {
                let value = attribute["value"]["stringValue"].as_str().unwrap();
                format!("{}=\"{value}\"", attribute["key"].as_str().unwrap())
            });
            let labels = labels.collect::<Vec<_>>().join(",");
            let series =
                format!("{}{}", metric["name"].as_str().unwrap(), if labels.is_empty() { labels } else { format!("{{{labels}}}") });
            assert_eq!(found.insert(series, point["asDouble"].as_f64().unwrap()), None);
        }
    }
    found
}

fn metrics(request: &Value) -> &Vec<Value> {
    let scope = &request["resourceMetrics"][0]["scopeMetrics"][0];
    assert_eq!(scope["scope"]["name"], "amber");
    scope["metrics"].as_array().unwrap()
}

#[test]
fn a_collector_gets_what_a_scraper_reads() {
    for status in [healthy(NOW_NS), troubled(NOW_NS), AgentStatus::default()] {
        let (scraped, sent) = (scraped(&status), sent(&request(&status)));
        assert!(sent.len() > 20);
        assert_eq!(sent, scraped);
    }
}

#[test]
fn counters_are_sums_since_the_start_and_units_are_ucum() {
    let status = healthy(NOW_NS);
    let request = request(&status);
    let named = |name: &str| metrics(&request).iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let read = named("amber_log_read_bytes_total");
    assert_eq!(
        (&read["unit"], &read["sum"]["aggregationTemporality"], &read["sum"]["isMonotonic"]),
        (&json!("By"), &json!(2), &json!(true))
    );
    let point = &read["sum"]["dataPoints"][0];
    assert_eq!(point["timeUnixNano"], json!(status.written_ns.to_string()), "64 bits are text");
    assert_eq!(point["startTimeUnixNano"], json!(status.began_ns.to_string()));
    let lag = named("amber_recovery_point_lag_seconds");
    assert_eq!((&lag["unit"], &lag["gauge"]["dataPoints"][0]["asDouble"]), (&json!("s"), &json!(0.42)));
    assert!(lag["gauge"]["dataPoints"][0]["startTimeUnixNano"].is_null() && lag["description"].as_str().unwrap().len() > 10);
    assert_eq!(named("amber_recovery_point_lag_ops")["unit"], "{ops}");
    assert_eq!((&named("amber_cpu_share_ratio")["unit"], &named("amber_leader")["unit"]), (&json!("1"), &json!("1")));
    assert_eq!(named("amber_build_info")["gauge"]["dataPoints"][0]["asDouble"], 1.0);
    let resource = &request["resourceMetrics"][0]["resource"]["attributes"];
    let of =
        |key: &str| resource.as_array().unwrap().iter().find(|attribute| attribute["key"] == key).unwrap()["value"]["stringValue"].clone();
    assert_eq!((of("service.name"), of("service.instance.id")), (json!("amber"), json!(format!("{}/{}", status.cluster, status.replica))));
}
