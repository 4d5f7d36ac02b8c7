//! The page over TLS: a client with a certificate of the right authority can read, and any other
//! gets no answer.

use super::*;
use crate::monitor::live::Live;
use crate::monitor::sample::healthy;
use crate::monitor::web::access::Access;
use crate::monitor::web::{Options, Server};
use crate::units::now_ns;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key in PEM.
fn signed(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The answer that a client gets, with or without a certificate of its own.
fn ask(address: &str, authority: &Authority, own: Option<&(String, String)>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    stream.write_all(b"GET /api/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn only_clients_of_the_authority_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (pages, clients, strangers) = (authority("pages"), authority("clients"), authority("strangers"));
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (certificate, key) = signed(&pages, "localhost");
    let files = Files {
        certificate: write("page.pem", &certificate),
        key: write("page.key", &key),
        client_authority: Some(write("clients.pem", &clients.pem())),
    };
    let live = Arc::new(Live::default());
    live.publish(healthy(now_ns()));
    let access = Access { token: None, open_to_read: true, host_names: Vec::new() };
    let options = Options { listen: "127.0.0.1:0".parse().unwrap(), access, tls: Some(load(&files).unwrap()) };
    let _server = Server::start(options, &live, Box::new(|_| {})).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while live.page().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let page = live.page();
    let address = page.strip_prefix("https://").unwrap().trim_end_matches('/');
    let answer = ask(address, &pages, Some(&signed(&clients, "somebody"))).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("4812330"), "{answer}");
    for own in [None, Some(signed(&strangers, "somebody"))] {
        let heard = ask(address, &pages, own.as_ref());
        assert!(heard.as_ref().map_or(true, String::is_empty), "{heard:?}");
    }
    // A plain HTTP request gets no HTTP answer.
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
