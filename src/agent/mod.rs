//! The agent: one process beside one replica, which ships its log for as long as it runs.
//!
//! Flow: [`check`] opens what the plan names; [`process_lock`] makes sure that there is one agent
//! in a state directory. Then [`session`] after session: the log is joined to what is stored
//! ([`crate::tier::tigerbeetle::capture::join`]), [`follow`] reads it, [`collector`] makes sealed
//! segments of it, [`shipper`] ([`backlog`], [`spool`]) makes them durable, [`keeper`] holds the
//! lease, [`bulk`] takes checkpoints when they are due or [`policy`] wishes one, and merges
//! segments. Whatever else runs once in a while [`jobs`] runs, on threads that `beside` starts and
//! ends. What ran is put down by the [`recorder`], brought to the catalog by the [`catalog_keeper`]
//! and to repository and ledger by [`delivery`], after [`reconcile`] has ended what was killed. All
//! of them write on one [`board`], which [`report`] makes the [`status`](crate::monitor::status)
//! of, together with what [`window`] says can be restored; [`page`] shows it. [`signals`] says when
//! to stop, [`notify`] tells systemd how it goes.

pub mod check;
pub mod page;
mod telemetry;
mod threads;

use crate::config::AgentConfig;
use crate::disk::process_lock::ProcessLock;
use crate::error::{Error, Result};
use crate::log_shipping::follower::Ended;
use crate::log_shipping::lease_holder::Holder;
use crate::log_shipping::session::Agent;
use crate::log_shipping::session::Checked;
use crate::monitor::status::AgentState;
use crate::monitor::status_board::StatusBoard;
use crate::monitor::systemd::Notifier;
use crate::repository::key;
use crate::runs::delivery::LedgerDelivery;
use crate::stop::Stop;
use crate::units::now_ns;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use threads::AgentThreads;

/// Between two sessions.
const SESSION_PAUSE: Duration = Duration::from_millis(50);
/// Where an agent keeps what it knows itself by.
const TOKEN_FILE: &str = "agent-id";

/// Runs the agent until a signal asks it to stop.
///
/// # Errors
/// What keeps it from starting, with the line of the configuration that led there; what no further
/// try would mend.
pub fn run(plan: AgentConfig) -> Result<()> {
    let _lock = ProcessLock::take(&plan.state_directory).map_err(|error| error.context(&plan.origins.state_directory))?;
    let stop = Stop::on_signals()?;
    let notifier = Notifier::from_environment();
    let checked = check::check(&plan)?;
    let told = told(&plan, &checked)?;
    for note in &checked.notes {
        tracing::warn!("{note}");
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let holder = Holder {
        text: format!("replica {} on {host}, process {}", checked.replica, std::process::id()),
        token: token(&plan.state_directory)?,
    };
    let board = Arc::new(StatusBoard::default());
    board.change(|status| {
        (status.cluster, status.replica, status.pid) = (checked.cluster.to_string(), checked.replica, std::process::id());
        (status.host, status.began_ns, status.store_reachable) = (Some(host), now_ns(), true);
    });
    let beside = AgentThreads { plan: &plan, checked: &checked, board: &board, token: &holder.token, notifier: &notifier, stop: &stop };
    let (jobs, threads) = beside.start(told)?;
    let ended = sessions(&Agent { plan, checked, board, holder, jobs }, &stop);
    notifier.stopping();
    threads.end();
    ended
}

/// The ledger that backups are told to, if one is configured.
#[cfg(feature = "client")]
fn told(plan: &AgentConfig, checked: &Checked) -> Result<Option<LedgerDelivery>> {
    use crate::ledger_events::client::{Ledger, LedgerAddress};
    let Some(events) = &plan.events else { return Ok(None) };
    let place = LedgerAddress {
        cluster: events.cluster.unwrap_or(checked.cluster),
        addresses: events.addresses.clone(),
        accounts: events.accounts,
        answer_timeout: events.answer_timeout,
    };
    Ok(Some(LedgerDelivery { teller: Box::new(Ledger::new(place)), accounts: events.accounts, late_after: events.answer_timeout }))
}

#[cfg(not(feature = "client"))]
fn told(plan: &AgentConfig, _checked: &Checked) -> Result<Option<LedgerDelivery>> {
    match &plan.events {
        None => Ok(None),
        Some(events) => Err(events
            .origin
            .refuse("this program was built without TigerBeetle's client: build it with its default features, or remove [events]")),
    }
}

fn sessions(agent: &Agent, stop: &Stop) -> Result<()> {
    loop {
        match agent.session(stop)? {
            Ended::Stopped => return Ok(()),
            Ended::Rejoin(reason) => tracing::warn!("{reason}: looking anew where the log joins"),
        }
        agent.board.change(|status| status.state = AgentState::Starting);
        // Never one session after the other without a rest.
        if stop.wait(SESSION_PAUSE) {
            return Ok(());
        }
    }
}

/// What this agent knows itself by, the same at every start with this state directory.
fn token(directory: &Path) -> Result<String> {
    let path = directory.join(TOKEN_FILE);
    if let Ok(token) = std::fs::read_to_string(&path)
        && token.len() == 32
    {
        return Ok(token);
    }
    let token = format!("{:032x}", u128::from_le_bytes(key::random()?));
    std::fs::write(&path, &token).map_err(|error| Error::input(format!("{}: {error}", path.display())))?;
    Ok(token)
}

#[cfg(test)]
mod tests;
