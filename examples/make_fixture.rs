//! Writes the golden files of the current format version: a synthetic data file, backed up with the
//! real code.
//!
//! `cargo run --release --example make_fixture --features samples -- fixtures/version-N` was run
//! once for each version N, when the version was fixed. The files are never written again:
//! `tests/golden.rs` restores them in every later release. A new version gets a new folder.

use amber::disk::file::ReadOptions;
use amber::progress::Silent;
use amber::repository::key::Secret;
use amber::repository::{Options, Repository};
use amber::store::Store;
use amber::store::folder::FolderStore;
use amber::tb_format::sample::SampleFile;
use amber::tier::tigerbeetle::capture;
use std::error::Error;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The cluster of the sample.
const CLUSTER: u128 = 7;
/// Ops after the checkpoint: so few that the log before it is stored too.
const LOG_OPS: u64 = 20;
/// The key file of the fixture; no secret.
const KEY: [u8; 32] = *b"golden files need a key as well.";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder to write")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("key"), KEY)?;
    let data_file = folder.join("data-file");
    let sample = SampleFile::new(CLUSTER, LOG_OPS);
    let file = std::fs::File::create(&data_file)?;
    for (offset, bytes) in sample.pieces() {
        file.write_all_at(&bytes, offset)?;
    }
    file.set_len(sample.checkpoint().storage_size())?;
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(&folder.join("repository"))?);
    let secret = Secret::KeyFile(Zeroizing::new(KEY.to_vec()));
    Repository::init(&store, &secret, 0)?;
    let repository = Repository::open(store, &secret, Options::default())?;
    let backup = capture::backup(&repository, &data_file, ReadOptions::default(), &Silent)?;
    println!("backed up to op {}; now restore it and write expected.json", backup.summary.recovered_to_op);
    std::fs::remove_file(&data_file)?;
    Ok(())
}
