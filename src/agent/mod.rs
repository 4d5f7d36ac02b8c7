//! The agent: one process beside one replica, which ships its log for as long as it runs.
//!
//! Flow: [`check`] opens what the plan names; [`process_lock`] makes sure that there is one agent in a state directory; [`signals`] says when
//! to stop, [`notify`] tells systemd how it goes, and [`status`] everybody else.

pub mod check;
pub mod notify;
pub mod process_lock;
pub mod signals;
pub mod status;

use crate::config::Plan;
use crate::error::Result;
use notify::Notifier;
use process_lock::ProcessLock;
use signals::Stop;

/// Runs the agent until a signal asks it to stop.
///
/// # Errors
/// What keeps it from starting, with the line of the configuration that led there.
pub fn run(plan: Plan) -> Result<()> {
    let _lock = ProcessLock::take(&plan.state_directory).map_err(|error| error.context(&plan.origins.state_directory))?;
    let stop = Stop::on_signals()?;
    let notifier = Notifier::from_environment();
    let checked = check::check(&plan)?;
    notifier.ready(&format!("following replica {} of cluster {}", checked.replica, checked.cluster));
    while !stop.wait(notifier.watchdog_interval().unwrap_or(std::time::Duration::MAX)) {
        notifier.alive();
    }
    notifier.stopping();
    Ok(())
}

#[cfg(test)]
mod tests;
