//! Golden files: a repository of every format version stays in fixtures/ and must always restore.

use crate::support::folder;
use crate::support::program::{files, text};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn amber(repository: &Path, arguments: &[&str]) -> Value {
    let key = repository.parent().unwrap().join("key");
    let output = Command::new(env!("CARGO_BIN_EXE_amber"))
        .args(arguments)
        .args(["--json", "--repo", text(repository), "--key-file", text(&key)])
        .env("XDG_CACHE_HOME", repository.parent().unwrap().join("cache"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {said} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap()
}

fn sha256(path: &Path) -> Vec<u8> {
    let mut file = std::fs::File::open(path).unwrap();
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let length = file.read(&mut buffer).unwrap();
        if length == 0 {
            return hasher.finalize().to_vec();
        }
        hasher.update(&buffer[..length]);
    }
}

#[test]
fn version_1_restores() {
    restores("version-1");
}

#[test]
fn version_2_restores() {
    restores("version-2");
}

/// A copy of the fixture, because a restore leaves its record in the repository.
fn copied(fixture: &Path) -> TempDir {
    let copy = folder("golden");
    for file in files(fixture) {
        let to = copy.path().join(file.strip_prefix(fixture).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, &to).unwrap();
    }
    copy
}

fn restores(version: &str) {
    let fixture = copied(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version));
    let repository = fixture.path().join("repository");
    let verified = amber(&repository, &["verify", "--full", "--no-record"]);
    assert_eq!((&verified["ok"], &verified["backups"]), (&Value::Bool(true), &Value::from(1)));
    let image = fixture.path().join("0.tigerbeetle");
    let restored = amber(&repository, &["restore", "tigerbeetle", "--output", text(&image)]);
    let expected: Value = serde_json::from_slice(&std::fs::read(fixture.path().join("expected.json")).unwrap()).unwrap();
    assert_eq!(restored["op"], expected["op"]);
    assert_eq!(restored["blocks"], expected["blocks"]);
    let hexadecimal: String = sha256(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(Value::from(hexadecimal), expected["image_sha256"]);
    // The restore is recorded there, in a repository of any version, and takes nothing from it.
    let runs = amber(&repository, &["history"])["runs"].clone();
    let types: Vec<&Value> = runs.as_array().unwrap().iter().map(|run| &run["type"]).collect();
    assert!(types.len() == 2 && types.contains(&&Value::from("restore")), "{runs}");
    assert_eq!(amber(&repository, &["verify", "--full", "--no-record"])["ok"], Value::Bool(true));
}
