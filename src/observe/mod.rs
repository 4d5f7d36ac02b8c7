//! What people see of work that goes on.

pub mod progress;
pub mod usage;
