//! Compares both the repository and the catalog with one reading of the ledger.
//!
//! The repository decides which events there must be. The catalog is a cache, which its agent
//! brings up to date when it starts and whenever it has run something itself. So a run that the
//! catalog does not have yet is no difference ([`Sides::behind`] names it). A row that differs from
//! the ledger is one, and so is a row that neither ledger nor repository knows. An event for which
//! neither side has a record is reported once.

use super::backups::BackupRows;
use super::row::Evidence;
use crate::error::Result;
use crate::ledger_events::event::Accounts;
use crate::ledger_events::packing::Status;
use crate::ledger_events::trail::{Booked, Check, Difference, DifferenceKind, Expected, Side};
use crate::repository::Repository;
use std::collections::BTreeSet;

/// The events that there must be: by the repository, and by the catalog if there is one.
#[derive(Debug, Clone)]
pub struct Sides {
    /// The repository's records.
    pub repository: Side,
    /// The catalog's rows.
    pub catalog: Option<Side>,
}

/// Compares events with both sides, one event after the other.
pub struct Checks<'a> {
    sides: &'a Sides,
    repository: Check<'a>,
    catalog: Option<Check<'a>>,
}

impl Sides {
    /// Reads the repository's records; `rows` are those of a catalog.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(repository: &Repository, rows: Option<BackupRows>, accounts: Accounts) -> Result<Sides> {
        let catalog = rows.map(|rows| side_of(rows, accounts.clone()));
        Ok(Sides { repository: Side::of_repository(repository, accounts)?, catalog })
    }

    /// Begins to compare events.
    pub fn check(&self) -> Checks<'_> {
        Checks { sides: self, repository: self.repository.check(), catalog: self.catalog.as_ref().map(Side::check) }
    }

    /// Runs whose end the repository has recorded and the catalog does not have yet.
    pub fn behind(&self) -> BTreeSet<&str> {
        let Some(catalog) = &self.catalog else { return BTreeSet::new() };
        let ended = self.repository.all().filter(|expected| expected.status != Status::Started);
        ended.filter(|expected| catalog.expected(expected.event.id).is_none()).map(|expected| expected.backup.as_str()).collect()
    }
}

fn side_of(rows: BackupRows, accounts: Accounts) -> Side {
    let mut side = Side::new("the catalog", accounts);
    for row in rows {
        match row {
            // Its run has no record of an end, so it has no event of one.
            Ok(row) if row.evidence == Evidence::Backup => {}
            Ok(row) => side.add_newest(&row.run, row.id, &row.record),
            Err((run, wrong)) => side.unreadable(format!("{run} in the catalog"), wrong),
        }
    }
    side
}

impl Checks<'_> {
    /// Compares the next event.
    pub fn see(&mut self, booked: &Booked) {
        self.repository.see(booked);
        if let Some(catalog) = &mut self.catalog {
            catalog.see(booked);
        }
    }

    /// Events seen so far.
    pub fn events(&self) -> u64 {
        self.repository.events()
    }

    /// The differences, once all events were seen, and how many events wait for the ledger. An
    /// event for which `waits` holds is not missing.
    pub fn finish(self, waits: impl Fn(&Expected) -> bool) -> (Vec<Difference>, u64) {
        let (mut differences, waiting) = self.repository.finish(&waits);
        if let Some(catalog) = self.catalog {
            let is_news = |difference: &Difference| match difference.kind {
                DifferenceKind::Altered | DifferenceKind::Unreadable => true,
                // The repository reports it already if it expects the event.
                DifferenceKind::Missing => self.sides.repository.expected(difference.id).is_none(),
                // Either the repository reports it already, or the catalog is behind.
                DifferenceKind::Doubled | DifferenceKind::Unknown => false,
            };
            differences.extend(catalog.finish(&waits).0.into_iter().filter(is_news));
        }
        (differences, waiting)
    }
}

#[cfg(test)]
mod tests;
