//! A machine whose time only passes when a test says so: clocks, runs of a given length, restarts.

use super::{MINUTE, at};
use crate::schedule::cadence::nanoseconds;
use crate::schedule::job::{Ended, Moment, Rules};
use crate::schedule::plan::{Lane, Schedule, Standing};
use crate::schedule::state::{JobState, Why};
use std::collections::BTreeMap;
use std::time::Duration;

/// A run that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub name: String,
    pub why: Why,
    pub wall_ns: u64,
    pub uptime_ns: u64,
}

/// How long a run takes and how it ends, by job and how many of it began before.
pub type Script = Box<dyn FnMut(&str, usize) -> (Duration, Ended)>;

pub struct Simulation {
    pub schedule: Schedule,
    pub now: Moment,
    pub standing: Standing,
    pub script: Script,
    pub wish: Option<(String, String)>,
    pub begun: Vec<Begun>,
    /// Ends of runs: name, uptime, how.
    pub ended: Vec<(String, u64, Ended)>,
    running: BTreeMap<String, (u64, Ended)>,
    counts: BTreeMap<String, usize>,
    jobs: Vec<(Rules, Lane, bool)>,
}

impl Simulation {
    pub fn new(start: &str, jobs: Vec<(Rules, Lane, bool)>) -> Simulation {
        let now = Moment { wall_ns: at(start), uptime_ns: 5_000_000_000 };
        let mut simulation = Simulation {
            schedule: Schedule::default(),
            now,
            standing: Standing { leads: true, knows: true },
            script: Box::new(|_, _| (Duration::from_secs(1), Ended::Completed)),
            wish: None,
            begun: Vec::new(),
            ended: Vec::new(),
            running: BTreeMap::new(),
            counts: BTreeMap::new(),
            jobs,
        };
        simulation.fill(BTreeMap::new());
        simulation
    }

    /// One job of the cluster.
    pub fn of(start: &str, rules: Rules) -> Simulation {
        Simulation::new(start, vec![(rules, Lane::Maintenance, true)])
    }

    fn fill(&mut self, mut states: BTreeMap<String, JobState>) {
        self.schedule = Schedule::default();
        for (rules, lane, is_cluster_wide) in &self.jobs {
            let state = states.remove(&rules.name).unwrap_or_default();
            self.schedule.add(rules.clone(), *lane, *is_cluster_wide, state, self.now);
        }
    }

    /// Kills the agent and starts it again after a while, with the state that was written down.
    pub fn restart_after(&mut self, away: Duration) {
        let kept = serde_json::to_string(&self.schedule.states()).unwrap();
        self.running.clear();
        self.pass(away);
        self.fill(serde_json::from_str(&kept).unwrap());
    }

    pub fn pass(&mut self, duration: Duration) {
        self.now.wall_ns += nanoseconds(duration);
        self.now.uptime_ns += nanoseconds(duration);
    }

    /// Sets the wall clock.
    pub fn set_clock(&mut self, by_seconds: i64) {
        self.now.wall_ns = self.now.wall_ns.saturating_add_signed(by_seconds * 1_000_000_000);
    }

    /// Handles everything that happens at this moment.
    pub fn step(&mut self) {
        let over: Vec<String> =
            self.running.iter().filter(|(_, (at, _))| *at <= self.now.uptime_ns).map(|(name, _)| name.clone()).collect();
        for name in over {
            let (_, ended) = self.running.remove(&name).unwrap();
            self.end(&name, ended);
        }
        for lane in [Lane::Backup, Lane::Maintenance] {
            let wish = self.wish.clone();
            let turn = self.schedule.turn(
                lane,
                self.now,
                self.standing,
                |_| true,
                |name| wish.clone().filter(|wish| wish.0 == name).map(|wish| wish.1),
            );
            for name in turn.stop {
                self.running.remove(&name);
                self.end(&name, Ended::Cancelled);
            }
            if let Some((name, why)) = turn.begin {
                assert!(!self.running.contains_key(&name), "{name} runs already");
                let count = self.counts.entry(name.clone()).or_default();
                let (takes, ended) = (self.script)(&name, *count);
                *count += 1;
                self.schedule.begin(&name, self.now, why.clone());
                self.running.insert(name.clone(), (self.now.uptime_ns + nanoseconds(takes), ended));
                self.begun.push(Begun { name, why, wall_ns: self.now.wall_ns, uptime_ns: self.now.uptime_ns });
            }
        }
    }

    fn end(&mut self, name: &str, ended: Ended) {
        self.schedule.end(name, self.now, ended);
        self.ended.push((name.to_owned(), self.now.uptime_ns, ended));
    }

    /// Lets this much time pass: from one event to the next, and with a look every minute.
    pub fn run(&mut self, duration: Duration) {
        let until_ns = self.now.uptime_ns + nanoseconds(duration);
        loop {
            self.step();
            if self.now.uptime_ns >= until_ns {
                return;
            }
            // A job that is due already waits until another one ends.
            let due =
                self.schedule.jobs().filter_map(|job| job.next().at_ns?.checked_sub(self.now.wall_ns)).filter(|pause_ns| *pause_ns > 0);
            let ends = self.running.values().map(|(end_ns, _)| end_ns - self.now.uptime_ns);
            let pause_ns = due.chain(ends).min().unwrap_or(u64::MAX).clamp(1_000_000_000, nanoseconds(MINUTE));
            self.pass(Duration::from_nanos(pause_ns.min(until_ns - self.now.uptime_ns)));
        }
    }

    /// When a job began, and why.
    pub fn starts(&self, name: &str) -> Vec<&Begun> {
        self.begun.iter().filter(|begun| begun.name == name).collect()
    }

    pub fn state(&self, name: &str) -> &JobState {
        self.schedule.job(name).unwrap().state()
    }
}
