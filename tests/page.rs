//! The page in a real browser: with synthetic statuses and jobs to click on, and of a live agent
//! next to a real TigerBeetle under load.
//!
//! `tests/page/browse.mjs` looks and clicks. With `AMBER_SCREENSHOTS=FOLDER` it also writes the
//! pictures that are in `docs`.

use crate::support::agent::{Agent, QUICK};
use crate::support::cluster::Cluster;
use crate::support::program::{Program, text};
use crate::support::{folder, tool, turn};
use amber::demo::{Load, LoadOptions, LoadPlan};
use amber::error::{Error, Result};
use amber::monitor::live::Live;
use amber::monitor::metrics::{Format, exposition};
use amber::monitor::sample::{healthy, troubled};
use amber::monitor::status::{AgentStatus, Control, JobStatus};
use amber::monitor::web::access::{Access, Token};
use amber::monitor::web::{Options, Server};
use amber::units::now_ns;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOKEN: &str = "3f6c1b0e9d8a47526b1f0c9e8d7a6b5c";
const TIMEOUT: Duration = Duration::from_secs(120);
/// The page may take half a percent of a core.
const IDLE_SHARE: f64 = 0.005;

/// What the browser does on a visit.
#[derive(Clone, Copy)]
enum Visit {
    /// The complete visit; there are jobs to click on.
    Whole,
    /// The complete visit, with whatever jobs there are.
    Live,
    /// Only a look, in both themes and on a phone.
    Brief,
}

/// Runs the browser over a page. Returns what it found.
fn browse(url: &str, visit: Visit) -> String {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let screenshots = std::env::var("AMBER_SCREENSHOTS").ok().filter(|_| matches!(visit, Visit::Live));
    let options = json!({
        "url": url,
        "token": TOKEN,
        "chromium": tool("chromium"),
        "modules": project.join(".tools/page"),
        "jobs": matches!(visit, Visit::Whole),
        "brief": matches!(visit, Visit::Brief),
        "screenshots": screenshots,
    });
    let home = folder("browser");
    let mut command = Command::new("node");
    command.arg(project.join("tests/page/browse.mjs")).arg(options.to_string());
    // Files that a browser writes for its user stay in this folder.
    let output = command.env("HOME", home.path()).env("TMPDIR", home.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    said
}

/// Jobs that carry out each request at once.
#[derive(Default)]
struct Jobs {
    asked: Mutex<Vec<String>>,
    paused: Mutex<BTreeSet<String>>,
}

impl Jobs {
    fn note(&self, what: &str, job: &str) -> Result<()> {
        if !healthy(now_ns()).jobs.iter().any(|known| known.name == job) {
            return Err(Error::input(format!("there is no job {job}")));
        }
        self.asked.lock().unwrap().push(format!("{what} {job}"));
        Ok(())
    }

    fn show(&self, jobs: &mut [JobStatus]) {
        let paused = self.paused.lock().unwrap();
        for job in jobs {
            job.is_paused = paused.contains(&job.name);
        }
    }
}

impl Control for Jobs {
    fn run_now(&self, job: &str) -> Result<()> {
        self.note("run", job)
    }

    fn pause(&self, job: &str, is_paused: bool) -> Result<()> {
        self.note(if is_paused { "pause" } else { "resume" }, job)?;
        let mut paused = self.paused.lock().unwrap();
        if is_paused {
            paused.insert(job.to_owned())
        } else {
            paused.remove(job)
        };
        Ok(())
    }
}

/// A page of synthetic statuses that change as those of an agent do.
struct Made {
    server: Option<Server>,
    live: Arc<Live>,
    jobs: Arc<Jobs>,
    stop: Arc<AtomicBool>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Made {
    fn start(make: fn(u64) -> AgentStatus) -> Made {
        let (live, jobs, stop) = (Arc::new(Live::default()), Arc::new(Jobs::default()), Arc::new(AtomicBool::new(false)));
        live.set_control(Arc::clone(&jobs) as Arc<dyn Control>);
        let status = move |jobs: &Jobs, at_ns: u64, second: f64| {
            let mut status = make(at_ns);
            let wave = (second / 40.0).sin() + (second / 7.0).sin() * 0.3;
            let ops = (second * 190.0 + (wave + 1.5) * 2000.0) as u64;
            (status.durable_op, status.head_op) = (status.durable_op + ops, status.head_op + ops);
            (status.log_bytes_read, status.stored_bytes) = (status.log_bytes_read + ops * 2300, status.stored_bytes + ops * 560);
            status.cpu_share_10s_percent += wave * 0.4;
            status.lag_ms += ((wave + 1.3) * 90.0) as u64 + if (300.0..330.0).contains(&second) { 1900 } else { 0 };
            jobs.show(&mut status.jobs);
            status
        };
        // Ten minutes of past statuses.
        let began_ns = now_ns();
        for second in 0..600_u32 {
            live.publish(status(&jobs, began_ns - u64::from(600 - second) * 1_000_000_000, f64::from(second)));
        }
        let (writing, writing_jobs, stopped) = (Arc::clone(&live), Arc::clone(&jobs), Arc::clone(&stop));
        let writer = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let now_ns = now_ns();
                writing.publish(status(&writing_jobs, now_ns, 600.0 + (now_ns - began_ns) as f64 / 1e9));
                std::thread::sleep(Duration::from_millis(250));
            }
        });
        let access = Access { token: Some(Token::new(TOKEN.as_bytes()).unwrap()), open_to_read: true, host_names: Vec::new() };
        let options = Options { listen: "127.0.0.1:0".parse().unwrap(), access, tls: None };
        let server = Server::start(options, &live, Box::new(|_| {})).unwrap();
        Made { server: Some(server), live, jobs, stop, writer: Some(writer) }
    }

    fn url(&self) -> String {
        let deadline = Instant::now() + TIMEOUT;
        while self.live.page().is_empty() {
            assert!(Instant::now() < deadline, "the page does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.live.page()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        self.server.take();
    }
}

#[test]
fn a_browser_reads_the_page_and_acts_with_the_token() {
    let _turn = turn();
    let made = Made::start(healthy);
    let said = browse(&made.url(), Visit::Whole);
    assert!(said.contains("verdict: Everything is safe (safe)"), "{said}");
    // The list has what the browser clicked with the token, and nothing that was tried without it.
    assert_eq!(*made.jobs.asked.lock().unwrap(), ["run checkpoint", "pause checkpoint", "resume checkpoint"]);
    let trouble = Made::start(troubled);
    let said = browse(&trouble.url(), Visit::Brief);
    assert!(said.contains("verdict: Not safe (danger)"), "{said}");
}

/// An answer of the page, over a separate connection.
fn get(url: &str, path: &str) -> (u16, String) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// CPU time of the page's thread, in seconds (`schedstat`: nanoseconds on a core).
fn page_cpu_seconds(pid: u64) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let is_page = |path: &Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "amber-page");
    let task = tasks.map(|task| task.path()).find(|path| is_page(path)).unwrap();
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() as f64 / 1e9
}

