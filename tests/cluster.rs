//! A three-replica cluster, captured from one of its replicas, rebuilt in full and as a solo fork.

use crate::support::books::expected;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{folder, tigerbeetle, turn_for};
use amber::demo::{Load, LoadOptions, LoadPlan, check_books};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(180);

#[test]
fn a_cluster_is_rebuilt_from_one_of_its_replicas() {
    let _turn = turn_for(2);
    let plan = LoadPlan { clients: 4, transfers_per_request: 50, ..LoadPlan::default() };
    let mut cluster = Cluster::new(3);
    let place = folder("rebuild");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let load = Load::start(cluster.id(), &cluster.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(1400, TIMEOUT).unwrap();
    let acknowledged = load.acknowledged();
    let backup = program.backup(cluster.data_file(1));
    assert_eq!((number(&backup, "replica"), number(&backup, "replica_count")), (1, 3));
    assert!(number(&backup, "checkpoint_op") > 0, "{backup}");
    load.stop().unwrap();

    // The same checkpoint from the other replicas: no block is stored twice. The log continues, so
    // only blocks are counted.
    let again: Vec<Value> = [0, 2].map(|replica| program.backup(cluster.data_file(replica))).into();
    let alike = again.iter().filter(|other| other["checkpoint_op"] == backup["checkpoint_op"]).collect::<Vec<_>>();
    for other in &again {
        let repeats = other["checkpoint_op"] == backup["checkpoint_op"];
        assert!(!repeats || number(other, "blocks_stored") == 0, "{other}");
    }
    let same_pair = again[0]["checkpoint_op"] == again[1]["checkpoint_op"];
    assert!(!alike.is_empty() || (same_pair && number(&again[1], "blocks_stored") == 0), "{again:?}");
    cluster.kill_all();
    let id = cluster.id();

    let all = place.path().join("all");
    let restored =
        program.ok(&["restore", "tigerbeetle", "--all-replicas", text(&all), "--op", &number(&backup, "recovered_to_op").to_string()]);
    let files: Vec<PathBuf> = (0..3).map(|replica| all.join(format!("{id}_{replica}.tigerbeetle"))).collect();
    for file in &files {
        tigerbeetle().inspect_integrity(file).unwrap();
    }
    let mut rebuilt = Cluster::open(id, &files).unwrap();
    let books = check_books(id, &rebuilt.addresses(), &expected(plan, &acknowledged, &restored, None)).unwrap();
    println!("three replicas serve {} transfers at op {}", books.transfers, number(&restored, "op"));
    // Any one of the three may fail, as in any cluster.
    rebuilt.kill(0);
    check_books(id, &rebuilt.addresses(), &expected(plan, &acknowledged, &restored, None)).unwrap();
    drop(rebuilt);

    let fork = place.path().join("fork.tigerbeetle");
    let solo = program.restore(&fork, &["--solo", "--op", &number(&restored, "op").to_string()]);
    let sandbox = Cluster::open(id, std::slice::from_ref(&fork)).unwrap();
    let fork_books = check_books(id, &sandbox.addresses(), &expected(plan, &acknowledged, &solo, None)).unwrap();
    assert_eq!(fork_books.transfers, books.transfers);
    // Its log is that of a cluster of another size, which is no timeline of this one.
    let other_size = program.fails(2, &["backup", "tigerbeetle", "--new-timeline", "--data-file", text(&fork)]);
    assert!(other_size.contains("1 replicas"), "{other_size}");

    let wrong = program.fails(2, &["restore", "tigerbeetle", "--output", text(&place.path().join("x")), "--replica", "3"]);
    assert!(wrong.contains("3 replicas"), "{wrong}");
    let wrong =
        program.fails(2, &["restore", "tigerbeetle", "--output", text(&place.path().join("x")), "--replica", "0", "--replica-count", "5"]);
    assert!(wrong.contains("has 3 replicas"), "{wrong}");
    assert!(!place.path().join("x").exists());
}
