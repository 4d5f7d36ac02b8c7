//! How long to pause between two polls of a log.
//!
//! As long as prepares come there is no pause. After a poll without prepares the pause is 1 ms,
//! then twice as long each time, up to a limit. So the first prepares after an idle time are seen
//! within that limit, and the file of an idle node is hardly read.
//!
//! The limit must stay well below the time in which the WAL ring can wrap. At the highest rate of
//! prepares that was measured (2300 per second, from 32 clients that send one transfer each) that
//! is 450 ms. With the default of 50 ms at most 115 prepares come unseen, of the 1024 in the WAL
//! ring.

use std::time::Duration;

/// The longest pause unless the caller asks for another.
pub const IDLE_MAX_DEFAULT: Duration = Duration::from_millis(50);
/// The first pause.
const IDLE_MIN: Duration = Duration::from_millis(1);

/// The pauses between polls.
#[derive(Debug, Clone)]
pub struct Pace {
    idle_max: Duration,
    next: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new(IDLE_MAX_DEFAULT)
    }
}

impl Pace {
    /// Pauses of at most `idle_max`.
    pub fn new(idle_max: Duration) -> Pace {
        Pace { idle_max, next: IDLE_MIN.min(idle_max) }
    }

    /// How long to pause after a poll; `polled_any`: whether it handed anything on.
    pub fn after(&mut self, polled_any: bool) -> Duration {
        if polled_any {
            self.next = IDLE_MIN.min(self.idle_max);
            return Duration::ZERO;
        }
        let rest = self.next;
        self.next = rest.saturating_mul(2).min(self.idle_max);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_limit_and_begin_anew() {
        let mut pace = Pace::default();
        assert_eq!(pace.after(true), Duration::ZERO);
        let pauses: Vec<u128> = (0..8).map(|_| pace.after(false).as_millis()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 50, 50]);
        assert_eq!(pace.after(true), Duration::ZERO);
        assert_eq!(pace.after(false), IDLE_MIN);
    }

    #[test]
    fn a_limit_below_the_first_rest_is_kept() {
        let mut pace = Pace::new(Duration::from_micros(300));
        assert_eq!([pace.after(false), pace.after(false)], [Duration::from_micros(300); 2]);
        assert_eq!(Pace::new(Duration::ZERO).after(false), Duration::ZERO);
    }
}
