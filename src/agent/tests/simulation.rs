//! An agent with all its parts in one thread, on a clock that only moves when nothing is due, with
//! a seed for its chance, a disk in memory and a store in memory.
//!
//! Flow: [`World`] is what outlives an agent: the replica's data file, the agent's disk, the store,
//! the ledger. [`World::live`] starts an agent and lets it take steps: the part that is due first
//! goes next, and says when it is due again.

use crate::agent::heartbeat::Beats;
use crate::agent::parts::{AgentParts, Beginning};
use crate::agent::{goes_on, token};
use crate::config::AgentConfig;
use crate::disk::file::ReadOptions;
use crate::error::{Error, Result};
use crate::host::clock::TimeSource;
use crate::host::disk::sample::MemoryDisk;
use crate::host::random::sample::seeded;
use crate::host::{Clock, Disk, Host, Random, Workers};
use crate::jobs::{Jobs, runner};
use crate::ledger_events::event::{Accounts, Event};
use crate::ledger_events::tests::book;
use crate::ledger_events::{Delivered, EventLedger};
use crate::log_shipping::lease_holder::Holder;
use crate::log_shipping::session::{Agent, Beside, Checked, Next as Sessions, Session};
use crate::log_shipping::tests::bench::{DataFile, plan};
use crate::log_shipping::tests::store_double::WeatherStore;
use crate::log_shipping::uploads::{Next, Uploader};
use crate::log_shipping::{checkpoints, restorable};
use crate::monitor::status_board::StatusBoard;
use crate::monitor::systemd::Notifier;
use crate::repository::sample::secret;
use crate::repository::{Options, Repository};
use crate::runs::delivery::LedgerDelivery;
use crate::stop::Stop;
use crate::store::memory::MemoryStore;
use crate::tb_format::layout::CHECKPOINT_OPS;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::next_checkpoint;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// When the simulated world begins.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);
/// How soon a part that something wakes is looked at again.
const WOKEN: Duration = Duration::from_millis(500);
/// How soon a part of the shipper that rests is looked at again.
const REST: Duration = Duration::from_millis(100);

/// A clock that a test moves.
#[derive(Debug)]
struct VirtualTime {
    began: Instant,
    passed: Mutex<Duration>,
}

impl VirtualTime {
    fn move_to(&self, moment: Instant) {
        let mut passed = self.passed.lock().unwrap();
        *passed = (*passed).max(moment.duration_since(self.began));
    }
}

impl TimeSource for VirtualTime {
    fn now(&self) -> Instant {
        self.began + *self.passed.lock().unwrap()
    }

    fn now_on_the_wall(&self) -> SystemTime {
        UNIX_EPOCH + EPOCH + *self.passed.lock().unwrap()
    }

    fn wait(&self, pause: Duration) -> Duration {
        *self.passed.lock().unwrap() += pause;
        Duration::ZERO
    }
}

/// A ledger that takes an id once.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<Vec<Event>>>);

impl Book {
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

impl EventLedger for Book {
    fn deliver(&mut self, event: &Event, _give_up: &dyn Fn() -> bool) -> Delivered {
        book(&mut self.0.lock().unwrap(), event)
    }

    fn known(&mut self) -> Result<HashSet<u128>> {
        Ok(self.events().iter().map(|event| event.id).collect())
    }

    fn describe(&self) -> String {
        "book".into()
    }
}

/// A replica whose log grows, as a data file in memory.
pub struct Replica {
    file: DataFile,
    /// At its second checkpoint.
    later: SampleFile,
    /// The log after op 959, as far as it grows.
    log: Vec<Vec<u8>>,
    pub op: u64,
}

/// The op at which the replica takes its second checkpoint: some time after the interval is full.
const LATER_OP: u64 = 959 + CHECKPOINT_OPS + 40;

impl Replica {
    /// A replica whose log ends with this op.
    fn new(last_op: u64) -> Replica {
        let all = SampleFile::new(7, (last_op - 959).max(CHECKPOINT_OPS));
        let file = DataFile::new(&SampleFile::new(7, 0));
        Replica { file, later: next_checkpoint(&all, 0).unwrap(), log: all.log, op: 959 }
    }

