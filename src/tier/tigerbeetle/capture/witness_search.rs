//! Finds the last thing that a stored log made. A replica that has lost the log after it can show
//! by it that it has executed the stored log.
//!
//! Only the very last one counts: a cluster that was restored to the op before it has everything
//! earlier, too. So the stored log is read backwards from the last op that is known to be
//! committed. Prepares that leave nothing behind are skipped, up to the first that leaves
//! something. If that one cannot be a witness (all its events are imported, or it is of an unknown
//! operation), or the log has a hole there, there is no witness. If it made nothing because every
//! event of it failed, it will not be found. Then the histories count as different, which loses
//! nothing.

use crate::error::Result;
use crate::replica::witness::{Witness, leaves_no_trace};
use crate::repository::Repository;
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use std::collections::BTreeMap;

/// The number of ops that are read at once.
const WINDOW_OPS: u64 = 32;
/// How many ops that leave nothing behind are skipped at the most.
const OPS_MAX: u64 = 4096;

/// What the segments say about one op.
struct StoredOp {
    view: u32,
    /// `None` if it leaves nothing behind. Otherwise its witness, if it can be one.
    trace: Option<Option<Witness>>,
}

/// The witness of the last prepare of a timeline's own log, up to op `commit_op`, that made
/// something; `None` if there is no certain one.
///
/// # Errors
/// When the store cannot be read, or a segment is damaged.
pub(super) fn last_witness(repositories: &[&Repository], timeline: u32, commit_op: u64) -> Result<Option<Witness>> {
    let least_op = commit_op.saturating_sub(OPS_MAX).max(1);
    let lineage = Lineage::only(timeline);
    let indexes = repositories.iter().map(|repository| Ok((*repository, LogIndex::list(repository, &lineage, least_op)?)));
    let indexes: Vec<(&Repository, LogIndex<'_>)> = indexes.collect::<Result<_>>()?;
    let mut last_op = commit_op;
    while last_op >= least_op {
        let first_op = last_op.saturating_sub(WINDOW_OPS - 1).max(least_op);
        let mut stored = window(&indexes, first_op, last_op)?;
        for op in (first_op..=last_op).rev() {
            match stored.remove(&op) {
                None => return Ok(None),
                Some(StoredOp { trace: Some(trace), .. }) => return Ok(trace),
                Some(StoredOp { trace: None, .. }) => {}
            }
        }
        last_op = first_op.saturating_sub(1);
    }
    Ok(None)
}

/// What the segments say about these ops. Where they disagree the later view counts: the op is
/// committed, and no view replaces it after that.
fn window(indexes: &[(&Repository, LogIndex<'_>)], first_op: u64, last_op: u64) -> Result<BTreeMap<u64, StoredOp>> {
    let mut stored: BTreeMap<u64, StoredOp> = BTreeMap::new();
    let mut take = |prepare: &Prepare<'_>| {
        let header = prepare.header();
        if stored.get(&header.op()).is_none_or(|stored| stored.view < header.view()) {
            let trace = (!leaves_no_trace(header.operation())).then(|| Witness::of(prepare));
            stored.insert(header.op(), StoredOp { view: header.view(), trace });
        }
        Ok(())
    };
    for (repository, index) in indexes {
        for piece in index.pieces().iter().filter(|piece| piece.first_op <= last_op && piece.last_op >= first_op) {
            piece.open(repository)?.prepares(first_op, last_op, &mut take)?;
        }
    }
    Ok(stored)
}
