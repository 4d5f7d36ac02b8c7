//! The agent: one process beside one replica, which ships its log for as long as it runs.
//!
//! Flow: [`check`] opens what the plan names; [`process_lock`] makes sure that there is one agent in a state directory. Then [`session`] after session: the log
//! is joined to what is stored ([`crate::tier::tigerbeetle::join`]), [`follow`] reads it, [`collector`] makes sealed segments of it, [`shipper`] ([`backlog`],
//! [`spool`]) makes them durable, [`keeper`] holds the lease, [`bulk`] takes checkpoints when they are due or [`policy`] wishes one, and merges segments. Whatever else runs once in
//! a while [`jobs`] runs. What ran is put down by the [`recorder`], brought to the catalog by the [`catalog_keeper`] and to repository and ledger by [`delivery`], after [`reconcile`] has ended what was killed. All of them write on one
//! [`board`], which [`report`] makes the [`status`](crate::observe::status) of, together with what [`window`] says can be restored; [`page`] shows it.
//! [`signals`] says when to stop, [`notify`] tells systemd how it goes.

pub mod backlog;
pub mod board;
pub mod bulk;
pub mod catalog_keeper;
pub mod check;
pub mod collector;
pub mod delivery;
pub mod follow;
pub mod jobs;
pub mod jobs_catalog;
pub mod keeper;
pub mod notify;
pub mod page;
pub mod policy;
pub mod process_lock;
pub mod reconcile;
pub mod recorder;
pub mod report;
pub mod session;
pub mod shipper;
mod shipping;
pub mod signals;
pub mod spool;
mod telemetry;
pub mod window;

use crate::catalog::folder::STATE_FOLDER;
use crate::catalog::writer::Catalog;
use crate::config::Plan;
use crate::error::{Error, Result};
use crate::observe::live::Live;
use crate::observe::status::Control;
use crate::repository::run::RunSink;
use crate::units::now_ns;
use board::Board;
use catalog_keeper::{CatalogKeeper, CatalogQueue};
use check::Checked;
use delivery::{Delivery, Told};
use follow::Ended;
use jobs::clerk::Clerk;
use jobs::registry::registrations;
use jobs::{Jobs, Parts};
use keeper::Holder;
use notify::Notifier;
use process_lock::ProcessLock;
use recorder::Recorder;
use report::Reporter;
use session::Agent;
use signals::Stop;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use window::Window;

/// Between two sessions.
const SESSION_PAUSE: Duration = Duration::from_millis(50);
/// How long the end of the agent waits for its jobs to end, and as long again for the catalog.
const JOBS_GRACE: Duration = Duration::from_secs(5);
/// Where an agent keeps what it knows itself by.
const TOKEN_FILE: &str = "agent-id";

/// Runs the agent until a signal asks it to stop.
///
/// # Errors
/// What keeps it from starting, with the line of the configuration that led there; what no further try would mend.
pub fn run(plan: Plan) -> Result<()> {
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
    let board = Arc::new(Board::default());
    board.change(|status| {
        (status.cluster, status.replica, status.pid) = (checked.cluster.to_string(), checked.replica, std::process::id());
        (status.host, status.began_ns, status.store_reachable) = (Some(host), now_ns(), true);
    });
    let catalog = Arc::new(Catalog::new(&checked.repository, &plan.state_directory.join(STATE_FOLDER)));
    let catalog_queue = Arc::new(CatalogQueue::default());
    let recorder = (holder.token.as_str(), vec![Arc::clone(&catalog_queue) as Arc<dyn RunSink>], told.is_some());
    let recorder = Arc::new(Recorder::new(&checked.repository, &board, &plan.state_directory, recorder)?);
    let delivery = Delivery::start(&recorder, told)?;
    let parts = Parts {
        repository: Arc::clone(&checked.repository),
        catalog: Arc::clone(&catalog),
        board: Arc::clone(&board),
        sink: recorder,
        by: holder.token.clone(),
        registrations: registrations(&plan),
    };
    let jobs = Jobs::open(&plan, parts)?;
    let mut clerk = Clerk::new(&jobs);
    notifier.ready(&format!("following replica {} of cluster {}", checked.replica, checked.cluster));
    let live = Arc::new(Live::default());
    live.set_control(Arc::clone(&jobs) as Arc<dyn Control>);
    let telemetry_stop = Stop::default();
    telemetry::start(plan.telemetry.as_ref(), &live, &telemetry_stop)?;
    let page = page::serve(page::options(&plan.page)?, &live, &board)?;
    let mut reporter =
        Reporter::new(&board, &live, plan.state_directory.clone(), notifier, plan.log.lag_alarm, checked.repository.governor());
    let mut window = Window::new(&checked.repository, &board);
    let governor = Arc::clone(checked.repository.governor());
    let report_stop = Stop::default();
    let (reporting, looking) = (report_stop.clone(), report_stop.clone());
    let reported = session::spawn("amber-report", move || reporter.run(&reporting))?;
    session::spawn("amber-window", move || window.run(&looking))?;
    let (mut catalog_keeper, catalog_stop) = (CatalogKeeper::new(&catalog, &catalog_queue), Stop::default());
    let catalog_stopping = catalog_stop.clone();
    let catalogued = session::spawn("amber-catalog", move || catalog_keeper.run(catalog_keeper::FIRST_AFTER, &catalog_stopping))?;
    let jobs_stop = Stop::default();
    let (stopping, jobs_stopping) = (stop.clone(), jobs_stop.clone());
    let clerked = session::spawn("amber-jobs", move || clerk.run(&stopping, &jobs_stopping))?;
    let ended = sessions(&Agent { plan, checked, board: Arc::clone(&board), holder, jobs }, &stop);
    notifier.stopping();
    // What waits for its turn must see that nobody wants it any more.
    governor.release();
    jobs_stop.ask();
    // A store that does not answer must not keep the process.
    let wait_for = |thread: &JoinHandle<()>| {
        let began = Instant::now();
        while !thread.is_finished() && began.elapsed() < JOBS_GRACE {
            std::thread::sleep(SESSION_PAUSE);
        }
    };
    wait_for(&clerked);
    catalog_stop.ask();
    wait_for(&catalogued);
    delivery.stop();
    report_stop.ask();
    telemetry_stop.ask();
    let _ = reported.join();
    drop(page);
    ended
}

/// The ledger that backups are told to, if one is configured.
#[cfg(feature = "client")]
fn told(plan: &Plan, checked: &Checked) -> Result<Option<Told>> {
    use crate::events::ledger::{Ledger, Place};
    let Some(events) = &plan.events else { return Ok(None) };
    let place = Place {
        cluster: events.cluster.unwrap_or(checked.cluster),
        addresses: events.addresses.clone(),
        accounts: events.accounts,
        answer_timeout: events.answer_timeout,
    };
    Ok(Some(Told { teller: Box::new(Ledger::new(place)), accounts: events.accounts, late_after: events.answer_timeout }))
}

#[cfg(not(feature = "client"))]
fn told(plan: &Plan, _checked: &Checked) -> Result<Option<Told>> {
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
        agent.board.change(|status| status.state = crate::observe::status::AgentState::Starting);
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
    let token = format!("{:032x}", u128::from_le_bytes(crate::repository::key::random()?));
    std::fs::write(&path, &token).map_err(|error| Error::input(format!("{}: {error}", path.display())))?;
    Ok(token)
}

#[cfg(test)]
#[path = "tests/bench.rs"]
mod bench;
#[cfg(test)]
#[path = "tests/store_double.rs"]
mod store_double;
#[cfg(test)]
mod tests;
