//! The agent next to real servers: the log ships as it grows and restores to any op, through view
//! changes, takeovers and restored clusters.

use crate::support::agent::{Agent, QUICK};
use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{Seeded, folder, tigerbeetle, tigerbeetle_path, turn, turn_for};
use amber::demo::{Load, LoadOptions, LoadPlan};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(180);

/// Restores to a point and checks the books that a server on the image serves. It compares them
/// with the original where that still runs.
#[derive(Clone, Copy)]
struct Check<'a> {
    program: &'a Program,
    place: &'a Path,
    plan: LoadPlan,
    /// Requests of each client that were acknowledged: the latest op must include all of them.
    acknowledged: &'a [u64],
    original: &'a Cluster,
}

impl Check<'_> {
    fn restore(&self, name: &str, arguments: &[&str]) -> Value {
        let image = self.place.join(format!("{name}.tigerbeetle"));
        let server = tigerbeetle_path();
        let restored = self.program.restore(&image, &[arguments, &["--tigerbeetle", text(&server)]].concat());
        tigerbeetle().inspect_integrity(&image).unwrap();
        let acknowledged = if arguments.contains(&"--latest") { self.acknowledged } else { &[] };
        let books = check_restored(std::slice::from_ref(&image), &restored, self.plan, acknowledged, self.original);
        println!("{name}: op {}, {} transfers", restored["op"], books.transfers);
        std::fs::remove_file(&image).unwrap();
        restored
    }
}

#[test]
fn the_log_ships_as_it_grows_and_restores_to_any_op() {
    let _turn = turn();
    let plan = LoadPlan { clients: 4, transfers_per_request: 20, ..LoadPlan::default() };
    let node = Cluster::new(1);
    let place = folder("agent");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let mut agent = Agent::start(&program, &place.path().join("agent"), node.data_file(0), QUICK);
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    agent.wait_leading();
    load.wait_for(4500, TIMEOUT).unwrap();
    let acknowledged = load.stop().unwrap().acknowledged;
    let head = program.head(node.data_file(0));
    let status = agent.wait_durable(head);
    assert_eq!(status["gaps"].as_array().map(Vec::len), Some(0), "{}", agent.log());
    assert!(status["state"] == "leading" && number(&status, "lag_ops") == 0, "{status}");
    assert_eq!(agent.stop(), 0, "{}", agent.log());

    let check = Check { program: &program, place: place.path(), plan, acknowledged: &acknowledged, original: &node };
    let mut random = Seeded(20_261_121);
    let points = std::env::var("AMBER_TEST_POINTS").ok().and_then(|points| points.parse().ok()).unwrap_or(3);
    for number in 0..points {
        let op = 60 + random.next(head - 60);
        let restored = check.restore(&format!("point-{number}"), &["--op", &op.to_string()]);
        assert_eq!(restored["op"], op);
    }
    let latest = check.restore("latest", &["--latest"]);
    assert_eq!(latest["op"], head);
    // A plan says what it would do. Without a server only points that no hop leads to can be
    // restored.
    let target = place.path().join("never.tigerbeetle");
    let target = text(&target);
    for op in [head - 100, head - 1200, head - 2200] {
        let op = op.to_string();
        let server = tigerbeetle_path();
        let arguments = ["restore", "tigerbeetle", "--output", target, "--op", &op, "--dry-run"];
        let plan = program.ok(&[&arguments[..], &["--tigerbeetle", text(&server)]].concat());
        assert!(!Path::new(target).exists(), "{plan}");
        if number(&plan, "hops") > 0 {
            let refused = program.fails(2, &arguments[..6]);
            assert!(refused.contains("--tigerbeetle"), "{refused}");
        }
    }
    let beyond = program.fails(2, &["restore", "tigerbeetle", "--output", target, "--op", &(head + 1).to_string()]);
    assert!(beyond.contains(&format!("op {head}")), "{beyond}");
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!(verified["ok"], true, "{verified}");
}

