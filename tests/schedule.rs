//! The jobs of a real agent: by their cadence, on request, not while paused, over restarts and
//! kills, and once in a cluster.

use crate::support::agent::{Agent, QUICK};
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{Seeded, folder, turn};
use amber::disk::process_lock::ProcessLock;
use amber::jobs::requests::prepare;
use amber::monitor::status::AgentStatus;
use amber::repository::key::Secret;
use amber::repository::run_record::RunRecord;
use amber::repository::{Options, Repository};
use amber::store::{S3Options, StoreUrl};
use amber::units::now_ns;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

fn job(status: &Value, name: &str) -> Value {
    let jobs = status["jobs"].as_array().cloned().unwrap_or_default();
    jobs.into_iter().find(|job| job["name"] == name).unwrap_or_default()
}

/// When the newest run of a job began, once that run has ended.
fn last_began_ns(status: &Value, name: &str) -> u64 {
    job(status, name)["last"]["started_ns"].as_u64().unwrap_or(0)
}

/// The records of a job, in the order of its runs.
fn records(folder: &Path, name: &str) -> Vec<RunRecord> {
    let store = amber::store::open(&StoreUrl::Folder(folder.to_owned()), &S3Options::default()).unwrap();
    let secret = Secret::Passphrase(b"a passphrase for tests".to_vec().into());
    let repository = Repository::open(store, &secret, Options::default()).unwrap();
    repository.runs().unwrap().runs.into_values().filter(|record| record.run.job == name).collect()
}

#[test]
fn jobs_run_when_they_are_due_and_when_they_are_asked_for() {
    let _turn = turn();
    let node = Cluster::new(1);
    let place = folder("schedule");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let more = format!("{QUICK}[jobs.verification]\ninterval_s = 2\n");
    let mut agent = Agent::start(&program, &place.path().join("agent"), node.data_file(0), &more);
    agent.wait_leading();
    // The jobs run by themselves.
    let first_ns =
        last_began_ns(&agent.wait("a verification", TIMEOUT, |status| last_began_ns(status, "verification") > 0), "verification");
    let status = agent.wait("another", TIMEOUT, |status| last_began_ns(status, "verification") > first_ns);
    assert!(job(&status, "verification")["last"]["completed"] == true && status["verification"]["is_whole"] == true, "{status:#}");
    assert_eq!(job(&status, "checkpoint")["cadence"], "every 6 h");
    let holds_checkpoints = |status: &Value| {
        let kinds = status["storage"].as_array().cloned().unwrap_or_default();
        kinds.iter().any(|kind| kind["class"] == "checkpoints" && number(kind, "bytes") > 0)
    };
    agent.wait("what is stored", TIMEOUT, |status| number(status, "restore_estimate_seconds") > 0 && holds_checkpoints(status));

    // A job runs on request, and the request waits for its end.
    let (code, ended) = agent.ask(&["run", "checkpoint", "--wait"]);
    assert_eq!((code, &ended["completed"], &ended["job"]), (0, &Value::Bool(true), &Value::from("checkpoint")), "{ended}");
    let run = ended["run"].as_str().unwrap();
    let listed = program.ok(&["list"]).to_string();
    assert!(listed.contains(run), "the backup has the number of its run {run}: {listed}");
    let (code, listed) = agent.ask(&["jobs"]);
    assert_eq!(
        (code, &listed["running"], job(&listed, "checkpoint")["last"]["run"].as_str()),
        (0, &Value::Bool(true), Some(run)),
        "{listed}"
    );

    // A paused job does not run, unless it is requested.
    let (code, paused) = agent.ask(&["pause", "verification"]);
    assert_eq!((code, &paused["is_paused"]), (0, &Value::Bool(true)), "{paused}");
    let (code, ended) = agent.ask(&["run", "verification", "--wait"]);
    assert_eq!(code, 0, "{ended}");
    let before_ns = number(&ended, "started_ns");
    assert_eq!(agent.stop(), 0, "{}", agent.log());
    let (code, refused) = agent.ask(&["run", "verification"]);
    assert!(code == 3 && refused.to_string().contains("no agent is running"), "{refused}");
    assert_eq!(agent.ask(&["jobs"]).0, 3);

    // The next agent remembers the pause.
    agent.run();
    let status = agent.wait("the agent to remember", TIMEOUT, |status| {
        job(status, "verification")["is_paused"] == true && status["lease"]["is_ours"] == true
    });
    let remembered = job(&status, "verification");
    assert_eq!((number(&remembered["last"], "started_ns"), &remembered["next_reason"]), (before_ns, &Value::from("paused")), "{status:#}");
    let (code, resumed) = agent.ask(&["resume", "verification"]);
    assert_eq!((code, &resumed["is_paused"]), (0, &Value::Bool(false)), "{resumed}");
    agent.wait("a verification behind the pause", TIMEOUT, |status| last_began_ns(status, "verification") > before_ns);

    // An unknown job or request is reported.
    let (code, unknown) = agent.ask(&["run", "verifcation"]);
    assert!(code == 2 && unknown.to_string().contains("did you mean verification?"), "{unknown}");
    let stray = agent.state().join("requests/walk-verification");
    std::fs::write(&stray, b"").unwrap();
    agent.wait("a stray file to be removed", TIMEOUT, |_| !stray.exists());
    assert!(agent.log().contains("its name is no request"), "{}", agent.log());
    assert_eq!(agent.stop(), 0, "{}", agent.log());
    let recorded = records(&place.path().join("repository"), "verification");
    assert!(recorded.len() >= 4 && recorded.iter().all(|record| record.outcome.is_some()), "{recorded:#?}");
    assert_eq!(program.ok(&["verify", "--full"])["ok"], true);
}

