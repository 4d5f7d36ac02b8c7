//! What people see of work that goes on: progress, log lines, what the process used, the status of an agent.

pub mod log;
pub mod progress;
pub mod status;
pub mod usage;
