//! Finds the log that the repository holds already, so that a backup soon after another stores only
//! what is new.
//!
//! The stored log was read from some replica at some moment. Its last prepares may have been
//! replaced in a view change since, and another replica may not have all of them. So it is not
//! trusted: it counts only up to an op whose checksum is known. The log that is read now must hold
//! the same prepare there; the hash chain then proves the same for all prepares before it.
//! Otherwise the log is stored again.

use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::tb_format::header::{PrepareHeader, PrepareId};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::segment::{SegmentEntry, SegmentReader};

/// The stored log after a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct StoredLog {
    /// The last prepare that counts as stored.
    pub end: Option<PrepareId>,
    /// A prepare that the backup saw committed. No view change replaces it, so another prepare in
    /// its place means another history.
    pub committed: Option<PrepareId>,
    /// The segments that hold the log. None continues beyond `end`.
    pub segments: Vec<SegmentEntry>,
}

impl StoredLog {
    /// The log that `base` holds after op `checkpoint_op`. It is empty if the log begins later, or
    /// if one of its objects is missing, cut or damaged. The log is then stored again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn of(repository: &Repository, base: &Manifest, checkpoint_op: u64) -> Result<StoredLog> {
        // The last segment may continue with prepares that the backup left out as leftovers of an
        // older view. The comparison shows whether they were committed later.
        let segments: Vec<SegmentEntry> = base.segments.iter().filter(|segment| segment.name.last_op > checkpoint_op).cloned().collect();
        let Some(last_op) = segments.last().map(|segment| segment.name.last_op) else { return Ok(StoredLog::default()) };
        let mut next_op = checkpoint_op + 1;
        for segment in &segments {
            // The backup may be of a later checkpoint than the one that this replica has reached.
            let begins_too_late = segment.name.first_op > next_op;
            if begins_too_late || repository.object_bytes(&segment.name.object())? != Some(segment.stored_bytes) {
                return Ok(StoredLog::default());
            }
            next_op = segment.name.last_op + 1;
        }
        let mut held = StoredLog { end: None, committed: None, segments };
        held.end = held.prepare(repository, last_op)?;
        let committed_op = base.summary.commit_known_op.min(last_op);
        held.committed = if committed_op > checkpoint_op { held.prepare(repository, committed_op)? } else { None };
        Ok(if held.end.is_some() { held } else { StoredLog::default() })
    }

    /// The stored prepare at `op`; `None` if there is none, or its segment does not open.
    fn prepare(&self, repository: &Repository, op: u64) -> Result<Option<PrepareId>> {
        let entry = self.segments.iter().find(|segment| (segment.name.first_op..=segment.name.last_op).contains(&op));
        match entry.map(|entry| SegmentReader::open(repository, entry)) {
            Some(Ok(segment)) => Ok(segment.rows.iter().find(|row| row.op == op).map(|row| (op, row.checksum))),
            Some(Err(error)) if error.kind != Kind::Damaged => Err(error),
            Some(Err(_)) | None => Ok(None),
        }
    }

    /// Whether this prepare is stored already.
    pub fn covers(&self, header: &PrepareHeader) -> bool {
        self.end.is_some_and(|(op, _)| header.op() <= op)
    }

    /// Whether this prepare has the op of the last stored prepare, but is another one.
    pub fn forks_at(&self, header: &PrepareHeader) -> bool {
        self.end.is_some_and(|(op, checksum)| header.op() == op && header.checksum() != checksum)
    }

    /// Checks that this prepare does not stand in the place of another one that was committed.
    ///
    /// # Errors
    /// [`Error::input`] if it does: this is not the cluster that was backed up, but a fork of it.
    pub fn check_history(&self, header: &PrepareHeader) -> Result<()> {
        match self.committed {
            Some((op, checksum)) if header.op() == op && header.checksum() != checksum => Err(Error::input(format!(
                "the data file continues another history than the repository: op {op}, which is committed, has checksum {} here and {checksum} there. \
                 If the cluster was restored to an earlier op and went on from there, --new-timeline stores it beside the old history",
                header.checksum()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the log that ends with `last` is the beginning of the stored log. Only called when
    /// it ends before the stored log does.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn agrees_with(&self, repository: &Repository, last: &PrepareHeader) -> Result<bool> {
        Ok(self.prepare(repository, last.op())? == Some((last.op(), last.checksum())))
    }
}

#[cfg(test)]
mod tests;
