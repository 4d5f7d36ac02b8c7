//! What is backed up: each tier joins a source, the pipeline and the repository.

pub mod tigerbeetle;
