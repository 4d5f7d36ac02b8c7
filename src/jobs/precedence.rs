//! Which work goes first: while a checkpoint is taken, other bulk work pauses between two pieces.
//! It keeps what it holds in memory (a verification holds four parts of 8 MiB), and takes no CPU
//! time and no bandwidth that the checkpoint could have.

use crate::threads::lock;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often paused work checks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// Counts the work that goes first.
#[derive(Debug, Default)]
pub struct Precedence {
    first: Mutex<usize>,
    changed: Condvar,
}

impl Precedence {
    /// Begins work that goes first.
    pub fn enter(&self) {
        *lock(&self.first) += 1;
    }

    /// Ends work that goes first.
    pub fn leave(&self) {
        let mut first = lock(&self.first);
        *first = first.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Pauses until no work goes first, or until `is_cancelled` returns `true`.
    pub fn pause(&self, is_cancelled: impl Fn() -> bool) {
        let mut first = lock(&self.first);
        while *first > 0 && !is_cancelled() {
            first = self.changed.wait_timeout(first, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn others_pause_until_nothing_goes_first_or_they_are_cancelled() {
        let (precedence, cancelled, pausing) = (Precedence::default(), AtomicBool::new(false), AtomicBool::new(false));
        precedence.pause(|| false);
        let is_cancelled = || {
            pausing.store(true, Ordering::Release);
            cancelled.load(Ordering::Acquire)
        };
        std::thread::scope(|scope| {
            for ends in [true, false] {
                pausing.store(false, Ordering::Release);
                precedence.enter();
                precedence.enter();
                let pauses = scope.spawn(|| precedence.pause(is_cancelled));
                while !pausing.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                precedence.leave();
                std::thread::sleep(Duration::from_millis(20));
                assert!(!pauses.is_finished(), "another one goes first still");
                if ends {
                    precedence.leave()
                } else {
                    cancelled.store(true, Ordering::Release)
                }
                pauses.join().unwrap();
            }
        });
    }
}
