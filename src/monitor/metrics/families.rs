//! The list of metrics: one function for each part of the status.

use super::{Labels, Metrics};
use crate::monitor::level::Level;
use crate::monitor::status::{AgentState, AgentStatus, JobStatus, ObjectiveStatus};
use crate::monitor::verdict::verdict;

/// Adds all metrics of a status.
pub(super) fn all(metrics: &mut Metrics, status: &AgentStatus) {
    agent(metrics, status);
    log(metrics, status);
    limits(metrics, status);
    store(metrics, status);
    recovery(metrics, status);
    objectives(metrics, status);
    jobs(metrics, &status.jobs);
    checks(metrics, status);
}

fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 / 1e9
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn agent(metrics: &mut Metrics, status: &AgentStatus) {
    metrics.info("build", "The program", label("version", env!("CARGO_PKG_VERSION")));
    let facts = vec![("host", status.host.clone().unwrap_or_default()), ("timeline", status.timeline.to_string())];
    metrics.info("agent", "The agent and what it ships", facts);
    let states = [AgentState::Starting, AgentState::Leading, AgentState::StandingBy, AgentState::Degraded, AgentState::Stopping];
    let samples = states.into_iter().map(|state| (label("state", state.text()), f64::from(u8::from(state == status.state))));
    metrics.gauges("agent_state", "", "What the agent is doing: 1 for the state that it is in, 0 for the others", samples);
    metrics.gauge("agent_start_time", "seconds", "When the agent began", seconds(status.began_ns));
    metrics.gauge("status_timestamp", "seconds", "When these figures were taken", seconds(status.written_ns));
    let level = verdict(status, status.written_ns).level;
    metrics.flag("safe", "1 while nothing needs attention, as the page says it, otherwise 0", level == Level::Safe);
    metrics.gauge("alerts", "", "Alerts of the agent that stand, a number", status.alerts.len() as f64);
    let ships = status.lease.as_ref().is_some_and(|lease| lease.is_ours);
    metrics.flag("leader", "1 while this agent ships the log, 0 while it stands by", ships);
    metrics.known("lease_fence", "", "The fencing number of the lease", status.lease.as_ref().map(|lease| lease.fence as f64));
}

fn log(metrics: &mut Metrics, status: &AgentStatus) {
    let lag_s = status.lag_ms as f64 / 1e3;
    metrics.gauge("recovery_point_lag", "seconds", "How long the oldest op that is not durable has been waiting; 0 when all are", lag_s);
    metrics.gauge("recovery_point_lag", "ops", "Ops that were read and are not durable", status.lag_ops as f64);
    let alarm_s = status.lag_alarm_ms as f64 / 1e3;
    metrics.gauge("recovery_point_lag_alarm", "seconds", "The lag from which on there is an alert (lag_alarm_ms)", alarm_s);
    metrics.gauge("durable_op", "", "Every op up to this number is durable in the repository, gaps aside", status.durable_op as f64);
    metrics.gauge("head_op", "", "The number of the newest op that was read", status.head_op as f64);
    let durable_at = (status.durable_timestamp_ns > 0).then(|| seconds(status.durable_timestamp_ns));
    metrics.known("durable_op_timestamp", "seconds", "The time of the newest durable op, by the cluster's clock", durable_at);
    metrics.counter("log_read", "bytes", "Log read since the agent began", status.log_bytes_read as f64);
    metrics.counter("stored", "bytes", "Log stored since the agent began, as it is stored", status.stored_bytes as f64);
    let ratio = (status.stored_bytes > 0).then(|| status.log_bytes_read as f64 / status.stored_bytes as f64);
    metrics.known("log_compression", "ratio", "Bytes of log read for each byte stored, since the agent began", ratio);
    metrics.counter("shipped", "segments", "Segments shipped since the agent began", status.segments_shipped as f64);
    metrics.gauge("backlog", "segments", "Segments that wait for the store in memory", status.backlog_segments as f64);
    metrics.gauge("backlog", "bytes", "Their sealed bytes", status.backlog_bytes as f64);
    metrics.gauge("spool", "segments", "Segments that wait for the store on disk", status.spool_segments as f64);
    metrics.gauge("spool", "bytes", "Their sealed bytes", status.spool_bytes as f64);
    metrics.gauge("gaps", "", "Gaps in the log of this timeline, a number", status.gaps.len() as f64);
    let missing: u64 = status.gaps.iter().map(|gap| gap.last_op.saturating_sub(gap.first_op).saturating_add(1)).sum();
    metrics.gauge("gap", "ops", "Ops that are missing in them", missing as f64);
    let checkpoint_op = status.last_checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.op);
    let open = status.gaps.iter().filter(|gap| gap.last_op > checkpoint_op).count();
    metrics.gauge("gaps_open", "", "Gaps that no checkpoint has closed yet, a number", open as f64);
}

