//! What a report says, and what `--full` adds.

use super::Fixture;
use crate::cancellation::CancelledAfter;
use crate::error::Kind;
use crate::progress::Silent;
use crate::repository::name::{CHECKPOINTS, CLUSTER, CheckpointName, KEYS, PACKS, RECEIPTS, RunId};
use crate::repository::run_record::{Run, RunOutcome, RunRecord, Scope, Work};
use crate::repository::sample::{Fault, FaultyStore, open, open_exhausted};
use crate::store::Store;
use crate::tb_format::grid::BlockKind;
use crate::tb_format::sample::{SampleFile, block};
use crate::tier::depth::Depth;
use crate::tier::findings::{VerificationReport, error_of};
use crate::tier::sample::{LOG_OPS, as_replica, backup, next_checkpoint};
use crate::tier::tigerbeetle::format::manifest::Manifest;
use crate::tier::tigerbeetle::format::pack::PackWriter;
use crate::verify::verify;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

impl Fixture {
    pub(crate) fn full(&self) -> VerificationReport {
        verify(&self.repository, Depth::Full, &Silent).unwrap()
    }

    fn name(&self) -> CheckpointName {
        CheckpointName::parse(&self.object(CHECKPOINTS)).unwrap()
    }

    /// Writes another manifest that differs from the first as `change` says, as no writer of Amber
    /// would.
    fn promise(&self, change: impl FnOnce(&mut Manifest)) -> CheckpointName {
        let name = self.name();
        let mut manifest = Manifest::read(&self.repository, &name, None).unwrap();
        change(&mut manifest);
        let other = CheckpointName { run: RunId(name.run.0 + 1), ..name };
        self.repository.promise(&other, &manifest).unwrap();
        other
    }
}

#[test]
fn verification_waits_for_its_limits() {
    let fixture = Fixture::new();
    let (repository, governor) = open_exhausted(&fixture.store).unwrap();
    for full in [false, true] {
        governor.resume();
        std::thread::scope(|scope| {
            let verifying = scope.spawn(|| verify(&repository, depth_of(full), &Silent).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(200));
            assert!(!verifying.is_finished(), "nothing is left for it");
            governor.release();
            assert_eq!(verifying.join().unwrap().problems, []);
        });
    }
}

#[test]
fn verification_that_nobody_wants_ends_at_its_next_rest() {
    let fixture = Fixture::new();
    for full in [false, true] {
        // Checked one after another: the manifest, the pack, its segment; with `--full` also the
        // tree.
        let pauses = if full { 4 } else { 3 };
        for left in 1..=pauses {
            let error = verify(&fixture.repository, depth_of(full), &CancelledAfter { pauses: AtomicU64::new(left) }).unwrap_err();
            assert!(error.kind == Kind::TryAgain && error.message.contains("cancelled"), "{left}: {error}");
        }
        let report = verify(&fixture.repository, depth_of(full), &CancelledAfter { pauses: AtomicU64::new(pauses + 1) }).unwrap();
        assert_eq!((report.problems.as_slice(), report.backups_intact()), (&[][..], 1));
    }
}

#[test]
fn full_verification_opens_everything() {
    let fixture = Fixture::new();
    let report = fixture.full();
    assert_eq!((report.problems.as_slice(), report.backups_intact()), (&[][..], 1));
    assert_eq!(error_of(&report, "here"), None);
    let later = SampleFile::new(7, 963);
    backup(&fixture.repository, &later, &fixture.path("data")).unwrap();
    backup(&fixture.repository, &next_checkpoint(&later, LOG_OPS).unwrap(), &fixture.path("data")).unwrap();
    let report = fixture.full();
    assert_eq!((report.problems.as_slice(), report.backups_intact(), report.backups()), (&[][..], 3, 3));
}

#[test]
fn an_error_counts_the_problems_and_names_the_first() {
    let fixture = Fixture::new();
    let (pack, receipt) = (fixture.object(PACKS), fixture.object(RECEIPTS));
    fixture.store.corrupt(&pack, 70, 1);
    fixture.store.remove(&receipt);
    let report = fixture.full();
    assert_eq!((report.problems.len(), report.backups_intact()), (2, 0));
    let error = error_of(&report, "here").unwrap();
    assert_eq!(error.kind, Kind::Damaged);
    assert!(error.message.starts_with(&format!("here: 2 problems; 0 of 1 backups are intact. The first: {receipt}")), "{error}");
}

