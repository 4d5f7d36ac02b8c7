//! How many transfers run at once: as many as the server takes.
//!
//! Additive increase, multiplicative decrease: a round of transfers that went well allows one more,
//! and one that the server turned away (503 SlowDown, 429), that timed out or whose connection was
//! lost halves what is allowed. Flow: a transfer waits for a [`Permit`] and holds it through all
//! its attempts and pauses, so that a server in trouble sees fewer of them; every attempt takes the
//! number of the current round when it begins ([`Limiter::began`]) and reports how it ended
//! ([`Limiter::ended`]). Attempts that began before the last decrease do not cause another one:
//! that decrease already answers what they met.

use crate::threads::lock;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Where a store begins: enough to find out within seconds how much the server takes.
const START: u32 = 4;

/// How an attempt of a request ended, as far as the number of transfers is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TransferOutcome {
    /// The request succeeded.
    Done,
    /// The server answered with an error that says nothing about how busy it is.
    Answered,
    /// The server asks for fewer requests.
    SlowDown,
    /// No answer came within the time-out, or the connection was lost or refused.
    Lost,
}

/// What a store has seen of its server since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Transfers that may run at once now; 0 where a store does not bound them.
    pub transfers_max: u32,
    /// Requests sent, every attempt counted.
    pub attempts: u64,
    /// Attempts after the first one of their request.
    pub retries: u64,
    /// Attempts that the server answered by asking for fewer requests.
    pub slow_downs: u64,
    /// Attempts that timed out, or whose connection was lost.
    pub lost: u64,
}

/// The number of transfers allowed, as a pure state machine.
#[derive(Debug)]
struct TransferWindow {
    /// The integer part is the number of transfers allowed.
    allowed: f64,
    allowed_max: f64,
    in_use: u32,
    /// Raised by every decrease.
    round: u64,
}

impl TransferWindow {
    fn new(transfers_max: u32) -> TransferWindow {
        let allowed_max = f64::from(transfers_max.max(1));
        TransferWindow { allowed: f64::from(START).min(allowed_max), allowed_max, in_use: 0, round: 0 }
    }

    fn allowed(&self) -> u32 {
        self.allowed as u32
    }

    fn ended(&mut self, round: u64, outcome: TransferOutcome) {
        match outcome {
            // A limit that is not used up says nothing about whether the server would take more.
            TransferOutcome::Done if self.in_use >= self.allowed() => {
                self.allowed = (self.allowed + 1.0 / self.allowed).min(self.allowed_max)
            }
            TransferOutcome::SlowDown | TransferOutcome::Lost if round == self.round => {
                self.allowed = (self.allowed / 2.0).max(1.0);
                self.round += 1;
            }
            _ => {}
        }
    }
}

/// Shared by all requests of one store.
#[derive(Debug)]
pub(super) struct Limiter {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    window: TransferWindow,
    seen: Traffic,
}

/// Permission for one transfer. Dropping it lets another one run.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Limiter);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.lock().window.in_use -= 1;
        self.0.changed.notify_one();
    }
}

impl Limiter {
    /// At most `transfers_max` at once, whatever the server takes.
    pub(super) fn new(transfers_max: u32) -> Limiter {
        Limiter {
            state: Mutex::new(State { window: TransferWindow::new(transfers_max), seen: Traffic::default() }),
            changed: Condvar::new(),
        }
    }

