//! Repository and catalog, both held against one reading of the ledger.
//!
//! The repository decides what there must be. The catalog is a cache that its agent brings up to
//! date when it starts and whenever it has run something itself, so a run that it does not have yet
//! is no difference ([`Sides::behind`] names it); a row that says something else than the ledger is
//! one, and so is a row of which neither ledger nor repository knows. What both sides would say of
//! an event that nobody leads to is said once.

use super::backups::BackupRows;
use super::row::Evidence;
use crate::error::Result;
use crate::ledger_events::event::Accounts;
use crate::ledger_events::packing::Status;
use crate::ledger_events::trail::{Booked, Check, Difference, DifferenceKind, Expected, Side};
use crate::repository::Repository;
use std::collections::BTreeSet;

/// What the repository says there must be, and the catalog where there is one.
#[derive(Debug, Clone)]
pub struct Sides {
    /// The repository's records.
    pub repository: Side,
    /// The catalog's rows.
    pub catalog: Option<Side>,
}

/// Events held against both, one after the other.
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
        let catalog = rows.map(|rows| side_of(rows, accounts));
        Ok(Sides { repository: Side::of_repository(repository, accounts)?, catalog })
    }

    /// Begins to look at events.
    pub fn check(&self) -> Checks<'_> {
        Checks { sides: self, repository: self.repository.check(), catalog: self.catalog.as_ref().map(Side::check) }
    }

    /// Runs whose end the repository has and the catalog does not have yet.
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
            // Its run has no record of an end, which is what an event tells.
            Ok(row) if row.evidence == Evidence::Backup => {}
            Ok(row) => side.add_newest(&row.run, row.id, &row.record),
            Err((run, wrong)) => side.unreadable(format!("{run} in the catalog"), wrong),
        }
    }
    side
}

impl Checks<'_> {
    /// The next event.
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

    /// What differs, once all events were seen. What `waits` for the ledger is not missing; how
    /// many do.
    pub fn finish(self, waits: impl Fn(&Expected) -> bool) -> (Vec<Difference>, u64) {
        let (mut differences, waiting) = self.repository.finish(&waits);
        if let Some(catalog) = self.catalog {
            let is_news = |difference: &Difference| match difference.kind {
                DifferenceKind::Altered | DifferenceKind::Unreadable => true,
                // The repository has said so, too.
                DifferenceKind::Missing => self.sides.repository.expected(difference.id).is_none(),
                // Either the repository has said so, too, or the catalog is behind.
                DifferenceKind::Doubled | DifferenceKind::Unknown => false,
            };
            differences.extend(catalog.finish(&waits).0.into_iter().filter(is_news));
        }
        (differences, waiting)
    }
}

#[cfg(test)]
mod tests;
