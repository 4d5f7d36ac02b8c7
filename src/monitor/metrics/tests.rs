//! The metrics: each has help, type, and a declared unit if it has any. Both text formats hold the
//! same. Rules and dashboard name only metrics that exist.

use super::*;
use crate::monitor::sample::healthy;
use std::collections::{BTreeMap, BTreeSet};

const NOW_NS: u64 = 1_800_000_000_000_000_000;
const RULES: &str = include_str!("../../../tools/grafana/rules.yml");
const DASHBOARD: &str = include_str!("../../../tools/grafana/dashboard.json");

fn text(status: &AgentStatus, format: Format) -> String {
    exposition(status, format).unwrap()
}

/// What a text says about each metric in lines `# WORD name rest`.
fn said(text: &str, word: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("# {word} ")));
    lines.filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

/// The samples: name, labels, value.
fn samples(text: &str) -> Vec<(String, String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap();
            (name.to_owned(), labels.trim_end_matches('}').to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn value(status: &AgentStatus, name: &str, label: &str) -> Option<f64> {
    samples(&text(status, Format::Prometheus))
        .into_iter()
        .find(|sample| sample.0 == name && sample.1.contains(label))
        .map(|sample| sample.2)
}

#[test]
fn every_metric_has_help_type_and_unit() {
    let text = text(&healthy(NOW_NS), Format::OpenMetrics);
    let (help, kinds, units) = (said(&text, "HELP"), said(&text, "TYPE"), said(&text, "UNIT"));
    assert!(kinds.len() > 60, "{}", kinds.len());
    for (name, kind) in &kinds {
        assert!(help.get(name).is_some_and(|help| help.len() > 8 && help.ends_with('.')), "{name} has no help");
        assert!(name.starts_with("amber_"), "{name}");
        match units.get(name) {
            Some(unit) => assert!(name.ends_with(&format!("_{unit}")), "{name} {unit}"),
            // A metric without a unit is a fact, a count, the number of an op or a fence, or 1 or
            // 0. Its help says which.
            None => assert!(
                kind == "info" || ["number", "1 ", "delivered"].iter().any(|word| help[name].contains(word)),
                "{name} has no unit: {}",
                help[name]
            ),
        }
    }
    assert!(text.ends_with("# EOF\n"));
    let families: BTreeSet<String> =
        samples(&text).iter().map(|sample| sample.0.trim_end_matches("_total").trim_end_matches("_info").to_owned()).collect();
    assert_eq!(families, kinds.into_keys().collect(), "every family has samples in a full status, and every sample a family");
    assert!(samples(&text).iter().all(|sample| sample.1.contains("cluster=\"2164") && sample.1.contains("replica=\"0\"")), "{text}");
}

#[test]
fn figures_are_those_of_the_status_in_base_units() {
    let status = healthy(NOW_NS);
    for (name, label, wanted) in [
        ("amber_recovery_point_lag_seconds", "", 0.42),
        ("amber_recovery_point_lag_ops", "", 90.0),
        ("amber_recovery_point_lag_alarm_seconds", "", 900.0),
        ("amber_cpu_share_ratio", "", 0.021),
        ("amber_cpu_budget_ratio", "", 0.05),
        ("amber_log_read_bytes_total", "", 3100.0 * 1_048_576.0),
        ("amber_log_compression_ratio", "", 3100.0 / 754.0),
        ("amber_gap_ops", "", 4001.0),
        ("amber_gaps_open", "", 0.0),
        ("amber_leader", "", 1.0),
        ("amber_safe", "", 1.0),
        ("amber_agent_state", "state=\"leading\"", 1.0),
        ("amber_agent_state", "state=\"starting\"", 0.0),
        ("amber_job_running", "job_name=\"verification\"", 1.0),
        ("amber_job_progress_ratio", "job_name=\"verification\"", 5200.0 / 8700.0),
        ("amber_job_duration_seconds", "job_name=\"checkpoint\"", 210.0),
        ("amber_job_success_timestamp_seconds", "job_name=\"checkpoint\"", 1_799_996_400.0),
        ("amber_store_errors_total", "kind=\"slow_down\"", 3.0),
        ("amber_storage_bytes", "class=\"records\"", 1_048_576.0),
        ("amber_verification_whole", "", 1.0),
        ("amber_drill_timestamp_seconds", "", 1_798_272_000.0),
        ("amber_restore_estimate_seconds", "", 640.0),
        ("amber_events_waiting", "", 1.0),
        ("amber_build_info", "version=", 1.0),
    ] {
        let found = value(&status, name, label);
        assert!(
            found.is_some_and(|found| (found - wanted).abs() < 1e-9 * wanted.abs().max(1.0)),
            "{name} {label}: {found:?}, not {wanted}"
        );
    }
}

#[test]
fn what_is_not_known_has_no_sample_and_what_never_was_is_zero() {
    let status = AgentStatus::default();
    for name in
        ["amber_log_compression_ratio", "amber_checkpoint_timestamp_seconds", "amber_verification_whole", "amber_restore_estimate_seconds"]
    {
        assert_eq!(value(&status, name, ""), None, "{name}");
    }
    for name in ["amber_verification_timestamp_seconds", "amber_drill_timestamp_seconds", "amber_leader", "amber_store_reachable"] {
        assert_eq!(value(&status, name, ""), Some(0.0), "{name}");
    }
}

#[test]
fn a_label_cannot_break_out_of_its_line() {
    let mut status = healthy(NOW_NS);
    status.jobs[0].name = "a\"b\\c\nd".into();
    status.host = Some("x\"} 1\nevil 1".into());
    for format in [Format::OpenMetrics, Format::Prometheus] {
        let text = text(&status, format);
        assert!(text.contains(r#"job_name="a\"b\\c\nd""#) && !text.lines().any(|line| line.starts_with("evil")), "{text}");
    }
}

#[test]
fn both_texts_hold_the_same_samples() {
    let status = healthy(NOW_NS);
    let sorted = |format: Format| {
        let mut samples: Vec<(String, String)> =
            samples(&text(&status, format)).into_iter().map(|sample| (sample.0, sample.2.to_string())).collect();
        samples.sort();
        samples
    };
    assert_eq!(sorted(Format::OpenMetrics), sorted(Format::Prometheus));
    assert_eq!(Format::of("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"), Format::OpenMetrics);
    assert_eq!((Format::of("*/*"), Format::of("")), (Format::Prometheus, Format::Prometheus));
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("amber_")).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let there: BTreeSet<String> = samples(&text(&healthy(NOW_NS), Format::Prometheus)).into_iter().map(|sample| sample.0).collect();
    for (file, text) in [("rules.yml", RULES), ("dashboard.json", DASHBOARD)] {
        let named = named(text);
        assert!(named.len() > 12, "{file}: {named:?}");
        let unknown: Vec<&String> = named.difference(&there).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(
        panels.len() > 20 && panels.iter().all(|panel| panel["type"] == "row" || panel["targets"][0]["expr"].is_string()),
        "{panels:?}"
    );
    for label in ["job_name", "class", "kind"] {
        assert!(DASHBOARD.contains(label) && text(&healthy(NOW_NS), Format::Prometheus).contains(&format!("{label}=\"")), "{label}");
    }
}
