//! Everything general does its work for a tier of which it has never heard. (What the commands
//! print of it: `cli/list/tests.rs`, `cli/show/tests.rs`, `cli/restore/tests.rs`.)

use super::{DATA, Toy, back_up, name};
use crate::catalog::reader::Reader;
use crate::catalog::rebuild::rebuild;
use crate::catalog::writer::Catalog;
use crate::error::Kind;
use crate::jobs::storage_totals::storage;
use crate::ledger_events::event::{Accounts, Event};
use crate::ledger_events::packing::Packed;
use crate::monitor::metrics::{Format, exposition};
use crate::monitor::status::AgentStatus;
use crate::progress::Silent;
use crate::repository::Repository;
use crate::repository::name::{Promised, RunId, TOY};
use crate::repository::run_record::{RunOutcome, RunRecord, Work};
use crate::repository::sample::{create, open};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::tier::depth::Depth;
use crate::tier::object_class::Role;
use crate::tier::request::{AsOf, TierRestoreRequest};
use crate::tier::{Tier, backups_by_run, classes, facts_of, tier, tier_of, tiers, top_prefixes};
use crate::verify::verify;
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;

/// A repository with three jars, of which two have one name.
pub(crate) fn with_jars() -> (MemoryStore, Arc<Repository>) {
    let store = MemoryStore::new();
    let repository = create(&store).unwrap();
    back_up(&repository, "plum", "of 2024", RunId(1), SECOND_NS).unwrap();
    back_up(&repository, "plum", "of 2025", RunId(2), 5 * SECOND_NS).unwrap();
    back_up(&repository, "quince", "jelly", RunId(3), 6 * SECOND_NS).unwrap();
    (store, repository)
}

#[test]
fn names_prefixes_and_classes_of_all_tiers_are_apart() {
    let prefixes: Vec<&str> = classes().map(|class| class.prefix).collect();
    for (position, prefix) in prefixes.iter().enumerate() {
        let overlaps = prefixes.iter().enumerate().filter(|(other, name)| *other != position && name.starts_with(prefix)).count();
        assert_eq!(overlaps, 0, "{prefix}");
    }
    assert_eq!(top_prefixes(), ["amber/", "catalog/", "files/", "tigerbeetle-logs/", "tigerbeetle/", "toy/"]);
    let names: std::collections::BTreeSet<&str> = tiers().iter().map(|tier| tier.name()).collect();
    assert_eq!(names.len(), tiers().len());
    for tier in tiers() {
        assert_eq!((tier.name(), tier.work().is_backup()), (tier.promises().tier, true));
        let of = |prefix: &str| tier.objects().iter().find(|class| class.prefix == prefix).map(|class| class.role);
        assert_eq!((of(tier.promises().records), of(tier.promises().receipts)), (Some(Role::Promise), Some(Role::Promise)));
        assert!(tier.objects().iter().any(|class| class.role == Role::Data));
    }
    assert_eq!(tier("toy").map(|tier| tier.work()), Ok(Work::Toy));
    let unknown = tier("jam").map(|tier| tier.name()).unwrap_err();
    assert!(unknown.kind == Kind::Input && unknown.message.ends_with("the tiers are tigerbeetle, file, catalog, toy"), "{unknown}");
    assert!(Role::Promise.is_lockable() && Role::State.is_lockable() && !Role::Log.is_lockable() && !Role::Passing.is_lockable());
}

#[test]
fn verification_knows_its_backups_and_finds_its_damage() {
    let (store, repository) = with_jars();
    for depth in [Depth::Existence, Depth::Digests, Depth::Full] {
        let report = verify(&repository, depth, &Silent).unwrap();
        assert_eq!((report.problems.as_slice(), report.notes.as_slice()), (&[][..], &[][..]));
        assert_eq!((report.tiers["toy"].backups, report.tiers["toy"].intact, report.backups()), (3, 3, 3));
    }
    let object = format!("{DATA}plum/{}", RunId(1));
    store.corrupt(&object, 40, 1);
    let found = |depth| verify(&repository, depth, &Silent).unwrap();
    assert_eq!(found(Depth::Existence).problems, [], "no byte of it was read");
    for depth in [Depth::Digests, Depth::Full] {
        let report = found(depth);
        assert_eq!((report.problems.len(), report.backups_intact()), (1, 2));
        assert_eq!(report.problems[0].object, object);
    }
    store.remove(&object);
    let missing = found(Depth::Existence);
    assert!(missing.problems[0].object == object && missing.problems[0].what.contains("missing"), "{:?}", missing.problems);
    // A record without receipt, a receipt without record, and a stranger.
    store.remove(&name("plum", RunId(2)).receipt_object());
    store.remove(&name("quince", RunId(3)).record_object());
    store.put(&format!("{DATA}x"), &[], &crate::pipeline::digest::digest_of(b"")).unwrap();
    let report = found(Depth::Existence);
    let of = |part: &str| report.problems.iter().filter(|problem| problem.what.contains(part)).count();
    assert_eq!((report.problems.len(), of("the receipt is missing"), of("this backup is lost")), (3, 1, 1), "{:?}", report.problems);
    assert!(report.notes.iter().any(|note| note.starts_with("toy/data/x: this name is not one of Amber's")), "{:?}", report.notes);
}