    /// Waits until one more transfer may run. The wait ends, because each running transfer ends
    /// within the store's deadline.
    pub(super) fn permit(&self) -> Permit<'_> {
        let busy = |state: &mut State| state.window.in_use >= state.window.allowed();
        let mut state = self.changed.wait_while(self.lock(), busy).unwrap_or_else(PoisonError::into_inner);
        state.window.in_use += 1;
        Permit(self)
    }

    /// Notes that an attempt begins; returns the round to report its end with.
    pub(super) fn began(&self, is_retry: bool) -> u64 {
        let mut state = self.lock();
        state.seen.attempts += 1;
        state.seen.retries += u64::from(is_retry);
        state.window.round
    }

    /// Notes how an attempt that began in `round` ended.
    pub(super) fn ended(&self, round: u64, outcome: TransferOutcome) {
        let mut state = self.lock();
        let before = state.window.allowed();
        state.window.ended(round, outcome);
        state.seen.slow_downs += u64::from(outcome == TransferOutcome::SlowDown);
        state.seen.lost += u64::from(outcome == TransferOutcome::Lost);
        if state.window.allowed() > before {
            self.changed.notify_one();
        }
    }

    /// Notes that an answer stopped half-way.
    pub(super) fn interrupted(&self) {
        let round = self.lock().window.round;
        self.ended(round, TransferOutcome::Lost);
    }

    /// What the store has seen so far.
    pub(super) fn traffic(&self) -> Traffic {
        let state = self.lock();
        Traffic { transfers_max: state.window.allowed(), ..state.seen }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// A round in which all that is allowed is in use and ends the same way.
    fn round(window: &mut TransferWindow, outcome: TransferOutcome) {
        window.in_use = window.allowed();
        let number = window.round;
        (0..window.in_use).for_each(|_| window.ended(number, outcome));
    }

    #[test]
    fn a_good_round_allows_about_one_more_and_no_more_than_the_most() {
        let mut window = TransferWindow::new(16);
        assert_eq!(window.allowed(), 4);
        round(&mut window, TransferOutcome::Done);
        assert!((4.8..=5.0).contains(&window.allowed), "{window:?}");
        (0..40).for_each(|_| round(&mut window, TransferOutcome::Done));
        assert_eq!(window.allowed(), 16);
        assert_eq!(TransferWindow::new(3).allowed(), 3, "the caller allows less than the start");
        assert_eq!(TransferWindow::new(0).allowed(), 1);
    }

    #[test]
    fn a_bad_round_halves_once_and_never_below_one() {
        for outcome in [TransferOutcome::SlowDown, TransferOutcome::Lost] {
            let mut window = TransferWindow::new(16);
            (0..40).for_each(|_| round(&mut window, TransferOutcome::Done));
            for expected in [8, 4, 2, 1, 1] {
                round(&mut window, outcome);
                assert_eq!(window.allowed(), expected, "16 that met the same trouble are one sign of it");
            }
            round(&mut window, TransferOutcome::Done);
            assert_eq!(window.allowed(), 2, "it comes back");
        }
    }

    #[test]
    fn late_reports_and_plain_answers_change_nothing() {
        let mut window = TransferWindow::new(16);
        window.in_use = 4;
        window.ended(0, TransferOutcome::Lost);
        assert_eq!((window.allowed(), window.round), (2, 1));
        window.ended(0, TransferOutcome::SlowDown);
        assert_eq!(window.allowed(), 2, "it began before the decrease");
        window.ended(1, TransferOutcome::Answered);
        assert_eq!(window.allowed(), 2);
        window.in_use = 1;
        (0..100).for_each(|_| window.ended(1, TransferOutcome::Done));
        assert_eq!(window.allowed(), 2, "nobody uses what is allowed");
    }

    #[test]
    fn permits_bound_what_runs_and_everything_is_counted() {
        let limiter = Arc::new(Limiter::new(16));
        let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let _permit = limiter.permit();
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 4);
        let round = limiter.began(false);
        limiter.ended(round, TransferOutcome::SlowDown);
        let round = limiter.began(true);
        limiter.ended(round, TransferOutcome::Lost);
        assert_eq!(limiter.traffic(), Traffic { transfers_max: 1, attempts: 2, retries: 1, slow_downs: 1, lost: 1 });
    }

    #[test]
    fn who_waits_goes_on_when_more_is_allowed() {
        let limiter = Limiter::new(16);
        let held: Vec<Permit<'_>> = (0..4).map(|_| limiter.permit()).collect();
        std::thread::scope(|scope| {
            let fifth = scope.spawn(|| drop(limiter.permit()));
            std::thread::sleep(Duration::from_millis(30));
            assert!(!fifth.is_finished());
            (0..5).for_each(|_| limiter.ended(limiter.began(false), TransferOutcome::Done));
            fifth.join().unwrap();
        });
        drop(held);
    }
}
