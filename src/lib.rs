//! Amber: continuous, verified, encrypted backup and recovery for TigerBeetle ledgers.
//!
//! This is the map. A room uses only rooms below it. ARCHITECTURE.md describes the flow, FORMAT.md
//! every stored byte.
//!
//! | room | job |
//! |---|---|
//! | [`cli`] | one file per command: arguments in, call, print |
//! | [`agent`] | the process beside a replica: the log and the jobs |
//! | [`mod@bench`] | what the pipeline costs on this machine, stage by stage, and what to set |
//! | [`log_shipping`] | a replica's log on its way into the repository, continuously |
//! | [`jobs`] | the agent's jobs: begun when they are due, one at a time |
//! | [`runs`] | the record of every run, and its delivery |
//! | [`verify`] | whether what the repository promises is there, to the last byte |
//! | [`catalog`] | what ran, as DuckDB tables |
//! | [`monitor`] | progress, log lines, what the process used, the agent's status |
//! | [`config`] | the agent's configuration: TOML in, checked values out |
//! | [`demo`] | a real TigerBeetle under load, and the check of its books after a restore |
//! | [`ledger_events`] | what was backed up, as transfers in a ledger that nobody can alter |
//! | [`schedule`] | when jobs run |
//! | [`tier`] | what is backed up and restored: source, pipeline and repository joined |
//! | [`repository`] | the format: names, keys, objects, packs, segments, manifests |
//! | [`replica`] | the pre-copy walk of a running replica's checkpoint, the tail of its log |
//! | [`pipeline`] | compress, seal, digest, on worker threads |
//! | [`disk`] | io_uring, the arena, files that are read and written past the page cache |
//! | [`limits`] | CPU time and bandwidth that the process may use |
//! | [`store`] | objects in a folder, in S3, in memory |
//! | [`tb_format`] | the TigerBeetle formats; bytes in, facts out |
//! | [`stop`] | when to stop: SIGTERM and SIGINT |
//! | [`host`] | time, chance, the state directory's disk and threads, handed in |
//! | [`threads`], [`backoff`] | named threads, pauses |
//! | [`progress`], [`cancellation`], [`units`], [`names`], [`error`] | what every room may use |

pub mod agent;
pub mod backoff;
pub mod bench;
pub mod cancellation;
pub mod catalog;
pub mod cli;
pub mod config;
#[cfg(feature = "client")]
pub mod demo;
pub mod disk;
pub mod error;
pub mod host;
pub mod jobs;
pub mod ledger_events;
pub mod limits;
pub mod log_shipping;
pub mod monitor;
pub mod names;
pub mod pipeline;
pub mod progress;
pub mod replica;
pub mod repository;
pub mod runs;
pub mod schedule;
pub mod stop;
pub mod store;
pub mod tb_format;
pub mod threads;
pub mod tier;
pub mod units;
pub mod verify;
