//! What a process gets from its machine, handed in: time, chance, a disk, and threads to
//! work on. So a test decides how long a second lasts, what is drawn, what a crash leaves and which
//! step comes next, and an agent's hour is seen in a moment, in one thread.
//!
//! Flow: whoever opens a repository says which [`Host`] it is on (in the repository's `Options`),
//! and everything that works with the repository asks it. Keys and salts are the exception: they
//! come from the system, whatever is handed in.

pub mod clock;
pub mod disk;
pub mod random;
pub mod work;

pub use clock::Clock;
pub use disk::Disk;
pub use disk::sync_open_folder;
pub use random::Random;
pub use work::Workers;

/// A machine, as a process sees it. Copies are the same machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// Its time.
    pub clock: Clock,
    /// Its chance.
    pub random: Random,
    /// Its disk, for the state directory.
    pub disk: Disk,
    /// Where work is done that somebody waits for.
    pub workers: Workers,
}
