//! One history of the cluster: the backups that belong to it, and how far its log reaches after
//! them.
//!
//! Backups hold a part of the log themselves; agents ship the rest. An op is restorable if an
//! unbroken log joins it to an earlier backup. The names of the segments are looked at first, which
//! costs a listing. The chain of prepares is followed only for the point that was chosen.

use super::log::ManifestLog;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::{CheckpointName, SegmentName};
use crate::tb_format::checksum::Checksum;
use crate::tb_format::header::PrepareId;
use crate::tb_format::layout::CHECKPOINT_OPS;
use crate::tb_format::wal::Prepare;
use crate::tier::tigerbeetle::format::log::{LogIndex, Piece, RELISTS_MAX, Resolved};
use crate::tier::tigerbeetle::format::manifest::{Manifest, Summary};
use crate::tier::tigerbeetle::format::newest::Newest;
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use crate::tier::tigerbeetle::restore::original_log::OriginalLog;
use crate::tier::tigerbeetle::restore::point::Moment;
use crate::tier::tigerbeetle::restore::point::Selected;

/// A history.
#[derive(Debug)]
pub struct History<'a> {
    repository: &'a Repository,
    lineage: Lineage,
    /// What of the repository could not be used, in sentences.
    notes: Vec<String>,
}

impl<'a> History<'a> {
    /// The history that ends with this timeline, or with the newest one.
    ///
    /// # Errors
    /// [`Error::input`] when there is no such timeline.
    pub fn of(repository: &'a Repository, timeline: Option<u32>) -> Result<History<'a>> {
        let timelines = repository.timelines()?;
        let lineage = Lineage::of(&timelines, timeline.unwrap_or(timelines.newest()))?;
        Ok(History { repository, lineage, notes: timelines.trouble().into_iter().collect() })
    }

    /// Notes something that could not be used.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// What of the repository could not be used.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where it is stored.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// The timeline that it ends with.
    pub fn timeline(&self) -> u32 {
        self.lineage.timeline()
    }

    /// The backups that belong to it, the oldest first.
    pub fn backups(&self) -> Result<Vec<CheckpointName>> {
        self.repository.backups_of(&self.lineage)
    }

    /// Its newest backup.
    pub fn newest(&self) -> Result<Newest> {
        self.repository.newest_checkpoint_of(&self.lineage)
    }

    /// The summary of one of its backups. Ops beyond the one at which the next timeline branches
    /// off do not belong to this history, and are left out.
    pub fn summary(&self, name: &CheckpointName) -> Result<Summary> {
        let mut summary = Manifest::read_summary(self.repository, name)?;
        let last_op = self.last_op_of(name.timeline);
        summary.recovered_to_op = summary.recovered_to_op.min(last_op);
        summary.commit_known_op = summary.commit_known_op.min(last_op);
        Ok(summary)
    }

    fn last_op_of(&self, timeline: u32) -> u64 {
        self.lineage.eras().iter().find(|era| era.timeline == timeline).map_or(0, |era| era.last_op)
    }

    fn log_behind(&self, op: u64) -> Result<LogIndex<'a>> {
        LogIndex::list(self.repository, &self.lineage, op.saturating_add(1))
    }

    /// How far the log reaches after a backup. The segments that the backup itself wrote may hold
    /// more than it promises: prepares that its checkpoint does not reach, or that a view change
    /// had replaced. They count only where other segments continue after them.
    fn reach(&self, name: &CheckpointName, manifest: &Manifest, index: &LogIndex<'_>) -> u64 {
        let own_op = manifest.summary.recovered_to_op.min(self.last_op_of(name.timeline));
        let is_own = |segment: &SegmentName| manifest.segments.iter().any(|entry| entry.name == *segment);
        let goes_on = index.pieces().iter().any(|piece| piece.last_op > own_op && !is_own(&piece.name));
        let reach = index.reach(name.checkpoint_op);
        if goes_on { reach } else { reach.min(own_op) }
    }

