//! Tests of the S3 store against a server of a few lines that answers what a test sets. They check
//! what is sent over the wire, and how the store handles answers that a good server does not give.

mod credentials;
mod faults;

use super::*;
use crate::store::contract::{self, digest_of, part_of};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

/// One request as it arrived.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    /// Path and query.
    target: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn is(&self, method: &str, name: &str) -> bool {
        self.method == method && self.target.split('?').next() == Some(&format!("/bucket/pre/{name}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

enum Reply {
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The connection ends without an answer.
    Close,
    /// Nothing, until the client gives up.
    Stall,
    /// This many bytes of a body that should be longer.
    Cut(u64, usize),
}

fn answer(status: u16) -> Reply {
    Reply::Answer(status, Vec::new(), String::new())
}

fn error(status: u16, code: &str) -> Reply {
    Reply::Answer(status, Vec::new(), format!("<Error><Code>{code}</Code><Message>said so</Message></Error>"))
}

type Handler = dyn Fn(&Request, &[Request]) -> Reply + Send + Sync;

/// A server whose answers come from `handler`, which sees the request and those before it.
struct Server {
    endpoint: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(handler: impl Fn(&Request, &[Request]) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                std::thread::spawn(move || serve(stream, handler.as_ref(), &log));
            }
        });
        Server { endpoint, seen }
    }

    fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.endpoint.clone()),
            access_key: Some(AccessKey {
                access_key_id: "id".to_owned(),
                secret_access_key: "very-secret".to_owned(),
                session_token: Some("hidden-token".to_owned()),
            }),
            attempts: 3,
            request_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(20),
            ..S3Options::default()
        }
    }

    fn store(&self) -> S3Store {
        S3Store::open("bucket", "pre", &self.options()).unwrap()
    }

    fn count(&self, method: &str, name: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|request| request.is(method, name)).count()
    }
}

