//! `amber restore tigerbeetle`: restores data files from a repository.

use super::Manner;
use super::output::{Report, facts};
use super::repository::RepositoryArguments;
use super::restore_run::{RestoreFacts, RestoreRun};
use crate::error::{Error, Result};
use crate::monitor::progress::for_people;
use crate::monitor::usage::{cpu_seconds, peak_memory_bytes};
use crate::names::path_text;
use crate::repository::{Options, Repository, name};
use crate::tb_format::header::{operation_name, release_text};
use crate::tier::tigerbeetle::restore;
use crate::tier::tigerbeetle::restore::RestoreRequest;
use crate::tier::tigerbeetle::restore::Restored;
use crate::tier::tigerbeetle::restore::plan::RestorePlan;
use crate::tier::tigerbeetle::restore::point::Point;
use crate::tier::tigerbeetle::restore::role::Role;
use crate::tier::tigerbeetle::restore::work::Hops;
use crate::units::{bytes_text, parse_time, time_text};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

const AFTER_HELP: &str = "\
Never put a restored file back into a cluster whose other replicas are alive: a replica that forgets its promises can lose committed data. Restore
the whole cluster (--all-replicas), under new files, or a sandbox (--solo).

  amber restore tigerbeetle --repo URL --output 0_0.tigerbeetle                        the replica that was captured, newest op
  amber restore tigerbeetle --repo URL --output 0_0.tigerbeetle --op 123456            to exactly this op
  amber restore tigerbeetle --repo URL --output 0_0.tigerbeetle --time 2026-11-21T10:00:00Z
  amber restore tigerbeetle --repo URL --output 0_0.tigerbeetle --time 2026-11-21T10:00:00Z --dry-run
                                                                                       what that would take
  amber restore tigerbeetle --repo URL --output 0_0.tigerbeetle --op 123456 --tigerbeetle /usr/bin/tigerbeetle
                                                                                       far behind a checkpoint: a server executes the log
  amber restore tigerbeetle --repo URL --output 0_0.tigerbeetle --base old.tigerbeetle
                                                                                       fetches only what an older image lacks
  amber restore tigerbeetle --repo URL --all-replicas /restored                        every replica of the cluster
  amber restore tigerbeetle --repo URL --output fork.tigerbeetle --solo                a cluster of one, to look into";

/// Arguments of `amber restore tigerbeetle`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct TigerbeetleArguments {
    #[command(flatten)]
    repository: RepositoryArguments,
    /// The data file to write. Nothing stands under this name before it is whole and checked.
    #[arg(long, value_name = "FILE", required_unless_present = "all_replicas", conflicts_with = "all_replicas")]
    output: Option<PathBuf>,
    /// Write one data file for each replica of the cluster into this folder, named
    /// CLUSTER_REPLICA.tigerbeetle.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["replica", "solo"])]
    all_replicas: Option<PathBuf>,
    /// Restore to exactly this op.
    #[arg(long, value_name = "N", conflicts_with = "time")]
    op: Option<u64>,
    /// Restore to the last op at or before this time: RFC 3339, or nanoseconds since the epoch.
    #[arg(long, value_name = "T")]
    time: Option<String>,
    /// Restore to the newest op that is held; this is what is done when no point is given.
    #[arg(long, conflicts_with_all = ["op", "time"])]
    latest: bool,
    /// Make it the data file of this replica of the cluster; of the one that was captured
    /// otherwise.
    #[arg(long, value_name = "I", conflicts_with = "solo")]
    replica: Option<u8>,
    /// How many replicas the cluster has; refused if the backup says otherwise.
    #[arg(long, value_name = "N", requires = "replica")]
    replica_count: Option<u8>,
    /// Make it a cluster of one: a sandbox that starts alone.
    #[arg(long)]
    solo: bool,
    /// A TigerBeetle executable of the release that the point needs, to roll forward to a point
    /// that no checkpoint's own log reaches. May be given several times, for a log in which the
    /// cluster was upgraded.
    #[arg(long, value_name = "PATH")]
    tigerbeetle: Vec<PathBuf>,
    /// Restore from the history that ends with this timeline; with the newest one otherwise.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// Say what would be done and how long it would take, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Replace files that stand under the output's name.
    #[arg(long)]
    overwrite: bool,
    /// An older image of the same ledger: blocks that it holds already are taken from there, the
    /// rest is fetched. It is only read, and each block is checked; with --overwrite it may be the
    /// output itself.
    #[arg(long, value_name = "OLD_FILE")]
    base: Option<PathBuf>,
    /// Begin anew. Otherwise the temporary file of a restore that was killed is taken over: what
    /// stands in it is checked, and only the rest is fetched.
    #[arg(long)]
    fresh: bool,
}

