//! Tests of how the S3 store handles refused credentials, wrong clocks, proxies, and what the
//! environment says.

use super::*;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::time::SystemTime;
use tempfile::TempDir;

/// The date of an answer by a clock that is off by this much.
fn date(off_s: i64) -> (&'static str, String) {
    let time = DateTime::from_secs(DateTime::from(SystemTime::now()).secs() + off_s);
    ("date", time.fmt(Format::HttpDate).unwrap())
}

/// A refusal; that of a HEAD is sent without its body.
fn refusal(status: u16, code: &str, off_s: i64) -> Reply {
    Reply::Answer(status, vec![date(off_s)], format!("<Error><Code>{code}</Code><Message>said so</Message></Error>"))
}

fn signed_at(request: &Request) -> i64 {
    let date = request.header("x-amz-date");
    let iso = format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..8], &date[9..11], &date[11..13], &date[13..15]);
    DateTime::from_str(&iso, Format::DateTime).unwrap().secs()
}

/// A home whose profile `p` takes credentials from a process that gives the content of a file.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("given");
        let config = format!("[profile p]\ncredential_process = /bin/cat {}\nregion = r\n[profile empty]\nregion = r\n", given.display());
        std::fs::write(folder.path().join("config"), config).unwrap();
        Home { folder }
    }

    /// The credentials that the provider gives from now on.
    fn give(&self, token: &str) {
        let credentials = format!(r#"{{"Version":1,"AccessKeyId":"id","SecretAccessKey":"secret","SessionToken":"{token}"}}"#);
        std::fs::write(self.folder.path().join("given"), credentials).unwrap();
    }

    fn environment(&self, more: &[(&str, &str)]) -> Environment {
        let config = ("AWS_CONFIG_FILE".to_owned(), self.folder.path().join("config").display().to_string());
        let credentials = ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), self.folder.path().join("none").display().to_string());
        let others = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment::of(others.chain([config, credentials]))
    }

    fn store(&self, server: &Server, profile: &str) -> S3Store {
        let options = S3Options { access_key: None, profile: Some(profile.to_owned()), ..server.options() };
        S3Store::open_within("bucket", "pre", &options, &self.environment(&[])).unwrap()
    }
}

#[test]
fn a_refused_head_is_explained_by_a_get() {
    for (status, code, words) in [
        (403, "SignatureDoesNotMatch", "the secret access key is not the one"),
        (403, "InvalidAccessKeyId", "does not know the access key"),
        (403, "AccessDenied", "allow these credentials to s3:GetObject"),
        (400, "AuthorizationHeaderMalformed", "set the Region"),
    ] {
        let server = Server::start(move |_, _| refusal(status, code, 0));
        let refused = server.store().size_bytes("a").unwrap_err();
        let StoreError::Refused { reason, .. } = &refused else { panic!("{refused:?}") };
        assert!(reason.starts_with(&format!("{code}: said so; ")) && reason.contains(words) && !reason.contains("clock"), "{reason}");
        assert_eq!((server.count("HEAD", "a"), server.count("GET", "a")), (1, if code == "InvalidAccessKeyId" { 2 } else { 1 }), "{code}");
    }
    let server = Server::start(|_, _| answer(403));
    let refused = server.store().size_bytes("a").unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { reason, .. } if reason.contains("does not say why")), "{refused}");
    let server = Server::start(|request, _| if request.method == "HEAD" { answer(403) } else { answer(404) });
    let refused = server.store().size_bytes("a").unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert_eq!(server.count("HEAD", "a"), 3, "that a GET is answered may be news");
}

#[test]
fn a_head_that_took_too_long_is_sent_again() {
    for status in [400, 403] {
        let server = Server::start(move |request, before| {
            match before.iter().filter(|seen| seen.method == "HEAD" && seen.is("HEAD", "a")).count() {
                0 if request.method == "HEAD" => refusal(status, "RequestTimeout", 0),
                _ if request.method == "HEAD" => head(7, &[]),
                _ => refusal(400, "RequestTimeout", 0),
            }
        });
        let late = server.store().size_bytes("a");
        assert!(matches!(&late, Err(StoreError::Unavailable { reason, .. }) if reason.contains("RequestTimeout")), "{late:?}");
        let server = Server::start(move |request, before| match before.len() {
            0 => refusal(status, "RequestTimeout", 0),
            _ if request.method == "HEAD" => head(7, &[]),
            _ => Reply::Answer(206, vec![("content-range", "bytes 0-0/7".to_owned())], "x".to_owned()),
        });
        assert_eq!(server.store().size_bytes("a"), Ok(Some(7)));
    }
}

