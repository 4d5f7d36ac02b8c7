//! Backups are reported to a real TigerBeetle: once, in order, through outages of the ledger and
//! kills of the agent; and alterations are detected.

use crate::support::agent::Agent;
use crate::support::cluster::Cluster;
use crate::support::program::{Program, number, text};
use crate::support::{Seeded, folder, tigerbeetle_path, turn};
use amber::catalog::folder::{Folder, STATE_FOLDER};
use amber::demo::{Load, LoadOptions, LoadPlan};
use amber::ledger_events::client::{Ledger, LedgerAddress};
use amber::ledger_events::event::{Accounts, Event};
use amber::ledger_events::objects::{Account, Transfer, account_flags};
use amber::ledger_events::session::Session;
use amber::ledger_events::{Delivered, EventLedger};
use amber::repository::key::Secret;
use amber::repository::name::{RunId, RunName};
use amber::repository::run_record::{Run, RunOutcome, RunRecord, Scope, Work};
use amber::repository::{Options, Repository};
use amber::store::{S3Options, StoreUrl};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(90);
/// A backup every second: with so small a budget, replaying the log always takes too long.
const BUSY: &str =
    "[checkpoint]\non_start = true\nreplay_budget_s = 10\nreplay_ops_per_s = 1\n[lease]\nheartbeat_ms = 500\ntimeout_ms = 3000\n";
/// No backup but the first.
const CALM: &str = "[checkpoint]\non_start = false\nreplay_ops_per_s = 1000000\n[lease]\nheartbeat_ms = 500\ntimeout_ms = 3000\n";
const LEDGER: u32 = 700;
const SYSTEM: u128 = 0x7001_0000_0000_0000_0000;
const ALL_TENANTS: u128 = 7002;

/// The timeout for waiting for an answer on a busy machine.
const PATIENT_MS: u64 = 60_000;

fn with_events(more: &str, addresses: &str, answer_timeout_ms: u64) -> String {
    format!(
        "[events]\naddresses = \"{addresses}\"\nledger = {LEDGER}\nsystem_account = \"{SYSTEM}\"\nall_tenants_account = \"{ALL_TENANTS}\"\n\
         answer_timeout_ms = {answer_timeout_ms}\n{more}"
    )
}

/// A node with some ops, a repository and a folder for an agent.
struct Rig {
    node: Cluster,
    place: tempfile::TempDir,
    program: Program,
}

impl Rig {
    fn new(name: &str) -> Rig {
        let (node, place) = (Cluster::new(1), folder(name));
        let program = Program::in_folder(&place.path().join("repository"));
        program.init();
        let plan = LoadPlan { clients: 1, transfers_per_request: 5, ..LoadPlan::default() };
        let options = LoadOptions { plan, requests_max: Some(40), ..LoadOptions::default() };
        Load::start(node.id(), &node.addresses(), &options).unwrap().finish(TIMEOUT).unwrap();
        Rig { node, place, program }
    }

    fn agent(&self, more: &str) -> Agent {
        Agent::configure(&self.program, &self.place.path().join("agent"), self.node.data_file(0), more)
    }

    /// The configuration of its agent.
    fn config(&self) -> PathBuf {
        self.place.path().join("agent/amber.toml")
    }

    /// Changes the agent's catalog, as anyone who has access to its file could.
    fn alter_catalog(&self, change: &str) {
        let catalog = Folder::new(&self.place.path().join("agent/state").join(STATE_FOLDER), amber::host::Clock::SYSTEM).catalog();
        let changed = duckdb::Connection::open(catalog).unwrap().execute(change, []).unwrap();
        assert_eq!(changed, 1, "{change}");
    }

    /// `amber events` with the agent's configuration: exit code and output.
    fn events(&self, more: &[&str]) -> (i32, Value) {
        let config = self.config();
        self.program.run(&[&["events", "--config", text(&config), "--last", "100000"], more].concat())
    }

