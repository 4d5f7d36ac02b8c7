//! Several agents of one cluster, of which one leads. Each job runs once, whoever leads when it is
//! due.

use super::simulation::Simulation;
use super::{DAY, HOUR, MINUTE, rules, times};
use crate::schedule::cadence::Cadence;
use crate::schedule::job::{Ended, Rules};
use crate::schedule::plan::Standing;
use proptest::prelude::*;
use std::time::Duration;

/// Three agents. Each sees the run records of the others when it begins to lead.
struct Agents {
    agents: Vec<Simulation>,
    leader: usize,
}

impl Agents {
    fn new(rules: &Rules) -> Agents {
        let mut agents: Vec<Simulation> = (0..3).map(|_| Simulation::of("2026-01-01T00:00:00Z", rules.clone())).collect();
        for agent in &mut agents {
            agent.script = Box::new(|_, _| (10 * MINUTE, Ended::Completed));
            agent.standing = Standing::default();
        }
        let mut agents = Agents { agents, leader: 0 };
        agents.lead(0);
        agents
    }

    fn lead(&mut self, next: usize) {
        self.agents[self.leader].standing = Standing::default();
        self.agents[self.leader].step();
        self.leader = next;
        // The record of each other agent's newest run. A run that is under way has no end.
        let records: Vec<(u64, Option<(u64, bool)>)> = (0..3)
            .filter_map(|number| {
                let agent = &self.agents[number];
                let begun = agent.begun.last()?;
                let state = agent.state("j");
                let ended = state.running.is_none().then(|| {
                    let ended = agent.ended.last().map(|ended| ended.2);
                    (begun.wall_ns + 600_000_000_000, ended == Some(Ended::Completed))
                });
                Some((begun.wall_ns, ended))
            })
            .collect();
        let agent = &mut self.agents[next];
        let newest = records.into_iter().max();
        if let Some((started_ns, ended)) = newest {
            let now = agent.now;
            agent.schedule.job_mut("j").unwrap().record_elsewhere(now, started_ns, ended);
        }
        agent.standing = Standing { leads: true, knows: true };
    }

    fn run(&mut self, duration: Duration) {
        self.agents.iter_mut().for_each(|agent| agent.run(duration));
    }

    fn completed(&self) -> usize {
        self.agents.iter().flat_map(|agent| &agent.ended).filter(|ended| ended.2 == Ended::Completed).count()
    }
}

#[test]
fn a_job_runs_once_in_the_cluster_whoever_leads() {
    for cadence in [Cadence::Interval(DAY), times("0 3 * * *", "Europe/Berlin")] {
        let mut agents = Agents::new(&rules("j", cadence.clone()));
        agents.run(4 * HOUR);
        assert_eq!(agents.completed(), 1);
        // A takeover every five hours.
        for count in 1..=48 {
            agents.lead(count % 3);
            agents.run(5 * HOUR);
        }
        let completed = agents.completed();
        assert!((10..=11).contains(&completed), "{}: {completed} in ten days", cadence.text());
    }
}

#[test]
fn a_run_that_is_cut_short_by_a_takeover_is_made_up_for_by_the_next() {
    let mut agents = Agents::new(&rules("j", Cadence::Interval(DAY)));
    agents.run(15 * MINUTE);
    assert_eq!((agents.agents[0].begun.len(), agents.completed()), (1, 0));
    agents.lead(1);
    agents.run(30 * MINUTE);
    assert_eq!((agents.agents[0].ended.last().unwrap().2, agents.completed()), (Ended::Cancelled, 1));
    agents.lead(0);
    agents.run(23 * HOUR);
    assert_eq!(agents.completed(), 1, "what the other did counts here");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_order_of_takeovers_loses_or_repeats_a_day(takeovers in prop::collection::vec((0..3_usize, 11..3000_u64), 1..30)) {
        let mut agents = Agents::new(&rules("j", Cadence::Interval(DAY)));
        let mut minutes = 0;
        for (leader, stay) in takeovers {
            agents.run(stay as u32 * MINUTE);
            minutes += stay;
            agents.lead(leader);
        }
        agents.run(2 * HOUR);
        minutes += 120;
        let days = (minutes / 1440) as usize;
        let completed = agents.completed();
        prop_assert!((days.saturating_sub(days / 20 + 1)..=days + 2).contains(&completed), "{completed} in {days} days");
    }
}
