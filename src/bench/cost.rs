//! What some work took: bytes, CPU time of this process, time on the clock.

use crate::monitor::usage::cpu_seconds;
use crate::units::GIB;
use std::time::Instant;

/// The sum of what a kind of work took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Bytes that went in.
    pub bytes: u64,
    /// CPU seconds of all threads of this process.
    pub cpu_seconds: f64,
    /// Seconds on the clock.
    pub seconds: f64,
}

impl Cost {
    /// Runs `work` on `bytes` bytes and adds what it took.
    pub fn of<T>(&mut self, bytes: u64, work: impl FnOnce() -> T) -> T {
        let (began, cpu_before) = (Instant::now(), cpu_seconds());
        let result = work();
        self.cpu_seconds += cpu_seconds() - cpu_before;
        self.seconds += began.elapsed().as_secs_f64();
        self.bytes += bytes;
        result
    }

    /// CPU seconds per GiB that goes in.
    pub fn cpu_seconds_per_gib(&self) -> f64 {
        self.cpu_seconds_per_byte() * GIB as f64
    }

    /// CPU seconds per byte that goes in; 0 if nothing was measured.
    pub fn cpu_seconds_per_byte(&self) -> f64 {
        if self.bytes == 0 { 0.0 } else { self.cpu_seconds / self.bytes as f64 }
    }

    /// Bytes that one core processes in a second, in GB (10^9).
    pub fn gb_per_core_second(&self) -> f64 {
        self.bytes as f64 / self.cpu_seconds.max(1e-9) / 1e9
    }

    /// Bytes per second on the clock.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-9)
    }
}
