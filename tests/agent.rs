//! The agent beside a real server: the log ships as it grows, through kills, outages, takeovers and view changes, and restores.

use crate::support::agent::{Agent, QUICK};
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number};
use crate::support::{folder, turn};
use amber::demo::{Load, LoadOptions, Plan};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(180);

/// The newest op in the log of a data file.
fn head(program: &Program, data_file: &std::path::Path) -> u64 {
    number(&program.ok(&["inspect", "--no-blocks", data_file.to_str().unwrap()])["log"], "head_op")
}

#[test]
fn the_log_ships_as_it_grows() {
    let _turn = turn();
    let plan = Plan { clients: 4, transfers_per_request: 50, ..Plan::default() };
    let node = Cluster::new(1);
    let place = folder("agent");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let mut agent = Agent::start(&program, &place.path().join("agent"), node.data_file(0), QUICK);
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    agent.wait_leading();
    load.wait_for(2500, TIMEOUT).unwrap();
    let report = load.stop().unwrap();
    let head = head(&program, node.data_file(0));
    let status = agent.wait_durable(head);
    println!("{head} ops, {} requests; {status:#}", report.acknowledged.iter().sum::<u64>());
    assert_eq!(status["gaps"].as_array().map(Vec::len), Some(0), "{}", agent.log());
    assert_eq!(agent.stop(), 0, "{}", agent.log());
    println!("{}", agent.log());
    let verified = program.ok(&["verify", "--full"]);
    println!("{verified:#}");
}
