//! Timelines: the histories of a cluster.
//!
//! A cluster that was restored to an earlier op continues with other prepares under the same
//! cluster id. As in PostgreSQL, its history from there on is a timeline of its own. A record names
//! the timeline that it branches off and the last prepare that both have in common. The name of the
//! record is the timeline's number. It is created once, so two agents that see the same fork cannot
//! both begin one. Timeline 1 has no record.
//!
//! [`Lineage`] describes what belongs to one history: the timeline itself, and the part of each
//! ancestor that lies before the branch.

use crate::error::{Error, Kind, Result};
use crate::repository::frame::ObjectKind;
use crate::repository::name::{self, TIMELINE_FIRST};
use crate::repository::{Repository, record};
use crate::store::PutOutcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A prepare, as records name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareRecord {
    /// Its op.
    pub op: u64,
    /// The checksum of its header, 32 hexadecimal digits.
    pub checksum: String,
}

/// Where a timeline begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// Its number.
    pub timeline: u32,
    /// The timeline that it branches off.
    pub parent: u32,
    /// The last prepare that both have in common. `None` if nothing shows how far their histories
    /// are the same. Then nothing of the parent belongs to this timeline.
    pub branch: Option<PrepareRecord>,
    /// The first prepare in which they differ, if it was seen.
    pub first: Option<PrepareRecord>,
    /// The replica on which the branch was seen.
    pub replica: u8,
    /// When the record was written, by the writer's clock.
    pub began_ns: u64,
    /// How the branch was detected, in a sentence.
    pub reason: String,
}

/// One timeline's part of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Era {
    /// The timeline.
    pub timeline: u32,
    /// Its first op in this history.
    pub first_op: u64,
    /// Its last op in this history; `u64::MAX` for the timeline that is still growing.
    pub last_op: u64,
}

/// A history: eras from the oldest to the newest, without a gap between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    eras: Vec<Era>,
}

impl Lineage {
    /// The history of a repository that has only one.
    pub fn first() -> Lineage {
        Lineage::only(TIMELINE_FIRST)
    }

    /// One timeline alone, without its ancestors.
    pub fn only(timeline: u32) -> Lineage {
        Lineage { eras: vec![Era { timeline, first_op: 0, last_op: u64::MAX }] }
    }

    /// The history that ends with `timeline`.
    ///
    /// # Errors
    /// [`Error::input`] when there is no such timeline, naming those that exist.
    pub fn of(timelines: &Timelines, timeline: u32) -> Result<Lineage> {
        if let Some(why) = timelines.damaged.get(&timeline) {
            return Err(Error::damaged(format!("{why}: what belongs to timeline {timeline} is not known")));
        }
        if timeline != TIMELINE_FIRST && !timelines.branches.contains_key(&timeline) {
            let known: Vec<String> = timelines.numbers().iter().map(u32::to_string).collect();
            return Err(Error::input(format!("there is no timeline {timeline}; there are {}: `amber list` shows them", known.join(", "))));
        }
        let (mut eras, mut current, mut last_op) = (Vec::new(), timeline, u64::MAX);
        loop {
            let branch = timelines.branches.get(&current);
            let joint = branch.and_then(|branch| branch.branch.as_ref().map(|common| (branch.parent, common.op)));
            // An ancestor that branches off after the descendant's own branch contributes nothing
            // to this history.
            let first_op = joint.map_or(0, |(_, op)| op.saturating_add(1));
            if first_op <= last_op {
                eras.push(Era { timeline: current, first_op, last_op });
            }
            match joint {
                Some((parent, op)) if parent < current => (current, last_op) = (parent, last_op.min(op)),
                _ => break,
            }
        }
        eras.reverse();
        Ok(Lineage { eras })
    }

    /// The eras, the oldest first.
    pub fn eras(&self) -> &[Era] {
        &self.eras
    }

