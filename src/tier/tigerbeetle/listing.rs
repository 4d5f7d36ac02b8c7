//! What `amber list` says of the tier: the backups, and the log behind them.
//!
//! The histories of a cluster are a tree: a timeline branches off another one at an op. The tree is
//! drawn if there is more than one timeline, or something besides backups to show.

use super::check::log::{ranges_json, ranges_text};
use super::facts::{COLUMNS, listed_json};
use super::format::gap::Gap;
use super::format::log::{LogIndex, op_ranges_of};
use super::format::manifest::Manifest;
use super::format::op_range::OpRange;
use super::format::timeline::{Branch, Lineage};
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::{CheckpointName, TIMELINE_FIRST};
use crate::tier::facts::{Listing, Section, damaged_json, row};
use crate::units::time_text;
use serde_json::{Value, json};

/// A timeline, and which parts of it are stored.
struct Timeline {
    number: u32,
    /// Timeline 1 has none.
    branch: Option<Branch>,
    ops: Vec<OpRange>,
    gaps: Vec<Gap>,
}

/// What was found, and the first damage in it.
#[derive(Default)]
struct Found {
    /// The timeline of each backup, and what is said of it.
    backups: Vec<(u32, Value)>,
    timelines: Vec<Timeline>,
    failure: Option<Error>,
}

/// Lists the backups, oldest first, and the timelines.
///
/// # Errors
/// When the store cannot be read. Damage is part of the listing.
pub fn list(repository: &Repository) -> Result<Listing> {
    let mut found = Found::default();
    for name in repository.backups()? {
        found.backup(repository, &name)?;
    }
    found.timelines(repository)?;
    let cluster = repository.cluster()?.map(|cluster| cluster.to_string());
    let of = cluster.as_deref().map(|cluster| format!(" of cluster {cluster}")).unwrap_or_default();
    let is_empty = found.backups.is_empty() && found.timelines.iter().all(|timeline| timeline.ops.is_empty());
    let sections = if is_empty { Vec::new() } else { found.sections() };
    let timelines: Vec<Value> = found.timelines.iter().map(Timeline::json).collect();
    let backups: Vec<&Value> = found.backups.iter().map(|(_, json)| json).collect();
    let json = vec![("cluster", json!(cluster)), ("backups", json!(backups)), ("timelines", json!(timelines))];
    Ok(Listing { backups: found.backups.len(), title: format!("backups{of}"), sections, json, failure: found.failure })
}

impl Found {
    fn backup(&mut self, repository: &Repository, name: &CheckpointName) -> Result<()> {
        let json = match Manifest::read_summary(repository, name) {
            Ok(summary) => listed_json(name, &summary),
            Err(error) if error.kind == Kind::Damaged => {
                let mut json = damaged_json(&name.object(), name.run, &error);
                json["checkpoint_op"] = json!(name.checkpoint_op);
                json["replica"] = json!(name.replica);
                json["timeline"] = json!(name.timeline);
                self.failure.get_or_insert(error);
                json
            }
            Err(error) => return Err(error),
        };
        self.backups.push((name.timeline, json));
        Ok(())
    }

    /// Reads the timelines. Damaged records do not prevent the rest from being listed.
    fn timelines(&mut self, repository: &Repository) -> Result<()> {
        let timelines = repository.timelines()?;
        if let Some(trouble) = timelines.trouble() {
            self.failure.get_or_insert(Error::damaged(trouble));
        }
        let (gaps, damaged) = repository.gaps()?;
        if let Some(name) = damaged.first() {
            self.failure.get_or_insert(Error::damaged(format!("{name}: the record of a gap is damaged: `amber verify` tells more")));
        }
        for number in timelines.numbers() {
            let index = LogIndex::list(repository, &Lineage::only(number), 0)?;
            self.timelines.push(Timeline {
                number,
                branch: timelines.branches.get(&number).cloned(),
                ops: op_ranges_of(index.pieces()),
                gaps: gaps.iter().filter(|gap| gap.timeline == number).cloned().collect(),
            });
        }
        Ok(())
    }

    fn table(&self, of: Option<u32>) -> Section {
        let wanted = self.backups.iter().filter(|(timeline, _)| of.is_none_or(|number| number == *timeline));
        let rows = wanted.map(|(_, json)| row(&COLUMNS, json)).collect();
        Section { headings: COLUMNS.iter().map(|column| column.heading).collect(), rows, ..Section::default() }
    }

    fn sections(&self) -> Vec<Section> {
        match &self.timelines[..] {
            // The branches are not known, so all backups are in one table.
            [] => vec![self.table(None)],
            [only] => vec![Section { lines: only.log_lines(), ..self.table(None) }],
            _ => self.tree(),
        }
    }

    fn tree(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        // A timeline's parent has a smaller number, so the first is the root.
        let mut open = vec![(TIMELINE_FIRST, 0)];
        while let Some((number, depth)) = open.pop() {
            let Some(timeline) = self.timelines.iter().find(|timeline| timeline.number == number) else { continue };
            let table = self.table(Some(number));
            sections.push(Section { depth, title: Some(timeline.title()), lines: timeline.log_lines(), ..table });
            let children = self.timelines.iter().filter(|child| child.branch.as_ref().is_some_and(|branch| branch.parent == number));
            open.extend(children.rev().map(|child| (child.number, depth + 1)));
        }
        sections
    }
}

impl Timeline {
    fn title(&self) -> String {
        let Some(branch) = &self.branch else { return format!("timeline {}", self.number) };
        let at = branch.branch.as_ref().map_or("at an op that nothing shows".to_owned(), |common| format!("behind op {}", common.op));
        format!(
            "timeline {}, branches off timeline {} {at}, began {}: {}",
            self.number,
            branch.parent,
            time_text(branch.began_ns),
            branch.reason
        )
    }

    fn log_lines(&self) -> Vec<String> {
        let ops = if self.ops.is_empty() { "no ops in the log".to_owned() } else { format!("{} in the log", ranges_text(&self.ops)) };
        let gaps = self
            .gaps
            .iter()
            .map(|gap| format!("gap: ops {} to {}, noticed {}: {}", gap.first_op, gap.last_op, time_text(gap.noticed_ns), gap.reason));
        std::iter::once(ops).chain(gaps).collect()
    }

    fn json(&self) -> Value {
        let branch = self.branch.as_ref();
        let gaps: Vec<Value> = self
            .gaps
            .iter()
            .map(|gap| json!({ "first_op": gap.first_op, "last_op": gap.last_op, "noticed_ns": gap.noticed_ns, "reason": gap.reason }))
            .collect();
        json!({
            "timeline": self.number,
            "parent": branch.map(|branch| branch.parent),
            "branch_op": branch.and_then(|branch| branch.branch.as_ref()).map(|common| common.op),
            "first_op": branch.and_then(|branch| branch.first.as_ref()).map(|first| first.op),
            "began_ns": branch.map(|branch| branch.began_ns),
            "reason": branch.map(|branch| &branch.reason),
            "log": ranges_json(&self.ops),
            "gaps": gaps,
        })
    }
}

#[cfg(test)]
mod tests;
