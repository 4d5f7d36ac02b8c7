//! Lock, signals and systemd. What concerns a whole process (its signals, its environment, its end)
//! is tested on a child process: it is this test program again, running one of the tests that are
//! otherwise ignored.

use crate::disk::process_lock::{LOCK_FILE, ProcessLock, Running, prepare, running};
use crate::error::Kind;
use crate::host::{Disk, Host};
use crate::monitor::systemd::Notifier;
use crate::stop::Stop;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts this test program with one test; returns it with its standard output after the line that
/// contains `word`.
fn child(test: &str, environment: &[(&str, &str)], word: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("agent::tests::process::{test}"), "--ignored", "--nocapture"]);
    command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if line.contains(word) {
            return (child, output);
        }
        line.clear();
    }
    panic!("{test} did not say {word}: {:?}", child.wait());
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn one_agent_for_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state");
    let lock = ProcessLock::take(Host::default(), &directory).unwrap();
    let pid = std::process::id();
    assert_eq!(std::fs::read_to_string(directory.join(LOCK_FILE)).unwrap(), format!("{pid}\n"));
    assert_eq!(running(Disk::SYSTEM, &directory).unwrap(), Running::Yes { pid: Some(pid) });
    let second = ProcessLock::take(Host::default(), &directory).unwrap_err();
    assert_eq!(second.kind, Kind::Input);
    assert!(second.message.contains(&format!("process {pid}")) && second.message.contains("state_directory of its own"), "{second}");
    drop(lock);
    assert_eq!(running(Disk::SYSTEM, &directory).unwrap(), Running::No);
    let _again = ProcessLock::take(Host::default(), &directory).unwrap();
}

#[test]
fn who_only_asks_does_not_keep_an_agent_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    drop(ProcessLock::take(Host::default(), folder.path()).unwrap());
    let asked = std::fs::File::open(folder.path().join(LOCK_FILE)).unwrap();
    rustix::fs::flock(&asked, rustix::fs::FlockOperation::LockShared).unwrap();
    let waits = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(asked);
    });
    let _lock = ProcessLock::take(Host::default(), folder.path()).unwrap();
    waits.join().unwrap();
}

#[test]
fn a_state_directory_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    for (directory, wanted) in [
        (file.clone(), "it is no directory"),
        (folder.path().join("not/there"), "cannot be made (No such file"),
        (file.join("below"), "Not a directory"),
        ("/proc/amber".into(), "cannot be made"),
    ] {
        let error = prepare(Disk::SYSTEM, &directory).unwrap_err();
        assert!(error.kind == Kind::Input && error.message.contains(wanted), "{error}");
        assert_eq!(ProcessLock::take(Host::default(), &directory).unwrap_err(), error);
    }
    assert_eq!(running(Disk::SYSTEM, &folder.path().join("not/there")).unwrap_err().kind, Kind::Input);
    assert_eq!(running(Disk::SYSTEM, folder.path()).unwrap(), Running::No);
}

#[test]
fn asking_wakes_everybody() {
    let stop = Stop::default();
    assert!(!stop.is_asked() && !stop.wait(Duration::from_millis(1)));
    let waits: Vec<_> = (0..3)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || stop.wait(Duration::MAX))
        })
        .collect();
    stop.ask();
    stop.ask();
    assert!(waits.into_iter().all(|wait| wait.join().unwrap()));
    assert!(stop.is_asked() && stop.wait(Duration::ZERO) && stop.asked().recv().is_err());
}

#[test]
#[ignore = "run by the tests of signals, as a process of its own"]
fn child_that_drains() {
    let stop = Stop::on_signals().unwrap();
    println!("waiting");
    assert!(stop.wait(Duration::from_secs(60)));
    println!("draining");
    if std::env::var_os("DRAIN_FOR_EVER").is_some() {
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn the_first_signal_asks() {
    for sent in [Signal::TERM, Signal::INT] {
        let (mut child, mut output) = child("child_that_drains", &[], "waiting");
        signal(&child, sent);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut output, &mut said).unwrap();
        assert!(said.contains("draining"), "{said}");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let (mut child, mut output) = child("child_that_drains", &[("DRAIN_FOR_EVER", "1")], "waiting");
    signal(&child, Signal::TERM);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("draining"), "{line}");
    let began = Instant::now();
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
#[ignore = "run by the test of systemd's protocol, as a process of its own"]
fn child_of_systemd() {
    let notifier = Notifier::from_environment();
    println!("every {:?}", notifier.watchdog_interval());
    notifier.ready("op 5\nREADY=0");
    notifier.status("op 6");
    notifier.alive();
    notifier.stopping();
}

#[test]
fn systemd_is_told_in_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "3000000")];
    let (mut child, _output) = child("child_of_systemd", &environment, "every Some(1.5s)");
    let reported: Vec<String> = (0..4)
        .map(|_| {
            let mut buffer = [0; 256];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
        })
        .collect();
    assert_eq!(reported, ["READY=1\nSTATUS=op 5 READY=0", "STATUS=op 6", "WATCHDOG=1", "STOPPING=1"]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_systemd_nobody_is_told() {
    let (mut child, _output) = child("child_of_systemd", &[], "every None");
    assert!(child.wait().unwrap().success());
}
