//! The configuration as the program sees it: every value is present, checked, and has its unit in
//! its type.
//!
//! Flow: [`AgentConfig::load`] parses the file, fills in defaults, and checks bounds and values
//! that must fit together. It touches nothing outside the file, so that `amber status` can read a
//! configuration whose repository it may not open. [`AgentConfig::open_repository`] and
//! [`AgentConfig::check_cluster`] open and check what the file names. Their errors also name the
//! line in question.
//!
//! Relative paths begin at the directory of the configuration file.

use super::bounds::{self, HEARTBEATS_PER_TIMEOUT};
use super::events::{self, EventsPlan};
use super::explain;
use super::file;
use super::file::CheckpointSection;
use super::file::File;
use super::file::LeaseSection;
use super::file::LimitsSection;
use super::file::LogSection;
use super::file::ProcessSection;
use super::file::RepositorySection;
use super::jobs::{self, JobsPlan};
use super::notify::{self, NotifyPlan};
use super::origin::{Origin, Text};
use super::page::PagePlan;
use super::place::{self, StoreLocation};
use super::secret::SecretSource;
use super::telemetry::{self, TelemetryPlan};
use super::tenants::{self, TenantsPlan};
use crate::config::reader::Reader;
use crate::config::value::Value;
use crate::disk::file::ReadOptions;
use crate::error::Result;
use crate::host::Host;
use crate::limits::governor::{Governor, Limits};
use crate::repository::{Options, Repository};
use crate::store::{self, S3Options, ServerSideEncryption, StoreUrl, TlsMinimum};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;

/// How long one request may take: an uplink of 5 Mbit/s sends a part of 8 MiB in that time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a call of the store may take, with its retries. An agent must learn soon that the store
/// is unreachable; the agent itself then retries without end.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// The configuration of an agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The replica's data file.
    pub data_file: PathBuf,
    /// The directory of spool, lock and status.
    pub state_directory: PathBuf,
    /// How the data file is read.
    pub read: ReadOptions,
    /// The machine: the process's own.
    pub host: Host,
    /// The repository that the log is shipped to.
    pub repository: RepositoryPlan,
    /// How the log is followed and shipped.
    pub log: LogPlan,
    /// When a new checkpoint is taken.
    pub checkpoint: CheckpointPlan,
    /// Which of several agents ships.
    pub lease: LeasePlan,
    /// What the agent may take of the machine.
    pub limits: LimitsPlan,
    /// The ledger that backup events are delivered to, if there is one.
    pub events: Option<EventsPlan>,
    /// The tenants to whom backups may belong.
    pub tenants: TenantsPlan,
    /// When jobs run, if not by their defaults.
    pub jobs: JobsPlan,
    /// The agent as a process.
    pub process: ProcessPlan,
    /// Where the monitoring page is served.
    pub page: PagePlan,
    /// The collector that metrics are sent to, if there is one.
    pub telemetry: Option<TelemetryPlan>,
    /// Who else learns that the agent is alive.
    pub notify: NotifyPlan,
    /// Where in the file the paths are written.
    pub origins: Origins,
}

/// Where the values are written in the file that can only be checked outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// `data_file`
    pub data_file: Origin,
    /// `state_directory`
    pub state_directory: Origin,
    /// `url` of the repository.
    pub url: Origin,
    /// `passphrase_file` or `key_file`, or the `url` if there is neither.
    pub secret: Origin,
    /// `aof_file`, if there is one.
    pub aof_file: Option<Origin>,
}

/// `[repository]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPlan {
    /// Where it is, and how to reach it.
    pub place: StoreLocation,
    /// What opens it; not read yet.
    pub secret: SecretSource,
}

