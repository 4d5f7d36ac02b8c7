//! One backup of a running TigerBeetle replica, start to end.
//!
//! ```text
//! superblock -> walk of the checkpoint -> packs    -+
//! WAL ring   -> tail, during the walk  -> segments -+-> where they meet
//!     -> superblock read again -> manifest -> receipt
//! ```
//!
//! The walk ([`crate::replica::checkpoint`]) runs on the calling thread and passes blocks to the
//! [`block_sink`]. The tail ([`log_capture`]) runs on a thread of its own from the first superblock
//! on, because the WAL ring may wrap during the walk. [`window`] decides at which op the image
//! ends.

pub mod base;
pub mod block_sink;
pub mod cleanup;
mod compare;
pub mod earlier_log;
pub mod history;
pub mod join;
pub mod log_capture;
pub mod replica_log;
pub mod stored_log;
pub mod window;
mod witness_search;

use super::format::manifest::{Manifest, Summary};
use super::format::segment::SegmentEntry;
use super::format::timeline::Lineage;
use crate::disk::file::ReadOptions;
use crate::error::{Error, Kind, Result};
use crate::host::clock::Clock;
use crate::progress::Progress;
use crate::replica::checkpoint::Walk;
use crate::replica::tail::header_ring;
use crate::repository::Repository;
use crate::repository::name::{CheckpointName, RunId};
use crate::repository::promise::Receipt;
use crate::store::Digest;
use crate::tb_format::header::release_text;
use crate::tb_format::layout::durable_op_for_checkpoint;
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::HeaderRing;
use crate::tier::tigerbeetle::capture::cleanup::check_wanted;
use crate::tier::tigerbeetle::capture::cleanup::delete_objects;
use crate::tier::tigerbeetle::capture::cleanup::delete_run;
use base::Base;
use block_sink::{Counts, PackSink};
use earlier_log::EarlierLog;
use log_capture::{Captured, CapturedLog, LogCapture};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stored_log::StoredLog;
use window::CaptureWindow;

/// Rounds added because the node progressed by a whole checkpoint interval during the last one.
/// After so many, the capture uses the checkpoint that it has.
const FRESHENING_ROUNDS_MAX: u32 = 5;
/// Rounds added because the log did not reach back to the captured checkpoint.
const LOST_ROUNDS_MAX: u32 = 50;
/// Of these rounds, those in which the superblock did not change. Such a replica only waits for the
/// log to arrive, or never gets it.
const LOST_IDLE_ROUNDS_MAX: u32 = 3;
/// How often, and how long each time, a backup that would end right after its checkpoint waits for
/// the log to continue.
const EARLY_WAITS_MAX: u32 = 20;
const EARLY_WAIT: Duration = Duration::from_millis(50);
/// Pause before a round after one in which the superblock did not change. A view change is over
/// within this time.
const PAUSE_AT_REST: Duration = Duration::from_secs(1);

/// What a backup did.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Its name in the repository.
    pub name: CheckpointName,
    /// What its manifest says.
    pub summary: Summary,
    /// Size of the manifest itself.
    pub manifest_bytes: u64,
    /// The manifest's digest, which the receipt contains too.
    pub manifest_digest: Digest,
    /// Fallbacks and damage that did not matter, in sentences for the user.
    pub notes: Vec<String>,
}

impl Backup {
    /// The content of the receipt.
    pub fn receipt(&self) -> Receipt {
        Receipt { size_bytes: self.manifest_bytes, digest: self.manifest_digest }
    }
}

/// Backs up the replica whose data file is `data_file`; its server may be running.
///
/// # Errors
/// [`Error::input`] for a file that is not a data file or belongs to another cluster,
/// [`Error::try_again`] while store or node are not ready, [`Error::damaged`] for damage in the
/// file. After an error nothing exists in the repository that a manifest promises.
pub fn backup(repository: &Arc<Repository>, data_file: &Path, options: ReadOptions, progress: &dyn Progress) -> Result<Backup> {
    let lineage = join::lineage_of(repository, data_file, options)?;
    backup_on(repository, data_file, options, &lineage, progress)
}

/// Like [`backup`], for a replica whose history the repository may not know. An unknown history is
/// stored as a timeline of its own.
///
/// # Errors
/// As [`backup`]; but another history is an error only when its cluster has another size.
pub fn backup_any_history(repository: &Arc<Repository>, data_file: &Path, options: ReadOptions, progress: &dyn Progress) -> Result<Backup> {
    let (lineage, begun) = join::lineage_or_new(repository, data_file, options)?;
    if let Some(branch) = &begun {
        progress.note(&format!("timeline {} begins: {}", branch.timeline, branch.reason));
    }
    backup_on(repository, data_file, options, &lineage, progress)
}

