//! A server that speaks no newer TLS than 1.2. It answers everything with HTTP status 200 and is
//! not an S3 server.

use super::seaweed::write_certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// The server; it ends when dropped.
pub struct OldTls {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    folder: TempDir,
}

impl OldTls {
    /// Starts it on a free port.
    pub fn start() -> OldTls {
        let folder = super::folder("old-tls");
        write_certificates(folder.path());
        let certificate = CertificateDer::from_pem_file(folder.path().join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, stop) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // The purpose of this server is that a client refuses the handshake.
                let _ = answer(stream, &config);
            }
        });
        OldTls { port, stop, thread: Some(thread), folder }
    }

    /// `https://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// PEM file of its certificate authority.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }
}

fn answer(mut stream: TcpStream, config: &Arc<rustls::ServerConfig>) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut connection = rustls::ServerConnection::new(Arc::clone(config))?;
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    let mut request = [0; 4096];
    let mut length = 0;
    while !request[..length].windows(4).any(|window| window == b"\r\n\r\n") {
        match tls.read(&mut request[length..])? {
            0 => return Ok(()),
            more => length += more,
        }
    }
    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 12\r\nconnection: close\r\n\r\n<p>hello</p>")?;
    tls.conn.send_close_notify();
    tls.flush()?;
    Ok(())
}

impl Drop for OldTls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its wait.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
