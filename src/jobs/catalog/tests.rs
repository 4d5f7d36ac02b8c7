use super::back_up;
use crate::catalog::folder::CATALOG;
use crate::catalog::reader::Reader;
use crate::catalog::writer::Catalog;
use crate::progress::Silent;
use crate::repository::name::{CATALOG_FILES, FileName, RunId};
use crate::repository::run_record::{Run, RunOutcome, RunRecord, Scope, Work};
use crate::repository::sample::create;
use crate::store::memory::MemoryStore;
use crate::tier::catalog::NAME;
use crate::tier::file::restore::{FileRestoreRequest, restore_file};

fn record() -> RunRecord {
    let run = Run {
        work: Work::Drill,
        scope: Scope::Full,
        tenant: None,
        job: "drill".into(),
        by: "agent".into(),
        started_ns: 5_000_000_000,
        retention_days: 0,
    };
    RunRecord { run, outcome: Some(RunOutcome::completed(6_000_000_000)) }
}

#[test]
fn the_catalog_is_brought_up_to_date_and_restores_as_it_was() {
    let store = MemoryStore::new();
    let repository = create(&store).unwrap();
    let place = tempfile::tempdir().unwrap();
    let catalog = Catalog::new(&repository, &place.path().join("catalog"));
    // Another agent's run, which only the repository knows of.
    repository.record_run(RunId(3), &record()).unwrap();
    let run = repository.new_run().unwrap();
    let outcome = back_up(&catalog, run, &Silent).unwrap();
    let name = FileName { place: &CATALOG_FILES, name: NAME.into(), run };
    assert_eq!((outcome.completed, &outcome.location), (true, &name.record()));
    assert_eq!(repository.files(&CATALOG_FILES, Some(NAME)).unwrap(), [name]);
    let published = std::fs::read(catalog.folder().path().join(CATALOG)).unwrap();
    assert_eq!(std::fs::read_dir(catalog.folder().path()).unwrap().count(), 2, "catalog and lock");

    let restored = place.path().join("restored");
    std::fs::create_dir(&restored).unwrap();
    let request = FileRestoreRequest {
        place: &CATALOG_FILES,
        name: NAME.into(),
        run: None,
        output: restored.join(CATALOG),
        overwrite: false,
        base: None,
        read_back: true,
    };
    restore_file(&repository, &request, &Silent).unwrap();
    assert!(std::fs::read(restored.join(CATALOG)).unwrap() == published);
    let runs = Reader::open(&restored).unwrap().history(&Default::default()).unwrap();
    assert_eq!(runs.into_iter().map(|run| (run.run, run.work)).collect::<Vec<_>>(), [("0000000000000003".to_owned(), "drill".to_owned())]);
}