fn serve(stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.clone();
            log.push(request.clone());
            before
        };
        let (head, body) = match probe_answer(&request).unwrap_or_else(|| handler(&request, &before)) {
            Reply::Close => return,
            Reply::Stall => return std::thread::sleep(Duration::from_secs(5)),
            Reply::Cut(length, sent) => {
                let head = format!("HTTP/1.1 206 x\r\ncontent-length: {length}\r\ncontent-range: bytes 0-{}/{length}\r\n\r\n", length - 1);
                let _ = writer.write_all(&[head.as_bytes(), &vec![b'x'; sent]].concat());
                return;
            }
            Reply::Answer(status, headers, body) => {
                let length = headers.iter().any(|(name, _)| *name == "content-length");
                let mut head = format!("HTTP/1.1 {status} x\r\n");
                if !length {
                    head.push_str(&format!("content-length: {}\r\n", body.len()));
                }
                headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                (head, body)
            }
        };
        let body = if request.method == "HEAD" { String::new() } else { body };
        if writer.write_all(format!("{head}\r\n{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body })
}

/// The probe finds a server that refuses to overwrite and checks digests; the marks say that it
/// lists in order.
fn probe_answer(request: &Request) -> Option<Reply> {
    if request.target.contains("prefix=pre%2F.tmp%2Forder%2F") {
        let keys = super::list::MARKS.map(|mark| format!(".tmp/{mark}"));
        return Some(listing(&[&keys[0], &keys[1]], None));
    }
    match request.method.as_str() {
        "PUT" if request.is("PUT", ".tmp/probe") => Some(error(412, "PreconditionFailed")),
        "HEAD" if request.is("HEAD", ".tmp/probe") => Some(head(1, &[("x-amz-checksum-sha256", "x".to_owned())])),
        _ => None,
    }
}

fn listing(names: &[&str], next: Option<&str>) -> Reply {
    let keys: String = names.iter().map(|name| format!("<Contents><Key>pre/{name}</Key><Size>1</Size></Contents>")).collect();
    let more = next.map_or("<IsTruncated>false</IsTruncated>".to_owned(), |next| {
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>")
    });
    Reply::Answer(200, Vec::new(), format!("<ListBucketResult>{keys}{more}</ListBucketResult>"))
}

fn head(size: u64, headers: &[(&'static str, String)]) -> Reply {
    let mut all = vec![("content-length", size.to_string())];
    all.extend_from_slice(headers);
    Reply::Answer(200, all, String::new())
}

fn put(store: &S3Store, content: &'static [u8]) -> Result<PutOutcome, StoreError> {
    let half = content.len() / 2;
    store.put("a", &[Bytes::from_static(&content[..half]), Bytes::from_static(&content[half..])], &digest_of(content))
}

#[test]
fn one_digest_goes_over_the_wire() {
    let server = Server::start(|_, _| answer(200));
    let store = server.store();
    assert_eq!(put(&store, b"content"), Ok(PutOutcome::Created));
    let seen = server.seen.lock().unwrap();
    let request = seen.iter().find(|request| request.is("PUT", "a")).unwrap();
    assert_eq!(request.body, b"content");
    assert_eq!(request.header("content-length"), "7");
    assert_eq!(request.header("if-none-match"), "*");
    assert_eq!(request.header("x-amz-content-sha256"), hex(&digest_of(b"content")));
    assert_eq!(request.header("x-amz-checksum-sha256"), base64::encode(digest_of(b"content")));
    for absent in
        ["content-encoding", "transfer-encoding", "x-amz-trailer", "x-amz-decoded-content-length", "x-amz-checksum-crc32", "expect"]
    {
        assert_eq!(request.header(absent), "", "{absent}");
    }
    assert!(request.header("authorization").contains("x-amz-content-sha256"), "the digest is signed");
    assert_eq!(store.capabilities(), Capabilities { conditional_put: true, digest_checked: true });
    let shown = format!("{store:?} {:?}", server.options());
    assert!(!shown.contains("very-secret") && !shown.contains("hidden-token"), "{shown}");
}

/// The first attempt does its work but its answer is lost; the second finds the name taken.
#[test]
fn a_put_that_landed_without_an_answer_is_ours() {
    type Headers = fn(&Request) -> Vec<(&'static str, String)>;
    let cases: [(Headers, PutOutcome); 4] = [
        (|put| vec![("x-amz-meta-amber-put", put.header("x-amz-meta-amber-put").to_owned())], PutOutcome::Created),
        (|_| vec![("x-amz-meta-amber-put", "another".to_owned())], PutOutcome::AlreadyExists),
        (|put| vec![("x-amz-checksum-sha256", put.header("x-amz-checksum-sha256").to_owned())], PutOutcome::Created),
        (|_| Vec::new(), PutOutcome::AlreadyExists),
    ];
    for (headers, outcome) in cases {
        let server = Server::start(move |request, before| {
            let first = before.iter().find(|request| request.is("PUT", "a"));
            match (request.method.as_str(), first) {
                ("PUT", None) => Reply::Close,
                ("PUT", Some(_)) => error(412, "PreconditionFailed"),
                ("HEAD", Some(first)) => head(7, &headers(first)),
                _ => answer(500),
            }
        });
        assert_eq!(put(&server.store(), b"content"), Ok(outcome));
        assert_eq!(server.count("PUT", "a"), 2);
    }
    // A first attempt that is answered is certain: no HEAD follows.
    let server = Server::start(|_, _| error(412, "PreconditionFailed"));
    assert_eq!(put(&server.store(), b"content"), Ok(PutOutcome::AlreadyExists));
    assert_eq!(server.count("HEAD", "a"), 0);
}

#[test]
fn conflicts_and_overload_are_tried_again_within_bounds() {
    let server = Server::start(|_, before| match before.iter().filter(|request| request.is("PUT", "a")).count() {
        0 => error(409, "ConditionalRequestConflict"),
        1 => error(503, "SlowDown"),
        _ => answer(200),
    });
    assert_eq!(put(&server.store(), b"content"), Ok(PutOutcome::Created));
    let server = Server::start(|_, _| error(503, "SlowDown"));
    let refused = put(&server.store(), b"content").unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable { reason, .. } if reason.contains("fewer requests")), "{refused}");
    assert_eq!(server.count("PUT", "a"), 3);
    let server = Server::start(|_, _| error(409, "ConditionalRequestConflict"));
    assert!(matches!(put(&server.store(), b"content"), Err(StoreError::Unavailable { .. })));
    assert_eq!(server.count("PUT", "a"), 1 + CONFLICTS_MAX as usize);
}

#[test]
fn changed_bytes_are_corrupted_and_a_no_is_refused() {
    let server =
        Server::start(|_, _| Reply::Answer(200, vec![("x-amz-checksum-sha256", base64::encode(digest_of(b"changed")))], String::new()));
    assert!(matches!(put(&server.store(), b"content"), Err(StoreError::Corrupted { .. })));
    let server = Server::start(|_, _| error(400, "XAmzContentChecksumMismatch"));
    assert!(matches!(put(&server.store(), b"content"), Err(StoreError::Corrupted { .. })));
    let server = Server::start(|_, _| error(403, "AccessDenied"));
    let refused = put(&server.store(), b"content").unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason, .. } if reason.contains("s3:PutObject")), "{refused}");
    assert_eq!(server.count("PUT", "a"), 1, "a no is not asked again");
    assert!(matches!(server.store().delete("a"), Err(StoreError::Refused { .. })));
    let server = Server::start(|_, _| error(404, "NoSuchBucket"));
    let refused = put(&server.store(), b"content").unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason, .. } if reason.contains("make the bucket")), "{refused}");
}