/// The server compares each signature's time with a clock that is 20 minutes ahead of ours.
#[test]
fn a_wrong_clock_is_made_up_for() {
    let server = Server::start(|request, _| {
        let off_s = signed_at(request) - DateTime::from(SystemTime::now()).secs();
        match request.method.as_str() {
            _ if (off_s - 1200).abs() > 900 => refusal(403, "RequestTimeTooSkewed", 1200),
            "HEAD" => Reply::Answer(200, vec![date(1200), ("content-length", "7".to_owned())], String::new()),
            _ => Reply::Answer(206, vec![date(1200), ("content-range", "bytes 0-0/7".to_owned())], "x".to_owned()),
        }
    });
    assert_eq!(server.store().size_bytes("a"), Ok(Some(7)));
}

#[test]
fn a_wrong_clock_is_named_with_its_direction() {
    for (off_s, words) in [(1200, "clock is 20 minutes behind the server's"), (-1200, "clock is 20 minutes ahead of the server's")] {
        let server = Server::start(move |_, _| refusal(403, "RequestTimeTooSkewed", off_s));
        for failed in [server.store().size_bytes("a").unwrap_err(), server.store().list("", None, 1).unwrap_err()] {
            assert!(matches!(&failed, StoreError::Unavailable { reason, .. } if reason.contains(words)), "{failed}");
        }
    }
    let server = Server::start(|_, _| Reply::Answer(403, vec![date(1200)], String::new()));
    let failed = server.store().size_bytes("a").unwrap_err();
    assert!(failed.to_string().contains("20 minutes behind"), "no body anywhere: {failed}");
    let server = Server::start(|_, _| refusal(403, "RequestTimeTooSkewed", 0));
    let failed = server.store().list("", None, 1).unwrap_err();
    assert!(matches!(&failed, StoreError::Unavailable { reason, .. } if reason.contains("the clocks agree now")), "{failed}");
}

/// Refuses every token but `new`.
fn expiring_server() -> Server {
    Server::start(|request, _| match request.method.as_str() {
        _ if request.header("x-amz-security-token") == "old" => refusal(400, "ExpiredToken", 0),
        "POST" if request.target.contains("?uploads") => {
            let body = "<InitiateMultipartUploadResult><UploadId>up</UploadId></InitiateMultipartUploadResult>";
            Reply::Answer(200, Vec::new(), body.to_owned())
        }
        "HEAD" => head(7, &[]),
        "POST" => Reply::Answer(200, Vec::new(), "<CompleteMultipartUploadResult/>".to_owned()),
        _ => Reply::Answer(200, vec![("etag", "\"e\"".to_owned())], String::new()),
    })
}

#[test]
fn a_token_that_expires_in_mid_upload_is_renewed() {
    let (home, server) = (Home::new(), expiring_server());
    home.give("first");
    let store = home.store(&server, "p");
    let upload = store.begin_multipart("a").unwrap();
    upload.part(1, &[Bytes::from_static(b"content")], &digest_of(b"content")).unwrap();
    assert_eq!(server.seen.lock().unwrap().last().unwrap().header("x-amz-security-token"), "first");
    // The server's view of the token changes; the provider has another one from now on.
    home.give("old");
    let late = home.store(&server, "p");
    let failed = late.size_bytes("b").unwrap_err();
    assert!(matches!(&failed, StoreError::Unavailable { reason, .. } if reason.contains("their provider has no newer ones")), "{failed}");
    home.give("new");
    assert_eq!(late.size_bytes("b"), Ok(Some(7)), "the same store goes on");
    assert_eq!(upload.complete(&[part_of(b"content")]), Ok(PutOutcome::Created));
}

#[test]
fn a_token_is_renewed_within_one_call() {
    let (home, server) = (Home::new(), expiring_server());
    home.give("old");
    let store = home.store(&server, "p");
    let upload = {
        // The process is asked for the token of the first attempt, and has a newer one after it.
        let renewed = home.folder.path().join("renewed");
        let script = format!("cat {0}/given; cp {1} {0}/given", home.folder.path().display(), renewed.display());
        let path = home.folder.path().join("provider");
        std::fs::write(&path, script).unwrap();
        let config = format!("[profile p]\ncredential_process = /bin/sh {}\nregion = r\n", path.display());
        std::fs::write(home.folder.path().join("config"), config).unwrap();
        home.give("new");
        std::fs::rename(home.folder.path().join("given"), &renewed).unwrap();
        home.give("old");
        store.begin_multipart("a").unwrap()
    };
    let sent = upload.part(1, &[Bytes::from_static(b"content")], &digest_of(b"content"));
    assert_eq!(sent, Ok("e".to_owned()));
    let tokens: Vec<String> = server.seen.lock().unwrap().iter().map(|request| request.header("x-amz-security-token").to_owned()).collect();
    assert_eq!(tokens, ["old", "new", "new"], "asked again once, and kept");
    upload.keep();
}

