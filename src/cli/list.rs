//! `amber list`: the backups in a repository, and the log after them.
//!
//! The histories of a cluster are a tree: a timeline branches off another one at an op. The tree is
//! drawn if there is more than one timeline, or something besides backups to show.

use super::backup::summary_json;
use super::catalog_place::CatalogArguments;
use super::list_catalog::HEADER;
use super::output::{Report, table};
use super::{list_catalog, list_files};
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::repository::name::{CheckpointName, TIMELINE_FIRST};
use crate::tier::tigerbeetle::format::gap::Gap;
use crate::tier::tigerbeetle::format::log::{LogIndex, op_ranges_of};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::op_range::OpRange;
use crate::tier::tigerbeetle::format::timeline::{Branch, Lineage};
use crate::units::{bytes_text, time_text};
use clap::Args;
use serde_json::{Value, json};

/// How many op ranges the text lists; JSON has all.
const OP_RANGES_SHOWN_MAX: usize = 5;

const AFTER_HELP: &str = "\
With --config or --catalog the catalog is read and the store is not asked: the backups as the catalog knew them when it was brought up to date last, also \
while the agent runs or the store is away. It says nothing of timelines, gaps and the log. Otherwise the repository itself says what it has.

  amber list --repo s3://backups/ledger
  amber list --config /etc/amber/amber.toml";

/// Arguments of `amber list`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ListArguments {
    #[command(flatten)]
    place: CatalogArguments,
}

/// A timeline, and which parts of it are stored.
struct Timeline {
    number: u32,
    /// Timeline 1 has none.
    branch: Option<Branch>,
    runs: Vec<(u64, u64)>,
    gaps: Vec<Gap>,
}

/// What was found, and the first damage in it.
#[derive(Default)]
struct Found {
    backups: Vec<(u32, Vec<String>, Value)>,
    timelines: Vec<Timeline>,
    failure: Option<Error>,
}

/// Lists the backups, oldest first, and the timelines.
pub fn run(arguments: &ListArguments) -> Result<Report> {
    if let Some(reader) = arguments.place.named()? {
        return list_catalog::list(&reader);
    }
    let repository = arguments.place.repository()?;
    let mut found = Found::default();
    for name in repository.backups()? {
        found.backup(&repository, &name)?;
    }
    found.timelines(&repository)?;
    let (files_text, files) = list_files::files(&repository, &mut found.failure)?;
    let cluster = repository.cluster()?.map(|cluster| cluster.to_string());
    let of = cluster.as_deref().map(|cluster| format!(" of cluster {cluster}")).unwrap_or_default();
    let is_empty = found.backups.is_empty() && found.timelines.iter().all(|timeline| timeline.runs.is_empty());
    let text = if is_empty && files.is_empty() {
        format!("{}: no backups yet", repository.describe())
    } else if is_empty {
        files_text
    } else {
        format!("{} backups{of} in {}\n\n{}", found.backups.len(), repository.describe(), found.text() + &files_text)
    };
    let backups: Vec<&Value> = found.backups.iter().map(|(_, _, json)| json).collect();
    let timelines: Vec<Value> = found.timelines.iter().map(Timeline::json).collect();
    let json =
        json!({ "repository": repository.describe(), "cluster": cluster, "backups": backups, "timelines": timelines, "files": files });
    Ok(Report { failure: found.failure, ..Report::new(text, json) })
}

