//! Proxies between this machine and the server, from the variables that the AWS tools read.
//!
//! `HTTPS_PROXY` is for servers with TLS, `HTTP_PROXY` for those without, and `NO_PROXY` lists
//! hosts and domains that are reached directly (`*` for all). Names in lower case take precedence.
//! The addresses at which a machine or a container asks for its own role are never asked for
//! through a proxy, which has another role or none.
//! <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-proxy.html>
//!
//! Flow of a connection with TLS: [`Connector`] connects to the proxy, asks it with CONNECT for a
//! tunnel to the server (<https://www.rfc-editor.org/rfc/rfc9110#CONNECT>), and TLS runs through
//! it, so the proxy sees neither credentials nor data. Without TLS the proxy is sent the request.

use super::environment::Environment;
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::base64;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::io::{Error, ErrorKind, IoSlice, Result as IoResult};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

/// Longest answer to CONNECT, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A proxy, and the variable that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    variable: &'static str,
    uri: Uri,
    /// `Proxy-Authorization`; its `Debug` does not show it.
    pub(super) authorization: Option<HeaderValue>,
}

/// The proxies of this process.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    /// One that cannot be used is an error only for servers that would be reached through it.
    http: Option<Result<Proxy, ProxyError>>,
    https: Option<Result<Proxy, ProxyError>>,
    /// Hosts and domains that are reached directly, in lower case.
    direct: Vec<String>,
}

/// Why there is no way through the proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct ProxyError {
    text: String,
    /// It will be so until somebody changes something.
    pub(super) is_lasting: bool,
}

impl Proxies {
    /// Reads the variables.
    pub(super) fn of(environment: &Environment) -> Self {
        let lasting = |text| ProxyError { text, is_lasting: true };
        let proxy =
            |names: &[&'static str]| environment.first(names).map(|(variable, value)| Proxy::parse(variable, value).map_err(lasting));
        let direct = environment.first(&["no_proxy", "NO_PROXY"]).map_or("", |(_, value)| value);
        let direct = direct.split(',').map(|name| name.trim().trim_start_matches('.').to_lowercase()).filter(|name| !name.is_empty());
        Proxies { http: proxy(&["http_proxy", "HTTP_PROXY"]), https: proxy(&["https_proxy", "HTTPS_PROXY"]), direct: direct.collect() }
    }

    /// The proxy through which a server is reached, if it is not reached directly.
    pub(super) fn for_server(&self, server: &Uri) -> Result<Option<&Proxy>, ProxyError> {
        let proxy = if server.scheme_str() == Some("https") { &self.https } else { &self.http };
        match proxy {
            Some(proxy) if !self.is_direct(server) => proxy.as_ref().map(Some).map_err(Clone::clone),
            _ => Ok(None),
        }
    }

    fn is_direct(&self, server: &Uri) -> bool {
        let Some(host) = server.host().map(str::to_lowercase) else { return true };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.parse().is_ok_and(|address| is_metadata(&address)) {
            return true;
        }
        let with_port = server.port_u16().map(|port| format!("{host}:{port}"));
        self.direct.iter().any(|name| {
            let is_within = |whole: &str| whole == name || whole.strip_suffix(name.as_str()).is_some_and(|front| front.ends_with('.'));
            name == "*" || is_within(bare) || is_within(&host) || with_port.as_deref().is_some_and(is_within)
        })
    }
}

/// Link-local addresses of instances and containers, and their likes of IPv6.
fn is_metadata(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[..2] == [0xfd00, 0x0ec2],
    }
}

