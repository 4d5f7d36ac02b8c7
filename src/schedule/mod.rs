//! When jobs run: pure decisions over clocks that are handed in. Nothing here sleeps, starts a
//! thread, or asks the machine what time it is.
//!
//! Flow: a [`cadence`] says when a job is due by itself. A [`job`] remembers its history (paused,
//! asked for, failed, when it ran last) and decides at every look whether it begins now, or when.
//! An agent keeps that memory over restarts. The [`plan`] holds all jobs of an agent, lets one run
//! at a time in each lane, and knows which of them belong to the cluster and not to one agent.

pub mod cadence;
pub mod job;
pub mod plan;
pub mod state;

#[cfg(test)]
mod tests;