impl Found {
    fn backup(&mut self, repository: &Repository, name: &CheckpointName) -> Result<()> {
        let (row, json) = match Manifest::read_summary(repository, name) {
            Ok(summary) => {
                let row = vec![
                    summary.checkpoint_op.to_string(),
                    format!("{}..{}", summary.first_restorable_op, summary.recovered_to_op),
                    time_text(summary.recovered_to_timestamp_ns),
                    summary.replica.to_string(),
                    summary.timeline.to_string(),
                    summary.blocks.to_string(),
                    bytes_text(summary.bytes_stored),
                    name.run.to_string(),
                ];
                let mut json = summary_json(&summary);
                if let Value::Object(fields) = &mut json {
                    fields.insert("name".into(), json!(name.object()));
                }
                (row, json)
            }
            Err(error) if error.kind == Kind::Damaged => {
                let (op, replica, timeline) = (name.checkpoint_op.to_string(), name.replica.to_string(), name.timeline.to_string());
                let row = vec![op, "damaged or lost".into(), "-".into(), replica, timeline, "-".into(), "-".into(), name.run.to_string()];
                let json = json!({ "name": name.object(), "error": error.message });
                self.failure.get_or_insert(error);
                (row, json)
            }
            Err(error) => return Err(error),
        };
        self.backups.push((name.timeline, row, json));
        Ok(())
    }

    /// Reads the timelines. Damaged records do not prevent the rest from being listed.
    fn timelines(&mut self, repository: &Repository) -> Result<()> {
        let timelines = match repository.timelines() {
            Err(error) if error.kind == Kind::Damaged => {
                self.failure.get_or_insert(error);
                return Ok(());
            }
            timelines => timelines?,
        };
        let (gaps, damaged) = repository.gaps()?;
        if let Some(name) = damaged.first() {
            self.failure.get_or_insert(Error::damaged(format!("{name}: the record of a gap is damaged: `amber verify` tells more")));
        }
        for number in timelines.numbers() {
            let index = LogIndex::list(repository, &Lineage::only(number), 0)?;
            self.timelines.push(Timeline {
                number,
                branch: timelines.branches.get(&number).cloned(),
                runs: op_ranges_of(index.pieces()).into_iter().map(OpRange::into).collect(),
                gaps: gaps.iter().filter(|gap| gap.timeline == number).cloned().collect(),
            });
        }
        Ok(())
    }

    fn text(&self) -> String {
        let rows = |of: Option<u32>| -> Vec<Vec<String>> {
            let wanted = self.backups.iter().filter(|(timeline, _, _)| of.is_none_or(|number| number == *timeline));
            wanted.map(|(_, row, _)| row.clone()).collect()
        };
        let [only] = &self.timelines[..] else { return self.tree(&rows) };
        let all = rows(None);
        let backups = if all.is_empty() { String::new() } else { format!("{}\n", table(&HEADER, &all)) };
        format!("{backups}{}", only.log_lines().join("\n"))
    }

    fn tree(&self, rows: &dyn Fn(Option<u32>) -> Vec<Vec<String>>) -> String {
        // The branches are not known, so all backups are in one table.
        if self.timelines.is_empty() {
            return table(&HEADER, &rows(None));
        }
        let mut text = String::new();
        // A timeline's parent has a smaller number, so the first is the root.
        let mut open = vec![(TIMELINE_FIRST, 0)];
        while let Some((number, depth)) = open.pop() {
            let Some(timeline) = self.timelines.iter().find(|timeline| timeline.number == number) else { continue };
            let indent = "  ".repeat(depth);
            text.push_str(&format!("{indent}{}\n", timeline.title()));
            let backups = rows(Some(number));
            let backups = if backups.is_empty() { String::new() } else { table(&HEADER, &backups) };
            for line in backups.lines().chain(timeline.log_lines().iter().map(String::as_str)) {
                text.push_str(&format!("{indent}  {line}\n"));
            }
            text.push('\n');
            let children = self.timelines.iter().filter(|child| child.branch.as_ref().is_some_and(|branch| branch.parent == number));
            open.extend(children.rev().map(|child| (child.number, depth + 1)));
        }
        text
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
        let runs = if self.runs.is_empty() { "no ops in the log".to_owned() } else { format!("{} in the log", runs_text(&self.runs)) };
        let gaps = self
            .gaps
            .iter()
            .map(|gap| format!("gap: ops {} to {}, noticed {}: {}", gap.first_op, gap.last_op, time_text(gap.noticed_ns), gap.reason));
        std::iter::once(runs).chain(gaps).collect()
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
            "log": runs_json(&self.runs),
            "gaps": gaps,
        })
    }
}

