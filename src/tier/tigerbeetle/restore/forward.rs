//! Rolls a restored image forward, past what the log after one checkpoint can reach.
//!
//! An image holds a checkpoint C and at most the 1008 ops after it. To reach further, a fork of one
//! replica gets the next window of the original log, and a real server executes it until it has
//! written the next checkpoint. Then the server is killed, the fork's own history is undone, and
//! the next hop begins:
//!
//! ```text
//! plan_hops -> for each hop:
//!   window (prepares C+1 .. C'+40) -> superblock (rewound, solo) -> server -> checkpoint C'
//!   -> checked against the log
//! ```
//!
//! A hop is accepted only if its checkpoint is the original's: the prepare at its op has the
//! original's checksum, and its id, which covers every block of the ledger, is the one that
//! prepares of the original log recorded.

use super::binaries::{Binaries, ReleaseNeeded};
use super::hop_server::{HopServer, exit_text};
use super::superblock::{Origin, superblock_for};
use super::window::{RestoreWindow, WrittenWindow};
use crate::disk::file::ReadOptions;
use crate::disk::target::Target;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::replica::checkpoint::Walk;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::{OPERATION_UPGRADE, PrepareHeader};
use crate::tb_format::image::superblock_zone;
use crate::tb_format::layout::{
    PIPELINE_PREPARES, checkpoint_after, checkpoint_named_by, prepare_max_for_checkpoint, trigger_for_checkpoint,
};
use crate::tb_format::superblock::SuperBlock;
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::restore::original_log::OriginalLog;
use crate::tier::tigerbeetle::restore::role::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a hop is expected to take where nothing is known yet, in seconds: the server's start, and
/// executing 960 small ops. Measured: 1 to 8 s, most of it the start.
pub const SECONDS_PER_HOP_ESTIMATE: f64 = 4.0;
/// How fast a server executes a log of full batches, in bytes a second. Measured: 58 s for the
/// gigabyte of one hop, on two busy cores.
pub const LOG_BYTES_PER_SECOND_ESTIMATE: f64 = 18e6;
/// How long a server may show no sign of life. Its start touches gigabytes of memory, which has
/// been seen to take 20 s.
const SILENCE_MAX: Duration = Duration::from_secs(180);
/// How long a hop may take, however lively the server is. A thousand of the largest batches take
/// half a minute.
const HOP_MAX: Duration = Duration::from_secs(3600);
/// How often the image's superblock is read.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What one server executes: from a checkpoint to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The checkpoint in the image.
    pub from_checkpoint: u64,
    /// The next one.
    pub to_checkpoint: u64,
    /// The last op of the log that is put after the first checkpoint. It is far enough for the
    /// second to be written and to be durable.
    pub last_op: u64,
}

/// The hops from a checkpoint to one whose log reaches `target_op`. There are none if the log after
/// `checkpoint_op` reaches it.
///
/// The last checkpoint lies at least 41 ops before the target, so that a server starts from it
/// without the log before it ([`crate::tb_format::layout::durable_op_for_checkpoint`]).
pub fn plan_hops(checkpoint_op: u64, target_op: u64) -> Vec<Hop> {
    let mut hops = Vec::new();
    let mut from_checkpoint = checkpoint_op;
    while target_op > prepare_max_for_checkpoint(from_checkpoint) {
        let to_checkpoint = checkpoint_after(from_checkpoint);
        let trigger = trigger_for_checkpoint(to_checkpoint).unwrap_or(to_checkpoint);
        hops.push(Hop { from_checkpoint, to_checkpoint, last_op: target_op.min(trigger.saturating_add(PIPELINE_PREPARES)) });
        from_checkpoint = to_checkpoint;
    }
    hops
}

/// How long so many hops over a log of so many plain bytes are expected to take, in seconds.
pub fn estimate_seconds(hops: usize, log_bytes: u64) -> f64 {
    if hops == 0 { 0.0 } else { hops as f64 * SECONDS_PER_HOP_ESTIMATE + log_bytes as f64 / LOG_BYTES_PER_SECOND_ESTIMATE }
}

/// The releases of TigerBeetle that execute the hops: that of the checkpoint, and another one from
/// each hop on before which the log upgrades the cluster. The last is the one that the image needs
/// in the end. One prepare per hop is read.
///
/// # Errors
/// Those of the log.
pub fn required_releases(hops: &[Hop], release: u32, log: &mut dyn OriginalLog) -> Result<Vec<ReleaseNeeded>> {
    let mut needed = Vec::new();
    let mut release = release;
    if let Some(first) = hops.first() {
        needed.push(ReleaseNeeded { release, from_op: first.from_checkpoint + 1 });
    }
    for hop in hops {
        let op = hop.to_checkpoint + 1;
        // The server's own rule: a checkpoint has the next release if all ops after it, up to the
        // one that triggers it, are upgrades. The first of these ops is enough: after an upgrade no
        // other kind follows before the trigger.
        log.prepares(op, op, &mut |prepare| {
            if let Some(upgraded) = upgraded_release(prepare).filter(|upgraded| *upgraded != release) {
                release = upgraded;
                needed.push(ReleaseNeeded { release, from_op: op });
            }
            Ok(())
        })?;
    }
    Ok(needed)
}

