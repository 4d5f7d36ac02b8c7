//! Ships the log of a replica into the repository.

pub mod checkpoint_policy;
pub mod checkpoints;
pub mod collector;
pub mod follower;
pub mod joining;
pub mod lease_holder;
pub mod passing;
pub mod queue;
mod reported;
pub mod restorable;
pub mod session;
pub mod ship_options;
pub mod shipper;
pub mod spool;
pub mod uploads;

#[cfg(test)]
pub(crate) mod tests;
