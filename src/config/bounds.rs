//! Every number of the configuration: its default, its bounds, and why. An error that refuses a
//! number gives this reason.

use super::origin::Text;
use crate::config::value::Value;
use crate::error::Result;
use crate::pipeline::compress::LEVEL_MAX;
use crate::pipeline::compress::LEVEL_MIN;
use crate::pipeline::level::LEVEL_DEFAULT;
use crate::units::{KIB, MIB};

/// A number's key, default and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The key, with its unit.
    pub key: &'static str,
    /// The default if the key is missing; `None` if it depends on the machine.
    pub default: Option<i64>,
    /// The least allowed value.
    pub least: i64,
    /// The greatest allowed value.
    pub most: i64,
    /// Why these bounds, as a clause that follows "because".
    pub why: &'static str,
}

const fn bound(key: &'static str, default: i64, least: i64, most: i64, why: &'static str) -> Bound {
    assert!(least <= default && default <= most);
    Bound { key, default: Some(default), least, most, why }
}

/// The most plain bytes of a raw segment: sealed, it still fits into one PUT.
const SEGMENT_BYTES_MAX: i64 = 7 * MIB as i64;
/// The promised recovery point. No configuration may break it in normal operation.
const RECOVERY_POINT_MS: i64 = 900_000;
/// A bound that only keeps sizes within what can be represented: 1 PiB.
const SIZE_BYTES_MAX: i64 = 1 << 50;
/// How many heartbeats must be missed before another agent takes the lease: one lost request must
/// not change the leader.
pub const HEARTBEATS_PER_TIMEOUT: u64 = 3;

/// How old the oldest prepare of a segment may become before the segment is sent. Half a second
/// keeps the recovery point below one second.
pub const FLUSH_INTERVAL_MS: Bound = bound(
    "flush_interval_ms",
    500,
    10,
    RECOVERY_POINT_MS,
    "below 10 ms every request waits for the one before, and beyond 900000 (15 minutes) the promised recovery point is broken",
);
/// How large a segment may become before it is sent. It must fit into one PUT request, with room
/// for what sealing adds.
pub const FLUSH_BYTES: Bound = bound(
    "flush_bytes",
    SEGMENT_BYTES_MAX,
    64 * KIB as i64,
    SEGMENT_BYTES_MAX,
    "a segment is one PUT of at most 8 MiB with what sealing adds, and below 65536 (64 KiB) requests cost more than bytes",
);
/// The longest pause between two polls of the WAL ring while nothing happens. An idle poll costs
/// one small read.
pub const POLL_IDLE_MS_MAX: Bound = bound(
    "poll_idle_ms_max",
    50,
    1,
    200,
    "under tiny requests TigerBeetle's ring wraps in 450 ms, and what the agent has not read by then is a gap",
);
/// The most sealed bytes of segments that wait in memory for the store.
pub const MEMORY_BYTES: Bound = bound(
    "memory_bytes",
    64 * MIB as i64,
    16 * MIB as i64,
    SIZE_BYTES_MAX,
    "one segment is being filled while another is being sent, each of up to 7 MiB",
);
/// The most sealed bytes of segments that wait on disk for the store; 0 means that there is no
/// spool.
pub const SPOOL_BYTES: Bound = bound(
    "spool_bytes",
    4 << 30,
    0,
    SIZE_BYTES_MAX,
    "it is the most disk that the spool may take, and 0 means that there is none: what does not fit into memory while the store is down is a gap",
);
/// How long a segment may wait in memory for the store before it is also written to the spool, to
/// survive a restart of the agent.
pub const SPOOL_AFTER_MS: Bound = bound(
    "spool_after_ms",
    5_000,
    0,
    3_600_000,
    "what waits in memory only is lost when the agent is killed and the ring has wrapped; 0 means that every segment that waits is spooled at once",
);
/// PUT requests in flight. A backlog is sent with this many; otherwise one is enough for a segment
/// every 500 ms.
pub const UPLOADS: Bound =
    bound("uploads", 4, 1, 32, "each holds a segment of up to 7 MiB in memory, and 32 fill any link that a ledger's log can");
