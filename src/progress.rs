//! How long-running work reports its progress, without knowing who listens: a terminal, a log, a
//! test.

use crate::cancellation::Cancellation;

/// Notified by long-running work, and asked whether that is still wanted ([`Cancellation`]). Every
/// call must be cheap: there may be one for each block.
pub trait Progress: Cancellation {
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
}

/// Reports to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Cancellation for Silent {}

impl Progress for Silent {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
}

#[cfg(test)]
impl Progress for crate::cancellation::CancelledAfter {
    fn begin(&self, _step: &str, _total_bytes: Option<u64>) {}
    fn total(&self, _total_bytes: u64) {}
    fn position(&self, _position_bytes: u64) {}
    fn note(&self, _text: &str) {}
    fn end(&self) {}
}
