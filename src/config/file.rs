//! The configuration as it is written: one struct for each section, every value with its place, and
//! nothing checked but its type.
//!
//! Every key is optional here, so that [`super::plan`] can say what is missing and why. A key that
//! is not here is refused. Numbers are read as signed, so that a negative one is refused by its
//! bounds and not by its type. `tools/systemd/amber.toml` explains every key.

use super::events::EventsSection;
use super::jobs::JobSections;
use super::notify::NotifySection;
use super::page::PageSection;
use super::telemetry::TelemetrySection;
use super::tenants::TenantSections;
use crate::config::value::Value;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::io::Read;
use std::path::Path;

/// A file that is larger than this is surely no configuration.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The replica's data file.
    pub data_file: Value<String>,
    /// Where the agent keeps spool, lock and status.
    pub state_directory: Value<String>,
    /// `[repository]`
    #[serde(default)]
    pub repository: RepositorySection,
    /// `[log]`
    #[serde(default)]
    pub log: LogSection,
    /// `[checkpoint]`
    #[serde(default)]
    pub checkpoint: CheckpointSection,
    /// `[lease]`
    #[serde(default)]
    pub lease: LeaseSection,
    /// `[limits]`
    #[serde(default)]
    pub limits: LimitsSection,
    /// `[events]`
    #[serde(default)]
    pub events: EventsSection,
    /// `[tenants.NAME]`
    #[serde(default)]
    pub tenants: TenantSections,
    /// `[jobs.NAME]`
    #[serde(default)]
    pub jobs: JobSections,
    /// `[process]`
    #[serde(default)]
    pub process: ProcessSection,
    /// `[page]`
    #[serde(default)]
    pub page: PageSection,
    /// `[telemetry]`
    #[serde(default)]
    pub telemetry: TelemetrySection,
    /// `[notify]`
    #[serde(default)]
    pub notify: NotifySection,
}

/// `[repository]`: where it is and what opens it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositorySection {
    pub url: Value<String>,
    pub endpoint: Value<String>,
    pub region: Value<String>,
    pub path_style: Value<bool>,
    pub ca_file: Value<String>,
    pub tls_minimum: Value<String>,
    pub server_side_encryption: Value<String>,
    pub storage_class: Value<String>,
    pub profile: Value<String>,
    pub passphrase_file: Value<String>,
    pub key_file: Value<String>,
}

/// `[log]`: how the log is followed and shipped.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    pub source: Value<String>,
    pub aof_file: Value<String>,
    pub flush_interval_ms: Value<i64>,
    pub flush_bytes: Value<i64>,
    pub poll_idle_ms_max: Value<i64>,
    pub memory_bytes: Value<i64>,
    pub spool_bytes: Value<i64>,
    pub spool_after_ms: Value<i64>,
    pub uploads: Value<i64>,
    pub merge_after_segments: Value<i64>,
    pub lag_alarm_ms: Value<i64>,
}

/// `[checkpoint]`: when a new checkpoint is taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    pub interval_s: Value<i64>,
    pub replay_budget_s: Value<i64>,
    pub replay_ops_per_s: Value<i64>,
    pub on_start: Value<bool>,
}

/// `[lease]`: which of several agents ships.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseSection {
    pub heartbeat_ms: Value<i64>,
    pub timeout_ms: Value<i64>,
}

/// `[limits]`: what the agent may take of the machine.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    pub cpu_budget_percent: Value<i64>,
    pub upload_bytes_per_s: Value<i64>,
    pub read_bytes_per_s: Value<i64>,
    pub bulk_nice: Value<i64>,
}

/// `[process]`: the agent as a process.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSection {
    pub shutdown_ms: Value<i64>,
    pub log_format: Value<String>,
    pub log_level: Value<String>,
    pub workers: Value<i64>,
    pub level: Value<i64>,
}

/// Reads a file's text.
///
/// # Errors
/// [`Error::input`] if it cannot be read or is no text.
pub fn read(path: &Path) -> Result<String> {
    let failed = |error: std::io::Error| Error::input(format!("{}: {error}", path.display())).caused_by(error);
    let mut text = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::input(format!("{}: it has more than {FILE_BYTES_MAX} bytes: is it the right file?", path.display())));
    }
    String::from_utf8(text).map_err(|error| failed(std::io::Error::other(format!("it is not UTF-8 ({error})"))))
}
