//! A pool of worker threads behind one bounded queue.
//!
//! Flow: [`Pool::submit`] queues a task and waits while the queue is full (this is the
//! back-pressure); a worker runs it; the task itself sends its result to whoever waits for it.
//! Tasks start in the order of submission. Dropping the pool runs what is queued and joins. The CPU
//! time of a task is counted as bulk work: the log's own path has other threads.

use crate::host::Workers;
use crate::limits::governor::Governor;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::thread::JoinHandle;

type Task = Box<dyn FnOnce() + Send>;

/// Threads that run tasks. A pool without threads runs each task where it is submitted, before
/// [`Pool::submit`] returns.
#[derive(Debug)]
pub struct Pool {
    is_inline: bool,
    queue: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` threads named `name`, with room for `queued` tasks that wait. They yield to
    /// other threads as `governor` decides.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(workers: Workers, name: &str, threads: usize, queued: usize, governor: &Arc<Governor>) -> std::io::Result<Pool> {
        if workers == Workers::Inline {
            return Ok(Pool { is_inline: true, queue: None, threads: Vec::new() });
        }
        let count = threads.max(1);
        let (queue, tasks) = crossbeam_channel::bounded::<Task>(queued.max(1));
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let (tasks, governor) = (tasks.clone(), Arc::clone(governor));
            threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                governor.begin_bulk_thread();
                for task in tasks {
                    task();
                    governor.meter();
                }
            })?);
        }
        Ok(Pool { is_inline: false, queue: Some(queue), threads })
    }

    /// Queues a task; waits while the queue is full. `false` if all workers are gone (a task
    /// panicked): the task was not run.
    #[must_use]
    pub fn submit(&self, task: impl FnOnce() + Send + 'static) -> bool {
        if self.is_inline {
            task();
            return true;
        }
        self.queue.as_ref().is_some_and(|queue| queue.send(Box::new(task)).is_ok())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A worker that panicked has dropped its task's result channel. The task's waiter
            // reports that.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_tasks_run_before_the_pool_is_gone() {
        let count = Arc::new(AtomicUsize::new(0));
        let pool = Pool::new(Workers::Threads, "test", 3, 2, &Governor::unlimited()).unwrap();
        for _ in 0..100 {
            let count = Arc::clone(&count);
            assert!(pool.submit(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }));
        }
        drop(pool);
        assert_eq!(count.load(Ordering::SeqCst), 100);
    }

    #[test]
    fn a_pool_without_threads_runs_a_task_before_it_returns() {
        let (here, done) = (std::thread::current().id(), Arc::new(AtomicUsize::new(0)));
        let pool = Pool::new(Workers::Inline, "test", 3, 1, &Governor::unlimited()).unwrap();
        for count in 1..=3 {
            let doing = Arc::clone(&done);
            assert!(pool.submit(move || {
                assert_eq!(std::thread::current().id(), here);
                doing.fetch_add(1, Ordering::SeqCst);
            }));
            assert_eq!(done.load(Ordering::SeqCst), count);
        }
    }

    #[test]
    fn a_pool_whose_workers_panicked_says_so() {
        let pool = Pool::new(Workers::Threads, "test", 1, 1, &Governor::unlimited()).unwrap();
        assert!(pool.submit(|| panic!("on purpose")));
        let mut refused = false;
        for _ in 0..200 {
            refused |= !pool.submit(|| {});
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(refused);
    }
}
