//! HTTP for the AWS SDK: one pool of HTTP/1.1 connections over rustls, with the TLS versions and
//! certificate authorities of our choice.
//!
//! The SDK's own client (`aws-smithy-http-client`) takes neither a TLS version nor a rustls
//! configuration, so this one implements the SDK's [`HttpClient`] over hyper. Flow of one request:
//! the SDK signs it and calls [`Connection::call`]; hyper takes an idle connection or makes one
//! (TCP within the connect time-out, through a proxy where one is set, then TLS); the pieces of the
//! body are sent without being copied together, with one `writev` where there is no TLS; the head
//! of the response arrives, and its body follows as it is read. A transfer that stalls for the
//! SDK's read time-out fails, in either direction ([`Watched`], [`Timed`]). Time-outs of a whole
//! attempt and retries are the SDK's.

use super::proxy::{Connector, Proxies, ProxyError};
use crate::store::s3::tls_minimum::TlsMinimum;
use crate::threads::lock;
use aws_sdk_s3::config::RuntimeComponents;
use aws_sdk_s3::error::{BoxError, ConnectorError};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Idle connections are closed after this time, which is before S3 and common load balancers close
/// them. So no request meets a dead connection.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// The most of a body that a connection takes at once, so that progress is visible on a slow one.
const FRAME_BYTES_MAX: usize = 256 * 1024;

/// The most idle connections: as many as a caller has requests in flight at most. More would be
/// kept open for nothing.
const POOL_IDLE_CONNECTIONS: usize = 64;

/// The TLS configuration with its certificate authorities: those in `ca_file` (PEM) and no others,
/// or those of this machine. The error is only the reason.
pub(crate) fn tls_config(ca_file: Option<&Path>, minimum: TlsMinimum) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unreadable = |error| format!("the CA file {} cannot be read as PEM: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                let added = roots.add(certificate.map_err(unreadable)?);
                added.map_err(|error| format!("the CA file {} holds a bad certificate: {error}", path.display()))?;
            }
            if roots.is_empty() {
                return Err(format!("the CA file {} holds no certificate", path.display()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let versions: &[_] = match minimum {
        TlsMinimum::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsMinimum::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// An HTTP client for the SDK.
pub(super) fn http_client(tls: ClientConfig, connect_timeout: Duration, proxies: &Arc<Proxies>) -> SharedHttpClient {
    let mut tcp = hyper_util::client::legacy::connect::HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_CONNECTIONS)
        .build(HttpsConnector::from((Connector { tcp, proxies: Arc::clone(proxies), connect_timeout }, tls)));
    SharedHttpClient::new(Http { client, proxies: Arc::clone(proxies) })
}

type Pool = Client<HttpsConnector<Connector>, Watched>;

#[derive(Debug)]
struct Http {
    client: Pool,
    proxies: Arc<Proxies>,
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let (client, proxies) = (self.client.clone(), Arc::clone(&self.proxies));
        SharedHttpConnector::new(Connection { client, proxies, read_timeout: settings.read_timeout() })
    }
}

#[derive(Debug)]
struct Connection {
    client: Pool,
    proxies: Arc<Proxies>,
    read_timeout: Option<Duration>,
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        // With TLS the proxy was sent its login with the tunnel, and does not see the request.
        let is_forwarded = request.uri().scheme_str() == Some("http");
        let proxy = self.proxies.for_server(request.uri()).ok().flatten().filter(|_| is_forwarded);
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.clone()) {
            request.headers_mut().insert(http::header::PROXY_AUTHORIZATION, authorization);
        }
        let progress = Arc::new(Mutex::new(Instant::now()));
        let answer = self.client.request(request.map(|body| Watched { body, progress: Arc::clone(&progress) }));
        let read_timeout = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let answer = match read_timeout {
                None => answer.await,
                Some(limit) => match unless_stalled(answer, &progress, limit).await {
                    Some(answer) => answer,
                    None => return Err(ConnectorError::timeout(stalled(limit).into())),
                },
            };
            let answer = answer.map_err(|error| {
                // What TLS or a proxy refuses once it refuses again. Every other failure may be
                // temporary.
                let lasting = find_in_chain::<rustls::Error>(&error).is_some()
                    || find_in_chain::<ProxyError>(&error).is_some_and(|error| error.is_lasting);
                if lasting { ConnectorError::other(error.into(), None) } else { ConnectorError::io(error.into()) }
            })?;
            let answer = answer.map(|body| match read_timeout {
                None => SdkBody::from_body_1_x(body),
                Some(limit) => SdkBody::from_body_1_x(Timed { body, limit, timer: None, is_armed: false }),
            });
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn stalled(limit: Duration) -> String {
    format!("nothing moved for {} s, the time-out of a stalled transfer", limit.as_secs_f64())
}

/// Waits for an answer as long as the body of the request makes progress, and `limit` longer.
async fn unless_stalled<T>(answer: impl Future<Output = T>, progress: &Mutex<Instant>, limit: Duration) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        let until = *lock(progress) + limit;
        match tokio::time::timeout_at(until, &mut answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if *lock(progress) + limit > until => {}
            Err(_) => return None,
        }
    }
}

