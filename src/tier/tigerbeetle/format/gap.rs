//! Gaps: ops of the log that no agent could read before the WAL ring overwrote them, or that the
//! agent had no room for.
//!
//! What can be restored follows from the segments alone. A gap's record says when it was noticed
//! and why it exists, so that it is reported when it happens and not discovered later.

use crate::error::{Error, Kind, Result};
use crate::repository::frame::ObjectKind;
use crate::repository::name::{self, GapName, RunId};
use crate::repository::{Repository, record};
use serde::{Deserialize, Serialize};

/// Ops that are missing in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The timeline of the history that lacks them.
    pub timeline: u32,
    /// The first op that is missing.
    pub first_op: u64,
    /// The last op that is missing, as far as it was known when the record was written. The points
    /// up to the next checkpoint's first restorable one cannot be restored either.
    pub last_op: u64,
    /// When it was noticed, by the writer's clock.
    pub noticed_ns: u64,
    /// Why the ops are missing, in a sentence.
    pub reason: String,
}

impl Repository {
    /// Records a gap.
    ///
    /// # Errors
    /// The errors of the store.
    pub fn record_gap(&self, gap: &Gap, run: RunId) -> Result<()> {
        let name = GapName { timeline: gap.timeline, first_op: gap.first_op, run };
        record::write(self, ObjectKind::Gap, name.object(), gap).map(|_| ())
    }

    /// The record of a gap.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or not what was written.
    pub fn gap(&self, name: &GapName) -> Result<Gap> {
        let gap: Gap = record::read(self, ObjectKind::Gap, &name.object())?;
        if (gap.timeline, gap.first_op) != (name.timeline, name.first_op) || gap.last_op < gap.first_op {
            let (timeline, first_op, last_op) = (gap.timeline, gap.first_op, gap.last_op);
            return Err(Error::damaged(format!("{}: it describes ops {first_op} to {last_op} of timeline {timeline}", name.object())));
        }
        Ok(gap)
    }

    /// All recorded gaps, by timeline and op, and the names of records that are damaged.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn gaps(&self) -> Result<(Vec<Gap>, Vec<String>)> {
        let (mut gaps, mut damaged) = (Vec::new(), Vec::new());
        for name in self.list_all(name::GAPS)?.iter().filter_map(|listed| GapName::parse(&listed.name)) {
            match self.gap(&name) {
                Ok(gap) => gaps.push(gap),
                Err(error) if error.kind == Kind::Damaged => damaged.push(name.object()),
                Err(error) => return Err(error),
            }
        }
        Ok((gaps, damaged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::tests::repository;

    #[test]
    fn a_gap_of_one_op_is_the_smallest() {
        let (_, repository) = repository();
        let gap = |timeline, first_op, last_op| Gap { timeline, first_op, last_op, noticed_ns: 1, reason: "a test".into() };
        repository.record_gap(&gap(1, 7, 7), RunId(1)).unwrap();
        repository.record_gap(&gap(1, 9, 12), RunId(2)).unwrap();
        repository.record_gap(&gap(1, 14, 13), RunId(3)).unwrap();
        let (gaps, damaged) = repository.gaps().unwrap();
        assert_eq!(gaps, [gap(1, 7, 7), gap(1, 9, 12)]);
        assert_eq!(damaged, [GapName { timeline: 1, first_op: 14, run: RunId(3) }.object()]);
        // A record under the name of another gap does not authenticate, so it is written there.
        for (wrong, run) in [(gap(2, 20, 20), 4), (gap(1, 21, 22), 5)] {
            let name = GapName { timeline: 1, first_op: 20, run: RunId(run) };
            record::write(&repository, ObjectKind::Gap, name.object(), &wrong).unwrap();
            assert_eq!(repository.gap(&name).unwrap_err().kind, Kind::Damaged);
        }
    }
}
