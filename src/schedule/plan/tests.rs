//! Weeks and months of several jobs. Every job runs as often as it should, none runs beside itself,
//! and no long job delays a checkpoint.

use super::{Lane, Standing};
use crate::schedule::cadence::Cadence;
use crate::schedule::job::{Ended, Rules};
use crate::schedule::state::Why;
use crate::schedule::tests::simulation::Simulation;
use crate::schedule::tests::{DAY, HOUR, MINUTE, at, rules, text, times};
use std::time::Duration;

fn every(name: &str, interval: Duration) -> Rules {
    rules(name, Cadence::Interval(interval))
}

/// The jobs of an agent that has all of them: checkpoints, and everything else.
fn all() -> Simulation {
    let catalog = Rules { jitter: 30 * MINUTE, ..rules("catalog", times("30 2 * * *", "Europe/Berlin")) };
    let jobs = vec![
        (every("checkpoint", 6 * HOUR), Lane::Backup, true),
        (every("verification", DAY), Lane::Maintenance, true),
        (catalog, Lane::Maintenance, true),
        (every("drill", 90 * DAY), Lane::Maintenance, true),
        (every("key", DAY), Lane::Maintenance, false),
    ];
    let mut simulation = Simulation::new("2026-03-20T00:00:00Z", jobs);
    simulation.script = Box::new(|name, _| match name {
        "checkpoint" => (20 * MINUTE, Ended::Completed),
        "verification" => (9 * HOUR, Ended::Completed),
        _ => (MINUTE, Ended::Completed),
    });
    simulation
}

#[test]
fn a_week_and_ninety_days_run_as_they_should() {
    let mut simulation = all();
    simulation.run(7 * DAY);
    let of_week = |name: &str| simulation.starts(name).len();
    assert_eq!((of_week("checkpoint"), of_week("drill"), of_week("key")), (28, 1, 7));
    assert_eq!((of_week("verification"), of_week("catalog")), (7, 7));
    simulation.run(83 * DAY + 10 * HOUR);
    let of = |name: &str| simulation.starts(name).len();
    assert_eq!((of("checkpoint"), of("drill")), (362, 2), "the drill of the ninetieth day is the second");
    assert!((88..=91).contains(&of("verification")) && (90..=91).contains(&of("catalog")), "{} and {}", of("verification"), of("catalog"));
    // A checkpoint never waits for a verification.
    let checkpoints = simulation.starts("checkpoint");
    assert!(checkpoints.windows(2).all(|pair| pair[1].uptime_ns - pair[0].uptime_ns <= 6 * 3_600_000_000_000 + 60_000_000_000));
    // The catalog's time follows the wall clock into daylight saving time, plus its jitter and the
    // verification that it may wait for.
    for begun in simulation.starts("catalog") {
        let day = &text(begun.wall_ns)[..10];
        let summer = day >= "2026-03-29";
        let due_ns = at(&format!("{day}T{}:30:00Z", if summer { "00" } else { "01" }));
        assert!((due_ns..due_ns + 10 * 3_600_000_000_000).contains(&begun.wall_ns), "{} on {day}", text(begun.wall_ns));
    }
}

#[test]
fn one_job_of_a_lane_runs_at_a_time_and_the_one_that_waited_longest_is_next() {
    let jobs = ["a", "b", "c"].map(|name| (every(name, HOUR), Lane::Maintenance, true)).to_vec();
    let mut simulation = Simulation::new("2026-01-01T00:00:00Z", jobs);
    simulation.script = Box::new(|_, _| (15 * MINUTE, Ended::Completed));
    simulation.run(20 * MINUTE);
    let job = simulation.schedule.job_mut("c").unwrap();
    job.ask(simulation.now);
    simulation.run(4 * HOUR);
    let names: Vec<&str> = simulation.begun.iter().map(|begun| begun.name.as_str()).collect();
    assert_eq!(names[..6], ["a", "c", "b", "a", "c", "b"], "what was asked for first, then what has waited longest: {names:?}");
    assert!(simulation.begun.windows(2).all(|pair| pair[1].uptime_ns - pair[0].uptime_ns >= 15 * 60_000_000_000));
}

