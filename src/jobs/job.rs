//! What a job is given, and what it does.

use crate::catalog::writer::Catalog;
use crate::error::Result;
use crate::monitor::status_board::StatusBoard;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::name::RunId;
use crate::repository::run_record::RunOutcome;
use std::sync::Arc;

/// What a run works with.
pub struct Context<'a> {
    /// The number of the run. A backup that it makes has the same number.
    pub run: RunId,
    /// The repository, with the agent's governor.
    pub repository: &'a Arc<Repository>,
    /// The agent's catalog.
    pub catalog: &'a Catalog,
    /// The agent's board.
    pub board: &'a StatusBoard,
    /// Receives the progress, and says whether the run is still wanted.
    pub progress: &'a dyn Progress,
}

/// What a job does. An outcome that is not completed is the job's result and is final. An error is
/// a failure and is retried.
pub type Task = Arc<dyn Fn(&Context<'_>) -> Result<RunOutcome> + Send + Sync>;
