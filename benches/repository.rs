//! The object writer with its workers, into memory, and log segments encoded and decoded.

use amber::repository::frame::ObjectKind;
use amber::repository::name::RunId;
use amber::repository::object_writer::ObjectWriter;
use amber::repository::sample::{create, store_log};
use amber::store::memory::MemoryStore;
use amber::tb_format::sample::{log_after, root_header};
use amber::tb_format::wal::Prepare;
use amber::tier::tigerbeetle::format::segment::{SegmentBuilder, SegmentReader};
use criterion::{BatchSize, Criterion, Throughput};
use std::hint::black_box;
use std::sync::Arc;

const BYTES: u64 = 32 << 20;
const OPS: u64 = 4000;

/// Compress, seal, digest and put, joined. The store in memory compares the digest, which is a
/// second SHA-256.
pub fn pipeline(criterion: &mut Criterion) {
    let (store, blocks) = (MemoryStore::new(), super::blocks(BYTES).unwrap_or_default());
    let Ok(repository) = create(&store) else { return };
    let mut group = criterion.benchmark_group("joined");
    group.throughput(Throughput::Bytes(BYTES));
    group.bench_function("object writer", |bench| {
        let write = |blocks: Vec<Vec<u8>>| -> amber::error::Result<()> {
            let mut writer = ObjectWriter::create(&repository, ObjectKind::Pack, "bench/object".to_owned())?;
            for block in blocks {
                writer.push(block)?;
            }
            writer.finish(Vec::new())?.wait()?;
            store.remove("bench/object");
            Ok(())
        };
        bench.iter_batched(|| blocks.clone(), |blocks| black_box(write(blocks)).is_ok(), BatchSize::PerIteration);
    });
    group.finish();
}

/// Segments of small prepares: encode (seal in memory) and decode (every prepare checked).
pub fn segments(criterion: &mut Criterion) {
    let store = MemoryStore::new();
    let Ok(repository) = create(&store) else { return };
    let log = log_after(&root_header(7), OPS);
    let bytes = log.iter().map(|prepare| prepare.len() as u64).sum();
    let mut group = criterion.benchmark_group("segment");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("encode", |bench| {
        bench.iter(|| {
            let mut builder = SegmentBuilder::default();
            log.iter().filter_map(|bytes| Prepare::check(bytes).ok()).for_each(|prepare| builder.push(&prepare));
            black_box(builder.seal(&repository, 1, RunId(1)).is_ok())
        });
    });
    let Ok(name) = store_log(&repository, 1, 1, &log) else { return };
    group.bench_function("decode", |bench| {
        bench.iter(|| {
            let mut ops = 0_u64;
            let read = SegmentReader::open_listed(&Arc::clone(&repository), &name, None).and_then(|segment| {
                segment.prepares(1, OPS, &mut |prepare| {
                    ops += u64::from(prepare.header().op() > 0);
                    Ok(())
                })
            });
            assert!(read.is_ok() && ops == OPS);
        });
    });
    group.finish();
}
