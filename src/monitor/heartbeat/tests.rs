use super::*;
use crate::monitor::sample::{healthy, troubled};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

const NOW_NS: u64 = 1_800_000_000_000_000_000;

/// Takes one call and answers it. Returns its first line.
fn take(listener: &TcpListener, answer: &str) -> String {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).unwrap();
    while stream.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
    first
}

fn listening() -> (TcpListener, Uri) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/ping/secret-word", listener.local_addr().unwrap()).parse().unwrap();
    (listener, uri)
}

#[test]
fn the_file_says_when_and_how_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beat");
    let heartbeat = Heartbeat::new(Disk::SYSTEM, file.clone(), None).unwrap();
    heartbeat.beat(&healthy(NOW_NS), NOW_NS).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "2027-01-15T08:00:00Z safe\n");
    heartbeat.beat(&troubled(NOW_NS), NOW_NS).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "2027-01-15T08:00:00Z danger\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let nowhere = Heartbeat::new(Disk::SYSTEM, folder.path().join("none/beat"), None).unwrap();
    assert!(nowhere.beat(&healthy(NOW_NS), NOW_NS).unwrap_err().message.contains("none/beat"));
}

#[test]
fn somebody_is_called_while_nothing_is_in_danger() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, uri) = listening();
    let heartbeat = Heartbeat::new(Disk::SYSTEM, folder.path().join("beat"), Some(uri)).unwrap();
    let calls = std::thread::spawn(move || {
        let first = take(&listener, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK");
        let second = take(&listener, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
        (first, second, listener)
    });
    heartbeat.beat(&healthy(NOW_NS), NOW_NS).unwrap();
    let refused = heartbeat.beat(&healthy(NOW_NS), NOW_NS).unwrap_err();
    assert!(refused.message.contains("500") && !refused.message.contains("secret-word"), "{refused}");
    let (first, second, listener) = calls.join().unwrap();
    assert_eq!([first, second], ["GET /ping/secret-word HTTP/1.1\r\n"; 2]);
    // In danger nobody is called, so somebody comes and looks.
    listener.set_nonblocking(true).unwrap();
    heartbeat.beat(&troubled(NOW_NS), NOW_NS).unwrap();
    assert_eq!(listener.accept().map(|_| ()).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(listener);
    let gone = heartbeat.beat(&healthy(NOW_NS), NOW_NS).unwrap_err();
    assert!(gone.message.contains("efused") && !gone.message.contains("secret-word"), "{gone}");
}
