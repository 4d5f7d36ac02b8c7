//! Kills and full disks: no half-written file has a final name, and everything that was promised
//! still restores.

use crate::support::cluster::Cluster;
use crate::support::program::{Program, files, number, parse, text};
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_kill_at_any_moment_breaks_no_promise() {
    let _turn = turn();
    let plan = LoadPlan { clients: 4, transfers_per_request: 200, ..LoadPlan::default() };
    let node = Cluster::new(1);
    let place = folder("crash");
    let repository = place.path().join("repository");
    let program = Program::in_folder(&repository);
    program.init();
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(1100, Duration::from_secs(120)).unwrap();
    let promised = program.backup(node.data_file(0));

    // Backups are killed after 20, 60, 100, ... ms, when between none and all of the work is done.
    let data_file = node.data_file(0).to_owned();
    for attempt in 0..12_u64 {
        let mut command = program.command(&["backup", "tigerbeetle", "--data-file", text(&data_file)]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + 40 * attempt));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    load.stop().unwrap();
    let after = program.backup(&data_file);
    assert!(number(&after, "recovered_to_op") >= number(&promised, "recovered_to_op"));
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!(verified["backups"], verified["backups_whole"], "{verified}");

    // Restores are killed in the same way.
    let target = place.path().join("target").join("0.tigerbeetle");
    std::fs::create_dir(target.parent().unwrap()).unwrap();
    for attempt in 0..8_u64 {
        let mut command = program.command(&["restore", "tigerbeetle", "--output", text(&target)]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50 + 50 * attempt));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        match ended {
            None => assert!(
                !target.exists() || tigerbeetle().inspect_integrity(&target).is_ok(),
                "a file that is incomplete has the target's name"
            ),
            Some(status) => assert!(status.success() && target.exists()),
        }
        let _ = std::fs::remove_file(&target);
    }
    let whole = program.restore(&target, &["--op", &number(&promised, "recovered_to_op").to_string()]);
    assert_eq!(whole["op"], promised["recovered_to_op"]);
    assert_eq!(files(target.parent().unwrap()), std::slice::from_ref(&target), "leftovers of killed restores are removed");
    tigerbeetle().inspect_integrity(&target).unwrap();
    let taken = program.fails(2, &["restore", "tigerbeetle", "--output", text(&target)]);
    assert!(taken.contains("--overwrite"), "{taken}");
    program.restore(&target, &["--overwrite"]);
}

/// Runs a shell script in a mount namespace of its own, as root there; `None` where the system does
/// not allow it.
fn in_own_namespace(script: &str) -> Option<std::process::Output> {
    let unshare = |script: &str| Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).output();
    let allowed = unshare("mount -t tmpfs -o size=1m none /mnt").is_ok_and(|output| output.status.success());
    allowed.then(|| unshare(script).unwrap())
}

#[test]
fn a_full_disk_leaves_no_file_under_the_target_name() {
    let _turn = turn();
    let node = Cluster::new(1);
    let plan = LoadPlan { clients: 2, transfers_per_request: 1000, ..LoadPlan::default() };
    let place = folder("full");
    let repository = place.path().join("repository");
    let program = Program::in_folder(&repository);
    program.init();
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, requests_max: Some(100), ..LoadOptions::default() }).unwrap();
    load.finish(Duration::from_secs(120)).unwrap();
    program.backup(node.data_file(0));
    // 20 MiB: the early estimate passes or fails by what is free. A file that takes the rest makes
    // the write itself fail.
    let amber = env!("CARGO_BIN_EXE_amber");
    let script = format!(
        "mount -t tmpfs -o size=20m none /mnt && AMBER_REPO={} AMBER_PASSPHRASE='a passphrase for tests' {amber} restore tigerbeetle --json --output /mnt/x; \
         echo \" code $?\"; ls -A /mnt",
        repository.display()
    );
    let Some(output) = in_own_namespace(&script) else {
        println!("skipped: this system allows no mount namespace");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(" code 2"), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("make room"), "{said}");
    assert!(said.trim_end().ends_with("code 2"), "something was left on the full disk: {said}");

    let limited = Command::new("sh")
        .args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\"", amber, "restore", "tigerbeetle", "--json", "--output"])
        .arg(place.path().join("limited"))
        .env("AMBER_REPO", &repository)
        .env("AMBER_PASSPHRASE", "a passphrase for tests")
        .output()
        .unwrap();
    let json = parse(&limited);
    assert_eq!(limited.status.code(), Some(2), "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains("ulimit -f"), "{json}");
    let left: Vec<_> = files(place.path()).into_iter().filter(|file| !file.starts_with(&repository)).collect();
    assert!(left.is_empty(), "{left:?}");
}