#[test]
fn a_run_that_takes_longer_than_the_interval_is_followed_by_one() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", every("slow", HOUR));
    simulation.script = Box::new(|_, _| (5 * HOUR + 30 * MINUTE, Ended::Completed));
    simulation.run(DAY);
    let starts = simulation.starts("slow");
    assert_eq!(starts.len(), 5, "{starts:?}");
    assert!(starts.windows(2).all(|pair| pair[1].uptime_ns - pair[0].uptime_ns >= 5 * 3_600_000_000_000));
}

#[test]
fn who_asks_while_it_runs_gets_one_run_behind_it() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", every("v", DAY));
    simulation.script = Box::new(|_, _| (HOUR, Ended::Completed));
    simulation.run(30 * MINUTE);
    for _ in 0..3 {
        simulation.schedule.job_mut("v").unwrap().ask(simulation.now);
        simulation.run(MINUTE);
    }
    simulation.run(5 * HOUR);
    let whys: Vec<&Why> = simulation.starts("v").iter().map(|begun| &begun.why).collect();
    assert_eq!(whys, [&Why::Cadence, &Why::Asked]);
    // An interval counts from the run that was asked for.
    let asked_ns = simulation.starts("v")[1].wall_ns;
    assert_eq!(simulation.schedule.job("v").unwrap().next().at_ns, Some(asked_ns + 86_400_000_000_000));
    // A time of the wall clock does not move.
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("v", times("0 3 * * *", "UTC")));
    simulation.schedule.job_mut("v").unwrap().ask(simulation.now);
    simulation.run(HOUR);
    assert_eq!(simulation.starts("v").len(), 1);
    assert_eq!(simulation.schedule.job("v").unwrap().next().at_ns, Some(at("2026-01-01T03:00:00Z")));
}

#[test]
fn a_new_job_is_due_soon_and_a_time_of_day_at_its_time() {
    for (cadence, wanted) in [
        (Cadence::Interval(90 * DAY), "2026-01-01T00:10:00Z"),
        (Cadence::Interval(2 * MINUTE), "2026-01-01T00:02:00Z"),
        (times("0 3 * * *", "UTC"), "2026-01-01T03:00:00Z"),
    ] {
        let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", cadence));
        simulation.step();
        assert_eq!(simulation.schedule.job("j").unwrap().next().at_ns.map(text).as_deref(), Some(wanted));
        // Restarts of the agent do not move it.
        simulation.restart_after(MINUTE);
        simulation.step();
        assert_eq!(simulation.schedule.job("j").unwrap().next().at_ns.map(text).as_deref(), Some(wanted));
    }
}

#[test]
fn after_a_time_without_an_agent_it_runs_once() {
    for cadence in [Cadence::Interval(DAY), times("0 3 * * *", "Europe/Berlin"), Cadence::Interval(MINUTE), times("* * * * *", "UTC")] {
        let mut simulation = Simulation::of("2026-01-01T00:00:00Z", rules("j", cadence.clone()));
        simulation.run(30 * HOUR);
        let before = simulation.begun.len();
        simulation.restart_after(10 * DAY);
        simulation.step();
        assert_eq!(simulation.begun.len(), before + 1, "{}", cadence.text());
        simulation.run(Duration::from_secs(50));
        assert!(simulation.begun.len() <= before + 2, "{}", cadence.text());
        let spacing = cadence.spacing(cadence.next_after(simulation.now.wall_ns).unwrap());
        let caught_up = simulation.begun.len();
        simulation.run(3 * spacing);
        assert!((2..=4).contains(&(simulation.begun.len() - caught_up)), "{}: it goes on", cadence.text());
    }
}

