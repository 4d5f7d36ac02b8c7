//! One job: whether it begins now, and if not, when.
//!
//! ```text
//!           look: due, asked for, wished, retry          end: completed | failed | cancelled
//!   waits --------------------------------------> runs ------------------------------------> waits
//! ```
//!
//! These rules hold, whatever happens:
//! - A job never runs beside itself. Requests that arrive during a run are all answered by one run
//!   after it.
//! - After a time without an agent it runs once, not once for every time that it missed.
//! - A failure is retried a few times, later each time. The cadence continues as if nothing had
//!   happened.
//! - If a clock is set forward, the job is due once. If a clock is set back, the job counts from
//!   now: there is neither a flood, nor silence until the old time comes again. By the monotonic
//!   clock, two runs that the cadence began lie apart ([`GAP_MAX`]).
//! - A run that is cancelled (the lease was lost, the agent ends) does not count as a run.

use super::cadence::{Cadence, duration_text, jitter, nanoseconds};
use super::state::{Failed, JobState, Running, Why};
use std::time::Duration;

/// A job that never ran is due this long after it was first seen, or after its interval if that is
/// shorter: soon enough to show that it works, but not while an agent starts.
pub const FIRST_AFTER: Duration = Duration::from_secs(600);
/// A time that lies further in the future than this was written by a clock that has been set back
/// since.
pub const CLOCK_SLACK: Duration = Duration::from_secs(600);
/// Two runs that the cadence begins lie apart by half its spacing, at most by this. A clock that
/// jumps back and forth cannot cause more runs than that.
pub const GAP_MAX: Duration = Duration::from_secs(600);

/// Why a job of the cluster does not run on an agent that is not the leader.
pub const ELSEWHERE: &str = "it runs on the agent that leads";

/// What the clocks say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, in nanoseconds since the epoch. It may jump.
    pub wall_ns: u64,
    /// A clock that only goes forward, in nanoseconds since any fixed moment.
    pub uptime_ns: u64,
}

/// How failures are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The pause after the first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// This many retries, until the job is due by its cadence again. `None` means no limit.
    pub times: Option<u32>,
}

/// The settings of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The job's name.
    pub name: String,
    /// When it is due by itself.
    pub cadence: Cadence,
    /// By how much later it may be due at the most.
    pub jitter: Duration,
    /// Makes the jitter differ from one repository to the next.
    pub salt: Vec<u8>,
    /// How failures are retried.
    pub retry: Retry,
    /// Whether it runs by itself at all.
    pub is_enabled: bool,
}

/// Why a job does not begin, whatever its own decision is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It belongs to another agent.
    Elsewhere,
    /// It has to wait until something is known; the text says what.
    NotYet(String),
}

/// When a job begins next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Next {
    /// The time, as far as it is known.
    pub at_ns: Option<u64>,
    /// Why at that time, or why not at all.
    pub reason: String,
}

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It begins now.
    Begin {
        /// Why.
        why: Why,
        /// Since when it could have begun: the job that has waited longest goes first.
        since_ns: u64,
    },
    /// It does not begin; [`ScheduledJob::next`] says more.
    Wait,
    /// It runs already.
    Goes,
    /// It runs, and must end: it belongs to another agent now.
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The run succeeded.
    Completed,
    /// The run failed.
    Failed {
        /// A retry would change nothing.
        is_final: bool,
    },
    /// The run was no longer wanted.
    Cancelled,
}

/// A time at which the cadence makes it due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Occurrence {
    /// The time from which the cadence counts.
    anchor_ns: u64,
    /// The due time with its jitter.
    due_ns: u64,
    jitter_ns: u64,
    spacing: Duration,
}

/// One job.
#[derive(Debug, Clone)]
pub struct ScheduledJob {
    rules: Rules,
    /// The cadence in words.
    cadence_text: String,
    state: JobState,
    next: Next,
    /// The next occurrence, computed from the anchor, and again when that moves.
    occurrence: Option<Occurrence>,
    /// When the cadence last began a run, in this process.
    began_uptime_ns: Option<u64>,
}