fn limits(metrics: &mut Metrics, status: &AgentStatus) {
    let used = status.cpu_share_10s_percent / 100.0;
    metrics.gauge("cpu_share", "ratio", "CPU time of the agent in the last ten seconds, of all cores together", used);
    metrics.gauge("cpu_log_share", "ratio", "Of the last minute, what the log took, of all cores together", status.cpu_log_percent / 100.0);
    let budget = (status.cpu_budget_percent > 0).then(|| f64::from(status.cpu_budget_percent) / 100.0);
    metrics.known("cpu_budget", "ratio", "What it may take (cpu_budget_percent)", budget);
    metrics.counter("cpu", "seconds", "CPU time of the agent since it began", status.cpu_seconds);
    metrics.counter("bulk_wait", "seconds", "How long bulk work has waited for the limits", status.bulk_waited_seconds);
    metrics.flag(
        "limits_too_low",
        "1 while the limits leave too little for the log or a checkpoint in time, otherwise 0",
        !status.outlook.is_empty(),
    );
    metrics.gauge("memory", "bytes", "Memory that the agent has resident", status.memory_bytes as f64);
}

fn store(metrics: &mut Metrics, status: &AgentStatus) {
    metrics.flag("store_reachable", "1 while the store answers, otherwise 0", status.store_reachable);
    metrics.counter("store", "requests", "Requests to the store, every attempt counted", status.store.attempts as f64);
    let kinds = [("retried", status.store.retries), ("slow_down", status.store.slow_downs), ("lost", status.store.lost)];
    let samples = kinds.into_iter().map(|(kind, count)| (label("kind", kind), count));
    metrics.counters(
        "store",
        "errors",
        "Attempts made again, answers that asked to slow down, attempts without a complete answer",
        samples,
    );
    let classes = || status.storage.iter();
    let objects = classes().map(|storage| (label("class", &storage.class), storage.objects as f64));
    metrics.gauges("storage", "objects", "Objects in the repository, by kind", objects);
    let bytes = classes().map(|storage| (label("class", &storage.class), storage.bytes as f64));
    metrics.gauges("storage", "bytes", "Their stored bytes", bytes);
}

fn objectives(metrics: &mut Metrics, status: &AgentStatus) {
    let each = |value: fn(&ObjectiveStatus) -> Option<f64>| {
        let all = status.objectives.iter().filter_map(move |tier| value(tier).map(|value| (label("tier", &tier.tier), value)));
        all.collect::<Vec<_>>().into_iter()
    };
    metrics.gauges(
        "objective_recovery_point",
        "seconds",
        "The worst recovery point of a tier when that was last looked at",
        each(|tier| tier.recovery_point_seconds),
    );
    metrics.gauges("objective_recovery_point_limit", "seconds", "What it may be", each(|tier| Some(tier.recovery_point_objective_seconds)));
    metrics.gauges(
        "objective_recovery_time",
        "seconds",
        "How long a restore of a tier took, or is expected to take",
        each(|tier| tier.recovery_time_seconds),
    );
    metrics.gauges("objective_recovery_time_limit", "seconds", "What it may take", each(|tier| Some(tier.recovery_time_objective_seconds)));
}

fn recovery(metrics: &mut Metrics, status: &AgentStatus) {
    let checkpoint = status.last_checkpoint.as_ref();
    metrics.known("checkpoint_op", "", "The op number of the newest checkpoint", checkpoint.map(|checkpoint| checkpoint.op as f64));
    let ended = checkpoint.map(|checkpoint| seconds(checkpoint.ended_ns));
    metrics.known("checkpoint_timestamp", "seconds", "When the newest checkpoint was complete", ended);
    metrics.gauge("restorable_ranges", "", "Ranges of ops that can be restored without a hole, a number", status.restorable.len() as f64);
    let first = status.restorable.iter().filter(|range| range.first_timestamp_ns > 0).map(|range| range.first_timestamp_ns).min();
    metrics.known("restorable_first_timestamp", "seconds", "The earliest moment that can be restored", first.map(seconds));
    let last = status.restorable.iter().map(|range| range.last_timestamp_ns).max().filter(|last| *last > 0);
    metrics.known("restorable_last_timestamp", "seconds", "The latest moment that can be restored", last.map(seconds));
    let estimate = (status.restore_estimate_seconds > 0).then_some(status.restore_estimate_seconds as f64);
    metrics.known("restore_estimate", "seconds", "How long a restore to the newest op would take", estimate);
}

