//! The page: it shows whether everything is safe right now, with live figures, metrics and health
//! checks, over HTTP from a thread of its own.
//!
//! ```text
//! browser, Prometheus -> serve (connections, TLS) -> access (host, token, origin of a request)
//!     -> routes -> Live (status, history, control)
//! ```
//!
//! Flow: [`Server::start`] starts a thread with a small runtime. `serve` accepts connections; their
//! number and their duration are bounded. [`access`] refuses requests that are not allowed.
//! `routes` answers from [`Live`] alone, so that no request ever reaches the repository or waits
//! for the agent. `stream` sends the status to viewers when there is a newer one. While nobody is
//! connected, nothing runs. The files that a browser needs are embedded in the program
//! ([`assets`]).

pub mod access;
pub mod assets;
mod routes;
mod serve;
mod stream;
pub mod tls;

use super::live::Live;
use crate::error::{Error, Result};
use access::Access;
use rustls::ServerConfig;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// How the page is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 means any free port.
    pub listen: SocketAddr,
    /// Who may read and act.
    pub access: Access,
    /// The TLS configuration, if the page is served over TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Called with the reason when the page cannot be served, and with `None` when it can again.
pub type Trouble = Box<dyn Fn(Option<String>) + Send + Sync>;

/// The state that all requests share.
pub(crate) struct Site {
    live: Arc<Live>,
    access: Access,
    viewers: stream::Viewers,
}

/// The page's thread, which ends when this value is dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// Serves the page until the value is dropped. If it cannot listen on the address, it retries
    /// without end. [`Live::page`] has the URL.
    ///
    /// # Errors
    /// [`Error::try_again`] if the system cannot start a thread.
    pub fn start(options: Options, live: &Arc<Live>, trouble: Trouble) -> Result<Server> {
        let refused = |error: std::io::Error| Error::try_again(format!("the page gets no thread: {error}")).caused_by(error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(serve::ACTIONS_MAX).build().map_err(refused)?;
        let (stop, stopped) = oneshot::channel();
        let site = Arc::new(Site { live: Arc::clone(live), access: options.access, viewers: stream::Viewers::default() });
        let work = move || {
            runtime.block_on(serve::serve(options.listen, options.tls, site, trouble, stopped));
            // An action that hangs must not keep the agent from ending.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("amber-page".to_owned()).spawn(work).map_err(refused)?;
        Ok(Server { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
