//! Vectors that are used again instead of being freed.
//!
//! A large vector that is allocated for every frame or part costs more than the work that is done
//! with it, because the kernel zeroes each of its pages anew. Flow: [`Recycler::take`] returns an
//! empty vector with enough capacity, an old one if there is one. Dropping it returns it to the
//! recycler, also from another thread and after the recycler is gone. The callers bound how many
//! vectors are in use at once.

use crossbeam_channel::{Receiver, Sender};
use std::ops::{Deref, DerefMut};

/// Keeps idle vectors.
#[derive(Debug)]
pub struct Recycler {
    home: Sender<Vec<u8>>,
    idle: Receiver<Vec<u8>>,
}

/// A vector on loan. It returns to its recycler when it is dropped.
#[derive(Debug)]
pub struct Recycled {
    bytes: Vec<u8>,
    home: Sender<Vec<u8>>,
}

impl Recycler {
    /// Keeps up to `kept` idle vectors; more are freed.
    pub fn new(kept: usize) -> Recycler {
        let (home, idle) = crossbeam_channel::bounded(kept);
        Recycler { home, idle }
    }

    /// An empty vector with room for `capacity` bytes.
    pub fn take(&self, capacity: usize) -> Recycled {
        let mut bytes = self.idle.try_recv().unwrap_or_default();
        bytes.reserve_exact(capacity);
        Recycled { bytes, home: self.home.clone() }
    }
}

impl Deref for Recycled {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Recycled {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Recycled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // If enough vectors are idle already, or the recycler is gone, this one is freed.
        let _ = self.home.try_send(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_empty_and_with_its_room() {
        let recycler = Recycler::new(1);
        let mut first = recycler.take(1000);
        first.extend_from_slice(b"content");
        let (address, capacity) = (first.as_ptr(), first.capacity());
        let second = recycler.take(10);
        assert_ne!(second.as_ptr(), address);
        drop(first);
        let again = recycler.take(10);
        assert_eq!((again.as_ptr(), again.capacity(), again.len()), (address, capacity, 0));
        assert!(recycler.take(5000).capacity() >= 5000);
    }

    #[test]
    fn no_more_than_wanted_are_kept() {
        let recycler = Recycler::new(2);
        let loans: Vec<Recycled> = (0..5).map(|_| recycler.take(100)).collect();
        drop(loans);
        assert_eq!(recycler.idle.len(), 2);
        let loan = recycler.take(1);
        drop(recycler);
        drop(loan);
    }
}
