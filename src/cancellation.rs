//! How long-running work learns that it is no longer wanted, or that something else goes first.

/// Asked by long-running work. Every call must be cheap: there may be one for each block. The
/// defaults are those of work that nobody cancels.
pub trait Cancellation: Send + Sync {
    /// Whether the work is no longer wanted. Then it soon ends with an error and promises nothing.
    fn is_cancelled(&self) -> bool {
        false
    }
    /// Called between pieces of work that can wait. Returns when the next one may begin: at once if
    /// nothing else goes first.
    fn pause(&self) {}
}

/// Cancels after a given number of pauses, and reports to nobody, for tests.
#[cfg(test)]
pub(crate) struct CancelledAfter {
    /// Pauses that are left until then; at 0 the work is cancelled.
    pub pauses: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl Cancellation for CancelledAfter {
    fn is_cancelled(&self) -> bool {
        self.pauses.load(std::sync::atomic::Ordering::Relaxed) == 0
    }

    fn pause(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let _ = self.pauses.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
    }
}
