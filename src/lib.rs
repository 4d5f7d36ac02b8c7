//! Amber: continuous, verified, encrypted backup and recovery for TigerBeetle ledgers.
//!
//! This is the map. A room uses only rooms below it; ARCHITECTURE.md tells the flow, FORMAT.md
//! every stored byte.
//!
//! | room | job |
//! |---|---|
//! | [`cli`] | one file per command: arguments in, call, print |
//! | [`agent`] | the process that ships a replica's log continuously |
//! | [`demo`] | a real TigerBeetle under load, and the check that nothing acknowledged is missing after a restore |
//! | [`mod@bench`] | what the pipeline costs on this machine, stage by stage, and what to set because of it |
//! | [`verify`] | whether what the repository promises is there, to the last byte |
//! | [`observe`] | progress on a terminal or in a log, log lines, what the process used |
//! | [`config`] | the agent's configuration: TOML in, checked values out |
//! | [`events`] | what was backed up, as transfers in a ledger that nobody can alter |
//! | [`schedule`] | when jobs run |
//! | [`catalog`] | what ran, as DuckDB tables |
//! | [`restore`] | choose a backup and an op, write data files that a server starts from |
//! | [`tier`] | what is backed up: source, pipeline and repository joined |
//! | [`repository`] | the format: names, keys, objects, packs, segments, manifests |
//! | [`source`] | io_uring, the pre-copy walk of a running replica's checkpoint, the tail of its log |
//! | [`store`] | objects in a folder, in S3, in memory |
//! | [`pipeline`] | compress, seal, digest, on worker threads |
//! | [`ledger`] | the TigerBeetle formats; bytes in, facts out |
//! | [`memory`] | the arena |
//! | [`progress`], [`units`], [`error`] | what everybody may use |

pub mod agent;
pub mod backoff;
pub mod bench;
pub mod catalog;
pub mod cli;
pub mod config;
#[cfg(feature = "client")]
pub mod demo;
pub mod disk;
pub mod durable_file;
pub mod error;
pub mod jobs;
pub mod ledger_events;
pub mod limits;
pub mod log_shipping;
pub mod monitor;
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