/// How many raw segments are merged into a larger one in the background.
pub const MERGE_AFTER_SEGMENTS: Bound = bound(
    "merge_after_segments",
    64,
    2,
    1_000,
    "one listing request shows 1000 names, and with more raw segments than that every start and every restore becomes slower",
);
/// The lag beyond which the agent raises an alert: by default the promised recovery point.
pub const LAG_ALARM_MS: Bound = bound(
    "lag_alarm_ms",
    RECOVERY_POINT_MS,
    1_000,
    86_400_000,
    "a lag below a second comes and goes with single requests, and an alert after more than a day alerts nobody",
);
/// The longest time between two checkpoints in the repository.
pub const CHECKPOINT_INTERVAL_S: Bound = bound(
    "interval_s",
    21_600,
    60,
    604_800,
    "a checkpoint reads every block that is new, and without one for more than a week the log to replay is longer than anybody waits",
);
/// How long a restore may take to replay the log since the last checkpoint. A new checkpoint is
/// taken before it would take longer.
pub const REPLAY_BUDGET_S: Bound = bound(
    "replay_budget_s",
    1_200,
    10,
    86_400,
    "below 10 s every hop of a replay would need a checkpoint of its own, and a restore of more than a day is none",
);
/// How fast a restore replays the log on this kind of machine. A hop of 960 ops takes about 4 s.
pub const REPLAY_OPS_PER_S: Bound = bound(
    "replay_ops_per_s",
    240,
    1,
    1_000_000,
    "it is the measured speed of a replay with `amber restore` (a hop of 960 ops takes about 4 s, which is 240)",
);
/// How often the leader of several agents renews its lease.
pub const HEARTBEAT_MS: Bound =
    bound("heartbeat_ms", 2_000, 200, 60_000, "every heartbeat is a request that costs money, and the standby must notice in time");
/// How long a leader may be silent before another agent takes over, measured by the standby's own
/// clock.
pub const LEASE_TIMEOUT_MS: Bound =
    bound("timeout_ms", 7_000, 600, 600_000, "it is at least three heartbeats, and a takeover after more than 10 minutes is none");
/// CPU time of the agent in any ten seconds, in percent of all cores together.
pub const CPU_BUDGET_PERCENT: Bound = bound(
    "cpu_budget_percent",
    5,
    1,
    100,
    "it is a share of the whole machine, all cores together: on two cores 5 is a tenth of one core, and 100 is no limit",
);
/// Bytes sent to the store per second.
pub const UPLOAD_BYTES_PER_S: Bound = Bound {
    key: "upload_bytes_per_s",
    default: None,
    least: MIB as i64,
    most: SIZE_BYTES_MAX,
    why: "a part of 8 MiB is sent in one go, and below 1048576 (1 MiB) a second the limit could not be kept over ten seconds; without the line there is none",
};
/// Bytes read from the node's disk per second.
pub const READ_BYTES_PER_S: Bound = Bound {
    key: "read_bytes_per_s",
    default: None,
    least: MIB as i64,
    most: SIZE_BYTES_MAX,
    why: "blocks are read ahead by the tens of MiB, and below 1048576 (1 MiB) a second no checkpoint of a real ledger ever ends; without the line there is none",
};
/// How much the threads of bulk work yield when cores are short.
pub const BULK_NICE: Bound = bound(
    "bulk_nice",
    19,
    0,
    19,
    "it is added to the priority of the threads that compress, encrypt and send checkpoints as nice(1) counts it; 0 leaves them as they are",
);
/// The ledger in which events are booked.
pub const EVENTS_LEDGER: Bound = Bound {
    key: "ledger",
    default: None,
    least: 1,
    most: u32::MAX as i64,
    why: "TigerBeetle has no ledger 0, and numbers of ledgers have 32 bits",
};
/// How long the ledger may take to answer before there is an alert.
pub const ANSWER_TIMEOUT_MS: Bound = bound(
    "answer_timeout_ms",
    10_000,
    1_000,
    600_000,
    "an answer takes milliseconds, a view change some seconds, and an alert after more than 10 minutes comes too late; events wait in any case",
);
/// The time from the beginning of a job's run to the beginning of its next.
pub const JOB_INTERVAL_S: Bound = Bound {
    key: "interval_s",
    default: None,
    least: 1,
    most: 366 * 86_400,
    why: "no run ends in less than a second, and what does not run once a year is not done by an agent",
};
/// How much later than its due time a job may begin.
pub const JITTER_S: Bound = bound(
    "jitter_s",
    0,
    0,
    86_400,
    "it spreads the beginnings of many agents, and one that is more than a day late is not late but forgotten",
);
/// How long the agent may go on sending after SIGTERM.
pub const SHUTDOWN_MS: Bound = bound(
    "shutdown_ms",
    20_000,
    1_000,
    600_000,
    "in less than a second nothing can be sent, and systemd kills a service that takes longer than its TimeoutStopSec",
);
/// Threads that compress and encrypt; by default as many as there are cores, at most 8.
pub const WORKERS: Bound = Bound { key: "workers", default: None, least: 1, most: 64, why: "more threads than cores only take turns" };
/// zstd level.
pub const LEVEL: Bound = bound(
    "level",
    LEVEL_DEFAULT as i64,
    LEVEL_MIN as i64,
    LEVEL_MAX as i64,
    "below -7 nothing is won over no compression, and beyond 15 zstd takes more memory than the agent may",
);
/// How often metrics are sent to a collector.
pub const SEND_INTERVAL_S: Bound = bound(
    "send_interval_s",
    60,
    1,
    3600,
    "figures are taken once a second, and whoever looks less than once an hour learns too late that something stands still",
);

