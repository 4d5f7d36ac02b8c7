//! Time, handed in: whoever waits, or measures a wait, asks the [`Clock`] that was given to it.
//!
//! Code that waits calls [`Clock::sleep`], or gives [`Clock::wait`] to whatever ends the wait
//! early.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a clock gets its time.
pub trait TimeSource: Debug + Send + Sync {
    /// This moment. It never goes back, and somebody who sets the machine's clock does not change
    /// it.
    fn now(&self) -> Instant;

    /// This moment by the wall clock, which may jump.
    fn now_on_the_wall(&self) -> SystemTime;

    /// Notes that somebody is about to wait that long, and returns how long that is on this
    /// machine.
    fn wait(&self, pause: Duration) -> Duration;
}

/// A clock. Every copy shows the same time. Sources live as long as the process, because threads
/// keep them.
#[derive(Debug, Clone, Copy)]
pub struct Clock(&'static dyn TimeSource);

impl Default for Clock {
    fn default() -> Self {
        Clock::SYSTEM
    }
}

impl Clock {
    /// The machine's own.
    pub const SYSTEM: Clock = Clock(&System);

    /// A clock with its time from somewhere else.
    pub fn of(source: &'static dyn TimeSource) -> Clock {
        Clock(source)
    }

    /// This moment, for measuring; see [`TimeSource::now`].
    pub fn now(self) -> Instant {
        self.0.now()
    }

    /// How long ago that was.
    pub fn since(self, moment: Instant) -> Duration {
        self.0.now().saturating_duration_since(moment)
    }

    /// This moment by the wall clock, which may jump.
    pub fn now_on_the_wall(self) -> SystemTime {
        self.0.now_on_the_wall()
    }

    /// The same in nanoseconds since the epoch; 0 if the clock is set to a time before it.
    pub fn now_ns(self) -> u64 {
        let elapsed = self.0.now_on_the_wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes a wait that something may end early, and returns how long it lasts on this machine.
    pub fn wait(self, pause: Duration) -> Duration {
        self.0.wait(pause)
    }

    /// Waits that long.
    pub fn sleep(self, pause: Duration) {
        let here = self.wait(pause);
        if !here.is_zero() {
            std::thread::sleep(here);
        }
    }
}

/// The machine's clock.
#[derive(Debug)]
struct System;

impl TimeSource for System {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn now_on_the_wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn wait(&self, pause: Duration) -> Duration {
        pause
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use std::sync::Mutex;

    /// What a wait takes at most: enough to let another thread run.
    const WAIT_MAX: Duration = Duration::from_micros(100);

    #[derive(Debug, Default)]
    struct Quick {
        skipped: Mutex<Duration>,
    }

    impl TimeSource for Quick {
        fn now(&self) -> Instant {
            Instant::now() + *self.skipped.lock().unwrap()
        }

        fn now_on_the_wall(&self) -> SystemTime {
            SystemTime::now() + *self.skipped.lock().unwrap()
        }

        fn wait(&self, pause: Duration) -> Duration {
            let real = pause.min(WAIT_MAX);
            *self.skipped.lock().unwrap() += pause - real;
            real
        }
    }

    /// A clock of its own on which nobody waits long.
    pub(crate) fn quick() -> Clock {
        Clock::of(Box::leak(Box::new(Quick::default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_hour_is_measured_as_one_however_long_it_took() {
        let (clock, other, began) = (sample::quick(), sample::quick(), Instant::now());
        let (before, wall_ns) = (clock.now(), clock.now_ns());
        clock.sleep(HOUR);
        assert!(clock.since(before) >= HOUR && other.now() < before + HOUR && began.elapsed() < HOUR);
        assert!(clock.now_ns() - wall_ns >= HOUR.as_nanos() as u64, "the wall clock goes with it");
        assert!(clock.wait(HOUR) < Duration::from_secs(1), "a wait that something may end is as short");
    }

    #[test]
    fn the_machine_waits_as_long_as_it_was_asked_to() {
        let (pause, before) = (Duration::from_millis(2), Clock::SYSTEM.now());
        assert_eq!(Clock::SYSTEM.wait(HOUR), HOUR);
        Clock::SYSTEM.sleep(pause);
        assert!(Clock::SYSTEM.since(before) >= pause);
    }
}
