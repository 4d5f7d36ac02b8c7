//! The settings for this machine, from the measurements. Arithmetic only.
//!
//! - **Level:** whatever compressing leaves must be sealed, digested and sent. So the best level is
//!   the one with the least CPU in all, not the fastest one. Of the levels within a tenth of the
//!   least, it is the one that stores least.
//! - **Part size and number at once:** of the shapes within a tenth of the fastest, the one that
//!   holds the fewest bytes in memory.
//! - **Workers:** as many as keep up with the rate; never more than there are cores.

use super::sends::{Send, Shape};
use super::stages::{LevelCost, Stages};

/// A result within this factor of the best counts as equally good.
const AS_GOOD: f64 = 1.1;
/// A worker is expected to use no more than this share of a core's time.
const BUSY_MAX: f64 = 0.7;

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wish {
    /// Source bytes that arrive per second, if known.
    pub rate_bytes_per_s: Option<u64>,
    /// Percent of the machine that may be used.
    pub budget_percent: f64,
    /// Cores of the machine.
    pub cores: usize,
}

/// What to set.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// zstd level.
    pub level: i32,
    /// Threads that compress and seal.
    pub workers: usize,
    /// Part size and parts in flight; none without a store.
    pub shape: Option<Shape>,
    /// CPU seconds per source byte at that level, including sending if that was measured.
    pub cpu_seconds_per_byte: f64,
    /// Stored bytes per source byte at that level.
    pub stored_share: f64,
    /// Percent of the machine at the user's rate, if that is known.
    pub cpu_percent: Option<f64>,
    /// Source bytes per second that fit into the budget.
    pub bytes_per_s_in_budget: f64,
}

impl Advice {
    /// The advice that follows from these figures.
    pub fn of(stages: &Stages, sends: &[Send], wish: &Wish) -> Advice {
        let shape = best_shape(sends);
        let send = sends.iter().find(|send| Some(send.shape) == shape).map_or(0.0, |send| send.cost.cpu_seconds_per_byte());
        let all_of = |level: &LevelCost| total_per_byte(stages, level, send);
        let least = stages.levels.iter().map(all_of).fold(f64::INFINITY, f64::min);
        let good = stages.levels.iter().filter(|level| all_of(level) <= least * AS_GOOD);
        let best = good.min_by_key(|level| level.stored_bytes).copied().unwrap_or_else(|| stages.compress());
        let cpu_seconds_per_byte = all_of(&best);
        let worker_per_byte = stages.per_source_byte(&best.cost) + stages.seal.cpu_seconds_per_byte() * share(stages, &best);
        let budget_cores = wish.budget_percent / 100.0 * wish.cores as f64;
        let rate = wish.rate_bytes_per_s.map(|rate| rate as f64);
        let workers = rate.map_or(wish.cores.min(8), |rate| (rate * worker_per_byte / BUSY_MAX).ceil() as usize);
        Advice {
            level: best.level,
            workers: workers.clamp(1, wish.cores.max(1)),
            shape,
            cpu_seconds_per_byte,
            stored_share: share(stages, &best),
            cpu_percent: rate.map(|rate| 100.0 * rate * cpu_seconds_per_byte / wish.cores.max(1) as f64),
            bytes_per_s_in_budget: budget_cores / cpu_seconds_per_byte.max(1e-15),
        }
    }
}

/// The stored bytes per source byte at a level.
fn share(stages: &Stages, level: &LevelCost) -> f64 {
    level.stored_bytes as f64 / stages.source_bytes.max(1) as f64
}

fn total_per_byte(stages: &Stages, level: &LevelCost, send_per_byte: f64) -> f64 {
    let once: f64 = [stages.read, stages.verify].iter().flatten().map(|cost| stages.per_source_byte(cost)).sum();
    let per_stored_byte = stages.seal.cpu_seconds_per_byte() + stages.digest.cpu_seconds_per_byte() + send_per_byte;
    once + stages.per_source_byte(&level.cost) + per_stored_byte * share(stages, level)
}

fn best_shape(sends: &[Send]) -> Option<Shape> {
    let fastest = sends.iter().map(|send| send.cost.bytes_per_second()).fold(0.0, f64::max);
    let good = sends.iter().filter(|send| send.cost.bytes_per_second() * AS_GOOD >= fastest);
    good.map(|send| send.shape).min_by_key(|shape| (shape.part_bytes * u64::from(shape.in_flight), shape.in_flight))
}

#[cfg(test)]
mod tests;
