//! The format: what is written reads back, and nothing else is taken for it.

mod frame;
mod hiding;
mod key;
mod log;
mod manifest;
mod merge;
mod object;
mod open;
mod pack;
mod promise;
mod segment;
mod timeline;

use super::Repository;
use super::name::{CheckpointName, RunId};
use super::sample::{create, noise};
use crate::store::memory::MemoryStore;
use std::sync::Arc;

/// A new repository, and the store under it.
fn repository() -> (MemoryStore, Arc<Repository>) {
    let store = MemoryStore::new();
    let repository = create(&store).unwrap();
    (store, repository)
}

/// The name of a backup.
fn checkpoint(checkpoint_op: u64, run: u64) -> CheckpointName {
    CheckpointName { timeline: 1, checkpoint_op, replica: 0, run: RunId(run) }
}
