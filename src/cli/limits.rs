//! The arguments that limit what a command takes of the machine, the same for every command that
//! works in bulk.

use crate::host::Clock;
use crate::limits::governor::{Governor, Limits};
use clap::Args;
use std::sync::Arc;

/// The least bandwidth that is accepted: 1 MiB per second.
const RATE_MIN: u64 = 1 << 20;

/// Limits. A person who starts a command waits for it, so there are none unless they are given;
/// `amber agent` has its own in `[limits]`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits (none by default)")]
pub struct LimitArguments {
    /// CPU time in any ten seconds, in percent of the whole machine, all cores together.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    cpu_budget_percent: Option<u32>,
    /// Bytes read in a second: by a backup from the data file, by a verification from the
    /// repository.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(RATE_MIN..))]
    read_bytes_per_s: Option<u64>,
}

/// A limit for commands that send.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits (none by default)")]
pub struct UploadLimit {
    /// Bytes sent to the repository in a second.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(RATE_MIN..))]
    upload_bytes_per_s: Option<u64>,
}

impl LimitArguments {
    /// The governor that enforces the limits.
    pub fn governor(&self, upload: Option<&UploadLimit>) -> Arc<Governor> {
        let limits = Limits {
            cpu_budget_percent: self.cpu_budget_percent,
            upload_bytes_per_s: upload.and_then(|limit| limit.upload_bytes_per_s),
            read_bytes_per_s: self.read_bytes_per_s,
        };
        Arc::new(Governor::new(limits, 0, Clock::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        limits: LimitArguments,
        #[command(flatten)]
        upload: UploadLimit,
    }

    #[test]
    fn limits_are_taken_as_they_are_and_nonsense_is_refused() {
        let parse = |arguments: &[&str]| Command::try_parse_from([&["amber"], arguments].concat());
        let percent = |arguments: &[&str]| {
            let command = parse(arguments).unwrap();
            command.limits.governor(Some(&command.upload)).forecast().cpu_budget_percent
        };
        assert_eq!((percent(&[]), percent(&["--cpu-budget-percent", "7"])), (None, Some(7)));
        let command = parse(&["--upload-bytes-per-s", "1048576", "--read-bytes-per-s=2097152"]).unwrap();
        assert_eq!((command.upload.upload_bytes_per_s, command.limits.read_bytes_per_s), (Some(1 << 20), Some(2 << 20)));
        for wrong in
            [["--cpu-budget-percent", "0"], ["--cpu-budget-percent", "101"], ["--upload-bytes-per-s", "1000"], ["--read-bytes-per-s", "-1"]]
        {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