#[test]
fn credentials_that_nobody_renews_are_refused_at_once() {
    let server = Server::start(|_, _| refusal(400, "ExpiredToken", 0));
    let began = Instant::now();
    let failed = server.store().list("", None, 1).unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable { .. }), "{failed}");
    assert!(server.seen.lock().unwrap().len() <= 3 && began.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_profile_without_credentials_is_named() {
    let (home, server) = (Home::new(), Server::start(|_, _| answer(200)));
    let failed = home.store(&server, "empty").size_bytes("a").unwrap_err();
    let StoreError::Refused { reason, .. } = &failed else { panic!("{failed:?}") };
    assert!(reason.contains("the profile \"empty\" has no credentials") && reason.contains("/config and "), "{reason}");
    let sso = "[profile s]\nsso_session = none-of-ours\nsso_account_id = 1\nsso_role_name = r\nregion = r\n\
               [sso-session none-of-ours]\nsso_region = r\nsso_start_url = https://none.invalid\n";
    let config = home.folder.path().join("config");
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + sso).unwrap();
    let failed = home.store(&server, "s").size_bytes("a").unwrap_err();
    assert!(matches!(&failed, StoreError::Unavailable { reason, .. } if reason.contains("aws sso login --profile s")), "{failed}");
    let options = S3Options { profile: Some("nope".to_owned()), ..server.options() };
    let failed = S3Store::open_within("bucket", "", &options, &home.environment(&[])).unwrap_err();
    assert!(matches!(&failed, StoreError::Refused { reason, .. } if reason.contains("they have empty, p, s")), "{failed}");
}

#[test]
fn the_environment_names_the_server() {
    let (home, server) = (Home::new(), Server::start(|_, _| answer(404)));
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let options = S3Options { endpoint: None, ..server.options() };
        // The SDK has the bucket of an address in the path anyway.
        let named = server.endpoint.replace("127.0.0.1", "localhost");
        let environment = home.environment(&[(variable, &named)]);
        let store = S3Store::open_within("bucket", "pre", &options, &environment).unwrap();
        assert!(store.size_bytes("a").is_err(), "there is no such bucket");
        assert!(server.count("HEAD", "a") > 0, "with the bucket in the path: {variable}");
        server.seen.lock().unwrap().clear();
    }
}

#[test]
fn requests_go_through_a_proxy() {
    let proxy = Server::start(|_, _| Reply::Answer(200, vec![("content-length", "7".to_owned())], String::new()));
    let host = proxy.endpoint.strip_prefix("http://").unwrap();
    let options = S3Options { endpoint: Some("http://nowhere.invalid:8333".to_owned()), ..proxy.options() };
    let variables = [("HTTP_PROXY", format!("http://user:word@{host}"))].map(|(name, value)| (name.to_owned(), value));
    let store = S3Store::open_within("bucket", "pre", &options, &Environment::of(variables)).unwrap();
    assert_eq!(store.size_bytes("a"), Ok(Some(7)));
    let seen = proxy.seen.lock().unwrap();
    assert_eq!(seen[0].target, "http://nowhere.invalid:8333/bucket/pre/a");
    assert_eq!(seen[0].header("proxy-authorization"), format!("Basic {}", base64::encode("user:word")));
    assert_eq!(seen[0].header("host"), "nowhere.invalid:8333");
}

#[test]
fn a_proxy_that_makes_no_tunnel_is_named() {
    for (status, words, is_lasting) in [(407, "wants a login", true), (403, "refuses connections", true), (503, "cannot connect to", false)]
    {
        let proxy = Server::start(move |_, _| answer(status));
        let host = proxy.endpoint.strip_prefix("http://").unwrap();
        let options = S3Options { endpoint: Some("https://nowhere.invalid".to_owned()), attempts: 2, ..proxy.options() };
        let variables = [("https_proxy".to_owned(), host.to_owned())];
        let store = S3Store::open_within("bucket", "pre", &options, &Environment::of(variables)).unwrap();
        let failed = store.size_bytes("a").unwrap_err();
        assert!(failed.to_string().contains(&format!("the proxy {host} (from https_proxy) {words}")), "{failed}");
        assert_eq!(matches!(failed, StoreError::Refused { .. }), is_lasting, "{failed}");
        let seen = proxy.seen.lock().unwrap();
        assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("CONNECT", "nowhere.invalid:443"));
        assert_eq!(seen.len(), if is_lasting { 1 } else { 2 });
    }
    let options =
        S3Options { endpoint: Some("https://nowhere.invalid".to_owned()), attempts: 1, ..Server::start(|_, _| answer(200)).options() };
    let variables = [("HTTPS_PROXY".to_owned(), "127.0.0.1:1".to_owned())];
    let store = S3Store::open_within("bucket", "pre", &options, &Environment::of(variables)).unwrap();
    let failed = store.size_bytes("a").unwrap_err();
    assert!(
        matches!(&failed, StoreError::Unavailable { reason, .. } if reason.contains("the proxy 127.0.0.1:1") && reason.contains("cannot be reached")),
        "{failed}"
    );
}
