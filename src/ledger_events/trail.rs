//! The trail: compares every event that the ledger has with another source: the repository's
//! records of runs, or the catalog's rows.
//!
//! Flow: a [`Side`] is made from records ([`Side::of_repository`], or [`Side::add`] for rows that
//! the caller has turned into records). Each [`Booked`] event is passed to [`Check::see`], and
//! [`Check::finish`] returns what is missing, doubled, altered or unknown. Events cannot be changed
//! in a ledger. So if an event differs from its record, the record was altered, or somebody else
//! has booked under its id.

use super::event::{Accounts, Event, id_of, status_of};
use super::packing::{Packed, Status};
use crate::error::{Kind, Result};
use crate::repository::Repository;
use crate::repository::name::{self, RunId, RunName};
use crate::repository::run_record::RunRecord;
use crate::units::time_text;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// An event as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The fields that Amber sets.
    pub event: Event,
    /// When it was booked, by the cluster's clock, in nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// 0 in an event.
    pub user_data_32: u32,
    /// 0 in an event.
    pub pending_id: u128,
    /// 0 in an event.
    pub timeout_s: u32,
    /// 0 in an event.
    pub flags: u16,
}

/// An event that there must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Which backup it describes: the run's id, or the side's name for it.
    pub backup: String,
    /// The status of the backup.
    pub status: Status,
    /// The event itself.
    pub event: Event,
}

/// How the ledger and a side differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceKind {
    /// The ledger has no such event.
    Missing,
    /// The ledger's event differs.
    Altered,
    /// The ledger has the same event again, under another id.
    Doubled,
    /// The ledger has an event that the side does not know.
    Unknown,
    /// A record or row of the side cannot be read.
    Unreadable,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Difference {
    /// The kind of difference.
    pub kind: DifferenceKind,
    /// The event's id; 0 where none is known.
    pub id: u128,
    /// Which backup and which moment, or the object that cannot be read.
    pub subject: String,
    /// What differs, in a sentence.
    pub what: String,
}

/// The events that there must be by one source, such as the repository.
#[derive(Debug, Clone)]
pub struct Side {
    name: &'static str,
    accounts: Accounts,
    expected: BTreeMap<u128, Expected>,
    /// Ids of events that the ledger may have, whatever they say.
    allowed: HashSet<u128>,
    differences: Vec<Difference>,
}

/// Compares events with a side, one after the other.
pub struct Check<'a> {
    side: &'a Side,
    seen: HashSet<u128>,
    /// Maps the content of an expected event, without its id, to its id.
    same: HashMap<Said, u128>,
    differences: Vec<Difference>,
    events: u64,
}

/// The fields that are equal in an event that was booked twice.
type Said = (u128, u64, u128, u128);

fn said(event: &Event) -> Said {
    (event.packed, event.started_s, event.credit_account, event.amount)
}

impl DifferenceKind {
    /// The kind in a word.
    pub fn text(self) -> &'static str {
        match self {
            DifferenceKind::Missing => "missing",
            DifferenceKind::Altered => "altered",
            DifferenceKind::Doubled => "doubled",
            DifferenceKind::Unknown => "unknown",
            DifferenceKind::Unreadable => "unreadable",
        }
    }
}

impl Side {
    /// A side without events; `name` as in "the repository".
    pub fn new(name: &'static str, accounts: Accounts) -> Side {
        Side { name, accounts, expected: BTreeMap::new(), allowed: HashSet::new(), differences: Vec::new() }
    }

    /// The side of a repository's records. A record that cannot be read is a difference.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn of_repository(repository: &Repository, accounts: Accounts) -> Result<Side> {
        let mut side = Side::new("the repository", accounts);
        for name in repository.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)) {
            match repository.run_record(&name) {
                Ok(record) => side.add(&name.run.to_string(), repository.backup_id(name.run), &record),
                Err(error) if error.kind == Kind::Damaged => side.unreadable(name.object(), error.message),
                Err(error) => return Err(error),
            }
        }
        Ok(side)
    }

    /// Adds a record of any status.
    pub fn add(&mut self, backup: &str, backup_id: Uuid, record: &RunRecord) {
        match Event::of(backup_id, record, &self.accounts) {
            Ok(event) => {
                let expected = Expected { backup: backup.to_owned(), status: status_of(record), event };
                self.expected.insert(event.id, expected);
            }
            Err(error) => self.unreadable(format!("{backup} {}", status_of(record).text()), error.message),
        }
    }

    /// Adds a record of the newest status, for a side that keeps no earlier one: a row of the
    /// catalog. The ledger's event of the beginning is not compared then.
    pub fn add_newest(&mut self, backup: &str, backup_id: Uuid, record: &RunRecord) {
        self.allowed.insert(id_of(backup_id, Status::Started));
        self.add(backup, backup_id, record);
    }

    /// Adds something that the side has and that cannot be read.
    pub fn unreadable(&mut self, subject: String, what: String) {
        self.differences.push(Difference { kind: DifferenceKind::Unreadable, id: 0, subject, what });
    }

    /// The expected event with this id, if there is one.
    pub fn expected(&self, id: u128) -> Option<&Expected> {
        self.expected.get(&id)
    }

    /// All expected events.
    pub fn all(&self) -> impl Iterator<Item = &Expected> {
        self.expected.values()
    }

    /// How many events are expected.
    pub fn len(&self) -> usize {
        self.expected.len()
    }

    /// Whether no event is expected.
    pub fn is_empty(&self) -> bool {
        self.expected.is_empty()
    }

    /// Begins to compare events.
    pub fn check(&self) -> Check<'_> {
        let same = self.expected.values().map(|expected| (said(&expected.event), expected.event.id)).collect();
        Check { side: self, seen: HashSet::new(), same, differences: self.differences.clone(), events: 0 }
    }
}

