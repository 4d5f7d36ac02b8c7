//! A collector that goes away and comes back.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

/// Takes a request, and answers it.
fn take(listener: &TcpListener, answer: &str) {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line).unwrap() > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
}

#[test]
fn it_sends_again_and_again_until_it_is_stopped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/v1/metrics", listener.local_addr().unwrap()).parse().unwrap();
    let plan = TelemetryPlan { uri, interval: Duration::from_millis(20) };
    let (live, stop) = (Arc::new(Live::default()), Stop::default());
    start(None, &live, &stop).unwrap();
    assert_eq!(Arc::strong_count(&live), 1, "without a collector there is nobody to send");
    start(Some(&plan), &live, &stop).unwrap();
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        take(&listener, answer);
    }
    stop.ask();
    drop(listener);
    // The thread has dropped its reference to the status, so it has ended.
    while Arc::strong_count(&live) > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
}
