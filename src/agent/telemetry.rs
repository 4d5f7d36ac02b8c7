//! Sends this agent's metrics to the collector that `[telemetry]` names, on a thread of its own:
//! nothing waits for the collector, whatever it does.

use crate::config::telemetry::TelemetryPlan;
use crate::error::Result;
use crate::monitor::live::Live;
use crate::monitor::telemetry::Exporter;
use crate::stop::Stop;
use crate::threads;
use std::sync::Arc;

/// Begins to send, if a collector is configured.
///
/// # Errors
/// Where the system provides no thread or runtime for it.
pub(super) fn start(plan: Option<&TelemetryPlan>, live: &Arc<Live>, stop: &Stop) -> Result<()> {
    let Some(plan) = plan else { return Ok(()) };
    let (exporter, interval) = (Exporter::new(plan.uri.clone())?, plan.interval);
    let (live, stop) = (Arc::clone(live), stop.clone());
    threads::spawn("amber-telemetry", move || {
        let mut is_taken = true;
        while !stop.wait(interval) {
            let sent = exporter.send(&live.status());
            // Only a change is logged: a collector that is away for a night must not fill the log.
            match &sent {
                Err(error) if is_taken => tracing::warn!("{error}; it is tried again every {} s", interval.as_secs()),
                Ok(()) if !is_taken => tracing::info!("the collector takes the metrics again"),
                _ => {}
            }
            is_taken = sent.is_ok();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
