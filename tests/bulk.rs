//! Restores that need not fetch everything: one that was killed is resumed, and one that is given
//! an older image takes from it what it holds.

use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, files, number, text};
use crate::support::seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed};
use crate::support::sparse::assert_same;
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// How many bytes a file occupies on the disk.
fn allocated_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

/// Restores to `output` until the file occupies `bytes` on the disk, and kills the restore. Returns
/// whether the kill came before the restore was complete.
fn killed_at(program: &Program, output: &Path, bytes: u64) -> bool {
    let mut command = program.command(&["restore", "tigerbeetle", "--output", text(output)]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let partial = || files(output.parent().unwrap()).iter().map(|path| allocated_bytes(path)).max();
    while child.try_wait().unwrap().is_none() {
        if partial() >= Some(bytes) {
            child.kill().unwrap();
            child.wait().unwrap();
            return !output.exists();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// A restore that is killed half-way is started again: it reports that it fetched less, and the
/// image is the same.
fn goes_on(program: &Program, place: &Path, whole: (&Path, &Value)) {
    let (image, said) = whole;
    let output = place.join("killed").join("0.tigerbeetle");
    std::fs::create_dir(output.parent().unwrap()).unwrap();
    let killed = (2..12).any(|part| {
        let killed = killed_at(program, &output, allocated_bytes(image) / part);
        if !killed {
            std::fs::remove_file(&output).unwrap();
        }
        killed
    });
    assert!(killed, "no restore was slow enough to be killed half-way");
    let again = program.restore(&output, &["--op", &said["op"].to_string()]);
    println!(
        "whole: {} fetched; killed and started again: {} fetched, {} kept",
        said["bytes_fetched"], again["bytes_fetched"], again["bytes_kept"]
    );
    assert!(number(&again, "bytes_kept") > 0 && number(&again, "bytes_fetched") < number(said, "bytes_fetched"), "{again}");
    assert_eq!(files(output.parent().unwrap()), std::slice::from_ref(&output));
    assert_same(&output, image);
    tigerbeetle().inspect_integrity(&output).unwrap();
    std::fs::remove_dir_all(output.parent().unwrap()).unwrap();
}

#[test]
fn a_killed_restore_goes_on_and_an_older_image_spares_the_rest() {
    let _turn = turn();
    let plan = LoadPlan { clients: 4, transfers_per_request: 500, ..LoadPlan::default() };
    let server = Seaweed::start();
    let node = Cluster::new(1);
    let place = folder("bulk");
    let program = Program::in_s3(&format!("s3://{BUCKET}/bulk"), &server.endpoint(), ACCESS_KEY, SECRET_KEY);
    program.init();
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(1100, Duration::from_secs(240)).unwrap();
    program.backup(node.data_file(0));
    // Nothing is written while restores are killed and resumed: a load would write gigabytes that
    // no restore needs.
    let first_acknowledged = load.stop().unwrap().acknowledged;
    let old = place.path().join("old.tigerbeetle");
    let whole = program.restore(&old, &[]);
    goes_on(&program, place.path(), (&old, &whole));

    let later_plan = LoadPlan { number: 3, ledger: 3, ..plan };
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan: later_plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(2100, Duration::from_secs(240)).unwrap();
    let acknowledged = load.acknowledged();
    let later = program.backup(node.data_file(0));
    let op = later["recovered_to_op"].to_string();
    // The load on the node continues, slowly.
    load.stop().unwrap();
    let trickle = LoadPlan { number: 2, ledger: 2, clients: 2, transfers_per_request: 10, ..LoadPlan::default() };
    let options = LoadOptions { plan: trickle, pause: Some(Duration::from_millis(5)), ..LoadOptions::default() };
    let load = Load::start(node.id(), &node.addresses(), &options).unwrap();
    let (image, delta) = (place.path().join("new.tigerbeetle"), place.path().join("delta.tigerbeetle"));
    let all = program.restore(&image, &["--op", &op]);
    let spared = program.restore(&delta, &["--op", &op, "--base", text(&old)]);
    println!(
        "all: {} fetched; with the older image: {} fetched, {} kept",
        all["bytes_fetched"], spared["bytes_fetched"], spared["bytes_kept"]
    );
    assert!(number(&spared, "bytes_kept") > 0 && number(&spared, "bytes_fetched") < number(&all, "bytes_fetched"), "{spared}");
    assert_same(&delta, &image);
    // The file of a running server, and the file that is being replaced, serve as a base too.
    let live = program.restore(&delta, &["--op", &op, "--overwrite", "--base", text(node.data_file(0))]);
    assert!(number(&live, "bytes_kept") > 0, "{live}");
    let replaced = program.restore(&old, &["--op", &op, "--overwrite", "--base", text(&old)]);
    assert_eq!(replaced["bytes_kept"], spared["bytes_kept"]);
    assert_same(&delta, &image);
    assert_same(&old, &image);
    load.stop().unwrap();
    tigerbeetle().inspect_integrity(&delta).unwrap();
    check_restored(std::slice::from_ref(&delta), &all, later_plan, &acknowledged, &node);
    // What was written first is there too, but the restored op did not create it.
    let mut earlier = all;
    earlier["operation"] = Value::from("none of these");
    check_restored(&[delta], &earlier, plan, &first_acknowledged, &node);
}
