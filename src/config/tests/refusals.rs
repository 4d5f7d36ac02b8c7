//! Wrong configurations: the line, what is wrong and what to write instead; and no secret repeated.

use super::{LEAST, parse, refused};
use crate::config::AgentConfig;
use crate::error::Kind;
use crate::repository::Repository;
use crate::repository::key::Secret;
use std::path::Path;

#[test]
fn an_unknown_key_is_named_with_the_nearest() {
    for (more, wanted) in [
        (
            "[log]\nflush_interval_s = 1",
            "amber.toml:6: `flush_interval_s = ...`: there is no key flush_interval_s in [log]: did you mean flush_interval_ms?",
        ),
        ("[log]\nflush_interval = 500", "did you mean flush_interval_ms?"),
        ("[log]\nflush-bytes = 500", "did you mean flush_bytes?"),
        ("[log]\nuplaods = 5", "did you mean uploads?"),
        ("[log]\nheartbeat_ms = 5", "heartbeat_ms does not belong in [log] but in [lease]"),
        ("[process]\ndata_file = '/d'", "data_file does not belong in [process] but above the first section"),
        ("[log]\nheartbeat = 5", "did you mean heartbeat_ms in [lease]?"),
        ("[process]\nbanana = 5", "there is no key banana in [process]: remove it, or write one of shutdown_ms, log_format"),
        ("[leases]\nheartbeat_ms = 5", "amber.toml:5: `[leases]`: there is no key leases above the first section: did you mean lease?"),
        ("[repository.s3]\nregion = 'r'", "there is no key s3 in [repository]"),
    ] {
        let message = refused(more);
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn a_wrong_unit_is_answered_with_the_number() {
    for (more, wanted) in [
        (
            "[log]\nflush_interval_ms = \"500ms\"",
            "amber.toml:6: `flush_interval_ms = \"500ms\"`: write the number of milliseconds: flush_interval_ms = 500",
        ),
        ("[log]\nflush_interval_ms = 500ms", "write the number of milliseconds: flush_interval_ms = 500"),
        ("[log]\nflush_interval_ms = '0.5 s' # half", "flush_interval_ms = 500"),
        ("[log]\nflush_interval_ms = \"500\"", "flush_interval_ms = 500"),
        ("[log]\nflush_interval_ms = 500.0", "flush_interval_ms = 500"),
        ("[log]\nflush_interval_ms = 0.5", "write the whole number of milliseconds, without quotes and unit"),
        ("[log]\nflush_interval_ms = \"soon\"", "write the whole number of milliseconds"),
        ("[log]\nflush_interval_ms = true", "write the whole number of milliseconds"),
        ("[log]\npoll_idle_ms_max = \"50ms\"", "poll_idle_ms_max = 50"),
        ("[checkpoint]\ninterval_s = \"6h\"", "write the number of seconds: interval_s = 21600"),
        ("[checkpoint]\ninterval_s = 6h", "interval_s = 21600"),
        ("[log]\nspool_bytes = \"4 GiB\"", "write the number of bytes: spool_bytes = 4294967296"),
        ("[log]\nspool_bytes = 4GB", "spool_bytes = 4000000000"),
        ("[limits]\nupload_bytes_per_s = \"50 MiB\"", "write the number of bytes: upload_bytes_per_s = 52428800"),
        ("[limits]\ncpu_budget_percent = \"5 %\"", "it must be a whole number, without quotes"),
        ("[checkpoint]\nreplay_ops_per_s = \"240\"", "it must be a whole number, without quotes"),
        ("[log]\nuploads = \"4\"", "it must be a whole number, without quotes"),
        ("[checkpoint]\non_start = \"yes\"", "it must be true or false, without quotes"),
        ("[log]\nsource = 5", "it must be text in double quotes"),
    ] {
        let message = refused(more);
        assert!(message.contains(wanted), "{more}: {message}");
    }
    let message = parse(&format!("lease = {{ timeout_ms = \"7s\" }}\n{LEAST}")).unwrap_err().message;
    assert!(message.starts_with("/etc/amber.toml:1") && message.contains("timeout_ms = 7000"), "{message}");
}

#[test]
fn what_is_no_word_is_answered_with_the_words() {
    for (more, wanted) in [
        ("[log]\nsource = \"wal\"", "write \"ring\""),
        ("[process]\nlog_format = \"xml\"", "write \"text\" or \"json\""),
        ("[process]\nlog_level = \"loud\"", "\"debug\" or \"trace\""),
        ("tls_minimum = \"1.1\"", "write 1.2 or 1.3"),
        ("server_side_encryption = \"yes\"", "write s3, kms or kms:KEY_ID"),
        ("passphrase_file = \"\"", "the path is empty"),
    ] {
        let message = refused(more);
        assert!(message.contains(wanted) && message.starts_with("/etc/amber.toml:"), "{more}: {message}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let message = |text: &str| parse(text).unwrap_err().message;
    assert!(message("").starts_with("/etc/amber.toml: data_file is missing: write data_file = \"/var"), "{}", message(""));
    assert!(message("data_file = '/d'").contains("state_directory is missing"));
    let no_repository = message("data_file = '/d'\nstate_directory = '/s'");
    assert!(no_repository.contains("the repository is missing: write [repository] and below it url ="), "{no_repository}");
    assert!(message("data_file = '/d'\nstate_directory = '/s'\n[repository]").contains("the repository is missing"));
    let ftp = message("data_file = '/d'\nstate_directory = '/s'\n[repository]\nurl = \"ftp://x\"");
    assert!(ftp.starts_with("/etc/amber.toml:4: `url = ...`") && ftp.contains("s3://bucket/prefix"), "{ftp}");
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    for more in ["[log", "[log]\nuploads 4", "[log]\nuploads = ", "[log]\nuploads = 4\nuploads = 5", "\u{0}"] {
        let message = refused(more);
        assert!(message.starts_with("/etc/amber.toml:") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn secrets_are_never_repeated() {
    for more in [
        "passphrase = \"hunter2\"",
        "passphrase = hunter2",
        "password = 'hunter2'",
        "secret_access_key = \"hunter2\"",
        "AWS_SECRET_ACCESS_KEY = \"hunter2\"",
        "key = \"\"\"\nhunter2",
        "hunter2",
        "\"hunter2\" = 5",
        "endpoint = hunter2",
        "hunter2 hunter2 = 4",
    ] {
        let message = refused(more);
        assert!(!message.contains("hunter2") || more.starts_with("\"hunter2"), "{message}");
    }
    assert!(refused("passphrase = \"x\"").contains("passphrase_file"));
    assert!(refused("access_key_id = \"x\"").contains("profile"));
    let url = parse("data_file = '/d'\nstate_directory = '/s'\n[repository]\nurl = \"s3://AKIA:hunter2@bucket\"").unwrap_err();
    assert!(!url.message.contains("hunter2") && url.message.contains("credentials do not belong"), "{url}");
    let wrong_type = parse("data_file = '/d'\nstate_directory = '/s'\nrepository = \"s3://AKIA:hunter2@bucket\"").unwrap_err();
    assert!(!wrong_type.message.contains("hunter2") && wrong_type.message.contains("a section"), "{wrong_type}");
}

#[test]
fn an_endpoint_that_names_no_server_is_refused_by_its_line() {
    let of = |endpoint: &str| {
        parse(&format!("data_file = '/d'\nstate_directory = '/s'\n[repository]\nurl = 's3://bucket'\nendpoint = '{endpoint}'"))
    };
    let error = of("http://").unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains(":5: ") && error.message.contains("\"http://\" names no host"), "{error}");
    let error = of("http://AKIA:hunter2@h").unwrap_err();
    assert!(error.message.contains("credentials do not belong") && !error.message.contains("hunter2"), "{error}");
    assert!(of("https://h:9000").is_ok());
}

#[test]
fn a_file_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("amber.toml");
    let refused = || AgentConfig::load(&path).unwrap_err();
    assert!(refused().message.contains("No such file"));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(refused().message.contains("UTF-8"), "{}", refused());
    std::fs::File::create(&path).unwrap().set_len(2 << 20).unwrap();
    assert!(refused().message.contains("right file"));
    assert_eq!(refused().kind, Kind::Input);
    assert_eq!(AgentConfig::load(folder.path()).unwrap_err().kind, Kind::Input);
}

/// A configuration in a file of its own, with a repository in the same folder.
fn plan_in(folder: &Path, more: &str) -> AgentConfig {
    let path = folder.join("amber.toml");
    std::fs::write(&path, format!("data_file = 'd'\nstate_directory = '.'\n[repository]\nurl = 'r'\n{more}")).unwrap();
    AgentConfig::load(&path).unwrap()
}

#[test]
fn a_repository_that_is_missing_or_another_clusters_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan_in(folder.path(), "key_file = 'k'\n");
    let refused = |plan: &AgentConfig| plan.open_repository().unwrap_err();
    let message = refused(&plan).message;
    assert!(message.contains("amber.toml:5: `key_file = 'k'`: ") && message.contains("No such file"), "{message}");
    std::fs::write(folder.path().join("k"), [7; 32]).unwrap();
    let error = refused(&plan);
    assert!(error.message.contains("amber.toml:4: `url = ...`: ") && error.message.contains("amber init"), "{error}");
    assert_eq!(error.kind, Kind::Input);

    let store = plan.repository.place.open().unwrap();
    Repository::init(&store, &Secret::KeyFile(vec![7; 32].into()), 1).unwrap();
    let repository = plan.open_repository().unwrap();
    plan.check_cluster(&repository, 5).unwrap();
    repository.bind_cluster(5).unwrap();
    plan.check_cluster(&repository, 5).unwrap();
    let error = plan.check_cluster(&repository, 6).unwrap_err();
    assert!(error.message.contains("amber.toml:4: `url = ...`: ") && error.message.contains("belongs to cluster 5"), "{error}");
    assert_eq!(error.kind, Kind::Input);

    std::fs::write(folder.path().join("k"), [8; 32]).unwrap();
    assert!(refused(&plan).message.contains("wrong passphrase or key file"));
}

#[test]
fn a_page_for_everybody_is_refused() {
    for (more, wanted) in [
        ("[page]\nlisten = \"0.0.0.0:9630\"", "amber.toml:6: `listen = \"0.0.0.0:9630\"`: other machines could read this page"),
        ("[page]\nlisten = \"[::]:9630\"", "write token_file = \"FILE\" in [page]"),
        ("[page]\nlisten = \"10.0.0.7:9630\"\ntls_certificate = 'c'\ntls_key = 'k'", "other machines could read"),
        ("[page]\nlisten = \"9630\"", "write an address and a port"),
        ("[page]\nlisten = \"localhost:9630\"", "listen = \"127.0.0.1:9630\", or \"off\""),
        ("[page]\ntls_certificate = 'c'", "write tls_key = \"FILE\" too"),
        ("[page]\ntls_key = 'k'", "write tls_certificate = \"FILE\" too"),
        ("[page]\nclient_ca_file = 'a'", "only TLS asks clients for certificates"),
        ("[page]\nhost_names = [\"amber.example.net:9630\"]", "without port"),
        ("[page]\nhost_names = \"amber.example.net\"", "it must be"),
        ("[page]\ntoken = \"0123456789abcdef\"", "did you mean token_file?"),
    ] {
        let message = refused(more);
        assert!(message.contains(wanted) && !message.contains("0123456789"), "{message}");
    }
}
