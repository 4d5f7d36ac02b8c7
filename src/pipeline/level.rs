//! Compression levels.

/// Ledger blocks get 3.7 to 4.5 times smaller at 0.66 to 0.78 CPU-s per GiB. Level -1 takes 12 %
/// less CPU, sending included, for 2 % more stored, but 20 % more where there are no records; level
/// 3 takes 22 % more CPU for 2 to 5 % less (perf/results/codec.md).
pub const LEVEL_DEFAULT: i32 = 1;
