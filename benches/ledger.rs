//! The walk of a checkpoint: superblock, manifest, every block read and checked. The file is in
//! memory where the system allows it, so that this measures CPU time.

use amber::disk::file::ReadOptions;
use amber::error::Result;
use amber::replica::checkpoint::{CheckpointSink, Walk};
use amber::replica::extent::{BlockSink, CheckedBlock};
use amber::tb_format::grid::BlockReference;
use amber::tb_format::superblock::SuperBlock;
use amber::tier::sample::folder;
use amber::tier::sample_large::{LargeFile, Shape};
use criterion::{Criterion, Throughput};

/// A file for benches: 8 tables of 15 value blocks, 64 MiB.
pub const SHAPE: Shape = Shape { tables: 8, values: 15, sparse: false };

#[derive(Default)]
struct Count(u64);

impl BlockSink for Count {
    fn holds(&mut self, _root: BlockReference) -> bool {
        false
    }

    fn begin_extent(&mut self, _root: BlockReference) -> Result<()> {
        Ok(())
    }

    fn block(&mut self, _reference: BlockReference, block: CheckedBlock) -> Result<()> {
        self.0 += block.as_ref().len() as u64;
        Ok(())
    }

    fn end_extent(&mut self) -> Result<()> {
        Ok(())
    }

    fn abandon_extent(&mut self) {}
}

impl CheckpointSink for Count {
    fn begin_round(&mut self, _superblock: &SuperBlock) -> Result<()> {
        Ok(())
    }

    fn expect_extents(&mut self, _extents: u64) {}
}

/// Walks the whole file.
pub fn walk(criterion: &mut Criterion) {
    let Ok(place) = tempfile::tempdir_in(folder()) else { return };
    let path = place.path().join("data");
    let Ok(large) = LargeFile::create(&path, SHAPE) else { return };
    let mut group = criterion.benchmark_group("checkpoint");
    group.throughput(Throughput::Bytes(large.table_bytes()));
    group.bench_function("walk", |bench| {
        bench.iter(|| {
            let mut count = Count::default();
            let walked = Walk::open(&path, ReadOptions::default()).and_then(|mut walk| walk.run(&mut count));
            assert!(walked.is_ok() && count.0 > 0);
        });
    });
    group.finish();
}