#[test]
fn a_run_that_is_killed_is_made_up_for_and_damage_is_told() {
    let _turn = turn();
    let node = Cluster::new(1);
    let place = folder("schedule-kill");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    // Large enough to take some time at a MiB a second.
    let mut random = Seeded(5);
    let noise: Vec<u8> = (0..3 << 20).flat_map(|_| random.next(u64::MAX).to_le_bytes()).collect();
    let file = place.path().join("archive");
    std::fs::write(&file, noise).unwrap();
    program.ok(&["backup", "file", text(&file), "--name", "archive"]);
    let slow = format!("{QUICK}[limits]\ncpu_budget_percent = 100\nread_bytes_per_s = 1048576\n");
    let mut agent = Agent::start(&program, &place.path().join("agent"), node.data_file(0), &slow);
    agent.wait_leading();
    assert_eq!(agent.ask(&["run", "verification"]).0, 0);
    agent.wait("a verification that runs", TIMEOUT, |status| job(status, "verification")["running"]["step"] == "verify files");
    agent.kill();

    let mut agent = Agent::start(&program, &place.path().join("agent"), node.data_file(0), QUICK);
    let status = agent
        .wait("the next agent", TIMEOUT, |status| status["lease"]["is_ours"] == true && job(status, "verification")["next_ns"].is_u64());
    let waiting = job(&status, "verification");
    assert_eq!((number(&waiting, "failures_in_a_row"), waiting["running"].is_null()), (1, true), "{status:#}");
    assert_eq!(waiting["next_reason"], "again, 1 have failed", "it is tried again, and not at once");
    assert!(number(&waiting, "next_ns") > now_ns(), "{status:#}");
    let (code, ended) = agent.ask(&["run", "verification", "--wait"]);
    assert_eq!(code, 0, "{ended}");

    // A changed byte is found, reported, and recorded.
    let data = crate::support::program::files(&place.path().join("repository/files/data")).remove(0);
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    let (code, ended) = agent.ask(&["run", "verification", "--wait"]);
    assert_eq!(code, 4, "{ended}");
    let status = agent.wait("an alert", TIMEOUT, |status| status["alerts"].to_string().contains("verification found 1 objects"));
    assert_eq!((&status["verification"]["is_whole"], &status["state"]), (&Value::Bool(false), &Value::from("degraded")), "{status:#}");
    bytes[middle] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    assert_eq!(agent.ask(&["run", "verification", "--wait"]).0, 0);
    agent.wait("the alert to go", TIMEOUT, |status| status["alerts"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(agent.stop(), 0, "{}", agent.log());
}

#[test]
fn a_request_that_nobody_takes_is_withdrawn() {
    let place = folder("schedule-deaf");
    let state = place.path().join("state");
    let _lock = ProcessLock::take(amber::host::Host::default(), &state).unwrap();
    prepare(amber::host::Disk::SYSTEM, &state).unwrap();
    let ask = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_amber")).args(arguments).args(["--state-directory", text(&state)]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = ask(&["run", "verification"]);
    assert!(code == Some(3) && said.contains("there is no status"), "{said}");
    // The agent hangs, although it has just written its status.
    let far_ahead = AgentStatus { written_ns: now_ns() + 5_000_000_000, ..AgentStatus::default() };
    far_ahead.write(amber::host::Disk::SYSTEM, &state).unwrap();
    let (code, said) = ask(&["pause", "verification"]);
    assert!(code == Some(3) && said.contains("it is withdrawn"), "{said}");
    assert_eq!(std::fs::read_dir(state.join("requests")).unwrap().count(), 0);
    assert_eq!(ask(&["run"]).0, Some(2));
}

#[test]
fn each_job_runs_once_in_a_cluster_of_agents() {
    let _turn = turn();
    let node = Cluster::new(1);
    let place = folder("schedule-cluster");
    let repository = place.path().join("repository");
    let program = Program::in_folder(&repository);
    program.init();
    let more = format!("{QUICK}[jobs.verification]\ninterval_s = 4\n");
    let mut first = Agent::start(&program, &place.path().join("0"), node.data_file(0), &more);
    first.wait_leading();
    let mut second = Agent::start(&program, &place.path().join("1"), node.data_file(0), &more);
    second.wait("an agent that stands by", TIMEOUT, |status| status["state"] == "standing_by");
    let (code, refused) = second.ask(&["run", "verification"]);
    assert!(code == 3 && refused.to_string().contains("runs on the agent that leads"), "{refused}");
    let status = second.wait("a job that is another's", TIMEOUT, |status| job(status, "verification")["next_reason"].is_string());
    assert_eq!(
        (job(&status, "verification")["next_reason"].as_str(), &job(&status, "verification")["next_ns"]),
        (Some("it runs on the agent that leads"), &Value::Null)
    );
    let began_ns =
        last_began_ns(&first.wait("a verification", TIMEOUT, |status| last_began_ns(status, "verification") > 0), "verification");
    first.wait("another", TIMEOUT, |status| last_began_ns(status, "verification") > began_ns);
    // The lease is released first by a regular stop, then by a kill.
    assert_eq!(first.stop(), 0, "{}", first.log());
    let taken_over_ns = now_ns();
    second.wait("a verification of the other agent", TIMEOUT, |status| last_began_ns(status, "verification") > taken_over_ns);
    first.run();
    first.wait("the first to stand by", TIMEOUT, |status| status["state"] == "standing_by");
    second.kill();
    let killed_ns = now_ns();
    first.wait("the first to verify again", TIMEOUT, |status| last_began_ns(status, "verification") > killed_ns);
    assert_eq!(first.stop(), 0, "{}", first.log());

    let completed: Vec<RunRecord> = records(&repository, "verification")
        .into_iter()
        .filter(|record| record.outcome.as_ref().is_some_and(|outcome| outcome.completed))
        .collect();
    let by: std::collections::BTreeSet<&str> = completed.iter().map(|record| record.run.by.as_str()).collect();
    assert_eq!(by.len(), 2, "{completed:#?}");
    for pair in completed.windows(2) {
        let apart_ns = pair[1].run.started_ns - pair[0].run.started_ns;
        assert!(apart_ns >= 3_900_000_000, "{apart_ns} ns apart: {pair:#?}");
    }
}
