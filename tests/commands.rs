//! The interfaces on which scripts rely: arguments, environment, JSON, exit codes, messages; and
//! damage in the source.

use crate::support::cluster::Cluster;
use crate::support::program::{Program, files, number, text};
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn amber(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amber"));
    command.args(arguments).env_remove("AMBER_REPO").env_remove("AMBER_PASSPHRASE");
    command.output().unwrap()
}

#[test]
fn usage_teaches_and_ends_with_two() {
    let help = amber(&["--help"]);
    let said = String::from_utf8_lossy(&help.stdout);
    assert_eq!(help.status.code(), Some(0));
    for part in ["Exit codes", "AMBER_PASSPHRASE", "backup", "restore", "verify", "inspect", "completions"] {
        assert!(said.contains(part), "{part} is not in the help");
    }
    for arguments in [
        &["frobnicate"][..],
        &["restore", "tigerbeetle", "--repo", "x"],
        &["restore", "tigerbeetle", "--repo", "x", "--output", "y", "--op", "1", "--time", "2"],
    ] {
        assert_eq!(amber(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(String::from_utf8_lossy(&amber(&["completions", "bash"]).stdout).contains("_amber"));
    let version = String::from_utf8_lossy(&amber(&["--version"]).stdout).into_owned();
    for part in [env!("CARGO_PKG_VERSION"), "revision: ", "features: client"] {
        assert!(version.contains(part), "{part} is missing in {version}");
    }
    let manual = String::from_utf8_lossy(&amber(&["manual"]).stdout).into_owned();
    assert!(manual.contains(".TH amber 1") && manual.contains("amber\\-verify(1)"), "{manual}");
    let place = folder("usage");
    let no_passphrase = amber(&["init", "--repo", text(&place.path().join("r"))]);
    assert_eq!(no_passphrase.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&no_passphrase.stderr).contains("AMBER_PASSPHRASE"));
    let nowhere = amber(&["list", "--repo", "ftp://x/y", "--passphrase-file", "/dev/null"]);
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn output_that_cannot_be_written_is_no_success() {
    let place = folder("full");
    let repo = place.path().join("r").display().to_string();
    std::fs::write(place.path().join("k"), [7; 32]).unwrap();
    let key = place.path().join("k").display().to_string();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let code = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amber"));
        let output = command.args(arguments).stdout(full()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (init, said) = code(&["init", "--repo", &repo, "--key-file", &key, "--json"]);
    assert!(init == 3 && said.contains("standard output") && said.contains("what was done stands"), "{init}: {said}");
    for arguments in [&["list", "--repo", &repo, "--key-file", &key][..], &["completions", "bash"], &["--help"], &["--version"]] {
        assert_eq!(code(arguments).0, 3, "{arguments:?}");
    }
    // A reader that has seen enough is no error.
    let script = "\"$0\" completions bash | head -c 1 >&2; exit \"${PIPESTATUS[0]}\"";
    let piped = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_amber")]).status().unwrap();
    assert_eq!(piped.code(), Some(0));
}

#[test]
fn secrets_open_and_wrong_ones_do_not() {
    let place = folder("secrets");
    let path = |name: &str| place.path().join(name).display().to_string();
    let write = |name: &str, content: &[u8]| std::fs::write(place.path().join(name), content).unwrap();
    write("pass", b"correct horse\n");
    write("wrong", b"battery staple\n");
    write("empty", b"\n");
    write("short.key", &[7; 31]);
    write("good.key", &[7; 32]);
    let code = |arguments: &[&str]| amber(arguments).status.code().unwrap();
    assert_eq!(code(&["init", "--repo", &path("p"), "--passphrase-file", &path("pass")]), 0);
    assert_eq!(code(&["list", "--repo", &path("p"), "--passphrase-file", &path("pass")]), 0);
    assert_eq!(code(&["list", "--repo", &path("p"), "--passphrase-file", &path("wrong")]), 2);
    assert_eq!(code(&["list", "--repo", &path("p"), "--passphrase-file", &path("empty")]), 2);
    assert_eq!(code(&["list", "--repo", &path("p"), "--key-file", &path("good.key")]), 2);
    assert_eq!(code(&["init", "--repo", &path("k"), "--key-file", &path("short.key")]), 2);
    assert_eq!(code(&["init", "--repo", &path("k"), "--key-file", &path("good.key")]), 0);
    assert_eq!(code(&["verify", "--full", "--repo", &path("k"), "--key-file", &path("good.key")]), 0);
    let stored: Vec<u8> = files(&place.path().join("p")).iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!stored.windows(13).any(|window| window == b"correct horse"));
    let environment = Command::new(env!("CARGO_BIN_EXE_amber"))
        .arg("list")
        .env("AMBER_REPO", path("p"))
        .env("AMBER_PASSPHRASE", "correct horse")
        .status();
    assert!(environment.unwrap().success());
}

/// Flips a byte of a file in place.
fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

#[test]
fn damage_on_the_source_is_told_and_never_backed_up_as_good() {
    let _turn = turn();
    let place = folder("damage");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let mut node = Cluster::new(1);
    let plan = LoadPlan { clients: 4, transfers_per_request: 100, ..LoadPlan::default() };
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, requests_max: Some(300), ..LoadOptions::default() }).unwrap();
    load.finish(Duration::from_secs(120)).unwrap();
    node.kill_all();
    let data_file = node.data_file(0).to_owned();
    let whole = program.backup(&data_file);
    let inspected = program.ok(&["inspect", text(&data_file)]);
    assert_eq!(inspected["superblock"]["checkpoint_op"], whole["checkpoint_op"]);
    assert_eq!(inspected["log"]["head_op"], whole["recovered_to_op"]);
    let backup = |file: &Path| program.run(&["backup", "tigerbeetle", "--data-file", text(file)]);
    let message = |file: &Path, code: i32| {
        let (found, json) = backup(file);
        assert_eq!(found, code, "{json}");
        json["error"]["message"].as_str().unwrap_or_default().to_owned()
    };

    // The backup tolerates one and two bad superblock copies, but not three.
    const COPY_BYTES: u64 = 24 * 1024;
    flip(&data_file, 100);
    assert!(backup(&data_file).1["notes"][0].as_str().unwrap().contains("superblock copy 0"));
    flip(&data_file, COPY_BYTES + 100);
    let two = program.backup(&data_file);
    assert_eq!((two["notes"].as_array().unwrap().len(), number(&two, "blocks_stored")), (2, 0));
    flip(&data_file, 2 * COPY_BYTES + 100);
    assert!(message(&data_file, 4).contains("superblock"));
    for copy in 0..3 {
        flip(&data_file, copy * COPY_BYTES + 100);
    }
    program.backup(&data_file);

    // A bad block is found by its address. The repository that holds a good copy of it is another
    // one than this backup uses.
    let fresh = Program::in_folder(&place.path().join("fresh"));
    fresh.init();
    const GRID_OFFSET: u64 = 1_141_374_976;
    let address = (1..40).find(|address| is_reachable(&data_file, *address, &program)).unwrap();
    let offset = GRID_OFFSET + (address - 1) * 512 * 1024 + 300;
    flip(&data_file, offset);
    let (code, json) = fresh.run(&["backup", "tigerbeetle", "--data-file", text(&data_file)]);
    assert_eq!(code, 4, "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains(&format!("address {address}")), "{json}");
    assert_eq!(fresh.ok(&["list"])["backups"].as_array().unwrap().len(), 0);
    assert_eq!(fresh.ok(&["verify", "--full"])["ok"], true);
    flip(&data_file, offset);

    // A hole in the log: the ops after it are committed, so the backup must not end before it as if
    // all were well.
    const WAL_PREPARES_OFFSET: u64 = 360_448;
    let hole = number(&whole, "recovered_to_op") - 5;
    let in_hole = WAL_PREPARES_OFFSET + (hole % 1024) * 1024 * 1024 + 200;
    flip(&data_file, in_hole);
    assert!(message(&data_file, 3).contains(&format!("op {hole} is missing or damaged")));
    flip(&data_file, in_hole);

    // A cut file, other formats, no file at all.
    let cut = place.path().join("cut.tigerbeetle");
    std::fs::copy(&data_file, &cut).unwrap();
    std::fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(GRID_OFFSET + 512 * 1024).unwrap();
    assert!(message(&cut, 4).contains("cut"));
    std::fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(5000).unwrap();
    message(&cut, 2);
    let other = place.path().join("other");
    std::fs::write(&other, vec![0x5a; 2_000_000]).unwrap();
    assert!(message(&other, 2).contains("tigerbeetle start"));
    std::fs::write(&other, b"").unwrap();
    message(&other, 2);
    assert!(message(place.path(), 2).contains("directory"));
    message(&place.path().join("missing"), 2);

    // Another cluster's file.
    let stranger = place.path().join("stranger.tigerbeetle");
    tigerbeetle().format(&stranger, 77, 0, 1).unwrap();
    assert!(message(&stranger, 2).contains("cluster"));
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!(verified["backups"], verified["backups_whole"]);
}

/// Whether a block of the file is one that the last backup reached: flipping it must change the
/// outcome of an inspection.
fn is_reachable(data_file: &Path, address: u64, program: &Program) -> bool {
    let offset = 1_141_374_976 + (address - 1) * 512 * 1024 + 300;
    flip(data_file, offset);
    let (code, _) = program.run(&["inspect", text(data_file)]);
    flip(data_file, offset);
    code == 4
}

#[test]
fn a_file_that_may_not_be_read_is_an_input_error() {
    let place = folder("permission");
    let file = place.path().join("x.tigerbeetle");
    std::fs::write(&file, b"x").unwrap();
    let script = "chmod 000 \"$1\"; exec \"$0\" inspect \"$1\"";
    let as_nobody = Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "true"]).status();
    let _ = std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000));
    let root = std::fs::File::open(&file).is_ok();
    if root && !as_nobody.is_ok_and(|status| status.success()) {
        println!("skipped: root may read everything, and setpriv is missing");
        return;
    }
    let program = env!("CARGO_BIN_EXE_amber");
    let output = if root {
        // The program must be where the other user can reach it.
        let copy = std::env::temp_dir().join(format!("amber-permission-{}", std::process::id()));
        std::fs::copy(program, &copy).unwrap();
        let there = std::env::temp_dir().join(format!("amber-permission-file-{}", std::process::id()));
        std::fs::write(&there, b"x").unwrap();
        std::fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", text(&copy), "inspect", text(&there)])
            .output()
            .unwrap();
        std::fs::remove_file(copy).unwrap();
        std::fs::remove_file(there).unwrap();
        output
    } else {
        Command::new("sh").args(["-c", script, program, text(&file)]).output().unwrap()
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.to_lowercase().contains("permission"), "{said}");
}
