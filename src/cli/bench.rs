//! `amber bench`: what would a backup cost here, and what should be set?

use super::Manner;
use super::output::{Report, facts, table};
use super::repository::PlaceArguments;
use crate::bench::advice::Wish;
use crate::bench::cost::Cost;
use crate::bench::sends::Send;
use crate::bench::{BenchRequest, Findings, run as measure};
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::pipeline::compress::LEVEL_MAX;
use crate::pipeline::compress::LEVEL_MIN;
use crate::pipeline::level::LEVEL_DEFAULT;
use crate::repository::key;
use crate::units::{GIB, MIB, bytes_text};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Levels that are measured in addition to the requested one.
const LEVELS: [i32; 4] = [-5, -1, 1, 3];

const AFTER_HELP: &str = "\
Each stage of the pipeline runs alone, on one thread, over the same bytes: read (io_uring, O_DIRECT), verify (TigerBeetle's checksums), compress at several
levels, seal (AES-256-GCM), digest (SHA-256), and back. Then all of them run joined, as in a backup. With --repo, parts of 8, 16 and 32 MiB are sent too, 1, 2, 4 and 8
at a time: some 2 GiB, under a name of their own below the given place, which is emptied again. Nothing else is written, and a running server's data file
may be measured on.

The first column that matters is CPU seconds per GiB of the source: what a stage costs does not depend on the neighbours. Bytes a second do.

  amber bench                                                            made transfers, no store
  amber bench --data 0_0.tigerbeetle --rate-bytes-per-s 50000000         your blocks, your rate
  amber bench --data 0_0.tigerbeetle --repo s3://backups/ledger          and your store";

/// Arguments of `amber bench`. A store is measured only where one is named.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, mut_arg("repo", |repo| repo.required(false)))]
pub struct BenchArguments {
    /// Measure on a sample of this file: a TigerBeetle data file (its live blocks), or any other.
    /// Made transfers otherwise.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// How much of it, at the most; it is read window by window and not held in memory.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1024 * 1024))]
    sample_mib: u64,
    /// Only each stage alone, at one level, and sending with Amber's own part size.
    #[arg(long)]
    stages: bool,
    /// zstd level of the stages and the joined pipeline, -7 (fastest) to 15 (smallest).
    #[arg(long, default_value_t = LEVEL_DEFAULT, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(i64::from(LEVEL_MIN)..=i64::from(LEVEL_MAX)))]
    level: i32,
    /// Threads that compress and encrypt in the joined pipeline; as many as there are cores
    /// otherwise, at most 8.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Bytes a second that change at your node (data file and log together): the expected CPU at
    /// this rate is reported.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate_bytes_per_s: Option<u64>,
    /// Percent of the machine that Amber may use.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    budget_percent: f64,
    /// Measure writing too: a file as large as the sample is made in this folder and removed again.
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Read through the page cache instead of O_DIRECT.
    #[arg(long)]
    no_direct: bool,
    /// Read with pread instead of io_uring.
    #[arg(long)]
    no_io_uring: bool,
    #[command(flatten)]
    place: Option<PlaceArguments>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number <= 100.0 { Ok(number) } else { Err("it must be above 0 and at most 100".to_owned()) }
}

/// Runs the measurements.
pub fn run(arguments: &BenchArguments, manner: Manner) -> Result<Report> {
    let began = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let scratch_name = format!("amber-bench-{:016x}", u64::from_le_bytes(key::random()?));
    let store = arguments.place.as_ref().map(|place| place.store_below(&scratch_name)).transpose()?;
    let others = LEVELS.into_iter().filter(|level| *level != arguments.level && !arguments.stages);
    let request = BenchRequest {
        data: arguments.data.clone(),
        read: ReadOptions { direct: !arguments.no_direct, uring: !arguments.no_io_uring, ..ReadOptions::default() },
        sample_bytes: arguments.sample_mib * MIB,
        levels: std::iter::once(arguments.level).chain(others).collect(),
        workers: arguments.workers.map_or(cores.min(8), usize::from),
        scratch: arguments.scratch.clone(),
        store,
        stages_only: arguments.stages,
        wish: Wish { rate_bytes_per_s: arguments.rate_bytes_per_s, budget_percent: arguments.budget_percent, cores },
    };
    let progress = for_people(manner.quiet);
    let measured = measure(&request, &*progress);
    if let Some(folder) = arguments.place.as_ref().and_then(|place| place.folder_below(&scratch_name)) {
        // The store's own files in the folder are no objects, so they are removed here. If that
        // fails, the folder visibly remains and does no harm.
        let _ = std::fs::remove_dir_all(folder);
    }
    let findings = measured?;
    let mut json = json_of(&findings, &request);
    if let Value::Object(fields) = &mut json {
        fields.insert("seconds".into(), json!(began.elapsed().as_secs_f64()));
        fields.insert("cpu_seconds".into(), json!(cpu_seconds()));
        fields.insert("peak_memory_bytes".into(), json!(peak_memory_bytes()));
    }
    Ok(Report::new(text_of(&findings, &request), json))
}