/// The share of a core that the page's thread takes.
fn page_share(pid: u64, over: Duration) -> f64 {
    let (before, began) = (page_cpu_seconds(pid), Instant::now());
    std::thread::sleep(over);
    (page_cpu_seconds(pid) - before) / began.elapsed().as_secs_f64()
}

#[test]
fn a_browser_watches_a_live_agent_under_load() {
    let _turn = turn();
    let node = Cluster::new(1);
    let place = folder("page");
    let program = Program::in_folder(&place.path().join("repository"));
    program.init();
    std::fs::write(place.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let more = format!("{QUICK}[page]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n", place.path().join("token").display());
    let mut agent = Agent::start(&program, &place.path().join("agent"), node.data_file(0), &more);
    let plan = LoadPlan { clients: 2, transfers_per_request: 20, ..LoadPlan::default() };
    let load = Load::start(node.id(), &node.addresses(), &LoadOptions { plan, ..LoadOptions::default() }).unwrap();
    agent.wait_leading();
    let status = agent.wait("a page, and something to restore", TIMEOUT, |status| {
        status["page"].as_str().is_some_and(|page| !page.is_empty()) && status["restorable"][0]["last_op"].as_u64() > Some(100)
    });
    let (url, pid) = (status["page"].as_str().unwrap().to_owned(), status["pid"].as_u64().unwrap());
    let said = browse(&url, Visit::Live);
    assert!(said.contains("(safe)") || said.contains("(attention)"), "{said}");
    check_answers(&url, &program, &agent);
    load.stop().unwrap();

    // The page's share of a core: first without a viewer, then with one.
    let idle = page_share(pid, Duration::from_secs(4));
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut viewer = TcpStream::connect(&address).unwrap();
    write!(viewer, "GET /api/live HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let reading = std::thread::spawn(move || std::io::copy(&mut viewer, &mut std::io::sink()));
    let viewed = page_share(pid, Duration::from_secs(4));
    println!("the page's thread takes {:.4} % of a core, {:.4} % with a viewer", idle * 100.0, viewed * 100.0);
    assert!(idle < IDLE_SHARE && viewed < IDLE_SHARE, "{idle} {viewed}");
    assert_eq!(agent.stop(), 0, "{}", agent.log());
    let _ = reading.join().unwrap();
    assert!(TcpStream::connect(&address).is_err(), "the page ends with its agent");
}

/// Health, metrics and figures of a live agent.
fn check_answers(url: &str, program: &Program, agent: &Agent) {
    assert_eq!(get(url, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(url, "/readyz"), (200, "ready\n".to_owned()));
    let (code, metrics) = get(url, "/metrics");
    assert_eq!(code, 200);
    check_metrics(&metrics);
    assert!(metrics.contains("amber_leader{") && metrics.contains("amber_recovery_point_lag_seconds{"), "{metrics}");
    let view: Value = serde_json::from_str(&get(url, "/api/status").1).unwrap();
    // The restorable ranges that the page shows are those that `amber list` shows as backups and
    // log.
    let listed = program.ok(&["list"]);
    let first_op = listed["backups"][0]["first_restorable_op"].as_u64().unwrap();
    let ranges = view["status"]["restorable"].as_array().unwrap();
    assert_eq!((ranges.len(), ranges[0]["first_op"].as_u64(), &ranges[0]["timeline"]), (1, Some(first_op), &json!(1)), "{ranges:?}");
    assert!(ranges[0]["last_op"].as_u64() >= view["status"]["durable_op"].as_u64(), "{ranges:?}");
    assert!(
        ranges[0]["first_timestamp_ns"].as_u64() > Some(0)
            && ranges[0]["last_timestamp_ns"].as_u64() >= ranges[0]["first_timestamp_ns"].as_u64()
    );
    let history: Value = serde_json::from_str(&get(url, "/api/history?span_s=600").1).unwrap();
    assert!(history["ops_per_s"].as_array().unwrap().iter().any(|rate| rate.as_f64() > Some(1.0)), "{history}");
    assert_eq!(agent.status()["verdict"]["level"], view["verdict"]["level"], "the terminal says the same");
}

/// promtool must accept the metrics.
fn check_metrics(metrics: &str) {
    let mut command = Command::new(tool("promtool"));
    let mut child = command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn promtool_accepts_metrics_and_rules_and_the_rules_fire() {
    for status in [healthy(now_ns()), troubled(now_ns()), AgentStatus::default()] {
        check_metrics(&exposition(&status, Format::Prometheus).unwrap());
    }
    let grafana = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/grafana");
    for arguments in [["check", "rules", text(&grafana.join("rules.yml"))], ["test", "rules", text(&grafana.join("rules_test.yml"))]] {
        let output = Command::new(tool("promtool")).args(arguments).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{said}");
        assert!(output.status.success() && said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn status_is_watched_until_somebody_ends_it() {
    let place = folder("watch");
    let state = place.path();
    healthy(now_ns()).write(amber::host::Disk::SYSTEM, state).unwrap();
    let watch = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amber"));
        command.args(["status", "--watch", "--state-directory", text(state)]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()
    };
    // Waits for two updates, then sends what Ctrl-C sends.
    let watched = |more: &[&str], look: &str| {
        let mut child = watch(more);
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while text.matches(look).count() < 2 {
            assert!(reader.read_line(&mut text).unwrap() > 0, "it ended: {text}");
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        reader.read_to_string(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
        text
    };
    let plain = watched(&[], "No agent is running");
    assert!(!plain.contains('\x1b'), "no terminal, no codes: {plain}");
    let machine = watched(&["--json"], "\"durable_op\"");
    let lines: Vec<Value> = machine.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["durable_op"] == 4_812_330 && line["verdict"]["level"] == "danger"), "{machine}");
    // The watch also ends when its reader has gone.
    let mut child = watch(&[]);
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