#[test]
fn a_damaged_object_breaks_the_backups_that_need_it_and_no_others() {
    let fixture = Fixture::new();
    let earlier = SampleFile::new(7, 962);
    backup(&fixture.repository, &next_checkpoint(&earlier, LOG_OPS).unwrap(), &fixture.path("data")).unwrap();
    let packs: Vec<String> = fixture.store.names().into_iter().filter(|name| name.starts_with(PACKS)).collect();
    assert_eq!(packs.len(), 2);
    fixture.store.corrupt(&packs[1], 70, 1);
    assert_eq!(fixture.full().backups_intact(), 1);
    fixture.store.corrupt(&packs[1], 70, 1);
    fixture.store.corrupt(&packs[0], 70, 1);
    assert_eq!(fixture.full().backups_intact(), 0, "the second builds on the first's blocks");
}

#[test]
fn leftovers_and_strangers_are_notes() {
    let fixture = Fixture::new();
    let (reference, bytes) = block(7, BlockKind::Value, 1, [0; 96], &[1; 64]);
    let mut packs = PackWriter::new(&fixture.repository, RunId(1), 959, 0);
    packs.begin_extent().unwrap();
    packs.block(reference, bytes).unwrap();
    packs.end_extent().unwrap();
    packs.finish().unwrap();
    fixture.store.replace("tigerbeetle/packs/x", &b"?"[..]);
    fixture.store.replace("tigerbeetle/checkpoints/1", &b"?"[..]);
    let report = fixture.full();
    assert_eq!(report.problems, []);
    let [leftovers, strangers @ ..] = &report.notes[..] else { panic!("{:?}", report.notes) };
    assert!(leftovers.starts_with("1 objects (") && leftovers.contains("belong to no backup"), "{leftovers}");
    assert_eq!(strangers.len(), 2);
    assert!(strangers.iter().all(|note| note.contains("not one of Amber's")), "{strangers:?}");
}

#[test]
fn a_second_key_object_is_checked_too() {
    let fixture = Fixture::new();
    // It sorts after the one that opens the repository, so opening does not look at it.
    let name = format!("{KEYS}ffffffffffffffff");
    fixture.store.replace(&name, fixture.store.bytes(&fixture.object(KEYS)).unwrap().slice(1..));
    let report = fixture.full();
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].object == name && report.problems[0].what.contains("wrong size"), "{:?}", report.problems);
    fixture.store.replace(&name, vec![0; 5000]);
    assert!(fixture.full().problems[0].what.contains("5000 bytes"));
}

#[test]
fn a_missing_cluster_object_matters_once_there_is_a_backup() {
    let fixture = Fixture::new();
    fixture.store.remove(CLUSTER);
    let report = fixture.full();
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].object, CLUSTER);
    for name in [fixture.object(CHECKPOINTS), fixture.object(RECEIPTS)] {
        fixture.store.remove(&name);
    }
    assert_eq!(fixture.full().problems, []);
}

#[test]
fn a_store_that_is_away_ends_the_verification() {
    let fixture = Fixture::new();
    let faulty = FaultyStore::new(&fixture.store);
    let repository = open(Arc::new(faulty.clone()) as Arc<dyn Store>).unwrap();
    faulty.fail(u64::MAX, Fault::Refused);
    verify(&repository, Depth::Full, &Silent).unwrap();
    let calls = faulty.calls();
    for call in 1..=calls {
        faulty.fail(call, Fault::Refused);
        let error = verify(&repository, Depth::Full, &Silent).unwrap_err();
        assert_eq!(error.kind, Kind::TryAgain, "call {call} of {calls}: {error}");
    }
}

#[test]
fn manifests_that_contradict_each_other_are_found() {
    let fixture = Fixture::new();
    let other = fixture.promise(|manifest| {
        manifest.packs[0].stored_bytes += 1;
        manifest.segments[0].stored_bytes += 1;
    });
    let report = fixture.full();
    assert_eq!((report.problems.len(), report.backups_intact()), (2, 1));
    assert!(report.problems.iter().all(|problem| problem.object == other.object() && problem.what.contains("contradicts")));
}