/// How often the agent shows that it lives.
pub const HEARTBEAT_INTERVAL_S: Bound = bound(
    "heartbeat_interval_s",
    60,
    5,
    3600,
    "whoever listens expects a call a minute, more would be a burden to them, and less than one an hour says too late that nothing is stored",
);

/// All bounds, in the order of the example configuration.
pub const ALL: [Bound; 26] = [
    FLUSH_INTERVAL_MS,
    FLUSH_BYTES,
    POLL_IDLE_MS_MAX,
    MEMORY_BYTES,
    SPOOL_BYTES,
    SPOOL_AFTER_MS,
    UPLOADS,
    MERGE_AFTER_SEGMENTS,
    LAG_ALARM_MS,
    CHECKPOINT_INTERVAL_S,
    REPLAY_BUDGET_S,
    REPLAY_OPS_PER_S,
    HEARTBEAT_MS,
    LEASE_TIMEOUT_MS,
    CPU_BUDGET_PERCENT,
    UPLOAD_BYTES_PER_S,
    READ_BYTES_PER_S,
    BULK_NICE,
    EVENTS_LEDGER,
    ANSWER_TIMEOUT_MS,
    JITTER_S,
    SHUTDOWN_MS,
    WORKERS,
    LEVEL,
    SEND_INTERVAL_S,
    HEARTBEAT_INTERVAL_S,
];

impl Bound {
    /// The number as written, checked, or else the default; `None` only if there is neither.
    ///
    /// # Errors
    /// [`crate::error::Error::input`] with the line, the bounds and why.
    pub fn check_if_given(&self, text: &Text<'_>, value: &Value<i64>) -> Result<Option<i64>> {
        let Some(value) = value else { return Ok(self.default) };
        let number = *value.get_ref();
        if (self.least..=self.most).contains(&number) {
            return Ok(Some(number));
        }
        let Bound { key, least, most, why, .. } = self;
        Err(text.origin(value.span()).refuse(format!("{key} must be {least} to {most}, because {why}")))
    }

    /// The same for a number that has a default and cannot be negative.
    ///
    /// # Errors
    /// As [`Bound::check_if_given`].
    pub fn check(&self, text: &Text<'_>, value: &Value<i64>) -> Result<u64> {
        let number = self.check_if_given(text, value)?.unwrap_or(self.least);
        Ok(u64::try_from(number).unwrap_or(0))
    }
}
