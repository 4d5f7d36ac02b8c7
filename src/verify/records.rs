//! Checks the records that belong to no tier: keys, and runs.
//!
//! A run's record is history: no backup needs it.

use crate::error::Result;
use crate::repository::Repository;
use crate::repository::name::{self, RunName};
use crate::tier::findings::{VerificationReport, and_so};

const KEY_LOST: &str = "this way to open the repository is lost; wrap the key anew while another way opens it";

const RUN_LOST: &str = "the history of what ran has a hole here; the backups themselves are not touched by it";

/// Checks header and key objects, as far as that needs no secret. The header was already checked
/// when the repository was opened.
///
/// # Errors
/// When the store cannot be read.
pub fn keys(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    report.objects += 1;
    for listed in repository.list_all(name::KEYS)? {
        report.objects += 1;
        let checked = repository.check_key_object(&listed.name).map_err(|error| and_so(error, KEY_LOST));
        report.judge(&listed.name, checked)?;
    }
    Ok(())
}

/// Opens the records of runs.
///
/// # Errors
/// When the store cannot be read.
pub fn runs(repository: &Repository, report: &mut VerificationReport) -> Result<()> {
    for name in repository.list_all(name::RUNS)?.iter().filter_map(|listed| RunName::parse(&listed.name)) {
        report.objects += 1;
        report.runs += 1;
        let read = repository.run_record(&name).map_err(|error| and_so(error, RUN_LOST));
        report.judge(&name.object(), read)?;
    }
    Ok(())
}
