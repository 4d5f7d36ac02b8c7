use super::*;
use crate::error::Kind;
use crate::ledger_events::tests::{ACCOUNTS, begun, completed, failed};
use crate::repository::run_record::{RunOutcome, Scope};
use std::collections::HashSet;

fn event(record: &RunRecord) -> Event {
    Event::of(Uuid::from_u128(7), record, &ACCOUNTS).unwrap()
}

#[test]
fn a_backup_is_told_when_it_begins_and_when_it_has_ended() {
    let (first, last) = (event(&begun(Work::Tigerbeetle)), event(&completed(Work::Tigerbeetle, 5000)));
    assert_eq!((first.debit_account, first.credit_account, first.ledger, first.amount), (1, 2, 700, 0));
    assert_eq!((first.started_s, last.started_s), (1_700_000_000, 1_700_000_000), "whole seconds, rounded down");
    let packed = Packed::unpack(last.packed).unwrap();
    let reported = (packed.work, packed.scope, packed.compression, packed.encryption, packed.status, packed.retention_days);
    assert_eq!(reported, (Work::Tigerbeetle, Scope::Full, Compression::Zstd, Encryption::Aes256, Status::Completed, 30));
    assert_eq!(last.amount, 5000);
    let packed = Packed::unpack(first.packed).unwrap();
    assert_eq!((packed.compression, packed.encryption, packed.status), (Compression::None, Encryption::None, Status::Started));
    let lost = event(&failed(Work::Tigerbeetle));
    assert_eq!((lost.amount, Packed::unpack(lost.packed).unwrap().status), (0, Status::Failed));
}

#[test]
fn a_key_counts_one_and_what_stores_nothing_counts_nothing() {
    assert_eq!(event(&completed(Work::Kms, 5000)).amount, 1);
    assert_eq!(event(&begun(Work::Kms)).amount, 0, "nothing is stored yet");
    for work in [Work::Verification, Work::Drill, Work::Retention, Work::Restore] {
        let event = event(&begun(work));
        assert_eq!((event.amount, Packed::unpack(event.packed).unwrap().work), (0, work));
    }
}

#[test]
fn ids_follow_from_backup_and_status_and_differ() {
    let statuses = [Status::Started, Status::Completed, Status::Failed];
    let ids = |backup: u128| statuses.map(|status| id_of(Uuid::from_u128(backup), status));
    assert_eq!(ids(7), ids(7));
    let all: HashSet<u128> = (0..1000).flat_map(ids).collect();
    assert_eq!(all.len(), 3000);
    assert!(!all.contains(&0) && !all.contains(&u128::MAX));
    // This id must never change: it is what makes a retry harmless.
    assert_eq!(format!("{:032x}", ids(7)[0]), "abcd808cee87df75db1fc970e9e078d2");
}

#[test]
fn a_tenant_is_credited_by_its_number() {
    let with = |tenant: &str| {
        let mut record = begun(Work::Tigerbeetle);
        record.run.tenant = Some(tenant.to_owned());
        Event::of(Uuid::from_u128(7), &record, &ACCOUNTS).map(|event| event.credit_account)
    };
    assert_eq!(with("340282366920938463463374607431768211454"), Ok(u128::MAX - 1));
    assert_eq!(with("2"), Ok(2));
    for wrong in ["0", "340282366920938463463374607431768211455", "340282366920938463463374607431768211456", "-1", "acme", ""] {
        assert_eq!(with(wrong).unwrap_err().kind, Kind::Input, "{wrong}");
    }
    assert!(with("1").unwrap_err().message.contains("system account"));
}

#[test]
fn what_has_no_number_is_refused() {
    let mut record = completed(Work::Tigerbeetle, 1);
    let outcome = RunOutcome { compression: "lz4".into(), ..record.outcome.clone().unwrap() };
    record.outcome = Some(outcome);
    let error = Event::of(Uuid::from_u128(7), &record, &ACCOUNTS).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("compression \"lz4\""), "{error}");
    let mut record = completed(Work::Tigerbeetle, 1);
    record.outcome.as_mut().unwrap().encryption = "rot13".into();
    assert!(Event::of(Uuid::from_u128(7), &record, &ACCOUNTS).unwrap_err().message.contains("encryption \"rot13\""));
}