impl Proxy {
    fn parse(variable: &'static str, value: &str) -> Result<Self, String> {
        let (scheme, rest) = value.split_once("://").unwrap_or(("http", value.trim_start_matches('/')));
        if scheme != "http" {
            return Err(format!(
                "{variable} names a proxy of the kind {scheme}://, which Amber does not speak to: write http://host:port (requests to a \
                 server with TLS stay encrypted), or unset it"
            ));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (login, server) = authority.rsplit_once('@').map_or((None, authority), |(login, server)| (Some(login), server));
        let bad = || format!("{variable} names no proxy: write http://host:port");
        let uri = format!("http://{server}/").parse::<Uri>().map_err(|_| bad())?;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(bad)?;
        if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
            return Err(bad());
        }
        let authorization = login.map(|login| {
            let header = format!(
                "Basic {}",
                base64::encode(if login.contains(':') { decoded(login) } else { [decoded(login), vec![b':']].concat() })
            );
            HeaderValue::from_str(&header).map(|mut header| {
                header.set_sensitive(true);
                header
            })
        });
        Ok(Proxy { variable, uri, authorization: authorization.transpose().map_err(|_| bad())? })
    }

    fn error(&self, is_lasting: bool, what: &str) -> ProxyError {
        let server = self.uri.authority().map_or("", |authority| authority.as_str());
        ProxyError { text: format!("the proxy {server} (from {}) {what}", self.variable), is_lasting }
    }

    /// Asks the proxy for a tunnel to the server.
    async fn tunnel(&self, tcp: &TcpStream, server: &Uri) -> Result<(), ProxyError> {
        let host = format!("{}:{}", server.host().unwrap_or_default(), server.port_u16().unwrap_or(443));
        let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(&[b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
        }
        request.extend_from_slice(b"\r\n");
        let answer = exchange(tcp, &request).await.map_err(|error| self.error(false, &format!("does not answer: {error}")))?;
        let line = String::from_utf8_lossy(&answer);
        let line = line.lines().next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|status| status.parse::<u16>().ok());
        match status {
            Some(200..=299) => Ok(()),
            Some(407) => Err(self.error(true, "wants a login, or another one: write http://user:password@host:port")),
            Some(status @ (400..=428 | 430..=499)) => {
                Err(self
                    .error(true, &format!("refuses connections to {host} (HTTP status {status}): allow them, or add the host to NO_PROXY")))
            }
            Some(status) => Err(self.error(false, &format!("cannot connect to {host} (HTTP status {status})"))),
            None => Err(self.error(true, "does not answer as a proxy does: check its address")),
        }
    }
}

