//! The limits on a simulated clock: no window exceeds them, the log goes first, and a shortfall is
//! reported in time.

use super::Clocks;
use super::Pacer;
use super::*;
use crate::limits::bucket::Bucket;
use crate::limits::budget::WINDOW_S;
use crate::limits::forecast::Shortfall;
use crate::limits::limit::Limits;
use proptest::prelude::*;
use std::collections::VecDeque;

const TICK_S: f64 = 0.01;
const CORES: f64 = 2.0;

/// A machine on which bulk work is always wanted, and on which the log takes what it needs.
struct Machine {
    pacer: Pacer,
    /// CPU seconds that a window may have.
    allowed_s: f64,
    clocks: Clocks,
    /// What the process had used at the end of each tick, and what the log had used of that.
    cpu: Vec<f64>,
    log: Vec<f64>,
    /// CPU seconds that are left of each piece of bulk work, and what the piece takes in all.
    queue: VecDeque<(f64, f64)>,
    cost_s_per_byte: f64,
    piece_bytes: u64,
    bulk_bytes: u64,
    /// When bulk work may ask again.
    asks_at_s: f64,
}

impl Machine {
    fn new(percent: u32, cost_s_per_gib: f64, piece_bytes: u64) -> Machine {
        let limits = Limits { cpu_budget_percent: Some(percent), ..Limits::default() };
        Machine {
            pacer: Pacer::new(limits, CORES, Clocks::default()),
            allowed_s: f64::from(percent) / 100.0 * CORES * WINDOW_S,
            clocks: Clocks::default(),
            cpu: vec![0.0],
            log: vec![0.0],
            queue: VecDeque::new(),
            cost_s_per_byte: cost_s_per_gib / (1 << 30) as f64,
            piece_bytes,
            bulk_bytes: 0,
            asks_at_s: 0.0,
        }
    }

    /// One tick in which the log takes this many CPU seconds. Two workers do bulk work, of which at
    /// most 16 pieces wait.
    fn tick(&mut self, log_s: f64, wants_bulk: bool) {
        self.clocks.at_s += TICK_S;
        self.clocks.cpu_s += log_s;
        while wants_bulk && self.queue.len() < 16 && self.asks_at_s <= self.clocks.at_s {
            match self.pacer.admit(self.clocks, Priority::Bulk, Limit::Cpu, self.piece_bytes) {
                Ok(()) => {
                    let cost_s = self.piece_bytes as f64 * self.cost_s_per_byte;
                    self.queue.push_back((cost_s, cost_s));
                    self.bulk_bytes += self.piece_bytes;
                }
                Err(wait_s) => self.asks_at_s = self.clocks.at_s + wait_s,
            }
        }
        self.pacer.observe(self.clocks);
        let mut left_s = CORES * TICK_S;
        while let Some((rest_s, cost_s)) = self.queue.front_mut().filter(|_| left_s > 0.0) {
            let done_s = rest_s.min(left_s);
            (*rest_s, left_s) = (*rest_s - done_s, left_s - done_s);
            self.clocks.cpu_s += done_s;
            if *rest_s <= 0.0 {
                // A thread reports what it has used when a piece is done.
                self.clocks.bulk_s += *cost_s;
                self.queue.pop_front();
            }
        }
        self.cpu.push(self.clocks.cpu_s);
        self.log.push(self.log.last().unwrap() + log_s);
    }

    /// The fullest window of ten seconds, in CPU seconds, and what the log took in the fullest of
    /// its own.
    fn fullest(&self) -> (f64, f64) {
        let ticks = (WINDOW_S / TICK_S) as usize;
        let most = |series: &[f64]| (0..series.len()).map(|at| series[at] - series[at.saturating_sub(ticks)]).fold(0.0, f64::max);
        (most(&self.cpu), most(&self.log))
    }
}

