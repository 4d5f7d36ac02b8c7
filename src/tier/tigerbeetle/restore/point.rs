//! Points of a history: as a user names them, and as they were found.

use crate::repository::name::CheckpointName;
use crate::tier::tigerbeetle::format::log::Resolved;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::manifest::Summary;
use crate::units::time_text;

/// A backup and the op to restore to.
#[derive(Debug)]
pub struct Selected {
    /// The backup.
    pub name: CheckpointName,
    /// Its manifest.
    pub manifest: Manifest,
    /// The op.
    pub op: u64,
    /// The log after the checkpoint, where the backup's own log does not reach the op, or is not
    /// the one that counts.
    pub log: Option<Resolved>,
    /// The timeline of the history that the op belongs to.
    pub timeline: u32,
    /// Backups that might have served too, but are damaged, in sentences for the user.
    pub notes: Vec<String>,
}

/// A point that must be searched for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    Op(u64),
    Time(u64),
}

impl Moment {
    pub(crate) fn text(self) -> String {
        match self {
            Moment::Op(op) => format!("op {op}"),
            Moment::Time(timestamp_ns) => format!("time {}", time_text(timestamp_ns)),
        }
    }

    /// Whether everything that a backup holds lies before it.
    pub(crate) fn is_behind(self, summary: &Summary) -> bool {
        match self {
            Moment::Op(op) => summary.recovered_to_op < op,
            Moment::Time(timestamp_ns) => summary.recovered_to_timestamp_ns < timestamp_ns,
        }
    }

    /// Whether this is a time before the first op, when the ledger was empty. Such a time was
    /// mistyped, and op 0 can be asked for by its number.
    pub(crate) fn is_before_all(self, op: u64) -> bool {
        op == 0 && matches!(self, Moment::Time(_))
    }

    /// Whether it lies between a backup's first and last restorable op.
    pub(crate) fn is_within(self, summary: &Summary) -> bool {
        match self {
            Moment::Op(op) => (summary.first_restorable_op..=summary.recovered_to_op).contains(&op),
            Moment::Time(timestamp_ns) => (summary.checkpoint_timestamp_ns..=summary.recovered_to_timestamp_ns).contains(&timestamp_ns),
        }
    }
}

/// A moment in the ledger's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The newest op of the newest backup.
    Newest,
    /// Exactly this op.
    Op(u64),
    /// The last op at or before this time, in nanoseconds since the epoch.
    Time(u64),
}

/// An op and its time, for messages.
pub(crate) fn point_text(op: u64, timestamp_ns: u64) -> String {
    if timestamp_ns == 0 { format!("op {op}") } else { format!("op {op} ({})", time_text(timestamp_ns)) }
}

#[cfg(test)]
mod tests;
