//! How long-running work reports its progress, without knowing who listens: a terminal, a log, a
//! test.

/// Notified by long-running work. Every call must be cheap: there may be one for each block.
pub trait Progress: Send + Sync {
    /// A step begins: what it does, in a few words, and how many bytes it has, if that is known.
    fn begin(&self, step: &str, total_bytes: Option<u64>);
    /// The step has this many bytes in all. The number may be corrected as the step goes on.
    fn total(&self, total_bytes: u64);
    /// The step has reached this many bytes.
    fn position(&self, position_bytes: u64);
    /// Something that the user should know now: a fallback, a retry.
    fn note(&self, text: &str);
    /// The step is done.
    fn end(&self);
    /// Whether the work is no longer wanted. Then it soon ends with an error and promises nothing.
    fn is_given_up(&self) -> bool {
        false
    }
    /// Called between pieces of work that can wait. Returns when the next one may begin: at once if
    /// nothing else goes first.
    fn rest(&self) {}
}

/// Reports to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
}

/// Reports to nobody, and gives up after a given number of pauses, for tests.
#[cfg(test)]
pub(crate) struct Patience {
    /// Pauses that are left until then; at 0 it has given up.
    pub left: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl Progress for Patience {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}

    fn is_given_up(&self) -> bool {
        self.left.load(std::sync::atomic::Ordering::Relaxed) == 0
    }

    fn rest(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let _ = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
    }
}
