use super::*;
use crate::tb_format::sample::{PrepareSample, headers_of, log_after, root_header};

/// The headers of ops 1 to 8, each of which commits the op before it, as `change` leaves them.
fn disproved_of(change: impl FnOnce(&mut BTreeMap<u64, PrepareHeader>)) -> Vec<u64> {
    let headers = headers_of(&log_after(&root_header(7), 8));
    let mut by_op: BTreeMap<u64, PrepareHeader> = headers.iter().map(|header| (header.op(), *header)).collect();
    change(&mut by_op);
    disproved(&by_op)
}

/// Another prepare in the place of the one after `before`.
fn other(before: &PrepareHeader, view: u32, commit: u64) -> PrepareHeader {
    headers_of(&[PrepareSample { view, commit, body: vec![9; 128], ..PrepareSample::after(before) }.bytes()])[0]
}

#[test]
fn a_prepare_is_disproved_by_the_next_one_once_its_op_is_committed() {
    assert!(disproved_of(|_| ()).is_empty());
    assert_eq!(disproved_of(|by_op| by_op.extend([(5, other(&by_op[&4], 0, 4))])), [5]);
    // The newest prepare is one that the log does not continue yet: nothing speaks against it.
    assert!(disproved_of(|by_op| by_op.extend([(8, other(&by_op[&7], 0, 7))])).is_empty());
    for (commit, expected) in [(4, vec![]), (5, vec![5]), (6, vec![5])] {
        let found = disproved_of(|by_op| {
            by_op.split_off(&6);
            by_op.insert(6, other(&by_op[&5], 0, commit));
            by_op.insert(5, other(&by_op[&4], 0, 4));
        });
        assert_eq!(found, expected, "the last prepare says that op {commit} is committed");
    }
    // What a later prepare says counts for those that lead to it.
    let found = disproved_of(|by_op| {
        by_op.split_off(&6);
        by_op.insert(6, other(&by_op[&5], 0, 0));
        by_op.insert(7, other(&by_op[&6], 0, 5));
        by_op.insert(5, other(&by_op[&4], 0, 4));
    });
    assert_eq!(found, [5]);
}

#[test]
fn behind_a_hole_only_an_older_view_speaks_against_a_prepare() {
    for (view, expected) in [(0, vec![]), (1, vec![5])] {
        let found = disproved_of(|by_op| {
            by_op.remove(&6);
            by_op.insert(5, other(&by_op[&4], view, 4));
        });
        assert_eq!(found, expected, "view {view}");
    }
}
