//! How much CPU time bulk work may take, so that any ten seconds of the process stay within a
//! budget: a state machine without a clock of its own.
//!
//! Flow: [`CpuBudget::observe`] receives what the process and its bulk threads have used so far. It
//! keeps a sample every 100 ms for a minute, and learns what a byte of bulk work costs.
//! [`CpuBudget::admit_bulk`] lets work begin, or returns how long to wait. The log is never asked
//! to wait: bulk work gets what the log leaves.
//!
//! Bulk work is admitted when it satisfies three conditions, together with what is admitted already
//! and not yet done:
//! - the last ten seconds as they were measured, the log included, stay within 95 % of the budget;
//! - beside the most that the log took in any ten seconds of the last minute, and beside ten
//!   seconds of what it took in the last two, bulk work stays within 95 %;
//! - the last second's bulk work stays within a tenth of that. So it is spread evenly, and when the
//!   log begins to run, what it takes slides in as fast as bulk work slides out.

use std::collections::VecDeque;

/// The seconds in which the budget is kept.
pub const WINDOW_S: f64 = 10.0;
/// How long the log's demand is remembered.
const MEMORY_S: f64 = 60.0;
/// Time between two samples.
const SAMPLE_S: f64 = 0.1;
/// The seconds over which bulk work is spread.
const SPREAD_S: f64 = 1.0;
/// The log is expected to continue as it did in this many seconds.
const TREND_S: f64 = 2.0;
/// Work that was admitted this long ago is done.
const UNDONE_S: f64 = 2.0;
/// Bulk work is planned for this share of the budget. The rest is for the log's first moments and
/// for what is not foreseen.
const PLANNED: f64 = 0.95;
/// What a byte of bulk work is taken to cost before anything is known: 64 CPU seconds a GiB, more
/// than the highest level takes.
const COST_UNKNOWN_S_PER_BYTE: f64 = 64.0 / (1 << 30) as f64;
/// This many bytes must have been admitted in a window before their cost is trusted.
const LEARNED_FROM_BYTES: f64 = (1 << 20) as f64;
/// When the cost turns out lower, the estimate moves by a fifth with each sample.
const FORGETS: f64 = 0.8;
/// The shortest and the longest pause that is advised.
const WAIT_MIN_S: f64 = 0.01;
const WAIT_MAX_S: f64 = 0.25;

/// All figures count from the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sample {
    at_s: f64,
    /// CPU time of the process.
    cpu_s: f64,
    /// Of that, what bulk threads used.
    bulk_s: f64,
    /// Plain bytes of bulk work that was admitted.
    bulk_bytes: f64,
    /// CPU time in the window before that was not bulk work.
    log_window_s: f64,
}

/// The CPU time of a process against its budget.
#[derive(Debug)]
pub struct CpuBudget {
    /// CPU seconds that a window may use.
    allowed_s: f64,
    samples: VecDeque<Sample>,
    now: Sample,
    cost_s_per_byte: f64,
    log_peak_s: f64,
}

/// CPU time of the windows, in CPU seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuUse {
    /// What a window may use.
    pub allowed_s: f64,
    /// What the window that ends now used.
    pub window_s: f64,
    /// The most that what is not bulk work took in a window of the last minute.
    pub log_peak_s: f64,
    /// What bulk work used in the last minute.
    pub bulk_minute_s: f64,
    /// Plain bytes of bulk work that was admitted in the last minute.
    pub bulk_minute_bytes: f64,
}

impl CpuBudget {
    /// A budget of this many CPU seconds in any window. `cpu_s` is what the process has used
    /// before.
    pub fn new(allowed_s: f64, at_s: f64, cpu_s: f64, bulk_s: f64) -> CpuBudget {
        let now = Sample { at_s, cpu_s, bulk_s, ..Sample::default() };
        CpuBudget { allowed_s, samples: VecDeque::from([now]), now, cost_s_per_byte: COST_UNKNOWN_S_PER_BYTE, log_peak_s: 0.0 }
    }

