//! Golden files: a repository of every format version stays in fixtures/ and must always restore.

use crate::support::folder;
use crate::support::program::text;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use std::process::Command;

fn amber(repository: &Path, arguments: &[&str]) -> Value {
    let key = repository.parent().unwrap().join("key");
    let output = Command::new(env!("CARGO_BIN_EXE_amber"))
        .args(arguments)
        .args(["--json", "--repo", text(repository), "--key-file", text(&key)])
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

fn restores(version: &str) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(version);
    let repository = fixture.join("repository");
    let verified = amber(&repository, &["verify", "--full", "--no-record"]);
    assert_eq!((&verified["ok"], &verified["backups"]), (&Value::Bool(true), &Value::from(1)));
    let place = folder("golden");
    let image = place.path().join("0.tigerbeetle");
    let restored = amber(&repository, &["restore", "tigerbeetle", "--output", text(&image)]);
    let expected: Value = serde_json::from_slice(&std::fs::read(fixture.join("expected.json")).unwrap()).unwrap();
    assert_eq!(restored["op"], expected["op"]);
    assert_eq!(restored["blocks"], expected["blocks"]);
    let hexadecimal: String = sha256(&image).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(Value::from(hexadecimal), expected["image_sha256"]);
}
