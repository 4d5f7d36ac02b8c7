//! Finds the newest backup.
//!
//! It is the one that reaches furthest, unless what it reaches has been replaced. The last prepares
//! of a backup may not have been committed, and a view change may then put others in their place,
//! even fewer of them. So backups are compared as replicas compare their logs: the log of the later
//! view wins, and if one log continues the other, the longer one wins. The names show which backups
//! are candidates: no backup reaches beyond the op that the WAL ring of its checkpoint can hold.

use super::manifest::{Manifest, Summary};
use super::segment::SegmentReader;
use super::timeline::Lineage;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::CheckpointName;
use crate::tb_format::layout::prepare_max_for_checkpoint;

/// The newest backup, and damage that was met.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest backup whose manifest is intact.
    pub best: Option<(CheckpointName, Summary)>,
    /// Backups that might have been newer, but whose manifest is damaged or missing, with the
    /// error.
    pub damaged: Vec<(CheckpointName, Error)>,
}

/// The facts about a backup that are compared.
struct Candidate {
    name: CheckpointName,
    summary: Summary,
    /// The last view in which the replica's log was the cluster's.
    log_view: u32,
}

impl Repository {
    /// The newest backup of the newest timeline's history.
    ///
    /// # Errors
    /// When the store cannot be read. Damage is no error here but part of the answer.
    pub fn newest_checkpoint(&self) -> Result<Newest> {
        let timelines = self.timelines()?;
        self.newest_checkpoint_of(&Lineage::of(&timelines, timelines.newest())?)
    }

    /// The newest backup of a history.
    ///
    /// # Errors
    /// When the store cannot be read. Damage is no error here but part of the answer.
    pub fn newest_checkpoint_of(&self, lineage: &Lineage) -> Result<Newest> {
        let mut best: Option<Candidate> = None;
        let mut damaged = Vec::new();
        for name in self.backups_of(lineage)?.iter().rev() {
            let beyond = |best: &Candidate| prepare_max_for_checkpoint(name.checkpoint_op) <= best.summary.recovered_to_op;
            if best.as_ref().is_some_and(beyond) {
                break;
            }
            let candidate = match Manifest::read_head(self, name) {
                Ok((summary, superblock)) => Candidate { name: *name, summary, log_view: superblock.log_view() },
                Err(error) if error.kind == Kind::Damaged => {
                    damaged.push((*name, error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let better = match &best {
                None => true,
                Some(best) => self.is_newer(&candidate, best)?,
            };
            if better {
                best = Some(candidate);
            }
        }
        Ok(Newest { best: best.map(|best| (best.name, best.summary)), damaged })
    }

    fn is_newer(&self, candidate: &Candidate, best: &Candidate) -> Result<bool> {
        let further = candidate.summary.recovered_to_op > best.summary.recovered_to_op;
        let (longer, shorter) = if further { (candidate, best) } else { (best, candidate) };
        let replaced = shorter.log_view > longer.log_view && !self.continues(longer, shorter)?;
        Ok(further != replaced)
    }

    /// Whether the log of `longer` holds the last prepare of `shorter`. If that cannot be read any
    /// more, the answer is yes, because nothing speaks against it.
    fn continues(&self, longer: &Candidate, shorter: &Candidate) -> Result<bool> {
        let (op, checksum) = (shorter.summary.recovered_to_op, &shorter.summary.recovered_to_checksum);
        if op == longer.summary.recovered_to_op {
            return Ok(*checksum == longer.summary.recovered_to_checksum);
        }
        let held = Manifest::read(self, &longer.name, None).and_then(|manifest| {
            let entry = manifest.segments.into_iter().find(|segment| (segment.name.first_op..=segment.name.last_op).contains(&op));
            let rows = entry.map(|entry| SegmentReader::open(self, &entry).map(|segment| segment.rows)).transpose()?;
            Ok(rows.and_then(|rows| rows.into_iter().find(|row| row.op == op)))
        });
        match held {
            Ok(row) => Ok(row.is_none_or(|row| row.checksum.to_string() == *checksum)),
            Err(error) if error.kind == Kind::Damaged => Ok(true),
            Err(error) => Err(error),
        }
    }
}
