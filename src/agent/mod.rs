//! The agent: one process beside one replica, which ships its log for as long as it runs.
//!
//! Flow: [`check`] opens what the configuration names, and
//! [`process_lock`](crate::disk::process_lock) ensures that only one agent uses a state directory.
//! Then one [`session`](crate::log_shipping::session) follows another: the log is joined to what is
//! stored ([`crate::tier::tigerbeetle::capture::join`]), the
//! [`follower`](crate::log_shipping::follower) reads it, the
//! [`collector`](crate::log_shipping::collector) makes sealed segments of it, and the
//! [`shipper`](crate::log_shipping::shipper) makes them durable (with
//! [`uploads`](crate::log_shipping::uploads), [`queue`](crate::log_shipping::queue) and
//! [`spool`](crate::log_shipping::spool)). The [`lease_holder`](crate::log_shipping::lease_holder)
//! holds the lease. The [`checkpoints`](crate::log_shipping::checkpoints) module takes checkpoints
//! when they are due or the [`checkpoint_policy`](crate::log_shipping::checkpoint_policy) wishes
//! one, and merges segments.
//!
//! The [`jobs`](crate::jobs) run everything else that runs from time to time, on threads that
//! `threads` starts and ends. The [`recorder`](crate::runs::recorder) records what ran, the
//! catalog's [`updates`](crate::catalog::updates) bring it to the catalog, and
//! [`delivery`](crate::runs::delivery) brings it to repository and ledger, after
//! [`reconcile`](crate::runs::reconcile) has ended the runs that were killed.
//!
//! All of them write on one [`status_board`](crate::monitor::status_board). From it, and from what
//! [`restorable`](crate::log_shipping::restorable) says can be restored, the
//! [`reporter`](crate::monitor::reporter) makes the [`status`](crate::monitor::status), which the
//! [`page`] shows. [`Stop`] says when to stop, and [`systemd`](crate::monitor::systemd) is notified
//! of the state.

pub mod check;
mod heartbeat;
pub mod page;
mod parts;
mod telemetry;
mod threads;

use crate::config::AgentConfig;
use crate::disk::process_lock::ProcessLock;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::log_shipping::follower::Ended;
use crate::log_shipping::lease_holder::Holder;
use crate::log_shipping::passing;
use crate::log_shipping::session::{Agent, Checked, SPOOL_FOLDER};
use crate::monitor::status::AgentState;
use crate::monitor::status_board::StatusBoard;
use crate::monitor::systemd::Notifier;
use crate::runs::delivery::LedgerDelivery;
use crate::stop::Stop;
use crate::store::folder::FolderStore;
use parts::Beginning;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use threads::Threads;

/// The pause between two sessions.
const SESSION_PAUSE: Duration = Duration::from_millis(50);
/// The file in which an agent keeps the token by which it recognises itself.
const TOKEN_FILE: &str = "agent-id";
const TOKEN_FILE_NEW: &str = "agent-id.new";

/// Runs the agent until a signal asks it to stop.
///
/// # Errors
/// What keeps the agent from starting, with the line of the configuration that caused it; an error
/// that another try would not fix.
pub fn run(plan: AgentConfig) -> Result<()> {
    let _lock = ProcessLock::take(plan.host, &plan.state_directory).map_err(|error| error.context(&plan.origins.state_directory))?;
    let stop = Stop::on_signals()?;
    let notifier = Notifier::from_environment();
    let checked = check::check(&plan).map_err(passing::at_start)?;
    let ledger_delivery = ledger_delivery(&plan, &checked)?;
    for note in &checked.notes {
        tracing::warn!("{note}");
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let holder = Holder {
        text: format!("replica {} on {host}, process {}", checked.replica, std::process::id()),
        token: token(plan.host, &plan.state_directory)?,
    };
    let board = Arc::new(StatusBoard::new(plan.host.clock));
    let board_clock = board.clock();
    board.change(|status| {
        (status.cluster, status.replica, status.pid) = (checked.cluster.to_string(), checked.replica, std::process::id());
        (status.host, status.began_ns, status.store_reachable) = (Some(host), board_clock.now_ns(), true);
    });
    let spool = Arc::new(FolderStore::open(&plan.state_directory.join(SPOOL_FOLDER))?);
    let beginning = Beginning { plan: &plan, checked: &checked, board: &board, token: &holder.token, notifier: &notifier };
    let parts = beginning.parts(ledger_delivery)?;
    let jobs = Arc::clone(&parts.jobs);
    let threads = Threads::start(parts, &beginning, &stop)?;
    let ended = sessions(&Agent { plan, checked, board, holder, jobs, spool }, &stop);
    notifier.stopping();
    threads.end();
    ended
}

/// The ledger to which backups are reported, if one is configured.
#[cfg(feature = "client")]
fn ledger_delivery(plan: &AgentConfig, checked: &Checked) -> Result<Option<LedgerDelivery>> {
    use crate::ledger_events::client::{Ledger, LedgerAddress};
    let Some(events) = &plan.events else { return Ok(None) };
    let place = LedgerAddress {
        cluster: events.cluster.unwrap_or(checked.cluster),
        addresses: events.addresses.clone(),
        accounts: events.accounts.clone(),
        answer_timeout: events.answer_timeout,
    };
    Ok(Some(LedgerDelivery { teller: Box::new(Ledger::new(place)), accounts: events.accounts.clone(), late_after: events.answer_timeout }))
}

#[cfg(not(feature = "client"))]
fn ledger_delivery(plan: &AgentConfig, _checked: &Checked) -> Result<Option<LedgerDelivery>> {
    match &plan.events {
        None => Ok(None),
        Some(events) => Err(events
            .origin
            .refuse("this program was built without TigerBeetle's client: build it with its default features, or remove [events]")),
    }
}

fn sessions(agent: &Agent, stop: &Stop) -> Result<()> {
    while goes_on(agent, agent.session(stop)?) {
        // A session never follows another without a pause.
        if stop.wait(agent.board.clock().wait(SESSION_PAUSE)) {
            break;
        }
    }
    Ok(())
}

/// Whether another session follows one that has ended.
fn goes_on(agent: &Agent, ended: Ended) -> bool {
    match ended {
        Ended::Stopped => false,
        Ended::Rejoin(reason) => {
            tracing::warn!("{reason}: looking anew where the log joins");
            agent.board.change(|status| status.state = AgentState::Starting);
            true
        }
    }
}

/// The token by which this agent recognises itself, the same at every start with this state
/// directory.
fn token(host: Host, directory: &Path) -> Result<String> {
    let path = directory.join(TOKEN_FILE);
    if let Ok(token) = host.disk.read(&path, 64)
        && let Ok(token) = String::from_utf8(token)
        && token.len() == 32
    {
        return Ok(token);
    }
    let token = format!("{:032x}", u128::from_le_bytes(host.random.bytes()?));
    let written = host.disk.replace(&path, TOKEN_FILE_NEW, 0o644, token.as_bytes());
    written.map_err(|error| Error::input(format!("{}: {error}", path.display())).caused_by(error))?;
    Ok(token)
}

#[cfg(test)]
mod tests;
