//! Clocks that jump.

use super::simulation::Simulation;
use super::{DAY, HOUR, MINUTE, at, rules, times};
use crate::schedule::cadence::Cadence;
use std::time::Duration;

fn cadences() -> [Cadence; 3] {
    [Cadence::Interval(DAY), Cadence::Interval(10 * MINUTE), times("0 3 * * *", "Europe/Berlin")]
}

/// The number of runs that begin within this time.
fn runs_within(simulation: &mut Simulation, duration: Duration) -> usize {
    let before = simulation.begun.len();
    simulation.run(duration);
    simulation.begun.len() - before
}

#[test]
fn a_clock_that_is_set_forward_makes_it_due_once() {
    for cadence in cadences() {
        let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", cadence.clone()));
        simulation.run(2 * DAY);
        simulation.set_clock(400 * 86_400);
        assert_eq!(runs_within(&mut simulation, Duration::from_secs(300)), 1, "{}", cadence.text());
        let a_day = runs_within(&mut simulation, DAY);
        let usual = if cadence == Cadence::Interval(10 * MINUTE) { 143..=145 } else { 1..=1 };
        assert!(usual.contains(&a_day), "{}: {a_day}", cadence.text());
    }
}

#[test]
fn a_clock_that_is_set_back_is_neither_a_flood_nor_silence() {
    for cadence in cadences() {
        for seconds in [-1, -59, -3600, -86_400, -400 * 86_400] {
            let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", cadence.clone()));
            simulation.run(2 * DAY);
            simulation.set_clock(seconds);
            let two_days = runs_within(&mut simulation, 2 * DAY + 20 * MINUTE);
            let usual = if cadence == Cadence::Interval(10 * MINUTE) { 286..=291 } else { 2..=3 };
            assert!(usual.contains(&two_days), "{} after {seconds} s: {two_days}", cadence.text());
        }
    }
}

#[test]
fn a_success_of_a_clock_that_was_ahead_does_not_hide_that_none_follows() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", Cadence::Interval(DAY)));
    simulation.run(2 * DAY);
    let success_ns = simulation.state("j").last_success_ns.unwrap();
    simulation.set_clock(-400 * 86_400);
    simulation.step();
    let corrected_ns = simulation.state("j").last_success_ns.unwrap();
    assert!(success_ns - corrected_ns > 398 * 86_400_000_000_000, "{success_ns} {corrected_ns}");
}

#[test]
fn a_clock_that_steps_back_a_little_behind_its_time_does_not_repeat_it() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", times("0 3 * * *", "UTC")));
    simulation.run(3 * HOUR + Duration::from_secs(2));
    assert_eq!(simulation.begun.len(), 1);
    simulation.set_clock(-5);
    assert_eq!(runs_within(&mut simulation, HOUR), 0);
}

#[test]
fn a_clock_that_jumps_to_and_fro_is_no_flood() {
    for cadence in cadences() {
        let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", cadence.clone()));
        simulation.run(DAY);
        let before = simulation.begun.len();
        for count in 0..DAY.as_secs() / 10 {
            simulation.set_clock(if count % 2 == 0 { 7 * 86_400 } else { -7 * 86_400 });
            simulation.run(Duration::from_secs(10));
        }
        let runs = simulation.begun.len() - before;
        assert!(runs <= 290, "{}: {runs}", cadence.text());
        let usual = if cadence == Cadence::Interval(10 * MINUTE) { 286..=291 } else { 2..=3 };
        let after = runs_within(&mut simulation, 2 * DAY + 20 * MINUTE);
        assert!(usual.contains(&after), "{}: {after}", cadence.text());
    }
}

#[test]
fn a_start_with_a_clock_that_is_not_set_yet_loses_nothing() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", Cadence::Interval(DAY)));
    simulation.run(2 * DAY);
    let before = simulation.begun.len();
    simulation.restart_after(MINUTE);
    simulation.now.wall_ns = 1_000_000_000;
    simulation.run(MINUTE);
    assert_eq!(simulation.begun.len(), before);
    simulation.now.wall_ns = at("2026-01-03T00:05:00Z");
    simulation.run(MINUTE);
    assert_eq!(simulation.begun.len(), before + 1, "once, because nothing is known any more");
    simulation.run(DAY);
    assert_eq!(simulation.begun.len(), before + 2);
    // A job that was never seen, at the beginning of time.
    let mut simulation = Simulation::of("1970-01-01T00:00:01Z", rules("j", Cadence::Interval(90 * DAY)));
    simulation.run(HOUR);
    simulation.now.wall_ns = at("2026-01-03T00:05:00Z");
    assert_eq!(runs_within(&mut simulation, HOUR), 1);
}
