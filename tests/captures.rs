//! Captures of a live replica under load: every one of them restores, starts, and holds exactly
//! what it promises.

use crate::support::cluster::Cluster;
use crate::support::program::{Program, number};
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Expected, Load, LoadOptions, LoadPlan, check_books};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(180);
/// The promised memory limit, whatever the size of the data file.
const MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;

struct Capture {
    acknowledged: Vec<u64>,
    backup: Value,
    restored: Value,
    image: PathBuf,
}

/// Brings a new node close to its first checkpoint, which comes some 990 ops after it was
/// formatted, with requests that cost little.
fn approach_checkpoint(node: &Cluster) {
    let plan = LoadPlan { number: 9, ledger: 9, accounts: 10, clients: 4, transfers_per_request: 1 };
    let options = LoadOptions { plan, requests_max: Some(225), ..LoadOptions::default() };
    Load::start(node.id(), &node.addresses(), &options).unwrap().finish(TIMEOUT).unwrap();
}

/// Captures `count` times in a row while `plan` is written, after the first `requests_before`. Then
/// it starts every image and checks its books. Each client of the load pauses for `pause` after a
/// request, so that the disk is not the only thing that is tested. Between two captures at least
/// `requests_between` requests come. Returns the ops of the checkpoints that were captured.
fn captures(plan: LoadPlan, pause: Duration, requests_before: u64, requests_between: u64, count: usize) -> Vec<u64> {
    let _turn = turn();
    let node = Cluster::new(1);
    let place = folder("captures");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    approach_checkpoint(&node);
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, pause: Some(pause), ..LoadOptions::default() }).unwrap();
    load.wait_for(requests_before, TIMEOUT).unwrap();
    let mut captured = Vec::new();
    for attempt in 0..count {
        load.wait_for(requests_between, TIMEOUT).unwrap();
        let acknowledged = load.acknowledged();
        let backup = program.backup(node.data_file(0));
        let image = place.path().join(format!("{attempt}.tigerbeetle"));
        let restored = program.restore(&image, &[]);
        assert_eq!(number(&restored, "op"), number(&backup, "recovered_to_op"));
        assert_eq!(number(&restored, "timestamp_ns"), number(&backup, "recovered_to_timestamp_ns"));
        for work in [&backup, &restored] {
            assert!(number(work, "peak_memory_bytes") < MEMORY_BYTES_MAX, "{work}");
        }
        captured.push(Capture { acknowledged, backup, restored, image });
    }
    let written = load.stop().unwrap();
    println!("{} transfers at {:.0}/s, {:.0} requests/s", written.transfers, written.transfers_per_s(), written.requests_per_s());
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!(number(&verified, "backups_whole"), count as u64);
    // Two at once, since a check mostly waits: for the disk, and for clients that find their
    // server.
    for pair in captured.chunks(2) {
        std::thread::scope(|scope| {
            for capture in pair {
                let node = &node;
                scope.spawn(move || check(node, plan, capture));
            }
        });
        for capture in pair {
            std::fs::remove_file(&capture.image).unwrap();
        }
    }
    captured.iter().map(|capture| number(&capture.backup, "checkpoint_op")).collect()
}

/// Starts the image of a capture and compares its books with the original, which still runs.
fn check(original: &Cluster, plan: LoadPlan, capture: &Capture) {
    tigerbeetle().inspect_integrity(&capture.image).unwrap();
    let restored = Cluster::open(original.id(), std::slice::from_ref(&capture.image)).unwrap();
    let books = check_books(original.id(), &restored.addresses(), &expected(plan, capture, Some(original.addresses()))).unwrap();
    println!(
        "checkpoint {} to op {}: {} transfers, {} rounds, {} blocks stored, {} held",
        number(&capture.backup, "checkpoint_op"),
        number(&capture.backup, "recovered_to_op"),
        books.transfers,
        number(&capture.backup, "rounds"),
        number(&capture.backup, "blocks_stored"),
        number(&capture.backup, "blocks_reused"),
    );
}

fn expected(plan: LoadPlan, capture: &Capture, original: Option<String>) -> Expected {
    Expected {
        plan,
        acknowledged: capture.acknowledged.clone(),
        recovered_to_ns: number(&capture.restored, "timestamp_ns"),
        ends_with_transfers: capture.restored["operation"] == "create_transfers",
        original,
        timeout: TIMEOUT,
    }
}

#[test]
fn twenty_captures_in_a_row_all_restore() {
    let checkpoints =
        captures(LoadPlan { clients: 4, transfers_per_request: 20, ..LoadPlan::default() }, Duration::from_millis(3), 100, 20, 20);
    assert!(checkpoints.windows(2).any(|pair| pair[0] != pair[1]), "the load passed no checkpoint: {checkpoints:?}");
}

#[test]
fn captures_under_tiny_requests_all_restore() {
    let checkpoints =
        captures(LoadPlan { clients: 24, transfers_per_request: 1, ..LoadPlan::default() }, Duration::from_millis(15), 100, 700, 6);
    assert!(checkpoints.windows(2).filter(|pair| pair[0] != pair[1]).count() > 1, "the ring did not wrap: {checkpoints:?}");
}

#[test]
fn captures_under_full_batches_all_restore() {
    let checkpoints =
        captures(LoadPlan { clients: 4, transfers_per_request: 8189, ..LoadPlan::default() }, Duration::from_millis(150), 120, 0, 3);
    assert!(checkpoints.iter().all(|checkpoint| *checkpoint > 0), "{checkpoints:?}");
}
