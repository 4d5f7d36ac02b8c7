//! Notices a wall clock that was set.
//!
//! Times in records and names come from the wall clock. A clock that jumps makes them wrong, and
//! whoever reads them later should know. So every report compares how far the wall clock went with
//! how much time passed by the clock that nobody sets.

use crate::host::Clock;
use crate::monitor::verdict::duration_text;
use crate::units::time_text;
use std::time::{Duration, Instant};

/// A jump below this is how clocks are kept right.
const JUMP_MIN: Duration = Duration::from_secs(10);
/// How long a jump is shown.
const SHOWN_FOR: Duration = Duration::from_secs(3600);

/// What the clocks last said.
#[derive(Debug, Default)]
pub struct ClockWatch {
    last: Option<(Instant, u64)>,
    jump: Option<(Instant, String)>,
}

impl ClockWatch {
    /// Looks at both clocks. Returns the last jump, while it is to be shown.
    pub fn look(&mut self, clock: Clock) -> Option<&str> {
        let (now, wall_ns) = (clock.now(), clock.now_ns());
        if let Some((before, wall_before_ns)) = self.last.replace((now, wall_ns)) {
            let passed_ns = u64::try_from(now.saturating_duration_since(before).as_nanos()).unwrap_or(u64::MAX);
            let expected_ns = wall_before_ns.saturating_add(passed_ns);
            let by = Duration::from_nanos(wall_ns.abs_diff(expected_ns));
            if by >= JUMP_MIN {
                let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
                let (direction, hint) = if wall_ns > expected_ns { ("forward", ", or the machine was suspended") } else { ("back", "") };
                let text = format!(
                    "the clock of this machine was set {direction} by {}, to {}{hint}: times of backups and jobs around it are not to be relied on",
                    duration_text(by_ms),
                    time_text(wall_ns)
                );
                tracing::warn!("{text}");
                self.jump = Some((now, text));
            }
        }
        self.jump.as_ref().filter(|(noticed, _)| now.saturating_duration_since(*noticed) < SHOWN_FOR).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::TimeSource;
    use std::sync::Mutex;
    use std::time::{SystemTime, UNIX_EPOCH};

    /// Seconds since its start, and by how many the wall clock is ahead.
    #[derive(Debug)]
    struct Set(Instant, Mutex<(u64, i64)>);

    impl TimeSource for Set {
        fn now(&self) -> Instant {
            self.0 + Duration::from_secs(self.1.lock().unwrap().0)
        }

        fn now_on_the_wall(&self) -> SystemTime {
            let (passed_s, ahead_s) = *self.1.lock().unwrap();
            UNIX_EPOCH + Duration::from_secs((1_700_000_000 + passed_s).checked_add_signed(ahead_s).unwrap())
        }

        fn wait(&self, pause: Duration) -> Duration {
            pause
        }
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_for_an_hour() {
        let source: &'static Set = Box::leak(Box::new(Set(Instant::now(), Mutex::new((0, 0)))));
        let (clock, mut watch) = (Clock::of(source), ClockWatch::default());
        let mut look = |passed_s, ahead_s| {
            *source.1.lock().unwrap() = (passed_s, ahead_s);
            watch.look(clock).map(str::to_owned)
        };
        assert_eq!(look(0, 0), None);
        assert_eq!(look(1, 9), None, "kept right");
        let said = look(2, 19).expect("ten seconds are a jump");
        assert!(said.contains("set forward by 10 s, to 2023-11-14T22:13:41Z"), "{said}");
        let said = look(3, -3600).unwrap();
        assert!(said.contains("set back by 60 min") && !said.contains("suspended"), "{said}");
        assert!(look(3602, -3600).is_some());
        assert_eq!(look(3603, -3600), None);
    }
}