/// Each stage's name, its cost, and how many of its bytes there are for a byte of the source.
fn stages_of(findings: &Findings) -> Vec<(String, Cost)> {
    let stages = &findings.stages;
    let mut rows = Vec::new();
    rows.extend(stages.read.map(|cost| ("read".to_owned(), cost)));
    rows.extend(stages.verify.map(|cost| ("verify".to_owned(), cost)));
    rows.extend(stages.levels.iter().map(|level| (format!("compress {}", level.level), level.cost)));
    rows.extend(
        [("seal", stages.seal), ("digest", stages.digest), ("open", stages.open), ("expand", stages.expand)]
            .map(|(name, cost)| (name.to_owned(), cost)),
    );
    rows.extend(stages.write.map(|cost| ("write".to_owned(), cost)));
    rows
}

/// The measurement of sending with Amber's own part size and parallelism, or the one closest to it.
fn own_send(findings: &Findings) -> Option<&Send> {
    let own = crate::bench::sends::own_shape();
    findings.sends.iter().find(|send| own.contains(&send.shape))
}

/// CPU seconds of all stages of a backup and of a restore for a GiB of the source, including
/// sending and fetching if they were measured.
fn sums(findings: &Findings) -> (f64, f64) {
    let (stages, share) = (&findings.stages, findings.stages.stored_share());
    let per_stored = |send: Option<&Send>| send.map_or(0.0, |send| send.cost.cpu_seconds_per_byte() * share);
    let backup = stages.backup_per_source_byte() + per_stored(own_send(findings));
    let restore = stages.restore_per_source_byte() + per_stored(findings.fetch.as_ref());
    (backup * GIB as f64, restore * GIB as f64)
}