/// What the log takes tick by tick: phases of this many ticks at a share of the budget's even rate,
/// sealed in lumps every half second.
fn log_series(phases: &[(u32, f64)], allowed_s: f64) -> Vec<f64> {
    let mut series = Vec::new();
    for (ticks, share) in phases {
        for _ in 0..*ticks {
            let lump = if series.len() % 50 == 49 { 50.0 } else { 0.0 };
            series.push(share * allowed_s * TICK_S / WINDOW_S * lump);
        }
    }
    series
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_window_is_beyond_the_budget_while_the_log_alone_fits(
        percent in 1_u32..40,
        cost_s_per_gib in 0.5_f64..30.0,
        piece_kib in 64_u64..1024,
        phases in proptest::collection::vec((20_u32..1500, 0.0_f64..0.9, any::<bool>()), 1..8),
    ) {
        let mut machine = Machine::new(percent, cost_s_per_gib, piece_kib << 10);
        let allowed_s = machine.allowed_s;
        let phases: Vec<(u32, f64)> = phases.into_iter().map(|(ticks, share, runs)| (ticks, if runs { share } else { 0.0 })).collect();
        for log_s in log_series(&phases, allowed_s) {
            machine.tick(log_s, true);
        }
        let (total_s, log_s) = machine.fullest();
        prop_assert!(log_s <= allowed_s);
        prop_assert!(total_s <= allowed_s * 1.0001, "{total_s} of {allowed_s}, the log {log_s}");
    }
}

#[test]
fn bulk_work_gets_what_is_left_and_no_more() {
    for (share, least) in [(0.0, 0.8), (0.5, 0.8), (0.9, 0.88)] {
        let mut machine = Machine::new(5, 2.5, 512 << 10);
        let allowed_s = machine.allowed_s;
        for log_s in log_series(&[(6000, share)], allowed_s) {
            machine.tick(log_s, true);
        }
        let mean = machine.clocks.cpu_s / (60.0 / WINDOW_S);
        assert!(mean >= least * allowed_s && machine.fullest().0 <= allowed_s, "{share}: {mean} of {allowed_s}");
    }
}

#[test]
fn the_log_goes_first_and_what_it_takes_beyond_the_budget_is_its_own() {
    let mut machine = Machine::new(5, 2.5, 512 << 10);
    let allowed_s = machine.allowed_s;
    log_series(&[(3000, 0.0)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, true));
    let before = machine.bulk_bytes;
    assert!(before > 0);
    // The log takes twice the budget and runs all the same. Within the two seconds of its trend
    // bulk work gets nothing more.
    log_series(&[(200, 2.0)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, true));
    let stopped = machine.bulk_bytes;
    log_series(&[(3000, 2.0)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, true));
    assert_eq!(machine.bulk_bytes, stopped);
    // Bulk work begins again when the log has been idle for as long as its demand is remembered.
    log_series(&[(9000, 0.0)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, true));
    assert!(machine.bulk_bytes > stopped + before / 4);
}

#[test]
fn work_that_becomes_dearer_is_held_back_as_soon_as_that_is_seen() {
    let mut machine = Machine::new(5, 1.0, 512 << 10);
    let allowed_s = machine.allowed_s;
    log_series(&[(3000, 0.3)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, true));
    machine.cost_s_per_byte *= 3.0;
    log_series(&[(3000, 0.3)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, true));
    assert!(machine.fullest().0 <= allowed_s, "{} of {allowed_s}", machine.fullest().0);
}

