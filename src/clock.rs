//! Time, handed in: whoever waits, or measures a wait, asks the [`Clock`] that was given to it. So
//! a test decides how long a second lasts, and what an agent does within an hour is seen in a
//! moment.
//!
//! Flow: the process hands [`Clock::SYSTEM`] down with what else says how to read and write. Code
//! that waits calls [`Clock::sleep`], or gives [`Clock::wait`] to whatever ends the wait early.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Where a clock gets its time.
pub trait TimeSource: Debug + Send + Sync {
    /// Time since some fixed moment. It never goes back, and somebody who sets the machine's clock
    /// does not change it.
    fn elapsed(&self) -> Duration;

    /// Notes that somebody is about to wait that long, and returns how long that is on this
    /// machine.
    fn wait(&self, pause: Duration) -> Duration;
}

/// A clock. Every copy shows the same time. Sources live as long as the process, because threads
/// keep them.
#[derive(Debug, Clone, Copy)]
pub struct Clock(&'static dyn TimeSource);

impl Clock {
    /// The machine's own.
    pub const SYSTEM: Clock = Clock(&System);

    /// A clock with its time from somewhere else.
    pub fn of(source: &'static dyn TimeSource) -> Clock {
        Clock(source)
    }

    /// Time since some fixed moment, for measuring; see [`TimeSource::elapsed`].
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Notes a wait that something may end early, and returns how long it lasts on this machine.
    pub fn wait(self, pause: Duration) -> Duration {
        self.0.wait(pause)
    }

    /// Waits that long.
    pub fn sleep(self, pause: Duration) {
        std::thread::sleep(self.wait(pause));
    }
}

/// The machine's clock.
#[derive(Debug)]
struct System;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl TimeSource for System {
    fn elapsed(&self) -> Duration {
        STARTED.elapsed()
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

    #[derive(Debug)]
    struct Quick {
        began: Instant,
        skipped: Mutex<Duration>,
    }

    impl TimeSource for Quick {
        fn elapsed(&self) -> Duration {
            self.began.elapsed() + *self.skipped.lock().unwrap()
        }

        fn wait(&self, pause: Duration) -> Duration {
            let real = pause.min(WAIT_MAX);
            *self.skipped.lock().unwrap() += pause - real;
            real
        }
    }

    /// A clock of its own on which nobody waits long.
    pub(crate) fn quick() -> Clock {
        Clock::of(Box::leak(Box::new(Quick { began: Instant::now(), skipped: Mutex::default() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_hour_is_measured_as_one_however_long_it_took() {
        let (clock, other, began) = (sample::quick(), sample::quick(), Instant::now());
        let before = clock.elapsed();
        clock.sleep(HOUR);
        assert!(clock.elapsed() - before >= HOUR && other.elapsed() < HOUR && began.elapsed() < HOUR);
        assert!(clock.wait(HOUR) < Duration::from_secs(1), "a wait that something may end is as short");
    }

    #[test]
    fn the_machine_waits_as_long_as_it_was_asked_to() {
        let (pause, before) = (Duration::from_millis(2), Clock::SYSTEM.elapsed());
        assert_eq!(Clock::SYSTEM.wait(HOUR), HOUR);
        Clock::SYSTEM.sleep(pause);
        assert!(Clock::SYSTEM.elapsed() - before >= pause);
    }
}
