//! The log that the repository holds already, so that a backup soon after another stores only what
//! is new.
//!
//! What is held was read from some replica at some moment; its last prepares may have been replaced
//! in a view change since, and another replica may not have all of them. So nothing of it is taken
//! on trust: it counts only up to an op whose checksum is known, the log that is read now must hold
//! the same prepare there (the hash chain then says the same of all before it), and otherwise the
//! log is stored anew.

use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareHeader;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::segment::{SegmentEntry, SegmentReader};

/// A prepare by its op and its checksum.
pub type PrepareId = (u64, Checksum);

/// What is held behind a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct StoredLog {
    /// The last prepare that counts as held.
    pub end: Option<PrepareId>,
    /// A prepare that the backup saw committed: no view change replaces it, so another one in its
    /// place is another history.
    pub committed: Option<PrepareId>,
    /// The segments that hold it; none goes on beyond `end`.
    pub segments: Vec<SegmentEntry>,
}

impl StoredLog {
    /// What `base` holds behind op `checkpoint_op`. Nothing if it begins later, or an object of it
    /// is missing, cut or damaged: the log is then stored anew.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub fn of(repository: &Repository, base: &Manifest, checkpoint_op: u64) -> Result<StoredLog> {
        // The last may go on with prepares that the backup left out, as leftovers of an older view:
        // comparing tells whether they came to count.
        let segments: Vec<SegmentEntry> = base.segments.iter().filter(|segment| segment.name.last_op > checkpoint_op).cloned().collect();
        let Some(last_op) = segments.last().map(|segment| segment.name.last_op) else { return Ok(StoredLog::default()) };
        let mut next_op = checkpoint_op + 1;
        for segment in &segments {
            // The backup may be of a later checkpoint than the replica that is captured now has
            // made.
            let begins_too_late = segment.name.first_op > next_op;
            if begins_too_late || repository.store().size_bytes(&segment.name.object())? != Some(segment.stored_bytes) {
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

    /// The prepare that is held at `op`; `None` if there is none, or its segment does not open.
    fn prepare(&self, repository: &Repository, op: u64) -> Result<Option<PrepareId>> {
        let entry = self.segments.iter().find(|segment| (segment.name.first_op..=segment.name.last_op).contains(&op));
        match entry.map(|entry| SegmentReader::open(repository, entry)) {
            Some(Ok(segment)) => Ok(segment.rows.iter().find(|row| row.op == op).map(|row| (op, row.checksum))),
            Some(Err(error)) if error.kind != Kind::Damaged => Err(error),
            Some(Err(_)) | None => Ok(None),
        }
    }

    /// Whether this prepare need not be stored.
    pub fn covers(&self, header: &PrepareHeader) -> bool {
        self.end.is_some_and(|(op, _)| header.op() <= op)
    }

    /// Whether this prepare stands where another one was the last that is held.
    pub fn forks_at(&self, header: &PrepareHeader) -> bool {
        self.end.is_some_and(|(op, checksum)| header.op() == op && header.checksum() != checksum)
    }

    /// Whether this prepare stands where another one was committed, as an error that says so.
    ///
    /// # Errors
    /// [`Error::input`] if so: this is not the cluster that was backed up, but a fork of it.
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

    /// Whether the log that ends with `last` is the beginning of what is held. Only asked when it
    /// ends before that does.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub fn agrees_with(&self, repository: &Repository, last: &PrepareHeader) -> Result<bool> {
        Ok(self.prepare(repository, last.op())? == Some((last.op(), last.checksum())))
    }
}
