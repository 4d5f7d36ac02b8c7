//! The stores' contract, and complete backups, on a real S3 server.

use crate::contract::{S3Server, s3_certificates, s3_contract, s3_tls_minimum};
use crate::support::books::check_restored;
use crate::support::cluster::Cluster;
use crate::support::old_tls::OldTls;
use crate::support::program::{Program, number, parse, text};
use crate::support::seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed};
use crate::support::tunnel::Tunnels;
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

/// All that the AWS tools would take from their environment, and nothing on the command line.
#[test]
fn the_environment_of_the_aws_tools_reaches_a_real_server() {
    let (server, proxy, home) = (Seaweed::start_tls(), Tunnels::start(), folder("aws-home"));
    let run = |arguments: &[&str], more: &[(&str, &str)]| {
        let program = Program::in_s3(&format!("s3://{BUCKET}/from/environment"), "unset", ACCESS_KEY, SECRET_KEY);
        let mut command = program.command(arguments);
        command.env_remove("AMBER_ENDPOINT").env_remove("NO_PROXY").env_remove("no_proxy").env_remove("https_proxy");
        command.env("HOME", home.path()).env("AWS_CA_BUNDLE", server.authority_file()).env("HTTPS_PROXY", proxy.url());
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_ENDPOINT_URL_S3", server.endpoint_tls());
        command.envs(
            ["AWS_PROFILE", "AWS_REGION", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_MAX_ATTEMPTS"].map(|name| (name, "")),
        );
        let output = command.envs(more.iter().copied()).output().unwrap();
        (output.status.code().unwrap(), parse(&output)["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(run(&["init"], &[]), (0, String::new()));
    let made = proxy.made();
    assert!(made > 0, "it went through the proxy");
    assert_eq!(run(&["list"], &[("NO_PROXY", "localhost,127.0.0.1")]), (0, String::new()));
    assert_eq!(proxy.made(), made, "it went past the proxy");
    for (arguments, variable, words) in [
        (&["list"][..], ("AWS_SECRET_ACCESS_KEY", "another"), "the secret access key is not the one of this access key"),
        (&["list"], ("AWS_ACCESS_KEY_ID", "another"), "does not know the access key"),
        (&["list"], ("AWS_SECRET_ACCESS_KEY", ""), "AWS_SECRET_ACCESS_KEY is not"),
        (&["list"], ("AWS_PROFILE", "nope"), "there is no profile \"nope\" (from AWS_PROFILE)"),
        (&["list", "--profile", "nope"], ("UNRELATED", ""), "there is no profile \"nope\" in"),
        (&["list", "--endpoint", "http://"], ("UNRELATED", ""), "the endpoint \"http://\" names no host"),
        (&["list"], ("AWS_CA_BUNDLE", "/nowhere.pem"), "/nowhere.pem"),
        (&["list"], ("HTTPS_PROXY", "socks5://h:1"), "HTTPS_PROXY names a proxy of the kind socks5://"),
    ] {
        let (code, message) = run(arguments, &[variable]);
        assert!(code == 2 && message.contains(words), "{arguments:?} {variable:?}: {code} {message}");
    }
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
