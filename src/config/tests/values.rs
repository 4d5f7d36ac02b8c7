//! Defaults, bounds and the meaning of every value.

use super::{LEAST, parse, refused};
use crate::config::bounds::{self, Bound};
use crate::config::explain::sections;
use crate::config::plan::LogFrom;
use crate::config::secret::SecretSource;
use crate::limits::governor::Limits;
use crate::repository::Options;
use crate::store::{ServerSideEncryption, StoreUrl, TlsMinimum};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::Level;

#[test]
fn the_least_configuration_gives_the_documented_defaults() {
    let plan = parse(LEAST).unwrap();
    assert_eq!((plan.data_file.as_path(), plan.state_directory.as_path()), (Path::new("/d"), Path::new("/s")));
    assert_eq!(plan.repository.place.url, StoreUrl::Folder("/r".into()));
    assert_eq!(plan.repository.secret, SecretSource::Environment);
    assert_eq!((&plan.log.source, plan.log.flush_interval, plan.log.flush_bytes), (&LogFrom::WalRing, Duration::from_millis(500), 7 << 20));
    assert_eq!((plan.log.poll_idle_max, plan.log.memory_bytes, plan.log.spool_bytes), (Duration::from_millis(50), 64 << 20, 4 << 30));
    assert_eq!((plan.log.spool_after, plan.log.uploads, plan.log.merge_after_segments), (Duration::from_secs(5), 4, 64));
    assert_eq!(plan.log.lag_alarm, Duration::from_secs(900));
    assert_eq!((plan.checkpoint.interval, plan.checkpoint.replay_budget), (Duration::from_secs(21_600), Duration::from_secs(1_200)));
    assert_eq!((plan.checkpoint.replay_ops_per_s, plan.checkpoint.on_start), (240, true));
    assert_eq!((plan.lease.heartbeat, plan.lease.timeout), (Duration::from_secs(2), Duration::from_secs(7)));
    let limits = Limits { cpu_budget_percent: Some(5), ..Limits::default() };
    assert_eq!((plan.limits.limits, plan.limits.bulk_nice), (limits, 19));
    assert_eq!((plan.process.shutdown, plan.process.log_json, plan.process.log_level), (Duration::from_secs(20), false, Level::INFO));
    assert_eq!((plan.process.workers, plan.process.level), (Options::default().workers, Options::default().level));
}

