//! Checks what must hold before an agent starts: everything that the configuration names exists,
//! may be used, and fits together.
//!
//! Every refusal begins with the line of the configuration that led to it.

use super::page;
use crate::config::AgentConfig;
use crate::config::plan::LogFrom;
use crate::disk::file::ReadOptions;
use crate::disk::process_lock;
use crate::error::{Error, Result};
use crate::jobs::registry;
use crate::log_shipping::session::Checked;
use crate::replica::checkpoint::Walk;

/// Checks a configuration against the system. It writes nothing but the state directory itself,
/// where that is missing.
///
/// # Errors
/// [`Error::input`] for what must be configured differently: a file that is missing, may not be
/// read or is not a file, no repository, the wrong secret, another cluster's repository.
/// [`Error::try_again`] while the store or the node is away.
pub fn check(plan: &AgentConfig) -> Result<Checked> {
    process_lock::prepare(plan.host.disk, &plan.state_directory).map_err(|error| error.context(&plan.origins.state_directory))?;
    registry::check(plan, &registry::registrations(plan))?;
    let at_data_file = |error: Error| error.context(&plan.origins.data_file);
    let mut walk = Walk::for_superblock(&plan.data_file, ReadOptions::default()).map_err(|error| at_data_file(error.into()))?;
    let superblock = walk.superblock().map_err(|error| at_data_file(error.into()))?;
    if let (LogFrom::Aof { file }, Some(origin)) = (&plan.log.source, &plan.origins.aof_file) {
        let opened = std::fs::File::open(file).and_then(|file| file.metadata());
        let metadata = opened.map_err(|error| origin.refuse(format!("{}: {error}", file.display())))?;
        if !metadata.is_file() {
            return Err(
                origin.refuse(format!("{}: it is no file: name the one that `tigerbeetle start --aof-file` writes", file.display()))
            );
        }
    }
    page::options(&plan.page)?;
    let repository = plan.open_repository()?;
    plan.check_cluster(&repository, superblock.cluster())?;
    let mut notes = walk.notes();
    notes.extend(page::notes(&plan.page));
    if !repository.capabilities().conditional_put {
        notes.push(format!("{}: the store has no conditional put: let only one agent at a time ship to it", repository.describe()));
    }
    Ok(Checked {
        repository,
        cluster: superblock.cluster(),
        replica: superblock.replica_index(),
        replica_count: superblock.replica_count(),
        checkpoint_op: superblock.checkpoint().header().op(),
        notes,
    })
}

#[cfg(test)]
mod tests;