/// Backs up the replica as a part of this history.
///
/// # Errors
/// As [`backup`].
pub fn backup_on(
    repository: &Arc<Repository>,
    data_file: &Path,
    options: ReadOptions,
    lineage: &Lineage,
    progress: &dyn Progress,
) -> Result<Backup> {
    backup_as(repository, data_file, options, lineage, repository.new_run()?, progress)
}

/// Like [`backup_on`], under a run id that was drawn before, so that the run can be recorded before
/// it begins.
///
/// # Errors
/// As [`backup`].
pub fn backup_as(
    repository: &Arc<Repository>,
    data_file: &Path,
    options: ReadOptions,
    lineage: &Lineage,
    run: RunId,
    progress: &dyn Progress,
) -> Result<Backup> {
    let prepared = prepare(repository, data_file, options, lineage, run, progress);
    let (name, manifest, notes) = prepared.inspect_err(|error| {
        // A store that is not reachable cannot be cleaned up now either.
        if error.kind != Kind::TryAgain {
            delete_run(repository, run);
        }
    })?;
    repository.bind_cluster(manifest.superblock.cluster())?;
    check_wanted(progress)?;
    let stored = repository.promise(&name, &manifest)?;
    Ok(Backup { name, summary: manifest.summary, manifest_bytes: stored.size_bytes, manifest_digest: stored.digest, notes })
}

/// Captures and stores everything but the manifest that will promise it.
fn prepare(
    repository: &Arc<Repository>,
    data_file: &Path,
    options: ReadOptions,
    lineage: &Lineage,
    run: RunId,
    progress: &dyn Progress,
) -> Result<(CheckpointName, Manifest, Vec<String>)> {
    let (began_ns, timeline) = (repository.clock().now_ns(), lineage.timeline());
    let mut walk = Walk::open(data_file, options)?;
    let first = walk.superblock()?;
    for note in walk.notes() {
        progress.note(&note);
    }
    repository.check_cluster(first.cluster())?;
    let base = Base::find(repository, lineage)?;
    for note in &base.notes {
        progress.note(note);
    }
    let (mut held, mut held_earlier) = (StoredLog::default(), None);
    if let Some(manifest) = &base.manifest {
        base::refuse_other_history(manifest, &first)?;
        // The log of an ancestor may continue after the branch. There it is of another history.
        if manifest.summary.timeline == timeline {
            held = StoredLog::of(repository, manifest, first.checkpoint().header().op())?;
            held_earlier = EarlierLog::held(repository, manifest)?;
        }
    }
    let log = LogCapture::start(repository, data_file, options, timeline, run, held)?;
    let mut sink = PackSink::new(repository, run, &first, base.manifest, &log, progress);
    let Capture { window, log: captured } = capture(&mut walk, &mut sink, &log)?;
    let earlier = if window.ends_early() {
        let checkpoint = window.superblock.checkpoint().header();
        match held_earlier.filter(|held| held.leads_to(&checkpoint)) {
            Some(held) => Some(held),
            None => {
                Some(earlier_log::store(repository, data_file, options, timeline, run, &checkpoint)?.ok_or_else(|| too_early(&window))?)
            }
        }
    } else {
        None
    };
    progress.end();
    let (packs, extents, counts) = sink.finish()?;
    let superblock = &window.superblock;
    let name = CheckpointName { timeline, checkpoint_op: superblock.checkpoint().header().op(), replica: superblock.replica_index(), run };
    let needed = |segment: &SegmentEntry| segment.name.first_op <= window.end.op() && segment.name.last_op > name.checkpoint_op;
    let (behind, beyond): (Vec<_>, Vec<_>) = captured.segments.into_iter().partition(needed);
    for segment in beyond.iter().filter(|segment| captured.runs.contains(&segment.name.run)) {
        delete_objects(repository, segment.name.run, [segment.name.object()]);
    }
    let mut summary = summary_of(&name, &window, counts);
    summary.bytes_read = walk.bytes_read() + captured.bytes_read;
    let mut segments = behind;
    if let Some(earlier) = earlier {
        (summary.log_first_op, summary.first_restorable_op) = (earlier.first_op, superblock.commit_max());
        summary.bytes_read += earlier.bytes_read;
        segments = [earlier.segments, segments].concat();
    }
    let own = segments.iter().filter(|segment| captured.runs.contains(&segment.name.run));
    summary.bytes_stored += own.map(|segment| segment.stored_bytes).sum::<u64>();
    (summary.rounds, summary.began_ns, summary.ended_ns) = (walk.rounds(), began_ns, repository.clock().now_ns());
    let manifest = Manifest { summary, superblock: superblock.clone(), replies: captured.replies, packs, extents, segments };
    let zone = header_ring(data_file, options)?;
    let ring =
        HeaderRing::new(&zone).map_err(|error| Error::damaged(format!("{}: log ring: {error}", data_file.display())).caused_by(error))?;
    history::refuse_fork(repository, lineage, superblock, &captured.headers, window.end.op(), &ring)?;
    Ok((name, manifest, [base.notes, walk.notes()].concat()))
}