#[test]
fn every_value_arrives() {
    let plan = parse(
        "data_file = 'here/d'\nstate_directory = '/s'\nlease = { heartbeat_ms = 1000, timeout_ms = 3000 }\n[repository]\nurl = 's3://bucket/prefix'\n\
         endpoint = 'http://h:1'\nregion = 'r'\npath_style = false\nca_file = 'ca.pem'\ntls_minimum = '1.2'\nserver_side_encryption = 'kms:k'\n\
         storage_class = 'STANDARD_IA'\nprofile = 'p'\nkey_file = 'k'\n[log]\nsource = 'aof'\naof_file = '/a'\nflush_interval_ms = 10\nflush_bytes = 65_536\n\
         poll_idle_ms_max = 200\nmemory_bytes = 16777216\nspool_bytes = 0\nspool_after_ms = 0\nuploads = 32\nmerge_after_segments = 2\nlag_alarm_ms = 1000\n\
         [checkpoint]\ninterval_s = 60\nreplay_budget_s = 10\nreplay_ops_per_s = 1\non_start = false\n[limits]\ncpu_budget_percent = 1\n\
         upload_bytes_per_s = 1048576\nread_bytes_per_s = 1048577\nbulk_nice = 0\n[process]\nshutdown_ms = 1000\nlog_format = 'json'\n\
         log_level = 'debug'\nworkers = 3\nlevel = -7\n",
    )
    .unwrap();
    // Relative paths begin at the directory of the file.
    assert_eq!(plan.data_file, PathBuf::from("/etc/here/d"));
    let s3 = &plan.repository.place.s3;
    assert_eq!(plan.repository.place.url.to_string(), "s3://bucket/prefix");
    assert_eq!((s3.endpoint.as_deref(), s3.region.as_deref(), s3.path_style), (Some("http://h:1"), Some("r"), Some(false)));
    assert_eq!((s3.ca_file.as_deref(), s3.tls_minimum), (Some(Path::new("/etc/ca.pem")), TlsMinimum::Tls12));
    assert_eq!(s3.server_side_encryption, ServerSideEncryption::Kms { key_id: Some("k".into()) });
    assert_eq!((s3.storage_class.as_deref(), s3.profile.as_deref()), (Some("STANDARD_IA"), Some("p")));
    assert_eq!(plan.repository.secret, SecretSource::KeyFile("/etc/k".into()));
    assert_eq!(plan.log.source, LogFrom::Aof { file: "/a".into() });
    assert_eq!((plan.log.flush_interval, plan.log.flush_bytes), (Duration::from_millis(10), 65_536));
    assert_eq!((plan.log.poll_idle_max, plan.log.memory_bytes, plan.log.spool_bytes), (Duration::from_millis(200), 16 << 20, 0));
    assert_eq!((plan.log.spool_after, plan.log.uploads, plan.log.merge_after_segments), (Duration::ZERO, 32, 2));
    assert_eq!(plan.log.lag_alarm, Duration::from_secs(1));
    assert_eq!((plan.checkpoint.interval, plan.checkpoint.replay_budget), (Duration::from_secs(60), Duration::from_secs(10)));
    assert_eq!((plan.checkpoint.replay_ops_per_s, plan.checkpoint.on_start), (1, false));
    assert_eq!((plan.lease.heartbeat, plan.lease.timeout), (Duration::from_secs(1), Duration::from_secs(3)));
    let limits = Limits { cpu_budget_percent: Some(1), upload_bytes_per_s: Some(1 << 20), read_bytes_per_s: Some((1 << 20) + 1) };
    assert_eq!((plan.limits.limits, plan.limits.bulk_nice), (limits, 0));
    assert_eq!((plan.process.shutdown, plan.process.log_json, plan.process.log_level), (Duration::from_secs(1), true, Level::DEBUG));
    let options = plan.options();
    assert_eq!((options.workers, options.transfers, options.level), (3, 32, -7));
}

/// The section that has this key. Jobs have an interval as checkpoints do, with
/// bounds of its own, and tenants a ledger as events do.
fn section_of(bound: &Bound) -> &'static str {
    let having: Vec<_> = sections().iter().filter(|(_, keys)| keys.iter().any(|key| key == bound.key)).map(|(name, _)| *name).collect();
    let expected = if ["interval_s", "ledger"].contains(&bound.key) { 2 } else { 1 };
    assert_eq!(having.len(), expected, "{}: {having:?}", bound.key);
    having[0]
}

#[test]
fn every_number_has_its_bounds_on_both_sides() {
    for bound in bounds::ALL {
        let section = section_of(&bound);
        let line = |number: i64| format!("[{section}]\n{} = {number}", bound.key);
        for number in [bound.least - 1, bound.most + 1, i64::MIN, i64::MAX] {
            let message = refused(&line(number));
            let start =
                format!("/etc/amber.toml:6: `{} = {number}`: {} must be {} to {}, because", bound.key, bound.key, bound.least, bound.most);
            assert!(message.starts_with(&start), "{message}");
        }
        // A value at its bound may be refused only because it does not fit another value.
        for number in [bound.least, bound.most] {
            if let Err(error) = parse(&format!("{LEAST}{}", line(number))) {
                assert!(["timeout_ms", "heartbeat_ms", "lag_alarm_ms", "ledger"].contains(&bound.key), "{error}");
                assert!(!error.message.contains("because below"), "{error}");
            }
        }
    }
}

