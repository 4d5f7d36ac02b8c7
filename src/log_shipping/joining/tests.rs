use super::*;
use crate::agent::check::check;
use crate::config::AgentConfig;
use crate::error::Kind;
use crate::log_shipping::lease_holder::Holder;
use crate::log_shipping::session::SPOOL_FOLDER;
use crate::log_shipping::tests::bench;
use crate::log_shipping::tests::store_double::segments_after;
use crate::repository::key::Secret;
use crate::store::folder::FolderStore;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::{LOG_OPS, edited, write_data_file};
use crate::tier::tigerbeetle::format::segment::SealedSegment;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A sample data file with this many ops after op 959, and an empty repository. The budget is that
/// of the whole process, in which other tests run too.
pub(in crate::log_shipping) fn agent(folder: &Path, log_ops: u64) -> Agent {
    write_data_file(&SampleFile::new(7, log_ops), &folder.join("d")).unwrap();
    std::fs::write(folder.join("k"), [7; 32]).unwrap();
    let text = "data_file = 'd'\nstate_directory = 'state'\n[repository]\nurl = 'r'\nkey_file = 'k'\n\
        [log]\nflush_interval_ms = 10\n[lease]\nheartbeat_ms = 200\ntimeout_ms = 600\n[limits]\ncpu_budget_percent = 100\n";
    let plan = AgentConfig::parse(&folder.join("amber.toml"), text).unwrap();
    Repository::init(&plan.repository.place.open().unwrap(), &Secret::KeyFile(vec![7; 32].into()), 1).unwrap();
    let checked = check(&plan).unwrap();
    let holder = Holder { text: "a".into(), token: "a".into() };
    let board = Arc::default();
    let jobs = bench::jobs(&checked.repository, &board, folder);
    let spool = Arc::new(FolderStore::open(&plan.state_directory.join(SPOOL_FOLDER)).unwrap());
    Agent { plan, checked, board, holder, jobs, spool }
}

pub(in crate::log_shipping) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(crate::tier::sample::folder()).unwrap()
}

fn spool(agent: &Agent) -> Spool {
    Spool::open(&agent.checked.repository, &agent.plan.state_directory.join("spool"), 1 << 20).unwrap()
}

/// Segments of five ops from 960 on.
fn log(agent: &Agent, timeline: u32, count: usize) -> Vec<SealedSegment> {
    segments_after(&agent.checked.repository, &SampleFile::new(7, 0).checkpoint().header(), timeline, count)
}

fn put(agent: &Agent, segments: &[SealedSegment]) {
    bench::put(&agent.checked.repository, segments);
}

#[test]
fn an_empty_repository_begins_behind_the_checkpoint_and_wants_one() {
    let folder = folder();
    let agent = agent(folder.path(), 5);
    let start = agent.try_join(&spool(&agent)).unwrap();
    assert_eq!((start.after.0, start.durable_op, start.wanted.is_some(), &start.gap), (959, 959, true, &None));
    agent.begin(&start, &spool(&agent));
    assert_eq!((agent.board.status().durable_op, agent.board.wanted()), (959, start.wanted));
    assert_eq!(agent.checked.repository.cluster().unwrap(), Some(7));
}

#[test]
fn the_log_goes_on_behind_what_is_stored_and_before_a_hole() {
    let folder = folder();
    let agent = agent(folder.path(), 50);
    let log = log(&agent, 1, 8);
    put(&agent, &log[..4]);
    let start = agent.try_join(&spool(&agent)).unwrap();
    assert_eq!((start.after.0, start.durable_op, start.stored, start.wanted), (979, 979, None, None));
    put(&agent, &log[6..]);
    let start = agent.try_join(&spool(&agent)).unwrap();
    assert_eq!((start.after.0, start.durable_op), (979, 979));
}

#[test]
fn junk_in_the_store_keeps_no_agent_from_joining() {
    let folder = folder();
    let agent = agent(folder.path(), 50);
    let log = log(&agent, 1, 8);
    put(&agent, &log);
    let store = agent.plan.repository.place.open().unwrap();
    let junk = [bytes::Bytes::from_static(b"junk")];
    store.put(&crate::repository::name::timeline_object(2), &junk, &crate::pipeline::digest::digest(&junk)).unwrap();
    assert_eq!(agent.try_join(&spool(&agent)).unwrap().after.0, 999);
    // One byte of the newest segment: what it held is shipped again.
    let path = folder.path().join("r").join(&log[7].object.name);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() - 20;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let start = agent.try_join(&spool(&agent)).unwrap();
    assert_eq!((start.lineage.timeline(), start.after.0, start.durable_op, start.gap), (1, 994, 994, None));
}

#[test]
fn what_is_in_the_spool_is_not_read_again_and_not_durable_yet() {
    let folder = folder();
    let agent = agent(folder.path(), 50);
    let ours = log(&agent, 1, 6);
    put(&agent, &ours[..4]);
    ours[4..].iter().chain(&log(&agent, 9, 1)).for_each(|segment| spool(&agent).put(&segment.object).unwrap());
    let spool = spool(&agent);
    let start = agent.try_join(&spool).unwrap();
    assert_eq!((start.after.0, start.durable_op), (989, 979));
    agent.begin(&start, &spool);
    std::thread::sleep(Duration::from_millis(2));
    let status = agent.board.status();
    assert!(status.durable_op == 979 && status.head_op == 989 && status.lag_ops == 10 && status.lag_ms > 0, "{status:?}");
}

#[test]
fn a_replica_that_is_behind_waits_where_what_is_stored_has_a_hole() {
    let folder = folder();
    let agent = agent(folder.path(), 12);
    let log = log(&agent, 1, 6);
    put(&agent, &log[..3]);
    put(&agent, &log[5..]);
    let error = agent.try_join(&spool(&agent)).unwrap_err();
    assert!(error.kind == Kind::TryAgain && error.message.contains("op 975 is not stored"), "{error}");
    // Segments in the spool count as stored.
    put(&agent, &log[3..4]);
    spool(&agent).put(&log[4].object).unwrap();
    let start = agent.try_join(&spool(&agent)).unwrap();
    assert_eq!((start.after.0, start.stored.map(|stored| stored.0), start.durable_op), (971, Some(989), 979));
}

#[test]
fn a_cluster_of_another_size_is_refused() {
    let folder = folder();
    let agent = agent(folder.path(), LOG_OPS);
    let single = edited(&SampleFile::new(7, LOG_OPS), |bytes| bytes[1364] = 1);
    crate::tier::sample::backup(&agent.checked.repository, &single, &folder.path().join("other")).unwrap();
    let error = agent.try_join(&spool(&agent)).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("cluster of 3 replicas") && error.message.contains("one of 1"), "{error}");
}

#[test]
fn a_stored_log_is_whole_to_its_last_op_and_not_an_op_further() {
    let folder = folder();
    let agent = agent(folder.path(), 12);
    let repository = &agent.checked.repository;
    put(&agent, &log(&agent, 1, 1));
    for (after_op, stored_op) in [(959, 963), (959, 964), (963, 964), (964, 964)] {
        check_whole(&[repository], 1, after_op, stored_op).unwrap();
    }
    for after_op in [959, 964] {
        let error = check_whole(&[repository], 1, after_op, 965).unwrap_err();
        assert!(error.message.contains("op 965 is not stored"), "{error}");
    }
    assert!(check_whole(&[repository], 1, 958, 964).unwrap_err().message.contains("op 959 is not stored"));
    assert!(check_whole(&[repository], 2, 959, 964).is_err());
}
