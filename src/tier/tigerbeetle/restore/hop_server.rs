//! A `tigerbeetle` process under supervision: started, listened to, and never left behind.
//!
//! Flow: a one-line shell script puts a watchdog beside the process and then becomes the process
//! (same process id). The watchdog reads a pipe whose other end is ours. A line means that the
//! process was ended in good order. The end of the pipe means that Amber died, and then the
//! watchdog kills the process. A thread reads the output of the process into memory and keeps only
//! its end. When a [`HopServer`] is dropped, also by an error or a panic, its process is killed and
//! waited for.

use crate::error::{Error, Result};
use crate::threads::lock;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Starts the watchdog (`$$` there is still this shell's process id), then becomes the command,
/// with both outputs in one. The watchdog reads only the pipe on descriptor 3; the command's input
/// is empty.
const GUARD_SCRIPT: &str = r#"exec 3<&0 </dev/null 2>&1; { read -r line <&3 || kill -9 $$; } & exec 3<&-; exec "$@""#;
/// The smallest block cache that the server accepts without complaint. The server takes about 2.1
/// GiB besides.
const CACHE_GRID: &str = "--cache-grid=64MiB";
/// The system chooses a free port, so that two restores never collide. Nobody is meant to connect.
const ADDRESS: &str = "--addresses=127.0.0.1:0";
/// How many bytes of a process's output are kept.
const SAID_BYTES_MAX: usize = 64 * 1024;
/// How many lines of it an error quotes.
const QUOTED_LINES: usize = 12;
/// How often a waiting loop checks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running process, killed when dropped.
#[derive(Debug)]
pub struct HopServer {
    name: String,
    child: Child,
    guard: Option<ChildStdin>,
    said: Arc<Mutex<Said>>,
    listener: Option<JoinHandle<()>>,
}

/// The output of a process: its end, and how many bytes it has had.
#[derive(Debug, Default)]
struct Said {
    end: Vec<u8>,
    bytes: u64,
}

impl HopServer {
    /// Starts a server on a data file that nobody else has locked.
    ///
    /// # Errors
    /// [`Error::input`] when it cannot be started at all.
    pub fn start(binary: &Path, data_file: &Path) -> Result<HopServer> {
        let mut command = Command::new(binary);
        command.args(["start", ADDRESS, CACHE_GRID]).arg(data_file);
        HopServer::spawn(format!("the TigerBeetle server on {}", data_file.display()), &command)
    }

    /// Starts `command`. Its program and arguments are used, its streams are not. `name` is for
    /// messages.
    ///
    /// # Errors
    /// [`Error::input`] when it cannot be started at all.
    pub fn spawn(name: String, command: &Command) -> Result<HopServer> {
        let mut guarded = Command::new("/bin/sh");
        guarded.args(["-c", GUARD_SCRIPT, "guard"]).arg(command.get_program()).args(command.get_args());
        // Passphrases and credentials of this process are none of its business.
        guarded.env_clear();
        guarded.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = guarded.spawn().map_err(|error| Error::input(format!("cannot start {name}: {error}")).caused_by(error))?;
        let (guard, output) = (child.stdin.take(), child.stdout.take());
        let said = Arc::new(Mutex::new(Said::default()));
        let mut server = HopServer { name, child, guard, said: Arc::clone(&said), listener: None };
        if let Some(mut output) = output {
            let listener = std::thread::Builder::new().name("hop-server".into()).spawn(move || listen(&mut output, &said));
            server.listener = Some(listener.map_err(|error| Error::try_again(format!("cannot start a thread: {error}")).caused_by(error))?);
        }
        Ok(server)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end. Returns how it ended and its output. It is killed if that takes longer
    /// than `patience`.
    ///
    /// # Errors
    /// [`Error::try_again`] when it had to be killed.
    pub fn wait(mut self, patience: Duration) -> Result<(ExitStatus, String)> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                self.stop();
                return Ok((status, self.said()));
            }
            if Instant::now() >= deadline {
                return Err(self.failure(&format!("did not end within {} s", patience.as_secs())));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Sends SIGKILL and waits for the end. It is harmless if the process has ended.
    pub fn stop(&mut self) {
        if self.ended().is_none() {
            // It fails only if the process has ended meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(mut guard) = self.guard.take() {
            // The watchdog may have been killed by hand; then there is nothing to dismiss.
            let _ = guard.write_all(b"ended\n");
        }
        if let Some(listener) = self.listener.take() {
            // The thread only reads, and ends with the process and its watchdog.
            let _ = listener.join();
        }
    }

    /// The end of its output so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&lock(&self.said).end).into_owned()
    }

    /// How many bytes it has written so far: a sign of life.
    pub fn said_bytes(&self) -> u64 {
        lock(&self.said).bytes
    }

    /// An error about it that quotes the end of its output. The process is ended first, so that
    /// nothing is missing.
    pub fn failure(&mut self, what: &str) -> Error {
        self.stop();
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let quoted: Vec<String> = lines[lines.len().saturating_sub(QUOTED_LINES)..].iter().map(|line| format!("    {line}")).collect();
        Error::try_again(format!("{} {what}; the last that it said:\n{}", self.name, quoted.join("\n")))
    }
}

impl Drop for HopServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(output: &mut dyn Read, said: &Mutex<Said>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        let mut said = lock(said);
        said.bytes += length as u64;
        said.end.extend_from_slice(&buffer[..length]);
        let surplus = said.end.len().saturating_sub(SAID_BYTES_MAX);
        said.end.drain(..surplus);
    }
}