#[test]
fn every_number_of_the_file_is_checked() {
    let bounded: Vec<&str> = bounds::ALL.iter().map(|bound| bound.key).collect();
    for (section, keys) in sections() {
        for key in keys {
            let counts = ["_ms", "_s", "_percent", "_nice", "_bytes", "_max", "_segments", "uploads", "workers", "level"]
                .iter()
                .any(|end| key.ends_with(end));
            assert!(!counts || key == "log_level" || bounded.contains(&key.as_str()), "[{section}] {key} has no bounds");
        }
    }
}

#[test]
fn what_must_fit_together_is_checked() {
    let message = refused("[lease]\nheartbeat_ms = 3000");
    assert!(message.starts_with("/etc/amber.toml:6: `heartbeat_ms = 3000`") && message.contains("write timeout_ms = 9000"), "{message}");
    let message = refused("[lease]\nheartbeat_ms = 3000\ntimeout_ms = 8999");
    assert!(message.starts_with("/etc/amber.toml:7: `timeout_ms = 8999`"), "{message}");
    let message = refused("[log]\nflush_interval_ms = 2000\nlag_alarm_ms = 1000");
    assert!(message.starts_with("/etc/amber.toml:7: `lag_alarm_ms = 1000`") && message.contains("flush_interval_ms = 2000"), "{message}");
    let message = refused("[log]\nsource = \"aof\"");
    assert!(message.starts_with("/etc/amber.toml:6: `source = \"aof\"`") && message.contains("aof_file ="), "{message}");
    let message = refused("[log]\naof_file = \"/a\"");
    assert!(message.contains("source = \"aof\""), "{message}");
    let message = refused("passphrase_file = \"p\"\nkey_file = \"k\"");
    assert!(message.starts_with("/etc/amber.toml:6: `key_file = \"k\"`") && message.contains("remove the other"), "{message}");
}

#[test]
fn the_page_listens_where_it_is_told() {
    let page = |more: &str| parse(&format!("{LEAST}{more}\n")).unwrap().page;
    let default = page("");
    assert_eq!((default.listen.map(|listen| listen.to_string()).as_deref(), default.is_open_to_read()), (Some("127.0.0.1:9630"), true));
    assert_eq!((page("[page]\nlisten = 'off'").listen, page("[page]\nlisten = '[::1]:0'").is_open_to_read()), (None, true));
    let wide = page("[page]\nlisten = '0.0.0.0:80'\ntoken_file = 't'\nhost_names = ['A.example']");
    assert_eq!(
        (wide.is_open_to_read(), wide.token_file.map(|file| file.path), wide.host_names),
        (false, Some("/etc/t".into()), vec!["a.example".into()])
    );
    let mutual = page("[page]\nlisten = '0.0.0.0:80'\ntls_certificate = 'c'\ntls_key = 'k'\nclient_ca_file = 'a'");
    assert!(mutual.is_open_to_read() && mutual.tls.is_some());
}

#[test]
fn a_collector_is_plain_http_beside_the_agent() {
    let of = |endpoint: &str| parse(&format!("{LEAST}[telemetry]\notlp_endpoint = \"{endpoint}\"\nsend_interval_s = 5"));
    for (endpoint, uri) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/metrics"),
        ("http://collector:4318/", "http://collector:4318/v1/metrics"),
        ("http://[::1]:4318/otlp", "http://[::1]:4318/otlp/v1/metrics"),
    ] {
        let telemetry = of(endpoint).unwrap().telemetry.unwrap();
        assert_eq!((telemetry.uri.to_string().as_str(), telemetry.interval), (uri, Duration::from_secs(5)));
    }
    for endpoint in
        ["https://a:4318", "127.0.0.1:4318", "", "http://", "http://u:p@a:1", "http://a:1/v1/metrics", "http://a:1?x=1", "http://a b"]
    {
        let message = of(endpoint).unwrap_err().message;
        assert!(message.contains("otlp_endpoint = ") && message.contains("write the collector beside the agent"), "{endpoint}: {message}");
    }
}
