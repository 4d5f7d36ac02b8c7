//! What is shown of a run while it is under way.

use crate::monitor::status::RunningStatus;
use crate::threads::lock;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The progress of a run, for the status, and whether the run is to end.
#[derive(Debug, Default)]
pub struct ActiveView {
    pub(crate) started_ns: u64,
    pub(crate) step: Mutex<String>,
    pub(crate) position_bytes: AtomicU64,
    /// 0 while that is not known.
    pub(crate) total_bytes: AtomicU64,
    /// Why the run is to end, if it is.
    pub(crate) reported: OnceLock<&'static str>,
}

impl ActiveView {
    /// Asks the run to end, for this reason.
    pub fn ask_to_end(&self, why: &'static str) {
        let _ = self.reported.set(why);
    }

    /// The run as the status shows it.
    pub fn status(&self) -> RunningStatus {
        RunningStatus {
            started_ns: self.started_ns,
            step: lock(&self.step).clone(),
            position_bytes: self.position_bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes.load(Ordering::Relaxed),
        }
    }
}
