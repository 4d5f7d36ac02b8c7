use super::*;
use crate::error::Kind;
use crate::host::Host;
use crate::host::clock::sample::quick;
use crate::repository::sample::secret;
use crate::repository::{Options, Repository};
use crate::store::folder::FolderStore;
use crate::store::memory::MemoryStore;
use std::path::Path;

fn digest(body: &[u8]) -> Digest {
    crate::pipeline::digest::digest_of(body)
}

/// A folder with a new repository, and the repository opened there.
fn repository(root: &Path) -> Arc<Repository> {
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(root).unwrap());
    Repository::init(&store, &secret(), 1).unwrap();
    Repository::open(Arc::new(FolderStore::open(root).unwrap()), &secret(), Options::default()).unwrap()
}

fn put(repository: &Repository, name: &str) -> Result<PutOutcome, StoreError> {
    repository.store().put(name, &[Bytes::from_static(b"content")], &digest(b"content"))
}

fn is_away<T>(result: Result<T, StoreError>, wanted: &str) -> bool {
    matches!(result, Err(StoreError::Unavailable { reason, .. }) if reason.contains(wanted))
}

#[test]
fn nothing_is_written_where_a_folder_was_moved_from() {
    let folder = tempfile::tempdir().unwrap();
    let (root, moved) = (folder.path().join("repository"), folder.path().join("moved"));
    let repository = repository(&root);
    put(&repository, "amber/first").unwrap();
    let upload = repository.store().begin_multipart("amber/large").unwrap();
    upload.part(1, &[Bytes::from_static(b"content")], &digest(b"content")).unwrap();
    std::fs::rename(&root, &moved).unwrap();
    assert!(is_away(put(&repository, "amber/second"), "no repository any more"));
    assert!(!root.exists(), "nothing was made in its place");
    // An empty folder is in its place: a mount point without its disk.
    std::fs::create_dir(&root).unwrap();
    assert!(is_away(put(&repository, "amber/second"), "no repository any more"));
    assert!(is_away(repository.store().list("amber/", None, 9), "no repository"));
    assert!(is_away(repository.store().size_bytes("amber/first"), "no repository"), "it is not called missing");
    assert!(is_away(repository.store().get_range("amber/first", 0, 1), "no repository"));
    assert!(is_away(repository.store().begin_multipart("amber/third"), "no repository"));
    assert!(is_away(repository.store().delete("amber/first"), "no repository"));
    let part = Part { size_bytes: 7, digest: digest(b"content") };
    assert!(is_away(upload.complete(&[part]), "no repository"));
    assert_eq!(repository.confirm_place().unwrap_err().kind, Kind::TryAgain);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing was written there");
    assert!(repository.is_away() && repository.returns() == 0);
    // It is put back.
    std::fs::remove_dir(&root).unwrap();
    std::fs::rename(&moved, &root).unwrap();
    assert_eq!(put(&repository, "amber/second").unwrap(), PutOutcome::Created);
    assert!(root.join("amber/second").is_file() && !repository.is_away() && repository.returns() == 1);
}

#[test]
fn another_repository_in_its_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("repository");
    let ours = repository(&root);
    put(&ours, "amber/first").unwrap();
    std::fs::rename(&root, folder.path().join("moved")).unwrap();
    let theirs = repository(&root);
    assert!(is_away(put(&ours, "amber/second"), "another repository is there now"));
    assert_eq!(theirs.list_all("amber/second").unwrap().len(), 0);
    // A copy on another file system, or another disk with the same content, is ours.
    std::fs::remove_dir_all(&root).unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(folder.path().join("moved")).arg(&root).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(folder.path().join("moved")).unwrap();
    put(&ours, "amber/second").expect("its temporary file is made in the new place");
}

#[test]
fn header_or_key_alone_shows_that_it_is_ours() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path());
    let header = folder.path().join(name::HEADER);
    let content = std::fs::read(&header).unwrap();
    std::fs::remove_file(&header).unwrap();
    put(&repository, "amber/without-header").unwrap();
    std::fs::write(&header, &content).unwrap();
    std::fs::remove_dir_all(folder.path().join(name::KEYS)).unwrap();
    put(&repository, "amber/without-keys").unwrap();
    std::fs::remove_file(&header).unwrap();
    assert!(is_away(put(&repository, "amber/without-both"), "no repository any more"));
}

#[test]
fn a_look_at_a_server_counts_for_a_while() {
    let memory = MemoryStore::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    Repository::init(&store, &secret(), 1).unwrap();
    let clock = quick();
    let options = Options { host: Host { clock, ..Host::default() }, ..Options::default() };
    let repository = Repository::open(Arc::clone(&store), &secret(), options).unwrap();
    for listed in store.list("", None, 99).unwrap() {
        store.delete(&listed.name).unwrap();
    }
    clock.sleep(store.confirm_after() - Duration::from_secs(1));
    put(&repository, "amber/first").expect("the last look counts");
    clock.sleep(Duration::from_secs(1));
    assert!(is_away(put(&repository, "amber/second"), "no repository any more"));
    assert!(is_away(put(&repository, "amber/second"), "no repository any more"), "each write looks again until it is back");
}
