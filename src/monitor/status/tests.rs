//! The status document: written and read back, replaced atomically, read by other releases.

use super::{AgentState, AgentStatus, CheckpointStatus, GapStatus, LeaseStatus, STALE_AFTER_NS, STATUS_FILE};
use crate::error::Kind;
use crate::host::Disk;
use crate::monitor::alert::{Alert, Topic};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

fn status() -> AgentStatus {
    AgentStatus {
        state: AgentState::StandingBy,
        cluster: u128::MAX.to_string(),
        durable_op: u64::MAX,
        gaps: vec![GapStatus { first_op: 1, last_op: 2, noticed_ns: 3, reason: "r".to_owned() }],
        lease: Some(LeaseStatus { holder: "h".to_owned(), fence: u64::MAX, is_ours: false }),
        cpu_percent: 0.125,
        last_checkpoint: Some(CheckpointStatus { op: 1, timeline: 2, ended_ns: 3 }),
        alerts: vec![Alert::new(Topic::Gap, "a")],
        store_reachable: true,
        ..AgentStatus::default()
    }
}

#[test]
fn it_goes_there_and_back_and_everybody_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    status().write(Disk::SYSTEM, folder.path()).unwrap();
    assert_eq!(AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap(), status());
    let path = folder.path().join(STATUS_FILE);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"state\":\"standing_by\""));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file is gone");
}

#[test]
fn a_reader_never_sees_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    status().write(Disk::SYSTEM, folder.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap().cluster, status().cluster);
            }
        });
        for lag_ms in 0..300 {
            AgentStatus { lag_ms, alerts: vec![Alert::new(Topic::Gap, "x".repeat(lag_ms as usize * 100))], ..status() }
                .write(Disk::SYSTEM, folder.path())
                .unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn other_releases_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join(STATUS_FILE), text).unwrap();
    write(r#"{"durable_op": 7, "state": "dreaming", "something_new": [1], "lease": {"fence": 2, "colour": "red"}}"#);
    let read = AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap();
    assert_eq!((read.durable_op, read.state, read.lag_ms), (7, AgentState::Unknown, 0));
    assert_eq!(read.lease, Some(LeaseStatus { fence: 2, ..LeaseStatus::default() }));
    write("{");
    assert_eq!(AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap_err().kind, Kind::TryAgain);
}

#[test]
fn a_missing_one_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = AgentStatus::read(Disk::SYSTEM, folder.path()).unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("amber agent --config"), "{error}");
    let error = AgentStatus::read(Disk::SYSTEM, &folder.path().join("nowhere")).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("state_directory"), "{error}");
    assert_eq!(status().write(Disk::SYSTEM, &folder.path().join("nowhere")).unwrap_err().kind, Kind::TryAgain);
}

#[test]
fn ten_seconds_make_it_stale_in_either_direction() {
    let status = AgentStatus { written_ns: 1_000_000_000_000, ..AgentStatus::default() };
    assert!(!status.is_stale(status.written_ns + STALE_AFTER_NS) && !status.is_stale(status.written_ns - STALE_AFTER_NS));
    assert!(status.is_stale(status.written_ns + STALE_AFTER_NS + 1) && status.is_stale(status.written_ns - STALE_AFTER_NS - 1));
}
