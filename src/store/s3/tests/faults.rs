//! Tests of how the S3 store handles requests that fail half-way, and uploads that an earlier
//! process left.

use super::*;
use crate::store::{KnownPart, Part};

fn noted(number: u32, content: &[u8], tag: Option<&str>) -> KnownPart {
    KnownPart { number, part: part_of(content), tag: tag.map(str::to_owned) }
}

fn xml(body: &str) -> Reply {
    Reply::Answer(200, Vec::new(), body.to_owned())
}

#[test]
fn bytes_that_arrived_changed_are_sent_again() {
    for code in ["XAmzContentSHA256Mismatch", "BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody"] {
        let server = Server::start(move |request, before| match before.iter().filter(|seen| seen.is("PUT", "a")).count() {
            0 if request.is("PUT", "a") => error(400, code),
            _ => Reply::Answer(200, vec![("etag", "\"e\"".to_owned())], String::new()),
        });
        assert_eq!(put(&server.store(), b"content"), Ok(PutOutcome::Created), "{code}");
        assert_eq!(server.count("PUT", "a"), 2);
    }
    let server = Server::start(|_, _| error(400, "XAmzContentSHA256Mismatch"));
    let changed = put(&server.store(), b"content");
    assert!(matches!(changed, Err(StoreError::Corrupted { .. })), "{changed:?}");
    assert_eq!(server.count("PUT", "a"), 3, "as often as anything");
}

#[test]
fn every_attempt_counts_for_how_much_runs_at_once() {
    let server = Server::start(|request, before| match before.iter().filter(|seen| seen.is("PUT", "a")).count() {
        0 if request.is("PUT", "a") => error(503, "SlowDown"),
        1 => Reply::Close,
        _ => answer(200),
    });
    let store = server.store();
    store.capabilities();
    let before = store.traffic();
    assert_eq!((before.transfers_max, before.retries), (4, 0));
    assert_eq!(put(&store, b"content"), Ok(PutOutcome::Created));
    let seen = store.traffic();
    assert_eq!((seen.attempts - before.attempts, seen.retries, seen.slow_downs, seen.lost), (3, 2, 1, 1));
    assert!(seen.transfers_max < 4, "{seen:?}");
}

/// A server whose every connection is handled by this function.
fn raw_server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> S3Store {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    let options = S3Options {
        endpoint: Some(endpoint),
        request_timeout: Duration::from_millis(400),
        attempts: 2,
        ..Server::start(|_, _| answer(500)).options()
    };
    let store = S3Store::open("bucket", "pre", &options).unwrap();
    let knows = crate::store::s3::Server { conditional_put: true, digest_checked: true };
    *store.shared.server.lock().unwrap() = Some(knows);
    store
}

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

/// More than the sockets' buffers take, so that what the server does not read is not sent.
const LARGE_BYTES: usize = 24 << 20;

