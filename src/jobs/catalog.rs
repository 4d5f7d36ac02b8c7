//! The job that backs the catalog itself up: brought up to date, then stored as a file like any
//! other.
//!
//! The catalog can be made again from the repository, so this saves time and nothing else; but what
//! it holds of records that somebody has removed since is then there to be compared.

use super::registry::Context;
use crate::catalog::rebuild::refresh;
use crate::catalog::writer::Catalog;
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::name::RunId;
use crate::repository::run_record::RunOutcome;
use crate::tier::file::capture::{self, FileCaptureRequest};
use crate::tier::outcome::{self, CATALOG_FILE};

/// The job.
///
/// # Errors
/// Those of [`back_up`].
pub fn run(context: &Context<'_>) -> Result<RunOutcome> {
    back_up(context.catalog, context.run, context.progress)
}

/// Brings the catalog up to date and backs it up, under the number of the run that does it.
///
/// # Errors
/// Those of [`refresh`] and of [`capture::backup`].
pub fn back_up(catalog: &Catalog, run: RunId, progress: &dyn Progress) -> Result<RunOutcome> {
    for note in refresh(catalog, progress)?.notes {
        progress.note(&note);
    }
    let held = catalog.folder().hold()?;
    let request = FileCaptureRequest {
        path: held.path().to_owned(),
        name: CATALOG_FILE.to_owned(),
        // It has changed by the time that an upload could be carried on.
        journals: None,
        read: ReadOptions::default(),
        run: Some(run),
    };
    let backup = capture::backup(catalog.repository(), &request, progress)?;
    Ok(outcome::of_file(&backup.name, &backup.record, &backup.record_digest))
}

#[cfg(test)]
mod tests;