impl Retry {
    fn pause_ns(&self, attempts: u32) -> u64 {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        nanoseconds(self.first.saturating_mul(doubled).min(self.most))
    }
}

impl Next {
    /// Not until something changes.
    pub fn never(reason: impl Into<String>) -> Next {
        Next { at_ns: None, reason: reason.into() }
    }
}

impl ScheduledJob {
    /// A job with what is remembered of it. A run that was under way at the last stop was killed.
    /// It counts as a failure, so that work that kills its process does not do so at every start.
    pub fn new(rules: Rules, mut state: JobState, now: Moment) -> ScheduledJob {
        match (state.running.take(), &mut state.failed) {
            (Some(_), failed) => {
                let attempts = failed.map_or(0, |failed| failed.attempts).saturating_add(1);
                *failed = Some(Failed { at_ns: now.wall_ns, attempts, is_final: false });
                state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
            }
            // Whoever restarted the agent may have fixed the problem.
            (None, Some(failed)) => failed.attempts = failed.attempts.min(1),
            (None, None) => {}
        }
        let cadence_text = rules.cadence.text();
        ScheduledJob { rules, cadence_text, state, next: Next::default(), occurrence: None, began_uptime_ns: None }
    }

    /// The settings of the job.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// When it is due by itself, in words.
    pub fn cadence_text(&self) -> &str {
        &self.cadence_text
    }

    /// Whether a run of it is under way.
    pub fn is_running(&self) -> bool {
        self.state().running.is_some()
    }

    /// What is remembered of it.
    pub fn state(&self) -> &JobState {
        &self.state
    }

    /// When it begins next, as the last look found.
    pub fn next(&self) -> &Next {
        &self.next
    }

    /// Decides. `wish` is the reason why something else wants the job now, as long as it does.
    pub fn look(&mut self, now: Moment, hold: Option<&Hold>, wish: Option<&str>) -> Decision {
        self.settle(now);
        if self.state.running.is_some() {
            return if hold == Some(&Hold::Elsewhere) { Decision::Stop } else { Decision::Goes };
        }
        match self.decide(now, hold, wish) {
            Ok((why, since_ns)) => {
                self.next = Next { at_ns: Some(now.wall_ns), reason: self.why_text(&why) };
                Decision::Begin { why, since_ns }
            }
            Err(next) => {
                self.next = next;
                Decision::Wait
            }
        }
    }

    fn decide(&mut self, now: Moment, hold: Option<&Hold>, wish: Option<&str>) -> Result<(Why, u64), Next> {
        if hold == Some(&Hold::Elsewhere) {
            // The request was made on this agent, not on the one that runs the job.
            self.state.asked_ns = None;
            return Err(Next::never(ELSEWHERE));
        }
        let asked_ns = self.state.asked_ns;
        if asked_ns.is_none() && self.state.is_paused {
            return Err(Next::never("paused"));
        }
        if asked_ns.is_none() && !self.rules.is_enabled {
            return Err(Next::never("switched off in the configuration"));
        }
        if let Some(Hold::NotYet(reason)) = hold {
            return Err(Next::never(reason));
        }
        if let Some(asked_ns) = asked_ns {
            return Ok((Why::Asked, asked_ns));
        }
        if let Some(wish) = wish {
            let again_ns = self.state.failed.map_or(0, |failed| failed.at_ns.saturating_add(self.rules.retry.pause_ns(failed.attempts)));
            let why = Why::Wish(wish.to_owned());
            return if again_ns <= now.wall_ns {
                Ok((why, now.wall_ns))
            } else {
                Err(Next { at_ns: Some(again_ns), reason: self.why_text(&why) })
            };
        }
        let (at_ns, why) = match (self.due_ns(now), self.retry_ns()) {
            (due_ns, Some(retry_ns)) if due_ns.is_none_or(|due_ns| retry_ns < due_ns) => (retry_ns, Why::Retry),
            (Some(due_ns), _) => (due_ns, Why::Cadence),
            (None, _) => return Err(Next::never("its time never comes again")),
        };
        if at_ns <= now.wall_ns { Ok((why, at_ns)) } else { Err(Next { at_ns: Some(at_ns), reason: self.why_text(&why) }) }
    }

