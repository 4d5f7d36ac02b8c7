//! Tests that what a configuration names exists, may be used and fits together, or else that the
//! line that names it is refused.

use super::check;
use crate::config::AgentConfig;
use crate::error::{Error, Kind};
use crate::repository::Repository;
use crate::repository::key::Secret;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{folder as sample_folder, write_data_file};
use std::path::Path;

fn plan(folder: &Path, more: &str) -> AgentConfig {
    let path = folder.join("amber.toml");
    let text = format!("data_file = 'd'\nstate_directory = 'state'\n[repository]\nurl = 'r'\nkey_file = 'k'\n{more}");
    std::fs::write(&path, text).unwrap();
    AgentConfig::load(&path).unwrap()
}

fn refused(plan: &AgentConfig) -> Error {
    let error = check(plan).unwrap_err();
    assert_eq!(error.kind, Kind::Input, "{error}");
    error
}

#[test]
fn everything_that_is_named_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let plan_of = |more: &str| plan(folder.path(), more);
    let message = refused(&plan_of("")).message;
    assert!(message.contains("amber.toml:1: `data_file = 'd'`: ") && message.contains("No such file"), "{message}");
    assert!(folder.path().join("state").is_dir(), "the state directory is made");
    std::fs::write(folder.path().join("d"), b"no data file").unwrap();
    assert!(refused(&plan_of("")).message.contains("amber.toml:1: `data_file = 'd'`: "));
    std::fs::remove_dir(folder.path().join("state")).unwrap();
    std::fs::write(folder.path().join("state"), b"").unwrap();
    let message = refused(&plan_of("")).message;
    assert!(message.contains("amber.toml:2: `state_directory = 'state'`: ") && message.contains("no directory"), "{message}");
}

#[test]
fn a_whole_plan_is_taken_and_what_does_not_belong_together_is_not() {
    let folder = tempfile::tempdir_in(sample_folder()).unwrap();
    let data_file = |cluster| write_data_file(&SampleFile::new(cluster, 5), &folder.path().join("d")).unwrap();
    data_file(7);
    let whole = plan(folder.path(), "");
    assert!(refused(&whole).message.contains("amber.toml:5: `key_file = 'k'`: "));
    std::fs::write(folder.path().join("k"), [7; 32]).unwrap();
    let message = refused(&whole).message;
    assert!(message.contains("amber.toml:4: `url = ...`: ") && message.contains("amber init"), "{message}");

    let store = whole.repository.place.open().unwrap();
    Repository::init(&store, &Secret::KeyFile(vec![7; 32].into()), 1).unwrap();
    let checked = check(&whole).unwrap();
    assert_eq!((checked.cluster, checked.replica, checked.checkpoint_op > 0), (7, 0, true));
    assert_eq!(checked.repository.cluster().unwrap(), None, "a check binds nothing");
    checked.repository.bind_cluster(7).unwrap();
    check(&whole).unwrap();

    data_file(8);
    let message = refused(&whole).message;
    assert!(
        message.contains("amber.toml:4: `url = ...`: ") && message.contains("belongs to cluster 7, the data file to cluster 8"),
        "{message}"
    );

    let aof = plan(folder.path(), "[log]\nsource = 'aof'\naof_file = 'nowhere'\n");
    let message = refused(&aof).message;
    assert!(message.contains("amber.toml:8: `aof_file = 'nowhere'`: ") && message.contains("No such file"), "{message}");
    let aof = plan(folder.path(), "[log]\nsource = 'aof'\naof_file = 'state'\n");
    assert!(refused(&aof).message.contains("it is no file"));
}

#[test]
fn a_job_that_there_is_not_is_refused_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let message = refused(&plan(folder.path(), "[jobs.verifikation]\nenabled = false\n")).message;
    assert!(message.contains("amber.toml:6: `[jobs.verifikation]`: ") && message.contains("did you mean verification?"), "{message}");
}
