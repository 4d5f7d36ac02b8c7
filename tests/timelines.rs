//! Histories that diverge: how to tell to which one a data file belongs, and backups of both in one
//! repository.

use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{folder, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use amber::disk::file::ReadOptions;
use amber::replica::log::{LogSource, Polled};
use amber::replica::tail::Tail;
use amber::replica::witness::{Witness, find_witness};
use amber::tb_format::header::PrepareHeader;
use amber::tb_format::wal::root_prepare;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(180);

/// A load with its own accounts that ends after this many requests.
fn write(at: &Cluster, number: u32, transfers_per_request: usize, requests: u64) -> LoadPlan {
    let plan = LoadPlan { number, ledger: number, accounts: 10, clients: 2, transfers_per_request };
    let options = LoadOptions { plan, requests_max: Some(requests / 2), ..LoadOptions::default() };
    Load::start(at.id(), &at.addresses(), &options).unwrap().finish(TIMEOUT).unwrap();
    plan
}

/// What the prepares in the WAL ring of a young cluster created, in order.
fn witnesses(cluster: u128, data_file: &Path) -> Vec<Witness> {
    let root = PrepareHeader::check(&root_prepare(cluster)).unwrap();
    let mut tail = Tail::open(data_file, ReadOptions::default(), 0, root.checksum()).unwrap();
    let mut found = Vec::new();
    let mut take = |prepare: &amber::tb_format::wal::Prepare<'_>| {
        found.extend(Witness::of(prepare));
        Ok(())
    };
    while matches!(tail.poll(&mut take).unwrap(), Polled::Prepares(_)) {}
    found
}

#[test]
fn a_transfer_is_found_in_its_own_history_only() {
    let _turn = turn();
    let mut node = Cluster::new(1);
    let place = folder("witness");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    write(&node, 1, 300, 600);
    let data_file = node.data_file(0).to_owned();
    let find = |file: &Path, witness: &Witness| find_witness(file, ReadOptions::default(), witness).unwrap();
    let made = witnesses(node.id(), &data_file);
    let (accounts, early, late) = (&made[0], &made[100], made.last().unwrap());
    assert!(accounts.tree_id != early.tree_id && early.tree_id == late.tree_id && late.op < 900 && late.ids.len() == 300, "{late:?}");
    assert!(!find(&data_file, late), "no checkpoint holds it yet");
    program.backup(&data_file);

    // The same while the server writes.
    let plan = LoadPlan { number: 2, ledger: 2, accounts: 10, clients: 2, transfers_per_request: 300 };
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(600, TIMEOUT).unwrap();
    for _ in 0..10 {
        load.wait_for(200, TIMEOUT).unwrap();
        for witness in [accounts, early, late] {
            assert!(find(&data_file, witness), "{} at op {}", witness.tree_id, witness.op);
        }
    }
    load.stop().unwrap();
    let other_time =
        Witness { timestamp_min_ns: late.timestamp_min_ns + 1000, timestamp_max_ns: late.timestamp_max_ns + 1000, ..late.clone() };
    assert!(!find(&data_file, &other_time));
    assert!(!find(&data_file, &Witness { ids: late.ids.iter().map(|id| id ^ (1 << 100)).collect(), ..late.clone() }));
    node.kill_all();

    let fork = place.path().join("fork.tigerbeetle");
    let restored = program.restore(&fork, &["--op", &(late.op - 1).to_string()]);
    assert_eq!(number(&restored, "op"), late.op - 1);
    let other = Cluster::open(node.id(), std::slice::from_ref(&fork)).unwrap();
    write(&other, 3, 3, 1300);
    assert!(find(&fork, accounts) && find(&fork, early) && find(&fork, &made[made.len() - 2]));
    assert!(!find(&fork, late), "the fork never made it");

    // Both have continued beyond everything that is stored; what was stored last tells them apart.
    let beyond = |file: &Path| program.ok(&["backup", "tigerbeetle", "--new-timeline", "--data-file", text(file)]);
    assert_eq!(number(&beyond(&fork), "timeline"), 2);
    assert_eq!(number(&beyond(&data_file), "timeline"), 1);
    assert_eq!(number(&program.backup(&fork), "timeline"), 2, "it is known now");
}

/// A cluster is restored to an earlier op and continues, and then the old one comes back too. Both
/// are backed up, and both restore.
#[test]
fn both_histories_are_kept_and_restore() {
    let _turn = turn();
    let mut node = Cluster::new(1);
    let place = folder("timelines");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    write(&node, 1, 3, 300);
    let original = program.backup(node.data_file(0));
    node.kill_all();
    let (fork, branch_op) = (place.path().join("fork.tigerbeetle"), number(&original, "recovered_to_op") - 100);
    program.restore(&fork, &["--op", &branch_op.to_string()]);
    let other = Cluster::open(node.id(), std::slice::from_ref(&fork)).unwrap();
    write(&other, 2, 3, 300);
    let refused = program.fails(2, &["backup", "tigerbeetle", "--data-file", text(&fork)]);
    assert!(refused.contains("another history") && refused.contains("--new-timeline"), "{refused}");
    let begun = program.ok(&["backup", "tigerbeetle", "--new-timeline", "--data-file", text(&fork)]);
    assert_eq!((number(&begun, "timeline"), number(&begun, "checkpoint_op")), (2, 0));
    let plan = write(&other, 3, 3, 700);
    let further = program.backup(&fork);
    assert_eq!((number(&further, "timeline"), number(&further, "checkpoint_op")), (2, 959));
    let exact = |name: &str, server: &Cluster, plan: LoadPlan, backup: &serde_json::Value| {
        let image = place.path().join(format!("{name}.tigerbeetle"));
        let (timeline, op) = (number(backup, "timeline").to_string(), number(backup, "recovered_to_op"));
        let restored = program.restore(&image, &["--timeline", &timeline, "--op", &op.to_string()]);
        assert_eq!(number(&restored, "op"), op);
        check_restored(&[image], &restored, plan, &[], server);
    };
    exact("of-the-fork", &other, plan, &further);
    drop(other);

    node.start_all().unwrap();
    let plan = write(&node, 4, 3, 200);
    let stale = program.backup(node.data_file(0));
    assert_eq!(number(&stale, "timeline"), 1);
    exact("of-the-original", &node, plan, &stale);
    let listed = program.ok(&["list"]);
    let mut timelines: Vec<u64> = listed["backups"].as_array().unwrap().iter().map(|backup| number(backup, "timeline")).collect();
    timelines.sort_unstable();
    assert_eq!(timelines, [1, 1, 2, 2]);
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!((number(&verified, "backups"), number(&verified, "backups_whole")), (4, 4));
}
