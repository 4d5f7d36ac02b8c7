//! One backup of a running TigerBeetle replica, start to end.
//!
//! ```text
//! superblock -> walk of the checkpoint -> packs  \
//! log ring   -> tail, beside the walk  -> segments -> where they meet: superblock read again -> manifest -> receipt
//! ```
//!
//! The walk ([`crate::replica::checkpoint`]) runs on the calling thread and hands blocks to the
//! [`sink`]; the tail ([`log_capture`]) runs on a thread of its own from the first superblock on,
//! because the ring may wrap while the walk takes its time. [`window`] decides at which op the
//! image ends.

pub mod base;
pub mod block_sink;
mod compare;
pub mod earlier_log;
pub mod history;
pub mod join;
pub mod log_capture;
pub mod stored_log;
pub mod window;
mod witness_search;

use super::format::manifest::{Manifest, Summary};
use super::format::promise::Receipt;
use super::format::segment::SegmentEntry;
use super::format::timeline::Lineage;
use crate::disk::file::ReadOptions;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::replica::checkpoint::Walk;
use crate::replica::tail::header_ring;
use crate::repository::Repository;
use crate::repository::name::{self, CheckpointName, PackName, RunId, SegmentName};
use crate::store::Digest;
use crate::tb_format::header::release_text;
use crate::tb_format::layout::durable_op_for_checkpoint;
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::HeaderRing;
use crate::units::now_ns;
use base::Base;
use block_sink::{Counts, PackSink};
use earlier_log::EarlierLog;
use log_capture::{Captured, LogCapture};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stored_log::StoredLog;
use window::CaptureWindow;

/// Rounds added because the node made a whole checkpoint interval of progress during the last one,
/// before the capture settles for what it has.
const FRESHENING_ROUNDS_MAX: u32 = 5;
/// Rounds added because the log did not reach back to the checkpoint in hand.
const LOST_ROUNDS_MAX: u32 = 50;
/// And of these, rounds in which the superblock stood still: a replica that only waits for the log
/// to arrive, or never gets it.
const LOST_ROUNDS_AT_REST_MAX: u32 = 3;
/// How often, and how long each time, a backup that would end right behind its checkpoint waits for
/// the log to go on.
const EARLY_WAITS_MAX: u32 = 20;
const EARLY_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 50 });
/// Pause before such a round: a view change is over within it.
const PAUSE_AT_REST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 1000 });

/// What a backup did.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Its name in the repository.
    pub name: CheckpointName,
    /// What its manifest says.
    pub summary: Summary,
    /// Size of the manifest itself.
    pub manifest_bytes: u64,
    /// Its digest, which the receipt has too.
    pub manifest_digest: Digest,
    /// Fallbacks and damage that did not matter, in sentences for the user.
    pub notes: Vec<String>,
}

impl Backup {
    /// What the receipt says.
    pub fn receipt(&self) -> Receipt {
        Receipt { size_bytes: self.manifest_bytes, digest: self.manifest_digest }
    }
}

/// Backs up the replica whose data file is `data_file`; its server may be running.
///
/// # Errors
/// [`Error::input`] for a file that is none or belongs to another cluster, [`Error::try_again`]
/// while store or node are not ready, [`Error::damaged`] for damage in the file. Nothing exists in
/// the repository then that any manifest promises.
pub fn backup(repository: &Arc<Repository>, data_file: &Path, options: ReadOptions, progress: &dyn Progress) -> Result<Backup> {
    let lineage = join::lineage_of(repository, data_file, options)?;
    backup_on(repository, data_file, options, &lineage, progress)
}

/// The same for a replica whose history may be one that the repository does not know: it is stored
/// as a timeline of its own then.
///
/// # Errors
/// As [`backup`], but for another history only when its cluster has another size.
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
    backup_as(repository, data_file, options, (lineage, repository.new_run()?), progress)
}

/// The same under the number of a run that has been drawn before, so that it can be recorded before
/// it begins.
///
/// # Errors
/// As [`backup`].
pub fn backup_as(
    repository: &Arc<Repository>,
    data_file: &Path,
    options: ReadOptions,
    (lineage, run): (&Lineage, RunId),
    progress: &dyn Progress,
) -> Result<Backup> {
    let prepared = prepare(repository, data_file, options, (lineage, run), progress);
    let (name, manifest, notes) = prepared.inspect_err(|error| {
        // A store that is away cannot be tidied now either.
        if error.kind != Kind::TryAgain {
            take_back_run(repository, run);
        }
    })?;
    repository.bind_cluster(manifest.superblock.cluster())?;
    check_wanted(progress)?;
    let stored = repository.promise(&name, &manifest)?;
    Ok(Backup { name, summary: manifest.summary, manifest_bytes: stored.size_bytes, manifest_digest: stored.digest, notes })
}

/// Ends work that nobody wants any more.
fn check_wanted(progress: &dyn Progress) -> Result<()> {
    if progress.is_given_up() { Err(Error::try_again("the backup was given up before its end")) } else { Ok(()) }
}

