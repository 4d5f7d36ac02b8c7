//! The integration tests: the program as a user calls it, against real TigerBeetle servers and a
//! real S3 server.
//!
//! They are one binary, so that it is linked once. A test that starts servers takes a turn first
//! ([`support::turn`]).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod aof;
mod bulk;
mod captures;
mod catalog;
mod cluster;
mod commands;
mod configuration;
mod contract;
mod crash;
mod events;
mod faults;
mod files;
mod forward;
mod golden;
mod kills;
mod outage;
mod package;
mod page;
mod points;
mod releases;
mod s3;
mod schedule;
mod support;
mod timelines;
mod walls;