/// Op ranges for people: "ops 960 to 12345".
pub fn runs_text(runs: &[(u64, u64)]) -> String {
    let reported: Vec<String> =
        runs.iter().take(OP_RANGES_SHOWN_MAX).map(|(first_op, last_op)| format!("{first_op} to {last_op}")).collect();
    let more = runs.len() - reported.len();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more runs") };
    format!("ops {}{rest}", reported.join(", "))
}

/// Op ranges as JSON.
pub fn runs_json(runs: &[(u64, u64)]) -> Value {
    runs.iter().map(|(first_op, last_op)| json!({ "first_op": first_op, "last_op": last_op })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::tigerbeetle::format::timeline::PrepareRecord;

    fn timeline(number: u32, parent: Option<u32>, runs: &[(u64, u64)]) -> Timeline {
        let branch = parent.map(|parent| Branch {
            timeline: number,
            parent,
            branch: Some(PrepareRecord { op: 1300, checksum: "0".repeat(32) }),
            first: Some(PrepareRecord { op: 1301, checksum: "1".repeat(32) }),
            replica: 0,
            began_ns: 1_700_000_000_000_000_000,
            reason: "op 1301 differs".into(),
        });
        Timeline { number, branch, runs: runs.to_vec(), gaps: Vec::new() }
    }

    fn backup(timeline: u32, checkpoint: &str) -> (u32, Vec<String>, Value) {
        (timeline, vec![checkpoint.to_owned()], Value::Null)
    }

    #[test]
    fn the_tree_puts_each_timeline_below_its_parent() {
        let mut second = timeline(2, Some(1), &[(1301, 1400)]);
        second.gaps.push(Gap { timeline: 2, first_op: 1401, last_op: 1450, noticed_ns: 0, reason: "the ring was overwritten".into() });
        let found = Found {
            backups: vec![backup(1, "959"), backup(2, "1919")],
            timelines: vec![timeline(1, None, &[(960, 1500)]), second, timeline(3, Some(1), &[]), timeline(4, Some(2), &[(1, 2), (5, 6)])],
            failure: None,
        };
        let text = found.text();
        let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} is not in:\n{text}"));
        let order = [
            "timeline 1\n",
            "\n  959",
            "\n  ops 960 to 1500 in the log",
            "\n  timeline 2, branches off timeline 1 behind op 1300, began 2023-11-14",
            "op 1301 differs",
            "\n    1919",
            "\n    ops 1301 to 1400 in the log",
            "\n    gap: ops 1401 to 1450, noticed ",
            "\n    timeline 4, branches off timeline 2",
            "\n      ops 1 to 2, 5 to 6 in the log",
            "\n  timeline 3, branches off timeline 1",
            "\n    no ops in the log",
        ];
        assert!(order.map(position).is_sorted(), "{text}");
        let json = found.timelines[1].json();
        assert_eq!((&json["parent"], &json["branch_op"], &json["first_op"]), (&json!(1), &json!(1300), &json!(1301)));
        assert_eq!(json["log"], json!([{ "first_op": 1301, "last_op": 1400 }]));
        assert_eq!(json["gaps"][0]["reason"], "the ring was overwritten");
        assert_eq!(found.timelines[0].json()["parent"], Value::Null);
    }

    #[test]
    fn one_timeline_is_a_table_and_its_log() {
        let found = Found { backups: vec![backup(1, "959")], timelines: vec![timeline(1, None, &[(960, 1500)])], failure: None };
        let text = found.text();
        assert!(text.starts_with("checkpoint") && text.ends_with("ops 960 to 1500 in the log") && !text.contains("timeline 1"), "{text}");
        let many: Vec<(u64, u64)> = (0..9).map(|number| (number * 10, number * 10 + 1)).collect();
        assert!(runs_text(&many).ends_with("40 to 41 and 4 more runs"));
    }
}