    /// Runs an agent that takes no more checkpoints. It ends the runs that were killed, and reports
    /// everything that is left.
    fn settle(&self, addresses: &str) {
        let mut agent = self.agent(&with_events(CALM, addresses, PATIENT_MS));
        let repository = self.repository();
        agent.run();
        agent.wait("every run to have an end", TIMEOUT, |_| {
            let (begun, ended) = recorded(&repository);
            begun == ended
        });
        let since_ns = amber::units::now_ns();
        agent.wait("the rest to be told", TIMEOUT, |status| number(status, "written_ns") > since_ns && waiting(status) == Some(0));
        assert_eq!(agent.stop(), 0, "{}", agent.log());
    }

    fn repository(&self) -> Arc<Repository> {
        let url = StoreUrl::parse(self.program.repository()).unwrap();
        let store = amber::store::open(&url, &S3Options::default()).unwrap();
        Repository::open(store, &Secret::Passphrase(b"a passphrase for tests".to_vec().into()), Options::default()).unwrap()
    }

    /// The file of a record.
    fn record_file(&self, run: &str, moment: &str) -> std::path::PathBuf {
        Path::new(self.program.repository()).join(format!("catalog/runs/{run}/{moment}"))
    }
}

/// How many runs are recorded as begun, and how many as ended.
fn recorded(repository: &Repository) -> (usize, usize) {
    let listed = repository.list_all("catalog/runs/").unwrap();
    let names: Vec<RunName> = listed.iter().filter_map(|listed| RunName::parse(&listed.name)).collect();
    let ended = names.iter().filter(|name| name.has_ended).count();
    (names.len() - ended, ended)
}

fn waiting(status: &Value) -> Option<u64> {
    status["events"]["waiting"].as_u64()
}

/// Run and moment of each event, in the order in which the ledger accepted them.
fn reported(said: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    said["newest"].as_array().unwrap().iter().map(|event| (text(&event["run"]), text(&event["facts"]["status"]))).collect()
}

/// Checks the order of the reports: backups one after the other, each first when it begins and
/// later, once, when it has ended.
fn assert_in_order(reported: &[(String, String)]) {
    let begun: Vec<&String> = reported.iter().filter(|(_, moment)| moment == "started").map(|(run, _)| run).collect();
    assert!(begun.is_sorted_by(|one, next| one < next), "{reported:?}");
    for (place, (run, _)) in reported.iter().enumerate().filter(|(_, (_, moment))| moment != "started") {
        let before = reported[..place].iter().filter(|(other, _)| other == run).collect::<Vec<_>>();
        assert!(before.len() == 1 && before[0].1 == "started", "{run}: {reported:?}");
    }
}

