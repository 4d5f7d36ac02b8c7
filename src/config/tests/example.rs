//! The example configuration stays correct: it parses, gives the defaults, names every key, and its
//! prices are right.

use super::parse;
use crate::config::explain::sections;
use crate::config::secret::SecretSource;
use crate::config::{AgentConfig, bounds};
use crate::repository::Options;
use crate::schedule::cadence::Cadence;
use crate::store::S3Options;
use std::path::Path;

const EXAMPLE: &str = include_str!("../../../tools/systemd/amber.toml");
const UNIT: &str = include_str!("../../../tools/systemd/amber-agent.service");
const MONTH_MS: u64 = 30 * 24 * 3600 * 1000;
/// AWS, us-east-1, STANDARD: a PUT or LIST request, a GET or HEAD request.
const PUT_DOLLARS: f64 = 0.005 / 1000.0;
const GET_DOLLARS: f64 = 0.0004 / 1000.0;

#[test]
fn the_example_is_the_defaults() {
    let example = AgentConfig::parse(Path::new("/etc/amber/amber.toml"), EXAMPLE).unwrap();
    let least = parse(super::LEAST).unwrap();
    assert_eq!(example.log, least.log);
    assert_eq!(example.checkpoint, least.checkpoint);
    assert_eq!(example.lease, least.lease);
    assert_eq!(example.limits, least.limits);
    assert_eq!(example.process, least.process);
    assert_eq!((example.events, least.events), (None, None), "nobody is told unless somebody writes to whom");
    let verification = &example.jobs["verification"];
    assert_eq!(verification.cadence, Some(Cadence::Interval(std::time::Duration::from_secs(86_400))));
    assert_eq!((example.jobs.len(), verification.jitter.as_secs(), verification.is_enabled), (1, 0, true));
    assert_eq!(example.page, least.page);
    assert_eq!((example.telemetry, least.telemetry), (None, None), "nothing is sent unless somebody writes to whom");
    let s3 = &example.repository.place.s3;
    let time_outs = S3Options { request_timeout: s3.request_timeout, deadline: s3.deadline, ..S3Options::default() };
    assert_eq!(*s3, time_outs, "nothing but the agent's own time-outs differs");
    assert_eq!(example.process.workers, Options::default().workers);
}

#[test]
fn the_example_names_every_key_and_every_number_is_written() {
    for (section, keys) in sections() {
        for key in keys {
            let named = EXAMPLE.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line == format!("[{key}]") || line.starts_with(&format!("{key} = "))
            });
            assert!(named, "[{section}] {key} is not in the example");
        }
    }
    for bound in bounds::ALL {
        let Some(default) = bound.default else { continue };
        assert!(EXAMPLE.lines().any(|line| line == format!("{} = {default}", bound.key)), "{} = {default}", bound.key);
    }
    // The lines that are commented out are valid too.
    let all: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.starts_with("[tenants.") || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
                .unwrap_or(line)
        })
        .filter(|line| !line.starts_with("key_file"))
        .collect();
    let error = AgentConfig::parse(Path::new("/etc/amber/amber.toml"), &all.join("\n")).unwrap_err();
    assert!(error.message.contains("source = \"aof\""), "only the log's source stands against its file: {error}");
}

/// The line of the example with this number of requests and this price.
fn priced(first: u64, requests: u64, dollars: f64) -> &'static str {
    let price = format!("{dollars:.2} USD");
    let words = |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let wanted = words(&format!("# {first} {requests} {price}"));
    EXAMPLE.lines().find(|line| words(line).starts_with(&wanted)).unwrap_or_else(|| panic!("{wanted:?} is not in the example"))
}

#[test]
fn the_prices_in_the_example_are_right() {
    for interval_ms in [100, 500, 1000, 5000, 60_000, 900_000] {
        let requests = MONTH_MS / interval_ms;
        priced(interval_ms, requests, requests as f64 * PUT_DOLLARS);
    }
    for heartbeat_ms in [1000, 2000, 10_000, 60_000] {
        // The leader lists and puts. A standby lists the lease and the log, and reads the heartbeat
        // (HEAD and GET).
        let requests = 2 * MONTH_MS / heartbeat_ms;
        let row = priced(heartbeat_ms, requests, requests as f64 * PUT_DOLLARS);
        let standby = requests as f64 * (PUT_DOLLARS + GET_DOLLARS);
        assert!(row.contains(&format!("{standby:.2} USD")), "{row}: {standby:.2}");
    }
    let per_tib = (1_u64 << 40).div_ceil(7 << 20);
    assert!(
        EXAMPLE.contains(&format!("takes {per_tib} PUT")) && EXAMPLE.contains(&format!("{:.2} USD. Merging", per_tib as f64 * PUT_DOLLARS))
    );
    let segments = (MONTH_MS / 500) as f64;
    let (gets, puts) = (segments * 2.0 * GET_DOLLARS, segments / 64.0 * 10.0 * PUT_DOLLARS);
    assert!(EXAMPLE.contains(&format!("{gets:.2} and {puts:.2} USD a month")), "{gets:.2} and {puts:.2}");
    let idle = (2 * MONTH_MS / 2000) as f64 * PUT_DOLLARS;
    let busy = idle + segments * PUT_DOLLARS + gets + puts;
    assert!(
        EXAMPLE.contains(&format!("in all: {idle:.2} USD a month")) && EXAMPLE.contains(&format!("ledger, {busy:.2} USD")),
        "{idle:.2}, {busy:.2}"
    );
    let gib = (128.0 + 60.0) * PUT_DOLLARS;
    assert!(EXAMPLE.contains(&format!("new blocks costs {gib:.3} USD")), "{gib:.3}");
}

#[test]
fn the_unit_and_the_example_fit_together() {
    let example = AgentConfig::parse(Path::new("/etc/amber/amber.toml"), EXAMPLE).unwrap();
    let setting = |name: &str| UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert!(setting("ExecStart").unwrap().ends_with("agent --config /etc/amber/amber.toml"));
    let stop_s: u64 = setting("TimeoutStopSec").unwrap().parse().unwrap();
    assert!(example.process.shutdown.as_secs() + 5 <= stop_s, "systemd would kill an agent that drains");
    assert_eq!(setting("StateDirectory"), example.state_directory.strip_prefix("/var/lib").unwrap().to_str());
    let SecretSource::PassphraseFile(file) = &example.repository.secret else { panic!("{:?}", example.repository.secret) };
    let credential = setting("LoadCredential").unwrap().split(':').next().unwrap();
    assert_eq!(file, &Path::new("/run/credentials/amber-agent.service").join(credential));
}