#[test]
fn a_restored_cluster_goes_on_in_a_timeline_of_its_own() {
    let _turn = turn();
    let place = folder("timelines");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let mut node = Cluster::new(1);
    let write = |at: &Cluster, number: u32, requests: u64| {
        let plan = LoadPlan { number, ledger: number, accounts: 10, clients: 2, transfers_per_request: 5 };
        let options = LoadOptions { plan, requests_max: Some(requests / 2), ..LoadOptions::default() };
        Load::start(at.id(), &at.addresses(), &options).unwrap().finish(TIMEOUT).unwrap();
        plan
    };
    let mut first_agent = Agent::start(&program, &place.path().join("first"), node.data_file(0), QUICK);
    first_agent.wait_leading();
    let first_plan = write(&node, 1, 1300);
    let first_head = program.head(node.data_file(0));
    first_agent.wait_durable(first_head);
    first_agent.kill();
    node.kill_all();

    // Restored to an earlier op under a new file; an agent next to it ships to the same repository.
    let branch_op = first_head - 200;
    let restored_file = place.path().join("restored.tigerbeetle");
    program.restore(&restored_file, &["--op", &branch_op.to_string(), "--tigerbeetle", text(&tigerbeetle_path())]);
    let restored = Cluster::open(node.id(), std::slice::from_ref(&restored_file)).unwrap();
    let mut second_agent = Agent::start(&program, &place.path().join("second"), &restored_file, QUICK);
    let second_plan = write(&restored, 2, 700);
    let second_head = program.head(&restored_file);
    let status = second_agent.wait("a second timeline", TIMEOUT, |status| {
        status["timeline"] == 2 && status["durable_op"].as_u64() >= Some(second_head) && status["last_checkpoint"]["timeline"] == 2
    });
    println!("{status:#}");

    // The agent of the dead cluster comes back, and its server too: they continue in the first
    // timeline and do not disturb the second.
    let old_file = node.data_file(0).to_owned();
    node.start_all().unwrap();
    let mut stale = Agent::start(&program, &place.path().join("first"), &old_file, QUICK);
    let third_plan = write(&node, 3, 100);
    let stale_head = program.head(&old_file);
    let status = stale.wait("the first timeline to go on", TIMEOUT, |status| {
        status["timeline"] == 1 && status["durable_op"].as_u64() >= Some(stale_head)
    });
    assert_eq!(status["gaps"].as_array().map(Vec::len), Some(0), "{status}");
    assert_eq!((stale.stop(), second_agent.stop()), (0, 0), "{}{}", stale.log(), second_agent.log());

    let of_first = Check { program: &program, place: place.path(), plan: first_plan, acknowledged: &[], original: &node };
    // Every load has its own accounts, so the newest transfer is required only where that load was
    // the last.
    let second = Check { plan: second_plan, original: &restored, ..of_first }.restore("second", &["--latest"]);
    assert_eq!((number(&second, "op"), number(&second, "timeline")), (second_head, 2));
    let shared = of_first.restore("shared", &["--op", &(branch_op - 10).to_string()]);
    assert_eq!(number(&shared, "op"), branch_op - 10);
    let first = of_first.restore("first", &["--timeline", "1", "--op", &(branch_op + 150).to_string()]);
    assert_eq!((number(&first, "op"), number(&first, "timeline")), (branch_op + 150, 1));
    let stale = Check { plan: third_plan, ..of_first }.restore("stale", &["--timeline", "1", "--latest"]);
    assert_eq!((number(&stale, "op"), number(&stale, "timeline")), (stale_head, 1));
    let unknown = program.fails(2, &["restore", "tigerbeetle", "--output", text(&place.path().join("never")), "--timeline", "3"]);
    assert!(unknown.contains("1, 2"), "{unknown}");
    assert_eq!(program.ok(&["verify", "--full"])["ok"], true);
}

#[test]
fn another_agent_takes_over_within_seconds() {
    let _turn = turn_for(2);
    let plan = LoadPlan { clients: 3, transfers_per_request: 20, ..LoadPlan::default() };
    let node = Cluster::new(3);
    let place = folder("takeover");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let mut first = Agent::start(&program, &place.path().join("0"), node.data_file(0), QUICK);
    first.wait_leading();
    let mut second = Agent::start(&program, &place.path().join("1"), node.data_file(1), QUICK);
    second.wait("an agent that stands by", TIMEOUT, |status| status["state"] == "standing_by");
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(700, TIMEOUT).unwrap();
    let declared = first.durable_op();
    first.kill();
    let began = std::time::Instant::now();
    second.wait("the other agent to lead", TIMEOUT, |status| {
        status["lease"]["is_ours"] == true && status["durable_op"].as_u64() > Some(declared)
    });
    let took = began.elapsed();
    load.wait_for(700, TIMEOUT).unwrap();
    // The first agent comes back and stands by.
    first.run();
    first.wait("the first agent to stand by", TIMEOUT, |status| status["state"] == "standing_by");
    let acknowledged = load.stop().unwrap().acknowledged;
    let head = program.head(node.data_file(1));
    let status = second.wait_durable(head);
    println!("taken over after {took:?}; {status:#}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(status["gaps"].as_array().map(Vec::len), Some(0));
    assert_eq!(number(&status, "timeline"), 1);
    assert_eq!((second.stop(), first.stop()), (0, 0));
    let check = Check { program: &program, place: place.path(), plan, acknowledged: &acknowledged, original: &node };
    let latest = check.restore("latest", &["--latest", "--solo"]);
    assert_eq!(number(&latest, "op"), head);
    check.restore("before", &["--op", &declared.to_string(), "--solo"]);
    assert_eq!(program.ok(&["verify", "--full"])["ok"], true);
}

#[test]
fn a_view_change_leaves_one_unbroken_chain() {
    let _turn = turn_for(2);
    let plan = LoadPlan { clients: 3, transfers_per_request: 20, ..LoadPlan::default() };
    let mut node = Cluster::new(3);
    let place = folder("view-change");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    let mut agents: Vec<Agent> = (0..3)
        .map(|replica| {
            let agent = Agent::start(&program, &place.path().join(replica.to_string()), node.data_file(replica), QUICK);
            if replica == 0 {
                agent.wait_leading();
            }
            agent
        })
        .collect();
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    for replica in [0, 1] {
        load.wait_for(400, TIMEOUT).unwrap();
        node.kill(replica);
        load.wait_for(400, TIMEOUT).unwrap();
        node.start_all().unwrap();
    }
    load.wait_for(300, TIMEOUT).unwrap();
    let acknowledged = load.stop().unwrap().acknowledged;
    let head = (0..3).map(|replica| program.head(node.data_file(replica))).max().unwrap();
    let leader = agents.iter().position(|agent| agent.document()["lease"]["is_ours"] == true).unwrap();
    let status = agents[leader].wait_durable(head);
    println!("{status:#}");
    for agent in &mut agents {
        assert_eq!(agent.stop(), 0, "{}", agent.log());
    }
    assert_eq!((number(&status, "timeline"), status["gaps"].as_array().map(Vec::len)), (1, Some(0)), "{status}");
    let check = Check { program: &program, place: place.path(), plan, acknowledged: &acknowledged, original: &node };
    let latest = check.restore("latest", &["--latest", "--solo"]);
    assert_eq!(number(&latest, "op"), head);
    for op in [head / 3, head * 3 / 4] {
        check.restore(&format!("op-{op}"), &["--op", &op.to_string(), "--solo"]);
    }
    assert_eq!(program.ok(&["verify", "--full"])["ok"], true);
}
