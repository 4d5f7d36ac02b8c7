//! The restore of a complete image from a repository in memory, with the check of what was written.

use amber::disk::file::ReadOptions;
use amber::progress::Silent;
use amber::repository::sample::create;
use amber::store::memory::MemoryStore;
use amber::tier::sample::folder;
use amber::tier::sample_large::LargeFile;
use amber::tier::tigerbeetle::capture::backup;
use amber::tier::tigerbeetle::restore::RestoreRequest;
use amber::tier::tigerbeetle::restore::point::Point;
use amber::tier::tigerbeetle::restore::restore;
use amber::tier::tigerbeetle::restore::role::Role;
use criterion::{Criterion, Throughput};

/// Restores 64 MiB of blocks.
pub fn image(criterion: &mut Criterion) {
    let Ok(place) = tempfile::tempdir_in(folder()) else { return };
    let (path, image) = (place.path().join("data"), place.path().join("image"));
    let (Ok(repository), Ok(large)) = (create(&MemoryStore::new()), LargeFile::create(&path, super::ledger::SHAPE)) else { return };
    if backup(&repository, &path, ReadOptions::default(), &Silent).is_err() {
        return;
    }
    let mut group = criterion.benchmark_group("restore");
    group.throughput(Throughput::Bytes(large.table_bytes()));
    group.bench_function("image", |bench| {
        bench.iter(|| {
            let outputs = vec![(image.clone(), Role::Same)];
            let request = RestoreRequest {
                point: Point::Newest,
                outputs,
                overwrite: true,
                binaries: Vec::new(),
                timeline: None,
                base: None,
                fresh: false,
            };
            assert!(restore(&repository, &request, &Silent).is_ok());
        });
    });
    group.finish();
}
