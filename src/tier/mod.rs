//! What is backed up. A tier is one folder, and one implementation of [`Tier`]: its formats, its
//! capture, its check, its restore.
//!
//! ```text
//! verify, catalog, list, show, restore, storage, reconcile, retention
//!    v  loop over
//! tiers(): tigerbeetle, file, catalog, ...
//!    v  each is one folder
//! repository: records, receipts, sealed objects
//! ```
//!
//! Everything that handles backups in general loops over [`tiers`] and names none of them
//! (`tests/walls.rs`). Capture is outside the trait, because what it needs differs from tier to
//! tier. It ends in the same promise everywhere: a record, then its receipt
//! ([`crate::repository::promise`]). `docs/adding-a-tier.md` leads through a new one.

pub mod catalog;
pub mod depth;
pub mod facts;
pub mod file;
pub mod findings;
pub mod object_check;
pub mod object_class;
pub mod objective;
pub mod promises;
pub mod reference;
pub mod repair;
pub mod request;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
#[cfg(any(test, feature = "samples"))]
pub mod sample_large;
pub mod tigerbeetle;
#[cfg(test)]
pub mod toy;

use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::{self, BackupName, Promised, Promises, RunId, RunName};
use crate::repository::run_record::Work;
use depth::Depth;
use facts::{BackupDetails, BackupFacts, Column, Listing, Section, damaged_json, row};
use findings::VerificationReport;
use object_class::{ObjectClass, Role};
use objective::{Estimate, Objective};
use reference::ObjectReference;
use repair::Repaired;
use request::{AsOf, TierRestoreRequest, TierRestored};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All tiers. The order is that of lists.
static TIERS: &[&dyn Tier] = &[
    &tigerbeetle::Tigerbeetle,
    &file::PlainFiles,
    &catalog::CatalogCopies,
    #[cfg(test)]
    &toy::Toy,
];

/// The objects that belong to no tier.
static CLASSES: [ObjectClass; 3] = [
    ObjectClass { prefix: name::HEADER, name: "other", role: Role::State, is_ours: |name| name == name::HEADER },
    ObjectClass { prefix: name::KEYS, name: "other", role: Role::State, is_ours: |name| name.len() == name::KEYS.len() + 16 },
    ObjectClass { prefix: name::RUNS, name: "catalog", role: Role::State, is_ours: |name| RunName::parse(name).is_some() },
];

/// A kind of system that is backed up.
pub trait Tier: Sync {
    /// Its name on the command line, in the catalog and in JSON. It is never changed.
    fn name(&self) -> &'static str;

    /// What its backups are called, in the plural, for people.
    fn title(&self) -> &'static str;

    /// The kind of work of the runs that make its backups.
    fn work(&self) -> Work;

    /// Where its backups are promised.
    fn promises(&self) -> &'static Promises;

    /// All kinds of objects that it keeps.
    fn objects(&self) -> &'static [ObjectClass];

    /// What it aims for.
    fn objective(&self) -> Objective;

    /// For how many days its backups are kept unless a policy says otherwise; 0 is for ever.
    fn retention_days(&self) -> u16;

    /// The columns of its table.
    fn columns(&self) -> &'static [Column];

    /// The backups that exist or were promised, the oldest first. A lost record is among them,
    /// because it must not make an older backup the newest.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn backups(&self, repository: &Repository) -> Result<Vec<BackupName>>;

    /// What one backup says of itself.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or not what was written.
    fn facts(&self, repository: &Repository, backup: &BackupName) -> Result<BackupFacts>;

    /// Everything about one backup.
    ///
    /// # Errors
    /// [`Error::damaged`] when it is missing or not what was written.
    fn show(&self, repository: &Repository, backup: &BackupName) -> Result<BackupDetails>;

    /// Hands on every object that a backup needs, what it builds on included, each once.
    ///
    /// # Errors
    /// [`Error::damaged`] when the backup cannot be read, and the errors of `take`.
    fn references(&self, repository: &Repository, backup: &BackupName, take: &mut dyn FnMut(ObjectReference) -> Result<()>) -> Result<()>;

    /// Checks everything of this tier.
    ///
    /// # Errors
    /// When the store cannot be read, or the work is cancelled. Damage goes into the report.
    fn check(&self, repository: &Arc<Repository>, depth: Depth, progress: &dyn Progress, report: &mut VerificationReport) -> Result<()>;

    /// What a restore is expected to take. `name` as in [`TierRestoreRequest::name`].
    ///
    /// # Errors
    /// [`Error::input`] where nothing can be restored as of then.
    fn estimate(&self, repository: &Repository, as_of: AsOf, name: Option<&str>) -> Result<Estimate>;

    /// Restores.
    ///
    /// # Errors
    /// [`Error::input`] where nothing can be restored as of then or the output cannot be written,
    /// [`Error::damaged`] when what is stored is not what its record promises. The output has its
    /// name only when it is complete and checked.
    fn restore(&self, repository: &Arc<Repository>, request: &TierRestoreRequest, progress: &dyn Progress) -> Result<TierRestored>;

