//! When jobs run: pure decisions over clocks that are handed in. Nothing here sleeps, starts a
//! thread, or asks the machine what time it is.
//!
//! Flow: a [`cadence`] says when a job is due by itself. A [`job`] remembers what became of it
//! (paused, asked for, failed, when it ran last) and decides at every look whether it begins now,
//! or when; that memory is what an agent keeps over restarts. The [`plan`] holds all jobs of an
//! agent, lets one run at a time in each lane, and knows which of them belong to the cluster and
//! not to one agent.

pub mod cadence;
pub mod job;
pub mod plan;
pub mod state;

#[cfg(test)]
mod tests;
