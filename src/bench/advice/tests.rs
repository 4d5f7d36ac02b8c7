//! Advice from invented figures.

use super::{Advice, Wish};
use crate::bench::cost::Cost;
use crate::bench::sends::{Send, Shape};
use crate::bench::stages::{LevelCost, Stages};
use crate::units::MIB;

const SOURCE_BYTES: u64 = 1_000_000_000;

fn cost(bytes: u64, cpu_seconds: f64) -> Cost {
    Cost { bytes, cpu_seconds, seconds: cpu_seconds }
}

fn level(level: i32, cpu_seconds: f64, stored_bytes: u64) -> LevelCost {
    LevelCost { level, cost: cost(SOURCE_BYTES, cpu_seconds), stored_bytes }
}

/// Sealing costs 0.1 s a stored GB, digesting 0.5.
fn stages(levels: Vec<LevelCost>) -> Stages {
    let stored_bytes = levels[0].stored_bytes;
    Stages {
        source_bytes: SOURCE_BYTES,
        plain_bytes: SOURCE_BYTES,
        stored_bytes,
        read: Some(cost(SOURCE_BYTES, 0.05)),
        verify: Some(cost(SOURCE_BYTES, 0.05)),
        levels,
        seal: cost(stored_bytes, stored_bytes as f64 / 1e9 * 0.1),
        digest: cost(stored_bytes, stored_bytes as f64 / 1e9 * 0.5),
        ..Stages::default()
    }
}

fn send(part_mib: u64, in_flight: u32, seconds: f64) -> Send {
    let cost = Cost { bytes: 1_000_000_000, cpu_seconds: 0.4, seconds };
    Send { shape: Shape { part_bytes: part_mib * MIB, in_flight }, cost }
}

fn wish(rate_bytes_per_s: Option<u64>) -> Wish {
    Wish { rate_bytes_per_s, budget_percent: 5.0, cores: 16 }
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < expected * 1e-9, "{found} instead of {expected}");
}

#[test]
fn what_is_left_counts_against_a_fast_level() {
    // Level -5 compresses in half the time, but leaves so much more that sealing, digesting and
    // sending it costs more than was saved.
    let stages = stages(vec![level(1, 1.2, 300_000_000), level(-5, 0.9, 900_000_000), level(9, 9.0, 250_000_000)]);
    let sends = [send(8, 4, 1.0)];
    let advice = Advice::of(&stages, &sends, &wish(Some(100_000_000)));
    assert_eq!(advice.level, 1);
    // 0.1 for reading and checking, 1.2 for compressing, and 0.1 + 0.5 + 0.4 for each of the 0.3 GB
    // that are left.
    near(advice.cpu_seconds_per_byte, 1.6e-9);
    near(advice.stored_share, 0.3);
    // 0.16 of 16 cores.
    near(advice.cpu_percent.unwrap(), 1.0);
    near(advice.bytes_per_s_in_budget, 0.8 / 1.6e-9);
}

#[test]
fn of_levels_that_cost_alike_the_one_that_stores_least_is_taken() {
    let advice = Advice::of(&stages(vec![level(1, 1.00, 310_000_000), level(3, 1.05, 290_000_000)]), &[], &wish(None));
    assert_eq!((advice.level, advice.workers, advice.shape, advice.cpu_percent), (3, 8, None, None));
}

#[test]
fn workers_keep_up_with_the_rate_and_never_exceed_the_cores() {
    let stages = stages(vec![level(1, 1.4, 500_000_000)]);
    // 1.4 + 0.1 * 0.5 s a GB, at 70 % of a core each.
    for (rate, workers) in [(1_000_000, 1), (1_000_000_000, 3), (100_000_000_000, 16)] {
        assert_eq!(Advice::of(&stages, &[], &wish(Some(rate))).workers, workers, "{rate}");
    }
}

#[test]
fn of_shapes_that_are_as_fast_the_smallest_is_taken() {
    let sends = [send(8, 1, 2.0), send(8, 4, 1.05), send(16, 4, 1.0), send(32, 8, 0.99), send(16, 2, 1.06)];
    let advice = Advice::of(&stages(vec![level(1, 1.0, 500_000_000)]), &sends, &wish(None));
    assert_eq!(advice.shape, Some(Shape { part_bytes: 16 * MIB, in_flight: 2 }));
}