impl Check<'_> {
    /// Compares the next event.
    pub fn see(&mut self, booked: &Booked) {
        self.events += 1;
        let id = booked.event.id;
        match self.side.expected.get(&id) {
            Some(expected) => {
                self.seen.insert(id);
                let what = differs(&expected.event, booked);
                if !what.is_empty() {
                    let what = format!("the ledger and {} differ: {}", self.side.name, what.join(", "));
                    self.differ(DifferenceKind::Altered, id, subject(expected), what);
                }
            }
            None if self.side.allowed.contains(&id) => {}
            None => self.stranger(booked),
        }
    }

    fn stranger(&mut self, booked: &Booked) {
        let at = time_text(booked.timestamp_ns);
        match self.same.get(&said(&booked.event)).and_then(|id| self.side.expected.get(id)) {
            Some(expected) => {
                let what = format!("booked at {at}; it says what event {:032x} does, but not under its id", expected.event.id);
                self.differ(DifferenceKind::Doubled, booked.event.id, subject(expected), what);
            }
            None => {
                let what = format!("booked at {at}; nothing in {} leads to it", self.side.name);
                self.differ(DifferenceKind::Unknown, booked.event.id, reported(&booked.event), what);
            }
        }
    }

    fn differ(&mut self, kind: DifferenceKind, id: u128, subject: String, what: String) {
        self.differences.push(Difference { kind, id, subject, what });
    }

    /// Events seen so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The differences, once all events were seen, and how many events wait for the ledger. An
    /// event for which `waits` holds is not missing.
    pub fn finish(mut self, waits: impl Fn(&Expected) -> bool) -> (Vec<Difference>, u64) {
        let mut waiting = 0;
        for (id, expected) in self.side.expected.iter().filter(|(id, _)| !self.seen.contains(*id)) {
            if waits(expected) {
                waiting += 1;
                continue;
            }
            let what = format!("{} has its record, the ledger no event", self.side.name);
            self.differences.push(Difference { kind: DifferenceKind::Missing, id: *id, subject: subject(expected), what });
        }
        (self.differences, waiting)
    }
}

/// Whether the record of an expected event still waits in an outbox
/// (`runs::outbox::peek`).
pub fn waits_in(outbox: &BTreeSet<(RunId, bool)>, expected: &Expected) -> bool {
    let run = u64::from_str_radix(&expected.backup, 16).map(RunId);
    run.is_ok_and(|run| outbox.contains(&(run, expected.status != Status::Started)))
}

fn subject(expected: &Expected) -> String {
    format!("{} {}", expected.backup, expected.status.text())
}

/// An event in words, as far as it can be unpacked.
fn reported(event: &Event) -> String {
    match Packed::unpack(event.packed) {
        Ok(packed) => format!("a {} run {}, begun at second {}", packed.work.text(), packed.status.text(), event.started_s),
        Err(error) => error.message,
    }
}

/// In which fields a booked event differs from the expected one.
fn differs(expected: &Event, booked: &Booked) -> Vec<String> {
    let found = &booked.event;
    let rows: [(&str, u128, u128); 9] = [
        ("debit account", found.debit_account, expected.debit_account),
        ("credit account", found.credit_account, expected.credit_account),
        ("amount", found.amount, expected.amount),
        ("start in seconds", found.started_s.into(), expected.started_s.into()),
        ("ledger", found.ledger.into(), expected.ledger.into()),
        ("user_data_32", booked.user_data_32.into(), 0),
        ("pending id", booked.pending_id, 0),
        ("timeout", booked.timeout_s.into(), 0),
        ("flags", booked.flags.into(), 0),
    ];
    let mut all: Vec<String> = rows
        .iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(field, found, expected)| format!("{field} {found} instead of {expected}"))
        .collect();
    if found.packed != expected.packed {
        all.push(facts_differ(found.packed, expected.packed));
    }
    all
}

fn facts_differ(found: u128, expected: u128) -> String {
    let (Ok(one), Ok(other)) = (Packed::unpack(found), Packed::unpack(expected)) else {
        return format!("user_data_128 {found:#034x} instead of {expected:#034x}");
    };
    let pairs = [
        ("type", one.work.text().to_owned(), other.work.text().to_owned()),
        ("scope", one.scope.text().to_owned(), other.scope.text().to_owned()),
        ("compression", one.compression.text().to_owned(), other.compression.text().to_owned()),
        ("encryption", one.encryption.text().to_owned(), other.encryption.text().to_owned()),
        ("status", one.status.text().to_owned(), other.status.text().to_owned()),
        ("retention in days", one.retention_days.to_string(), other.retention_days.to_string()),
    ];
    let differing = pairs.iter().filter(|(_, found, expected)| found != expected);
    differing.map(|(field, found, expected)| format!("{field} {found} instead of {expected}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
