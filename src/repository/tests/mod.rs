//! The format: what is written reads back, and nothing else is taken for it.

pub(crate) mod hiding;
mod object;
mod open;

use super::Repository;
use super::name::{CheckpointName, RunId};
pub(crate) use super::sample::{create, noise};
use crate::store::memory::MemoryStore;
use std::sync::Arc;

/// A new repository, and the store under it.
pub(crate) fn repository() -> (MemoryStore, Arc<Repository>) {
    let store = MemoryStore::new();
    let repository = create(&store).unwrap();
    (store, repository)
}

/// The name of a backup.
pub(crate) fn checkpoint(checkpoint_op: u64, run: u64) -> CheckpointName {
    CheckpointName { timeline: 1, checkpoint_op, replica: 0, run: RunId(run) }
}