    fn why_text(&self, why: &Why) -> String {
        let failures = self.state.failures_in_a_row;
        match why {
            Why::Cadence => self.cadence_text.clone(),
            Why::Asked => "asked for".to_owned(),
            Why::Wish(wish) if failures == 0 => wish.clone(),
            Why::Wish(wish) => format!("again, {failures} have failed: {wish}"),
            Why::Retry => format!("again, {failures} have failed"),
        }
    }

    /// When a failure is retried, if it is.
    fn retry_ns(&self) -> Option<u64> {
        let failed = self.state.failed.filter(|failed| !failed.is_final)?;
        let tries = self.rules.retry.times.is_none_or(|times| failed.attempts <= times);
        tries.then(|| failed.at_ns.saturating_add(self.rules.retry.pause_ns(failed.attempts)))
    }

    /// When the cadence makes it due, if it ever does.
    fn due_ns(&mut self, now: Moment) -> Option<u64> {
        let occurrence = self.occurrence()?;
        let gap_ns = nanoseconds((occurrence.spacing / 2).min(GAP_MAX));
        let free_ns = self.began_uptime_ns.map_or(0, |began_ns| began_ns.saturating_add(gap_ns));
        let wait_ns = free_ns.saturating_sub(now.uptime_ns);
        Some(if wait_ns == 0 { occurrence.due_ns } else { occurrence.due_ns.max(now.wall_ns.saturating_add(wait_ns)) })
    }

    /// The next time by the cadence.
    fn occurrence(&mut self) -> Option<Occurrence> {
        let anchor_ns = self.state.anchor_ns?;
        if self.occurrence.is_none_or(|occurrence| occurrence.anchor_ns != anchor_ns) {
            let Rules { name, cadence, jitter: most, salt, .. } = &self.rules;
            self.occurrence = cadence.next_after(anchor_ns).map(|named_ns| {
                let spacing = cadence.spacing(named_ns);
                // The jitter never reaches the occurrence after this one.
                let most = (*most).min(spacing.saturating_sub(Duration::from_secs(1)));
                let jitter_ns = nanoseconds(jitter(salt, name, named_ns, most));
                Occurrence { anchor_ns, due_ns: named_ns.saturating_add(jitter_ns), jitter_ns, spacing }
            });
        }
        self.occurrence
    }

    /// Sets the anchor of a job that was never seen, and corrects times that were written by a
    /// clock that has been set back since.
    fn settle(&mut self, now: Moment) {
        let latest_ns = now.wall_ns.saturating_add(nanoseconds(CLOCK_SLACK));
        let state = &mut self.state;
        let anchor_ns = match (state.anchor_ns, &self.rules.cadence) {
            (Some(anchor_ns), _) if anchor_ns <= latest_ns => anchor_ns,
            (None, Cadence::Interval(interval)) => now.wall_ns.saturating_sub(nanoseconds(interval.saturating_sub(FIRST_AFTER))),
            _ => now.wall_ns,
        };
        state.anchor_ns = Some(anchor_ns);
        state.known_ns = state.known_ns.map(|known_ns| if known_ns > latest_ns { now.wall_ns } else { known_ns });
        state.last_success_ns = state.last_success_ns.map(|success_ns| if success_ns > latest_ns { now.wall_ns } else { success_ns });
        if let Some(failed) = state.failed.as_mut().filter(|failed| failed.at_ns > latest_ns) {
            failed.at_ns = now.wall_ns;
        }
    }