    /// The newest backup, which is shown and restored where none is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn newest(&self, repository: &Repository) -> Result<Option<BackupName>> {
        Ok(self.backups(repository)?.into_iter().max_by_key(|backup| backup.run))
    }

    /// Whether a person means this backup by `wanted`.
    fn fits(&self, backup: &BackupName, wanted: &str) -> bool {
        backup.record_object() == wanted || backup.run.to_string() == wanted
    }

    /// What `amber list` says of it.
    ///
    /// # Errors
    /// When the store cannot be read. Damage is part of the listing.
    fn list(&self, repository: &Repository) -> Result<Listing> {
        list_backups(self, repository)
    }

    /// Puts back what is damaged or missing of a backup, from another copy of the repository.
    ///
    /// # Errors
    /// [`Error::damaged`] where the copy does not have it intact either.
    fn repair(&self, repository: &Repository, backup: &BackupName, from: &Repository, progress: &dyn Progress) -> Result<Repaired> {
        repair::from_copy(repository, from, progress, &mut |repository, take| self.references(repository, backup, take))
    }
}

/// All tiers, in the order of lists.
pub fn tiers() -> &'static [&'static dyn Tier] {
    TIERS
}

/// The tier of a name.
///
/// # Errors
/// [`Error::input`], naming those that there are.
pub fn tier(name: &str) -> Result<&'static dyn Tier> {
    let names: Vec<&str> = TIERS.iter().map(|tier| tier.name()).collect();
    let found = TIERS.iter().copied().find(|tier| tier.name() == name);
    found.ok_or_else(|| Error::input(format!("there is no tier {name:?}: the tiers are {}", names.join(", "))))
}

/// For how many days the backups of a kind of work are kept unless a policy says otherwise; 0 is
/// for ever, and what is no backup is kept for ever.
pub fn retention_days_of(work: Work) -> u16 {
    TIERS.iter().find(|tier| tier.work() == work).map_or(0, |tier| tier.retention_days())
}

/// The tier of a backup.
///
/// # Errors
/// [`Error::bug`] where none has its prefix.
pub fn tier_of(backup: &BackupName) -> Result<&'static dyn Tier> {
    let found = TIERS.iter().copied().find(|tier| tier.promises() == backup.promises);
    found.ok_or_else(|| Error::bug(format!("{} belongs to no tier", backup.record_object())))
}

/// All kinds of objects, with those that belong to no tier.
pub fn classes() -> impl Iterator<Item = &'static ObjectClass> {
    CLASSES.iter().chain(TIERS.iter().flat_map(|tier| tier.objects()))
}

/// The first parts of all names, each once: what has to be listed to see every object.
pub fn top_prefixes() -> Vec<String> {
    let mut all: Vec<String> = classes().filter_map(|class| class.prefix.split_once('/')).map(|(first, _)| format!("{first}/")).collect();
    all.sort();
    all.dedup();
    all
}

/// All backups that exist, of every tier, by their runs.
///
/// # Errors
/// When the store cannot be read.
pub fn backups_by_run(repository: &Repository) -> Result<BTreeMap<RunId, BackupName>> {
    let mut all = BTreeMap::new();
    for tier in TIERS {
        for listed in repository.list_all(tier.promises().records)? {
            if let Some(backup) = parse(*tier, &listed.name) {
                all.insert(backup.run, backup);
            }
        }
    }
    Ok(all)
}

/// Reads the name of a record as that of a backup. Every record's name ends with its run.
fn parse(tier: &'static dyn Tier, record: &str) -> Option<BackupName> {
    let tail = record.strip_prefix(tier.promises().records)?;
    let is_ours = tier.objects().iter().any(|class| class.prefix == tier.promises().records && (class.is_ours)(record));
    let run = tail.get(tail.len().checked_sub(16)?..).and_then(|run| u64::from_str_radix(run, 16).ok())?;
    is_ours.then(|| BackupName { promises: tier.promises(), tail: tail.to_owned(), run: RunId(run) })
}

/// What a backup says of itself, whatever its tier.
///
/// # Errors
/// Those of [`Tier::facts`].
pub fn facts_of(repository: &Repository, backup: &BackupName) -> Result<BackupFacts> {
    tier_of(backup)?.facts(repository, backup)
}

/// One table of all backups of a tier, which most tiers list.
fn list_backups<T: Tier + ?Sized>(tier: &T, repository: &Repository) -> Result<Listing> {
    let (mut values, mut failure): (Vec<Value>, Option<Error>) = (Vec::new(), None);
    for backup in tier.backups(repository)? {
        match tier.facts(repository, &backup) {
            Ok(facts) => values.push(facts.json),
            Err(error) if error.kind == Kind::Damaged => {
                values.push(damaged_json(&backup.record_object(), backup.run, &error));
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let rows: Vec<Vec<String>> = values.iter().map(|value| row(tier.columns(), value)).collect();
    let headings = tier.columns().iter().map(|column| column.heading).collect();
    let sections = if rows.is_empty() { Vec::new() } else { vec![Section { headings, rows, ..Section::default() }] };
    Ok(Listing { backups: values.len(), title: tier.title().to_owned(), sections, json: vec![(tier.name(), json!(values))], failure })
}