/// The answer of TigerBeetle's own repl to a command.
fn repl(cluster: &Cluster, command: &str) -> String {
    let mut repl = Command::new(tigerbeetle_path());
    repl.arg("repl").arg(format!("--cluster={}", cluster.id())).arg(format!("--addresses={}", cluster.addresses()));
    let output = repl.arg(format!("--command={command}")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The transfers that the repl prints.
fn transfers(said: &str) -> Vec<Value> {
    let objects = said.find('{').map_or("", |begin| &said[begin..]);
    serde_json::Deserializer::from_str(objects).into_iter().map_while(Result::ok).collect()
}

fn kinds(said: &Value) -> Vec<&str> {
    said["differences"].as_array().unwrap().iter().filter_map(|difference| difference["kind"].as_str()).collect()
}

#[test]
fn backups_are_told_to_the_ledger_and_what_was_altered_shows() {
    let _turn = turn();
    let rig = Rig::new("events");
    let mut agent = rig.agent(&with_events(BUSY, &rig.node.addresses(), PATIENT_MS));
    agent.run();
    agent.wait("three backups to be told", TIMEOUT, |status| status["events"]["delivered"].as_u64() >= Some(6));
    assert_eq!(agent.stop(), 0, "{}", agent.log());
    let (code, said) = rig.events(&[]);
    assert_eq!((code, &said["ok"], number(&said, "events") >= 6), (0, &Value::Bool(true), true), "{said:#}");
    assert_in_order(&reported(&said));
    let first = &said["newest"][1];
    assert_eq!((&first["facts"]["backup_type"], &first["facts"]["status"]), (&"tigerbeetle".into(), &"completed".into()));
    assert!(first["amount"].as_str().and_then(|amount| amount.parse::<u64>().ok()) > Some(0), "{first}");

    // TigerBeetle's own tool reads the same.
    let read = transfers(&repl(&rig.node, &format!("query_transfers code=12 ledger={LEDGER} limit=1000")));
    let newest = said["newest"].as_array().unwrap();
    assert_eq!(read.len(), newest.len());
    for (theirs, ours) in read.iter().zip(newest) {
        let fields = [
            ("id", "id"),
            ("user_data_128", "user_data_128"),
            ("amount", "amount"),
            ("debit_account_id", "debit_account"),
            ("credit_account_id", "credit_account"),
        ];
        assert!(fields.iter().all(|(theirs_field, ours_field)| theirs[*theirs_field] == ours[*ours_field]), "{theirs} {ours}");
        assert_eq!((theirs["user_data_64"].as_str(), &theirs["code"]), (Some(ours["started_s"].to_string().as_str()), &Value::from("12")));
    }

    // A record that was never reported to the ledger, as a command leaves it.
    let repository = rig.repository();
    let run = repository.new_run().unwrap();
    repository.record_run(run, &record(40)).unwrap();
    let (code, said) = rig.events(&[]);
    assert_eq!((code, kinds(&said)), (4, vec!["missing"]), "{said:#}");
    let (code, said) = rig.events(&["--post"]);
    assert_eq!((code, number(&said, "posted"), kinds(&said).len()), (0, 1, 0), "{said:#}");
    alterations(&rig, &repository, run);
}

fn record(stored_bytes: u64) -> RunRecord {
    let (job, by) = ("command line".to_owned(), "a test".to_owned());
    let run = Run {
        work: Work::Tigerbeetle,
        scope: Scope::Full,
        tenant: Some("42".into()),
        job,
        by,
        started_ns: 5_000_000_000,
        retention_days: 7,
    };
    let outcome =
        RunOutcome { stored_bytes, compression: "zstd".into(), encryption: "aes256".into(), ..RunOutcome::completed(6_000_000_000) };
    RunRecord { run, outcome: Some(outcome) }
}

/// Alterations on either side: in the repository, and in the ledger.
fn alterations(rig: &Rig, repository: &Repository, run: RunId) {
    let file = rig.record_file(&run.to_string(), "ended");
    let original = std::fs::read(&file).unwrap();
    // A record is removed.
    std::fs::remove_file(&file).unwrap();
    let (code, said) = rig.events(&[]);
    assert_eq!((code, kinds(&said)), (4, vec!["unknown"]), "{said:#}");
    // Another record takes its place, sealed with the repository's own key.
    repository.record_run(run, &record(41)).unwrap();
    let (code, said) = rig.events(&[]);
    assert_eq!((code, kinds(&said)), (4, vec!["altered"]), "{said:#}");
    assert!(said["differences"][0]["what"].as_str().unwrap().contains("amount 40 instead of 41"), "{said:#}");
    // The record is damaged.
    std::fs::write(&file, &original[..original.len() - 1]).unwrap();
    let (code, said) = rig.events(&[]);
    assert_eq!((code, kinds(&said)), (4, vec!["unreadable", "unknown"]), "{said:#}");
    std::fs::write(&file, &original).unwrap();
    let (code, said) = rig.events(&["--post"]);
    assert_eq!((code, number(&said, "posted")), (0, 0), "{said:#}");
    // The agent has not seen this run; that is not a difference.
    assert_eq!(said["catalog"]["behind"], json!([run.to_string()]), "{said:#}");
    rows(rig);
    // The ledger: a transfer that no backup made, and one that repeats what another says.
    let forged = |id: u32, amount: u32, packed: &str| {
        let accounts = format!("debit_account_id={SYSTEM} credit_account_id={ALL_TENANTS}");
        repl(
            &rig.node,
            &format!("create_transfers id={id} {accounts} amount={amount} ledger={LEDGER} code=12 user_data_64=5 user_data_128={packed}"),
        )
    };
    let (newest, original) = (said["newest"].as_array().unwrap().last().cloned().unwrap(), said["newest"][1].clone());
    assert_eq!(newest["credit_account"], "42", "a tenant's own account: {newest}");
    forged(1, 3, newest["user_data_128"].as_str().unwrap());
    forged(2, 3, "5");
    let started = number(&original, "started_s");
    let double = format!(
        "create_transfers id=3 debit_account_id={SYSTEM} credit_account_id={ALL_TENANTS} amount={} ledger={LEDGER} code=12 user_data_64={started} user_data_128={}",
        original["amount"].as_str().unwrap(),
        original["user_data_128"].as_str().unwrap()
    );
    repl(&rig.node, &double);
    assert_eq!(kinds(&rig.events(&[]).1), ["unknown", "unknown", "doubled"]);
    // With the configuration's values given as arguments, the same is found.
    let (system, all) = (SYSTEM.to_string(), ALL_TENANTS.to_string());
    let addresses = rig.node.addresses();
    let (code, said) = rig.program.run(&[
        "events",
        "--addresses",
        &addresses,
        "--ledger",
        "700",
        "--system-account",
        &system,
        "--all-tenants-account",
        &all,
    ]);
    assert_eq!((code, kinds(&said).len()), (4, 3), "{said:#}");
    let refused = rig
        .program
        .fails(2, &["events", "--addresses", "localhost:1", "--ledger", "700", "--system-account", "1", "--all-tenants-account", "2"]);
    assert!(refused.contains("is no address"), "{refused}");
}

/// A row of the catalog is altered, and rebuilt.
fn rows(rig: &Rig) {
    let oldest = "WHERE run = (SELECT min(run) FROM backup_metadata WHERE status = 'completed')";
    rig.alter_catalog(&format!("UPDATE backup_metadata SET backup_size_bytes = 1 {oldest}"));
    let (code, said) = rig.events(&[]);
    assert_eq!((code, kinds(&said)), (4, vec!["altered"]), "{said:#}");
    assert!(said["differences"][0]["what"].as_str().unwrap().contains("the ledger and the catalog differ: amount"), "{said:#}");
    rig.alter_catalog(&format!("UPDATE backup_metadata SET id = gen_random_uuid(), run = '00000000000000aa' {oldest}"));
    let (code, said) = rig.events(&[]);
    assert_eq!((code, kinds(&said)), (4, vec!["missing"]), "{said:#}");
    let rebuilt = rig.program.ok(&["catalog", "rebuild", "--config", text(&rig.config())]);
    assert_eq!((&rebuilt["same"], rebuilt["differences"].as_array().map(Vec::len)), (&Value::Bool(false), Some(3)), "{rebuilt:#}");
    let (code, said) = rig.events(&[]);
    assert_eq!((code, &said["catalog"]["behind"]), (0, &json!([])), "{said:#}");
}

#[test]
fn a_ledger_that_is_away_is_told_later_once_and_in_order() {
    let _turn = turn();
    let rig = Rig::new("events-away");
    // A separate ledger, so that the node continues while the ledger is away.
    let mut ledger = Cluster::new(1);
    ledger.kill_all();
    let mut agent = rig.agent(&with_events(BUSY, &ledger.addresses(), 2000));
    agent.run();
    let status = agent.wait("backups whose events wait", TIMEOUT, |status| waiting(status) >= Some(6));
    assert!(status["events"]["oldest_ns"].is_u64(), "{status}");
    agent.wait("an alert", TIMEOUT, |status| status["alerts"].to_string().contains("has not answered"));
    let (code, said) = rig.events(&[]);
    assert_eq!(code, 3, "{said}");
    // A restart while the ledger is away loses no event.
    agent.kill();
    agent.run();
    agent.wait("more backups", TIMEOUT, |status| waiting(status) >= Some(10));
    ledger.start_all().unwrap();
    agent.wait("everything to be told", TIMEOUT, |status| status["events"]["delivered"].as_u64() >= Some(10) && waiting(status) <= Some(2));
    // The ledger goes away once more in the middle of the delivery.
    ledger.kill_all();
    agent.wait("events to wait again", TIMEOUT, |status| waiting(status) >= Some(4));
    ledger.start_all().unwrap();
    agent.wait("everything to be told", TIMEOUT, |status| waiting(status) <= Some(2));
    assert_eq!(agent.stop(), 0, "{}", agent.log());
    rig.settle(&ledger.addresses());
    let (code, said) = rig.events(&[]);
    assert_eq!((code, &said["events"]), (0, &said["expected"]), "{said:#}");
    assert_in_order(&reported(&said));
}

#[test]
fn an_agent_that_is_killed_at_any_moment_leaves_no_run_open_and_no_event_missing_or_doubled() {
    let _turn = turn();
    let rig = Rig::new("events-kills");
    let kills: u64 = std::env::var("AMBER_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let mut random = Seeded(20_261_128);
    let mut agent = rig.agent(&with_events(BUSY, &rig.node.addresses(), PATIENT_MS));
    let repository = rig.repository();
    for kill in 0..kills {
        let (before, _) = recorded(&repository);
        agent.run();
        agent.wait("a run to begin", TIMEOUT, |_| recorded(&repository).0 > before);
        // The kill comes between the run's first moment and its end; every other time it may come
        // after the end.
        std::thread::sleep(Duration::from_millis(random.next(if kill % 2 == 0 { 100 } else { 1200 })));
        agent.kill();
    }
    rig.settle(&rig.node.addresses());
    let runs = repository.runs().unwrap();
    assert_eq!((runs.damaged.len(), runs.runs.values().filter(|record| record.outcome.is_none()).count()), (0, 0));
    let killed = runs.runs.values().filter(|record| record.outcome.as_ref().is_some_and(|outcome| !outcome.completed)).count();
    // Every manifest's run has completed, whenever it was killed.
    for name in repository.checkpoints().unwrap() {
        let outcome = runs.runs[&name.run].outcome.as_ref().unwrap();
        assert!(outcome.completed && outcome.location == name.object(), "{name:?}: {outcome:?}");
    }
    let (code, said) = rig.events(&[]);
    let records = 2 * runs.runs.len() as u64;
    assert_eq!((code, number(&said, "events"), number(&said, "expected")), (0, records, records), "{said:#}");
    // The catalog has the same runs, none of them is in progress for ever, and a rebuild gives an
    // equal catalog.
    assert_eq!(said["catalog"], json!({ "events": runs.runs.len(), "behind": [] }), "{said:#}");
    let config = rig.config();
    let sql = "SELECT count(*) AS runs, count(*) FILTER (status = 'started') AS open FROM backup_metadata";
    let counted = rig.program.ok(&["catalog", "query", "--config", text(&config), sql]);
    assert_eq!(counted["rows"], json!([{ "runs": runs.runs.len(), "open": 0 }]));
    let rebuilt = rig.program.ok(&["catalog", "rebuild", "--config", text(&config)]);
    assert_eq!(rebuilt["same"], Value::Bool(true), "{rebuilt:#}");
    println!("{} runs, {killed} of them killed, {} events after {kills} kills", runs.runs.len(), said["events"]);
}

#[test]
fn a_ledger_takes_an_event_once_and_refuses_what_it_cannot_book() {
    let _turn = turn();
    let cluster = Cluster::new(1);
    let accounts = Accounts { ledger: LEDGER, system: SYSTEM, all_tenants: ALL_TENANTS, tenants: Default::default() };
    let place = |accounts| LedgerAddress { cluster: cluster.id(), addresses: cluster.addresses(), accounts, answer_timeout: TIMEOUT };
    let event = |number: u128, accounts: &Accounts| {
        Event::of(uuid::Uuid::from_u128(number), &record(40), &Accounts { all_tenants: 42, ..accounts.clone() }).unwrap()
    };
    let client = Session::new(cluster.id(), &cluster.addresses()).unwrap();
    let mut ledger = Ledger::new(place(accounts.clone()));
    let deliver = |ledger: &mut Ledger, event: &Event| ledger.deliver(event, &|| false);
    let refusal = |delivered: Delivered| match delivered {
        Delivered::Refused(reason) => reason,
        other => panic!("{other:?}"),
    };
    let first = event(1, &accounts);
    assert_eq!([deliver(&mut ledger, &first), deliver(&mut ledger, &first)], [Delivered::Yes, Delivered::Yes]);
    let reason = refusal(deliver(&mut ledger, &Event { amount: 41, ..first }));
    assert!(reason.contains("ExistsWithDifferentAmount") && reason.contains("`amber events`"), "{reason}");
    assert_eq!(ledger.known().unwrap().into_iter().collect::<Vec<_>>(), [first.id]);

    // Accounts that already exist: one of another ledger, one with a limit, one closed; and one
    // that is usable.
    let account = |id, ledger, code| Account { id, ledger, code, ..Account::default() };
    let there = [
        account(501, LEDGER + 1, 12),
        Account { flags: account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS, ..account(502, LEDGER, 12) },
        Account { user_data_32: 7, ..account(503, LEDGER, 9) },
    ];
    client.create_accounts(&there, Instant::now() + TIMEOUT).unwrap();
    let second = event(2, &accounts);
    for (system, what) in [(501, "in ledger 701"), (502, "does not take what an event books")] {
        let reason = refusal(deliver(&mut ledger, &Event { debit_account: system, ..second }));
        assert!(reason.contains(&format!("account {system} is there already")) && reason.contains(what), "{reason}");
    }
    // The refusal does not use the id up: once the configuration is corrected, the ledger accepts
    // the event.
    assert_eq!(deliver(&mut ledger, &Event { debit_account: 503, ..second }), Delivered::Yes);
    assert_eq!(ledger.known().unwrap().len(), 2);

    // More events than one answer can hold.
    let more = |from: u128, count: u128| -> Vec<Transfer> {
        let like = Transfer { debit_account_id: SYSTEM, credit_account_id: 42, amount: 1, ledger: LEDGER, code: 12, ..Transfer::default() };
        (from..from + count).map(|id| Transfer { id, ..like }).collect()
    };
    for (from, count) in [(1000, 8189), (20_000, 8189), (40_000, 5)] {
        client.create_transfers(&more(from, count), Instant::now() + TIMEOUT).unwrap();
    }
    let (mut seen, mut last_ns) = (0, 0);
    ledger
        .read(&mut |booked| {
            assert!(booked.timestamp_ns > last_ns, "in the order of their times, and each once");
            (seen, last_ns) = (seen + 1, booked.timestamp_ns);
        })
        .unwrap();
    assert_eq!(seen, 2 * 8189 + 5 + 2);
    // A caller that gives up gets its thread back, and a ledger that is away blocks no caller.
    let mut away =
        Ledger::new(LedgerAddress { addresses: "127.0.0.1:1".into(), answer_timeout: Duration::from_millis(100), ..place(accounts) });
    assert_eq!(away.deliver(&first, &|| true), Delivered::GaveUp);
    assert!(away.known().unwrap_err().message.contains("did not answer in time"));
}
