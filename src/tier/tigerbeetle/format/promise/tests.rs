//! Receipts, the cluster, and which backup is the newest.

use super::Receipt;
use crate::error::Kind;
use crate::repository::frame::ObjectKind;
use crate::repository::name::{CLUSTER, CheckpointName, RECEIPTS, RunId};
use crate::repository::object_writer::ObjectWriter;
use crate::repository::sample::{Fault, FaultyStore, open};
use crate::repository::tests::hiding::HidingStore;
use crate::repository::tests::{checkpoint, repository};
use crate::tier::tigerbeetle::format::timeline::Branch;
use std::sync::Arc;

#[test]
fn a_receipt_reads_back_and_is_listed() {
    let (store, repository) = repository();
    let (name, receipt) = (checkpoint(959, 1), Receipt { size_bytes: 77, digest: [5; 32] });
    assert_eq!(repository.receipt(&name).unwrap_err().kind, Kind::Damaged, "it is missing");
    repository.write_receipt(&name, &receipt).unwrap();
    assert_eq!(repository.receipt(&name).unwrap(), receipt);
    store.replace(&format!("{RECEIPTS}stranger"), &b"x"[..]);
    assert_eq!(repository.receipts().unwrap(), [name]);
    assert_eq!(repository.backups().unwrap().into_iter().collect::<Vec<_>>(), [name]);
}

#[test]
fn the_same_receipt_may_be_written_twice_and_no_other() {
    let (_, repository) = repository();
    let (name, receipt) = (checkpoint(959, 1), Receipt { size_bytes: 77, digest: [5; 32] });
    repository.write_receipt(&name, &receipt).unwrap();
    repository.write_receipt(&name, &receipt).unwrap();
    let error = repository.write_receipt(&name, &Receipt { size_bytes: 78, ..receipt.clone() }).unwrap_err();
    assert!(error.kind == Kind::Damaged && error.message.contains("exists already"), "{error}");
    assert_eq!(repository.receipt(&name).unwrap(), receipt);
}

#[test]
fn a_receipt_or_cluster_of_another_size_is_damage() {
    for plain in [vec![], vec![0; 15], vec![0; 39], vec![0; 41]] {
        let (_, repository) = repository();
        let name = checkpoint(959, 1);
        for (kind, object) in [(ObjectKind::Receipt, name.receipt()), (ObjectKind::Cluster, CLUSTER.to_owned())] {
            let mut writer = ObjectWriter::create(&repository, kind, object).unwrap();
            writer.push(plain.clone()).unwrap();
            writer.finish(Vec::new()).unwrap().wait().unwrap();
        }
        let (receipt, cluster) = (repository.receipt(&name).unwrap_err(), repository.cluster().unwrap_err());
        assert!(receipt.kind == Kind::Damaged && receipt.message.contains("it is no receipt"), "{receipt}");
        assert!(cluster.kind == Kind::Damaged && cluster.message.contains("does not name a cluster"), "{cluster}");
    }
}

#[test]
fn a_repository_belongs_to_the_cluster_of_its_first_backup() {
    let (_, repository) = repository();
    assert_eq!(repository.cluster().unwrap(), None);
    repository.bind_cluster(u128::MAX - 1).unwrap();
    repository.bind_cluster(u128::MAX - 1).unwrap();
    assert_eq!(repository.cluster().unwrap(), Some(u128::MAX - 1));
    let error = repository.bind_cluster(8).unwrap_err();
    assert!(error.kind == Kind::Input && error.message.contains("the data file to cluster 8"), "{error}");
}

#[test]
fn a_cluster_that_cannot_be_bound_is_an_error() {
    let (store, _) = repository();
    let faulty = FaultyStore::new(&store);
    let repository = open(Arc::new(faulty.clone())).unwrap();
    for call in 1..=2 {
        faulty.fail(call, Fault::Refused);
        assert_eq!(repository.bind_cluster(7).unwrap_err().kind, Kind::TryAgain);
    }
    store.replace(CLUSTER, vec![0; 200]);
    assert_eq!(repository.bind_cluster(7).unwrap_err().kind, Kind::Damaged);
}

#[test]
fn of_two_first_backups_the_quicker_ones_cluster_counts() {
    for (quicker, outcome) in [(7, None), (8, Some(Kind::Input))] {
        let (store, first) = repository();
        first.bind_cluster(quicker).unwrap();
        let hidden = HidingStore::new(&store, CLUSTER);
        let repository = open(Arc::new(hidden)).unwrap();
        assert_eq!(repository.bind_cluster(7).err().map(|error| error.kind), outcome);
    }
}

#[test]
fn names_of_other_timelines_are_no_candidates() {
    let (_, repository) = repository();
    assert!(repository.newest_checkpoint().unwrap().best.is_none());
    // A receipt without its manifest is a backup that was lost, and it may have been the newest.
    let name = CheckpointName { timeline: 2, run: RunId(4), ..checkpoint(959, 1) };
    repository.write_receipt(&name, &Receipt { size_bytes: 1, digest: [0; 32] }).unwrap();
    let newest = repository.newest_checkpoint().unwrap();
    assert!(newest.best.is_none() && newest.damaged.is_empty(), "a timeline that nobody began is no part of the history");
    let branch = Branch { timeline: 2, parent: 1, branch: None, first: None, replica: 0, began_ns: 0, reason: "test".into() };
    repository.begin_timeline(&branch).unwrap();
    let newest = repository.newest_checkpoint().unwrap();
    assert!(newest.best.is_none());
    assert_eq!(newest.damaged.iter().map(|(name, error)| (*name, error.kind)).collect::<Vec<_>>(), [(name, Kind::Damaged)]);
}
