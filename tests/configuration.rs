//! `amber agent --check` and `amber status` as scripts call them: wrong configurations exit with 2,
//! the line, and what to write instead.

use crate::support::program::text;
use amber::disk::process_lock::ProcessLock;
use amber::monitor::status::AgentStatus;
use amber::tb_format::sample::SampleFile;
use amber::tier::sample::{folder as sample_folder, write_data_file};
use amber::units::now_ns;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PASSPHRASE: &str = "a passphrase for tests";

fn amber(arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_amber")).args(arguments).env("AMBER_PASSPHRASE", PASSPHRASE).output().unwrap();
    parsed(&output)
}

fn parsed(output: &Output) -> (i32, Value, String) {
    let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap_or(-1), json, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A complete configuration in a folder with a data file and a repository.
fn prepared(folder: &Path) -> String {
    write_data_file(&SampleFile::new(7, 5), &folder.join("d")).unwrap();
    let config = folder.join("amber.toml");
    std::fs::write(&config, "data_file = 'd'\nstate_directory = 'state'\n[repository]\nurl = 'r'\n").unwrap();
    assert_eq!(amber(&["init", "--repo", text(&folder.join("r"))]).0, 0);
    text(&config).to_owned()
}

#[test]
fn a_right_configuration_is_said_to_be_right() {
    let folder = tempfile::tempdir_in(sample_folder()).unwrap();
    let config = prepared(folder.path());
    let (code, json, said) = amber(&["agent", "--config", &config, "--check", "--json"]);
    assert_eq!((code, &json["ok"], json["cluster"].as_str()), (0, &Value::Bool(true), Some("7")), "{said}");
}

#[test]
fn a_wrong_configuration_ends_with_two_and_its_line() {
    let folder = tempfile::tempdir_in(sample_folder()).unwrap();
    let config = prepared(folder.path());
    let right = std::fs::read_to_string(&config).unwrap();
    for (wrong, wanted) in [
        (
            format!("{right}[log]\nflush_interval_s = 1\n"),
            "amber.toml:6: `flush_interval_s = ...`: there is no key flush_interval_s in [log]: did you mean flush_interval_ms?",
        ),
        (format!("{right}[log]\nflush_interval_ms = \"500ms\"\n"), "write the number of milliseconds: flush_interval_ms = 500"),
        (right.replace("'r'", "'nowhere'"), "amber.toml:4: `url = ...`: "),
        (right.replace("'d'", "'nowhere'"), "amber.toml:1: `data_file = 'nowhere'`: "),
        (right.replace("'state'", "'no/where'"), "amber.toml:2: `state_directory = 'no/where'`: "),
        (right.replace("[repository]\nurl = 'r'\n", ""), "the repository is missing: write [repository]"),
    ] {
        std::fs::write(&config, wrong).unwrap();
        for more in [&["--check"][..], &[]] {
            let (code, _, said) = amber(&[&["agent", "--config", &config], more].concat());
            // What is not there may be on a disk that is not mounted yet: the agent is started again.
            let may_appear = wanted.contains("url") || wanted.contains("data_file");
            assert_eq!(code, if more.is_empty() && may_appear { 3 } else { 2 }, "{said}");
            assert!(said.contains(wanted), "{said}");
        }
    }
    std::fs::write(&config, &right).unwrap();
    assert_eq!(amber(&["agent", "--config", text(&folder.path().join("no.toml"))]).0, 2);
    assert_eq!(amber(&["agent"]).0, 2);
}

#[test]
fn what_the_agents_user_may_not_touch_is_named() {
    let folder = tempfile::tempdir_in(sample_folder()).unwrap();
    let config = prepared(folder.path());
    let mode = |name: &str, bits: u32| std::fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(bits)).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    mode("", 0o755);
    mode("state", 0o777);
    // Root may do everything, so the program then runs as another user.
    let root = rustix::process::geteuid().is_root();
    if root && !Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: root may do everything, and setpriv is missing");
        return;
    }
    // The program must be where the other user can reach it.
    let program = folder.path().join("amber");
    std::fs::copy(env!("CARGO_BIN_EXE_amber"), &program).unwrap();
    let refused = |wanted: &str| {
        let mut command = if root { Command::new("setpriv") } else { Command::new(&program) };
        if root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", text(&program)]);
        }
        let output = command.args(["agent", "--config", &config, "--check"]).env("AMBER_PASSPHRASE", PASSPHRASE).output().unwrap();
        let (code, _, said) = parsed(&output);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(wanted) && said.to_lowercase().contains("permission denied"), "{said}");
    };
    mode("d", 0o000);
    refused("amber.toml:1: `data_file = 'd'`: ");
    mode("d", 0o644);
    mode("state", 0o555);
    refused("amber.toml:2: `state_directory = 'state'`: ");
    mode("state", 0o777);
    mode("amber.toml", 0o000);
    refused("amber.toml: ");
    mode("amber.toml", 0o644);
    mode("r", 0o000);
    refused("amber.toml:4: `url = ...`: ");
    mode("r", 0o755);
}

#[test]
fn status_tells_a_running_agent_from_one_that_is_away() {
    let folder = tempfile::tempdir_in(sample_folder()).unwrap();
    let config = prepared(folder.path());
    let state = folder.path().join("state");
    let lock = ProcessLock::take(amber::host::Host::default(), &state).unwrap();
    let (code, json, _) = amber(&["status", "--config", &config, "--json"]);
    assert_eq!(code, 3);
    assert!(json["error"]["message"].as_str().unwrap().contains("there is no status"), "{json}");
    AgentStatus { durable_op: 41, written_ns: now_ns(), ..AgentStatus::default() }.write(amber::host::Disk::SYSTEM, &state).unwrap();
    let (code, json, said) = amber(&["status", "--config", &config, "--json"]);
    assert_eq!((code, &json["durable_op"], &json["running"]), (0, &Value::from(41), &Value::Bool(true)), "{said}");
    for key in ["lag_ms", "lag_ops", "gaps", "lease", "cpu_percent"] {
        assert!(json.get(key).is_some(), "{key} is not in {json}");
    }
    let (code, _, said) = amber(&["agent", "--config", &config]);
    assert!(code == 2 && said.contains(&format!("process {} is an agent", std::process::id())), "{said}");
    drop(lock);
    let (code, json, said) = amber(&["status", "--state-directory", text(&state), "--json"]);
    assert_eq!((code, &json["durable_op"], &json["running"]), (3, &Value::from(41), &Value::Bool(false)), "{said}");
    assert!(said.contains("no agent is running"), "{said}");
    for arguments in [&["status"][..], &["status", "--config", &config, "--state-directory", text(&state)]] {
        assert_eq!(amber(arguments).0, 2, "{arguments:?}");
    }
}
