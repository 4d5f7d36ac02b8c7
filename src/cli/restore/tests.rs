use super::*;
use crate::error::Kind;
use crate::progress::Silent;
use crate::repository::name::RunId;
use crate::repository::run_record::Work;
use crate::repository::sample::{Fault, FaultyStore, open};
use crate::tier::toy::tests::with_jars;
use clap::Parser;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    arguments: BackupArguments,
}

fn parse(more: &[&str], output: &std::path::Path) -> BackupArguments {
    let output = output.display().to_string();
    let fixed = ["restore", "--repo", "/nowhere", "--output", &output];
    Command::try_parse_from(fixed.iter().chain(more)).unwrap().arguments
}

#[test]
fn a_backup_of_any_tier_is_restored_and_leaves_a_record() {
    let (_, repository) = with_jars();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("jar");
    let run = |more: &[&str]| restore(&repository, &parse(more, &output), &Silent);
    for (more, words) in [
        (&["0000000000000001"][..], "of 2024"),
        (&["toy/records/plum/0000000000000002"], "of 2025"),
        (&["--tier", "toy", "--name", "plum"], "of 2025"),
        (&["--tier", "toy", "--name", "plum", "--time", "2000000000"], "of 2024"),
    ] {
        let report = run(more).unwrap();
        assert_eq!(std::fs::read_to_string(&output).unwrap(), words, "{more:?}");
        assert_eq!((&report.json["tier"], &report.json["notes"]), (&json!("toy"), &json!([])));
    }
    let runs = repository.runs().unwrap().runs;
    let records: Vec<_> = runs.values().filter(|record| record.run.work == Work::Restore).collect();
    assert_eq!(records.len(), 4);
    let outcome = records[0].outcome.as_ref().unwrap();
    assert_eq!((outcome.completed, &outcome.details["tier"], &outcome.details["restored_bytes"]), (true, &json!("toy"), &json!(7)));
    assert!(outcome.location.starts_with("toy/records/plum/") && outcome.details["restore_seconds"].is_f64());
    // A failure leaves one, too; a dry run none.
    assert_eq!(run(&["--tier", "toy", "--name", "plum", "--time", "1"]).map(|_| ()).unwrap_err().kind, Kind::Input);
    let plan = run(&["0000000000000003", "--dry-run"]).unwrap();
    assert!(plan.json["expected"]["seconds"].as_f64().is_some_and(|seconds| seconds >= 1.0), "{}", plan.json);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "of 2024");
    assert_eq!(run(&["--tier", "jam"]).map(|_| ()).unwrap_err().kind, Kind::Input);
    let failed =
        repository.runs().unwrap().runs.into_values().filter(|record| record.outcome.as_ref().is_some_and(|outcome| !outcome.completed));
    let reasons: Vec<String> = failed.map(|record| record.outcome.unwrap().reason).collect();
    assert_eq!(reasons, ["there is no jar plum as of then"], "the dry run and the tier that does not exist leave none");
    assert_eq!(RunId(3).to_string(), "0000000000000003");
}

#[test]
fn a_place_that_takes_no_record_is_a_note() {
    let (store, _) = with_jars();
    let faulty = FaultyStore::new(&store);
    let repository = open(Arc::new(faulty.clone())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("jar");
    let before = faulty.calls();
    restore(&repository, &parse(&["0000000000000001"], &output), &Silent).unwrap();
    let calls = faulty.calls() - before;
    // The record is written last.
    faulty.fail(calls, Fault::Gone);
    let report = restore(&repository, &parse(&["0000000000000001"], &output), &Silent).unwrap();
    assert!(report.text.contains("note: this run is not recorded in the repository: "), "{}", report.text);
    assert_eq!(report.json["notes"].as_array().map(Vec::len), Some(1));
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "of 2024");
}
