//! Sample statuses for tests and for viewing the page: a healthy agent with everything that a
//! status can hold, and one in trouble. Only built for tests; the feature `samples` opens it to
//! other crates.

use super::alert::{Alert, Topic};
use super::status::{
    AgentState, AgentStatus, CheckpointStatus, EndedStatus, EventsStatus, GapStatus, JobStatus, LeaseStatus, RangeStatus, RunningStatus,
    StorageStatus, StoreStatus, VerificationStatus,
};

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * SECOND_NS;
const DAY_NS: u64 = 24 * HOUR_NS;
const MIB: u64 = 1 << 20;

/// A healthy agent at the time `now_ns`, every part filled.
pub fn healthy(now_ns: u64) -> AgentStatus {
    AgentStatus {
        state: AgentState::Leading,
        cluster: "216420199218342901239812390127391".into(),
        replica: 0,
        timeline: 1,
        pid: 4711,
        host: Some("ledger-a1".into()),
        began_ns: now_ns - 6 * DAY_NS,
        written_ns: now_ns,
        durable_op: 4_812_330,
        durable_timestamp_ns: now_ns - SECOND_NS / 2,
        head_op: 4_812_420,
        head_timestamp_ns: now_ns,
        commit_known_op: 4_812_420,
        lag_ms: 420,
        lag_ops: 90,
        lag_alarm_ms: 900_000,
        backlog_segments: 1,
        backlog_bytes: 117 << 10,
        gaps: vec![GapStatus {
            first_op: 3_100_000,
            last_op: 3_104_000,
            noticed_ns: now_ns - 3 * DAY_NS,
            reason: "the ring was overwritten before an agent read it".into(),
        }],
        lease: Some(LeaseStatus { holder: "replica 0 on ledger-a1, process 4711".into(), fence: 7, is_ours: true }),
        cpu_percent: 1.9,
        cpu_share_10s_percent: 2.1,
        cpu_log_percent: 1.4,
        cpu_budget_percent: 5,
        bulk_waited_seconds: 812.0,
        cpu_seconds: 8123.0,
        memory_bytes: 181 * MIB,
        last_checkpoint: Some(CheckpointStatus { op: 4_700_000, timeline: 1, ended_ns: now_ns - HOUR_NS }),
        next_checkpoint_reason: "in 5 h: the interval".into(),
        segments_shipped: 91_234,
        log_bytes_read: 3_100 * MIB,
        stored_bytes: 754 * MIB,
        store_reachable: true,
        jobs: jobs(now_ns),
        recent: recent(now_ns),
        verification: Some(VerificationStatus {
            ended_ns: now_ns - 5 * HOUR_NS,
            is_whole: true,
            is_full: false,
            backups: 124,
            backups_whole: 124,
            problems: 0,
        }),
        last_drill_ns: Some(now_ns - 20 * DAY_NS),
        events: Some(EventsStatus { waiting: 1, oldest_ns: Some(now_ns - SECOND_NS), delivered: 248, reason: String::new() }),
        restorable: ranges(now_ns),
        storage: storage(),
        store: StoreStatus { attempts: 91_822, retries: 12, slow_downs: 3, lost: 1 },
        restore_estimate_seconds: 640,
        ..AgentStatus::default()
    }
}

/// The same agent while its store has been unreachable for longer than the promised recovery point,
/// and a job fails.
pub fn troubled(now_ns: u64) -> AgentStatus {
    let mut status = healthy(now_ns);
    (status.state, status.store_reachable) = (AgentState::Degraded, false);
    (status.lag_ms, status.lag_ops, status.spool_segments, status.spool_bytes) = (1_260_000, 412_000, 1834, 3_100 * MIB);
    status.alerts = vec![Alert::new(Topic::Store, "the store has taken nothing for 1260 s: connection refused")];
    if let Some(job) = status.jobs.iter_mut().find(|job| job.name == "parquet") {
        job.failures_in_a_row = 2;
        job.last = Some(EndedStatus {
            completed: false,
            reason: "the folder /archive is full: make room".into(),
            ..job.last.clone().unwrap_or_default()
        });
    }
    status
}

