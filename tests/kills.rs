//! SIGKILL of the agent at seeded moments under load: what it declared durable restores, and the
//! next start continues without a gap.
//!
//! `perf/soak` is the long form.

use crate::support::agent::{Agent, QUICK};
use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{Seeded, folder, tigerbeetle_path, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);
const KILLS: u64 = 8;
/// After this many kills, each time, the restored ledger is served and its books are checked.
const SERVED_EVERY: u64 = 4;
const SEED: u64 = 3;

#[test]
fn what_a_killed_agent_declared_durable_restores() {
    let _turn = turn();
    let plan = LoadPlan { clients: 3, transfers_per_request: 20, ..LoadPlan::default() };
    let node = Cluster::new(1);
    let place = folder("kills");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let mut agent = Agent::configure(&program, &place.path().join("agent"), node.data_file(0), QUICK);
    // Slow enough that at the next start the WAL ring still holds what was written while no agent
    // ran.
    let options = LoadOptions { plan, pause: Some(Duration::from_millis(50)), ..LoadOptions::default() };
    let load = Load::start(node.id(), &node.addresses(), &options).unwrap();
    agent.run();
    agent.wait_leading();
    let (mut random, mut declared, binary) = (Seeded(SEED), 0, tigerbeetle_path());
    let dry = place.path().join("never.tigerbeetle");
    for kill in 1..=KILLS {
        let after_ms = random.next(1500);
        std::thread::sleep(Duration::from_millis(after_ms));
        agent.kill();
        let durable_op = agent.durable_op();
        assert!(durable_op >= declared, "kill {kill}: {durable_op} after {declared}");
        declared = durable_op;
        let planned = program.ok(&["restore", "tigerbeetle", "--latest", "--dry-run", "--output", text(&dry)]);
        println!("kill {kill} after {after_ms} ms: declared {declared}, stored to {}", planned["op"]);
        assert!(number(&planned, "op") >= declared, "kill {kill}: declared {declared}, {planned}\n{}", agent.log());
        agent.run();
        if kill % SERVED_EVERY == 0 {
            let image = place.path().join(format!("{kill}.tigerbeetle"));
            let restored = program.restore(&image, &["--op", &planned["op"].to_string(), "--tigerbeetle", text(&binary)]);
            assert_eq!(restored["op"], planned["op"]);
            check_restored(&[image], &restored, plan, &[], &node);
        }
        let status = agent.wait("the next agent to go on", TIMEOUT, |status| {
            status["lease"]["is_ours"] == true && status["durable_op"].as_u64() > Some(declared)
        });
        assert_eq!(status["gaps"].as_array().map(Vec::len), Some(0), "kill {kill}: {status:#}\n{}", agent.log());
    }
    load.stop().unwrap();
    let head = program.head(node.data_file(0));
    let status = agent.wait_durable(head);
    assert_eq!(status["gaps"].as_array().map(Vec::len), Some(0), "{}", agent.log());
    assert_eq!(agent.stop(), 0, "{}", agent.log());
    // This covers each op from the first to the last: a plan is made only over an unbroken chain.
    let planned = program.ok(&["restore", "tigerbeetle", "--latest", "--dry-run", "--output", text(&dry)]);
    assert_eq!(number(&planned, "op"), head);
    program.ok(&["verify", "--full"]);
}
