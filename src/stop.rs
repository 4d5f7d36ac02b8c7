//! When to stop: the first SIGTERM or SIGINT asks the agent to drain, the second ends the process
//! at once.
//!
//! Flow: [`Stop::on_signals`] installs the handlers, and starts a thread that turns a signal into
//! [`Stop::ask`]. Whoever waits uses [`Stop::wait`] or, together with other channels,
//! [`Stop::asked`], which closes when a stop is requested.

use crate::error::{Error, Result};
use crate::threads::lock;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Makes a write beyond the largest size that a file may have (`ulimit -f`) fail with an error. The
/// system would end the process without a word otherwise. Programs that this one starts have the
/// system's way again.
///
/// # Errors
/// [`Error::try_again`] where the system refuses a handler.
pub fn files_may_be_too_large() -> Result<()> {
    let handled = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    handled.map(drop).map_err(|error| Error::try_again(format!("signals cannot be handled: {error}")).caused_by(error))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child of [`a_file_too_large_is_an_error_and_no_kill`] does; nothing otherwise.
    #[test]
    fn writes_too_much_where_a_parent_asks_for_it() {
        let Some(path) = std::env::var_os("AMBER_TEST_WRITES_TOO_MUCH") else { return };
        if std::env::var_os("AMBER_TEST_HANDLED").is_some() {
            files_may_be_too_large().unwrap();
        }
        let error = std::fs::write(path, vec![7; 64 * 1024]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_file_too_large_is_an_error_and_no_kill() {
        use std::os::unix::process::ExitStatusExt;
        let folder = tempfile::tempdir().unwrap();
        let child = |is_handled: bool| {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "ulimit -f 8; exec \"$0\" --exact stop::tests::writes_too_much_where_a_parent_asks_for_it"]);
            command.arg(std::env::current_exe().unwrap()).env("AMBER_TEST_WRITES_TOO_MUCH", folder.path().join("large"));
            if is_handled {
                command.env("AMBER_TEST_HANDLED", "1");
            }
            command.output().unwrap().status
        };
        assert_eq!(child(false).signal(), Some(SIGXFSZ), "the system's way");
        assert_eq!(child(true).code(), Some(0));
    }
}
