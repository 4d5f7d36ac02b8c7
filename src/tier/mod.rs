//! What is backed up: each tier connects a data source with the pipeline and the repository.

pub mod file;
pub mod findings;
pub mod object_check;
pub mod outcome;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
#[cfg(any(test, feature = "samples"))]
pub mod sample_large;
pub mod tigerbeetle;