/// The body of a request. It notes when the connection last took bytes from it.
struct Watched {
    body: SdkBody,
    progress: Arc<Mutex<Instant>>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        *lock(&self.progress) = Instant::now();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

/// The body of an answer. It fails if nothing arrives for `limit`.
struct Timed<B> {
    body: B,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_armed: bool,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Timed<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.is_armed = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let (limit, was_armed) = (self.limit, self.is_armed);
        self.is_armed = true;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !was_armed {
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(context).map(|()| Some(Err(stalled(limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The first error of type `E` in a chain. It looks into `io::Error` too, whose `source` leaves out
/// the error that it carries.
pub(super) fn find_in_chain<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// A body in pieces for the SDK. The pieces are sent as they are, and again from the start when an
/// attempt is repeated.
pub(super) fn request_body(pieces: &[Bytes]) -> SdkBody {
    let pieces: Arc<[Bytes]> = pieces.iter().filter(|piece| !piece.is_empty()).cloned().collect();
    SdkBody::retryable(move || {
        let left_bytes = crate::store::body_bytes(&pieces);
        SdkBody::from_body_1_x(Pieces { pieces: Arc::clone(&pieces), next: 0, within: 0, left_bytes })
    })
}

struct Pieces {
    pieces: Arc<[Bytes]>,
    next: usize,
    /// How many bytes of the next piece are already sent.
    within: usize,
    left_bytes: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.pieces.get(self.next) else { return Poll::Ready(None) };
        let end = piece.len().min(self.within + FRAME_BYTES_MAX);
        let frame = piece.slice(self.within..end);
        (self.next, self.within) = if end == piece.len() { (self.next + 1, 0) } else { (self.next, end) };
        self.left_bytes -= frame.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_memory_and_can_be_sent_again() {
        let content = Bytes::from(vec![7; 1000]);
        let body = request_body(&[content.slice(..400), Bytes::new(), content.slice(400..)]);
        let mut again = body.try_clone().expect("can be repeated");
        assert_eq!(again.content_length(), Some(1000));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut found = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut again).poll_frame(&mut context) {
            found.push(frame.into_data().expect("no trailers"));
        }
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].as_ptr(), content.as_ptr(), "not copied");
        assert!(again.is_end_stream());
    }

    #[test]
    fn large_pieces_go_in_frames() {
        let content = Bytes::from((0..2 * FRAME_BYTES_MAX + 10).map(|number| number as u8).collect::<Vec<u8>>());
        let mut body = request_body(&[content.slice(..5), content.slice(5..)]);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut found = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
            found.push(frame.into_data().expect("no trailers"));
        }
        assert_eq!(found.iter().map(Bytes::len).collect::<Vec<_>>(), [5, FRAME_BYTES_MAX, FRAME_BYTES_MAX, 5]);
        assert_eq!(found.concat(), content);
        assert_eq!(found[2].as_ptr(), content[5 + FRAME_BYTES_MAX..].as_ptr(), "not copied");
    }

    #[test]
    fn bad_ca_files_are_refused() {
        let missing = tls_config(Some(Path::new("/does/not/exist.pem")), TlsMinimum::Tls13).unwrap_err();
        assert!(missing.contains("/does/not/exist.pem"), "{missing}");
        let path = std::env::temp_dir().join(format!("amber-ca-{}", std::process::id()));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(tls_config(Some(&path), TlsMinimum::Tls13).unwrap_err().contains("no certificate"));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(tls_config(Some(&path), TlsMinimum::Tls13).unwrap_err().contains("bad certificate"));
        std::fs::remove_file(&path).unwrap();
        assert!(tls_config(None, TlsMinimum::Tls12).is_ok());
    }

    #[test]
    fn chains_are_searched_inside_io_errors() {
        let inner = std::io::Error::other(rustls::Error::DecryptError);
        let outer = std::io::Error::other(inner);
        assert_eq!(find_in_chain::<rustls::Error>(&outer), Some(&rustls::Error::DecryptError));
        assert!(find_in_chain::<rustls::Error>(&std::io::Error::other("else")).is_none());
    }
}