fn text_of(findings: &Findings, request: &BenchRequest) -> String {
    let (stages, per_gib) = (&findings.stages, |cost: &Cost| findings.stages.per_source_byte(cost) * GIB as f64);
    let mut text = facts(&[(
        "sample",
        format!("{} of {}, {:.2} stored for each byte", bytes_text(stages.source_bytes), findings.kind.name(), stages.stored_share()),
    )]);
    let rows: Vec<Vec<String>> = stages_of(findings)
        .iter()
        .map(|(name, cost)| vec![name.clone(), format!("{:.3}", per_gib(cost)), format!("{:.2}", cost.gb_per_core_second())])
        .collect();
    text.push_str(&format!("\n{}", table(&["stage alone", "CPU s per source GiB", "GB/s per core"], &rows)));
    let levels: Vec<Vec<String>> = stages
        .levels
        .iter()
        .map(|level| vec![level.level.to_string(), format!("{:.2}", stages.plain_bytes as f64 / level.stored_bytes.max(1) as f64)])
        .collect();
    text.push_str(&format!("\n{}", table(&["level", "times smaller"], &levels)));
    if !findings.sends.is_empty() {
        let row = |what: String, send: &Send| {
            let rate = format!("{}/s", bytes_text(send.cost.bytes_per_second() as u64));
            vec![what, send.shape.in_flight.to_string(), rate, format!("{:.3}", send.cost.cpu_seconds_per_gib())]
        };
        let mut rows: Vec<Vec<String>> =
            findings.sends.iter().map(|send| row(format!("send {}", bytes_text(send.shape.part_bytes)), send)).collect();
        rows.extend(findings.fetch.iter().map(|fetch| row(format!("fetch {}", bytes_text(fetch.shape.part_bytes)), fetch)));
        text.push_str(&format!("\n{}", table(&["parts", "at once", "rate", "CPU s per GiB sent"], &rows)));
    }
    text.push_str(&format!("\n{}", facts(&conclusions(findings, request))));
    for note in &findings.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn conclusions(findings: &Findings, request: &BenchRequest) -> Vec<(&'static str, String)> {
    let (backup, restore) = sums(findings);
    let without = if findings.sends.is_empty() { ", without a store (--repo)" } else { "" };
    let mut rows = vec![("sum of stages", format!("backup {backup:.2}, restore {restore:.2} CPU s per source GiB{without}"))];
    if let Some(joined) = &findings.joined {
        let place = if joined.to_store { "into the store" } else { "into nothing" };
        let rate = bytes_text(joined.cost.bytes_per_second() as u64);
        let cpu = joined.cost.cpu_seconds_per_gib();
        rows.push(("joined", format!("{cpu:.2} CPU s per source GiB {place}, {rate}/s with {} workers", joined.workers)));
    }
    let advice = &findings.advice;
    let mut set = format!("--level {} --workers {}", advice.level, advice.workers);
    if let Some(shape) = advice.shape {
        set.push_str(&format!(", parts of {}, {} at once", bytes_text(shape.part_bytes), shape.in_flight));
    }
    rows.push(("recommended", set));
    let carried = bytes_text(advice.bytes_per_s_in_budget as u64);
    rows.push(("budget", format!("{} % of {} cores carry {carried}/s of the source", request.wish.budget_percent, request.wish.cores)));
    if let (Some(rate), Some(percent)) = (request.wish.rate_bytes_per_s, advice.cpu_percent) {
        let within = if percent <= request.wish.budget_percent { "within the budget" } else { "more than the budget" };
        rows.push(("at your rate", format!("{percent:.1} % of the machine for {}/s: {within}", bytes_text(rate))));
    }
    rows
}

fn cost_json(cost: &Cost) -> Value {
    json!({
        "bytes": cost.bytes,
        "cpu_seconds": cost.cpu_seconds,
        "seconds": cost.seconds,
        "cpu_seconds_per_gib": cost.cpu_seconds_per_gib(),
        "gb_per_core_second": cost.gb_per_core_second(),
    })
}

fn send_json(send: &Send) -> Value {
    json!({ "part_bytes": send.shape.part_bytes, "in_flight": send.shape.in_flight, "cost": cost_json(&send.cost) })
}

fn json_of(findings: &Findings, request: &BenchRequest) -> Value {
    let (stages, advice, (backup, restore)) = (&findings.stages, &findings.advice, sums(findings));
    let costs: serde_json::Map<String, Value> =
        stages_of(findings).iter().map(|(name, cost)| (name.replace(' ', "_"), cost_json(cost))).collect();
    let levels: Vec<Value> = stages
        .levels
        .iter()
        .map(|level| json!({ "level": level.level, "stored_bytes": level.stored_bytes, "cost": cost_json(&level.cost) }))
        .collect();
    json!({
        "data": findings.kind.name(),
        "cores": request.wish.cores,
        "source_bytes": stages.source_bytes,
        "plain_bytes": stages.plain_bytes,
        "stored_bytes": stages.stored_bytes,
        "level": stages.compress().level,
        "stages": costs,
        "levels": levels,
        "sends": findings.sends.iter().map(send_json).collect::<Vec<_>>(),
        "fetch": findings.fetch.as_ref().map(send_json),
        "backup_cpu_seconds_per_source_gib": backup,
        "restore_cpu_seconds_per_source_gib": restore,
        "joined": findings.joined.as_ref().map(|joined| json!({
            "cost": cost_json(&joined.cost),
            "stored_bytes": joined.stored_bytes,
            "to_store": joined.to_store,
            "workers": joined.workers,
        })),
        "advice": {
            "level": advice.level,
            "workers": advice.workers,
            "part_bytes": advice.shape.map(|shape| shape.part_bytes),
            "in_flight": advice.shape.map(|shape| shape.in_flight),
            "cpu_seconds_per_source_gib": advice.cpu_seconds_per_byte * GIB as f64,
            "stored_share": advice.stored_share,
            "cpu_percent_at_rate": advice.cpu_percent,
            "bytes_per_s_in_budget": advice.bytes_per_s_in_budget,
        },
        "notes": findings.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArguments,
    }

    #[test]
    fn a_store_is_asked_for_only_where_one_is_named() {
        let line = |words: &[&str]| Line::try_parse_from([&["bench"], words].concat()).map(|line| line.bench.place.is_some());
        assert!(line(&["--repo", "/backup"]).unwrap());
        // The environment may name a repository too, and a test must not depend on that.
        if std::env::var_os("AMBER_REPO").is_none() && std::env::var_os("AMBER_ENDPOINT").is_none() {
            assert!(!line(&[]).unwrap());
        }
        assert!(line(&["--budget-percent", "0"]).is_err());
        assert!(line(&["--budget-percent", "five"]).is_err());
    }

    #[test]
    fn a_report_says_what_was_measured_and_what_follows() {
        let wish = Wish { rate_bytes_per_s: Some(1_000_000), budget_percent: 5.0, cores: 4 };
        let request = BenchRequest {
            data: None,
            read: ReadOptions::default(),
            sample_bytes: MIB,
            levels: vec![1],
            workers: 1,
            scratch: None,
            store: None,
            stages_only: false,
            wish,
        };
        let findings = measure(&request, &crate::progress::Silent).unwrap();
        let (text, json) = (text_of(&findings, &request), json_of(&findings, &request));
        for part in ["compress 1", "GB/s per core", "sum of stages", "without a store", "--level 1 --workers 1", "at your rate"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(json["stages"]["compress_1"]["bytes"], json["plain_bytes"]);
        assert!(json["backup_cpu_seconds_per_source_gib"].as_f64().unwrap() > 0.0);
        assert!(json["fetch"].is_null() && json["advice"]["part_bytes"].is_null());
    }
}