/// How a process ended, in words.
pub fn exit_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "signal 9: killed, perhaps because the machine has too little memory for a server, which takes 2.2 GiB".into(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> HopServer {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        HopServer::spawn("the shell".into(), &command).unwrap()
    }

    fn alive(pid: u32) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    }

    #[test]
    fn what_it_says_and_how_it_ends_is_known() {
        let (status, said) = shell("echo out; echo err >&2; exit 3").wait(Duration::from_secs(10)).unwrap();
        assert_eq!((exit_text(status).as_str(), said.as_str()), ("exit code 3", "out\nerr\n"));
        let error = shell("echo stuck; exec sleep 600").wait(Duration::from_millis(300)).unwrap_err();
        assert!(error.message.contains("did not end") && error.message.contains("    stuck"), "{error}");
    }

    #[test]
    fn what_the_environment_says_is_not_passed_on() {
        assert!(std::env::vars().any(|(name, _)| name == "CARGO_MANIFEST_DIR"), "cargo sets it for tests");
        let (_, said) = shell("env").wait(Duration::from_secs(10)).unwrap();
        let names: Vec<&str> = said.lines().filter_map(|line| line.split('=').next()).collect();
        assert!(names.iter().all(|name| ["PWD", "SHLVL", "_", "OLDPWD"].contains(name)), "{names:?}");
    }

    #[test]
    fn only_the_end_of_much_talk_is_kept() {
        let (_, said) = shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done").wait(Duration::from_secs(60)).unwrap();
        assert!(said.len() == SAID_BYTES_MAX && said.ends_with("line 19999\n"), "{}", said.len());
    }

    #[test]
    fn dropped_it_is_gone_with_its_children_of_the_pipe() {
        let server = shell("exec sleep 600");
        let pid = server.child.id();
        assert!(alive(pid));
        drop(server);
        assert!(!alive(pid));
    }

    #[test]
    fn the_guard_kills_when_amber_vanishes() {
        let mut server = shell("exec sleep 600");
        // What the kernel does to the pipe of a killed owner.
        server.guard = None;
        let deadline = Instant::now() + Duration::from_secs(10);
        while server.ended().is_none() {
            assert!(Instant::now() < deadline, "the guard did not kill");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    #[test]
    fn a_server_gets_the_file_and_a_port_that_is_free() {
        let server = HopServer::start(Path::new("/bin/echo"), Path::new("/restored/0.tb")).unwrap();
        let (_, said) = server.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(said, "start --addresses=127.0.0.1:0 --cache-grid=64MiB /restored/0.tb\n");
    }
}