    /// Goes on by some ops.
    pub fn go_on(&mut self, ops: u64, last_op: u64, now: SystemTime) {
        let before_op = self.op;
        self.op = (self.op + ops).min(last_op);
        let log = |from_op: u64, to_op: u64| &self.log[(from_op - 959) as usize..(to_op - 959) as usize];
        if (before_op..self.op).contains(&(LATER_OP - 1)) {
            self.file.lay_out(&SampleFile { log: log(959 + CHECKPOINT_OPS, self.op).to_vec(), ..self.later.clone() });
        } else if self.op > before_op {
            self.file.append(log(before_op, self.op));
        } else {
            return;
        }
        // Two changes within a tick of the machine's clock are further apart here.
        std::fs::File::options().write(true).open(self.file.path()).and_then(|file| file.set_modified(now)).unwrap();
    }
}

/// What outlives an agent.
pub struct World {
    time: &'static VirtualTime,
    pub random: Random,
    host: Host,
    folder: TempDir,
    pub disk: MemoryDisk,
    spool: MemoryStore,
    pub store: WeatherStore,
    pub book: Book,
    pub replica: Replica,
    /// The op with which the replica's log ends.
    pub last_op: u64,
    /// Every step: which part, and when, in nanoseconds.
    pub trace: Vec<(Part, u64)>,
}

/// What takes steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    World,
    Session,
    Upload(usize),
    Spool,
    Lease,
    Checkpoints,
    Jobs,
    Records,
    Events,
    Catalog,
    Report,
    Ranges,
    Beats,
}

/// How an agent's life goes on, as the world decides each time that it takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives, and the world takes its next step after this long.
    Live(Duration),
    /// It is asked to stop.
    Stop,
    /// It is killed, and the disk forgets what was not synced.
    Kill,
}

/// An agent that lives.
struct Life<'agent> {
    session: Session<'agent>,
    beside: Option<Beside>,
    uploaders: Vec<Uploader>,
    parts: AgentParts,
    due: BTreeMap<Part, Instant>,
    stop: Stop,
}

impl World {
    pub fn new(seed: u64, last_op: u64) -> World {
        let time: &'static VirtualTime = Box::leak(Box::new(VirtualTime { began: Instant::now(), passed: Mutex::default() }));
        let folder = tempfile::tempdir().unwrap();
        // DuckDB writes files of its own, so the catalog is where it is on the machine, too.
        let disk = MemoryDisk::with_folder(&plan(folder.path(), "").state_directory);
        let (store, _) = WeatherStore::with_repository();
        let random = seeded(seed);
        let host = Host { clock: Clock::of(time), random, disk: disk.handle(), workers: Workers::Inline };
        let (spool, book, replica) = (MemoryStore::new(), Book::default(), Replica::new(last_op));
        World { time, random: seeded(!seed), host, folder, disk, spool, store, book, replica, last_op, trace: Vec::new() }
    }

    fn plan(&self) -> AgentConfig {
        let more = "[log]\nspool_after_ms = 2000\nmerge_after_segments = 16\n[checkpoint]\ninterval_s = 120\n";
        let read = ReadOptions { direct: false, uring: false, clock: self.host.clock };
        let plan = plan(self.folder.path(), more);
        AgentConfig { host: self.host, read, data_file: self.replica.file.path(), ..plan }
    }

    /// The repository, as its agent opens it.
    pub fn repository(&self) -> Arc<Repository> {
        let options = Options { workers: 1, transfers: 1, host: self.host, ..Options::default() };
        Repository::open(Arc::new(self.store.clone()), &secret(), options).unwrap()
    }

    /// Lets the replica go on by up to this many ops.
    pub fn go_on(&mut self, ops_max: u8) {
        let [ops] = self.random.bytes::<1>().unwrap();
        let now = self.host.clock.now_on_the_wall();
        self.replica.go_on(u64::from(ops % (ops_max + 1)), self.last_op, now);
    }

    /// Whether the log has ended, and this many steps are done.
    pub fn is_done(&self, steps: usize) -> bool {
        self.trace.len() >= steps && self.replica.op == self.last_op
    }

    pub fn state_directory(&self) -> PathBuf {
        self.plan().state_directory
    }

    pub fn disk(&self) -> Disk {
        self.host.disk
    }

    pub fn now_ns(&self) -> u64 {
        self.host.clock.now_ns()
    }

    /// Lets an agent live as long as the world wants, which decides with each of its own steps.
    pub fn live(&mut self, decide: &mut dyn FnMut(&mut World, &Arc<Jobs>) -> Fate) -> Result<()> {
        let (plan, repository) = (self.plan(), self.repository());
        let checked = Checked { repository, cluster: 7, replica: 0, replica_count: 3, checkpoint_op: 959, notes: Vec::new() };
        let board = Arc::new(StatusBoard::new(self.host.clock));
        let holder = Holder { text: "the simulated agent".into(), token: token(self.host, &plan.state_directory)? };
        let notifier = Notifier::from_environment();
        let beginning = Beginning { plan: &plan, checked: &checked, board: &board, token: &holder.token, notifier: &notifier };
        let accounts = Accounts { ledger: 700, system: 1, all_tenants: 2, tenants: BTreeMap::new() };
        let teller = LedgerDelivery { teller: Box::new(self.book.clone()), accounts, late_after: Duration::from_secs(5) };
        let parts = beginning.parts(Some(teller))?;
        let jobs = Arc::clone(&parts.jobs);
        let agent = Agent { plan, checked, board, holder, jobs, spool: Arc::new(self.spool.clone()) };
        let result = self.run(&agent, parts, decide);
        if result.as_ref().is_ok_and(|fate| *fate == Fate::Kill) {
            self.disk.crash();
        }
        result.map(drop)
    }

