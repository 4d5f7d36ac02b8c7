//! Notifies systemd: ready, status text, still alive, stopping. If systemd did not start the
//! process, every call does nothing.

use sd_notify::NotifyState;
use std::time::Duration;

/// Sends the notifications.
#[derive(Debug, Clone, Copy)]
pub struct Notifier {
    watchdog_interval: Option<Duration>,
}

impl Notifier {
    /// What this process's environment asks for (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub fn from_environment() -> Notifier {
        Notifier { watchdog_interval: sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero()) }
    }

    /// How often [`Notifier::alive`] must be called, if at all: half of the time after which
    /// systemd considers the process hung.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog_interval
    }

    /// The start is over; `status` is what `systemctl status` shows.
    pub fn ready(&self, status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// What `systemctl status` shows from now on.
    pub fn status(&self, status: &str) {
        notify(&[NotifyState::Status(&one_line(status))]);
    }

    /// The process is alive. Call it from a thread that would hang if the agent did, not from one
    /// that does nothing else.
    pub fn alive(&self) {
        if self.watchdog_interval.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// The process is stopping.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }
}

/// The protocol is line-based, so a status must be one line.
fn one_line(status: &str) -> String {
    status.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be notified: {error}");
    }
}
