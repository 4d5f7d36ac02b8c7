//! How long work says how far it is, without knowing who listens: a terminal, a log, a test.

/// Told by long work; every call must be cheap, it may come once a block.
pub trait Progress: Send + Sync {
    /// A step begins: what it does, in a few words, and how many bytes it has, if that is known.
    fn begin(&self, step: &str, total_bytes: Option<u64>);
    /// The step has so many bytes in all; may be corrected as it goes.
    fn total(&self, total_bytes: u64);
    /// The step stands at so many bytes.
    fn position(&self, position_bytes: u64);
    /// Something that the user should know now: a fallback, a retry.
    fn note(&self, text: &str);
    /// The step is done.
    fn end(&self);
    /// Whether nobody wants the work any more: it ends with an error soon, and promises nothing.
    fn is_given_up(&self) -> bool {
        false
    }
    /// Called between pieces of work that can wait: returns when the next one may begin, at once if
    /// nothing else goes first.
    fn rest(&self) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
}

/// Tells nobody, and gives up at the given rest, for tests.
#[cfg(test)]
pub(crate) struct Patience {
    /// Rests until then; 0 has given up already.
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
