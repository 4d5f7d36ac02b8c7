//! The page over real connections: what is answered, what is refused, and that no client can hold a
//! resource for ever.

use super::access::Token;
use super::*;
use crate::monitor::sample::healthy;
use crate::monitor::status::AgentState;
use crate::monitor::status::{AgentStatus, Control};
use crate::units::now_ns;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

/// A control with one job that notes what is asked of it.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl Control for Noted {
    fn run_now(&self, job: &str) -> Result<()> {
        match job {
            "checkpoint" => self.0.lock().unwrap().push(format!("run {job}")),
            "busy" => return Err(Error::try_again("another agent leads")),
            _ => return Err(Error::input(format!("there is no job {job}"))),
        }
        Ok(())
    }

    fn pause(&self, job: &str, is_paused: bool) -> Result<()> {
        self.0.lock().unwrap().push(format!("{} {job}", if is_paused { "pause" } else { "resume" }));
        Ok(())
    }
}

struct Served {
    _server: Server,
    live: Arc<Live>,
    noted: Arc<Noted>,
    address: String,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn served(open_to_read: bool, token: Option<&str>) -> Served {
    let (live, noted) = (Arc::new(Live::default()), Arc::new(Noted::default()));
    live.set_control(Arc::clone(&noted) as Arc<dyn Control>);
    live.publish(healthy(now_ns()));
    let token = token.map(|token| Token::new(token.as_bytes()).unwrap());
    let access = Access { token, open_to_read, host_names: Vec::new() };
    let options = Options { listen: "127.0.0.1:0".parse().unwrap(), access, tls: None };
    let server = Server::start(options, &live, Box::new(|_| {})).unwrap();
    let address = wait_for(|| live.page().strip_prefix("http://").map(|rest| rest.trim_end_matches('/').to_owned()));
    Served { _server: server, live, noted, address }
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request.push_str(&format!("host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = self.connect();
        stream.write_all(format!("{request}connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: head[9..12].parse().unwrap(), head: head.to_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    fn act(&self, job: &str, action: &str, more: &[(&str, &str)]) -> u16 {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [&[("authorization", bearer.as_str()), ("x-amber-action", "1")], more].concat();
        self.ask("POST", &format!("/api/jobs/{job}/{action}"), &headers).status
    }

    fn noted(&self) -> Vec<String> {
        self.noted.0.lock().unwrap().clone()
    }
}

#[test]
fn the_page_and_all_it_names_are_there_and_nothing_else() {
    let served = served(true, None);
    let page = served.get("/");
    assert!(page.status == 200 && page.head.contains("content-type: text/html"), "{}", page.head);
    let named: Vec<&str> = page.body.split('"').filter(|word| word.starts_with("/assets/")).collect();
    assert!(named.len() >= 6, "{named:?}");
    for name in named {
        assert_eq!(served.get(name).status, 200, "{name}");
    }
    for asset in assets::ASSETS {
        let found = served.get(&format!("/assets/{}", asset.name));
        assert!(found.status == 200 && found.head.contains(asset.content_type), "{}", asset.name);
        // Modules name one another; nothing names another host.
        let text = String::from_utf8_lossy(asset.content);
        for module in text.split('"').filter(|word| word.starts_with("./") && word.ends_with(".js")) {
            assert!(assets::find(&module[2..]).is_some(), "{}: {module}", asset.name);
        }
        if !asset.name.starts_with("vendor/") {
            assert!(!text.replace("http://www.w3.org/", "").contains("http"), "{} names another host", asset.name);
        }
    }
    for missing in ["/assets/none.js", "/assets/", "/assets/../Cargo.toml", "/assets/%2e%2e/index.html", "/index.html", "/api"] {
        assert_eq!(served.get(missing).status, 404, "{missing}");
    }
    assert_eq!(served.ask("POST", "/api/status", &[]).status, 405);
    assert_eq!(served.ask("GET", "/api/jobs/checkpoint/run", &[]).status, 405);
    assert!(served.noted().is_empty());
}

#[test]
fn every_answer_forbids_what_the_page_does_not_need() {
    let served = served(true, None);
    for path in ["/", "/assets/page.js", "/api/status", "/metrics", "/healthz", "/none"] {
        let head = served.get(path).head;
        for wanted in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-",
        ] {
            assert!(head.contains(wanted), "{path}: {wanted}\n{head}");
        }
        assert!(!head.contains("set-cookie") && !head.contains("access-control-allow"), "{head}");
    }
    let page = String::from_utf8_lossy(assets::INDEX);
    assert!(
        !page.contains("style=") && !page.contains("onclick") && !page.contains("<script>") && !page.contains("<style"),
        "nothing inline"
    );
}

#[test]
fn figures_come_as_json_text_and_events() {
    let served = served(true, Some(TOKEN));
    let status: serde_json::Value = serde_json::from_str(&served.get("/api/status").body).unwrap();
    assert_eq!(
        (&status["status"]["durable_op"], &status["verdict"]["level"], &status["actions"]),
        (&4_812_330.into(), &"safe".into(), &true.into())
    );
    let history: serde_json::Value = serde_json::from_str(&served.get("/api/history?span_s=600").body).unwrap();
    assert_eq!((history["lag_ms"][0].as_u64(), history["time_ms"].as_array().unwrap().len()), (Some(420), 1));
    assert_eq!(served.get("/api/history?span_s=99999999999999999").status, 200);
    assert_eq!(served.get("/api/history?span_s=x").status, 400);
    let metrics = served.get("/metrics");
    assert!(
        metrics.head.contains("text/plain; version=0.0.4") && metrics.body.contains("amber_recovery_point_lag_seconds{"),
        "{}",
        metrics.head
    );
    let open = served.ask("GET", "/metrics", &[("accept", "application/openmetrics-text; version=1.0.0")]);
    assert!(open.head.contains("application/openmetrics-text; version=1.0.0") && open.body.ends_with("# EOF\n"), "{}", open.head);
}

#[test]
fn the_stream_gives_every_newer_status() {
    let served = served(true, None);
    let mut stream = served.connect();
    write!(stream, "GET /api/live HTTP/1.1\r\nhost: {}\r\n\r\n", served.address).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap).filter(|line| line.starts_with("data: "));
    let durable_op = |line: String| -> u64 {
        let view: serde_json::Value = serde_json::from_str(&line[6..]).unwrap();
        view["status"]["durable_op"].as_u64().unwrap()
    };
    assert_eq!(durable_op(lines.next().unwrap()), 4_812_330, "the first comes at once");
    for op in [4_812_331, 4_812_340] {
        served.live.publish(AgentStatus { durable_op: op, ..healthy(now_ns()) });
        assert_eq!(durable_op(lines.next().unwrap()), op);
    }
}

#[test]
fn viewers_are_counted_and_a_place_comes_free() {
    let served = served(true, None);
    let request = format!("GET /api/live HTTP/1.1\r\nhost: {}\r\n\r\n", served.address);
    let mut viewers = Vec::new();
    for _ in 0..stream::VIEWERS_MAX {
        let mut stream = served.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        viewers.push(stream);
    }
    assert_eq!(served.get("/api/live").status, 503);
    assert_eq!(served.get("/api/status").status, 200, "others are answered all the same");
    drop(viewers.pop());
    wait_for(|| {
        served.live.publish(healthy(now_ns()));
        let mut stream = served.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (&first == b"HTTP/1.1 200").then_some(())
    });
}

#[test]
fn health_is_being_alive_and_readiness_being_safe() {
    let served = served(true, None);
    assert_eq!((served.get("/healthz").status, served.get("/healthz").body.as_str()), (200, "ok\n"));
    assert_eq!(served.get("/readyz").status, 200);
    type Change = fn(&mut AgentStatus);
    let changes: [(Change, &str); 4] = [
        (|status| status.state = AgentState::Starting, "joined"),
        (|status| status.store_reachable = false, "store"),
        (|status| status.lag_ms = status.lag_alarm_ms + 1, "recovery point"),
        (|status| status.written_ns -= 60_000_000_000, "old"),
    ];
    for (change, reason) in changes {
        let mut status = healthy(now_ns());
        change(&mut status);
        served.live.publish(status);
        let answer = served.get("/readyz");
        assert!(answer.status == 503 && answer.body.contains(reason), "{reason}: {} {}", answer.status, answer.body);
        assert_eq!(served.get("/healthz").status, 200);
    }
}

#[test]
fn actions_go_to_the_jobs_for_whoever_has_the_token() {
    let served = served(true, Some(TOKEN));
    assert_eq!(served.act("checkpoint", "run", &[]), 202);
    assert_eq!(served.act("checkpoint", "pause", &[]), 202);
    assert_eq!(served.act("checkpoint", "resume", &[("origin", &format!("http://{}", served.address))]), 202);
    assert_eq!(served.noted(), ["run checkpoint", "pause checkpoint", "resume checkpoint"]);
    assert_eq!(served.act("none", "run", &[]), 404);
    assert_eq!(served.act("busy", "run", &[]), 409);
    assert_eq!(served.act("checkpoint", "delete", &[]), 400);
    assert_eq!(served.act("a%0Ab", "pause", &[]), 404, "a name that is none goes nowhere");
    assert_eq!(served.act(&"a".repeat(65), "pause", &[]), 404);
    assert_eq!(served.noted().len(), 3);
}

#[test]
fn without_the_token_nothing_can_be_changed() {
    let served = served(true, Some(TOKEN));
    let path = "/api/jobs/checkpoint/run";
    let bearer = format!("Bearer {TOKEN}");
    for (headers, status) in [
        (&[][..], 401),
        (&[("x-amber-action", "1")], 401),
        (&[("authorization", "Bearer 0123456789abcdef0123456789abcdeg"), ("x-amber-action", "1")], 401),
        (&[("cookie", "token=0123456789abcdef0123456789abcdef"), ("x-amber-action", "1")], 401),
        (&[("authorization", bearer.as_str())], 403),
        (&[("authorization", bearer.as_str()), ("x-amber-action", "1"), ("origin", "http://evil.test")], 403),
        (&[("authorization", bearer.as_str()), ("x-amber-action", "1"), ("sec-fetch-site", "cross-site")], 403),
        (&[("authorization", bearer.as_str()), ("x-amber-action", "1"), ("host", "evil.test")], 421),
    ] {
        assert_eq!(served.ask("POST", path, headers).status, status, "{headers:?}");
    }
    assert!(served.noted().is_empty(), "{:?}", served.noted());
    let without = self::served(true, None);
    assert_eq!(without.act("checkpoint", "run", &[]), 403);
    let status: serde_json::Value = serde_json::from_str(&without.get("/api/status").body).unwrap();
    assert_eq!(status["actions"], false);
    assert!(without.noted().is_empty());
}

#[test]
fn where_others_can_connect_figures_take_the_token() {
    let served = served(false, Some(TOKEN));
    let bearer = format!("Bearer {TOKEN}");
    for path in ["/api/status", "/api/live", "/api/history", "/metrics"] {
        let answer = served.get(path);
        assert!(answer.status == 401 && answer.head.contains("www-authenticate: bearer") && !answer.body.contains("durable"), "{path}");
        if path != "/api/live" {
            assert_eq!(served.ask("GET", path, &[("authorization", &bearer)]).status, 200, "{path}");
        }
    }
    for path in ["/", "/assets/page.js", "/healthz", "/readyz"] {
        assert_eq!(served.get(path).status, 200, "{path}: it holds no figure");
    }
    served.live.publish(AgentStatus::default());
    assert_eq!(served.get("/readyz").body, "not ready\n", "why is a figure, too");
}

#[test]
fn before_the_first_status_nothing_is_made_up() {
    let live = Arc::new(Live::default());
    let access = Access { token: None, open_to_read: true, host_names: Vec::new() };
    let server = Server::start(Options { listen: "127.0.0.1:0".parse().unwrap(), access, tls: None }, &live, Box::new(|_| {})).unwrap();
    let address = wait_for(|| live.page().strip_prefix("http://").map(|rest| rest.trim_end_matches('/').to_owned()));
    let served = Served { _server: server, live: Arc::clone(&live), noted: Arc::default(), address };
    assert_eq!((served.get("/api/status").status, served.get("/metrics").status, served.get("/readyz").status), (503, 503, 503));
    let mut stream = served.connect();
    write!(stream, "GET /api/live HTTP/1.1\r\nhost: {}\r\n\r\n", served.address).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap).filter(|line| line.starts_with("data: "));
    live.publish(healthy(now_ns()));
    assert!(lines.next().unwrap().contains("4812330"));
}

#[test]
fn requests_are_bounded() {
    let served = served(true, Some(TOKEN));
    let long = "x".repeat(40_000);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(200)),
        "no request at all\r\n\r\n".to_owned(),
    ] {
        let mut stream = served.connect();
        // The request may be refused, and the connection closed, before all of it is sent.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    // A body is not read: the server does not wait for one that is longer than the connection's
    // buffer.
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("x-amber-action", "1"), ("content-length", "99999999999")];
    assert_eq!(served.ask("POST", "/api/jobs/checkpoint/pause", &headers).status, 202);
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn an_address_that_is_taken_is_an_alert_until_it_comes_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let live = Arc::new(Live::default());
    let said: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let saying = Arc::clone(&said);
    let access = Access { token: None, open_to_read: true, host_names: Vec::new() };
    let trouble = Box::new(move |text| saying.lock().unwrap().push(text));
    let server = Server::start(Options { listen, access, tls: None }, &live, trouble).unwrap();
    let text = wait_for(|| said.lock().unwrap().first().cloned().flatten());
    assert!(text.contains(&listen.to_string()) && text.contains("[page]"), "{text}");
    drop(taken);
    wait_for(|| (!live.page().is_empty()).then_some(()));
    assert_eq!(said.lock().unwrap().last(), Some(&None));
    // Dropping the server closes the port.
    drop(server);
    assert!(TcpStream::connect(listen).is_err());
}
