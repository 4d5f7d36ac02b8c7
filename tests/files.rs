//! Plain files, with a real S3 server: backup and restore, a kill in the middle of an upload, delta
//! restores.
//!
//! `AMBER_TEST_UPLOAD_MIB` is the size of the file whose upload is killed; 2048 is the long form.

use crate::support::program::{Program, number, text};
use crate::support::seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed};
use crate::support::sparse::assert_same;
use crate::support::{Seeded, folder, turn};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;
/// Enough for a few parts before the kill and a few after it.
const UPLOAD_MIB: u64 = 160;

/// A file of bytes that do not compress.
fn write_noise(path: &Path, length_mib: u64) {
    let mut seeded = Seeded(length_mib);
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for _ in 0..length_mib * MIB / 8 {
        file.write_all(&seeded.next(u64::MAX).to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn program(server: &Seaweed) -> Program {
    Program::in_s3(&format!("s3://{BUCKET}/files"), &server.endpoint(), ACCESS_KEY, SECRET_KEY)
}

/// The number of parts that the journals below the state directory note.
fn noted_parts(state: &Path) -> usize {
    let journals = std::fs::read_dir(state).into_iter().flatten().flatten();
    let text = journals.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect::<String>();
    text.lines().filter(|line| line.contains("\"part\"")).count()
}

#[test]
fn an_upload_that_was_killed_sends_only_what_was_missing() {
    let _turn = turn();
    let upload_mib = std::env::var("AMBER_TEST_UPLOAD_MIB").map_or(UPLOAD_MIB, |size| size.parse().unwrap());
    let (server, place) = (Seaweed::start(), folder("files"));
    let program = program(&server);
    program.init();
    let (source, state, output) = (place.path().join("source"), place.path().join("state"), place.path().join("output"));
    write_noise(&source, upload_mib);
    let arguments = ["backup", "file", text(&source), "--name", "large", "--state-dir", text(&state)];
    let mut child = program.command(&arguments).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let wanted = (upload_mib / 8 / 3) as usize;
    while noted_parts(&state) < wanted {
        assert!(began.elapsed() < Duration::from_secs(300) && child.try_wait().unwrap().is_none(), "too fast or too slow to be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let noted = noted_parts(&state) as u64;
    let listed = program.ok(&["uploads", "--older-than", "0s"]);
    assert_eq!(listed["uploads"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(program.ok(&["list"])["files"].as_array().unwrap().len(), 0);

    let backup = program.ok(&arguments);
    println!("{upload_mib} MiB, killed with {noted} parts noted: {backup}");
    // Frames do not end where parts do. All frames of the noted parts are held except those at the
    // edges of parts; the frames that are sent again belong to a part that was missing.
    assert!(number(&backup, "bytes_held") >= (noted - 1) * 8 * MIB - noted * MIB, "{backup}");
    assert!(number(&backup, "peak_memory_bytes") <= 256 * MIB, "{backup}");
    assert_eq!(program.ok(&["uploads", "--older-than", "0s"])["uploads"].as_array().unwrap().len(), 0);
    assert_eq!(number(&program.ok(&["verify", "--full"]), "files_whole"), 1);
    program.ok(&["restore", "file", "large", "--output", text(&output)]);
    assert_same(&source, &output);
}

#[test]
fn a_file_comes_back_with_its_holes_and_a_delta_fetches_little() {
    let _turn = turn();
    let (server, place) = (Seaweed::start(), folder("files"));
    let program = program(&server);
    program.init();
    let (source, output) = (place.path().join("source"), place.path().join("output"));
    write_noise(&source, 64);
    let file = std::fs::OpenOptions::new().write(true).open(&source).unwrap();
    file.set_len(1000 * MIB + 77).unwrap();
    file.write_all_at(b"the end", 1000 * MIB + 70).unwrap();
    let state = place.path().join("state");
    let back_up = || program.ok(&["backup", "file", text(&source), "--name", "sparse", "--state-dir", text(&state)]);
    back_up();
    let restored = program.ok(&["restore", "file", "sparse", "--output", text(&output)]);
    assert_same(&source, &output);
    assert!(number(&restored, "bytes_fetched") <= 66 * MIB, "{restored}");
    let on_disk = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&output).unwrap()) * 512;
    assert!(on_disk <= 66 * MIB, "{on_disk} bytes on the disk");
    assert!(program.fails(2, &["restore", "file", "sparse", "--output", text(&output)]).contains("--overwrite"));

    // One frame changes: little more than that frame is fetched, also when restoring onto the older
    // file.
    file.write_all_at(&[7; 100], 30 * MIB + 5).unwrap();
    let second = back_up();
    let delta = program.ok(&["restore", "file", "sparse", "--output", text(&output), "--overwrite", "--base", text(&output)]);
    assert_same(&source, &output);
    assert!(number(&delta, "bytes_fetched") <= MIB * 12 / 10, "{delta}");
    let runs: Vec<String> =
        program.ok(&["list"])["files"].as_array().unwrap().iter().map(|file| file["run"].as_str().unwrap().to_owned()).collect();
    assert_eq!(runs.len(), 2);
    assert!(second["name"].as_str().unwrap().ends_with(&runs[1]));
    let first = place.path().join("first");
    let trusting = program.ok(&["restore", "file", "sparse", "--output", text(&first), "--run", &runs[0], "--no-read-back"]);
    assert_eq!((&trusting["read_back"], &restored["read_back"]), (&Value::Bool(false), &Value::Bool(true)));
    file.write_all_at(
        &{
            let mut before = vec![0; 100];
            std::fs::File::open(&first).unwrap().read_exact_at(&mut before, 30 * MIB + 5).unwrap();
            before
        },
        30 * MIB + 5,
    )
    .unwrap();
    assert_same(&source, &first);
    assert!(program.fails(2, &["restore", "file", "other", "--output", text(&place.path().join("x"))]).contains("amber list"));
}
