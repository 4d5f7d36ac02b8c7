//! Each stage alone, over 16 MiB of synthetic transfers.

use amber::pipeline::compress::{Encoding, Packed, compress, expand};
use amber::pipeline::digest::digest_of;
use amber::pipeline::seal::SealingKey;
use amber::tb_format::checksum::checksum;
use amber::tb_format::table::record_bytes_of;
use criterion::{BatchSize, Criterion, Throughput};
use std::hint::black_box;
use zeroize::Zeroizing;

const BYTES: u64 = 16 << 20;

/// Verify, compress at several levels, expand, seal, open, digest.
pub fn stages(criterion: &mut Criterion) {
    let blocks = super::blocks(BYTES).unwrap_or_default();
    let mut group = criterion.benchmark_group("stage");
    group.throughput(Throughput::Bytes(BYTES));
    group.bench_function("verify", |bench| bench.iter(|| blocks.iter().fold(0, |sum, block| sum ^ checksum(block).0)));
    for level in [-5, 1, 3] {
        let mut out = Vec::with_capacity(1 << 20);
        group.bench_function(format!("compress {level}"), |bench| {
            bench.iter(|| {
                for block in &blocks {
                    out.clear();
                    let _ = black_box(compress(block, &Encoding { level, record_bytes: None }, &mut out));
                }
            });
        });
    }
    let mut out = Vec::with_capacity(1 << 20);
    group.bench_function("compress 1, in columns", |bench| {
        bench.iter(|| {
            for block in &blocks {
                out.clear();
                let _ = black_box(compress(block, &Encoding { level: 1, record_bytes: record_bytes_of(block) }, &mut out));
            }
        });
    });
    let packed: Vec<_> = blocks
        .iter()
        .filter_map(|block| {
            let mut out = Vec::new();
            let encoding = Encoding { level: 1, record_bytes: record_bytes_of(block) };
            compress(block, &encoding, &mut out).ok().map(|packed| (packed, out, block.len()))
        })
        .collect();
    group.bench_function("expand", |bench| {
        let each = |(packed, stored, length): &(Packed, Vec<u8>, usize)| {
            drop(black_box(expand(stored, packed.codec, packed.record_bytes, *length)))
        };
        bench.iter(|| packed.iter().for_each(each))
    });
    group.bench_function("digest", |bench| bench.iter(|| blocks.iter().fold(0, |sum, block| sum ^ digest_of(block)[0])));
    if let Some(key) = SealingKey::new(&Zeroizing::new([7; 32])) {
        let sealed_of = |mut block: Vec<u8>| {
            let _ = key.seal(1, false, &mut block, 0);
            block
        };
        let sealed: Vec<Vec<u8>> = blocks.iter().cloned().map(sealed_of).collect();
        group.bench_function("seal", |bench| {
            bench.iter_batched(|| blocks.clone(), |blocks| blocks.into_iter().map(sealed_of).collect::<Vec<_>>(), BatchSize::PerIteration);
        });
        group.bench_function("open", |bench| {
            let open = |mut sealed: Vec<Vec<u8>>| {
                sealed.iter_mut().for_each(|frame| {
                    let _ = black_box(key.open(1, false, frame));
                });
                sealed
            };
            bench.iter_batched(|| sealed.clone(), open, BatchSize::PerIteration);
        });
    }
    group.finish();
}