    fn run(&mut self, agent: &Agent, parts: AgentParts, decide: &mut dyn FnMut(&mut World, &Arc<Jobs>) -> Fate) -> Result<Fate> {
        let mut due: BTreeMap<Part, Instant> = BTreeMap::new();
        let always = [Part::World, Part::Session, Part::Jobs, Part::Records, Part::Events, Part::Catalog, Part::Report, Part::Ranges];
        due.extend(always.into_iter().chain([Part::Beats]).map(|part| (part, self.host.clock.now())));
        let stop = Stop::default();
        let mut life = Life { session: agent.begin_session()?, beside: None, uploaders: Vec::new(), parts, due, stop };
        loop {
            let Some((part, at)) = self.next(&life) else { return Err(Error::bug("nothing is due")) };
            self.time.move_to(at);
            self.trace.push((part, self.now_ns()));
            let pause = match part {
                Part::World => match decide(self, &agent.jobs) {
                    Fate::Live(pause) => Some(pause),
                    Fate::Kill => return Ok(Fate::Kill),
                    Fate::Stop => {
                        life.stop.ask();
                        None
                    }
                },
                Part::Session => match life.session_step(agent)? {
                    None if life.stop.is_asked() => return Ok(Fate::Stop),
                    pause => pause,
                },
                part => life.step(part),
            };
            match pause {
                Some(pause) => life.due.insert(part, self.host.clock.now() + pause),
                None => life.due.remove(&part),
            };
        }
    }

    /// The part that is due first; of several, one by chance.
    fn next(&self, life: &Life<'_>) -> Option<(Part, Instant)> {
        let now = self.host.clock.now();
        let first = *life.due.values().min()?;
        let ready: Vec<(Part, Instant)> = life.due.iter().filter(|(_, at)| **at <= first.max(now)).map(|(part, at)| (*part, *at)).collect();
        let [byte] = self.random.bytes::<1>().unwrap();
        ready.get(usize::from(byte) % ready.len()).copied()
    }
}

impl<'agent> Life<'agent> {
    fn session_step(&mut self, agent: &'agent Agent) -> Result<Option<Duration>> {
        let next = self.session.step(&self.stop)?;
        if let Some(beside) = self.session.take_beside() {
            self.uploaders = (0..2).map(|_| Uploader::default()).collect();
            let now = agent.board.clock().now();
            let beginning = [Part::Upload(0), Part::Upload(1), Part::Spool, Part::Lease, Part::Checkpoints];
            self.due.extend(beginning.map(|part| (part, now)));
            self.beside = Some(beside);
        }
        match next {
            Sessions::Pause(pause) => Ok(Some(pause)),
            Sessions::Over(ended) => {
                if !goes_on(agent, ended) {
                    return Ok(None);
                }
                self.session = agent.begin_session()?;
                Ok(Some(Duration::from_millis(50)))
            }
        }
    }

    /// A step of any other part; returns when it is due again.
    fn step(&mut self, part: Part) -> Option<Duration> {
        let parts = &mut self.parts;
        match part {
            Part::Jobs => {
                parts.runner.turn(&self.stop);
                Some(runner::TURN)
            }
            Part::Records => Some(parts.stages.repository.step(&self.stop).min(WOKEN)),
            Part::Events => parts.stages.ledger.as_mut().map(|ledger| ledger.step(&self.stop).min(WOKEN)),
            Part::Catalog => Some(parts.catalog.step().unwrap_or(Duration::from_secs(30))),
            Part::Report => {
                parts.reporter.turn();
                Some(Duration::from_secs(1))
            }
            Part::Ranges => {
                parts.ranges.turn();
                Some(restorable::TURN)
            }
            Part::Beats => Some(Beats::step(&mut parts.beats)),
            part => self.step_beside(part),
        }
    }

    fn step_beside(&mut self, part: Part) -> Option<Duration> {
        let beside = self.beside.as_mut()?;
        let next = match part {
            Part::Upload(number) => beside.shipper.upload_step(&mut self.uploaders[number]),
            Part::Spool => beside.shipper.spool_step(),
            Part::Lease => return beside.lease_holder.step(&beside.stop),
            Part::Checkpoints if beside.stop.is_asked() => return None,
            _ => {
                beside.checkpoints.turn(&beside.stop);
                return Some(checkpoints::TURN);
            }
        };
        match next {
            Next::Step => Some(Duration::ZERO),
            Next::Rest(at_most) => Some(at_most.unwrap_or(REST).min(REST)),
            Next::Pause(pause) => Some(pause),
            Next::End => None,
        }
    }
}
