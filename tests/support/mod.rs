//! What the tests with real servers share: the tools that `tools/setup` fetched, folders on disk, TigerBeetle clusters, an S3 server.
//!
//! Everything started or made here is gone when its value is dropped, also when a test panics; see [`amber::demo::process`] for how a server
//! goes when the test program itself is killed.
// Clippy's exemption for tests covers only functions marked as tests, not their helpers; and not every helper is used at all times.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

pub mod agent;
pub mod cluster;
pub mod old_tls;
pub mod program;
pub mod seaweed;

use amber::demo::Binary;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// A tool that `tools/setup` put under `.tools/bin`.
pub fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin").join(name);
    assert!(path.is_file(), "{} is missing: run tools/setup", path.display());
    path
}

/// The TigerBeetle server.
pub fn tigerbeetle() -> Binary {
    Binary::new(tool("tigerbeetle")).unwrap()
}

/// A new folder on disk (not in memory, as /tmp may be), under the target folder.
pub fn folder(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Tests with TigerBeetle servers take turns: a server takes 2.2 GiB of memory, and two loads at once measure nothing.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed in its turn leaves nothing behind that the next one could trip over.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
