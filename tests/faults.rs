//! A real S3 server behind a faulty proxy: what is backed up nevertheless verifies, and what cannot
//! be backed up is reported.

use crate::contract::S3Server;
use crate::support::cluster::Cluster;
use crate::support::fault_proxy::FaultProxy;
use crate::support::program::{Program, number, text};
use crate::support::seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed};
use crate::support::sparse::assert_same;
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use amber::store::contract::contract;
use amber::store::{Store, contract};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Backups are repeated until every kind of fault has happened, but at most this many times.
const BACKUPS_MAX: usize = 40;
const REQUESTS_MIN: u64 = 300;
const MEMORY_BYTES_MAX: u64 = 256 << 20;

fn s3_server(endpoint: &str) -> S3Server<'_> {
    S3Server { endpoint, access_key_id: ACCESS_KEY, secret_access_key: SECRET_KEY, ca_file: None }
}

/// All faults except changed bytes in answers, which a store cannot see: the reader of the bytes
/// authenticates them.
#[test]
fn the_contract_holds_through_faults() {
    let server = Seaweed::start();
    let kinds = "500,503,reset,stall,truncate";
    let proxy = FaultProxy::start(&server, &["--every", "20", "--seed", "4", "--faults", kinds, "--stall-s", "1"]);
    let endpoint = proxy.endpoint();
    let store = Arc::new(s3_server(&endpoint).store("amber-faults", "contract"));
    contract(store.clone());
    assert_eq!(proxy.missing(), ["corrupt"], "{}", proxy.reported());
    let traffic = store.traffic();
    println!("{} {traffic:?}", proxy.reported());
    assert!(traffic.retries > 0 && traffic.slow_downs > 0 && traffic.lost > 0, "{traffic:?}");
    assert!((1..=16).contains(&traffic.transfers_max), "{traffic:?}");
}

/// Half of all bodies change on the way: they never become an object of other bytes, and what gets
/// through in the end is right.
#[test]
fn bytes_that_change_on_the_way_are_sent_again() {
    let server = Seaweed::start();
    let proxy = FaultProxy::start(&server, &["--every", "2", "--seed", "9", "--faults", "corrupt"]);
    let (endpoint, direct) = (proxy.endpoint(), server.endpoint());
    let direct = s3_server(&direct).store("amber-faults", "corrupt");
    let store = s3_server(&endpoint).store("amber-faults", "corrupt");
    let mut created = 0;
    for name in (0..30).map(|name| format!("a/{name}")) {
        let content = contract::pattern(7, 200_000);
        let outcome = store.put(&name, std::slice::from_ref(&content), &contract::digest_of(&content));
        match outcome {
            Ok(_) => {
                created += 1;
                assert_eq!(direct.get_range(&name, 0, 200_000).unwrap(), content);
            }
            Err(error) => {
                assert!(error.to_string().contains("changed"), "{error}");
                assert_eq!(direct.size_bytes(&name), Ok(None));
            }
        }
    }
    assert!(created > 25, "only {created} of 30 with five attempts each");
    let wrong = direct.put("wrong", &[Bytes::from_static(b"content")], &contract::digest_of(b"another"));
    assert!(wrong.is_err(), "{wrong:?}");
}

