//! Chance, handed in: numbers of runs, tokens, the random part of a pause.

use crate::error::{Error, Result};
use std::fmt::Debug;

/// Where chance comes from.
pub trait RandomSource: Debug + Send + Sync {
    /// Fills the bytes.
    ///
    /// # Errors
    /// [`Error::try_again`] where there are none.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;
}

/// A source of chance. Copies share it. Sources live as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct Random(&'static dyn RandomSource);

impl Default for Random {
    fn default() -> Self {
        Random::SYSTEM
    }
}

impl Random {
    /// The system's, which nobody foresees.
    pub const SYSTEM: Random = Random(&System);

    /// Chance from somewhere else.
    pub fn of(source: &'static dyn RandomSource) -> Random {
        Random(source)
    }

    /// Random bytes.
    ///
    /// # Errors
    /// [`Error::try_again`] where the system gives none.
    pub fn bytes<const N: usize>(self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes).map(|()| bytes)
    }
}

#[derive(Debug)]
struct System;

impl RandomSource for System {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| Error::try_again("the system gives no random bytes"))
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use std::sync::Mutex;

    /// A well-known generator of 64 bits (SplitMix64): the same seed gives the same numbers.
    #[derive(Debug)]
    struct Seeded(Mutex<u64>);

    impl RandomSource for Seeded {
        fn fill(&self, bytes: &mut [u8]) -> Result<()> {
            let mut state = self.0.lock().unwrap();
            for chunk in bytes.chunks_mut(8) {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
            }
            Ok(())
        }
    }

    /// Chance that a seed decides.
    pub(crate) fn seeded(seed: u64) -> Random {
        Random::of(Box::leak(Box::new(Seeded(Mutex::new(seed)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_the_system_does_not_repeat_itself() {
        let draw = |random: Random| (random.bytes::<20>().unwrap(), random.bytes::<20>().unwrap());
        let (first, second) = draw(sample::seeded(7));
        assert_eq!((first, second), draw(sample::seeded(7)));
        assert_ne!(first, second);
        assert_ne!(first, draw(sample::seeded(8)).0);
        let (first, second) = draw(Random::SYSTEM);
        assert_ne!(first, second);
    }
}
