//! The stores' contract, and complete backups, on a real S3 server.

use crate::contract::{S3Server, s3_certificates, s3_contract, s3_tls_minimum};
use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::old_tls::OldTls;
use crate::support::program::{Program, number, text};
use crate::support::seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed};
use crate::support::{folder, tigerbeetle, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use amber::store::Capabilities;
use std::time::Duration;

#[test]
fn the_contract_holds_on_a_real_server() {
    let server = Seaweed::start_tls();
    let plain = S3Server { endpoint: &server.endpoint(), access_key_id: ACCESS_KEY, secret_access_key: SECRET_KEY, ca_file: None };
    s3_contract(&plain, Capabilities { conditional_put: true, digest_checked: true });
    let authority = server.authority_file();
    let sealed = S3Server { endpoint: &server.endpoint_tls(), ca_file: Some(&authority), ..plain };
    let other = Seaweed::start_tls();
    s3_certificates(&sealed, &other.authority_file());
}

#[test]
fn tls_below_the_minimum_is_refused() {
    let server = OldTls::start();
    let authority = server.authority_file();
    s3_tls_minimum(&S3Server {
        endpoint: &server.endpoint(),
        access_key_id: ACCESS_KEY,
        secret_access_key: SECRET_KEY,
        ca_file: Some(&authority),
    });
}

#[test]
fn a_running_node_is_backed_up_to_s3_and_restored() {
    let _turn = turn();
    let plan = LoadPlan { clients: 4, transfers_per_request: 500, ..LoadPlan::default() };
    let mut server = Seaweed::start();
    let node = Cluster::new(1);
    let place = folder("s3");
    let url = format!("s3://{BUCKET}/some/ledger");
    let program = Program::in_s3(&url, &server.endpoint(), ACCESS_KEY, SECRET_KEY);
    let missing = program.fails(2, &["list"]);
    assert!(missing.contains("amber init"), "{missing}");
    program.init();
    assert!(program.fails(2, &["init"]).contains("repository already"));
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    load.wait_for(1100, Duration::from_secs(120)).unwrap();
    let first = program.backup(node.data_file(0));
    assert!(number(&first, "checkpoint_op") > 0 && number(&first, "blocks_stored") > 0, "{first}");
    let acknowledged = load.acknowledged();
    let second = program.backup(node.data_file(0));
    load.stop().unwrap();
    let held = number(&second, "blocks_reused") > 0;
    assert!(held, "{second}");
    let listed = program.ok(&["list"]);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    let verified = program.ok(&["verify", "--full"]);
    assert_eq!(number(&verified, "backups_whole"), 2);

    let image = place.path().join("0.tigerbeetle");
    let restored = program.restore(&image, &[]);
    tigerbeetle().inspect_integrity(&image).unwrap();
    check_restored(&[image], &restored, plan, &acknowledged, &node);

    let wrong = Program::in_s3(&url, &server.endpoint(), ACCESS_KEY, "not the secret");
    let refused = wrong.fails(2, &["list"]);
    assert!(!refused.contains("not the secret"), "{refused}");
    server.kill();
    let away = program.fails(3, &["list"]);
    assert!(away.contains("s3://"), "{away}");
    let target = place.path().join("never");
    program.fails(3, &["restore", "tigerbeetle", "--output", text(&target)]);
    assert!(!target.exists());
}
