//! Where work is done that somebody waits for: on threads, or at once by whoever asks for it. The
//! results are the same; with the second, nothing depends on which thread comes first.

use crate::error::{Error, Result};
use crate::threads::spawn;
use std::thread::JoinHandle;

/// Where work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workers {
    /// On threads of its own.
    #[default]
    Threads,
    /// In the thread that asks for it, before it goes on.
    Inline,
}

/// Work that was begun.
#[derive(Debug)]
pub struct Task<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    Thread(JoinHandle<T>),
    Done(T),
}

impl Workers {
    /// Begins work, on a thread of this name if on any.
    ///
    /// # Errors
    /// [`Error::try_again`] when the system gives no more threads.
    pub fn begin<T: Send + 'static>(self, name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<Task<T>> {
        Ok(Task(match self {
            Workers::Threads => State::Thread(spawn(name, work)?),
            Workers::Inline => State::Done(work()),
        }))
    }

    /// Does the same work on `threads` threads at once, which share what there is to do, and waits
    /// for all of them.
    pub fn share(self, threads: usize, work: impl Fn() + Sync) {
        if self == Workers::Inline {
            return work();
        }
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(&work);
            }
        });
    }
}

impl<T> Task<T> {
    /// Whether its result is there.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            State::Thread(thread) => thread.is_finished(),
            State::Done(_) => true,
        }
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// [`Error::bug`] where it panicked.
    pub fn join(self) -> Result<T> {
        match self.0 {
            State::Thread(thread) => thread.join().map_err(|_| Error::bug("it panicked; the log says where")),
            State::Done(result) => Ok(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn both_ways_give_the_same_results_and_only_one_needs_threads() {
        for workers in [Workers::Threads, Workers::Inline] {
            let here = std::thread::current().id();
            let task = workers.begin("test", || std::thread::current().id()).unwrap();
            assert!(workers == Workers::Threads || task.is_finished());
            assert_eq!(task.join().unwrap() == here, workers == Workers::Inline);
            let (left, done) = (AtomicUsize::new(100), AtomicUsize::new(0));
            workers.share(3, || {
                while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
            assert_eq!(done.into_inner(), 100);
        }
    }

    #[test]
    fn a_panic_is_an_error_of_whoever_waits() {
        let task = Workers::Threads.begin("test", || panic!("on purpose")).unwrap();
        assert_eq!(task.join().unwrap_err().kind, Kind::Bug);
    }
}
