//! What a verification found, as the record of its run stores it.

use crate::repository::run_record::RunOutcome;
use crate::tier::depth::Depth;
use crate::tier::findings::{VerificationReport, error_of};
use serde_json::json;

impl VerificationReport {
    /// How the run ended: completed if everything is intact, failed if anything is damaged.
    pub fn outcome(&self, depth: Depth, place: &str, ended_ns: u64) -> RunOutcome {
        let figures = [
            ("is_full", json!(depth == Depth::Full)),
            ("depth", json!(depth.word())),
            ("backups", json!(self.backups())),
            ("backups_whole", json!(self.backups_intact())),
            ("objects", json!(self.objects)),
            ("bytes_read", json!(self.bytes_read)),
            ("problems", json!(self.problems.len())),
        ];
        let ended = match error_of(self, place) {
            None => RunOutcome::completed(ended_ns),
            Some(error) => RunOutcome::failed(ended_ns, error.message),
        };
        let of_tiers = self.tiers.values().flat_map(|tier| tier.figures.iter().filter(|(_, value)| value.is_u64()).cloned());
        RunOutcome { details: figures.into_iter().chain(of_tiers).map(|(name, value)| (name.to_owned(), value)).collect(), ..ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::depth::Depth;
    use crate::tier::findings::Problem;

    #[test]
    fn a_verification_that_finds_anything_has_failed() {
        let whole = VerificationReport { objects: 7, ..VerificationReport::of_backups(2, 2) };
        let outcome = whole.outcome(Depth::Full, "s3://x", 5);
        assert_eq!((outcome.completed, outcome.ended_ns, outcome.reason.as_str()), (true, 5, ""));
        assert_eq!(
            (&outcome.details["is_full"], &outcome.details["objects"], &outcome.details["problems"]),
            (&json!(true), &json!(7), &json!(0))
        );
        let problem = Problem { object: "tigerbeetle/packs/1".to_owned(), what: "it is missing".to_owned() };
        let damaged = VerificationReport { problems: vec![problem], ..VerificationReport::of_backups(2, 1) };
        let outcome = damaged.outcome(Depth::Digests, "s3://x", 6);
        assert!(!outcome.completed && outcome.reason.contains("tigerbeetle/packs/1: it is missing"), "{outcome:?}");
        assert_eq!((&outcome.details["problems"], &outcome.details["backups_whole"]), (&json!(1), &json!(1)));
    }
}