    /// Takes what the process and its bulk threads have used so far. A time that goes back counts
    /// as standing still.
    pub fn observe(&mut self, at_s: f64, cpu_s: f64, bulk_s: f64) {
        let now = &mut self.now;
        (now.at_s, now.cpu_s, now.bulk_s) = (now.at_s.max(at_s), now.cpu_s.max(cpu_s), now.bulk_s.max(bulk_s));
        if self.samples.back().is_some_and(|last| self.now.at_s - last.at_s < SAMPLE_S) {
            return;
        }
        let then = self.at(WINDOW_S);
        self.now.log_window_s = ((self.now.cpu_s - then.cpu_s) - (self.now.bulk_s - then.bulk_s)).max(0.0);
        self.learn_rate();
        self.samples.push_back(self.now);
        let oldest_s = self.now.at_s - MEMORY_S - WINDOW_S;
        while self.samples.get(1).is_some_and(|second| second.at_s <= oldest_s) {
            self.samples.pop_front();
        }
        let remembered = self.samples.iter().rev().take_while(|sample| sample.at_s >= self.now.at_s - MEMORY_S);
        self.log_peak_s = remembered.map(|sample| sample.log_window_s).fold(0.0, f64::max);
    }

    /// Lets bulk work of this many plain bytes begin, or returns in how many seconds to ask again.
    pub fn admit_bulk(&mut self, bytes: u64) -> Result<(), f64> {
        let (window, spread) = (self.at(WINDOW_S), self.at(SPREAD_S));
        let (cost_s, undone_s) = (bytes as f64 * self.cost_s_per_byte, self.undone_s());
        let (planned_s, log_s) = (PLANNED * self.allowed_s, self.log_peak_s.max(self.log_trend_s()));
        let measured_s = (self.now.cpu_s - window.cpu_s).max(self.now.bulk_s - window.bulk_s + log_s);
        let spread_s = (planned_s - log_s).max(0.0) * SPREAD_S / WINDOW_S;
        let begun_s = (self.now.bulk_s - spread.bulk_s).max((self.now.bulk_bytes - spread.bulk_bytes) * self.cost_s_per_byte);
        // A piece that is larger than the share of its time passes when no other work is under way.
        let short_s =
            (measured_s + undone_s + cost_s.min(planned_s / 4.0) - planned_s).max(begun_s + cost_s.min(spread_s / 2.0) - spread_s);
        if short_s <= 0.0 && spread_s > 0.0 {
            self.now.bulk_bytes += bytes as f64;
            return Ok(());
        }
        let share = (self.allowed_s / WINDOW_S).max(f64::MIN_POSITIVE);
        Err((short_s / share).clamp(WAIT_MIN_S, WAIT_MAX_S))
    }

    /// The current use.
    pub fn usage(&self) -> CpuUse {
        let (window, minute) = (self.at(WINDOW_S), self.at(MEMORY_S));
        CpuUse {
            allowed_s: self.allowed_s,
            window_s: self.now.cpu_s - window.cpu_s,
            log_peak_s: self.log_peak_s,
            bulk_minute_s: self.now.bulk_s - minute.bulk_s,
            bulk_minute_bytes: self.now.bulk_bytes - minute.bulk_bytes,
        }
    }

    /// What the log takes in a window if it continues as it did just now.
    fn log_trend_s(&self) -> f64 {
        let then = self.at(TREND_S);
        let log_s = (self.now.cpu_s - then.cpu_s) - (self.now.bulk_s - then.bulk_s);
        log_s.max(0.0) * WINDOW_S / (self.now.at_s - then.at_s).max(TREND_S / 4.0)
    }

    /// CPU time of work that was admitted a moment ago and has not been used yet.
    fn undone_s(&self) -> f64 {
        let then = self.at(UNDONE_S);
        ((self.now.bulk_bytes - then.bulk_bytes) * self.cost_s_per_byte - (self.now.bulk_s - then.bulk_s)).max(0.0)
    }

    /// Learns what a byte costs: what bulk threads used in the window, divided by what was admitted
    /// in it. A higher cost is trusted at once.
    fn learn_rate(&mut self) {
        let (then, done) = (self.at(WINDOW_S), self.at(3.0 * SAMPLE_S));
        let (bytes, used_s) = (done.bulk_bytes - then.bulk_bytes, self.now.bulk_s - then.bulk_s);
        if bytes >= LEARNED_FROM_BYTES {
            self.cost_s_per_byte = (used_s / bytes).max(self.cost_s_per_byte * FORGETS);
        }
    }

    /// The newest sample that is at least this old, or the oldest: a window is never taken too
    /// short.
    fn at(&self, age_s: f64) -> Sample {
        let behind = self.samples.partition_point(|sample| sample.at_s <= self.now.at_s - age_s);
        self.samples.get(behind.saturating_sub(1)).copied().unwrap_or(self.now)
    }
}
