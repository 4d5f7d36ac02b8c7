//! Runs that fail, that are killed, or that are cancelled.

use super::simulation::Simulation;
use super::{DAY, HOUR, MINUTE, retry, rules, times};
use crate::schedule::cadence::Cadence;
use crate::schedule::job::{Ended, Rules};
use crate::schedule::plan::{Lane, Standing};
use crate::schedule::state::Why;
use std::time::Duration;

const FAILED: Ended = Ended::Failed { is_final: false };

fn daily() -> Rules {
    rules("j", Cadence::Interval(DAY))
}

#[test]
fn a_failure_is_tried_again_later_each_time_and_the_cadence_goes_on() {
    for cadence in [Cadence::Interval(DAY), times("0 3 * * *", "Europe/Berlin")] {
        let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", cadence));
        simulation.script = Box::new(|_, _| (Duration::from_secs(5), FAILED));
        simulation.run(3 * DAY);
        let of_cadence: Vec<_> = simulation.begun.iter().filter(|begun| begun.why == Why::Cadence).collect();
        assert_eq!(of_cadence.len(), 3);
        assert!(of_cadence.windows(2).all(|pair| pair[1].wall_ns.abs_diff(pair[0].wall_ns + 86_400_000_000_000) < 5_000_000_000));
        assert_eq!(simulation.begun.len(), 3 * 6, "five more each day");
        let pauses: Vec<u64> =
            simulation.begun[..6].windows(2).map(|pair| (pair[1].uptime_ns - pair[0].uptime_ns) / 60_000_000_000).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16]);
        assert_eq!(simulation.state("j").failures_in_a_row, 18);
        assert!(simulation.schedule.job("j").unwrap().next().reason.starts_with(
            if matches!(simulation.schedule.job("j").unwrap().rules().cadence, Cadence::Interval(_)) { "every 24 h" } else { "At 03:00" }
        ));
    }
}

#[test]
fn one_that_succeeds_in_the_end_leaves_the_cadence_where_it_was() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", daily());
    simulation.script = Box::new(|_, count| (Duration::from_secs(5), if count < 4 { FAILED } else { Ended::Completed }));
    simulation.run(3 * DAY);
    let whys: Vec<bool> = simulation.begun.iter().map(|begun| begun.why == Why::Cadence).collect();
    assert_eq!(whys, [true, false, false, false, false, true, true]);
    assert_eq!(simulation.begun[5].wall_ns - simulation.begun[0].wall_ns, 86_400_000_000_000);
    assert_eq!((simulation.state("j").failures_in_a_row, simulation.state("j").failed), (0, None));
    assert!(simulation.state("j").last_success_ns.is_some());
}

#[test]
fn what_would_fail_again_is_not_tried_again() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", daily());
    simulation.script = Box::new(|_, _| (MINUTE, Ended::Failed { is_final: true }));
    simulation.run(3 * DAY);
    assert_eq!((simulation.begun.len(), simulation.state("j").failures_in_a_row), (3, 3));
}

#[test]
fn checkpoints_are_tried_again_without_an_end_but_not_without_a_pause() {
    let rules = Rules { retry: retry(Duration::from_secs(2), 15 * MINUTE, None), ..rules("checkpoint", Cadence::Interval(6 * HOUR)) };
    for wish in [None, Some(("checkpoint".to_owned(), "a gap".to_owned()))] {
        let mut simulation = Simulation::new("2026-01-01T00:00:00Z", vec![(rules.clone(), Lane::Backup, true)]);
        simulation.wish = wish.clone();
        simulation.script = Box::new(|_, _| (Duration::from_secs(1), FAILED));
        simulation.run(DAY);
        let count = simulation.begun.len();
        assert!((90..150).contains(&count), "{count}");
        simulation.script = Box::new(|_, _| (Duration::from_secs(1), Ended::Completed));
        simulation.run(15 * MINUTE + Duration::from_secs(5));
        assert_eq!(simulation.state("checkpoint").failures_in_a_row, 0);
    }
}

#[test]
fn a_run_that_was_killed_is_made_up_for_and_one_that_kills_does_not_do_so_at_every_start() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", daily());
    simulation.script = Box::new(|_, _| (HOUR, Ended::Completed));
    simulation.run(30 * MINUTE);
    assert_eq!(simulation.begun.len(), 1);
    simulation.restart_after(MINUTE);
    assert_eq!(simulation.state("j").failures_in_a_row, 1);
    simulation.run(2 * HOUR);
    assert_eq!((simulation.begun.len(), simulation.state("j").failures_in_a_row), (2, 0));
    // The system restarts the agent at once, and it crashes five seconds into the job.
    simulation.run(DAY);
    let before = simulation.begun.len();
    simulation.script = Box::new(|_, _| (HOUR, Ended::Completed));
    for _ in 0..DAY.as_secs() / 10 {
        simulation.step();
        let runs = simulation.state("j").running.is_some();
        if runs {
            simulation.pass(Duration::from_secs(5));
            simulation.restart_after(Duration::from_secs(5));
        } else {
            simulation.pass(Duration::from_secs(10));
        }
    }
    let killed = simulation.begun.len() - before;
    assert!((5..=8).contains(&killed), "{killed}");
}

#[test]
fn whoever_starts_the_agent_anew_need_not_wait_for_what_failed_before() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", daily());
    simulation.script = Box::new(|_, count| (Duration::from_secs(5), if count < 5 { FAILED } else { Ended::Completed }));
    simulation.run(35 * MINUTE);
    let before = simulation.begun.len();
    assert_eq!(before, 5);
    simulation.restart_after(MINUTE);
    simulation.run(Duration::from_secs(5));
    assert_eq!(simulation.begun.len(), before + 1);
}

#[test]
fn a_run_that_is_cancelled_counts_as_none() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", daily());
    simulation.script = Box::new(|_, _| (HOUR, Ended::Completed));
    simulation.run(30 * MINUTE);
    simulation.standing = Standing::default();
    simulation.step();
    assert_eq!(simulation.ended.last().map(|ended| ended.2), Some(Ended::Cancelled), "it is told to end");
    simulation.step();
    assert_eq!(simulation.schedule.job("j").unwrap().next().at_ns, None);
    simulation.run(HOUR);
    assert_eq!((simulation.begun.len(), simulation.state("j").failures_in_a_row), (1, 0));
    // It leads again, and knows what ran meanwhile: nothing.
    simulation.standing = Standing { leads: true, knows: false };
    simulation.run(MINUTE);
    assert!(simulation.schedule.job("j").unwrap().next().reason.contains("looked up"));
    assert_eq!(simulation.begun.len(), 1);
    simulation.standing.knows = true;
    simulation.run(2 * HOUR);
    assert_eq!((simulation.begun.len(), simulation.state("j").failures_in_a_row), (2, 0));
    // A lease that comes and goes does not cause a flood.
    let before = simulation.begun.len();
    for second in 0..DAY.as_secs() / 30 {
        simulation.standing.leads = second % 2 == 0;
        simulation.run(Duration::from_secs(30));
    }
    assert!(simulation.begun.len() - before <= 144, "{}", simulation.begun.len() - before);
}

#[test]
fn jobs_of_one_agent_do_not_care_who_leads() {
    let mut simulation = Simulation::new("2026-01-01T00:00:00Z", vec![(rules("key", Cadence::Interval(HOUR)), Lane::Maintenance, false)]);
    simulation.standing = Standing::default();
    simulation.run(DAY);
    assert_eq!(simulation.begun.len(), 24);
}