/// Where prepares are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFrom {
    /// The WAL ring in the data file.
    WalRing,
    /// TigerBeetle's append-only file.
    Aof {
        /// Its path.
        file: PathBuf,
    },
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlan {
    /// Where prepares are read.
    pub source: LogFrom,
    /// A segment is sent when its oldest prepare has waited this long.
    pub flush_interval: Duration,
    /// A segment is also sent when it has this many plain bytes.
    pub flush_bytes: u64,
    /// The longest pause between two polls of an idle WAL ring.
    pub poll_idle_max: Duration,
    /// Sealed bytes that may wait in memory.
    pub memory_bytes: u64,
    /// Sealed bytes that may wait on disk; 0 means that there is no spool.
    pub spool_bytes: u64,
    /// A segment that has waited this long in memory is also written to the spool.
    pub spool_after: Duration,
    /// PUT requests in flight.
    pub uploads: usize,
    /// Raw segments that are merged into one.
    pub merge_after_segments: u64,
    /// The lag beyond which there is an alert.
    pub lag_alarm: Duration,
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPlan {
    /// The longest time between two checkpoints.
    pub interval: Duration,
    /// How long replaying the log since the last checkpoint may take.
    pub replay_budget: Duration,
    /// How fast a restore replays the log.
    pub replay_ops_per_s: u64,
    /// Whether to take a checkpoint whenever the agent starts as a leader.
    pub on_start: bool,
}

/// `[lease]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasePlan {
    /// How often the leader renews its lease.
    pub heartbeat: Duration,
    /// How long the leader may be silent before another agent takes over.
    pub timeout: Duration,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsPlan {
    /// CPU time, upload and read bandwidth.
    pub limits: Limits,
    /// How much threads of bulk work yield, 0 to 19.
    pub bulk_nice: u8,
}

/// `[process]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPlan {
    /// How long the agent may go on sending after SIGTERM.
    pub shutdown: Duration,
    /// Log lines are JSON objects.
    pub log_json: bool,
    /// The least important log lines that are written.
    pub log_level: Level,
    /// Threads that compress and encrypt.
    pub workers: usize,
    /// zstd level.
    pub level: i32,
}

impl AgentConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`crate::error::Error::input`]: file, line, what is wrong and what to write instead.
    pub fn load(path: &Path) -> Result<AgentConfig> {
        AgentConfig::parse(path, &file::read(path)?)
    }

    /// Checks a configuration's text. Messages name `path`, and relative paths begin at its
    /// directory.
    ///
    /// # Errors
    /// As [`AgentConfig::load`].
    pub fn parse(path: &Path, text: &str) -> Result<AgentConfig> {
        let text = Text { path, text, has_value: explain::has_value };
        let file = explain::parse(&text)?;
        let reader = Reader { text };
        let (data_file, data_file_origin) = reader.path_required(&file.data_file, "data_file", "/var/lib/tigerbeetle/0_0.tigerbeetle")?;
        let (state_directory, state_origin) = reader.path_required(&file.state_directory, "state_directory", "/var/lib/amber")?;
        let (repository, url, secret) = reader.repository(&file.repository)?;
        let (log, aof_file) = reader.log(&file.log)?;
        let checkpoint = reader.checkpoint(&file.checkpoint)?;
        let lease = reader.lease(&file.lease)?;
        let limits = reader.limits(&file.limits)?;
        let tenants = tenants::read(&text, &file.tenants)?;
        let events = match events::read(&text, &file.events)? {
            Some(plan) => Some(EventsPlan { accounts: tenants::with_tenants(plan.accounts, &tenants, &plan.origin)?, ..plan }),
            None => None,
        };
        let process = reader.process(&file)?;
        let jobs = jobs::read(&text, &file.jobs, file.checkpoint.interval_s.is_some())?;
        let page = reader.page(&file.page)?;
        let telemetry = telemetry::read(&text, &file.telemetry)?;
        let notify = notify::read(&text, &file.notify)?;
        let origins = Origins { data_file: data_file_origin, state_directory: state_origin, url, secret, aof_file };
        Ok(AgentConfig {
            data_file,
            state_directory,
            read: ReadOptions::default(),
            host: Host::default(),
            repository,
            log,
            checkpoint,
            lease,
            limits,
            events,
            tenants,
            jobs,
            process,
            page,
            telemetry,
            notify,
            origins,
        })
    }

    /// The options with which the repository is used.
    pub fn options(&self) -> Options {
        let governor = Arc::new(Governor::new(self.limits.limits, self.limits.bulk_nice, self.host.clock));
        Options { workers: self.process.workers, transfers: self.log.uploads, level: self.process.level, governor, host: self.host }
    }

    /// Reads the secret and opens the repository.
    ///
    /// # Errors
    /// As [`Repository::open`], preceded by the line of the secret or of the URL.
    pub fn open_repository(&self) -> Result<Arc<Repository>> {
        let secret = self.repository.secret.read().map_err(|error| error.context(&self.origins.secret))?;
        let store = self.repository.place.open().map_err(|error| error.context(&self.origins.url))?;
        Repository::open(store, &secret, self.options()).map_err(|error| error.context(&self.origins.url))
    }

    /// Checks that the repository belongs to the cluster of the data file, or to none yet.
    ///
    /// # Errors
    /// [`crate::error::Error::input`] with the line of the URL when it is another cluster's.
    pub fn check_cluster(&self, repository: &Repository, cluster: u128) -> Result<()> {
        repository.check_cluster(cluster).map_err(|error| error.context(&self.origins.url))
    }
}