/// Sends a request and receives the head of the answer.
async fn exchange(tcp: &TcpStream, mut request: &[u8]) -> IoResult<Vec<u8>> {
    while !request.is_empty() {
        tcp.writable().await?;
        match tcp.try_write(request) {
            Ok(written) => request = &request[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    // The server behind the tunnel says nothing before it is spoken to.
    while !answer.ends_with(b"\r\n\r\n") {
        tcp.readable().await?;
        match tcp.try_read(&mut piece) {
            Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the connection was closed")),
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if answer.len() > ANSWER_BYTES_MAX || answer.len() >= 5 && !answer.starts_with(b"HTTP/") {
            break;
        }
    }
    Ok(answer)
}

/// Decodes `%XX`.
fn decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

/// Connects to servers, through a proxy where one is set.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) tcp: HttpConnector,
    pub(super) proxies: Arc<Proxies>,
    pub(super) connect_timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Link>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let proxy = match self.proxies.for_server(&server) {
            Ok(Some(proxy)) => proxy.clone(),
            Ok(None) => {
                let connecting = self.tcp.call(server);
                return Box::pin(async move { Ok(TokioIo::new(Link { tcp: connecting.await?.into_inner(), is_forwarded: false })) });
            }
            Err(error) => return Box::pin(async move { Err(error.into()) }),
        };
        let connecting = self.tcp.call(proxy.uri.clone());
        let limit = self.connect_timeout;
        Box::pin(async move {
            let unreachable = |error| proxy.error(false, &format!("cannot be reached: {}", super::error::chain_text(&error)));
            let tcp = connecting.await.map_err(unreachable)?.into_inner();
            let is_forwarded = server.scheme_str() != Some("https");
            if !is_forwarded {
                let in_time = tokio::time::timeout(limit, proxy.tunnel(&tcp, &server)).await;
                in_time.map_err(|_| proxy.error(false, "did not answer in time"))??;
            }
            Ok(TokioIo::new(Link { tcp, is_forwarded }))
        })
    }
}

/// A connection to a server, or to a proxy that forwards requests to it.
#[derive(Debug)]
pub(super) struct Link {
    tcp: TcpStream,
    is_forwarded: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        self.tcp.connected().proxy(self.is_forwarded)
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of(&Environment::of(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))))
    }

    fn through(proxies: &Proxies, server: &str) -> Option<String> {
        proxies.for_server(&server.parse().unwrap()).unwrap().map(|proxy| proxy.uri.to_string())
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let both = proxies(&[("HTTPS_PROXY", "http://secure:1"), ("HTTP_PROXY", "plain:2"), ("http_proxy", "")]);
        assert_eq!(through(&both, "https://a.example.com").as_deref(), Some("http://secure:1/"));
        assert_eq!(through(&both, "http://a.example.com:80").as_deref(), Some("http://plain:2/"));
        let lower = proxies(&[("HTTPS_PROXY", "http://upper"), ("https_proxy", "//lower/")]);
        assert_eq!(through(&lower, "https://a").as_deref(), Some("http://lower/"));
        assert_eq!(through(&lower, "http://a"), None);
        for metadata in ["http://169.254.169.254", "http://169.254.170.2/x", "http://[fd00:ec2::254]"] {
            assert_eq!(through(&both, metadata), None, "{metadata}");
        }
    }

    #[test]
    fn some_hosts_are_reached_directly() {
        let some = proxies(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "Example.com, .internal,10.0.0.1, h:9,::1")]);
        for direct in ["example.com", "b.example.com", "x.internal", "INTERNAL", "10.0.0.1:8333", "h:9", "[::1]:1"] {
            assert_eq!(through(&some, &format!("https://{direct}")), None, "{direct}");
        }
        for other in ["notexample.com", "example.com.org", "10.0.0.11", "h:8", "h"] {
            assert!(through(&some, &format!("https://{other}")).is_some(), "{other}");
        }
        assert_eq!(through(&proxies(&[("HTTPS_PROXY", "p"), ("no_proxy", "*")]), "https://a"), None);
    }

    #[test]
    fn logins_are_sent_and_never_shown() {
        let login = proxies(&[("HTTPS_PROXY", "http://us%40er:p%3Ass%zz@p:3128")]);
        let proxy = login.for_server(&"https://a".parse().unwrap()).unwrap().unwrap();
        assert_eq!(proxy.uri, "http://p:3128/");
        assert_eq!(proxy.authorization.as_ref().unwrap(), &format!("Basic {}", base64::encode("us@er:p:ss%zz")));
        assert!(!format!("{login:?}").contains("Basic"), "{login:?}");
        let proxy = Proxy::parse("HTTP_PROXY", "user@p").unwrap();
        assert_eq!(proxy.authorization.unwrap(), &format!("Basic {}", base64::encode("user:")));
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_its_variable() {
        for bad in ["http://", "http://:1", "http://u:hidden@", "http://p:x", "http://p:99999", "p q"] {
            let text = proxies(&[("HTTP_PROXY", bad)]).for_server(&"http://a".parse().unwrap()).unwrap_err().to_string();
            assert!(text.starts_with("HTTP_PROXY names no proxy") && !text.contains("hidden"), "{text}");
        }
        for kind in ["socks5", "https"] {
            let unusable = proxies(&[("https_proxy", &format!("{kind}://u:hidden@p:1")), ("NO_PROXY", "b")]);
            assert_eq!((through(&unusable, "http://a"), through(&unusable, "https://b")), (None, None), "it is not needed");
            let text = unusable.for_server(&"https://a".parse().unwrap()).unwrap_err().to_string();
            assert!(text.starts_with("https_proxy") && text.contains(&format!("{kind}://")) && !text.contains("hidden"), "{text}");
        }
    }
}
