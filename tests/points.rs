//! Restoring to an op or a time inside a backup's window stops exactly there. Outside the window,
//! the nearest points are named.

use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Expected, Load, LoadOptions, LoadPlan, check_books};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(180);

#[test]
fn ops_and_times_are_met_exactly() {
    let _turn = turn();
    let plan = LoadPlan { clients: 3, transfers_per_request: 20, ..LoadPlan::default() };
    let node = Cluster::new(1);
    let place = folder("points");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(100, TIMEOUT).unwrap();
    let early = program.backup(node.data_file(0));
    load.wait_for(1000, TIMEOUT).unwrap();
    load.stop().unwrap();
    let late = program.backup(node.data_file(0));
    assert!(number(&late, "checkpoint_op") > number(&early, "recovered_to_op"), "{late}");
    let (first, last) = (number(&late, "first_restorable_op"), number(&late, "recovered_to_op"));

    let check = |name: &str, arguments: &[&str], op: u64| {
        let image = place.path().join(format!("{name}.tigerbeetle"));
        let restored = program.restore(&image, arguments);
        assert_eq!(number(&restored, "op"), op, "{arguments:?}");
        check_restored(&[image], &restored, plan, &[], &node);
        number(&restored, "timestamp_ns")
    };
    let middle = (first + last) / 2;
    let middle_ns = check("middle", &["--op", &middle.to_string()], middle);
    check("first", &["--op", &first.to_string()], first);
    check("exact-time", &["--time", &middle_ns.to_string()], middle);
    let after_ns = middle_ns + 1;
    check("between", &["--time", &amber::units::time_text(after_ns)], middle);

    let refused = |arguments: &[&str]| {
        let target = place.path().join("never.tigerbeetle");
        let message = program.fails(2, &[&["restore", "tigerbeetle", "--output", text(&target)], arguments].concat());
        assert!(!target.exists());
        message
    };
    let gap = refused(&["--op", &(number(&early, "recovered_to_op") + 1).to_string()]);
    assert!(gap.contains(&format!("op {} ", number(&early, "recovered_to_op"))) && gap.contains(&format!("op {first} ")), "{gap}");
    let beyond = refused(&["--op", &(last + 1).to_string()]);
    assert!(beyond.contains(&format!("op {last} ")) && !beyond.contains("after it"), "{beyond}");
    let too_late = refused(&["--time", "2099-01-01T00:00:00Z"]);
    assert!(too_late.contains(&format!("op {last} ")), "{too_late}");
    let too_early = refused(&["--time", "2001-01-01T00:00:00Z"]);
    assert!(too_early.contains("after it") && !too_early.contains("before it"), "{too_early}");
    assert!(refused(&["--time", "yesterday"]).contains("RFC 3339"));
}

/// For 40 ops after a checkpoint a server does not start without the log before it. A backup of a
/// node that is idle there includes that log.
#[test]
fn a_node_that_rests_right_behind_a_checkpoint_restores() {
    let _turn = turn();
    let mut node = Cluster::new(1);
    let place = folder("resting");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let data_file = node.data_file(0).to_owned();
    let mut loads = 0;
    let mut write = |requests: u64| {
        loads += 1;
        let number = loads;
        let plan = LoadPlan { number, ledger: number, accounts: 10, clients: 1, transfers_per_request: 3 };
        let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, requests_max: Some(requests), ..LoadOptions::default() })
            .unwrap();
        let report = load.finish(TIMEOUT).unwrap();
        (program.head(&data_file), plan, report.acknowledged)
    };
    let before = write(10).0;
    let more = write(800).0;
    let overhead = more - before - 800;
    let mut images = Vec::new();
    let mut at = more;
    for (checkpoint, rest) in [(959, 36), (1919, 32)] {
        let (reached, plan, acknowledged) = write(checkpoint + rest - at - overhead);
        at = reached;
        assert_eq!(at, checkpoint + rest, "the load did not end where it should");
        let backup = program.backup(&data_file);
        assert_eq!((number(&backup, "checkpoint_op"), number(&backup, "recovered_to_op")), (checkpoint, at));
        assert!(number(&backup, "log_first_op") < checkpoint && number(&backup, "first_restorable_op") <= checkpoint + 32, "{backup}");
        let image = place.path().join(format!("{checkpoint}.tigerbeetle"));
        let restored = program.restore(&image, &[]);
        images.push((image, number(&restored, "timestamp_ns"), plan, acknowledged));
    }
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!(number(&verified, "backups_whole"), 2);
    node.kill_all();
    for (image, recovered_to_ns, plan, acknowledged) in images {
        tigerbeetle().inspect_integrity(&image).unwrap();
        let restored = Cluster::open(node.id(), &[image]).unwrap();
        // Each load has its own accounts; the last one before the backup wrote the newest transfer.
        let expected = Expected { plan, acknowledged, recovered_to_ns, ends_with_transfers: true, original: None, timeout: TIMEOUT };
        let books = check_books(node.id(), &restored.addresses(), &expected).unwrap();
        println!("{} transfers of the last load at {recovered_to_ns}", books.transfers);
    }
}

/// A cluster that was restored to an earlier op continues with another history under the same id.
/// It must not be mistaken for the old one.
#[test]
fn a_fork_is_not_taken_for_the_history() {
    let _turn = turn();
    let mut node = Cluster::new(1);
    let place = folder("fork");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let write = |at: &Cluster, number: u32, requests: u64| {
        let plan = LoadPlan { number, ledger: number, accounts: 10, clients: 2, transfers_per_request: 3 };
        let options = LoadOptions { plan, requests_max: Some(requests / 2), ..LoadOptions::default() };
        Load::start(at.id(), &at.addresses(), &options).unwrap().finish(TIMEOUT).unwrap();
    };
    write(&node, 1, 300);
    let original = program.backup(node.data_file(0));
    node.kill_all();
    let fork = place.path().join("fork.tigerbeetle");
    program.restore(&fork, &["--op", &(number(&original, "recovered_to_op") - 100).to_string()]);
    let mut other = Cluster::open(node.id(), std::slice::from_ref(&fork)).unwrap();
    let in_use = program.fails(2, &["restore", "tigerbeetle", "--overwrite", "--output", text(&fork)]);
    assert!(in_use.contains("running server"), "{in_use}");
    write(&other, 2, 300);
    let refused = program.fails(2, &["backup", "tigerbeetle", "--data-file", text(&fork)]);
    assert!(refused.contains("another history") && refused.contains("--new-timeline"), "{refused}");
    // It is also refused after it has reached a checkpoint of its own, which still overlaps what is
    // stored.
    write(&other, 3, 600);
    other.kill_all();
    let refused = program.fails(2, &["backup", "tigerbeetle", "--data-file", text(&fork)]);
    assert!(refused.contains("another history"), "{refused}");
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!((number(&verified, "backups"), number(&verified, "backups_whole")), (1, 1));
    program.backup(node.data_file(0));
}
