//! The job that compares what was aimed for with what was met, tier by tier: the worst recovery
//! point since the look before, and how long a restore took, or would take. It also counts the
//! backups that nothing has verified within a day of being made.
//!
//! Of the log the worst lag is what the reporter noted, every second. Of everything else the
//! recovery point is as old as its newest backup. The figures are the run's result, so the catalog
//! can be made again from the repository; `objectives_by_day` has the worst of each day.

use crate::catalog::reader::Reader;
use crate::catalog::rebuild::refresh;
use crate::error::{Kind, Result};
use crate::jobs::job::Context;
use crate::monitor::status::ObjectiveStatus;
use crate::repository::name;
use crate::repository::run_record::RunOutcome;
use crate::tier::request::AsOf;
use crate::tier::{Tier, tiers};
use serde_json::json;
use std::time::Duration;

/// A backup is verified within so long.
pub const VERIFIED_WITHIN: Duration = Duration::from_secs(86_400);

/// Runs the job.
///
/// # Errors
/// When the store or the catalog cannot be read.
pub fn run(context: &Context<'_>) -> Result<RunOutcome> {
    let worst_lag_ms = context.board.take_worst_lag();
    // What could not be recorded counts next time.
    look(context, worst_lag_ms).inspect_err(|_| context.board.note_lag(worst_lag_ms))
}

fn look(context: &Context<'_>, worst_lag_ms: u64) -> Result<RunOutcome> {
    refresh(context.catalog, context.progress)?;
    let reader = Reader::open(context.catalog.folder().path())?;
    let (now_ns, worst_lag_s) = (context.repository.clock().now_ns(), worst_lag_ms as f64 / 1e3);
    let mut found = Vec::new();
    for tier in tiers() {
        found.push(objective(context, *tier, &reader, worst_lag_s, now_ns)?);
    }
    let unverified = unverified(&reader, now_ns)?;
    let details = [("tiers", json!(found)), ("unverified", json!(unverified))];
    let details = details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(RunOutcome { details, ..RunOutcome::completed(now_ns) })
}

/// What an alert says of backups that nothing has verified, by a run of this job; `None` if there
/// are none, or if a verification has looked at them since.
pub fn unverified_text(outcome: &RunOutcome, verified_ns: Option<u64>) -> Option<String> {
    let unverified = outcome.details.get("unverified").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let stands = unverified > 0 && verified_ns.is_none_or(|verified_ns| verified_ns < outcome.ended_ns);
    stands.then(|| format!("{unverified} backups were made more than a day ago and nothing has verified them since"))
}

/// The objectives that a run found, for the status.
pub fn of_outcome(outcome: &RunOutcome) -> Vec<ObjectiveStatus> {
    outcome.details.get("tiers").and_then(|tiers| serde_json::from_value(tiers.clone()).ok()).unwrap_or_default()
}

/// What a run found, in a few words.
pub fn outcome_text(outcome: &RunOutcome) -> String {
    if !outcome.completed {
        return String::new();
    }
    let missed: Vec<String> = of_outcome(outcome).iter().filter(|tier| tier.is_missed()).map(|tier| tier.tier.clone()).collect();
    if missed.is_empty() { "all objectives are met".to_owned() } else { format!("MISSED by {}", missed.join(", ")) }
}

fn objective(context: &Context<'_>, tier: &dyn Tier, reader: &Reader, worst_lag_s: f64, now_ns: u64) -> Result<ObjectiveStatus> {
    let objective = tier.objective();
    let newest_ns = newest_ns(reader, tier)?;
    let point = if tier.promises() == &name::TIGERBEETLE {
        newest_ns.map(|_| worst_lag_s)
    } else {
        newest_ns.map(|newest_ns| now_ns.saturating_sub(newest_ns) as f64 / 1e9)
    };
    let measured = number(
        reader,
        &format!(
            "SELECT restore_seconds FROM restore_runs WHERE status = 'completed' AND tier = '{}' ORDER BY end_time DESC LIMIT 1",
            tier.name()
        ),
    )?;
    let expected = expected_seconds(context, tier)?;
    Ok(ObjectiveStatus {
        tier: tier.name().to_owned(),
        recovery_point_seconds: point,
        recovery_point_objective_seconds: objective.recovery_point.as_secs_f64(),
        recovery_time_seconds: measured.or(if let Expected::Seconds(seconds) = expected { Some(seconds) } else { None }),
        is_damaged: matches!(expected, Expected::Damaged),
        recovery_time_objective_seconds: objective.recovery_time.as_secs_f64(),
        is_measured: measured.is_some(),
    })
}

/// What a restore of a tier's newest state is expected to take.
enum Expected {
    Seconds(f64),
    /// There is none, or nobody can tell which of the tier's sources is meant.
    Unknown,
    /// It is damaged.
    Damaged,
}

fn expected_seconds(context: &Context<'_>, tier: &dyn Tier) -> Result<Expected> {
    match tier.estimate(context.repository, AsOf::Newest, None) {
        Ok(estimate) => Ok(Expected::Seconds(estimate.seconds)),
        Err(error) if error.kind == Kind::Input => Ok(Expected::Unknown),
        Err(error) if error.kind == Kind::Damaged => Ok(Expected::Damaged),
        Err(error) => Err(error),
    }
}

/// When the newest backup of a tier ended.
fn newest_ns(reader: &Reader, tier: &dyn Tier) -> Result<Option<u64>> {
    let sql = format!(
        "SELECT epoch_ns(max(end_time)) FROM backup_metadata WHERE status = 'completed' AND backup_type = '{}'",
        tier.work().text()
    );
    Ok(number(reader, &sql)?.map(|time_ns| time_ns as u64))
}

/// How many backups are older than they may be without a verification since.
fn unverified(reader: &Reader, now_ns: u64) -> Result<u64> {
    let latest_us = now_ns.saturating_sub(u64::try_from(VERIFIED_WITHIN.as_nanos()).unwrap_or(u64::MAX)) / 1000;
    let sql = format!(
        "SELECT count(*) FROM backup_metadata WHERE status = 'completed' AND epoch_us(end_time) < {latest_us} AND end_time > \
         (SELECT coalesce(max(start_time), TIMESTAMP '1970-01-01') FROM verification_runs WHERE problems IS NOT NULL)"
    );
    Ok(number(reader, &sql)?.unwrap_or_default() as u64)
}

fn number(reader: &Reader, sql: &str) -> Result<Option<f64>> {
    let answer = reader.query(sql)?;
    let first = answer.rows.first().and_then(|row| row.first()).cloned().flatten();
    Ok(first.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests;
