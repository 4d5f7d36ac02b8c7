//! The log that a roll-forward executes: what every source of it can do.

use crate::error::Result;
use crate::tb_format::wal::Prepare;

/// The original log.
pub trait OriginalLog {
    /// Passes the prepares from `first_op` to `last_op` to `take`, each checked, in order and
    /// without a gap.
    ///
    /// # Errors
    /// [`crate::error::Error::damaged`] when some of them are missing, and whatever `take` returns.
    fn prepares(&mut self, first_op: u64, last_op: u64, take: &mut dyn FnMut(&Prepare<'_>) -> Result<()>) -> Result<()>;

    /// The last op that it holds of this history.
    fn last_op(&self) -> u64;
}