fn upgraded_release(prepare: &Prepare<'_>) -> Option<u32> {
    let release = prepare.body().first_chunk().filter(|_| prepare.header().operation() == OPERATION_UPGRADE)?;
    Some(u32::from_le_bytes(*release))
}

/// Ids of checkpoints that a server wrote, compared with those that the original log records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointIds {
    reached: BTreeMap<u64, Checksum>,
    verified: BTreeSet<u64>,
}

impl CheckpointIds {
    /// Notes that the image stands at this checkpoint.
    pub fn reach(&mut self, superblock: &SuperBlock) {
        let checkpoint = superblock.checkpoint();
        self.reached.insert(checkpoint.header().op(), checkpoint.checkpoint_id());
    }

    /// Compares with the checkpoint id that an original prepare records.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is not the id of the checkpoint that was reached.
    pub fn verify(&mut self, header: &PrepareHeader) -> Result<()> {
        let Some((checkpoint_op, reached)) = checkpoint_named_by(header.op()).and_then(|op| self.reached.get_key_value(&op)) else {
            return Ok(());
        };
        if *reached != header.checkpoint_id() {
            return Err(Error::damaged(format!(
                "the checkpoint at op {checkpoint_op} has the id {reached} in the image, the original had {} (says the prepare of op {}): the \
                 ledger is not the original's",
                header.checkpoint_id(),
                header.op()
            )));
        }
        self.verified.insert(*checkpoint_op);
        Ok(())
    }

    /// How many checkpoints were found to be the original's.
    pub fn verified(&self) -> u64 {
        self.verified.len() as u64
    }
}

/// What rolling forward did.
#[derive(Debug, Clone)]
pub struct Rolled {
    /// The superblock that is now in the image. It is that of a fork: see [`Origin`].
    pub superblock: SuperBlock,
    /// Checkpoints on the way whose ids were compared.
    pub ids: CheckpointIds,
    /// Hops that were made.
    pub hops: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// Bytes of the log that were written into the image.
    pub bytes_written: u64,
}

/// Rolls the image in `target` through `hops`, as a solo fork. Afterwards its log is still that of
/// the last hop; [`write_log`] writes the final one.
///
/// # Errors
/// [`Error::input`] when a release is missing among `binaries` ([`required_releases`] shows that
/// beforehand); [`Error::try_again`] with the server's own words when a server ends or hangs;
/// [`Error::damaged`] when the result of a hop is not what the original log says.
pub fn roll_forward(
    target: &mut Target,
    hops: &[Hop],
    log: &mut dyn OriginalLog,
    binaries: &Binaries,
    progress: &dyn Progress,
) -> Result<Rolled> {
    let began = Instant::now();
    let mut superblock = superblock_of(target.temporary())?;
    let mut ids = CheckpointIds::default();
    ids.reach(&superblock);
    let mut bytes_written = 0;
    for (done, hop) in hops.iter().enumerate() {
        progress.begin(&step_text(hop, done, hops.len(), began.elapsed().as_secs_f64()), None);
        let (next, bytes) = make_hop(target, hop, &superblock, log, binaries, &mut ids, progress)?;
        (superblock, bytes_written) = (next, bytes_written + bytes);
        progress.end();
    }
    Ok(Rolled { superblock, ids, hops: hops.len() as u64, seconds: began.elapsed().as_secs_f64(), bytes_written })
}

fn step_text(hop: &Hop, done: usize, count: usize, elapsed_seconds: f64) -> String {
    let seconds_a_hop = if done == 0 { SECONDS_PER_HOP_ESTIMATE } else { elapsed_seconds / done as f64 };
    let left = seconds_a_hop * (count - done) as f64;
    format!("hop {} of {count}: op {} to {}, about {left:.0} s left", done + 1, hop.from_checkpoint, hop.to_checkpoint)
}

/// The superblock that is in an image.
///
/// # Errors
/// Those of [`Walk::superblock`].
pub fn superblock_of(image: &Path) -> Result<SuperBlock> {
    Ok(Walk::for_superblock(image, ReadOptions::default())?.superblock()?)
}

