//! When to stop: the first SIGTERM or SIGINT asks the agent to drain, the second ends the process
//! at once.
//!
//! Flow: [`Stop::on_signals`] installs the handlers, and starts a thread that turns a signal into
//! [`Stop::ask`]. Whoever waits uses [`Stop::wait`] or, together with other channels,
//! [`Stop::asked`], which closes when a stop is requested.

use crate::error::{Error, Result};
use crate::threads::lock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Whether the agent is to stop. Clones share one state.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Dropped to wake everybody; nothing is ever sent.
    sender: Arc<Mutex<Option<Sender<Infallible>>>>,
    asked: Receiver<Infallible>,
}

impl Default for Stop {
    fn default() -> Self {
        let (sender, asked) = bounded(0);
        Stop { sender: Arc::new(Mutex::new(Some(sender))), asked }
    }
}

impl Stop {
    /// A stop that SIGTERM and SIGINT request, for the rest of the process's life. A second signal
    /// has its default effect.
    ///
    /// # Errors
    /// [`Error::try_again`] where the system refuses a handler or a thread.
    pub fn on_signals() -> Result<Stop> {
        let refused = |error: std::io::Error| Error::try_again(format!("signals cannot be handled: {error}")).caused_by(error);
        let stop = Stop::default();
        // Handlers run in this order: at the first signal the mark is not set yet.
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&signalled)).map_err(refused)?;
            signal_hook::flag::register(signal, Arc::clone(&signalled)).map_err(refused)?;
        }
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(refused)?;
        let asking = stop.clone();
        let wait = move || {
            if let Some(signal) = signals.forever().next() {
                let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                tracing::info!("{name}: stopping; a second one ends the agent at once");
                asking.ask();
            }
        };
        std::thread::Builder::new().name("amber-signals".to_owned()).spawn(wait).map_err(refused)?;
        Ok(stop)
    }

    /// Requests a stop. More than one request has the same effect as one.
    pub fn ask(&self) {
        lock(&self.sender).take();
    }

    /// Whether a stop was requested.
    pub fn is_asked(&self) -> bool {
        lock(&self.sender).is_none()
    }

    /// Waits until a stop is requested, at most for this long. Returns whether it was requested.
    pub fn wait(&self, at_most: Duration) -> bool {
        matches!(self.asked.recv_timeout(at_most), Err(RecvTimeoutError::Disconnected))
    }

    /// A channel that never carries a message and closes when a stop is requested, for `select!`.
    pub fn asked(&self) -> &Receiver<Infallible> {
        &self.asked
    }
}
