use super::Fixture;
use crate::error::Kind;
use crate::ledger::sample::SampleFile;
use crate::pipeline::digest::digest_of;
use crate::repository::name::RunId;
use crate::repository::run::Scope;
use crate::store::Store;
use crate::tier::sample::LOG_OPS;
use crate::tier::tigerbeetle::outcome::{left_by, outcome, scope};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_backup_says_how_its_run_ended_and_so_does_what_it_left() {
    let fixture = Fixture::new();
    let sample = SampleFile::new(7, LOG_OPS);
    let (first, second) = (fixture.backup(&sample), fixture.backup(&sample));
    assert_eq!((scope(&first.summary), scope(&second.summary)), (Scope::Full, Scope::Incremental));
    let ended = outcome(&first, first.summary.ended_ns);
    assert!(ended.completed && ended.reason.is_empty());
    assert_eq!((ended.compression.as_str(), ended.encryption.as_str()), ("zstd", "aes256"));
    assert_eq!(ended.stored_bytes, first.summary.bytes_stored + first.manifest_bytes);
    assert_eq!((&ended.location, ended.details["checkpoint_op"].as_u64()), (&first.name.object(), Some(959)));
    let manifest = fixture.store.bytes(&first.name.object()).unwrap();
    assert_eq!(ended.checksum, hex(&digest_of(&manifest)), "the digest of what is stored");

    let left = |run| left_by(&fixture.repository, run);
    assert_eq!(left(first.name.run), Ok(Some((Scope::Full, ended.clone()))));
    assert_eq!(left(second.name.run).unwrap().unwrap().0, Scope::Incremental);
    assert_eq!(left(RunId(1)), Ok(None));
    // Killed right behind the manifest.
    fixture.store.delete(&first.name.receipt()).unwrap();
    assert_eq!(left(first.name.run), Ok(Some((Scope::Full, ended))));
    assert!(fixture.store.corrupt(&first.name.object(), manifest.len() / 2, 1) && fixture.store.corrupt(&first.name.object(), 100, 1));
    assert_eq!(left(first.name.run).unwrap_err().kind, Kind::Damaged);
}
