//! A collector that accepts OTLP over HTTP and nothing else, and collectors that do not answer.

use super::*;
use crate::error::Kind;
use crate::monitor::sample::healthy;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

const NOW_NS: u64 = 1_800_000_000_000_000_000;

/// Answers one request with `answer`, and returns the request.
fn collector(answer: &'static str) -> (Uri, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/v1/metrics", listener.local_addr().unwrap()).parse().unwrap();
    let serving = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let (mut head, mut length, mut is_json) = (String::new(), 0, false);
        stream.read_line(&mut head).unwrap();
        assert_eq!(head, "POST /v1/metrics HTTP/1.1\r\n");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("content-type", value)) => is_json = value == "application/json",
                Some(_) => {}
                None => break,
            }
        }
        assert!(is_json);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        String::from_utf8(body).unwrap()
    });
    (uri, serving)
}

#[test]
fn a_collector_takes_the_metrics() {
    let (uri, serving) = collector("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
    let status = healthy(NOW_NS);
    Exporter::new(uri).unwrap().send(&status).unwrap();
    assert_eq!(serving.join().unwrap(), metrics::request(&status).to_string());
}

#[test]
fn a_collector_that_does_not_is_named_with_what_it_said() {
    let (uri, serving) = collector("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let place = uri.to_string();
    let error = Exporter::new(uri).unwrap().send(&healthy(NOW_NS)).unwrap_err();
    assert_eq!(error.kind, Kind::TryAgain);
    assert!(error.message.contains(&place) && error.message.contains("503"), "{error}");
    serving.join().unwrap();
    // Nobody is there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Exporter::new(format!("http://{closed}/v1/metrics").parse().unwrap()).unwrap().send(&healthy(NOW_NS)).unwrap_err();
    assert!(error.message.contains("does not take the metrics") && error.message.contains("efused"), "{error}");
}