    /// The job begins. Whatever the reason is, this run answers everybody who has asked for it.
    pub fn begin(&mut self, now: Moment, why: Why) {
        self.settle(now);
        let anchor_before_ns = self.state.anchor_ns;
        if why == Why::Cadence {
            let jitter_ns = self.occurrence().map_or(0, |occurrence| occurrence.jitter_ns);
            self.state.anchor_ns = Some(match self.rules.cadence {
                // Without its jitter, which would add up otherwise.
                Cadence::Interval(_) => now.wall_ns.saturating_sub(jitter_ns),
                Cadence::Times(_) => now.wall_ns.max(anchor_before_ns.unwrap_or(0)),
            });
            self.state.failed = None;
            self.began_uptime_ns = Some(now.uptime_ns);
        }
        self.state.asked_ns = None;
        self.state.known_ns = Some(now.wall_ns);
        self.state.running = Some(Running { started_ns: now.wall_ns, why, anchor_before_ns });
    }

    /// The run has ended.
    pub fn end(&mut self, now: Moment, ended: Ended) {
        let Some(running) = self.state.running.take() else { return };
        let state = &mut self.state;
        match ended {
            Ended::Completed => {
                state.last_success_ns = Some(now.wall_ns);
                (state.failures_in_a_row, state.failed) = (0, None);
                // An interval promises that the last run is no older. A run by retry belongs to the
                // time at which the job was due.
                if matches!((&self.rules.cadence, &running.why), (Cadence::Interval(_), Why::Asked | Why::Wish(_))) {
                    state.anchor_ns = Some(running.started_ns);
                }
            }
            Ended::Failed { is_final } => {
                let attempts = state.failed.map_or(0, |failed| failed.attempts).saturating_add(1);
                state.failed = Some(Failed { at_ns: now.wall_ns, attempts, is_final });
                state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
            }
            Ended::Cancelled => state.anchor_ns = running.anchor_before_ns,
        }
    }

    /// Somebody requests a run, whatever the cadence says.
    pub fn ask(&mut self, now: Moment) {
        self.state.asked_ns.get_or_insert(now.wall_ns);
    }

    /// Pauses the job, or lets it continue. If an interval has passed meanwhile, the job is due;
    /// times of the wall clock that have passed meanwhile are skipped.
    pub fn pause(&mut self, now: Moment, is_paused: bool) {
        let resumes = self.state.is_paused && !is_paused;
        if resumes && matches!(self.rules.cadence, Cadence::Times(_)) {
            self.state.anchor_ns = self.state.anchor_ns.map(|anchor_ns| anchor_ns.max(now.wall_ns));
        }
        self.state.is_paused = is_paused;
    }

    /// Another agent ran the job, or this one did before its restart: when the run began, and, once
    /// it is over, when it ended and whether it succeeded. A run that is known already changes
    /// nothing.
    pub fn record_elsewhere(&mut self, now: Moment, started_ns: u64, ended: Option<(u64, bool)>) {
        self.settle(now);
        let state = &mut self.state;
        if state.running.is_some() || state.known_ns.is_some_and(|known_ns| started_ns <= known_ns) {
            return;
        }
        (state.known_ns, state.anchor_ns) = (Some(started_ns), Some(started_ns));
        match ended {
            Some((ended_ns, true)) => {
                state.last_success_ns = Some(ended_ns);
                (state.failures_in_a_row, state.failed) = (0, None);
            }
            // A run without an end was killed.
            _ => {
                state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
                let at_ns = ended.map_or(now.wall_ns, |(ended_ns, _)| ended_ns);
                state.failed = Some(Failed { at_ns, attempts: 1, is_final: false });
            }
        }
        self.settle(now);
    }

    /// A successful run ended then, on whichever agent.
    pub fn record_success(&mut self, ended_ns: Option<u64>) {
        self.state.last_success_ns = self.state.last_success_ns.max(ended_ns);
    }

    /// What begins the job next and when, in words.
    pub fn next_text(&self, now_ns: u64) -> String {
        match self.next.at_ns {
            Some(at_ns) if at_ns > now_ns => {
                let minutes = (at_ns - now_ns).div_ceil(60_000_000_000);
                format!("in {}", duration_text(Duration::from_secs(minutes * 60)))
            }
            Some(_) => format!("now: {}", self.next.reason),
            None => self.next.reason.clone(),
        }
    }
}