impl Reader<'_> {
    fn repository(&self, section: &RepositorySection) -> Result<(RepositoryPlan, Origin, Origin)> {
        let text = |value: &Value<String>| value.as_ref().map(|value| value.get_ref().clone());
        let Some(url) = &section.url else {
            return Err(self
                .text
                .whole()
                .refuse("the repository is missing: write [repository] and below it url = \"s3://bucket/prefix\" or a folder"));
        };
        let url_origin = self.text.origin(url.span());
        let url = match StoreUrl::parse(url.get_ref()).map_err(|error| url_origin.refuse(error))? {
            StoreUrl::Folder(path) => StoreUrl::Folder(self.resolved(&path)),
            url => url,
        };
        if let Some(endpoint) = &section.endpoint {
            store::check_endpoint(endpoint.get_ref(), "the endpoint").map_err(|reason| self.text.origin(endpoint.span()).refuse(reason))?;
        }
        let s3 = S3Options {
            endpoint: text(&section.endpoint),
            region: text(&section.region),
            path_style: section.path_style.as_ref().map(|value| *value.get_ref()),
            ca_file: self.path(&section.ca_file)?,
            tls_minimum: self.word(&section.tls_minimum, TlsMinimum::default(), place::tls_minimum)?,
            server_side_encryption: self.word(
                &section.server_side_encryption,
                ServerSideEncryption::default(),
                place::server_side_encryption,
            )?,
            storage_class: text(&section.storage_class),
            profile: text(&section.profile),
            request_timeout: REQUEST_TIMEOUT,
            deadline: REQUEST_DEADLINE,
            ..S3Options::default()
        };
        let (secret, secret_origin) = self.secret(section)?;
        let secret_origin = secret_origin.unwrap_or_else(|| url_origin.clone());
        Ok((RepositoryPlan { place: StoreLocation { url, s3 }, secret }, url_origin, secret_origin))
    }

    fn secret(&self, section: &RepositorySection) -> Result<(SecretSource, Option<Origin>)> {
        let (passphrase_file, key_file) = (self.path(&section.passphrase_file)?, self.path(&section.key_file)?);
        match (passphrase_file, key_file) {
            (Some(_), Some(_)) => {
                let advice = "there are a passphrase_file and a key_file: one of them opens the repository, remove the other";
                Err(self.origin(&section.key_file).refuse(advice))
            }
            (Some(path), None) => Ok((SecretSource::PassphraseFile(path), Some(self.origin(&section.passphrase_file)))),
            (None, Some(path)) => Ok((SecretSource::KeyFile(path), Some(self.origin(&section.key_file)))),
            (None, None) => Ok((SecretSource::Environment, None)),
        }
    }

    fn log(&self, section: &LogSection) -> Result<(LogPlan, Option<Origin>)> {
        let is_aof = self.word(&section.source, false, |word| match word {
            "ring" => Ok(false),
            "aof" => Ok(true),
            _ => Err("write \"ring\" (the data file itself) or \"aof\" (TigerBeetle's append-only file, with aof_file)"),
        })?;
        let source = match (is_aof, self.path(&section.aof_file)?) {
            (true, Some(file)) => LogFrom::Aof { file },
            (false, None) => LogFrom::WalRing,
            (true, None) => {
                let advice = "the append-only file is missing: write aof_file = \"FILE\" too, as in `tigerbeetle start --aof-file=FILE`";
                return Err(self.origin(&section.source).refuse(advice));
            }
            (false, Some(_)) => {
                return Err(self
                    .origin(&section.aof_file)
                    .refuse("the append-only file is not read: write source = \"aof\" too, or remove the line"));
            }
        };
        let plan = LogPlan {
            source,
            flush_interval: self.milliseconds(&bounds::FLUSH_INTERVAL_MS, &section.flush_interval_ms)?,
            flush_bytes: bounds::FLUSH_BYTES.check(&self.text, &section.flush_bytes)?,
            poll_idle_max: self.milliseconds(&bounds::POLL_IDLE_MS_MAX, &section.poll_idle_ms_max)?,
            memory_bytes: bounds::MEMORY_BYTES.check(&self.text, &section.memory_bytes)?,
            spool_bytes: bounds::SPOOL_BYTES.check(&self.text, &section.spool_bytes)?,
            spool_after: self.milliseconds(&bounds::SPOOL_AFTER_MS, &section.spool_after_ms)?,
            uploads: bounds::UPLOADS.check(&self.text, &section.uploads)? as usize,
            merge_after_segments: bounds::MERGE_AFTER_SEGMENTS.check(&self.text, &section.merge_after_segments)?,
            lag_alarm: self.milliseconds(&bounds::LAG_ALARM_MS, &section.lag_alarm_ms)?,
        };
        if plan.lag_alarm < plan.flush_interval {
            let (alarm_ms, flush_ms) = (plan.lag_alarm.as_millis(), plan.flush_interval.as_millis());
            let advice =
                format!("every segment waits flush_interval_ms = {flush_ms}, so an alert at {alarm_ms} ms would never end: write more");
            return Err(self
                .origin(if section.lag_alarm_ms.is_some() { &section.lag_alarm_ms } else { &section.flush_interval_ms })
                .refuse(advice));
        }
        Ok((plan, section.aof_file.as_ref().map(|value| self.text.origin(value.span()))))
    }

    fn checkpoint(&self, section: &CheckpointSection) -> Result<CheckpointPlan> {
        Ok(CheckpointPlan {
            interval: Duration::from_secs(bounds::CHECKPOINT_INTERVAL_S.check(&self.text, &section.interval_s)?),
            replay_budget: Duration::from_secs(bounds::REPLAY_BUDGET_S.check(&self.text, &section.replay_budget_s)?),
            replay_ops_per_s: bounds::REPLAY_OPS_PER_S.check(&self.text, &section.replay_ops_per_s)?,
            on_start: section.on_start.as_ref().is_none_or(|value| *value.get_ref()),
        })
    }

    fn lease(&self, section: &LeaseSection) -> Result<LeasePlan> {
        let heartbeat_ms = bounds::HEARTBEAT_MS.check(&self.text, &section.heartbeat_ms)?;
        let timeout_ms = bounds::LEASE_TIMEOUT_MS.check(&self.text, &section.timeout_ms)?;
        let least_ms = heartbeat_ms * HEARTBEATS_PER_TIMEOUT;
        if timeout_ms < least_ms {
            let written = if section.timeout_ms.is_some() { &section.timeout_ms } else { &section.heartbeat_ms };
            return Err(self.origin(written).refuse(format!(
                "timeout_ms is {timeout_ms}, but must be at least {HEARTBEATS_PER_TIMEOUT} times heartbeat_ms, because one lost request must not change the \
                 leader: write timeout_ms = {least_ms} or more"
            )));
        }
        Ok(LeasePlan { heartbeat: Duration::from_millis(heartbeat_ms), timeout: Duration::from_millis(timeout_ms) })
    }

    fn limits(&self, section: &LimitsSection) -> Result<LimitsPlan> {
        let rate = |bound: &bounds::Bound, value: &Value<i64>| -> Result<Option<u64>> {
            Ok(bound.check_if_given(&self.text, value)?.and_then(|bytes| u64::try_from(bytes).ok()))
        };
        let percent = bounds::CPU_BUDGET_PERCENT.check(&self.text, &section.cpu_budget_percent)?;
        let limits = Limits {
            cpu_budget_percent: u32::try_from(percent).ok(),
            upload_bytes_per_s: rate(&bounds::UPLOAD_BYTES_PER_S, &section.upload_bytes_per_s)?,
            read_bytes_per_s: rate(&bounds::READ_BYTES_PER_S, &section.read_bytes_per_s)?,
        };
        let bulk_nice = bounds::BULK_NICE.check(&self.text, &section.bulk_nice)?;
        Ok(LimitsPlan { limits, bulk_nice: u8::try_from(bulk_nice).unwrap_or(0) })
    }

    fn process(&self, file: &File) -> Result<ProcessPlan> {
        let section: &ProcessSection = &file.process;
        let workers = bounds::WORKERS.check_if_given(&self.text, &section.workers)?;
        let level = bounds::LEVEL.check_if_given(&self.text, &section.level)?;
        let defaults = Options::default();
        Ok(ProcessPlan {
            shutdown: self.milliseconds(&bounds::SHUTDOWN_MS, &section.shutdown_ms)?,
            log_json: self.word(&section.log_format, false, |word| match word {
                "text" => Ok(false),
                "json" => Ok(true),
                _ => Err("write \"text\" or \"json\""),
            })?,
            log_level: self.word(&section.log_level, Level::INFO, |word| match word {
                "error" | "warn" | "info" | "debug" | "trace" => word.parse().map_err(|_| "write \"info\""),
                _ => Err("write \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
            })?,
            workers: workers.and_then(|workers| usize::try_from(workers).ok()).unwrap_or(defaults.workers),
            level: level.and_then(|level| i32::try_from(level).ok()).unwrap_or(defaults.level),
        })
    }
}
