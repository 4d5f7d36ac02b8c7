//! What a verification found, as the record of its run has it.

use super::{Report, error_of};
use crate::repository::run::Outcome;
use serde_json::json;

impl Report {
    /// How the run ended: completed where everything is whole, failed where anything is not.
    pub fn outcome(&self, full: bool, place: &str, ended_ns: u64) -> Outcome {
        let figures = [
            ("is_full", json!(full)),
            ("backups", json!(self.backups)),
            ("backups_whole", json!(self.backups_whole)),
            ("files", json!(self.files)),
            ("files_whole", json!(self.files_whole)),
            ("objects", json!(self.objects)),
            ("bytes_read", json!(self.bytes_read)),
            ("problems", json!(self.problems.len())),
        ];
        let ended = match error_of(self, place) {
            None => Outcome::completed(ended_ns),
            Some(error) => Outcome::failed(ended_ns, error.message),
        };
        Outcome { details: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), ..ended }
    }
}