impl TigerbeetleArguments {
    fn point(&self) -> Result<Point> {
        Ok(match (self.op, &self.time) {
            (Some(op), _) => Point::Op(op),
            (None, Some(time)) => Point::Time(parse_time(time)?),
            (None, None) => Point::Newest,
        })
    }

    fn outputs(&self, repository: &Repository) -> Result<Vec<(PathBuf, Role)>> {
        let role = match (self.solo, self.replica) {
            (true, _) => Role::Solo,
            (false, Some(index)) => Role::Replica { index },
            (false, None) => Role::Same,
        };
        match (&self.output, &self.all_replicas) {
            (Some(path), _) => {
                if let Some(count) = self.replica_count {
                    let actual = replica_count(repository)?;
                    if count != actual {
                        return Err(Error::input(format!(
                            "--replica-count {count}: the cluster has {actual} replicas; --solo makes a cluster of one"
                        )));
                    }
                }
                Ok(vec![(path.clone(), role)])
            }
            (None, Some(folder)) => {
                let cluster =
                    repository.cluster()?.ok_or_else(|| Error::input(format!("{}: there is no backup yet", repository.describe())))?;
                let replicas = 0..replica_count(repository)?;
                Ok(replicas.map(|index| (folder.join(format!("{cluster}_{index}.tigerbeetle")), Role::Replica { index })).collect())
            }
            (None, None) => Err(Error::input("give --output FILE or --all-replicas DIR")),
        }
    }
}

/// Restores.
pub fn run(arguments: &TigerbeetleArguments, manner: Manner) -> Result<Report> {
    let began = Instant::now();
    let point = arguments.point()?;
    let repository = arguments.repository.open(Options::default())?;
    let request = RestoreRequest {
        point,
        timeline: arguments.timeline,
        outputs: arguments.outputs(&repository)?,
        overwrite: arguments.overwrite,
        base: arguments.base.clone(),
        fresh: arguments.fresh,
        binaries: arguments.tigerbeetle.clone(),
    };
    if arguments.dry_run {
        let plan = RestorePlan::make(&repository, request.point, request.timeline)?;
        if !request.binaries.is_empty() {
            plan.require_binaries(&repository, &request.binaries)?;
        }
        return Ok(plan_report(&request, &plan));
    }
    if let Some(folder) = &arguments.all_replicas {
        std::fs::create_dir_all(folder).map_err(|error| Error::input(format!("{}: {error}", folder.display())).caused_by(error))?;
    }
    let progress = for_people(manner.quiet);
    let run = RestoreRun::begin(&name::TIGERBEETLE);
    let done = restore::restore(&repository, &request, &*progress);
    let facts = |restored: &Restored| RestoreFacts {
        location: restored.name.object(),
        restored_bytes: restored.bytes_written,
        expected_seconds: None,
    };
    let (restored, note) = run.end(&repository, &*progress, done, facts)?;
    let mut report = report(&request, &restored, began.elapsed().as_secs_f64());
    report.add_note(note);
    Ok(report)
}

fn replica_count(repository: &Repository) -> Result<u8> {
    restore::select::newest(repository).map(|(_, summary)| summary.replica_count)
}

