//! What systemd is told: ready, how it goes, still alive, stopping. Where systemd did not start the
//! process, all of it is nothing.

use sd_notify::NotifyState;
use std::time::Duration;

/// Tells systemd.
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
    /// systemd takes the process for hung.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog_interval
    }

    /// The start is over; `status` is what `systemctl status` shows.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// What `systemctl status` shows from now on.
    pub fn status(&self, status: &str) {
        tell(&[NotifyState::Status(&one_line(status))]);
    }

    /// The process is alive. To be called by what would hang if the agent did, and not from a
    /// thread that only calls this.
    pub fn alive(&self) {
        if self.watchdog_interval.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// The process is on its way out.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

/// The protocol is lines, so a status has only one.
fn one_line(status: &str) -> String {
    status.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be told how it goes: {error}");
    }
}
