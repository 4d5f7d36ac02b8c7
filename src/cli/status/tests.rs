//! What `amber status` prints.

use super::*;
use crate::monitor::alert::{Alert, Topic};
use crate::monitor::status::{
    AgentState, CheckpointStatus, EndedStatus, GapStatus, JobStatus, LeaseStatus, RangeStatus, VerificationStatus,
};

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

fn status() -> AgentStatus {
    AgentStatus {
        state: AgentState::Leading,
        cluster: "340282366920938463463374607431768211455".to_owned(),
        pid: 7,
        written_ns: NOW_NS - 1_000_000_000,
        began_ns: NOW_NS - HOUR_NS,
        durable_op: 41,
        head_op: 44,
        lag_ms: 1234,
        lag_ops: 3,
        gaps: vec![GapStatus { first_op: 5, last_op: 9, noticed_ns: NOW_NS, reason: "the ring wrapped".to_owned() }],
        lease: Some(LeaseStatus { holder: "host/7".to_owned(), fence: 3, is_ours: true }),
        cpu_percent: 0.25,
        cpu_share_10s_percent: 4.5,
        cpu_budget_percent: 5,
        outlook: "write cpu_budget_percent = 8".to_owned(),
        last_checkpoint: Some(CheckpointStatus { op: 20, timeline: 1, ended_ns: NOW_NS }),
        next_checkpoint_reason: "in 2 h".to_owned(),
        alerts: vec![Alert::new(Topic::Gap, "ops 5 to 9 are missing")],
        store_reachable: true,
        jobs: vec![JobStatus {
            name: "retention".to_owned(),
            last: Some(EndedStatus {
                started_ns: NOW_NS - 3 * HOUR_NS,
                ended_ns: NOW_NS - 2 * HOUR_NS - HOUR_NS / 2,
                reason: "the store is full".to_owned(),
                ..EndedStatus::default()
            }),
            next_ns: Some(NOW_NS + 3 * HOUR_NS),
            failures_in_a_row: 2,
            outcome: "3 objects removed".to_owned(),
            ..JobStatus::default()
        }],
        verification: Some(VerificationStatus {
            ended_ns: NOW_NS - 5 * HOUR_NS,
            is_whole: true,
            backups: 4,
            ..VerificationStatus::default()
        }),
        restorable: vec![RangeStatus { timeline: 1, first_op: 10, last_op: 41, ..RangeStatus::default() }],
        page: "http://127.0.0.1:9630/".to_owned(),
        ..AgentStatus::default()
    }
}

fn report_of(status: &AgentStatus, running: Running) -> Report {
    report(Path::new("/state"), status, running, NOW_NS).unwrap()
}

#[test]
fn people_see_the_verdict_first_then_why_then_figures() {
    let report = report_of(&status(), Running::Yes { pid: Some(7) });
    assert_eq!(report.failure, None);
    let lines: Vec<&str> = report.text.lines().collect();
    assert_eq!(lines[0], "Safe, but something needs attention. Every op up to 41 is in the repository; 3 wait, the oldest for 1.2 s.");
    assert_eq!(lines[1], "  LOOK     retention failed 2 times in a row: the store is full");
    assert_eq!(lines[2], "  LOOK     Ops 5 to 9 are missing.");
    assert!(lines[4].starts_with("durable     op 41 at "), "{}", report.text);
    assert_eq!(lines[5], "lag         1.234 s (3 ops behind op 44)");
    for part in [
        "ours, fence 3",
        "1, see below",
        "5 to 9",
        "the ring wrapped",
        "op 20 of timeline 1",
        "next: in 2 h",
        "4.50 % of the machine in the last 10 s, 5 % allowed",
        "TOO LOW: write cpu_budget_percent = 8",
        "5 h ago: all 4 backups are intact",
        "retention  FAILED (2)  2 h ago, took 30 min: 3 objects removed  never         in 3 h",
        "10 to 41",
        "http://127.0.0.1:9630/",
    ] {
        assert!(report.text.contains(part), "{part}: {}", report.text);
    }
}

#[test]
fn scripts_find_their_keys_at_the_top() {
    let json = report_of(&status(), Running::Yes { pid: Some(7) }).json;
    assert_eq!(
        (&json["durable_op"], &json["lag_ms"], &json["lag_ops"], &json["cpu_percent"]),
        (&json!(41), &json!(1234), &json!(3), &json!(0.25))
    );
    assert_eq!(json["gaps"][0]["first_op"], 5);
    assert_eq!(json["lease"], json!({ "holder": "host/7", "fence": 3, "is_ours": true }));
    assert_eq!(
        (&json["running"], &json["stale"], &json["age_ms"], &json["state"]),
        (&json!(true), &json!(false), &json!(1000), &json!("leading"))
    );
    assert_eq!((&json["verdict"]["level"], &json["verdict"]["reasons"][0]["level"]), (&json!("attention"), &json!("attention")));
    assert_eq!(report_of(&AgentStatus::default(), Running::No).json["lease"], Value::Null);
}

#[test]
fn an_agent_that_is_away_or_hangs_ends_with_three_and_its_last_words() {
    let away = report_of(&status(), Running::No);
    let failure = away.failure.unwrap();
    assert_eq!(failure.kind, Kind::TryAgain);
    assert!(failure.message.contains("no agent is running") && away.text.contains("op 41"));
    assert!(away.text.contains("not running (was leading)"));
    assert!(away.text.starts_with("Not safe. ") && away.text.contains("\n  ACT NOW  No agent is running"), "{}", away.text);
    assert_eq!(away.json["verdict"]["level"], "danger");
    let hangs = report_of(&AgentStatus { written_ns: NOW_NS - 11_000_000_000, ..status() }, Running::Yes { pid: Some(7) });
    let failure = hangs.failure.unwrap();
    assert!(failure.kind == Kind::TryAgain && failure.message.contains("process 7"), "{failure}");
    assert_eq!(hangs.json["stale"], true);
}

#[test]
fn a_screen_is_never_overrun() {
    let text = "one\ntwo is long\nthree";
    assert_eq!(fitted(text, 3, 8), format!("one{LINE_END}two is {LINE_END}"));
    assert_eq!(fitted("grün und blau", 9, 5), format!("grün{LINE_END}"));
    assert_eq!(fitted(text, 0, 0), "");
}
