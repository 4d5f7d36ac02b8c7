//! Clients that write without pause and count what was acknowledged.
//!
//! Each client is a thread with one session. It sends its next request when the last one is
//! answered, so a client has at most one request under way. An answer is counted at once: when
//! [`Load::acknowledged`] returns 17, requests 0 to 16 of that client are committed, and a backup
//! taken from then on must hold them.
//!
//! If a server goes away, the clients wait until it is back, as TigerBeetle's clients do. Stopping
//! never waits long: a request that stays without an answer is given up and reported.

use super::plan::LoadPlan;
use crate::error::{Error, Result};
use crate::ledger_events::session::{Answer, Session};
use crate::threads::lock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a client may take to end after it has given up a request. A client that takes longer is
/// not waited for.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// How often a waiting thread looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What to write and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// What is written.
    pub plan: LoadPlan,
    /// Each client ends by itself after this many requests. `None`: clients write until they are
    /// stopped.
    pub requests_max: Option<u64>,
    /// A pause after each request. `None`: full speed.
    pub pause: Option<Duration>,
    /// How long the creation of the accounts may take.
    pub setup_timeout: Duration,
    /// How long a stop waits for the answers to the requests under way. TigerBeetle's client waits
    /// longer and longer before it asks a silent server again, in the end about 10 s. If a server
    /// was away for a while, a shorter wait gives up although the server is back.
    pub stop_patience: Duration,
}

/// A running load; it is abandoned when dropped.
#[derive(Debug)]
pub struct Load {
    plan: LoadPlan,
    stop_patience: Duration,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    started: Instant,
}

/// What a load has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many requests of each client were acknowledged.
    pub acknowledged: Vec<u64>,
    /// The clients whose last request stayed without an answer: it may or may not be in the ledger.
    pub unanswered: Vec<usize>,
    /// From the end of the accounts' creation to the end of the load.
    pub elapsed: Duration,
    /// Requests acknowledged, over all clients.
    pub requests: u64,
    /// Transfers acknowledged, over all clients.
    pub transfers: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// Set by a stop: clients send no new requests, and give up those under way at this instant.
    give_up_at: OnceLock<Instant>,
    clients: Vec<Client>,
    failure: Mutex<Option<Error>>,
}

#[derive(Debug, Default)]
struct Client {
    acknowledged: AtomicU64,
    unanswered: AtomicBool,
}

impl Default for LoadOptions {
    /// [`LoadPlan::default`] at full speed until stopped; a minute for the accounts, 20 seconds for
    /// the last answers.
    fn default() -> Self {
        let (setup_timeout, stop_patience) = (Duration::from_secs(60), Duration::from_secs(20));
        LoadOptions { plan: LoadPlan::default(), requests_max: None, pause: None, setup_timeout, stop_patience }
    }
}

impl Load {
    /// Creates the accounts, then starts the clients. `addresses` is the address of one server, or
    /// those of all replicas with commas.
    ///
    /// # Errors
    /// [`Error::input`] when the plan is impossible or the ledger refuses the accounts;
    /// [`Error::try_again`] when nobody answers.
    pub fn start(cluster: u128, addresses: &str, options: &LoadOptions) -> Result<Load> {
        let plan = options.plan.checked()?;
        Session::new(cluster, addresses)?.create_accounts(&plan.new_accounts(), Instant::now() + options.setup_timeout)?;
        let sessions = (0..plan.clients).map(|_| Session::new(cluster, addresses)).collect::<Result<Vec<_>>>()?;
        let clients = (0..plan.clients).map(|_| Client::default()).collect();
        let shared = Arc::new(Shared { clients, ..Shared::default() });
        let mut load = Load { plan, stop_patience: options.stop_patience, shared, threads: Vec::new(), started: Instant::now() };
        for (client, session) in sessions.into_iter().enumerate() {
            let (shared, options) = (Arc::clone(&load.shared), options.clone());
            let thread = thread::Builder::new().name(format!("load-{client}"));
            let spawned = thread.spawn(move || shared.write(client, &session, &options));
            load.threads.push(
                spawned.map_err(|error| Error::try_again(format!("cannot start client {client} of the load: {error}")).caused_by(error))?,
            );
        }
        Ok(load)
    }

    /// What it writes.
    pub fn plan(&self) -> &LoadPlan {
        &self.plan
    }

    /// How many requests of each client are acknowledged by now; these are in the ledger for ever.
    pub fn acknowledged(&self) -> Vec<u64> {
        self.shared.acknowledged()
    }

