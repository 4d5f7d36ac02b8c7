//! The job that backs up the catalog itself: it brings the catalog up to date, then stores it as a
//! file like any other.
//!
//! The catalog can be rebuilt from the repository, so this only saves time. But the backup keeps
//! what the catalog holds of records that have since been removed, so that they can be compared.

use crate::catalog::rebuild::refresh;
use crate::catalog::writer::Catalog;
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::jobs::job::Context;
use crate::progress::Progress;
use crate::repository::name::{CATALOG_FILES, PLAIN_FILES, RunId};
use crate::repository::run_record::RunOutcome;
use crate::tier::catalog::NAME;
use crate::tier::file::capture;
use crate::tier::file::place;
use crate::tier::file::request::FileCaptureRequest;

/// Runs the job.
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
    // Nobody else looks after plain files that no command backs up again.
    for note in capture::mend(catalog.repository(), &PLAIN_FILES)? {
        progress.note(&note);
    }
    let held = catalog.folder().hold()?;
    let request = FileCaptureRequest {
        path: held.path().to_owned(),
        place: &CATALOG_FILES,
        name: NAME.to_owned(),
        tenant: None,
        // The catalog has changed by the time that an upload could be resumed.
        journals: None,
        read: ReadOptions::default(),
        run: Some(run),
    };
    let backup = capture::backup(catalog.repository(), &request, progress)?;
    Ok(place::outcome(&backup.name, &backup.record, &backup.receipt))
}

#[cfg(test)]
mod tests;
