//! The cost of each module: stages, the joined pipeline, log segments, the walk of a checkpoint, a
//! restore. `cargo bench`, or `cargo bench -- seal`.
//!
//! All of it runs on synthetic bytes, into memory; `amber bench` measures the same stages on a
//! user's own file and store.

mod ledger;
mod pipeline;
mod repository;
mod restore;

use amber::bench::cost::Cost;
use amber::bench::data::Data;
use amber::disk::file::ReadOptions;
use criterion::{Criterion, criterion_group, criterion_main};
use std::error::Error;
use std::time::Duration;

/// Blocks of synthetic transfers.
fn blocks(bytes: u64) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut data = Data::open(None, bytes, ReadOptions::default())?;
    let mut blocks = Vec::new();
    loop {
        let window = data.next_window(&mut Cost::default())?;
        if window.is_empty() {
            return Ok(blocks);
        }
        blocks.extend(window.iter().map(|piece| piece.as_ref().to_vec()));
    }
}

/// Few samples: a stage takes milliseconds for complete blocks, and its spread is small.
fn few() -> Criterion {
    Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = rooms;
    config = few();
    targets = pipeline::stages, repository::pipeline, repository::segments, ledger::walk, restore::image
}
criterion_main!(rooms);
