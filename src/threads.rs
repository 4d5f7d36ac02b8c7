//! Named threads, and locks that a panic elsewhere does not close.
//!
//! A thread has a name so that `top -H`, a debugger and a core dump show what it does. A poisoned
//! mutex is locked all the same: every value that Amber guards is complete between two statements,
//! and the thread that panicked is reported where it is joined.

use crate::error::{Error, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Starts a thread with a name. Linux shows at most 15 bytes of it.
///
/// # Errors
/// [`Error::try_again`] when the system gives no more threads.
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|error| Error::try_again(format!("the system gives no more threads: {error}")).caused_by(error))
}

/// Waits for a mutex and locks it, even if a thread panicked while it held the lock.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_lock_is_taken_and_a_thread_has_its_name() {
        let mutex = std::sync::Arc::new(Mutex::new(7));
        let other = std::sync::Arc::clone(&mutex);
        let poisoning = spawn("amber-test", move || {
            let _guard = lock(&other);
            assert_eq!(std::thread::current().name(), Some("another"), "this panic is wanted");
        });
        let panic = poisoning.unwrap().join().unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("amber-test"));
        assert!(mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 7);
    }
}
