//! What works for as long as the agent does: each part goes step by step, and none runs yet.
//!
//! Flow: the [`Recorder`] is created first, because all others record what they do with it. Its
//! [`Stages`] bring the records to repository and ledger, the [`CatalogUpdater`] brings them to the
//! catalog. The [`Jobs`] and their [`JobRunner`] run what is due. [`Reporter`] and
//! [`RestorableRanges`] write on the board, which page and telemetry read.

use super::heartbeat::Beats;
use crate::catalog::folder::STATE_FOLDER;
use crate::catalog::updates::{CatalogQueue, CatalogUpdater};
use crate::catalog::writer::Catalog;
use crate::config::AgentConfig;
use crate::error::Result;
use crate::jobs::registry::registrations;
use crate::jobs::runner::JobRunner;
use crate::jobs::{self, Jobs};
use crate::log_shipping::restorable::RestorableRanges;
use crate::log_shipping::session::Checked;
use crate::monitor::live::Live;
use crate::monitor::reporter::Reporter;
use crate::monitor::status::{AgentStatus, Control};
use crate::monitor::status_board::StatusBoard;
use crate::monitor::systemd::Notifier;
use crate::repository::run_record::RunSink;
use crate::runs::delivery::{LedgerDelivery, Stages};
use crate::runs::recorder::Recorder;
use std::sync::Arc;

/// What an agent begins with.
pub(super) struct Beginning<'agent> {
    pub plan: &'agent AgentConfig,
    pub checked: &'agent Checked,
    pub board: &'agent Arc<StatusBoard>,
    /// The token by which the agent recognises itself.
    pub token: &'agent str,
    pub notifier: &'agent Notifier,
}

/// The parts.
pub(super) struct AgentParts {
    pub jobs: Arc<Jobs>,
    pub runner: JobRunner,
    pub stages: Stages,
    pub catalog: CatalogUpdater,
    pub reporter: Reporter,
    pub ranges: RestorableRanges,
    pub beats: Beats,
    /// What page and telemetry show.
    pub live: Arc<Live>,
}

impl Beginning<'_> {
    /// Makes the parts.
    ///
    /// # Errors
    /// When something on the disk cannot be read.
    pub(super) fn parts(&self, reported: Option<LedgerDelivery>) -> Result<AgentParts> {
        let (plan, repository) = (self.plan, &self.checked.repository);
        let catalog = Arc::new(Catalog::new(repository, &plan.state_directory.join(STATE_FOLDER)));
        let queue = Arc::new(CatalogQueue::default());
        let sinks = vec![Arc::clone(&queue) as Arc<dyn RunSink>];
        let recorder = Recorder::new(repository, self.board, &plan.state_directory, self.token, sinks, reported.is_some())?;
        let recorder = Arc::new(recorder);
        let stages = Stages::new(&recorder, reported);
        let jobs = self.jobs(&catalog, recorder)?;
        let live = Arc::new(Live::default());
        live.set_control(Arc::clone(&jobs) as Arc<dyn Control>);
        Ok(AgentParts {
            runner: JobRunner::new(&jobs),
            jobs,
            stages,
            catalog: CatalogUpdater::new(&catalog, &queue),
            reporter: self.reporter(&live),
            ranges: RestorableRanges::new(repository, self.board),
            beats: Beats::new(repository.host(), &plan.notify, &plan.state_directory, &live)?,
            live,
        })
    }

    fn jobs(&self, catalog: &Arc<Catalog>, sink: Arc<Recorder>) -> Result<Arc<Jobs>> {
        let parts = jobs::Parts {
            repository: Arc::clone(&self.checked.repository),
            catalog: Arc::clone(catalog),
            board: Arc::clone(self.board),
            sink,
            by: self.token.to_owned(),
            registrations: registrations(self.plan),
        };
        Jobs::open(self.plan, parts)
    }

    fn reporter(&self, live: &Arc<Live>) -> Reporter {
        let (plan, host, governor) = (self.plan, self.checked.repository.host(), self.checked.repository.governor());
        // While an agent that shipped the log was away, nothing was stored, unless another one took
        // over. That this one cannot know: it counts what it may have been.
        let led = |status: &AgentStatus| status.lease.as_ref().is_some_and(|lease| lease.is_ours);
        if let Some(before) = AgentStatus::read(host.disk, &plan.state_directory).ok().filter(led) {
            self.board.note_lag(host.clock.now_ns().saturating_sub(before.written_ns) / 1_000_000);
        }
        Reporter::new(self.board, live, host.disk, plan.state_directory.clone(), *self.notifier, plan.log.lag_alarm, governor)
    }
}
