//! Child processes that do not outlive their owner, and ports for them.
//!
//! A database server that a killed test leaves behind holds gigabytes for ever. So a one-line shell
//! starts the server: it first starts a watchdog, then becomes the server (same process id). The
//! watchdog reads from our pipe. A line means that the server was stopped in good order. The end of
//! the pipe means that its owner died, and then the watchdog kills the server. This needs no
//! `unsafe`, and unlike `PR_SET_PDEATHSIG` it does not depend on which thread started the server.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Starts the watchdog (`$$` there is still this shell's process id), then becomes the command.
/// Both read only the pipe, on descriptor 3.
const GUARD_SCRIPT: &str = r#"exec 3<&0 </dev/null; { read -r line <&3 || kill -9 $$; } & exec 3<&-; exec "$@""#;

/// How often a waiting loop checks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a process may take to end after SIGTERM before it gets SIGKILL.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How much of a log an error quotes.
const QUOTED_LINES: usize = 12;

/// The ports to choose from. They are below the range from which Linux takes the local ports of
/// outgoing connections (32768 and up), so only another server can take one between choosing and
/// using it.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A child process that is killed when this value is dropped, also by a panic, and when its owner
/// is killed.
#[derive(Debug)]
pub struct Guarded {
    name: String,
    child: Child,
    guard: Option<ChildStdin>,
    log_file: PathBuf,
    /// Where in the log the output of this process begins: a log file may hold earlier runs.
    log_start: u64,
}

impl Guarded {
    /// Starts `command` with both its outputs appended to `log_file`. `name` is for error messages.
    /// The program, arguments, environment and current folder of `command` are used; its standard
    /// streams are not.
    ///
    /// # Errors
    /// [`Error::input`] when the log cannot be opened or there is no shell.
    pub fn spawn(name: impl Into<String>, command: &Command, log_file: &Path) -> Result<Guarded> {
        let name = name.into();
        let log = |error| Error::input(format!("cannot open the log {} of {name}: {error}", log_file.display())).caused_by(error);
        let output = OpenOptions::new().create(true).append(true).open(log_file).map_err(log)?;
        let errors = output.try_clone().map_err(log)?;
        let log_start = output.metadata().map_err(log)?.len();
        let mut guarded = Command::new("/bin/sh");
        guarded.args(["-c", GUARD_SCRIPT, "guard"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guarded.current_dir(folder);
        }
        guarded.stdin(Stdio::piped()).stdout(output).stderr(errors);
        let mut child = guarded.spawn().map_err(|error| Error::input(format!("cannot start {name}: {error}")).caused_by(error))?;
        let guard = child.stdin.take();
        Ok(Guarded { name, child, guard, log_file: log_file.to_path_buf(), log_start })
    }

    /// The process id of the command itself (the guard is another process).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How the process ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends SIGKILL, as sudden as a power cut: the process gets no chance to clean up. Waits for
    /// its end. Has no effect if it has ended.
    pub fn kill(&mut self) {
        if self.is_running() {
            // This fails only if the process has ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.dismiss_guard();
    }

    /// Sends SIGTERM, and SIGKILL if that does not end it within some seconds. Waits for its end.
    /// Has no effect if it has ended.
    pub fn stop(&mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_running()) {
            // This fails only if the process has ended meanwhile. It is not reaped yet, so no other
            // process can have its id.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let deadline = Instant::now() + STOP_PATIENCE;
            while self.is_running() && Instant::now() < deadline {
                thread::sleep(LOOK_AGAIN);
            }
        }
        self.kill();
    }

    /// Waits until `ready` returns true. `ready` sees what the process has written to its log so
    /// far.
    ///
    /// # Errors
    /// [`Error::try_again`] with the last lines of the log when the process ends first or `timeout`
    /// passes.
    pub fn wait_until(&mut self, timeout: Duration, mut ready: impl FnMut(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.exit_status();
            let log = self.log_text();
            if let Some(status) = ended {
                return Err(self.failure(&format!("ended too early ({})", exit_text(status))));
            }
            if ready(&log) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.failure(&format!("was not ready within {timeout:?}")));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// What this process has written to its log so far.
    pub fn log_text(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log_file).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_start))?;
            file.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(cannot read {}: {error})", self.log_file.display()),
        }
    }

    /// An error about this process that quotes the end of its log.
    pub fn failure(&self, what: &str) -> Error {
        let log = self.log_text();
        Error::try_again(format!("{} {what}; the end of its log {}:\n{}", self.name, self.log_file.display(), last_lines(&log)))
    }

    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // The guard may have been killed by hand; then there is nothing to dismiss.
            let _ = guard.write_all(b"stopped\n");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a text, for quoting in an error.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// How a process ended, in words.
pub(crate) fn exit_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".into(),
    }
}

/// `count` different ports of 127.0.0.1 on which nobody listens now. Nothing reserves them: whoever
/// starts a server on one must be ready to choose again if the start fails.
///
/// # Errors
/// [`Error::try_again`] when no port is free.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several test programs that run at once begin at different ports.
    let start = (std::process::id() % 97) as u16 * 199;
    let mut ports = Vec::with_capacity(count);
    for _ in PORTS {
        if ports.len() == count {
            return Ok(ports);
        }
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start) % (PORTS.end - PORTS.start);
        let port = PORTS.start + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    Err(Error::try_again(format!("found only {} of {count} free ports between {} and {}", ports.len(), PORTS.start, PORTS.end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Guarded {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Guarded::spawn("the shell", &command, log).unwrap()
    }

    fn alive(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    }

    #[test]
    fn a_process_is_ready_by_its_log_and_gone_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "ready: of an earlier run\n").unwrap();
        let mut process = shell("echo pid $$; sleep 0.1; echo ready; exec sleep 600", &log);
        process.wait_until(Duration::from_secs(10), |text| text.contains("ready")).unwrap();
        let text = process.log_text();
        assert_eq!(text, format!("pid {}\nready\n", process.pid()), "its own process id and only its own log");
        let pid = process.pid().to_string();
        assert!(alive(&pid));
        drop(process);
        assert!(!alive(&pid));
    }

    #[test]
    fn the_guard_kills_when_the_owner_vanishes() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("exec sleep 600", &folder.path().join("log"));
        // This is what the kernel does to the pipe of a killed owner.
        process.guard = None;
        let deadline = Instant::now() + Duration::from_secs(10);
        while process.is_running() {
            assert!(Instant::now() < deadline, "the guard did not kill");
            thread::sleep(LOOK_AGAIN);
        }
    }

    #[test]
    fn an_early_end_quotes_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo the disk is on fire >&2; exit 3", &folder.path().join("log"));
        let error = process.wait_until(Duration::from_secs(10), |_| false).unwrap_err();
        assert!(error.message.contains("exit code 3") && error.message.contains("the disk is on fire"), "{error}");
    }

    #[test]
    fn stop_asks_first_and_a_stubborn_process_times_out_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", &log);
        process.wait_until(Duration::from_secs(10), |text| text.contains("up")).unwrap();
        let error = process.wait_until(Duration::from_millis(100), |_| false).unwrap_err();
        assert!(error.message.contains("not ready within 100ms"), "{error}");
        process.stop();
        assert!(process.log_text().contains("bye"));
        process.stop();
    }

    #[test]
    fn free_ports_are_different() {
        let mut ports = free_ports(20).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}
