//! The current status, inside the agent's process: whatever shows it reads it here, and is woken
//! when there is a newer one.
//!
//! Flow: the agent's reporter calls [`Live::publish`] once a second. Page and metrics read
//! [`Live::status`], viewers wait on [`Live::watch`], and charts read [`Live::history`]. Actions go
//! to the [`Control`] that the agent's scheduler has handed in. While nobody is watching, a second
//! costs one sample of history.

use super::history::{Columns, History};
use super::status::{AgentStatus, Control};
use crate::threads::lock;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::watch;

/// The newest status, the history, and the control that actions go to.
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
    /// Publishes a status and wakes whoever watches.
    pub fn publish(&self, status: AgentStatus) {
        lock(&self.history).push(&status);
        self.status.send_replace(Arc::new(status));
    }

    /// The newest status.
    pub fn status(&self) -> Arc<AgentStatus> {
        Arc::clone(&self.status.borrow())
    }

    /// A receiver that is woken when there is a newer status.
    pub fn watch(&self) -> watch::Receiver<Arc<AgentStatus>> {
        self.status.subscribe()
    }

    /// The history of the last `span_ms` milliseconds.
    pub fn history(&self, span_ms: u64) -> Columns {
        lock(&self.history).columns(span_ms)
    }

    /// Sets the control that starts and pauses jobs. Only the first call has an effect.
    pub fn set_control(&self, control: Arc<dyn Control>) {
        let _ = self.control.set(control);
    }

    /// The control that starts and pauses jobs, if one was set.
    pub fn control(&self) -> Option<Arc<dyn Control>> {
        self.control.get().cloned()
    }

    /// The URL of the page; empty while it is not served.
    pub fn page(&self) -> String {
        lock(&self.page).clone()
    }

    /// Sets the URL of the page.
    pub fn set_page(&self, url: String) {
        *lock(&self.page) = url;
    }
}