#[test]
fn a_node_is_backed_up_and_restored_through_faults() {
    let _turn = turn();
    let plan = LoadPlan { clients: 4, transfers_per_request: 500, ..LoadPlan::default() };
    let server = Seaweed::start();
    let node = Cluster::new(1);
    let place = folder("faults");
    let proxy = FaultProxy::start(&server, &["--every", "20", "--seed", "7", "--stall-s", "2"]);
    let url = format!("s3://{BUCKET}/faults");
    let faulty = Program::in_s3(&url, &proxy.endpoint(), ACCESS_KEY, SECRET_KEY);
    let direct = Program::in_s3(&url, &server.endpoint(), ACCESS_KEY, SECRET_KEY);
    faulty.init();
    // At full speed the disk would take most of the time.
    let pause = Some(Duration::from_millis(10));
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, pause, ..LoadOptions::default() }).unwrap();
    load.wait_for(1100, Duration::from_secs(180)).unwrap();
    let mut backups = 0;
    while backups < BACKUPS_MAX && (backups < 4 || number(&proxy.reported(), "requests") < REQUESTS_MIN || !proxy.missing().is_empty()) {
        let backup = faulty.backup(node.data_file(0));
        assert!(number(&backup, "peak_memory_bytes") <= MEMORY_BYTES_MAX, "{backup}");
        backups += 1;
    }
    load.stop().unwrap();
    println!("{backups} backups: {}", proxy.reported());
    assert_eq!(proxy.missing(), Vec::<String>::new(), "{}", proxy.reported());
    let verified = direct.ok(&["verify", "--full"]);
    assert_eq!(number(&verified, "backups_whole") as usize, backups, "{verified}");
    assert!(number(&verified, "peak_memory_bytes") <= MEMORY_BYTES_MAX, "{verified}");

    let (through, past) = (place.path().join("through.tigerbeetle"), place.path().join("past.tigerbeetle"));
    faulty.restore(&through, &[]);
    direct.restore(&past, &[]);
    tigerbeetle().inspect_integrity(&through).unwrap();
    // The image is the same with faults and without.
    assert_same(&through, &past);
    faulty.ok(&["verify", "--full"]);
    println!("in all: {}", proxy.reported());
}

#[test]
fn a_server_that_only_turns_away_is_a_clear_failure() {
    let server = Seaweed::start();
    let place = folder("faults-only");
    let url = format!("s3://{BUCKET}/never");
    Program::in_s3(&url, &server.endpoint(), ACCESS_KEY, SECRET_KEY).init();
    for (kind, said) in [("503", "503"), ("500", "500"), ("reset", "cannot be reached")] {
        let proxy = FaultProxy::start(&server, &["--every", "1", "--faults", kind]);
        let faulty = Program::in_s3(&url, &proxy.endpoint(), ACCESS_KEY, SECRET_KEY);
        let began = Instant::now();
        let message = faulty.fails(3, &["backup", "tigerbeetle", "--data-file", text(&place.path().join("none"))]);
        assert!(message.contains(&url) && message.contains(said), "{kind}: {message}");
        assert!(began.elapsed() < Duration::from_secs(60), "{kind} took {:?}", began.elapsed());
    }
}

#[test]
fn unfinished_uploads_are_listed_and_given_back() {
    let server = Seaweed::start();
    let url = format!("s3://{BUCKET}/uploads");
    let program = Program::in_s3(&url, &server.endpoint(), ACCESS_KEY, SECRET_KEY);
    assert!(program.fails(2, &["uploads"]).contains("no repository"));
    program.init();
    let endpoint = server.endpoint();
    let begin = |prefix: &str, name: &str| {
        let upload = s3_server(&endpoint).store(BUCKET, prefix).begin_multipart(name).unwrap();
        upload.part(1, &[Bytes::from_static(b"content")], &contract::digest_of(b"content")).unwrap();
        upload.keep();
    };
    begin("uploads", "tigerbeetle/packs/0000000000000001");
    begin("uploads", "foreign/object");
    begin("uploads-of-others", "tigerbeetle/packs/0000000000000001");
    let young = program.ok(&["uploads", "--abort"]);
    assert_eq!((young["uploads"].as_array().unwrap().len(), number(&young, "younger")), (0, 1), "{young}");
    let listed = program.ok(&["uploads", "--older-than", "0s"]);
    assert_eq!(listed["uploads"][0]["name"], "tigerbeetle/packs/0000000000000001");
    assert_eq!((listed["uploads"].as_array().unwrap().len(), listed["aborted"].as_bool()), (1, Some(false)), "{listed}");
    let aborted = program.ok(&["uploads", "--older-than", "0s", "--abort"]);
    assert_eq!((aborted["uploads"].as_array().unwrap().len(), aborted["aborted"].as_bool()), (1, Some(true)), "{aborted}");
    assert_eq!(program.ok(&["uploads", "--older-than", "0s"])["uploads"].as_array().unwrap().len(), 0);
    let store = s3_server(&endpoint).store(BUCKET, "");
    let left: Vec<String> = store.unfinished("").unwrap().into_iter().map(|upload| upload.name).collect();
    assert_eq!(left, ["uploads-of-others/tigerbeetle/packs/0000000000000001", "uploads/foreign/object"], "what is not ours stays");
}