    /// The timeline that this history ends with.
    pub fn timeline(&self) -> u32 {
        self.eras.last().map_or(TIMELINE_FIRST, |era| era.timeline)
    }

    /// The last op of a timeline that belongs to this history; 0 if none does.
    pub fn last_op_of(&self, timeline: u32) -> u64 {
        self.eras.iter().find(|era| era.timeline == timeline).map_or(0, |era| era.last_op)
    }

    /// Whether a backup of that timeline, of the checkpoint at this op, belongs to this history. A
    /// timeline's first backups are of checkpoints that lie before its branch. They belong to it
    /// all the same, since the timeline begins with what it branched off.
    pub fn has_backup(&self, timeline: u32, checkpoint_op: u64) -> bool {
        self.eras.iter().any(|era| era.timeline == timeline && checkpoint_op <= era.last_op)
    }

    /// Whether an op of that timeline belongs to this history.
    pub fn holds(&self, timeline: u32, op: u64) -> bool {
        self.eras.iter().any(|era| era.timeline == timeline && (era.first_op..=era.last_op).contains(&op))
    }
}

/// All timelines of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timelines {
    /// The records, by number; timeline 1 has none.
    pub branches: BTreeMap<u32, Branch>,
    /// Those whose records do not open, and why: nobody knows what belongs to them, and anybody who
    /// may write to the store can make a name. All else is used.
    pub damaged: BTreeMap<u32, String>,
}

impl Timelines {
    /// All numbers that are known, in order.
    pub fn numbers(&self) -> Vec<u32> {
        std::iter::once(TIMELINE_FIRST).chain(self.branches.keys().copied()).collect()
    }

    /// The number of the newest timeline that is known.
    pub fn newest(&self) -> u32 {
        self.branches.keys().next_back().copied().unwrap_or(TIMELINE_FIRST)
    }
}

impl Timelines {
    /// The number of the next timeline. A record that does not open has a number too.
    pub fn next(&self) -> u32 {
        self.damaged.keys().next_back().copied().unwrap_or(0).max(self.newest()).saturating_add(1)
    }

    /// Which records do not open, in a sentence for whoever uses the others.
    pub fn trouble(&self) -> Option<String> {
        let first = self.damaged.values().next()?;
        let more = match self.damaged.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Some(format!("a timeline's record does not open, and what belongs to it is left out: {first}{more}: `amber verify` tells more"))
    }
}

impl Repository {
    /// All timelines of the repository; records that do not open are among
    /// [`Timelines::damaged`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn timelines(&self) -> Result<Timelines> {
        let mut timelines = Timelines::default();
        for listed in self.list_all(name::TIMELINES)? {
            let Some(number) = name::parse_timeline(&listed.name) else { continue };
            match self.timeline(number) {
                Ok(branch) => drop(timelines.branches.insert(number, branch)),
                Err(error) if error.kind == Kind::Damaged => drop(timelines.damaged.insert(number, error.message)),
                Err(error) => return Err(error),
            }
        }
        Ok(timelines)
    }

    /// The record of a timeline.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or not what was written.
    pub fn timeline(&self, number: u32) -> Result<Branch> {
        let name = name::timeline_object(number);
        let branch: Branch = record::read(self, ObjectKind::Timeline, &name)?;
        if branch.timeline != number || branch.parent >= number {
            return Err(Error::damaged(format!("{name}: it says that timeline {} branches off {}", branch.timeline, branch.parent)));
        }
        Ok(branch)
    }

    /// Begins a timeline. Returns `false` when its number was taken meanwhile: then read the
    /// timelines again.
    ///
    /// # Errors
    /// The errors of the store.
    pub fn begin_timeline(&self, branch: &Branch) -> Result<bool> {
        let outcome = record::write(self, ObjectKind::Timeline, name::timeline_object(branch.timeline), branch)?;
        Ok(outcome == PutOutcome::Created)
    }
}

#[cfg(test)]
mod tests;
