//! An HTTP proxy that makes tunnels (CONNECT) and counts them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The proxy; it runs until the process ends.
pub struct Tunnels {
    address: String,
    made: Arc<AtomicUsize>,
}

impl Tunnels {
    /// Starts it on a free port.
    pub fn start() -> Tunnels {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let made = Arc::clone(&counted);
                // A connection that breaks is the business of its two ends.
                std::thread::spawn(move || drop(tunnel(client, &made)));
            }
        });
        Tunnels { address, made }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many tunnels it made.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

fn tunnel(mut client: TcpStream, made: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let Some(server) = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n");
    };
    let server = TcpStream::connect(server)?;
    made.fetch_add(1, Ordering::SeqCst);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut to_server = server;
    let _ = std::io::copy(&mut client, &mut to_server);
    to_server.shutdown(Shutdown::Both)
}
