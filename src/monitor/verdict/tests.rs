//! Every reason for a verdict, one status at a time.

use super::*;
use crate::monitor::sample::{healthy, troubled};
use crate::monitor::status::{CheckpointStatus, EndedStatus, EventsStatus, GapStatus, VerificationStatus};

const NOW_NS: u64 = 1_800_000_000_000_000_000;

fn of(change: impl FnOnce(&mut AgentStatus)) -> Verdict {
    let mut status = healthy(NOW_NS);
    change(&mut status);
    verdict(&status, NOW_NS)
}

#[track_caller]
fn assert_reason(level: Level, words: &str, change: impl FnOnce(&mut AgentStatus)) {
    let verdict = of(change);
    assert_eq!(verdict.level, level, "{verdict:?}");
    assert!(verdict.reasons.iter().any(|reason| reason.level == level && reason.text.contains(words)), "{words}: {verdict:?}");
}

/// The third job may be so many days old at the most, and has succeeded then.
fn stale(status: &mut AgentStatus, days: u64, last_success_ns: Option<u64>) {
    status.began_ns = NOW_NS - 10 * DAY_NS;
    let job = &mut status.jobs[2];
    (job.stale_after_s, job.last_success_ns) = (Some(days * 86_400), last_success_ns);
    (job.stale_text, job.stale_advice) = ("Was last done".to_owned(), "do it".to_owned());
}

#[test]
fn a_healthy_agent_is_safe_and_says_what_is_stored() {
    let verdict = of(|_| {});
    assert_eq!((verdict.level, verdict.title.as_str(), verdict.reasons.len()), (Level::Safe, "Everything is safe", 0), "{verdict:?}");
    assert_eq!(verdict.summary, "Every op up to 4812330 is in the repository; 90 wait, the oldest for 0.4 s.");
    let standing_by = of(|status| status.state = AgentState::StandingBy);
    assert_eq!((standing_by.level, standing_by.title.as_str()), (Level::Safe, "Everything is safe; this agent stands by"));
    assert_eq!(
        of(|status| (status.lag_ops, status.lag_ms) = (0, 0)).summary,
        "Every op up to 4812330 is in the repository; nothing waits."
    );
}

#[test]
fn what_would_lose_ops_is_danger() {
    assert_reason(Level::Danger, "has not said anything for 11 s", |status| status.written_ns = NOW_NS - 11_000_000_000);
    assert_reason(Level::Danger, "15 min are allowed: a disaster now would lose 90 ops", |status| status.lag_ms = 900_001);
    assert_reason(Level::Danger, "nothing can be restored", |status| status.last_checkpoint = None);
    assert_reason(Level::Danger, "1 gap that no checkpoint has closed", |status| {
        status.last_checkpoint = Some(CheckpointStatus { op: 3_103_999, ..CheckpointStatus::default() });
    });
    assert_reason(Level::Danger, "2 objects that are not what was stored; 1 backups", |status| {
        status.verification =
            Some(VerificationStatus { backups: 3, backups_whole: 2, problems: 2, ended_ns: NOW_NS, ..VerificationStatus::default() });
    });
}

#[test]
fn what_somebody_should_look_at_is_attention() {
    assert_reason(Level::Attention, "store cannot be reached", |status| status.store_reachable = false);
    assert_reason(Level::Attention, "joins what is stored", |status| status.state = AgentState::Starting);
    assert_reason(Level::Attention, "stopping", |status| status.state = AgentState::Stopping);
    assert_reason(Level::Attention, "retention is paused", |status| status.jobs[4].is_paused = true);
    assert_reason(Level::Attention, "parquet failed 3 times in a row: no room", |status| {
        status.jobs[3].failures_in_a_row = 3;
        status.jobs[3].last = Some(EndedStatus { reason: "no room".into(), ..EndedStatus::default() });
    });
    assert_reason(Level::Attention, "parquet failed: no reason is known", |status| {
        (status.jobs[3].failures_in_a_row, status.jobs[3].last) = (1, None)
    });
    assert_reason(Level::Attention, "parquet is overdue", |status| status.jobs[3].next_ns = Some(NOW_NS - OVERDUE_AFTER_NS - 1));
    assert_reason(Level::Attention, "Was last done 3 days ago.", |status| stale(status, 2, Some(NOW_NS - 3 * DAY_NS)));
    assert_reason(Level::Attention, "Was last done never by this agent.", |status| stale(status, 2, None));
    assert_eq!(of(|status| stale(status, 2, Some(NOW_NS - 2 * DAY_NS))).level, Level::Safe, "not older than it may be");
    assert_eq!(of(|status| stale(status, 2, Some(NOW_NS - 2 * DAY_NS - 1))).reasons[0].advice, "do it");
    assert_reason(Level::Attention, "drill was 101 days ago", |status| status.last_drill_ns = Some(NOW_NS - 101 * DAY_NS));
    assert_reason(Level::Attention, "7 records wait for the repository or the ledger: no ledger", |status| {
        let oldest_ns = Some(NOW_NS - EVENTS_LATE_AFTER_NS - 1);
        status.events = Some(EventsStatus { waiting: 7, oldest_ns, delivered: 0, reason: "no ledger".into() });
    });
    assert_reason(Level::Attention, "Segments are not merged.", |status| {
        status.alerts.push(Alert::new(Topic::Join, "segments are not merged"))
    });
}

#[test]
fn what_is_on_its_way_is_no_reason() {
    // A job that is running or paused is not overdue. A fresh agent has not verified yet. A standby
    // takes no checkpoints of its own.
    assert_eq!(of(|status| status.jobs[1].next_ns = Some(NOW_NS - DAY_NS)).level, Level::Safe);
    assert_eq!(
        of(|status| {
            stale(status, 2, None);
            status.began_ns = NOW_NS - DAY_NS;
        })
        .level,
        Level::Safe
    );
    assert_eq!(of(|status| (status.state, status.last_checkpoint) = (AgentState::StandingBy, None)).level, Level::Safe);
    let closed = GapStatus { first_op: 1, last_op: 4_700_000, ..GapStatus::default() };
    assert_eq!(of(|status| status.gaps.push(closed)).level, Level::Safe);
}

#[test]
fn an_alert_is_said_once_and_the_worst_comes_first() {
    let verdict = verdict(&troubled(NOW_NS), NOW_NS);
    let said: Vec<(Level, &str)> = verdict.reasons.iter().map(|reason| (reason.level, reason.text.as_str())).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].0 == Level::Danger && said[0].1.starts_with("The recovery point is 21 min old"), "{said:?}");
    assert_eq!(said[1], (Level::Attention, "The store has taken nothing for 1260 s: connection refused."));
    assert!(verdict.reasons[1].advice.contains("3.0 GiB"), "{verdict:?}");
    let late = of(|status| status.alerts.push(Alert::new(Topic::Lag, "whatever its words are")));
    assert_eq!((late.level, late.reasons.len()), (Level::Danger, 1), "{late:?}");
}

#[test]
fn what_the_status_cannot_say_comes_first() {
    let mut verdict = of(|_| {});
    verdict.add_first(Reason { level: Level::Danger, text: "away".into(), advice: String::new() });
    assert_eq!((verdict.level, verdict.title.as_str(), verdict.reasons[0].text.as_str()), (Level::Danger, "Not safe", "away"));
}

#[test]
fn durations_read_well() {
    let texts = [0, 450, 9_999, 10_000, 119_000, 120_000, 7_199_000, 7_200_000, 172_799_000, 172_800_000].map(duration_text);
    assert_eq!(texts, ["0.0 s", "0.4 s", "9.9 s", "10 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]);
}