fn report(request: &RestoreRequest, restored: &Restored, seconds: f64) -> Report {
    let files: Vec<String> = request.outputs.iter().map(|(path, _)| path_text(path)).collect();
    let cpu = cpu_seconds();
    let mut rows = vec![
        ("restored", files.join(", ")),
        ("to", crate::tier::tigerbeetle::restore::point::point_text(restored.op, restored.timestamp_ns)),
        ("from", restored.name.object()),
        ("timeline", restored.timeline.to_string()),
        ("release", format!("{}: start it with this release of TigerBeetle, or one that upgrades from it", release_text(restored.release))),
        ("blocks", restored.blocks.to_string()),
        ("bytes", bytes_of(restored)),
        ("hops", restored.hops.map_or("none".into(), |hops| hops_text(&hops))),
        ("checked", "every block and the log, read back from the disk".into()),
        ("time", format!("{seconds:.1} s, {cpu:.2} CPU s, at most {} of memory", bytes_text(peak_memory_bytes()))),
    ];
    let solo = request.outputs.iter().any(|(_, role)| *role == Role::Solo);
    if restored.summary.replica_count > 1 && !solo {
        rows.push(("warning", "never start it beside living replicas of the old cluster: restore the whole cluster".into()));
    }
    let json = json!({
        "files": files,
        "op": restored.op,
        "timestamp_ns": restored.timestamp_ns,
        "time": time_text(restored.timestamp_ns),
        "operation": operation_name(restored.operation),
        "backup": restored.name.object(),
        "timeline": restored.timeline,
        "release": release_text(restored.release),
        "hops": restored.hops.map_or(0, |hops| hops.count),
        "hops_seconds": restored.hops.map_or(0.0, |hops| hops.seconds),
        "checkpoint_ids_verified": restored.hops.map_or(0, |hops| hops.checkpoint_ids_verified),
        "replica_count": if solo { 1 } else { restored.summary.replica_count },
        "blocks": restored.blocks,
        "bytes_fetched": restored.bytes_fetched,
        "bytes_kept": restored.bytes_kept,
        "bytes_written": restored.bytes_written,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory_bytes": peak_memory_bytes(),
        "notes": restored.notes,
    });
    Report::new(facts(&rows), json)
}

fn bytes_of(restored: &Restored) -> String {
    let (fetched, written) = (bytes_text(restored.bytes_fetched), bytes_text(restored.bytes_written));
    match restored.bytes_kept {
        0 => format!("{fetched} fetched, {written} written into each file"),
        kept => format!(
            "{fetched} fetched, {} not fetched because the disk held the blocks, {written} written into each file",
            bytes_text(kept)
        ),
    }
}

fn hops_text(hops: &Hops) -> String {
    format!(
        "{} to the checkpoint at op {}, in {:.1} s; {} checkpoint ids were the original's",
        hops.count, hops.checkpoint_op, hops.seconds, hops.checkpoint_ids_verified
    )
}

fn plan_report(request: &RestoreRequest, plan: &RestorePlan) -> Report {
    let files: Vec<String> = request.outputs.iter().map(|(path, _)| path_text(path)).collect();
    let selected = &plan.selected;
    let checkpoint_op = selected.manifest.summary.checkpoint_op;
    let releases: Vec<String> =
        plan.releases.iter().map(|needed| format!("{} from op {} on", release_text(needed.release), needed.from_op)).collect();
    let hops = match plan.hops.as_slice() {
        [] => "none: the log beside the checkpoint reaches the op, no server is needed".to_owned(),
        hops => format!("{}: a server executes the log with --tigerbeetle, release {}", hops.len(), releases.join(", then ")),
    };
    let seconds = plan.estimate_seconds();
    let rows = [
        ("would write", files.join(", ")),
        ("to", crate::tier::tigerbeetle::restore::point::point_text(selected.op, plan.timestamp_ns)),
        ("from", selected.name.object()),
        ("checkpoint", format!("op {checkpoint_op}")),
        ("timeline", selected.timeline.to_string()),
        ("hops", hops),
        ("release", format!("{}: the data file is for this release of TigerBeetle", release_text(plan.release))),
        ("fetches", format!("{} of blocks, {} of log", bytes_text(plan.blocks_stored_bytes), bytes_text(plan.log_stored_bytes))),
        ("expected", format!("{seconds:.0} s")),
    ];
    let needed: Vec<serde_json::Value> =
        plan.releases.iter().map(|needed| json!({"release": release_text(needed.release), "from_op": needed.from_op})).collect();
    let json = json!({
        "dry_run": true,
        "files": files,
        "op": selected.op,
        "timestamp_ns": plan.timestamp_ns,
        "time": time_text(plan.timestamp_ns),
        "operation": operation_name(plan.operation),
        "backup": selected.name.object(),
        "checkpoint_op": checkpoint_op,
        "timeline": selected.timeline,
        "hops": plan.hops.len(),
        "releases_needed": needed,
        "release": release_text(plan.release),
        "blocks_bytes": plan.blocks_stored_bytes,
        "log_bytes": plan.log_stored_bytes,
        "expected_seconds": seconds,
        "notes": selected.notes,
    });
    Report::new(facts(&rows), json)
}