#[test]
fn a_paused_job_runs_only_when_asked_and_goes_on_afterwards() {
    for (cadence, at_once) in [(Cadence::Interval(DAY), true), (times("0 3 * * *", "UTC"), false)] {
        let mut simulation = Simulation::of("2026-01-01T12:00:00Z", rules("j", cadence));
        simulation.schedule.job_mut("j").unwrap().pause(simulation.now, true);
        simulation.run(3 * DAY);
        simulation.restart_after(DAY);
        simulation.run(DAY);
        assert_eq!((simulation.begun.len(), simulation.schedule.job("j").unwrap().next().reason.as_str()), (0, "paused"));
        simulation.schedule.job_mut("j").unwrap().ask(simulation.now);
        simulation.run(MINUTE);
        assert_eq!(simulation.begun.len(), 1);
        simulation.run(3 * DAY);
        simulation.schedule.job_mut("j").unwrap().pause(simulation.now, false);
        simulation.step();
        assert_eq!(simulation.begun.len() == 2, at_once, "an interval has passed; a time of day is let go");
        simulation.run(DAY + HOUR);
        assert_eq!(simulation.begun.len(), if at_once { 3 } else { 2 });
    }
}

#[test]
fn a_job_that_is_switched_off_runs_only_when_asked() {
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", Rules { is_enabled: false, ..every("j", HOUR) });
    simulation.run(DAY);
    assert_eq!(simulation.begun.len(), 0);
    assert!(simulation.schedule.job("j").unwrap().next().reason.contains("configuration"));
    simulation.schedule.job_mut("j").unwrap().ask(simulation.now);
    simulation.run(DAY);
    assert_eq!(simulation.begun.len(), 1);
}

#[test]
fn jitter_neither_adds_up_nor_moves_with_a_restart() {
    let jittered = Rules { jitter: 2 * HOUR, ..every("j", DAY) };
    let mut simulation = Simulation::of("2026-01-01T00:00:00Z", jittered.clone());
    simulation.run(100 * DAY);
    let starts: Vec<u64> = simulation.starts("j").iter().map(|begun| begun.wall_ns).collect();
    assert!((99..=101).contains(&starts.len()), "{}", starts.len());
    let gaps: Vec<u64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) / 60_000_000_000).collect();
    assert!(gaps.iter().all(|minutes| (22 * 60..=26 * 60).contains(minutes)), "{gaps:?}");
    assert!(gaps.iter().max() > gaps.iter().min().map(|least| least + 60).as_ref(), "it does vary: {gaps:?}");
    let mut restarted = Simulation::of("2026-01-01T00:00:00Z", jittered);
    for _ in 0..200 {
        restarted.run(12 * HOUR - MINUTE);
        restarted.restart_after(MINUTE);
    }
    let also: Vec<u64> = restarted.starts("j").iter().map(|begun| begun.wall_ns).collect();
    let near = |pair: (&u64, &u64)| pair.0.abs_diff(*pair.1) < 100 * 60_000_000_000;
    assert!(starts.iter().zip(&also).all(near), "{:?}\n{:?}", starts.len(), also.len());
    // The jitter never passes the next time of the cadence.
    let mut hourly = Simulation::of("2026-01-01T00:00:00Z", Rules { jitter: 9 * HOUR, ..rules("j", times("0 * * * *", "UTC")) });
    hourly.run(50 * HOUR);
    assert!((45..=51).contains(&hourly.begun.len()), "{}", hourly.begun.len());
}

#[test]
fn a_wish_begins_it_at_once_and_counts() {
    let mut simulation = Simulation::new("2026-01-01T00:00:00Z", vec![(every("checkpoint", 6 * HOUR), Lane::Backup, true)]);
    simulation.run(HOUR);
    assert_eq!(simulation.begun.len(), 1);
    simulation.wish = Some(("checkpoint".into(), "a gap".into()));
    simulation.step();
    assert_eq!(simulation.begun[1].why, Why::Wish("a gap".into()));
    simulation.wish = None;
    simulation.run(5 * HOUR + 50 * MINUTE);
    assert_eq!(simulation.begun.len(), 2);
    simulation.run(11 * MINUTE);
    assert_eq!(simulation.begun.len(), 3, "the interval counts from the last one");
    // The job does not run while it is paused, or on an agent that does not lead.
    simulation.schedule.job_mut("checkpoint").unwrap().pause(simulation.now, true);
    simulation.wish = Some(("checkpoint".into(), "a gap".into()));
    simulation.run(HOUR);
    simulation.schedule.job_mut("checkpoint").unwrap().pause(simulation.now, false);
    simulation.standing = Standing::default();
    simulation.run(HOUR);
    assert_eq!(simulation.begun.len(), 3);
}
