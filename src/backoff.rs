//! Pauses between attempts: each is twice as long as the one before, up to a limit.
//!
//! Where several agents may fail at the same moment, the caller adds a random part to the pause, so
//! that they do not retry at the same moment too.

use std::time::Duration;

/// A first pause and the longest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after this many failures in a row. After no failure it is the first pause.
    pub fn after(self, failures: u32) -> Duration {
        // From here on every pause in use has reached the longest.
        let doublings = failures.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        let seconds: Vec<u64> = (0..9).map(|failures| backoff.after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.after(u32::MAX), backoff.longest);
        let long = Backoff { first: Duration::MAX / 2, longest: Duration::MAX };
        assert_eq!(long.after(9), Duration::MAX);
    }
}
