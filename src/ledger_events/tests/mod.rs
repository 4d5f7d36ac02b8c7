//! What the tests of this module share.

use super::event::Accounts;
use crate::repository::run_record::{Run, RunOutcome, RunRecord, Scope, Work};
use std::collections::BTreeMap;

pub const ACCOUNTS: Accounts = Accounts { ledger: 700, system: 1, all_tenants: 2, tenants: BTreeMap::new() };

pub fn run(work: Work) -> Run {
    Run {
        work,
        scope: Scope::Full,
        tenant: None,
        job: "checkpoint".into(),
        by: "agent".into(),
        started_ns: 1_700_000_000_999_999_999,
        retention_days: 30,
    }
}

pub fn begun(work: Work) -> RunRecord {
    RunRecord { run: run(work), outcome: None }
}

pub fn completed(work: Work, stored_bytes: u64) -> RunRecord {
    let outcome = RunOutcome {
        stored_bytes,
        compression: "zstd".into(),
        encryption: "aes256".into(),
        ..RunOutcome::completed(1_700_000_009_000_000_000)
    };
    RunRecord { run: run(work), outcome: Some(outcome) }
}

pub fn failed(work: Work) -> RunRecord {
    RunRecord { run: run(work), outcome: Some(RunOutcome::failed(1_700_000_009_000_000_000, "no")) }
}

/// Books an event as a ledger does: an id once, and again only with the same content.
pub(crate) fn book(events: &mut Vec<super::event::Event>, event: &super::event::Event) -> super::Delivered {
    match events.iter().find(|known| known.id == event.id) {
        Some(known) if known == event => {}
        Some(_) => return super::Delivered::Refused("exists with different".into()),
        None => events.push(*event),
    }
    super::Delivered::Yes
}
