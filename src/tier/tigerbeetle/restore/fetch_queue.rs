//! Distributes what is to be fetched: packs are opened and cut into pieces, and any thread takes
//! the next piece.
//!
//! Flow: [`FetchQueue::next`] gives a thread a piece of an opened pack. If there is none, it gives
//! a pack to open, whose pieces come back through [`Opening::done`]. So all threads share a large
//! pack, and few packs are open at a time. The first error ends the work of all threads.

use crate::error::Error;
use crate::threads::lock;
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::pack::PackReader;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Frames of one pack that one thread restores.
#[derive(Clone)]
pub struct Piece<'a> {
    /// The pack.
    pub pack: Arc<PackReader<'a>>,
    /// The frames.
    pub frames: Range<u32>,
}

/// What a thread does next.
pub enum FetchJob<'feed, 'a> {
    /// Open a pack.
    Open(Opening<'feed, 'a>),
    /// Restore a piece.
    Restore(Piece<'a>),
}

struct State<'a> {
    /// Packs that nobody has opened yet, by their position in the pack table, and the frames that
    /// are needed of each.
    closed: VecDeque<(usize, Vec<Range<u32>>)>,
    pieces: VecDeque<Piece<'a>>,
    opening: usize,
    failed: Option<Error>,
}

/// The work that is left.
pub struct FetchQueue<'a> {
    state: Mutex<State<'a>>,
    changed: Condvar,
}

/// A pack that a thread is to open.
pub struct Opening<'feed, 'a> {
    feed: &'feed FetchQueue<'a>,
    /// Its position in the pack table.
    pub pack: usize,
    /// The frames that are needed, in order.
    pub frames: Vec<Range<u32>>,
}

impl<'a> FetchQueue<'a> {
    /// Everything that a manifest's extents need.
    pub fn new(manifest: &Manifest) -> FetchQueue<'a> {
        let closed = needed_by_pack(manifest).into_iter().enumerate().filter(|(_, frames)| !frames.is_empty()).collect();
        FetchQueue { state: Mutex::new(State { closed, pieces: VecDeque::new(), opening: 0, failed: None }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        lock(&self.state)
    }

    /// What to do next; `None` when all is done, or a thread failed. Waits while others are about
    /// to add new pieces.
    pub fn next(&self) -> Option<FetchJob<'_, 'a>> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(piece) = state.pieces.pop_front() {
                return Some(FetchJob::Restore(piece));
            }
            if let Some((pack, frames)) = state.closed.pop_front() {
                state.opening += 1;
                return Some(FetchJob::Open(Opening { feed: self, pack, frames }));
            }
            if state.opening == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the work of all threads.
    pub fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// The first error that was reported.
    pub fn into_error(self) -> Option<Error> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).failed
    }
}

impl<'a> Opening<'_, 'a> {
    /// The pack is open, and these are the pieces to restore from it.
    pub fn done(self, pieces: impl IntoIterator<Item = Piece<'a>>) {
        self.feed.lock().pieces.extend(pieces);
    }
}

impl Drop for Opening<'_, '_> {
    fn drop(&mut self) {
        self.feed.lock().opening -= 1;
        self.feed.changed.notify_all();
    }
}

/// For each pack of the table the frames that are needed, in order, with neighbouring extents
/// joined.
fn needed_by_pack(manifest: &Manifest) -> Vec<Vec<Range<u32>>> {
    let mut extents: Vec<(u32, u32, u32)> =
        manifest.extents.iter().map(|extent| (extent.location.pack, extent.location.first_frame, extent.location.blocks)).collect();
    extents.sort_unstable();
    let mut packs: Vec<Vec<Range<u32>>> = vec![Vec::new(); manifest.packs.len()];
    for (pack, first, blocks) in extents {
        let frames = &mut packs[pack as usize];
        match frames.last_mut() {
            Some(last) if first <= last.end => last.end = last.end.max(first + blocks),
            _ => frames.push(first..first + blocks),
        }
    }
    packs
}

#[cfg(test)]
mod tests;
