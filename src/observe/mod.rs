//! What people see of work that goes on: progress, log lines, what the process used.

pub mod log;
pub mod progress;
pub mod usage;