    /// The newest point after this backup, which is the newest backup: the end of its own log, or
    /// of the log that was shipped since. Where segments do not open, it is the newest point that
    /// the others lead to, with a note of what lies beyond.
    pub fn newest_behind(&self, name: &CheckpointName, summary: &Summary) -> Result<Selected> {
        let manifest = Manifest::read(self.repository, name, None)?;
        let mut index = self.log_behind(name.checkpoint_op)?;
        for _ in 0..RELISTS_MAX {
            match self.newest_checked(&index, name, summary, &manifest) {
                Err(error) if error.kind == Kind::Damaged => {
                    let again = self.log_behind(name.checkpoint_op)?;
                    if again.has_all(index.pieces()) {
                        return self.newest_that_opens(&again, name, manifest, error);
                    }
                    // What is gone was merged meanwhile.
                    index = again;
                }
                found => return found,
            }
        }
        self.newest_checked(&index, name, summary, &manifest)
    }

    /// The newest point by the names of segments, the last of which opens.
    fn newest_checked(&self, index: &LogIndex<'_>, name: &CheckpointName, summary: &Summary, manifest: &Manifest) -> Result<Selected> {
        let found = self.newest_in(index, name, summary, manifest.clone())?;
        tail_of(&found, index).map_or(Ok(()), |tail| tail.check(self.repository))?;
        Ok(Selected { notes: [found.notes, beyond_a_hole(found.op, index)].concat(), ..found })
    }

    fn newest_that_opens(&self, index: &LogIndex<'_>, name: &CheckpointName, manifest: Manifest, error: Error) -> Result<Selected> {
        let (whole, damaged) = index.opening()?;
        let resolved = whole.resolve(checkpoint_of(&manifest), None)?;
        let Some((_, why)) = damaged.first().filter(|_| resolved.end.0 >= manifest.summary.first_restorable_op) else {
            return Err(error);
        };
        let (op, last_op) = (resolved.end.0, index.pieces().iter().map(|piece| piece.last_op).max().unwrap_or(0));
        let more = if damaged.len() > 1 { format!(" (and {} more)", damaged.len() - 1) } else { String::new() };
        let mut selected = self.selected(name, manifest, op, Some(resolved));
        selected.notes.push(format!(
            "a segment does not open{more}: {why}. The log was stored to op {last_op}, and op {op} is the newest that it still leads to: what lies beyond is lost, unless a copy is put back"
        ));
        Ok(selected)
    }

    fn newest_in(&self, index: &LogIndex<'_>, name: &CheckpointName, summary: &Summary, manifest: Manifest) -> Result<Selected> {
        let own_op = summary.recovered_to_op;
        let own = |manifest| self.selected(name, manifest, own_op, None);
        if self.reach(name, &manifest, index) <= own_op && manifest.summary.recovered_to_op == own_op {
            return Ok(own(manifest));
        }
        let resolved = index.resolve(checkpoint_of(&manifest), None)?;
        let (op, checksum) = resolved.end;
        if (op, checksum.to_string()) == (own_op, summary.recovered_to_checksum.clone()) {
            return Ok(own(manifest));
        }
        if op < manifest.summary.first_restorable_op {
            return Err(Error::input(format!(
                "the newest backup of timeline {} restores to op {} at the earliest, and its history ends at op {op}: give --op",
                self.timeline(),
                manifest.summary.first_restorable_op
            )));
        }
        Ok(self.selected(name, manifest, op, Some(resolved)))
    }

    fn selected(&self, name: &CheckpointName, manifest: Manifest, op: u64, log: Option<Resolved>) -> Selected {
        Selected { name: *name, manifest, op, log, timeline: self.timeline(), notes: self.notes.clone() }
    }

    /// Corrects a selection from a backup that did not see its op committed. If the log that was
    /// shipped since has another prepare at that op, the shipped one counts.
    pub fn as_the_log_has_it(&self, found: Selected) -> Result<Selected> {
        let index = self.log_behind(found.name.checkpoint_op)?;
        // Nothing follows the backups' own log, and these were compared already.
        if self.reach(&found.name, &found.manifest, &index) <= found.manifest.summary.recovered_to_op {
            return Ok(found);
        }
        match index.resolve(checkpoint_of(&found.manifest), Some(found.op)) {
            Ok(resolved) => Ok(Selected { log: Some(resolved), ..found }),
            // No later prepare decides it: the op is at the very end of what is known.
            Err(error) if error.kind == Kind::Input => Ok(found),
            Err(error) => Err(error),
        }
    }

