use super::*;
use crate::tier::tigerbeetle::format::timeline::PrepareRecord;

fn range((first_op, last_op): (u64, u64)) -> OpRange {
    OpRange { first_op, last_op }
}

fn timeline(number: u32, parent: Option<u32>, ops: &[(u64, u64)]) -> Timeline {
    let branch = parent.map(|parent| Branch {
        timeline: number,
        parent,
        branch: Some(PrepareRecord { op: 1300, checksum: "0".repeat(32) }),
        first: Some(PrepareRecord { op: 1301, checksum: "1".repeat(32) }),
        replica: 0,
        began_ns: 1_700_000_000_000_000_000,
        reason: "op 1301 differs".into(),
    });
    Timeline { number, branch, ops: ops.iter().copied().map(range).collect(), gaps: Vec::new() }
}

fn backup(timeline: u32, checkpoint_op: u64) -> (u32, Value) {
    (timeline, json!({ "checkpoint_op": checkpoint_op }))
}

#[test]
fn the_tree_puts_each_timeline_below_its_parent() {
    let mut second = timeline(2, Some(1), &[(1301, 1400)]);
    second.gaps.push(Gap { timeline: 2, first_op: 1401, last_op: 1450, noticed_ns: 0, reason: "the ring was overwritten".into() });
    let found = Found {
        backups: vec![backup(1, 959), backup(2, 1919)],
        timelines: vec![timeline(1, None, &[(960, 1500)]), second, timeline(3, Some(1), &[]), timeline(4, Some(2), &[(1, 2), (5, 6)])],
        failure: None,
    };
    let sections = found.sections();
    let titles: Vec<(usize, &str)> = sections
        .iter()
        .map(|section| (section.depth, section.title.as_deref().and_then(|title| title.split(',').next()).unwrap()))
        .collect();
    assert_eq!(titles, [(0, "timeline 1"), (1, "timeline 2"), (2, "timeline 4"), (1, "timeline 3")]);
    assert!(sections[1].title.as_deref().unwrap().contains("branches off timeline 1 behind op 1300, began 2023-11-14"));
    assert!(sections[1].title.as_deref().unwrap().ends_with("op 1301 differs"));
    let checkpoints: Vec<Vec<&str>> = sections.iter().map(|section| section.rows.iter().map(|row| row[0].as_str()).collect()).collect();
    assert_eq!(checkpoints, [vec!["959"], vec!["1919"], vec![], vec![]]);
    assert_eq!(sections[0].lines, ["ops 960 to 1500 in the log"]);
    assert_eq!(sections[1].lines[0], "ops 1301 to 1400 in the log");
    assert!(sections[1].lines[1].starts_with("gap: ops 1401 to 1450, noticed "), "{:?}", sections[1].lines);
    assert_eq!(sections[2].lines, ["ops 1 to 2, 5 to 6 in the log"]);
    assert_eq!(sections[3].lines, ["no ops in the log"]);
    let json = found.timelines[1].json();
    assert_eq!((&json["parent"], &json["branch_op"], &json["first_op"]), (&json!(1), &json!(1300), &json!(1301)));
    assert_eq!(json["log"], json!([{ "first_op": 1301, "last_op": 1400 }]));
    assert_eq!(json["gaps"][0]["reason"], "the ring was overwritten");
    assert_eq!(found.timelines[0].json()["parent"], Value::Null);
}

#[test]
fn one_timeline_is_a_table_and_its_log() {
    let found = Found { backups: vec![backup(1, 959)], timelines: vec![timeline(1, None, &[(960, 1500)])], failure: None };
    let [only] = &found.sections()[..] else { panic!("one section") };
    assert_eq!((only.title.as_deref(), only.depth, only.headings[0], only.rows[0][0].as_str()), (None, 0, "checkpoint", "959"));
    assert_eq!(only.lines, ["ops 960 to 1500 in the log"]);
    let many: Vec<OpRange> = (0..9).map(|number| range((number * 10, number * 10 + 1))).collect();
    assert!(ranges_text(&many).ends_with("40 to 41 and 4 more runs"));
}

#[test]
fn a_backup_that_does_not_open_is_listed_as_far_as_its_name_goes() {
    let damaged = json!({ "checkpoint_op": 959, "replica": 1, "timeline": 2, "run": "0a", "error": "cut" });
    assert_eq!(row(&COLUMNS, &damaged), ["959", "damaged or lost", "-", "1", "2", "-", "-", "0a"]);
}