#[test]
fn slow_is_not_stalled() {
    let store = raw_server(|mut stream| {
        read_head(&mut stream);
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..LARGE_BYTES / buffer.len() {
            std::thread::sleep(Duration::from_millis(40));
            stream.read_exact(&mut buffer).unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let content = contract::pattern(1, LARGE_BYTES);
    let began = Instant::now();
    assert_eq!(store.put("a", std::slice::from_ref(&content), &digest_of(&content)), Ok(PutOutcome::Created));
    assert!(began.elapsed() > Duration::from_millis(600), "longer than the time-out of a stall");
}

#[test]
fn stalls_end_in_time_in_both_directions() {
    let store = raw_server(|mut stream| {
        read_head(&mut stream);
        let mut buffer = vec![0; 1 << 20];
        stream.read_exact(&mut buffer).unwrap();
        std::thread::sleep(Duration::from_secs(10));
    });
    let content = contract::pattern(1, LARGE_BYTES);
    let began = Instant::now();
    let stalled = store.put("a", std::slice::from_ref(&content), &digest_of(&content));
    assert!(matches!(&stalled, Err(StoreError::Unavailable { reason, .. }) if reason.contains("time-out")), "{stalled:?}");
    let store = raw_server(|mut stream| {
        read_head(&mut stream);
        let head = "HTTP/1.1 206 x\r\ncontent-length: 10\r\ncontent-range: bytes 0-9/10\r\n\r\n12345";
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_secs(10));
    });
    let stalled = store.get_range("a", 0, 10);
    assert!(matches!(&stalled, Err(StoreError::Unavailable { reason, .. }) if reason.contains("time-out")), "{stalled:?}");
    assert!(store.traffic().lost > 0);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

fn listed_part(number: u32, content: &[u8], with_checksum: bool) -> String {
    let checksum =
        if with_checksum { format!("<ChecksumSHA256>{}</ChecksumSHA256>", base64::encode(digest_of(content))) } else { String::new() };
    let size = content.len();
    format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;e{number}&quot;</ETag><Size>{size}</Size>{checksum}</Part>")
}

/// Lists parts 1 and 2 on a page each, then joins them as `complete` says.
fn left_server(with_checksums: bool, complete: fn(&Request, &[Request]) -> Reply, head_checksum: Option<String>) -> Server {
    Server::start(move |request, before| match request.method.as_str() {
        "GET" if request.target.contains("part-number-marker=1") => {
            xml(&format!("<ListPartsResult>{}<IsTruncated>false</IsTruncated></ListPartsResult>", listed_part(2, b"22", with_checksums)))
        }
        "GET" => xml(&format!(
            "<ListPartsResult>{}<IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker></ListPartsResult>",
            listed_part(1, b"11", with_checksums)
        )),
        "POST" => complete(request, before),
        "HEAD" => match &head_checksum {
            Some(checksum) => head(4, &[("x-amz-checksum-sha256", checksum.clone())]),
            None => answer(404),
        },
        "DELETE" => answer(204),
        _ => answer(500),
    })
}

#[test]
fn parts_are_taken_over_from_all_pages() {
    for with_checksums in [true, false] {
        let server = left_server(with_checksums, |_, _| xml("<CompleteMultipartUploadResult/>"), Some("else".to_owned()));
        let store = server.store();
        let held = |known: &[KnownPart]| {
            let resumed = store.resume_multipart("a", "up", known).unwrap().unwrap();
            resumed.multipart.keep();
            resumed.held
        };
        assert_eq!(held(&[noted(1, b"11", Some("e1")), noted(2, b"22", Some("e2")), noted(3, b"33", Some("e3"))]), [1, 2]);
        assert_eq!(held(&[noted(1, b"11", Some("e2")), noted(2, b"22", Some("e2"))]), [2], "another tag");
        let by_digest: &[u32] = if with_checksums { &[1] } else { &[] };
        assert_eq!(held(&[noted(1, b"11", None), noted(2, b"33", None)]), by_digest);
        assert_eq!(server.count("DELETE", "a"), 0);
        let resumed = store.resume_multipart("a", "up", &[noted(2, b"22", Some("e2")), noted(1, b"11", Some("e1"))]).unwrap().unwrap();
        let parts: Vec<Part> = [b"11", b"22"].iter().map(|content| part_of(&content[..])).collect();
        assert_eq!(resumed.multipart.complete(&parts), Ok(PutOutcome::Created));
        let seen = server.seen.lock().unwrap();
        let joined = seen.iter().find(|request| request.method == "POST").unwrap();
        let joined = String::from_utf8(joined.body.clone()).unwrap();
        assert!(joined.contains(&base64::encode(digest_of(b"22"))) && joined.contains("e2"), "the server compares: {joined}");
    }
}

/// It is not known which process began the upload. The checksum over all parts shows whether the
/// object is this one.
#[test]
fn a_resumed_upload_that_was_joined_without_an_answer_is_ours() {
    let lost = |_: &Request, before: &[Request]| {
        if before.iter().any(|request| request.method == "POST") { error(404, "NoSuchUpload") } else { Reply::Close }
    };
    let parts: Vec<Part> = [b"11", b"22"].iter().map(|content| part_of(&content[..])).collect();
    let composed = base64::encode(digest_of(&[digest_of(b"11"), digest_of(b"22")].concat()));
    let complete = |checksum: Option<String>| {
        let server = left_server(true, lost, checksum);
        let known = [noted(1, b"11", None), noted(2, b"22", None)];
        server.store().resume_multipart("a", "up", &known).unwrap().unwrap().multipart.complete(&parts)
    };
    assert_eq!(complete(Some(format!("{composed}-2"))), Ok(PutOutcome::Created));
    assert!(matches!(complete(Some(format!("{composed}-3"))), Err(StoreError::Unavailable { .. })), "the next run finds the name taken");
    assert!(matches!(complete(None), Err(StoreError::Unavailable { .. })));
}

#[test]
fn what_cannot_be_joined_now_is_kept() {
    let server = left_server(true, |_, _| error(503, "SlowDown"), None);
    let known = [noted(1, b"11", None), noted(2, b"22", None)];
    let resumed = server.store().resume_multipart("a", "up", &known).unwrap().unwrap();
    let parts: Vec<Part> = [b"11", b"22"].iter().map(|content| part_of(&content[..])).collect();
    assert!(matches!(resumed.multipart.complete(&parts), Err(StoreError::Unavailable { .. })));
    assert_eq!(server.count("DELETE", "a"), 0, "a later run goes on with it");
}

#[test]
fn uploads_that_are_gone_or_never_end_are_told_apart() {
    for code in ["NoSuchUpload", "NoSuchKey"] {
        let server = Server::start(move |_, _| error(404, code));
        assert!(server.store().resume_multipart("a", "up", &[]).unwrap().is_none());
        assert_eq!(server.store().abort_upload("a", "up"), Ok(()));
    }
    let server = Server::start(|_, _| error(403, "AccessDenied"));
    assert!(matches!(server.store().resume_multipart("a", "up", &[]).err(), Some(StoreError::Refused { .. })));
    let server = Server::start(|_, _| {
        xml("<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker></ListPartsResult>")
    });
    let endless = server.store().resume_multipart("a", "up", &[]).err();
    assert!(matches!(endless, Some(StoreError::Refused { .. })), "{endless:?}");
    let server = Server::start(|_, _| {
        xml("<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker></ListMultipartUploadsResult>")
    });
    assert!(matches!(server.store().unfinished(""), Err(StoreError::Refused { .. })));
}

#[test]
fn uploads_of_others_are_not_listed() {
    let server = Server::start(|request, _| {
        let upload = |key: &str, id: &str| {
            format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>2026-11-22T00:00:00Z</Initiated></Upload>")
        };
        let (uploads, more) = if request.target.contains("upload-id-marker=2") {
            (upload("pre/a/z", "3") + &upload("pre/a/Strange", "4") + &upload("pre/a/y", ""), "<IsTruncated>false</IsTruncated>")
        } else {
            let more = "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>";
            (upload("pre/a/b", "1") + &upload("prefix/a/b", "2") + &upload("pre/c", "5") + &upload("a/b", "6"), more)
        };
        xml(&format!("<ListMultipartUploadsResult>{uploads}{more}</ListMultipartUploadsResult>"))
    });
    let found = server.store().unfinished("a/").unwrap();
    let reported: Vec<(&str, &str)> = found.iter().map(|upload| (upload.name.as_str(), upload.upload_id.as_str())).collect();
    assert_eq!(reported, [("a/b", "1"), ("a/z", "3")]);
    assert_eq!(found[0].began_ns, Some(1_795_305_600_000_000_000));
    assert!(server.seen.lock().unwrap()[0].target.contains("prefix=pre%2Fa%2F"));
}
