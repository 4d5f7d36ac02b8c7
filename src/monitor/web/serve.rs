//! Connections: their number and their duration are bounded, whatever the clients do.

use super::{Site, Trouble, routes};
use axum::Router;
use futures_util::future::select;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// The most connections at the same time; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// The most actions at the same time.
pub(super) const ACTIONS_MAX: usize = 2;
/// How long a client may take for a TLS handshake, and for the head of a request, including idle
/// time before it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the head of a request may be, and how many headers it may have.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// After this time a connection accepts no further request. The request in progress gets a little
/// longer.
const CONNECTION_LIFE: Duration = Duration::from_secs(3600);
const CONNECTION_GRACE: Duration = Duration::from_secs(60);
/// The pause before listening on an address is tried again, and after a connection could not be
/// accepted.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until `stopped` ends.
pub(super) async fn serve(
    listen: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    site: Arc<Site>,
    trouble: Trouble,
    stopped: oneshot::Receiver<()>,
) {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let live = Arc::clone(&site.live);
    let accepting = async move {
        let listener = listening(listen, &trouble).await;
        if let Ok(address) = listener.local_addr() {
            live.set_page(format!("{scheme}://{address}/"));
            tracing::info!("the page is at {scheme}://{address}/");
        }
        accept(&listener, tls.map(TlsAcceptor::from), &routes::router(site)).await;
    };
    select(pin!(accepting), stopped).await;
}

async fn listening(listen: SocketAddr, trouble: &Trouble) -> TcpListener {
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                trouble(None);
                return listener;
            }
            Err(error) => trouble(Some(format!(
                "neither page nor metrics are served, for nothing can listen on {listen} ({error}): write another address as listen in [page], or \"off\""
            ))),
        }
        sleep(LISTEN_PAUSE).await;
    }
}

async fn accept(listener: &TcpListener, tls: Option<TlsAcceptor>, router: &Router) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, tls.clone(), router.clone(), permit))),
            // There are too many open files, or the client has disconnected already.
            Err(error) => {
                tracing::debug!("the page: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, _permit: OwnedSemaphorePermit) {
    // Events must not be delayed by Nagle's algorithm.
    let _ = stream.set_nodelay(true);
    match tls {
        None => requests(stream, router).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                requests(stream, router).await;
            }
        }
    }
}

/// Answers the requests of one connection. An error that ends the connection is ignored: it
/// concerns only the client.
async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    if timeout(CONNECTION_LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(CONNECTION_GRACE, connection).await;
    }
}
