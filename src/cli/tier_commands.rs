//! The commands that belong to one tier alone, because they do what only that tier can: the one
//! place in the commands that all tiers are named in.

use super::output::Report;
use super::{Manner, restore_file, restore_tigerbeetle};
use crate::error::Result;
use clap::Subcommand;

/// Restores with all that a tier can do.
#[derive(Debug, Subcommand)]
pub enum TierRestoreCommand {
    /// Restore TigerBeetle data files.
    Tigerbeetle(restore_tigerbeetle::TigerbeetleArguments),
    /// Restore a plain file.
    File(restore_file::FileArguments),
}

impl TierRestoreCommand {
    /// Restores.
    pub fn run(&self, manner: Manner) -> Result<Report> {
        match self {
            TierRestoreCommand::Tigerbeetle(arguments) => restore_tigerbeetle::run(arguments, manner),
            TierRestoreCommand::File(arguments) => restore_file::run(arguments, manner),
        }
    }
}
