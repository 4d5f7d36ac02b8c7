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

    /// Pauses until no work goes first, or until `is_given_up` returns `true`.
    pub fn rest(&self, is_given_up: impl Fn() -> bool) {
        let mut first = lock(&self.first);
        while *first > 0 && !is_given_up() {
            first = self.changed.wait_timeout(first, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn others_rest_until_nothing_goes_first_or_they_are_given_up() {
        let (precedence, given_up, resting) = (Precedence::default(), AtomicBool::new(false), AtomicBool::new(false));
        precedence.rest(|| false);
        let is_given_up = || {
            resting.store(true, Ordering::Release);
            given_up.load(Ordering::Acquire)
        };
        std::thread::scope(|scope| {
            for ends in [true, false] {
                resting.store(false, Ordering::Release);
                precedence.enter();
                precedence.enter();
                let rests = scope.spawn(|| precedence.rest(is_given_up));
                while !resting.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                precedence.leave();
                std::thread::sleep(Duration::from_millis(20));
                assert!(!rests.is_finished(), "another one goes first still");
                if ends {
                    precedence.leave()
                } else {
                    given_up.store(true, Ordering::Release)
                }
                rests.join().unwrap();
            }
        });
    }
}
