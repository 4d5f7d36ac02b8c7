//! What this process has used: CPU time and memory, for the reports that every long command ends
//! with.

use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// CPU seconds of all threads of this process so far.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The peak of this process's resident memory, in bytes; 0 if the system does not say (`VmHWM` of
/// `/proc/self/status`).
pub fn peak_memory_bytes() -> u64 {
    status_bytes("VmHWM:")
}

/// The current resident memory of this process, in bytes; 0 if the system does not say (`VmRSS`).
pub fn memory_bytes() -> u64 {
    status_bytes("VmRSS:")
}

fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: Option<u64> = line.and_then(|value| value.trim().strip_suffix(" kB")).and_then(|value| value.parse().ok());
    kib.unwrap_or(0) * 1024
}

/// How busy this process keeps the machine from one measurement to the next.
#[derive(Debug)]
pub struct CpuShare {
    cores: usize,
    looked: Instant,
    cpu_seconds: f64,
}

impl Default for CpuShare {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        CpuShare { cores, looked: Instant::now(), cpu_seconds: cpu_seconds() }
    }
}

impl CpuShare {
    /// CPU time since the last measurement, in percent of the time of all cores that the process
    /// may use.
    pub fn percent(&mut self) -> f64 {
        let (now, used) = (Instant::now(), cpu_seconds());
        let available = now.duration_since(self.looked).as_secs_f64() * self.cores as f64;
        let percent = 100.0 * (used - self.cpu_seconds) / available.max(1e-6);
        (self.looked, self.cpu_seconds) = (now, used);
        percent.clamp(0.0, 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_grows_with_use() {
        let before = cpu_seconds();
        let mut sum = 0_u64;
        while cpu_seconds() <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(peak_memory_bytes() > 1024 * 1024);
    }

    #[test]
    fn a_share_counts_from_look_to_look() {
        let mut share = CpuShare::default();
        let (began, before) = (Instant::now(), cpu_seconds());
        while cpu_seconds() < before + 0.05 {
            std::hint::black_box(began.elapsed());
        }
        let busy = share.percent();
        assert!(busy > 0.0 && busy <= 100.0, "{busy}");
        assert!(memory_bytes() > 1024 * 1024 && memory_bytes() <= peak_memory_bytes());
    }
}