/// Writes the log from `first_op` to `last_op` around a checkpoint into all images, and compares
/// the checkpoint ids that its prepares record.
///
/// # Errors
/// [`Error::damaged`] when it is not one unbroken log, or not that of the checkpoints reached.
pub fn write_log(
    targets: &[Target],
    checkpoint: PrepareHeader,
    ops: OpRange,
    log: &mut dyn OriginalLog,
    ids: &mut CheckpointIds,
    progress: &dyn Progress,
) -> Result<WrittenWindow> {
    let mut window = RestoreWindow::begin(targets, checkpoint);
    log.prepares(ops.first_op, ops.last_op, &mut |prepare| {
        ids.verify(prepare.header())?;
        window.put(prepare)?;
        progress.position(window.bytes_written());
        Ok(())
    })?;
    let written = window.finish()?;
    let (end_op, last_op) = (written.headers.last().map_or(checkpoint.op(), PrepareHeader::op), ops.last_op);
    if end_op == last_op { Ok(written) } else { Err(Error::damaged(format!("the log ends at op {end_op}, op {last_op} is wanted"))) }
}

fn make_hop(
    target: &mut Target,
    hop: &Hop,
    superblock: &SuperBlock,
    log: &mut dyn OriginalLog,
    binaries: &Binaries,
    ids: &mut CheckpointIds,
    progress: &dyn Progress,
) -> Result<(SuperBlock, u64)> {
    let checkpoint = superblock.checkpoint().header();
    if checkpoint.op() != hop.from_checkpoint {
        return Err(Error::bug(format!("the image stands at checkpoint {}, the hop begins at {}", checkpoint.op(), hop.from_checkpoint)));
    }
    let binary = binaries.for_release(ReleaseNeeded { release: superblock.checkpoint().release(), from_op: hop.from_checkpoint + 1 })?;
    let ops = OpRange { first_op: hop.from_checkpoint + 1, last_op: hop.last_op };
    let written = write_log(std::slice::from_ref(target), checkpoint, ops, log, ids, progress)?;
    let rewound = superblock_for(Origin { captured: superblock, rolled: Some(superblock) }, Role::Solo, &written.headers)?;
    target.write(0, &superblock_zone(&rewound))?;
    target.sync()?;
    target.lend()?;
    run_server(binary, target.temporary(), hop)?;
    target.relock()?;
    let reached = superblock_of(target.temporary())?;
    let original = written.headers.iter().find(|header| header.op() == hop.to_checkpoint);
    check_hop(hop, &reached, original)?;
    ids.reach(&reached);
    Ok((reached, written.bytes_written))
}

/// Runs the server until it has written the checkpoint that the hop ends with.
fn run_server(binary: &Path, image: &Path, hop: &Hop) -> Result<()> {
    let began = Instant::now();
    let mut server = HopServer::start(binary, image)?;
    let mut walk = Walk::open(image, ReadOptions::default())?;
    let (mut signs, mut alive_at) = (None, began);
    loop {
        // Checked first: a server that upgrades itself with the checkpoint may end right after it.
        let ended = server.ended();
        let superblock = walk.superblock()?;
        if superblock.checkpoint().header().op() >= hop.to_checkpoint {
            server.stop();
            return Ok(());
        }
        let fails = |server: &mut HopServer, what: String| {
            Err(server.failure(&format!("{what} on the way from checkpoint {} to {}", hop.from_checkpoint, hop.to_checkpoint)))
        };
        if let Some(status) = ended {
            return fails(&mut server, format!("ended ({})", exit_text(status)));
        }
        let signs_now = Some((superblock.sequence(), server.said_bytes(), file_signs(image)));
        if signs_now != signs {
            (signs, alive_at) = (signs_now, Instant::now());
        }
        if alive_at.elapsed() >= SILENCE_MAX {
            return fails(&mut server, format!("showed no sign of life for {} s", SILENCE_MAX.as_secs()));
        }
        if began.elapsed() >= HOP_MAX {
            return fails(&mut server, format!("did not get there within {} s", HOP_MAX.as_secs()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The parts of the file's metadata that change while a server works: when it was written, and how
/// much of the disk it takes.
fn file_signs(image: &Path) -> Option<(i64, i64, u64)> {
    std::fs::metadata(image).ok().map(|metadata| (metadata.mtime(), metadata.mtime_nsec(), metadata.blocks()))
}

/// Checks that the checkpoint is the one to be reached, and that it ends with the original's
/// prepare.
fn check_hop(hop: &Hop, reached: &SuperBlock, original: Option<&PrepareHeader>) -> Result<()> {
    let header = reached.checkpoint().header();
    if header.op() != hop.to_checkpoint {
        return Err(Error::damaged(format!("the server went on to checkpoint {}, not to {}", header.op(), hop.to_checkpoint)));
    }
    let original = original.map(PrepareHeader::checksum);
    if original != Some(header.checksum()) {
        return Err(Error::damaged(format!(
            "the server's checkpoint {} ends with prepare {}, the original log has {}",
            header.op(),
            header.checksum(),
            original.map_or("none".into(), |checksum| checksum.to_string()),
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
