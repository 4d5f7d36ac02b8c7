//! Small measurements on every kind of data.

use crate::bench::advice::Wish;
use crate::bench::data::Kind;
use crate::bench::{BenchRequest, Findings, run};
use crate::disk::file::ReadOptions;
use crate::error::Kind as ErrorKind;
use crate::progress::Silent;
use crate::store::memory::MemoryStore;
use crate::tb_format::layout::BLOCK_BYTES;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{LOG_OPS, folder, write_data_file};
use std::path::PathBuf;
use std::sync::Arc;

fn request(data: Option<PathBuf>) -> BenchRequest {
    BenchRequest {
        data,
        read: ReadOptions::default(),
        sample_bytes: 3 << 20,
        levels: vec![1, -5],
        workers: 1,
        scratch: None,
        store: None,
        stages_only: false,
        wish: Wish { rate_bytes_per_s: None, budget_percent: 5.0, cores: 2 },
    }
}

fn assert_whole(findings: &Findings, source_bytes: u64) {
    let stages = &findings.stages;
    assert_eq!(stages.source_bytes, source_bytes);
    for level in &stages.levels {
        assert_eq!(level.cost.bytes, stages.plain_bytes);
    }
    assert_eq!(
        (stages.digest.bytes, stages.open.bytes, stages.expand.bytes),
        (stages.stored_bytes, stages.stored_bytes, stages.plain_bytes)
    );
    assert!(stages.seal.bytes < stages.stored_bytes && stages.backup_per_source_byte() > 0.0 && stages.restore_per_source_byte() > 0.0);
    let joined = findings.joined.as_ref().unwrap();
    assert_eq!(joined.cost.bytes, source_bytes);
    assert!(joined.stored_bytes > stages.stored_bytes, "frames, header, index and trailer");
    assert!(findings.advice.cpu_seconds_per_byte > 0.0);
}

#[test]
fn made_transfers_compress_like_a_ledgers() {
    let findings = run(&request(None), &Silent).unwrap();
    assert_eq!(findings.kind, Kind::Made);
    assert_whole(&findings, 6 * (BLOCK_BYTES as u64));
    assert!(findings.stages.read.is_none() && findings.stages.verify.is_some() && findings.sends.is_empty());
    let share = findings.stages.stored_share();
    assert!((0.15..0.6).contains(&share), "{share}");
}

#[test]
fn a_data_file_is_measured_on_its_live_blocks() {
    let folder = tempfile::tempdir_in(folder()).unwrap();
    let path = folder.path().join("data");
    write_data_file(&SampleFile::new(7, LOG_OPS), &path).unwrap();
    let findings = run(&request(Some(path)), &Silent).unwrap();
    assert_eq!(findings.kind, Kind::Ledger);
    assert!(findings.stages.read.is_some() && findings.stages.verify.is_some());
    // Blocks of a sample are nearly empty, and only their bytes in use are stored.
    assert!(findings.stages.plain_bytes > 0 && findings.stages.plain_bytes < findings.stages.source_bytes);
}

#[test]
fn any_other_file_is_measured_without_checksums_and_its_end_is_not_missed() {
    let folder = tempfile::tempdir_in(folder()).unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, vec![7; BLOCK_BYTES * 2 + 1000]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let findings = run(&BenchRequest { scratch: Some(scratch.path().to_owned()), ..request(Some(path)) }, &Silent).unwrap();
    assert_eq!(findings.kind, Kind::File);
    assert_whole(&findings, BLOCK_BYTES as u64 * 2 + 1000);
    assert!(findings.stages.verify.is_none());
    assert_eq!(findings.stages.write.unwrap().bytes, findings.stages.plain_bytes);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn the_store_is_measured_and_left_empty() {
    let store = MemoryStore::new();
    let with_store = BenchRequest { store: Some(Arc::new(store.clone())), ..request(None) };
    let findings = run(&BenchRequest { stages_only: true, ..with_store.clone() }, &Silent).unwrap();
    assert_eq!(findings.sends.len(), 1);
    assert_eq!(findings.fetch.unwrap().cost.bytes, findings.sends[0].cost.bytes);
    assert!(findings.joined.is_none() && findings.notes.is_empty());
    assert_eq!(store.names(), [""; 0]);
}

#[test]
fn an_empty_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"").unwrap();
    let error = run(&request(Some(path)), &Silent).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Input, "{error}");
}
