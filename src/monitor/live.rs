//! The status as it stands, inside the agent's process: whoever shows it reads it here, and is
//! woken when there is a newer one.
//!
//! Flow: the agent's reporter calls [`Live::publish`] once a second; page and metrics take
//! [`Live::status`], viewers wait on [`Live::watch`], charts take [`Live::history`], and actions go
//! to the [`Control`] that the agent's scheduler has handed in. While nobody looks, a second costs
//! one sample of history.

use super::history::{Columns, History};
use super::status::{AgentStatus, Control};
use crate::threads::lock;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::watch;

/// The newest status, the last hours, and who acts.
pub struct Live {
    status: watch::Sender<Arc<AgentStatus>>,
    history: Mutex<History>,
    control: OnceLock<Arc<dyn Control>>,
    page: Mutex<String>,
}

impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Live").field("page", &self.page()).finish_non_exhaustive()
    }
}

impl Default for Live {
    fn default() -> Self {
        Live {
            status: watch::Sender::new(Arc::new(AgentStatus::default())),
            history: Mutex::default(),
            control: OnceLock::new(),
            page: Mutex::default(),
        }
    }
}

impl Live {
    /// This is how it is now.
    pub fn publish(&self, status: AgentStatus) {
        lock(&self.history).push(&status);
        self.status.send_replace(Arc::new(status));
    }

    /// The newest status.
    pub fn status(&self) -> Arc<AgentStatus> {
        Arc::clone(&self.status.borrow())
    }

    /// Wakes whoever holds it when there is a newer status.
    pub fn watch(&self) -> watch::Receiver<Arc<AgentStatus>> {
        self.status.subscribe()
    }

    /// The last `span_ms` milliseconds.
    pub fn history(&self, span_ms: u64) -> Columns {
        lock(&self.history).columns(span_ms)
    }

    /// Hands in who starts and pauses jobs; the first one stays.
    pub fn set_control(&self, control: Arc<dyn Control>) {
        let _ = self.control.set(control);
    }

    /// Who starts and pauses jobs, if anybody does.
    pub fn control(&self) -> Option<Arc<dyn Control>> {
        self.control.get().cloned()
    }

    /// Where the page is, as a URL; empty while it is nowhere.
    pub fn page(&self) -> String {
        lock(&self.page).clone()
    }

    /// The page is here from now on.
    pub fn set_page(&self, url: String) {
        *lock(&self.page) = url;
    }
}
