use super::*;
use crate::catalog::reader::{Listed, Reader};
use crate::log_shipping::tests::store_double::eventually;
use crate::repository::Repository;
use crate::repository::run_record::{Run, RunOutcome, Scope, Work};
use crate::repository::sample::{Fault, FaultyStore, create, open};
use crate::store::memory::MemoryStore;
use tempfile::TempDir;

const LATE: Duration = Duration::from_secs(3600);

/// Asks to stop when it is dropped, also when the test fails: a scope waits for its threads.
struct Asks(Stop);

impl Drop for Asks {
    fn drop(&mut self) {
        self.0.ask();
    }
}

struct Case {
    repository: Arc<Repository>,
    folder: TempDir,
    queue: Arc<CatalogQueue>,
    updater: CatalogUpdater,
}

impl Case {
    fn new() -> Case {
        let (repository, folder) = (create(&MemoryStore::new()).unwrap(), tempfile::tempdir().unwrap());
        let (catalog, queue) = (Arc::new(Catalog::new(&repository, folder.path())), Arc::default());
        Case { updater: CatalogUpdater::new(&catalog, &queue), repository, folder, queue }
    }

    /// The runs in the catalog, and whether they have ended.
    fn listed(&self) -> Vec<(RunId, bool)> {
        let history = Reader::open(self.folder.path()).and_then(|reader| reader.history(&Default::default())).unwrap_or_default();
        let number = |row: &Listed| RunId(u64::from_str_radix(&row.run, 16).unwrap());
        let mut listed: Vec<_> = history.iter().map(|row| (number(row), row.status == "completed")).collect();
        listed.sort();
        listed
    }
}

fn record(ended: bool) -> RunRecord {
    let (job, by) = ("checkpoint".to_owned(), "agent".to_owned());
    let run = Run { work: Work::Tigerbeetle, scope: Scope::Full, tenant: None, job, by, started_ns: 7, retention_days: 30 };
    RunRecord { run, outcome: ended.then(|| RunOutcome::completed(9)) }
}

#[test]
fn what_waits_at_the_end_is_written_with_what_the_repository_knows() {
    let mut case = Case::new();
    let stored = case.repository.new_run().unwrap();
    case.repository.record_run(stored, &record(true)).unwrap();
    let begun = RunId(stored.0 + 1);
    case.queue.put(begun, &record(false)).unwrap();
    let stop = Stop::default();
    stop.ask();
    case.updater.run(LATE, &stop);
    assert_eq!(case.listed(), [(stored, true), (begun, false)]);
    assert!(Reader::open(case.folder.path()).unwrap().about().unwrap().is_complete);
}

#[test]
fn rows_are_written_while_it_runs_and_the_start_is_let_be() {
    let mut case = Case::new();
    let stop = Stop::default();
    let (stopping, queue) = (stop.clone(), Arc::clone(&case.queue));
    let mut updater = CatalogUpdater::new(&case.updater.catalog, &queue);
    std::thread::scope(|scope| {
        let _asks = Asks(stop.clone());
        scope.spawn(move || updater.run(Duration::ZERO, &stopping));
        eventually("the catalog is made", || Reader::open(case.folder.path()).is_ok());
        for ended in [false, true] {
            case.queue.put(RunId(5), &record(ended)).unwrap();
            eventually("the row is written", || case.listed() == [(RunId(5), ended)]);
        }
        stop.ask();
    });
    let stop = Stop::default();
    let stopping = stop.clone();
    case.queue.put(RunId(6), &record(false)).unwrap();
    let folder = case.folder.path().to_owned();
    std::thread::scope(|scope| {
        let _asks = Asks(stop.clone());
        scope.spawn(|| case.updater.run(LATE, &stopping));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(Reader::open(&folder).unwrap().history(&Default::default()).unwrap().len(), 1);
        stop.ask();
    });
    assert_eq!(case.listed().len(), 2);
}

#[test]
fn rows_wait_for_a_catalog_that_is_not_free_and_not_for_one_that_cannot_be() {
    let case = Case::new();
    let rows = |numbers: std::ops::Range<u64>| numbers.map(|number| KnownRun::recorded(RunId(number), &record(false))).collect::<Vec<_>>();
    case.updater.keep(rows(0..2), &Error::input("a catalog of a newer schema"));
    assert_eq!(case.queue.lock().len(), 0);
    case.queue.put(RunId(2), &record(false)).unwrap();
    case.updater.keep(rows(0..2), &Error::try_again("locked"));
    assert_eq!(*case.queue.lock(), rows(0..3), "in order");
    case.updater.keep(rows(0..WAITING_MAX as u64), &Error::try_again("locked"));
    assert_eq!(case.queue.lock().len(), WAITING_MAX);
    assert_eq!(case.queue.lock().last().map(|row| row.run), Some(RunId(2)), "the oldest are given up");
    case.queue.put(RunId(9), &record(false)).unwrap();
    let waiting = case.queue.lock();
    assert_eq!((waiting.len(), waiting.last().map(|row| row.run)), (WAITING_MAX, Some(RunId(9))));
}

#[test]
fn a_repository_that_cannot_be_read_is_tried_again_and_rows_are_written_all_the_same() {
    let mut case = Case::new();
    let store = MemoryStore::new();
    let faulty = FaultyStore::new(&store);
    create(&store).unwrap();
    let repository = open(Arc::new(faulty.clone())).unwrap();
    let catalog = Arc::new(Catalog::new(&repository, case.folder.path()));
    let mut updater = CatalogUpdater::new(&catalog, &case.queue);
    faulty.fail(1, Fault::Gone);
    case.queue.put(RunId(1), &record(false)).unwrap();
    updater.write();
    assert!(!updater.is_refreshed);
    assert_eq!(case.listed(), [(RunId(1), false)]);
    faulty.fail(u64::MAX, Fault::Refused);
    updater.write();
    assert!(updater.is_refreshed);
    case.updater = updater;
}
