//! Whether a file has been idle since it was last read, by its modification time. Asking for the
//! time costs a hundredth of a read.
//!
//! The system sets the time when a write begins, from a clock that ticks every few milliseconds. If
//! the time was already old when the last read began, and is the same now, nothing has been written
//! since: a later write would have changed the time, and an earlier one had ended by then. This is
//! not relied on for long. At least one poll in four reads, whatever the time says (file systems of
//! other machines keep times for seconds). Where there is no such time, as with a block device,
//! every poll reads.

use std::time::{Duration, SystemTime};

/// How old the time must be when a read begins: longer than any write takes, and longer than the
/// clock's tick.
const SETTLED: Duration = Duration::from_secs(1);
/// Polls in a row that may skip the read: with pauses of 50 ms the WAL ring is read every 200 ms,
/// and cannot wrap unseen.
const SKIPPED_MAX: u32 = 3;

/// What is known about whether a file is idle.
#[derive(Debug, Default)]
pub struct Quiet {
    settled: Option<SystemTime>,
    skipped: u32,
}

impl Quiet {
    /// Whether a file with this modification time need not be read.
    pub fn skips(&mut self, modified: Option<SystemTime>) -> bool {
        let skips = modified.is_some() && modified == self.settled && self.skipped < SKIPPED_MAX;
        self.skipped = if skips { self.skipped + 1 } else { 0 };
        skips
    }

    /// Remembers a read that found nothing new. `modified` and `now` are from before it began.
    pub fn found_nothing(&mut self, modified: Option<SystemTime>, now: SystemTime) {
        // A time in the future is not reliable.
        let settled = |time: &SystemTime| now.duration_since(*time).is_ok_and(|age| age >= SETTLED);
        self.settled = modified.filter(settled);
    }

    /// Forgets: the next poll reads.
    pub fn reset(&mut self) {
        *self = Quiet::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn ago(milliseconds: u64) -> Option<SystemTime> {
        NOW.checked_sub(Duration::from_millis(milliseconds))
    }

    #[test]
    fn three_in_four_are_skipped_when_the_file_rests() {
        let mut quiet = Quiet::default();
        assert!(!quiet.skips(ago(5000)), "nothing is known yet");
        for _ in 0..3 {
            quiet.found_nothing(ago(5000), NOW);
            assert_eq!([0; 4].map(|_| quiet.skips(ago(5000))), [true, true, true, false]);
        }
        quiet.reset();
        assert!(!quiet.skips(ago(5000)));
    }

    #[test]
    fn a_time_that_says_nothing_is_not_relied_on() {
        // The file was written just now, written in the future, changed since, or its time is
        // unknown.
        for (then, now) in [(ago(999), ago(999)), (Some(NOW + SETTLED), Some(NOW + SETTLED)), (ago(5000), ago(0)), (None, None)] {
            let mut quiet = Quiet::default();
            quiet.found_nothing(then, NOW);
            assert!(!quiet.skips(now), "{then:?} {now:?}");
        }
    }
}
