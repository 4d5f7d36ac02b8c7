//! `[events]`: what is accepted, and every way to be wrong.

use super::check_addresses;
use crate::config::tests::{LEAST, parse, refused};
use crate::ledger_events::event::Accounts;
use std::time::Duration;

const GOOD: &str = "[events]\naddresses = '127.0.0.1:3000,127.0.0.1:3001'\nledger = 700\nsystem_account = '1'\nall_tenants_account = '2'\n";

#[test]
fn every_value_of_events_arrives() {
    let plan = parse(&format!("{LEAST}{GOOD}")).unwrap().events.unwrap();
    assert_eq!((plan.addresses.as_str(), plan.cluster), ("127.0.0.1:3000,127.0.0.1:3001", None));
    assert_eq!(plan.accounts, Accounts { ledger: 700, system: 1, all_tenants: 2, tenants: Default::default() });
    assert_eq!(plan.answer_timeout, Duration::from_secs(10));
    let more = "cluster = '340282366920938463463374607431768211455'\nanswer_timeout_ms = 1000\n";
    let plan = parse(&format!("{LEAST}{GOOD}{more}")).unwrap().events.unwrap();
    assert_eq!((plan.cluster, plan.answer_timeout), (Some(u128::MAX), Duration::from_secs(1)));
    // A timeout alone does not switch events on.
    assert_eq!(parse(&format!("{LEAST}[events]\nanswer_timeout_ms = 2000\n")).unwrap().events, None);
}

#[test]
fn what_cannot_be_booked_is_refused_with_its_line() {
    let with = |from: &str, to: &str| refused(GOOD.replace(from, to).trim_end());
    for (from, to, wanted) in [
        ("'1'", "'0'", "TigerBeetle takes no account with this number"),
        ("'1'", "'340282366920938463463374607431768211455'", "TigerBeetle takes no account"),
        ("'1'", "'340282366920938463463374607431768211456'", "at most 128 bits"),
        ("'1'", "'-1'", "in decimal and in double quotes"),
        ("'1'", "1", "text in double quotes"),
        ("'2'", "'1'", "are the same"),
        ("ledger = 700", "ledger = 0", "ledger must be 1 to 4294967295, because TigerBeetle has no ledger 0"),
        ("ledger = 700", "ledger = '700'", "a whole number, without quotes"),
        ("127.0.0.1:3001", "localhost:3001", "take no names"),
        ("127.0.0.1:3001", "", "is no address"),
        ("127.0.0.1:3001", "1,2,3,4,5,6", "at most 6 replicas"),
        ("ledger = 700\n", "", "events need ledger too: write ledger = 700"),
        ("system_account = '1'\n", "", "events need system_account too"),
        ("all_tenants_account = '2'", "", "events need all_tenants_account too"),
        ("addresses = '127.0.0.1:3000,127.0.0.1:3001'\n", "", "no events are sent without addresses"),
        ("all_tenants_account", "all_tenant_account", "did you mean all_tenants_account?"),
        ("all_tenants_account = '2'", "all_tenants_account = '2'\ncluster = 'x'", "at most 128 bits"),
    ] {
        let message = with(from, to);
        assert!(message.contains(wanted) && message.starts_with("/etc/amber.toml:"), "{from} -> {to}: {message}");
    }
    let line = with("'1'", "'0'");
    assert!(line.starts_with("/etc/amber.toml:8: `system_account = '0'`: "), "{line}");
}

#[test]
fn addresses_are_what_the_client_takes() {
    for good in ["3000", "127.0.0.1", "127.0.0.1:3000", "[::1]:3000", "1,2,3,4,5,6"] {
        assert_eq!(check_addresses(good), Ok(()), "{good}");
    }
    for bad in ["", ",", "127.0.0.1:", "127.0.0.1:70000", "host", "127.0.0.1:3000 ", "127.0.0.1:3000,"] {
        assert!(check_addresses(bad).is_err(), "{bad}");
    }
}
