//! What the tests with real servers share: the tools that `tools/setup` fetched, folders on disk,
//! TigerBeetle clusters, an S3 server.
//!
//! Everything that is started or created here is gone when its value is dropped, also when a test
//! panics. [`amber::demo::process`] describes how a server ends when the test program itself is
//! killed.
// Clippy's exemption for tests covers only functions marked as tests, not their helpers. Not every
// helper is in use at all times.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

pub mod agent;
pub mod books;
pub mod cluster;
pub mod fault_proxy;
pub mod old_tls;
pub mod program;
pub mod seaweed;
pub mod sparse;
pub mod tunnel;
mod turn;

use amber::demo::Binary;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub use turn::{turn, turn_for};

/// A tool that `tools/setup` put under `.tools/bin`.
pub fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin").join(name);
    assert!(path.is_file(), "{} is missing: run tools/setup", path.display());
    path
}

/// The executable of the TigerBeetle server: the one given with `tools/test --tigerbeetle`, or the
/// one that `tools/setup` built.
pub fn tigerbeetle_path() -> PathBuf {
    std::env::var_os("AMBER_TEST_TIGERBEETLE").map_or_else(|| tool("tigerbeetle"), PathBuf::from)
}

/// The TigerBeetle server.
pub fn tigerbeetle() -> Binary {
    Binary::new(tigerbeetle_path()).unwrap()
}

/// A new folder on disk (not in memory, as /tmp may be), under the target folder.
pub fn folder(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub struct Seeded(pub u64);

impl Seeded {
    /// The next one, below `below`.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}
