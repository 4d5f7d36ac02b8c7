//! What a verification finds: every tier adds to one [`VerificationReport`].

use crate::cancellation::Cancellation;
use crate::error::{Error, Kind, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// Something in the repository that is not as its manifest or record promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// What is wrong with it, and the consequence.
    pub what: String,
}

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VerificationReport {
    /// What was found of each tier, by its name.
    pub tiers: BTreeMap<&'static str, TierFindings>,
    /// Objects checked.
    pub objects: u64,
    /// Stored bytes read.
    pub bytes_read: u64,
    /// Records of runs.
    pub runs: u64,
    /// Objects that hold data, and that no backup names.
    pub leftovers: u64,
    /// Their stored bytes.
    pub leftover_bytes: u64,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// Findings that are no damage, but that the user should know.
    pub notes: Vec<String>,
}

/// What verification found of one tier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TierFindings {
    /// All backups that a receipt promises or that were found.
    pub backups: u64,
    /// Of these, those that are intact: their record and every object that it needs were checked.
    pub intact: u64,
    /// Figures that the tier adds to the JSON of a verification. Each is this tier's own.
    pub figures: Vec<(&'static str, Value)>,
    /// What it adds to the text: label and text.
    pub rows: Vec<(&'static str, String)>,
}

impl VerificationReport {
    /// All backups that a receipt promises or that were found.
    pub fn backups(&self) -> u64 {
        self.tiers.values().map(|tier| tier.backups).sum()
    }

    /// Backups that are intact.
    pub fn backups_intact(&self) -> u64 {
        self.tiers.values().map(|tier| tier.intact).sum()
    }

    /// A figure of a tier.
    #[cfg(test)]
    pub(crate) fn figure(&self, name: &str) -> Value {
        let all = self.tiers.values().flat_map(|tier| &tier.figures);
        all.filter(|(figure, _)| *figure == name).map(|(_, value)| value.clone()).next().unwrap_or_default()
    }

    /// A report of so many backups, of which so many are intact.
    #[cfg(test)]
    pub(crate) fn of_backups(backups: u64, intact: u64) -> VerificationReport {
        let found = TierFindings { backups, intact, ..TierFindings::default() };
        VerificationReport { tiers: BTreeMap::from([("any", found)]), ..VerificationReport::default() }
    }

    /// Counts an object that holds data and that no backup names.
    pub(crate) fn leftover(&mut self, stored_bytes: u64) {
        self.leftovers += 1;
        self.leftover_bytes = self.leftover_bytes.saturating_add(stored_bytes);
    }

    pub(crate) fn problem(&mut self, object: impl Into<String>, what: impl ToString) {
        self.problems.push(Problem { object: object.into(), what: what.to_string() });
    }

    /// Unwraps a result. Damage becomes a problem of the report. Any other error (the store is not
    /// reachable) ends the verification, because then nothing is known.
    pub(crate) fn judge<T>(&mut self, object: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind == Kind::Damaged => {
                self.problem(object, error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A point at which the work may pause for more urgent work, and at which it ends with an error if
/// it was cancelled.
pub(crate) fn check_wanted(cancellation: &dyn Cancellation) -> Result<()> {
    cancellation.pause();
    if cancellation.is_cancelled() { Err(Error::try_again("the verification was cancelled before its end")) } else { Ok(()) }
}

/// The same error, with what follows from it behind its message.
pub(crate) fn and_so(mut error: Error, consequence: &str) -> Error {
    error.message = format!("{}: {consequence}", error.message);
    error
}

/// The error for a report with problems; `None` if it has none.
pub fn error_of(report: &VerificationReport, place: &str) -> Option<Error> {
    let first = report.problems.first()?;
    Some(Error::damaged(format!(
        "{place}: {} problems; {} of {} backups are intact. The first: {}: {}",
        report.problems.len(),
        report.backups_intact(),
        report.backups(),
        first.object,
        first.what
    )))
}