#[test]
fn a_piece_that_is_dearer_than_its_share_still_goes() {
    // One per cent of two cores is 0.2 s in ten; a piece of 1 MiB at the highest level may take a
    // quarter of that.
    let mut machine = Machine::new(1, 50.0, 1 << 20);
    let allowed_s = machine.allowed_s;
    log_series(&[(6000, 0.0)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, true));
    assert!(machine.bulk_bytes >= 8 << 20, "{}", machine.bulk_bytes);
    assert!(machine.fullest().0 <= allowed_s * 1.3, "{} of {allowed_s}", machine.fullest().0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_ten_seconds_pass_more_bytes_than_the_rate(
        rate in (1_u64 << 20)..(100 << 20),
        log in proptest::collection::vec(0.0_f64..0.9, 1..40),
        pieces in proptest::collection::vec(1_u64..(512 << 10), 1..50),
    ) {
        let (mut bucket, mut passed, mut next, mut log_left) = (Bucket::new(rate, 0.0), vec![0.0], 0, 0.0);
        for tick in 1..6000 {
            let at_s = f64::from(tick) * TICK_S;
            log_left += log[tick as usize / 150 % log.len()] * rate as f64 * TICK_S;
            if tick % 50 == 0 {
                bucket.take(at_s, log_left as u64, true);
                log_left = 0.0;
            }
            while bucket.ready(at_s, pieces[next % pieces.len()]).is_ok() {
                bucket.take(at_s, pieces[next % pieces.len()], false);
                next += 1;
            }
            passed.push(bucket.passed());
        }
        // If the rate is below one piece per half second, that one piece passes beyond it.
        let beyond = pieces.iter().max().map_or(0.0, |piece| (*piece as f64 - rate as f64 * 0.4).max(0.0));
        let most = passed.windows(1001).map(|window| window[1000] - window[0]).fold(0.0, f64::max);
        prop_assert!(most <= rate as f64 * WINDOW_S + beyond, "{most} at {rate} a second");
        prop_assert!(passed[5999] >= rate as f64 * 60.0 * 0.6, "{} at {rate} a second", passed[5999]);
    }
}

/// Ticks for a minute, with what the log sends and with bulk work that always wants to send.
fn minute(limits: Limits, mut tick: impl FnMut(&mut Pacer, Clocks)) -> (Pacer, Clocks) {
    let (mut pacer, mut clocks) = (Pacer::new(limits, CORES, Clocks::default()), Clocks::default());
    for _ in 0..6000 {
        clocks.at_s += TICK_S;
        tick(&mut pacer, clocks);
    }
    (pacer, clocks)
}

#[test]
fn a_log_that_is_near_a_limit_is_told_with_the_number_to_write() {
    let mut machine = Machine::new(5, 2.5, 512 << 10);
    let allowed_s = machine.allowed_s;
    for (share, needs) in [(0.5, None), (0.95, Some(8.0))] {
        log_series(&[(6100, share)], allowed_s).into_iter().for_each(|log_s| machine.tick(log_s, false));
        let forecast = machine.pacer.forecast(machine.clocks);
        let reported = forecast.shortfalls.first().map(|shortfall| match shortfall {
            Shortfall::Log { limit: Limit::Cpu, needs, .. } => *needs,
            other => panic!("{other:?}"),
        });
        assert_eq!(reported, needs, "{forecast:?}");
        assert!((forecast.log_cpu_percent - 5.0 * share).abs() < 0.2, "{forecast:?}");
    }
    let advice = machine.pacer.forecast(machine.clocks).advice().unwrap();
    assert!(
        advice.contains("the log alone takes 4.8 % of the machine") && advice.ends_with("write cpu_budget_percent = 8 in [limits]"),
        "{advice}"
    );

    let limits = Limits { upload_bytes_per_s: Some(10 << 20), ..Limits::default() };
    let (mut pacer, clocks) = minute(limits, |pacer, clocks| pacer.admit(clocks, Priority::Log, Limit::Upload, 110_000).unwrap());
    let advice = pacer.forecast(clocks).advice().unwrap();
    assert!(advice.ends_with(&format!("write upload_bytes_per_s = {} in [limits]", 18 << 20)), "{advice}");
}

#[test]
fn a_checkpoint_that_will_be_late_is_told_before_it_is() {
    let limits = Limits { upload_bytes_per_s: Some(10 << 20), ..Limits::default() };
    for (total_gib, due_s, late) in [(1_u64, 600.0, false), (10, 600.0, true), (10, 6000.0, false)] {
        let mut done = 0;
        let (mut pacer, clocks) = minute(limits, |pacer, clocks| {
            while pacer.admit(clocks, Priority::Bulk, Limit::Upload, 512 << 10).is_ok() {
                done += 512 << 10;
            }
            pacer.waited(Limit::Upload, TICK_S);
            pacer.goal(done, Some(total_gib << 30), due_s - clocks.at_s);
        });
        match pacer.forecast(clocks).shortfalls.first() {
            // At 9 MiB a second the rest needs 1077 s, of which 540 are left.
            Some(Shortfall::Late { limit: Limit::Upload, takes_s, left_s, needs }) if late => {
                assert!(
                    (*takes_s - 1077.0).abs() < 20.0 && (*left_s - 540.0).abs() < 1.0 && *needs as u64 == 18 << 20,
                    "{takes_s} {left_s} {needs}"
                );
            }
            reported => assert!(!late && reported.is_none(), "{total_gib} GiB in {due_s} s: {reported:?}"),
        }
        pacer.no_goal();
        assert_eq!(pacer.forecast(clocks).advice(), None);
    }
}