fn ended(job: &str, ended_ns: u64, took_s: u64, stored_bytes: u64) -> EndedStatus {
    let (run, started_ns) = (format!("{:016x}", ended_ns / SECOND_NS), ended_ns - took_s * SECOND_NS);
    EndedStatus { run, job: job.into(), started_ns, ended_ns, completed: true, stored_bytes, reason: String::new() }
}

fn recent(now_ns: u64) -> Vec<EndedStatus> {
    let failed = EndedStatus {
        completed: false,
        reason: "the folder /archive was full: 12.0 GiB were needed, 3.1 GiB were free".into(),
        ..ended("parquet", now_ns - 30 * HOUR_NS, 60, 0)
    };
    vec![
        ended("checkpoint", now_ns - HOUR_NS, 210, 801 * MIB),
        ended("verification", now_ns - 5 * HOUR_NS, 900, 0),
        ended("duckdb-incremental", now_ns - 5 * HOUR_NS - HOUR_NS / 2, 14, 31 * MIB),
        ended("parquet", now_ns - 6 * HOUR_NS, 64, 96 * MIB),
        ended("checkpoint", now_ns - 7 * HOUR_NS, 190, 677 * MIB),
        ended("retention", now_ns - 13 * HOUR_NS, 30, 0),
        failed,
        ended("drill", now_ns - 20 * DAY_NS, 1500, 0),
    ]
}

fn jobs(now_ns: u64) -> Vec<JobStatus> {
    let job = |name: &str, title: &str, cadence: &str, next_ns: Option<u64>| {
        let last = recent(now_ns).into_iter().find(|run| run.job == name && run.completed);
        let last_success_ns = last.as_ref().map(|last| last.ended_ns);
        JobStatus {
            name: name.into(),
            title: title.into(),
            cadence: cadence.into(),
            next_ns,
            last,
            last_success_ns,
            ..JobStatus::default()
        }
    };
    let running =
        RunningStatus { started_ns: now_ns - 90 * SECOND_NS, step: "packs".into(), position_bytes: 5_200 * MIB, total_bytes: 8_700 * MIB };
    vec![
        job(
            "checkpoint",
            "Stores every block that is new, and a manifest that restores",
            "every 6 h, or when recovery needs it",
            Some(now_ns + 5 * HOUR_NS),
        ),
        JobStatus { running: Some(running), ..job("verification", "Reads and digests every stored byte", "daily at 03:00", None) },
        job("duckdb-incremental", "Backs up what changed in the catalog", "every 6 h", Some(now_ns + HOUR_NS / 2)),
        job("parquet", "Exports the day as Parquet", "daily at 01:30", Some(now_ns + 18 * HOUR_NS)),
        job("retention", "Removes what may go", "daily at 02:00", Some(now_ns + 11 * HOUR_NS)),
        job("drill", "Restores into a sandbox and compares", "every 90 days", Some(now_ns + 70 * DAY_NS)),
    ]
}

fn ranges(now_ns: u64) -> Vec<RangeStatus> {
    let before = RangeStatus {
        timeline: 1,
        first_op: 960,
        first_timestamp_ns: now_ns - 31 * DAY_NS,
        last_op: 3_099_999,
        last_timestamp_ns: now_ns - 3 * DAY_NS - 8 * HOUR_NS,
    };
    let now = RangeStatus {
        timeline: 1,
        first_op: 3_104_100,
        first_timestamp_ns: now_ns - 3 * DAY_NS,
        last_op: 4_812_330,
        last_timestamp_ns: now_ns - SECOND_NS / 2,
    };
    vec![before, now]
}

fn storage() -> Vec<StorageStatus> {
    let kind = |class: &str, objects: u64, bytes: u64| StorageStatus { class: class.into(), objects, bytes };
    vec![kind("checkpoints", 1810, 12_500 * MIB), kind("log", 4211, 4_200 * MIB), kind("files", 90, 2_100 * MIB), kind("records", 512, MIB)]
}
