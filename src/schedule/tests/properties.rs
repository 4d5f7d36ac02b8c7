//! Whatever happens to a job in whatever order: it never runs beside itself, there is never a flood
//! and never endless silence, and a restart changes nothing.

use super::simulation::Simulation;
use super::{DAY, HOUR, MINUTE, rules, times};
use crate::schedule::cadence::Cadence;
use crate::schedule::job::{Ended, Rules};
use crate::schedule::plan::{Lane, Standing};
use crate::schedule::state::{JobState, Why};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Event {
    Run(u64),
    Jump(i64),
    Restart(u64),
    Pause(bool),
    Ask,
    Lead(bool),
    Outcome(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..2000_u64).prop_map(Event::Run),
        1 => (-2_000_000..2_000_000_i64).prop_map(Event::Jump),
        1 => (0..100_000_u64).prop_map(Event::Restart),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => Just(Event::Ask),
        1 => any::<bool>().prop_map(Event::Lead),
        1 => any::<bool>().prop_map(Event::Outcome),
    ]
}

fn cadence() -> impl Strategy<Value = Cadence> {
    prop_oneof![
        (600..200_000_u64).prop_map(|seconds| Cadence::Interval(Duration::from_secs(seconds))),
        prop::sample::select(vec!["*/7 * * * *", "30 2 * * *", "0 2,14 * * 1-5", "15 3 1 * *"])
            .prop_flat_map(|expression| prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe"])
                .prop_map(move |zone| times(expression, zone))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_floods_and_nothing_falls_silent(cadence in cadence(), jitter_s in 0..7200_u64, events in prop::collection::vec(event(), 0..40)) {
        let mut simulation = Simulation::new(
            "2026-03-01T00:00:00Z",
            vec![(Rules { jitter: Duration::from_secs(jitter_s), ..rules("j", cadence.clone()) }, Lane::Maintenance, true)],
        );
        let (mut asked, mut restarts, mut jumps, mut leads_changes) = (0, 0, 0, 0);
        let began_ns = simulation.now.uptime_ns;
        for event in events {
            match event {
                Event::Run(minutes) => simulation.run(minutes as u32 * MINUTE),
                Event::Jump(seconds) => {
                    simulation.set_clock(seconds);
                    jumps += 1;
                }
                Event::Restart(seconds) => {
                    simulation.restart_after(Duration::from_secs(seconds));
                    restarts += 1;
                }
                Event::Pause(is_paused) => {
                    let now = simulation.now;
                    simulation.schedule.job_mut("j").unwrap().pause(now, is_paused);
                }
                Event::Ask => {
                    let now = simulation.now;
                    simulation.schedule.job_mut("j").unwrap().ask(now);
                    asked += 1;
                }
                Event::Lead(leads) => {
                    simulation.standing = Standing { leads, knows: leads };
                    leads_changes += 1;
                }
                Event::Outcome(completes) => {
                    let ended = if completes { Ended::Completed } else { Ended::Failed { is_final: false } };
                    simulation.script = Box::new(move |_, _| (30 * MINUTE, ended));
                }
            }
            simulation.step();
        }
        // No flood: the cadence begins no more runs than fit, and each has at most five retries.
        let of_cadence = simulation.begun.iter().filter(|begun| begun.why == Why::Cadence).count() as u64;
        let retries = simulation.begun.iter().filter(|begun| begun.why == Why::Retry).count() as u64;
        let real_s = (simulation.now.uptime_ns - began_ns) / 1_000_000_000;
        let least_s = match &cadence {
            Cadence::Interval(interval) => interval.as_secs(),
            Cadence::Times(_) => 380,
        };
        prop_assert!(of_cadence <= real_s / least_s + 2 + restarts + leads_changes + 2 * jumps, "{of_cadence} in {real_s} s");
        prop_assert!(retries <= 6 * (of_cadence + asked + restarts) + 6, "{retries} again");
        prop_assert!(simulation.begun.iter().filter(|begun| begun.why == Why::Asked).count() as u64 <= asked);

        // No silence: on a machine that is left alone the job runs at its pace.
        let now = simulation.now;
        simulation.schedule.job_mut("j").unwrap().pause(now, false);
        simulation.standing = Standing { leads: true, knows: true };
        simulation.script = Box::new(|_, _| (Duration::from_secs(1), Ended::Completed));
        simulation.run(2 * HOUR);
        let spacing = cadence.spacing(simulation.now.wall_ns).max(cadence.spacing(simulation.now.wall_ns + 86_400_000_000_000));
        let before = simulation.begun.len();
        simulation.run((2 * spacing).max(4 * DAY));
        prop_assert!(simulation.begun.len() > before, "{}: {:?}", cadence.text(), simulation.state("j"));

        // What is remembered is all that counts: it survives being written and read.
        let state = simulation.state("j").clone();
        let read: JobState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        prop_assert_eq!(read, state);
    }
}

#[test]
fn a_file_of_another_release_is_understood() {
    let read: JobState = serde_json::from_str(r#"{"is_paused": true, "colour": "red"}"#).unwrap();
    assert_eq!(read, JobState { is_paused: true, ..JobState::default() });
}
