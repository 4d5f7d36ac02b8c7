//! The live stream: the status to every viewer when there is a newer one, as server-sent events.
//!
//! The text of a status is made once, however many viewers there are. Nothing waits for a viewer
//! that does not read: it gets the newest status when it reads again. A stream ends by itself after
//! a while, and the page opens another one, so that no stream stays open for ever for a client that
//! is gone.

use super::Site;
use crate::monitor::status::AgentStatus;
use crate::threads::lock;
use axum::body::{Body, Bytes};
use futures_util::stream;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The most viewers at the same time.
pub(super) const VIEWERS_MAX: usize = 16;
/// How long a stream lasts.
const STREAM_LIFE: Duration = Duration::from_secs(1800);

/// The free places for viewers, and the text that they are sent.
#[derive(Debug)]
pub(super) struct Viewers {
    places: Arc<Semaphore>,
    newest: Mutex<Option<(Arc<AgentStatus>, Bytes)>>,
}

impl Default for Viewers {
    fn default() -> Self {
        Viewers { places: Arc::new(Semaphore::new(VIEWERS_MAX)), newest: Mutex::default() }
    }
}

impl Viewers {
    /// A viewer's place, if one is free.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// A status as an event. `text` makes its text unless that was made before.
    fn event(&self, status: &Arc<AgentStatus>, text: impl FnOnce() -> String) -> Bytes {
        let mut newest = lock(&self.newest);
        if let Some((made, event)) = newest.as_ref()
            && Arc::ptr_eq(made, status)
        {
            return event.clone();
        }
        let event = Bytes::from(format!("event: status\ndata: {}\n\n", text()));
        *newest = Some((Arc::clone(status), event.clone()));
        event
    }
}

struct Viewing {
    site: Arc<Site>,
    statuses: watch::Receiver<Arc<AgentStatus>>,
    until: Instant,
    is_first: bool,
    _place: OwnedSemaphorePermit,
}

/// The body of a stream.
pub(super) fn body(site: &Arc<Site>, place: OwnedSemaphorePermit) -> Body {
    let viewing =
        Viewing { site: Arc::clone(site), statuses: site.live.watch(), until: Instant::now() + STREAM_LIFE, is_first: true, _place: place };
    Body::from_stream(stream::unfold(viewing, |mut viewing| async move {
        // The current status is sent at once, later ones when they come. Before the agent's first
        // status there is none to send.
        let is_there = viewing.is_first && viewing.statuses.borrow().written_ns > 0;
        if !is_there && (Instant::now() >= viewing.until || viewing.statuses.changed().await.is_err()) {
            return None;
        }
        viewing.is_first = false;
        let status = Arc::clone(&viewing.statuses.borrow_and_update());
        let event = viewing.site.viewers.event(&status, || viewing.site.view(&status));
        Some((Ok::<_, Infallible>(event), viewing))
    }))
}
