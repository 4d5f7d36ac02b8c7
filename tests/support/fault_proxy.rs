//! `tools/fault-proxy` in front of a real server: for the same seed it does the same to requests
//! each time.

use super::folder;
use super::seaweed::Seaweed;
use amber::demo::Guarded;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const READY: &str = "listening on ";

/// A running proxy, killed when dropped.
pub struct FaultProxy {
    process: Guarded,
    address: String,
    // The last field: it is dropped after the proxy is gone.
    _folder: TempDir,
}

impl FaultProxy {
    /// Starts a proxy in front of `server`; the tool's help describes `arguments`.
    pub fn start(server: &Seaweed, arguments: &[&str]) -> FaultProxy {
        let place = folder("fault-proxy");
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fault-proxy"));
        command.args(["--upstream", &server.endpoint()]).args(arguments);
        let mut process = Guarded::spawn("fault-proxy", &command, &place.path().join("log")).unwrap();
        process.wait_until(Duration::from_secs(20), |log| log.contains(READY)).unwrap();
        let log = process.log_text();
        let address = log.split(READY).nth(1).and_then(|rest| rest.lines().next()).unwrap().to_owned();
        FaultProxy { process, address, _folder: place }
    }

    /// URL of the server behind it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests it saw, and how many of them met each kind of fault.
    pub fn reported(&self) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(b"GET /__faults HTTP/1.1\r\nHost: proxy\r\n\r\n").unwrap();
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while !said.ends_with(b"}}") {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "{}", self.process.log_text());
            said.extend_from_slice(&buffer[..length]);
        }
        let text = String::from_utf8(said).unwrap();
        serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    /// The kinds of fault that have not happened yet.
    pub fn missing(&self) -> Vec<String> {
        let reported = self.reported();
        let faults = reported["faults"].as_object().unwrap();
        faults.iter().filter(|(_, count)| **count == 0).map(|(kind, _)| kind.clone()).collect()
    }
}