fn jobs(metrics: &mut Metrics, jobs: &[JobStatus]) {
    let each = |value: fn(&JobStatus) -> Option<f64>| {
        jobs.iter().filter_map(move |job| value(job).map(|value| (label("job_name", &job.name), value))).collect::<Vec<_>>().into_iter()
    };
    metrics.gauges(
        "job_success_timestamp",
        "seconds",
        "When the newest run that did what it was to do ended",
        each(|job| job.last_success_ns.map(seconds)),
    );
    metrics.gauges(
        "job_end_timestamp",
        "seconds",
        "When the newest run ended",
        each(|job| job.last.as_ref().map(|last| seconds(last.ended_ns))),
    );
    let duration = each(|job| job.last.as_ref().map(|last| seconds(last.ended_ns.saturating_sub(last.started_ns))));
    metrics.gauges("job_duration", "seconds", "How long the newest run took", duration);
    metrics.gauges("job_stored", "bytes", "What the newest run stored", each(|job| job.last.as_ref().map(|last| last.stored_bytes as f64)));
    metrics.gauges(
        "job_failures",
        "",
        "Runs that failed since the last that did not, a number",
        each(|job| Some(f64::from(job.failures_in_a_row))),
    );
    metrics.gauges("job_next_timestamp", "seconds", "When it is due next", each(|job| job.next_ns.map(seconds)));
    metrics.gauges(
        "job_running",
        "",
        "1 while a run is under way, otherwise 0",
        each(|job| Some(f64::from(u8::from(job.running.is_some())))),
    );
    metrics.gauges("job_paused", "", "1 while it is paused, otherwise 0", each(|job| Some(f64::from(u8::from(job.is_paused)))));
    let progress = each(|job| {
        let running = job.running.as_ref().filter(|running| running.total_bytes > 0)?;
        Some((running.position_bytes as f64 / running.total_bytes as f64).min(1.0))
    });
    metrics.gauges("job_progress", "ratio", "How far the step of the run that is under way has come", progress);
}

fn checks(metrics: &mut Metrics, status: &AgentStatus) {
    let verification = status.verification.as_ref();
    let ended = verification.map_or(0.0, |verification| seconds(verification.ended_ns));
    metrics.gauge("verification_timestamp", "seconds", "When the newest verification ended; 0 where there was none", ended);
    let whole = verification.map(|verification| f64::from(u8::from(verification.is_whole)));
    metrics.known("verification_whole", "", "1 where the newest verification found nothing wrong, otherwise 0", whole);
    metrics.known(
        "verification_problems",
        "",
        "Objects that are not what was promised, a number",
        verification.map(|found| found.problems as f64),
    );
    let backups = |value: Option<u64>| value.map(|value| value as f64);
    metrics.known("verification_backups", "", "Backups that it looked at, a number", backups(verification.map(|found| found.backups)));
    let whole = backups(verification.map(|found| found.backups_whole));
    metrics.known("verification_backups_whole", "", "Of these, those that are intact, a number", whole);
    let drill = status.last_drill_ns.map_or(0.0, seconds);
    metrics.gauge("drill_timestamp", "seconds", "When the newest drill that succeeded ended; 0 where there was none", drill);
    let events = status.events.as_ref();
    metrics.known(
        "events_waiting",
        "",
        "Records that wait for the repository or the ledger, a number",
        events.map(|events| events.waiting as f64),
    );
    let oldest = events.and_then(|events| events.oldest_ns).map(seconds);
    metrics.known("events_oldest_timestamp", "seconds", "Since when the oldest of them waits", oldest);
    let delivered = events.map_or(0, |events| events.delivered);
    metrics.counter("events_delivered", "", "Events delivered to a ledger since the agent began", delivered as f64);
}