#[test]
fn full_verification_finds_a_tree_that_is_not_the_superblocks() {
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 7] = [
        ("an extent too few", |manifest| manifest.extents.truncate(5)),
        ("a table too few", |manifest| manifest.extents.retain(|extent| extent.root.address != 4)),
        ("a root of another checksum", |manifest| manifest.extents[0].root.checksum.0 ^= 1),
        ("a single block that is two", |manifest| manifest.extents[5].location.blocks = 2),
        ("another block in its place", |manifest| manifest.extents[5].location.first_frame = 2),
        ("a table that is shorter", |manifest| manifest.extents[2].location.blocks = 1),
        ("the end of another log", |manifest| manifest.summary.recovered_to_checksum = "0".repeat(32)),
    ];
    for (what, change) in cases {
        let fixture = Fixture::new();
        assert_eq!(Manifest::read(&fixture.repository, &fixture.name(), None).unwrap().extents.len(), 6, "{what}");
        let other = fixture.promise(change);
        assert_eq!(verify(&fixture.repository, Depth::Digests, &Silent).unwrap().problems, [], "{what}: the digests cannot tell");
        let report = fixture.full();
        assert_eq!((report.problems.len(), report.backups_intact()), (1, 1), "{what}: {:?}", report.problems);
        assert_eq!(report.problems[0].object, other.object(), "{what}");
    }
}

#[test]
fn an_extent_too_many_is_found() {
    let fixture = Fixture::new();
    fixture.promise(|manifest| {
        let mut more = manifest.extents[5];
        more.root.address = 99;
        manifest.extents.push(more);
    });
    let report = fixture.full();
    assert!(
        report.problems.iter().any(|problem| problem.what.contains("reaches 6 extents, the manifest lists 7")),
        "{:?}",
        report.problems
    );
}

#[test]
fn two_replicas_of_one_cluster_share_their_objects() {
    let fixture = Fixture::new();
    backup(&fixture.repository, &as_replica(&fixture.sample, 2).unwrap(), &fixture.path("data")).unwrap();
    let report = fixture.full();
    assert_eq!((report.problems.as_slice(), report.backups_intact()), (&[][..], 2));
    fixture.object(PACKS);
}

fn depth_of(full: bool) -> Depth {
    if full { Depth::Full } else { Depth::Digests }
}

#[test]
fn a_backup_of_which_only_the_history_is_left_is_a_problem() {
    let fixture = Fixture::new();
    let (name, run) = (fixture.name(), RunId(77));
    let began = Run {
        work: Work::Tigerbeetle,
        scope: Scope::Full,
        tenant: None,
        job: "checkpoint".into(),
        by: "an agent".into(),
        started_ns: 5,
        retention_days: 0,
    };
    let of = |location: &str| RunOutcome { location: location.into(), ..RunOutcome::completed(9) };
    let record = |run, outcome| fixture.repository.record_run(run, &RunRecord { run: began.clone(), outcome: Some(outcome) }).unwrap();
    record(run, of(&name.object()));
    // One that failed, and one of a tier that this version does not know.
    record(RunId(78), RunOutcome { completed: false, ..of("tigerbeetle/checkpoints/never") });
    record(RunId(79), of("graphs/records/1"));
    assert_eq!(fixture.full().problems, []);
    let missing = |wanted: usize| {
        let problems = fixture.full().problems;
        assert_eq!(problems.iter().filter(|problem| problem.object == name.object()).count(), wanted, "{problems:?}");
        problems
    };
    let manifest = fixture.store.remove(&name.object()).unwrap();
    assert!(missing(1)[0].what.contains("promise"), "its receipt tells");
    let receipt = fixture.store.remove(&name.receipt()).unwrap();
    let problems = missing(1);
    assert!(problems[0].what.contains("says that this backup was made, by 1970-01-01T00:00:00"), "{problems:?}");
    fixture.store.replace(&name.object(), manifest);
    fixture.store.replace(&name.receipt(), receipt);
    assert_eq!(missing(0), []);
}
