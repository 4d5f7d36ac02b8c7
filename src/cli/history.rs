//! `amber history`: what ran, the newest first.

use super::Manner;
use super::catalog_place::CatalogArguments;
use super::output::{Report, table};
use super::uploads::parse_age;
use crate::catalog::reader::{Filter, Listed};
use crate::error::{Error, Result};
use crate::units::{bytes_text, now_ns, parse_time, time_text};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

const HEADER: [&str; 8] = ["began", "took", "type", "scope", "status", "stored", "job", "run"];

const AFTER_HELP: &str = "\
Backups, verifications, drills and retention, from the catalog; those that failed say why. Without --config or --catalog the repository is asked what is new.

  amber history --config /etc/amber/amber.toml
  amber history --repo s3://backups/ledger --status failed --since 7d
  amber history --type tigerbeetle --since 2026-11-01T00:00:00Z --limit 100 --json";

/// What a run does, as an argument.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TypeArgument {
    /// Backups of TigerBeetle.
    Tigerbeetle,
    /// Backups of DuckDB databases, the catalog among them.
    Duckdb,
    /// Backups of Parquet archives.
    Parquet,
    /// Backups of keys.
    Kms,
    /// Backups of plain files.
    File,
    /// Verifications.
    Verification,
    /// Drills.
    Drill,
    /// Removals of what has outlived its time.
    Retention,
}

/// How a run stands, as an argument.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StatusArgument {
    /// It has begun; nothing is known of its end.
    Started,
    /// It did what it was to do.
    Completed,
    /// It did not.
    Failed,
}

/// Arguments of `amber history`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct HistoryArguments {
    #[command(flatten)]
    catalog: CatalogArguments,
    /// Only runs of this kind.
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    work: Option<TypeArgument>,
    /// Only runs that stand so.
    #[arg(long, value_enum)]
    status: Option<StatusArgument>,
    /// Only runs that began since then: so long ago (a number with s, m, h or d), or a time (RFC
    /// 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u64,
}

/// Lists what ran.
pub fn run(arguments: &HistoryArguments, manner: Manner) -> Result<Report> {
    let word = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let filter = Filter {
        work: word(arguments.work.and_then(|work| work.to_possible_value())),
        status: word(arguments.status.and_then(|status| status.to_possible_value())),
        since_ns: arguments.since.as_deref().map(|since| since_ns(since, now_ns())).transpose()?,
        limit: Some(arguments.limit),
    };
    let runs = arguments.catalog.reader(manner)?.history(&filter)?;
    Ok(Report::new(text(&runs), json!({ "runs": runs.iter().map(Listed::json).collect::<Vec<Value>>() })))
}

fn since_ns(text: &str, now_ns: u64) -> Result<u64> {
    if let Ok(age) = parse_age(text) {
        return Ok(now_ns.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
    }
    parse_time(text).map_err(|_| {
        Error::input(format!("--since {text:?}: write how long ago, for example 24h or 7d, or a time, for example 2026-11-21T10:00:00Z"))
    })
}

fn text(runs: &[Listed]) -> String {
    if runs.is_empty() {
        return "no runs".to_owned();
    }
    let none = || "-".to_owned();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            vec![
                seconds_text(run.started_ns),
                run.ended_ns.map_or_else(none, |ended_ns| took_text(ended_ns.saturating_sub(run.started_ns))),
                run.work.clone(),
                run.scope.clone().unwrap_or_else(none),
                run.status.clone(),
                run.stored_bytes.map_or_else(none, bytes_text),
                run.job.clone(),
                run.run.clone(),
            ]
        })
        .collect();
    let failed = runs.iter().filter_map(|run| run.reason.as_ref().map(|reason| format!("{}: {reason}\n", run.run)));
    let reasons: String = failed.collect();
    let reasons = if reasons.is_empty() { reasons } else { format!("\n{reasons}") };
    format!("{}{reasons}", table(&HEADER, &rows))
}

/// A time to the second, which is enough for the eye.
fn seconds_text(time_ns: u64) -> String {
    time_text(time_ns - time_ns % 1_000_000_000)
}

fn took_text(time_ns: u64) -> String {
    let tenths = time_ns / 100_000_000;
    match tenths {
        0..1200 => format!("{}.{} s", tenths / 10, tenths % 10),
        1200..72_000 => format!("{} min", tenths / 600),
        _ => format!("{} h", tenths / 36_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn runs_are_a_table_with_the_reasons_below() {
        let completed = Listed {
            run: "000000000000000a".into(),
            work: "tigerbeetle".into(),
            scope: Some("full".into()),
            job: "checkpoint".into(),
            started_ns: 1_700_000_000_123_456_000,
            ended_ns: Some(1_700_000_075_223_456_000),
            status: "completed".into(),
            stored_bytes: Some(1536),
            ..Listed::default()
        };
        let failed =
            Listed { run: "0b".into(), status: "failed".into(), reason: Some("the store was away: try again".into()), ..completed.clone() };
        let said = text(&[completed, failed]);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("began") && lines[0].ends_with("run"), "{said}");
        assert_eq!(lines[1], "2023-11-14T22:13:20Z  75.1 s  tigerbeetle  full   completed  1.5 KiB  checkpoint  000000000000000a");
        assert_eq!(lines[4], "0b: the store was away: try again");
        assert_eq!(text(&[]), "no runs");
    }

    #[test]
    fn times_and_ages() {
        assert_eq!(since_ns("1h", 7_200_000_000_000).unwrap(), 3_600_000_000_000);
        assert_eq!(since_ns("9d", 5).unwrap(), 0);
        assert_eq!(since_ns("1970-01-01T00:00:01Z", 5).unwrap(), 1_000_000_000);
        let error = since_ns("yesterday", 5).unwrap_err();
        assert!(error.kind == Kind::Input && error.message.contains("7d"), "{error}");
        let reported = [0, 119_900_000_000, 120_000_000_000, 7_199_000_000_000, 7_200_000_000_000].map(took_text);
        assert_eq!(reported, ["0.0 s", "119.9 s", "2 min", "119 min", "2 h"]);
    }
}