#[test]
fn a_missing_bucket_is_no_missing_object() {
    let server = Server::start(|_, _| answer(404));
    let refused = server.store().size_bytes("a").unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason, .. } if reason.contains("no such bucket")), "{refused}");
    for bucket_status in [200, 403] {
        let server =
            Server::start(move |request, _| if request.target.starts_with("/bucket/pre/") { answer(404) } else { answer(bucket_status) });
        let store = server.store();
        assert_eq!(store.size_bytes("a"), Ok(None));
        assert_eq!(store.size_bytes("a"), Ok(None));
        assert_eq!(server.seen.lock().unwrap().len(), 3, "the bucket is asked for once");
    }
}

#[test]
fn ranges_are_checked() {
    let server = Server::start(|request, before| match before.len() {
        0 => Reply::Cut(10, 4),
        _ if request.header("range") == "bytes=0-9" => {
            Reply::Answer(206, vec![("content-range", "bytes 0-9/20".to_owned())], "0123456789".to_owned())
        }
        _ => answer(500),
    });
    assert_eq!(server.store().get_range("a", 0, 10).unwrap(), &b"0123456789"[..], "a cut body is asked for again");
    assert_eq!(server.count("GET", "a"), 2);
    let other = |range: &'static str, body: &'static str| {
        Server::start(move |request, _| match request.method.as_str() {
            "HEAD" => head(10, &[]),
            _ => Reply::Answer(206, vec![("content-range", range.to_owned())], body.to_owned()),
        })
    };
    let moved = other("bytes 1-4/10", "1234").store().get_range("a", 0, 4);
    assert!(matches!(moved, Err(StoreError::Refused { .. })), "{moved:?}");
    let short = other("bytes 8-9/10", "89").store().get_range("a", 8, 4);
    assert!(matches!(short, Err(StoreError::Short { size_bytes: 10, offset: 8, end: 12, .. })), "{short:?}");
    let server = Server::start(|_, _| answer(200));
    assert!(matches!(server.store().get_range("a", u64::MAX, 2), Err(StoreError::Short { size_bytes: 0, .. })));
    let server = Server::start(|_, _| Reply::Cut(10, 4));
    let cut = server.store().get_range("a", 0, 10);
    assert!(matches!(cut, Err(StoreError::Unavailable { .. })), "{cut:?}");
    assert_eq!(server.count("GET", "a"), 3);
}

