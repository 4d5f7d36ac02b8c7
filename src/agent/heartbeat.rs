//! Shows again and again that this agent is alive, on a thread of its own: nothing waits for
//! whoever is called.

use crate::config::notify::NotifyPlan;
use crate::error::Result;
use crate::monitor::heartbeat::{HEARTBEAT_FILE, Heartbeat};
use crate::monitor::live::Live;
use crate::stop::Stop;
use crate::threads;
use crate::units::now_ns;
use std::path::Path;
use std::sync::Arc;

/// Begins to show it. A status that is not written any more is that of an agent that hangs, and
/// gives no beat.
///
/// # Errors
/// Where the system provides no thread or runtime for it.
pub(super) fn start(plan: &NotifyPlan, state_directory: &Path, live: &Arc<Live>, stop: &Stop) -> Result<()> {
    let file = plan.file.clone().unwrap_or_else(|| state_directory.join(HEARTBEAT_FILE));
    let (heartbeat, interval) = (Heartbeat::new(file, plan.url.clone())?, plan.interval);
    let (live, stop) = (Arc::clone(live), stop.clone());
    threads::spawn("amber-heartbeat", move || {
        let mut is_heard = true;
        while !stop.wait(interval) {
            let (status, now_ns) = (live.status(), now_ns());
            if status.is_stale(now_ns) {
                continue;
            }
            let beaten = heartbeat.beat(&status, now_ns);
            // Only a change is logged.
            match &beaten {
                Err(error) if is_heard => tracing::warn!("{error}; it is tried again every {} s", interval.as_secs()),
                Ok(()) if !is_heard => tracing::info!("the heartbeat is heard again"),
                _ => {}
            }
            is_heard = beaten.is_ok();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::sample::healthy;
    use std::time::{Duration, Instant};

    #[test]
    fn it_beats_while_the_status_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (live, stop, file) = (Arc::new(Live::default()), Stop::default(), folder.path().join(HEARTBEAT_FILE));
        let plan = NotifyPlan { url: None, file: None, interval: Duration::from_millis(5) };
        live.publish(healthy(now_ns() - 3_600_000_000_000));
        start(&plan, folder.path(), &live, &stop).unwrap();
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
