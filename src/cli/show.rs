//! `amber show`: everything about one backup, of whatever tier.

use super::catalog_place::CatalogArguments;
use super::list_catalog;
use super::output::{Report, facts, table};
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::repository::name::BackupName;
use crate::tier::facts::BackupDetails;
use crate::tier::{Tier, tiers};
use clap::Args;

const AFTER_HELP: &str = "\
With --config or --catalog the catalog says what it knows of the backup, and the store is not asked; the newest is the one that reaches furthest on the newest timeline.

  amber show --repo s3://backups/ledger
  amber show --config /etc/amber/amber.toml 000019a4c1d2e3f4";

/// Arguments of `amber show`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ShowArguments {
    #[command(flatten)]
    place: CatalogArguments,
    /// Which backup: its run (as `amber list` prints it), its checkpoint op or its whole name; the
    /// newest otherwise.
    backup: Option<String>,
}

/// Shows one backup.
pub fn run(arguments: &ShowArguments) -> Result<Report> {
    let wanted = arguments.backup.as_deref();
    match arguments.place.named()? {
        Some(reader) => list_catalog::show(&reader, wanted),
        None => show(&*arguments.place.repository()?, wanted),
    }
}

/// One backup of a repository.
fn show(repository: &Repository, wanted: Option<&str>) -> Result<Report> {
    let (tier, backup) = find(repository, wanted)?;
    let BackupDetails { rows, tables, json } = tier.show(repository, &backup)?;
    let tables = tables.iter().map(|(headings, rows)| table(headings, rows));
    let parts: Vec<String> = std::iter::once(facts(&rows)).chain(tables).collect();
    Ok(Report::new(parts.join("\n"), json))
}

/// The backup that is meant, and its tier.
///
/// # Errors
/// [`Error::input`] where there is none, or several fit.
pub(super) fn find(repository: &Repository, wanted: Option<&str>) -> Result<(&'static dyn Tier, BackupName)> {
    let mut found: Vec<(&'static dyn Tier, BackupName)> = Vec::new();
    for tier in tiers() {
        let Some(wanted) = wanted else {
            if let Some(newest) = tier.newest(repository)? {
                return Ok((*tier, newest));
            }
            continue;
        };
        let fits = tier.backups(repository)?.into_iter().filter(|backup| tier.fits(backup, wanted));
        found.extend(fits.map(|backup| (*tier, backup)));
    }
    let place = repository.describe();
    match (found.len(), wanted) {
        (_, None) => Err(Error::input(format!("{place}: there is no backup in this repository yet: `amber backup` makes one"))),
        (0, Some(wanted)) => Err(Error::input(format!("{place}: there is no backup {wanted:?}; `amber list` shows what there is"))),
        (1, Some(_)) => Ok(found.remove(0)),
        (several, Some(wanted)) => {
            Err(Error::input(format!("{several} backups fit {wanted:?}: name one by its run, as `amber list` prints it")))
        }
    }
}

#[cfg(test)]
mod tests;