/// The summary as it follows from the window and the counts. The costs of the run are zero, and the
/// log begins after the checkpoint.
fn summary_of(name: &CheckpointName, window: &CaptureWindow, counts: Counts) -> Summary {
    let (superblock, checkpoint) = (&window.superblock, window.superblock.checkpoint());
    Summary {
        cluster: format!("{:032x}", superblock.cluster()),
        timeline: name.timeline,
        replica: name.replica,
        replica_count: superblock.replica_count(),
        release: release_text(checkpoint.release()),
        checkpoint_op: name.checkpoint_op,
        checkpoint_id: checkpoint.checkpoint_id().to_string(),
        checkpoint_timestamp_ns: checkpoint.header().timestamp(),
        log_first_op: name.checkpoint_op + 1,
        first_restorable_op: superblock.commit_max().max(durable_op_for_checkpoint(name.checkpoint_op)),
        recovered_to_op: window.end.op(),
        recovered_to_timestamp_ns: window.end.timestamp(),
        recovered_to_checksum: window.end.checksum().to_string(),
        commit_known_op: window.commit_known_op,
        data_file_bytes: checkpoint.storage_size(),
        blocks: counts.blocks_stored + counts.blocks_reused,
        blocks_stored: counts.blocks_stored,
        blocks_reused: counts.blocks_reused,
        bytes_read: 0,
        bytes_stored: counts.bytes_stored,
        rounds: 0,
        began_ns: 0,
        ended_ns: 0,
    }
}

fn too_early(window: &CaptureWindow) -> Error {
    Error::try_again(format!(
        "the log ends at op {}, so close behind the checkpoint that a server would not start without the log before it, which is not in the ring any \
         more: try again in a moment, or when some more requests have come",
        window.end.op()
    ))
}

struct Capture {
    window: CaptureWindow,
    log: Captured,
}

/// Counts the rounds in which checkpoint and log did not meet.
#[derive(Default)]
struct Lost {
    rounds: u32,
    idle_rounds: u32,
    sequence: u64,
}

impl Lost {
    /// Counts another such round. `reason` says why it is needed.
    ///
    /// # Errors
    /// [`Error::try_again`] when there were too many such rounds, or the superblock did not change
    /// meanwhile.
    fn again(&mut self, superblock: &SuperBlock, reason: &str, clock: Clock) -> Result<()> {
        self.rounds += 1;
        self.idle_rounds = if self.sequence == superblock.sequence() { self.idle_rounds + 1 } else { 0 };
        self.sequence = superblock.sequence();
        if self.idle_rounds >= LOST_IDLE_ROUNDS_MAX {
            return Err(Error::try_again(format!(
                "the log does not continue the checkpoint at op {} ({reason}), and the superblock does not change: the replica is catching up, or its log \
                 is damaged. Wait, or back up another replica",
                superblock.checkpoint().header().op()
            )));
        }
        if self.rounds > LOST_ROUNDS_MAX {
            return Err(Error::try_again(format!(
                "the log moves on faster than a checkpoint can be copied ({reason}): try again under less load"
            )));
        }
        if self.idle_rounds > 0 {
            clock.sleep(PAUSE_AT_REST);
        }
        Ok(())
    }
}

/// Walks the checkpoint until checkpoint and log meet.
fn capture(walk: &mut Walk, sink: &mut PackSink<'_>, log: &LogCapture) -> Result<Capture> {
    let (mut freshened, mut waited, mut lost) = (0, 0, Lost::default());
    let clock = walk.clock();
    loop {
        let superblock = walk.run(sink)?;
        let captured = match log.finish(superblock.commit_max())? {
            CapturedLog::Complete(captured) => captured,
            CapturedLog::Unusable(reason) => {
                lost.again(&superblock, &reason, clock)?;
                continue;
            }
        };
        let newer = walk.superblock()?;
        let Some(window) = CaptureWindow::choose(superblock.clone(), newer, &captured.headers)? else {
            lost.again(&superblock, "its prepares are older than the replica's view", clock)?;
            continue;
        };
        if window.capped && freshened < FRESHENING_ROUNDS_MAX {
            freshened += 1;
            continue;
        }
        if window.ends_early() && waited < EARLY_WAITS_MAX {
            // Under load the few missing prepares arrive in a moment.
            waited += 1;
            clock.sleep(EARLY_WAIT);
            continue;
        }
        return Ok(Capture { window, log: captured });
    }
}

#[cfg(test)]
mod tests;
