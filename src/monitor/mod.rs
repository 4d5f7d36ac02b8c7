//! What people see of work in progress: progress bars, log lines, what the process used, the status
//! of an agent.

pub mod alert;
pub mod clock_watch;
pub mod heartbeat;
pub mod history;
pub mod level;
pub mod live;
pub mod log;
pub mod metrics;
pub mod progress;
pub mod reporter;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
pub mod status;
pub mod status_board;
pub mod systemd;
pub mod telemetry;
pub mod usage;
pub mod verdict;
pub mod web;
