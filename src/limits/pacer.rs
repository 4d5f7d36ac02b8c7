//! All limits of a process together: CPU time, bytes uploaded, bytes read. A state machine;
//! [`super::governor`] provides the clock and does the waiting.
//!
//! Flow: every piece of work asks [`Pacer::admit`] before it begins. The log passes at once and is
//! counted; bulk work passes or learns how long to wait, and for which limit. Once a second the
//! totals are stored and kept for a minute. From them [`Pacer::forecast`] forecasts whether the
//! limits can hold what is promised.

use super::bucket::Bucket;
use super::budget::CpuBudget;
use super::forecast::{Figures, Forecast, Goal};
use crate::limits::limit::Limit;
use crate::limits::limit::Limits;
use std::collections::VecDeque;

/// The purpose of work. The log goes first: it is the recovery point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// The log: never waits.
    Log,
    /// Checkpoints, merging, verification: what the log leaves.
    Bulk,
}

/// What the clocks say, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Clocks {
    /// Since the start.
    pub at_s: f64,
    /// CPU time of the process.
    pub cpu_s: f64,
    /// CPU time of its bulk threads.
    pub bulk_s: f64,
}

/// Seconds for which totals are remembered, and between two of them.
const MEMORY_S: f64 = 60.0;
const STEP_S: f64 = 1.0;

/// Counted since the start.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    clocks: Clocks,
    /// By [`Limit`]; none for CPU time.
    log_bytes: [f64; 3],
    bulk_bytes: [f64; 3],
    waited_s: [f64; 3],
}

/// The limits and what has passed them.
#[derive(Debug)]
pub struct Pacer {
    cores: f64,
    limits: Limits,
    cpu: Option<CpuBudget>,
    upload: Option<Bucket>,
    read: Option<Bucket>,
    now: Totals,
    minute: VecDeque<Totals>,
    goal: Option<(Goal, Totals)>,
}

impl Pacer {
    /// Limits for a machine with this many cores, starting now.
    pub fn new(limits: Limits, cores: f64, clocks: Clocks) -> Pacer {
        let allowed_s = |percent: u32| f64::from(percent) / 100.0 * cores * super::budget::WINDOW_S;
        let cpu = limits.cpu_budget_percent.map(|percent| CpuBudget::new(allowed_s(percent), clocks.at_s, clocks.cpu_s, clocks.bulk_s));
        let bucket = |rate: Option<u64>| rate.map(|bytes_per_s| Bucket::new(bytes_per_s, clocks.at_s));
        let (upload, read) = (bucket(limits.upload_bytes_per_s), bucket(limits.read_bytes_per_s));
        let now = Totals { clocks, ..Totals::default() };
        Pacer { cores, limits, cpu, upload, read, now, minute: VecDeque::from([now]), goal: None }
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.limits != Limits::default()
    }

    fn bucket(&mut self, limit: Limit) -> Option<&mut Bucket> {
        match limit {
            Limit::Cpu => None,
            Limit::Upload => self.upload.as_mut(),
            Limit::Read => self.read.as_mut(),
        }
    }

    /// Takes the current clocks.
    pub fn observe(&mut self, clocks: Clocks) {
        self.now.clocks = clocks;
        if let Some(cpu) = &mut self.cpu {
            cpu.observe(clocks.at_s, clocks.cpu_s, clocks.bulk_s);
        }
        if self.minute.back().is_none_or(|last| clocks.at_s - last.clocks.at_s >= STEP_S) {
            self.minute.push_back(self.now);
            let oldest_s = clocks.at_s - MEMORY_S;
            while self.minute.get(1).is_some_and(|second| second.clocks.at_s <= oldest_s) {
                self.minute.pop_front();
            }
        }
    }

    /// Lets work begin that is subject to this limit, or returns in how many seconds to ask again.
    /// Only bulk work ever has to wait.
    pub fn admit(&mut self, clocks: Clocks, priority: Priority, limit: Limit, bytes: u64) -> Result<(), f64> {
        self.observe(clocks);
        let is_log = priority == Priority::Log;
        if !is_log {
            if limit == Limit::Cpu
                && let Some(cpu) = &mut self.cpu
            {
                cpu.admit_bulk(bytes)?;
            }
            if let Some(bucket) = self.bucket(limit) {
                bucket.ready(clocks.at_s, bytes)?;
            }
        }
        if let Some(bucket) = self.bucket(limit) {
            bucket.take(clocks.at_s, bytes, is_log);
        }
        let counted = if is_log { &mut self.now.log_bytes } else { &mut self.now.bulk_bytes };
        counted[limit as usize] += bytes as f64;
        Ok(())
    }

    /// Notes that bulk work has waited for a limit.
    pub fn waited(&mut self, limit: Limit, seconds: f64) {
        self.now.waited_s[limit as usize] += seconds;
    }

    /// Bulk work with a deadline begins or continues: how far it is. `due_s` counts from now.
    pub fn goal(&mut self, done_bytes: u64, total_bytes: Option<u64>, due_s: f64) {
        let began = self.goal.map_or(self.now, |(_, began)| began);
        let goal = Goal {
            done_bytes: done_bytes as f64,
            total_bytes: total_bytes.map(|bytes| bytes as f64),
            due_at_s: self.now.clocks.at_s + due_s,
        };
        self.goal = Some((goal, began));
    }

    /// The bulk work with a deadline is over.
    pub fn no_goal(&mut self) {
        self.goal = None;
    }

    /// The current use, and what will not fit.
    pub fn forecast(&mut self, clocks: Clocks) -> Forecast {
        self.observe(clocks);
        let then = self.minute.front().copied().unwrap_or(self.now);
        let cpu = self.cpu.as_ref().map(CpuBudget::usage).unwrap_or_default();
        let machine_s = self.cores * super::budget::WINDOW_S;
        let waited_s = self.now.waited_s;
        let figures = Figures {
            limits: self.limits,
            cores: self.cores,
            window_percent: 100.0 * cpu.window_s / machine_s,
            waited_s: waited_s.iter().sum(),
            minute: self.span(&then),
            goal: self.goal.map(|(goal, began)| (goal, self.span(&began))),
            at_s: clocks.at_s,
        };
        Forecast::of(&figures)
    }

    fn span(&self, then: &Totals) -> super::forecast::Span {
        let less = |now: [f64; 3], then: [f64; 3]| [now[0] - then[0], now[1] - then[1], now[2] - then[2]];
        let (now, before) = (self.now.clocks, then.clocks);
        super::forecast::Span {
            seconds: now.at_s - before.at_s,
            log_cpu_s: (now.cpu_s - before.cpu_s - (now.bulk_s - before.bulk_s)).max(0.0),
            bulk_cpu_s: now.bulk_s - before.bulk_s,
            log_bytes: less(self.now.log_bytes, then.log_bytes),
            bulk_bytes: less(self.now.bulk_bytes, then.bulk_bytes),
            waited_s: less(self.now.waited_s, then.waited_s),
        }
    }
}

#[cfg(test)]
mod tests;
