//! Checks that what is stored of a replica is what its manifest and its log promise.

pub mod log;
pub mod tree;