#[test]
fn time_is_bounded() {
    let server = Server::start(|_, _| Reply::Stall);
    let options = S3Options { request_timeout: Duration::from_millis(100), attempts: 2, ..server.options() };
    let began = Instant::now();
    let late = S3Store::open("bucket", "pre", &options).unwrap().get_range("a", 0, 1).unwrap_err();
    assert!(matches!(&late, StoreError::Unavailable { reason, .. } if reason.contains("time-out")), "{late}");
    let options = S3Options { deadline: Duration::from_millis(300), ..server.options() };
    let late = S3Store::open("bucket", "pre", &options).unwrap().size_bytes("a").unwrap_err();
    assert!(matches!(&late, StoreError::Unavailable { reason, .. } if reason.contains("not done within")), "{late}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let gone = S3Options { endpoint: Some("http://127.0.0.1:1".to_owned()), attempts: 2, ..server.options() };
    let store = S3Store::open("bucket", "pre", &gone).unwrap();
    let refused = store.list("", None, 1).unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable { reason, .. } if reason.contains("refused")), "{refused}");
    assert_eq!(store.capabilities(), Capabilities { conditional_put: false, digest_checked: false });
}

#[test]
fn options_are_checked() {
    let good = Server::start(|_, _| answer(200)).options();
    for bad in [
        S3Options { endpoint: Some("https://key:very-secret@host".to_owned()), ..good.clone() },
        S3Options { endpoint: Some("host:9000".to_owned()), ..good.clone() },
        S3Options { attempts: 0, ..good.clone() },
        S3Options { ca_file: Some("/does/not/exist".into()), ..good.clone() },
    ] {
        let refused = S3Store::open("bucket", "", &bad).unwrap_err();
        assert!(matches!(refused, StoreError::Refused { action: "open", .. }), "{refused}");
        assert!(!refused.to_string().contains("very-secret"), "{refused}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(async { S3Store::open("bucket", "", &good) }).unwrap_err();
    assert!(refused.to_string().contains("async task"), "{refused}");
}

#[test]
fn servers_without_conditions_are_asked_first() {
    for status in [200, 501] {
        let server = Server::start(move |request, _| match request.method.as_str() {
            "HEAD" if request.is("HEAD", "a") => answer(404),
            "HEAD" => head(1, &[]),
            _ if status == 501 && !request.header("if-none-match").is_empty() => error(501, "NotImplemented"),
            _ => answer(200),
        });
        let lax = super::Server { conditional_put: false, digest_checked: false };
        let store = server.store();
        *store.shared.server.lock().unwrap() = Some(lax);
        assert_eq!(put(&store, b"content"), Ok(PutOutcome::Created));
        assert_eq!(store.put("taken", &[], &digest_of(b"")), Ok(PutOutcome::AlreadyExists));
        assert_eq!(server.count("PUT", "taken"), 0);
        // The caller digested the body once. A server that compares nothing is sent that digest,
        // and nobody computes another one.
        assert_eq!(store.put("a", &[Bytes::from_static(b"content")], &digest_of(b"else")), Ok(PutOutcome::Created));
        assert_eq!(server.seen.lock().unwrap().last().unwrap().header("x-amz-content-sha256"), crate::store::hex(&digest_of(b"else")));
    }
}

#[test]
fn listings_that_break_the_order_are_walked_folder_by_folder() {
    let server = Server::start(|request, _| {
        let by_folder = request.target.contains("delimiter=%2F");
        match by_folder {
            false if request.target.contains("continuation-token=go") => listing(&["b", "a"], None),
            false => listing(&["a"], Some("go")),
            true => listing(&["b", "a", ".tmp/x", "Strange"], None),
        }
    });
    let names: Vec<String> = server.store().list("", None, 10).unwrap().into_iter().map(|object| object.name).collect();
    assert_eq!(names, ["a", "b"]);
    let endless = Server::start(|_, _| listing(&[], Some("same")));
    let refused = endless.store().list("", None, 10);
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}

fn multipart_server(complete: fn(&Request, &[Request]) -> Reply, joined: u64) -> Server {
    Server::start(move |request, before| {
        let began = before.iter().find(|request| request.target.contains("?uploads"));
        match request.method.as_str() {
            "POST" if request.target.contains("?uploads") => {
                let body = "<InitiateMultipartUploadResult><UploadId>up</UploadId></InitiateMultipartUploadResult>";
                Reply::Answer(200, Vec::new(), body.to_owned())
            }
            "PUT" if request.body == b"no etag" => answer(200),
            "PUT" if request.body == b"changed" => {
                Reply::Answer(200, vec![("x-amz-checksum-sha256", base64::encode(digest_of(b"else")))], String::new())
            }
            "PUT" => Reply::Answer(200, vec![("etag", "\"e\"".to_owned())], String::new()),
            "POST" => complete(request, before),
            "HEAD" => match began {
                Some(began) if joined > 0 => head(joined, &[("x-amz-meta-amber-put", began.header("x-amz-meta-amber-put").to_owned())]),
                _ => answer(404),
            },
            "DELETE" => answer(204),
            _ => answer(500),
        }
    })
}

#[test]
fn joining_is_checked_and_what_is_left_is_given_back() {
    let lost = |_: &Request, before: &[Request]| {
        let again = before.iter().any(|request| request.method == "POST" && request.target.contains("uploadId"));
        if again { error(404, "NoSuchUpload") } else { Reply::Close }
    };
    let run = |server: &Server| {
        let upload = server.store().begin_multipart("a").unwrap();
        upload.part(1, &[Bytes::from_static(b"content")], &digest_of(b"content")).unwrap();
        upload.complete(&[part_of(b"content")])
    };
    let aborted = |server: &Server| server.count("DELETE", "a");
    let answered: fn(&Request, &[Request]) -> Reply = |_, _| {
        let done = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";
        Reply::Answer(200, Vec::new(), done.to_owned())
    };
    let server = multipart_server(answered, 7);
    assert_eq!(run(&server), Ok(PutOutcome::Created));
    assert_eq!(aborted(&server), 0);
    let server = multipart_server(answered, 8);
    assert!(matches!(run(&server), Err(StoreError::Corrupted { .. })), "the joined object has another size");
    assert_eq!(aborted(&server), 1);
    assert!(matches!(run(&multipart_server(answered, 0)), Err(StoreError::Unavailable { .. })), "joined, but not there");
    assert_eq!(run(&multipart_server(lost, 7)), Ok(PutOutcome::Created), "joined by the attempt without an answer");
    let server = multipart_server(lost, 0);
    assert!(
        matches!(run(&server), Err(StoreError::Unavailable { .. })),
        "the upload is gone and so are its parts: the next run sends them"
    );
    let server = multipart_server(|_, _| error(412, "PreconditionFailed"), 0);
    assert_eq!(run(&server), Ok(PutOutcome::AlreadyExists));
    assert_eq!(aborted(&server), 1);
    let server = multipart_server(|_, _| error(200, "InternalError"), 0);
    assert!(matches!(run(&server), Err(StoreError::Unavailable { .. })), "an error with status 200");
    let store = server.store();
    let upload = store.begin_multipart("b").unwrap();
    assert!(matches!(upload.part(1, &[Bytes::from_static(b"no etag")], &digest_of(b"no etag")), Err(StoreError::Refused { .. })));
    assert!(matches!(upload.part(1, &[Bytes::from_static(b"changed")], &digest_of(b"changed")), Err(StoreError::Corrupted { .. })));
    drop(upload);
    assert_eq!(server.count("DELETE", "b"), 1);
}
