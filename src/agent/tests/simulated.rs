//! What an agent with all its parts does over minutes of weather, kills and full disks, step by
//! step in one thread.

use super::simulation::{Fate, Part, World};
use crate::jobs::Jobs;
use crate::ledger_events::packing::{Packed, Status};
use crate::log_shipping::tests::store_double::Weather;
use crate::monitor::status::{AgentStatus, Control};
use crate::progress::Silent;
use crate::tier::depth::Depth;
use crate::tier::tigerbeetle::format::log::LogIndex;
use crate::tier::tigerbeetle::format::timeline::Lineage;
use crate::verify::verify;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the replica rests between two requests.
const PACE: Duration = Duration::from_millis(300);
/// The end of a log with two checkpoints.
const LONG: u64 = 959 + 960 + 900;

/// What a day brings, by the count of the world's steps.
fn weather(day: u64) -> Weather {
    match day % 60 {
        20..28 => Weather::Away,
        40..43 => Weather::AnswerLost,
        _ => Weather::Fair,
    }
}

/// Lets agents live one after the other, with kills in between, until the log has ended and this
/// many steps are done; then the last one is stopped.
fn run(seed: u64, last_op: u64, steps: usize, days_to_live: u64) -> World {
    let (mut world, mut day, mut is_stopped) = (World::new(seed, last_op), 0, false);
    while !is_stopped {
        let born = day;
        let mut decide = |world: &mut World, jobs: &Arc<Jobs>| {
            day += 1;
            world.go_on(11);
            world.store.set(weather(day));
            world.disk.set_full(day % 90 == 70);
            let is_done = world.is_done(steps);
            if !is_done && (day % 100 == 10 || (days_to_live < 100 && day % 4 == 1)) {
                // An agent that does not lead refuses.
                let _ = jobs.run_now("verification");
            }
            // The last one has some fair days to finish what it does.
            is_stopped = is_done && day % 60 == 19;
            match day - born {
                _ if is_stopped => Fate::Stop,
                age if age >= days_to_live && !is_done => Fate::Kill,
                _ => Fate::Live(PACE),
            }
        };
        world.live(&mut decide).unwrap();
    }
    world
}

#[test]
fn ten_thousand_steps_lose_nothing() {
    let began = Instant::now();
    let world = run(1, LONG, 10_000, 150);
    println!("{} steps in {:?}", world.trace.len(), began.elapsed());
    assert!(world.trace.len() >= 10_000);
    // Every part has taken steps.
    let seen: BTreeSet<Part> = world.trace.iter().map(|(part, _)| *part).collect();
    assert_eq!(seen.len(), 14, "{seen:?}");
    let repository = world.repository();
    let reach = LogIndex::list(&repository, &Lineage::first(), 959).unwrap().reach(959);
    assert_eq!((reach, repository.gaps().unwrap().0), (LONG, Vec::new()), "every op is stored");
    let report = verify(&repository, Depth::Full, &Silent).unwrap();
    assert_eq!((report.problems, report.leftovers), (Vec::new(), 0));
    assert!(report.tiers["tigerbeetle"].intact >= 2, "checkpoints were taken");
    assert!(repository.lease(1).unwrap().unwrap().released);
}

#[test]
fn the_seed_decides_every_step() {
    let (first, second, other) = (run(7, 1200, 2_000, 150), run(7, 1200, 2_000, 150), run(8, 1200, 2_000, 150));
    let steps = |world: &World| world.trace.iter().take(2_000).map(|(part, at_ns)| (*part, *at_ns)).collect::<Vec<_>>();
    assert_eq!(steps(&first), steps(&second));
    assert_eq!(first.store.created(), second.store.created());
    assert_ne!(steps(&first), steps(&other));
}

#[test]
fn every_run_that_began_has_an_end_and_the_ledger_knows_both() {
    let world = run(3, 1200, 4_000, 150);
    let moments: Vec<Status> = world.book.events().iter().map(|event| Packed::unpack(event.packed).unwrap().status).collect();
    let count = |wanted: Status| moments.iter().filter(|status| **status == wanted).count();
    assert!(count(Status::Started) >= 3, "{moments:?}");
    assert_eq!(count(Status::Started), count(Status::Completed) + count(Status::Failed));
    let status = AgentStatus::read(world.disk(), &world.state_directory()).unwrap();
    assert_eq!((status.durable_op, status.lag_ops), (1200, 0));
}

#[test]
fn kills_at_any_moment_leave_nothing_damaged_and_nothing_open() {
    for (seed, days_to_live) in [(11, 3), (12, 7), (13, 23)] {
        let world = run(seed, 1100, 1_500, days_to_live);
        let (mut names, outbox) = (Vec::new(), world.state_directory().join("outbox"));
        for folder in ["damaged", "refused", "repository", "ledger"] {
            let listed = world.disk().each_name(&outbox.join(folder), &mut |name| {
                names.push(format!("{folder}/{name}"));
                Ok(())
            });
            listed.unwrap();
        }
        assert_eq!(names, [""; 0], "seed {seed}");
        let events = world.book.events();
        let begun = events.iter().filter(|event| Packed::unpack(event.packed).unwrap().status == Status::Started).count();
        assert_eq!((begun * 2, begun > 0), (events.len(), true), "seed {seed}: each has an end, and one only");
        let repository = world.repository();
        assert_eq!(LogIndex::list(&repository, &Lineage::first(), 959).unwrap().reach(959), 1100, "seed {seed}");
        assert_eq!(verify(&repository, Depth::Full, &Silent).unwrap().problems, [], "seed {seed}");
    }
}