#[test]
fn the_catalog_has_what_the_repository_has() {
    let (_, repository) = with_jars();
    let folder = tempfile::tempdir().unwrap();
    rebuild(&Catalog::new(&repository, folder.path()), &Silent).unwrap();
    let rows = Reader::open(folder.path()).unwrap().backups().unwrap();
    let works: Vec<Work> = rows.iter().map(|row| row.as_ref().unwrap().record.run.work).collect();
    assert_eq!(works, [Work::Toy; 3]);
    let by_run = backups_by_run(&repository).unwrap();
    let outcome = facts_of(&repository, &by_run[&RunId(2)]).unwrap().outcome;
    assert_eq!((outcome.location.as_str(), outcome.ended_ns), (by_run[&RunId(2)].record_object().as_str(), 5 * SECOND_NS));
    assert_eq!(tier_of(&by_run[&RunId(2)]).unwrap().name(), "toy");
}

#[test]
fn page_metrics_storage_and_events_show_it() {
    let (store, repository) = with_jars();
    let totals = storage(&repository).unwrap();
    let toys = totals.iter().find(|total| total.class == "toys").unwrap();
    let of_toys = store.names().into_iter().filter(|name| name.contains("toy/")).collect::<Vec<_>>();
    let bytes: usize = of_toys.iter().map(|name| store.bytes(name).unwrap().len()).sum();
    assert_eq!((toys.objects, toys.bytes), (9, bytes as u64));
    // The page and the metrics are made of the same status.
    let status = AgentStatus { storage: totals, ..AgentStatus::default() };
    let metrics = exposition(&status, Format::OpenMetrics).unwrap();
    assert!(metrics.contains("class=\"toys\"} 9"), "{metrics}");

    let record = RunRecord { run: facts_of(&repository, &name("plum", RunId(1))).unwrap().run, outcome: Some(RunOutcome::completed(9)) };
    let accounts = Accounts { ledger: 7, system: 1, all_tenants: 2, tenants: Default::default() };
    let event = Event::of(repository.backup_id(RunId(1)), &record, &accounts).unwrap();
    assert_eq!(Packed::unpack(event.packed).unwrap().work, Work::Toy);
}

#[test]
fn it_restores_as_of_a_time_or_a_run_and_says_what_that_takes() {
    let (_, repository) = with_jars();
    let folder = tempfile::tempdir().unwrap();
    let restored = |as_of| {
        let output = folder.path().join("jar");
        let request = TierRestoreRequest { as_of, name: Some("plum".into()), output: output.clone(), overwrite: true };
        let estimate = Toy.estimate(&repository, as_of, Some("plum"))?;
        let done = Toy.restore(&repository, &request, &Silent)?;
        assert_eq!((done.estimate, done.bytes_fetched), (estimate, estimate.bytes));
        Ok::<_, crate::error::Error>(std::fs::read_to_string(output).unwrap())
    };
    assert_eq!(restored(AsOf::Newest).unwrap(), "of 2025");
    assert_eq!(restored(AsOf::Time(5 * SECOND_NS - 1)).unwrap(), "of 2024");
    assert_eq!(restored(AsOf::Time(5 * SECOND_NS)).unwrap(), "of 2025");
    assert_eq!(restored(AsOf::Run(RunId(1))).unwrap(), "of 2024");
    assert_eq!(restored(AsOf::Time(SECOND_NS - 1)).unwrap_err().kind, Kind::Input);
    assert_eq!(restored(AsOf::Run(RunId(3))).unwrap_err().kind, Kind::Input, "a run of another jar");
    assert_eq!((Toy.objective().recovery_time.as_secs(), Toy.retention_days()), (60, 7));
}

#[test]
fn what_is_damaged_is_put_back_from_a_copy() {
    let (store, repository) = with_jars();
    let copy = MemoryStore::new();
    for object in store.names() {
        copy.replace(&object, store.bytes(&object).unwrap());
    }
    let from = open(Arc::new(copy.clone())).unwrap();
    let backup = name("plum", RunId(1));
    let repair = || Toy.repair(&repository, &backup, &from, &Silent);
    assert_eq!(repair().unwrap().objects, [""; 0], "nothing is damaged");
    let (data, record, receipt) = (format!("{DATA}plum/{}", RunId(1)), backup.record_object(), backup.receipt_object());
    store.corrupt(&data, 40, 1);
    store.remove(&record);
    let whole = store.bytes(&receipt).unwrap();
    store.replace(&receipt, whole.slice(1..));
    let repaired = repair().unwrap();
    assert_eq!(repaired.objects, [receipt, record.clone(), data.clone()]);
    assert_eq!(verify(&repository, Depth::Full, &Silent).unwrap().problems, []);
    for object in store.names() {
        assert_eq!(store.bytes(&object), copy.bytes(&object), "{object}");
    }
    // A copy that is damaged itself, and another repository.
    store.corrupt(&data, 40, 1);
    let damaged = store.bytes(&data);
    copy.corrupt(&data, 41, 1);
    assert_eq!(repair().unwrap_err().kind, Kind::Damaged);
    assert_eq!(store.bytes(&data), damaged, "what is there is not touched");
    let other = create(&MemoryStore::new()).unwrap();
    let error = Toy.repair(&repository, &backup, &other, &Silent).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("another repository"), "{error}");
    assert!(TOY.records.starts_with("toy/"));
}