/// Captures and stores everything but the manifest that will promise it.
fn prepare(
    repository: &Arc<Repository>,
    data_file: &Path,
    options: ReadOptions,
    (lineage, run): (&Lineage, RunId),
    progress: &dyn Progress,
) -> Result<(CheckpointName, Manifest, Vec<String>)> {
    let (began_ns, timeline) = (now_ns(), lineage.timeline());
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
        // The log of an ancestor may go on behind the branch; it is of another history there.
        if manifest.summary.timeline == timeline {
            held = StoredLog::of(repository, manifest, first.checkpoint().header().op())?;
            held_earlier = EarlierLog::held(repository, manifest)?;
        }
    }
    let log = LogCapture::start(repository, data_file, options, (timeline, run), held)?;
    let mut sink = PackSink::new(repository, run, &first, base.manifest, &log, progress);
    let Capture { window, log: captured } = capture(&mut walk, &mut sink, &log)?;
    let earlier = if window.ends_early() {
        let checkpoint = window.superblock.checkpoint().header();
        match held_earlier.filter(|held| held.leads_to(&checkpoint)) {
            Some(held) => Some(held),
            None => {
                Some(earlier_log::store(repository, data_file, options, (timeline, run), &checkpoint)?.ok_or_else(|| too_early(&window))?)
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
    take_back(repository, beyond.iter().filter(|segment| captured.runs.contains(&segment.name.run)).map(|segment| segment.name.object()));
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
    (summary.rounds, summary.began_ns, summary.ended_ns) = (walk.rounds(), began_ns, now_ns());
    let manifest = Manifest { summary, superblock: superblock.clone(), replies: captured.replies, packs, extents, segments };
    let zone = header_ring(data_file, options)?;
    let ring = HeaderRing::new(&zone).map_err(|error| Error::damaged(format!("{}: log ring: {error}", data_file.display())))?;
    history::refuse_fork(repository, lineage, superblock, &captured.headers, window.end.op(), &ring)?;
    Ok((name, manifest, [base.notes, walk.notes()].concat()))
}

/// What follows from the window and the counts; what the run cost is zero, and the log begins
/// behind the checkpoint.
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
    at_rest: u32,
    sequence: u64,
}

impl Lost {
    /// Another such round, for this reason.
    ///
    /// # Errors
    /// [`Error::try_again`] when there were too many, or the superblock stands still meanwhile.
    fn again(&mut self, superblock: &SuperBlock, reason: &str) -> Result<()> {
        self.rounds += 1;
        self.at_rest = if self.sequence == superblock.sequence() { self.at_rest + 1 } else { 0 };
        self.sequence = superblock.sequence();
        if self.at_rest >= LOST_ROUNDS_AT_REST_MAX {
            return Err(Error::try_again(format!(
                "the log does not continue the checkpoint at op {} ({reason}), and the superblock stands still: the replica is catching up, or its log \
                 is damaged. Wait, or back up another replica",
                superblock.checkpoint().header().op()
            )));
        }
        if self.rounds > LOST_ROUNDS_MAX {
            return Err(Error::try_again(format!(
                "the log moves on faster than a checkpoint can be copied ({reason}): try again under less load"
            )));
        }
        if self.at_rest > 0 {
            std::thread::sleep(PAUSE_AT_REST);
        }
        Ok(())
    }
}

/// Walks until checkpoint and log meet.
fn capture(walk: &mut Walk, sink: &mut PackSink<'_>, log: &LogCapture) -> Result<Capture> {
    let (mut freshened, mut waited, mut lost) = (0, 0, Lost::default());
    loop {
        let superblock = walk.run(sink)?;
        let captured = match log.finish(superblock.commit_max())? {
            Ok(captured) => captured,
            Err(reason) => {
                lost.again(&superblock, &reason)?;
                continue;
            }
        };
        let newer = walk.superblock()?;
        let Some(window) = CaptureWindow::choose(superblock.clone(), newer, &captured.headers)? else {
            lost.again(&superblock, "its prepares are older than the replica's view")?;
            continue;
        };
        if window.capped && freshened < FRESHENING_ROUNDS_MAX {
            freshened += 1;
            continue;
        }
        if window.ends_early() && waited < EARLY_WAITS_MAX {
            // Under load the few prepares that are missing come in a moment.
            waited += 1;
            std::thread::sleep(EARLY_WAIT);
            continue;
        }
        return Ok(Capture { window, log: captured });
    }
}

/// Takes back whatever a run stored that ended before its manifest was written.
fn take_back_run(repository: &Repository, run: RunId) {
    let of_run = |name: &str| {
        PackName::parse(name).map(|pack| pack.run) == Some(run) || SegmentName::parse(name).map(|segment| segment.run) == Some(run)
    };
    for prefix in [name::PACKS, name::SEGMENTS] {
        let listed = repository.list_all(prefix).unwrap_or_default();
        take_back(repository, listed.into_iter().map(|object| object.name).filter(|name| of_run(name)));
    }
}

/// A run's leftovers that no manifest will name are taken back; where the store forbids that
/// (Object Lock) they stay and harm nobody.
pub(crate) fn take_back(repository: &Repository, names: impl IntoIterator<Item = String>) {
    for name in names {
        let _ = repository.store().delete(&name);
    }
}

#[cfg(test)]
mod tests;
