//! The job that verifies: it reads everything that the repository holds and compares it with what
//! was promised, as `amber verify` does.
//!
//! What it finds is its result. Damage is not a failure that another try could fix: the run is
//! recorded as failed, with what was found, and an alert remains until a verification finds
//! everything intact again.

use crate::error::Result;
use crate::jobs::job::Context;
use crate::repository::run_record::RunOutcome;
use crate::tier::depth::Depth;
use crate::tier::findings::VerificationReport;
use crate::verify::{record_damage, verify};
use serde_json::{Value, json};

/// The reason of a run that found bytes which are not what was stored begins with this.
pub const DAMAGED: &str = "damaged: ";
/// The most problems that are recorded one by one.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// Verifies the repository.
///
/// # Errors
/// When the store cannot be read, or the run is cancelled.
pub fn run(context: &Context<'_>) -> Result<RunOutcome> {
    let mut report = verify(context.repository, Depth::Digests, context.progress)?;
    record_damage(context.repository, &mut report);
    Ok(outcome(&report, &context.repository.describe(), context.repository.clock().now_ns()))
}

/// What a verification found, in a few words.
pub fn outcome_text(outcome: &RunOutcome) -> String {
    let figure = |name: &str| outcome.details.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (backups, intact, problems) = (figure("backups"), figure("backups_whole"), figure("problems"));
    match problems {
        0 if outcome.completed => format!("all {backups} backups are intact"),
        0 => String::new(),
        _ => format!("{problems} PROBLEMS, {intact} of {backups} backups are intact"),
    }
}

fn outcome(report: &VerificationReport, place: &str, ended_ns: u64) -> RunOutcome {
    let mut outcome = report.outcome(Depth::Digests, place, ended_ns);
    if !outcome.completed {
        outcome.reason = format!("{DAMAGED}{}; `amber verify` lists all", outcome.reason);
    }
    let reported = report.problems.iter().take(PROBLEMS_SHOWN_MAX);
    let reported: Vec<Value> = reported.map(|problem| json!({ "object": problem.object, "what": problem.what })).collect();
    outcome.details.insert("first_problems".to_owned(), json!(reported));
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::findings::Problem;

    #[test]
    fn what_was_found_is_in_the_record() {
        let whole = VerificationReport { bytes_read: 7, ..VerificationReport::of_backups(3, 3) };
        let found = outcome(&whole, "here", 5);
        assert_eq!((found.completed, found.ended_ns, found.reason.as_str()), (true, 5, ""));
        assert_eq!(
            (&found.details["backups_whole"], &found.details["bytes_read"], &found.details["problems"]),
            (&json!(3), &json!(7), &json!(0))
        );
        let problem = |number: usize| Problem { object: format!("pack {number}"), what: "gone".into() };
        let found =
            outcome(&VerificationReport { problems: (0..30).map(problem).collect(), ..VerificationReport::of_backups(3, 2) }, "here", 5);
        assert!(
            !found.completed
                && found.reason.starts_with("damaged: here: 30 problems; 2 of 3 backups")
                && found.reason.contains("pack 0: gone"),
            "{}",
            found.reason
        );
        assert_eq!((&found.details["problems"], found.details["first_problems"].as_array().map(Vec::len)), (&json!(30), Some(20)));
    }
}
