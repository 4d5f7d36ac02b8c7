//! Shows again and again that this agent is alive, on a thread of its own: nothing waits for
//! whoever is called.

use crate::config::notify::NotifyPlan;
use crate::error::Result;
use crate::host::{Clock, Host};
use crate::monitor::heartbeat::{HEARTBEAT_FILE, Heartbeat};
use crate::monitor::live::Live;
use crate::stop::Stop;
use crate::threads;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Shows it again and again.
pub(super) struct Beats {
    heartbeat: Heartbeat,
    interval: Duration,
    live: Arc<Live>,
    clock: Clock,
    is_heard: bool,
}

impl Beats {
    /// Beats for an agent whose status is published here.
    ///
    /// # Errors
    /// Where the system provides no runtime for it.
    pub(super) fn new(host: Host, plan: &NotifyPlan, state_directory: &Path, live: &Arc<Live>) -> Result<Beats> {
        let file = plan.file.clone().unwrap_or_else(|| state_directory.join(HEARTBEAT_FILE));
        let heartbeat = Heartbeat::new(host.disk, file, plan.url.clone())?;
        Ok(Beats { heartbeat, interval: plan.interval, live: Arc::clone(live), clock: host.clock, is_heard: true })
    }

    /// Begins to beat, on a thread of its own.
    ///
    /// # Errors
    /// Where the system provides no thread for it.
    pub(super) fn start(mut self, stop: &Stop) -> Result<()> {
        let stop = stop.clone();
        threads::spawn("amber-heartbeat", move || {
            while !stop.wait(self.clock.wait(self.interval)) {
                self.step();
            }
        })
        .map(drop)
    }

    /// One beat; returns when the next is due. A status that is not written any more is that of an
    /// agent that hangs, and gives no beat.
    pub(super) fn step(&mut self) -> Duration {
        let (status, now_ns) = (self.live.status(), self.clock.now_ns());
        if !status.is_stale(now_ns) {
            let beaten = self.heartbeat.beat(&status, now_ns);
            // Only a change is logged.
            match &beaten {
                Err(error) if self.is_heard => tracing::warn!("{error}; it is tried again every {} s", self.interval.as_secs()),
                Ok(()) if !self.is_heard => tracing::info!("the heartbeat is heard again"),
                _ => {}
            }
            self.is_heard = beaten.is_ok();
        }
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::sample::healthy;
    use crate::units::now_ns;
    use std::time::Instant;

    #[test]
    fn it_beats_while_the_status_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (live, stop, file) = (Arc::new(Live::default()), Stop::default(), folder.path().join(HEARTBEAT_FILE));
        let plan = NotifyPlan { url: None, file: None, interval: Duration::from_millis(5) };
        live.publish(healthy(now_ns() - 3_600_000_000_000));
        Beats::new(Host::default(), &plan, folder.path(), &live).unwrap().start(&stop).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert!(!file.exists(), "a status that is an hour old is no sign of life");
        let began = Instant::now();
        while !file.exists() {
            live.publish(healthy(now_ns()));
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.ask();
        while Arc::strong_count(&live) > 1 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