    /// Finds the point where no backup holds it itself, but the log that follows one does.
    pub(super) fn behind_a_backup(&self, names: &[CheckpointName], moment: Moment) -> Result<Option<Selected>> {
        let Some(op) = self.op_of(names, moment)? else { return Ok(None) };
        let Some((name, manifest)) = self.backup_before(names, op)? else { return Ok(None) };
        let index = self.log_behind(name.checkpoint_op)?;
        let reach = self.reach(&name, &manifest, &index);
        if reach < op || moment.is_before_all(op) {
            return Ok(None);
        }
        // The log is resolved beyond `op`: a later op records the id of the last checkpoint that a
        // fork is rolled to, and shows what is certain.
        let further_op = reach.min(op.saturating_add(CHECKPOINT_OPS + 1));
        let after = checkpoint_of(&manifest);
        let resolved = match index.resolve(after, Some(further_op)) {
            Err(error) if error.kind != Kind::TryAgain && further_op > op => index.resolve(after, Some(op))?,
            resolved => resolved?,
        };
        Ok(Some(self.selected(&name, manifest, op, Some(resolved))))
    }

    /// The newest backup from which a log may lead to `op`. Older ones would need the same log.
    fn backup_before(&self, names: &[CheckpointName], op: u64) -> Result<Option<(CheckpointName, Manifest)>> {
        for name in names.iter().rev().filter(|name| name.checkpoint_op <= op) {
            match Manifest::read_summary(self.repository, name) {
                Ok(summary) if summary.first_restorable_op > op => {}
                Ok(_) => match Manifest::read(self.repository, name, None) {
                    Err(error) if error.kind == Kind::Damaged => {}
                    manifest => return Ok(Some((*name, manifest?))),
                },
                // The search through the backups has already reported it.
                Err(error) if error.kind == Kind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The op that a moment means, if the log knows it. For a time it is the last op at or before
    /// it. Unless its time is exactly this one, the op after it must be known too.
    fn op_of(&self, names: &[CheckpointName], moment: Moment) -> Result<Option<u64>> {
        let timestamp_ns = match moment {
            Moment::Op(op) => return Ok(Some(op)),
            Moment::Time(timestamp_ns) => timestamp_ns,
        };
        let Some((checkpoint_op, checkpoint_ns)) = self.checkpoint_before(names, timestamp_ns)? else { return Ok(None) };
        let index = self.log_behind(checkpoint_op)?;
        let row = index.at_time(timestamp_ns)?;
        let (op, at_ns) = row.map_or((checkpoint_op, checkpoint_ns), |row| (row.op, row.timestamp_ns));
        let next_op = op.saturating_add(1);
        let next_is_known = index.pieces().iter().any(|piece| (piece.first_op..=piece.last_op).contains(&next_op));
        Ok((next_is_known || at_ns == timestamp_ns).then_some(op))
    }

    /// The last checkpoint at or before a time: op and timestamp.
    fn checkpoint_before(&self, names: &[CheckpointName], timestamp_ns: u64) -> Result<Option<(u64, u64)>> {
        let (mut low, mut high, mut found) = (0, names.len(), None);
        while low < high {
            let middle = usize::midpoint(low, high);
            match Manifest::read_summary(self.repository, &names[middle]) {
                Ok(summary) if summary.checkpoint_timestamp_ns <= timestamp_ns => {
                    found = Some((summary.checkpoint_op, summary.checkpoint_timestamp_ns));
                    low = middle + 1;
                }
                Ok(_) => high = middle,
                // Treated as if it were later: an earlier one serves too, its log is only longer.
                Err(error) if error.kind == Kind::Damaged => high = middle,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// For a moment that is not restorable: the last restorable op before it and its time, as far
    /// as the log after the last backup before it shows.
    pub(super) fn last_before(&self, names: &[CheckpointName], moment: Moment) -> Result<Option<(u64, u64)>> {
        let op = match moment {
            Moment::Op(op) => op,
            Moment::Time(timestamp_ns) => match self.checkpoint_before(names, timestamp_ns)? {
                Some((checkpoint_op, _)) => self.log_behind(checkpoint_op)?.at_time(timestamp_ns)?.map_or(checkpoint_op, |row| row.op),
                None => return Ok(None),
            },
        };
        let Some((name, manifest)) = self.backup_before(names, op)? else { return Ok(None) };
        let index = self.log_behind(name.checkpoint_op)?;
        let last_op = self.reach(&name, &manifest, &index).min(op);
        if last_op < manifest.summary.first_restorable_op {
            return Ok(None);
        }
        match index.row(last_op) {
            Ok(row) => Ok(row.map(|row| (last_op, row.timestamp_ns))),
            Err(error) if error.kind == Kind::TryAgain => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// What is stored of the log behind a hole, which a restore to this op does not reach.
fn beyond_a_hole(op: u64, index: &LogIndex<'_>) -> Vec<String> {
    let beyond: Vec<OpRange> = index.op_ranges().into_iter().filter(|range| range.first_op > op.saturating_add(1)).collect();
    let (Some(first), Some(last)) = (beyond.first(), beyond.last()) else { return Vec::new() };
    vec![format!(
        "the log is also stored from op {} to op {}, but ops {} to {} are in no segment: nothing behind op {op} can be restored; `amber verify` tells more",
        first.first_op,
        last.last_op,
        op.saturating_add(1),
        first.first_op.saturating_sub(1)
    )]
}

/// The segment that holds the selected op: the one that was stored last, and so the first to look
/// at for damage.
fn tail_of(found: &Selected, index: &LogIndex<'_>) -> Option<Piece> {
    if let Some(resolved) = &found.log {
        return resolved.pieces.last().copied();
    }
    let is_own = |piece: &&Piece| found.manifest.segments.iter().any(|entry| entry.name == piece.name);
    index.pieces().iter().filter(is_own).max_by_key(|piece| piece.last_op).copied()
}

fn checkpoint_of(manifest: &Manifest) -> PrepareId {
    let header = manifest.superblock.checkpoint().header();
    let checksum: Checksum = header.checksum();
    (header.op(), checksum)
}

/// The log that leads to the selected op.
#[derive(Debug)]
pub struct SelectedLog<'a> {
    repository: &'a Repository,
    checkpoint_op: u64,
    /// Its own copy, because it is looked up again where segments are merged away meanwhile.
    log: Option<Resolved>,
    own: ManifestLog<'a>,
    bytes_fetched: u64,
}

impl<'a> SelectedLog<'a> {
    /// The log of this selection.
    pub fn new(repository: &'a Repository, selected: &'a Selected) -> SelectedLog<'a> {
        let (checkpoint_op, own) = (selected.manifest.summary.checkpoint_op, ManifestLog::new(repository, &selected.manifest));
        SelectedLog { repository, checkpoint_op, log: selected.log.clone(), own, bytes_fetched: 0 }
    }

    /// Stored bytes fetched so far.
    pub fn bytes_fetched(&self) -> u64 {
        self.bytes_fetched + self.own.bytes_fetched()
    }
}

impl OriginalLog for SelectedLog<'_> {
    fn prepares(&mut self, first_op: u64, last_op: u64, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<()> {
        let Some(resolved) = &mut self.log else { return self.own.prepares(first_op, last_op, take) };
        // Only the backup itself holds what comes before the checkpoint.
        self.own.earlier(first_op, take)?;
        let first_op = first_op.max(self.checkpoint_op.saturating_add(1));
        self.bytes_fetched += resolved.prepares(self.repository, first_op, last_op, take)?;
        Ok(())
    }

    fn last_op(&self) -> u64 {
        self.log.as_ref().map_or(self.own.last_op(), |resolved| resolved.end.0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