    /// Waits until `requests` more requests are acknowledged, over all clients, than at the time of
    /// the call.
    ///
    /// # Errors
    /// The load's own failure; [`Error::try_again`] when it takes longer than `timeout` or the load
    /// ends first.
    pub fn wait_for(&self, requests: u64, timeout: Duration) -> Result<()> {
        let count = || self.acknowledged().iter().sum::<u64>();
        let (goal, deadline) = (count() + requests, Instant::now() + timeout);
        loop {
            // The order matters: this way the counts of ended threads are complete.
            let ended = self.threads.iter().all(JoinHandle::is_finished);
            if count() >= goal {
                return Ok(());
            }
            if let Some(failure) = self.shared.failure() {
                return Err(failure);
            }
            if ended || Instant::now() >= deadline {
                let why = if ended { "the load has ended".into() } else { format!("{timeout:?} have passed") };
                return Err(Error::try_again(format!("{} of {goal} requests are acknowledged, and {why}", count())));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until every client has sent its `requests_max`, or one has failed, or `timeout`
    /// passes; then as [`Load::stop`].
    ///
    /// # Errors
    /// The first failure of a client.
    pub fn finish(self, timeout: Duration) -> Result<Report> {
        let deadline = Instant::now() + timeout;
        while !self.threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline && self.shared.failure().is_none() {
            thread::sleep(LOOK_AGAIN);
        }
        self.stop()
    }

    /// Sends no more requests, waits up to `stop_patience` for the answers to those under way, and
    /// reports. A server that does not answer is no failure: the report names the clients that got
    /// no answer.
    ///
    /// # Errors
    /// The first failure of a client: a transfer that was refused, a session that was evicted.
    pub fn stop(self) -> Result<Report> {
        let patience = self.stop_patience;
        self.end(patience)
    }

    /// As [`Load::stop`], but waits for no answers: for a server that was killed and stays down.
    ///
    /// # Errors
    /// As [`Load::stop`].
    pub fn stop_at_once(self) -> Result<Report> {
        self.end(Duration::ZERO)
    }

    fn end(mut self, patience: Duration) -> Result<Report> {
        let give_up_at = *self.shared.give_up_at.get_or_init(|| Instant::now() + patience);
        let deadline = give_up_at + LEAVE_PATIENCE;
        while !self.threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
        }
        let elapsed = self.started.elapsed();
        for (client, thread) in self.threads.drain(..).enumerate() {
            if thread.is_finished() && thread.join().is_err() {
                self.shared.fail(Error::bug(format!("client {client} of the load panicked")));
            }
        }
        if let Some(failure) = self.shared.failure() {
            return Err(failure);
        }
        let acknowledged = self.shared.acknowledged();
        let requests = acknowledged.iter().sum();
        let unanswered = self.shared.clients.iter().enumerate().filter(|(_, client)| client.unanswered.load(Ordering::Acquire));
        Ok(Report {
            unanswered: unanswered.map(|(number, _)| number).collect(),
            acknowledged,
            elapsed,
            requests,
            transfers: requests * self.plan.transfers_per_request as u64,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // The clients see this within milliseconds and end; nobody waits for them.
        self.shared.give_up_at.get_or_init(Instant::now);
    }
}

impl Report {
    /// Requests acknowledged per second.
    pub fn requests_per_s(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Transfers acknowledged per second.
    pub fn transfers_per_s(&self) -> f64 {
        self.transfers as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

impl Shared {
    /// The loop of one client.
    fn write(&self, number: usize, session: &Session, options: &LoadOptions) {
        let client = &self.clients[number];
        for request in 0..options.requests_max.unwrap_or(u64::MAX) {
            if self.give_up_at.get().is_some() {
                return;
            }
            match session.try_transfers(&options.plan.request(number, request), || self.is_over()) {
                Answer::Done(Ok(())) => client.acknowledged.store(request + 1, Ordering::Release),
                Answer::Done(Err(error)) => return self.fail(error.context(format!("request {request} of client {number} of the load"))),
                Answer::GaveUp => return client.unanswered.store(true, Ordering::Release),
            }
            if let Some(pause) = options.pause {
                self.rest(pause);
            }
        }
    }

    fn rest(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while self.give_up_at.get().is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LOOK_AGAIN));
        }
    }

    fn is_over(&self) -> bool {
        self.give_up_at.get().is_some_and(|at| Instant::now() >= *at)
    }

    fn acknowledged(&self) -> Vec<u64> {
        self.clients.iter().map(|client| client.acknowledged.load(Ordering::Acquire)).collect()
    }

    fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone()
    }

    /// Keeps the first failure; the others often follow from it.
    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }
}
