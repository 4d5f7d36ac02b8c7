//! TigerBeetle servers: make a data file, start, wait until it serves, kill, stop, inspect.
//!
//! A server counts as started when its log says that it listens. It serves when a client's request
//! is answered, which in a cluster takes several replicas. So a cluster is started with
//! [`Server::start`] for each replica and one [`wait_serving`] at the end.

use super::process::{self, Guarded};
use crate::error::{Error, Result};
use crate::ledger_events::session::Session;
use crate::units::{GIB, MIB};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a server says in its log once a client can connect.
const LISTENING: &str = ": listening on ";

/// What a server logs when another process has its port.
const ADDRESS_IN_USE: &str = "AddressInUse";

/// How often a solo server gets another port when another process took the first one.
const PORT_TRIES: usize = 5;

/// The smallest block cache that is safely above the server's lower limit (it requires more than 32
/// MiB).
const CACHE_GRID_SMALL_MIB: u32 = 64;

/// What TigerBeetle logs about a block whose checksum is wrong.
const BAD_BLOCK: &str = "warning(grid)";

/// How long an inspection that has found a bad block may still take to end with an error.
const INSPECT_LAST_WORDS: Duration = Duration::from_secs(5);

/// How long an inspection may take, besides the time for reading the file at
/// [`INSPECT_BYTES_PER_S_MIN`]; seconds are normal.
const INSPECT_PATIENCE: Duration = Duration::from_secs(60);

/// Even a busy disk reads faster than this.
const INSPECT_BYTES_PER_S_MIN: u64 = 10 * MIB;

/// Memory for the list of tables in a data file of this size, several times what a file that is
/// full of tables needs: an inspection that is given the default of 128 MiB takes a second more on
/// a machine whose memory is cold.
fn manifest_mib(size_bytes: u64) -> u64 {
    16 + size_bytes / GIB
}

/// How often the log of an inspection is read.
const INSPECT_LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A TigerBeetle executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
}

/// Which server is started, on what and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// The executable.
    pub binary: Binary,
    /// The replica's data file.
    pub data_file: PathBuf,
    /// Its output is appended to this file.
    pub log_file: PathBuf,
    /// The block cache. The server takes about 2.0 GiB besides it.
    pub cache_grid_mib: u32,
    /// More arguments of `tigerbeetle start`, for example `--experimental --aof-file=x.aof`.
    pub extra: Vec<String>,
    /// How long the start may take. It touches gigabytes of memory and reads the whole log: from
    /// 0.3 s to 20 s on the same machine.
    pub start_timeout: Duration,
}

/// A running replica, killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Guarded,
    port: u16,
}

impl ServerOptions {
    /// The least memory, no extra arguments, two minutes to start, and a log beside the data file
    /// (`0_0.tigerbeetle.log`).
    pub fn new(binary: &Binary, data_file: impl Into<PathBuf>) -> ServerOptions {
        let data_file = data_file.into();
        let mut log_file = data_file.clone().into_os_string();
        log_file.push(".log");
        ServerOptions {
            binary: binary.clone(),
            data_file,
            log_file: log_file.into(),
            cache_grid_mib: CACHE_GRID_SMALL_MIB,
            extra: Vec::new(),
            start_timeout: Duration::from_secs(120),
        }
    }
}

impl Binary {
    /// The executable at `path`.
    ///
    /// # Errors
    /// [`Error::input`] when there is no file.
    pub fn new(path: impl Into<PathBuf>) -> Result<Binary> {
        // A server may be started in another folder, so the path must not be relative.
        let path = path.into();
        match path.canonicalize() {
            Ok(path) if path.is_file() => Ok(Binary { path }),
            _ => Err(Error::input(format!("there is no TigerBeetle executable at {}; tools/setup builds one", path.display()))),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its release, for example `0.16.78`.
    ///
    /// # Errors
    /// [`Error::input`] when it reports none.
    pub fn version(&self) -> Result<String> {
        let output = self.run(&["version".into()])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let release = text.trim().rsplit(' ').next().and_then(|version| version.split('+').next()).unwrap_or_default();
        if output.status.success() && release.starts_with(|first: char| first.is_ascii_digit()) {
            return Ok(release.into());
        }
        Err(Error::input(format!("{} does not tell its version: {}", self.path.display(), all_output(&output))))
    }

    /// Makes a new data file for a replica of a new cluster.
    ///
    /// # Errors
    /// [`Error::input`] with TigerBeetle's own words, for example when the file is there already.
    pub fn format(&self, data_file: &Path, cluster: u128, replica: u8, replica_count: u8) -> Result<()> {
        let arguments =
            ["format".into(), format!("--cluster={cluster}"), format!("--replica={replica}"), format!("--replica-count={replica_count}")];
        let output = self.run(&[&arguments[..], &[data_file.display().to_string()]].concat())?;
        if output.status.success() {
            return Ok(());
        }
        let ended = process::exit_text(output.status);
        Err(Error::input(format!("tigerbeetle format {} failed ({ended}):\n{}", data_file.display(), all_output(&output))))
    }

    /// Has TigerBeetle read a data file that no server has open, and check every block, prepare and
    /// reply that it reaches.
    ///
    /// The inspection needs watching: when one of the first blocks is bad, TigerBeetle waits for
    /// ever for another replica to repair it. So once it has complained about a block it gets only
    /// seconds to end.
    ///
    /// # Errors
    /// [`Error::damaged`] with TigerBeetle's own words; [`Error::try_again`] when it takes absurdly
    /// long for the size of the file.
    pub fn inspect_integrity(&self, data_file: &Path) -> Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log_file = std::env::temp_dir().join(format!("amber-inspect-{}-{number}.log", std::process::id()));
        let result = self.watch_inspection(data_file, &log_file);
        // The file is only a buffer. If it stays, it is removed when the temporary folder is
        // cleaned.
        let _ = std::fs::remove_file(&log_file);
        result
    }

    fn watch_inspection(&self, data_file: &Path, log_file: &Path) -> Result<()> {
        let what = format!("tigerbeetle inspect integrity {}", data_file.display());
        let size_bytes = std::fs::metadata(data_file).map_err(|error| Error::input(format!("{what}: {error}")).caused_by(error))?.len();
        let mut deadline = Instant::now() + INSPECT_PATIENCE + Duration::from_secs(size_bytes / INSPECT_BYTES_PER_S_MIN);
        let mut command = Command::new(&self.path);
        command.args(["inspect", "integrity"]).arg(format!("--memory-lsm-manifest={}MiB", manifest_mib(size_bytes))).arg(data_file);
        let mut process = Guarded::spawn(&what, &command, log_file)?;
        let mut complained = false;
        let ended = loop {
            let ended = process.exit_status();
            if ended.is_some() || Instant::now() >= deadline {
                break ended;
            }
            complained = process.log_text().contains(BAD_BLOCK);
            if complained {
                deadline = deadline.min(Instant::now() + INSPECT_LAST_WORDS);
            }
            thread::sleep(INSPECT_LOOK_AGAIN);
        };
        process.kill();
        let said = process::last_lines(&process.log_text());
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Error::damaged(format!("{what} failed ({}):\n{said}", process::exit_text(status)))),
            None if complained => Err(Error::damaged(format!("{what} found a bad block and waited for a repair:\n{said}"))),
            None => Err(Error::try_again(format!("{what} came to no end; it had said:\n{said}"))),
        }
    }

    fn run(&self, arguments: &[String]) -> Result<Output> {
        let output = Command::new(&self.path).args(arguments).stdin(Stdio::null()).output();
        output.map_err(|error| Error::input(format!("cannot run {}: {error}", self.path.display())).caused_by(error))
    }
}

impl Server {
    /// Starts replica `replica` of a cluster whose replicas listen on `ports` of 127.0.0.1, and
    /// waits until it listens.
    ///
    /// # Errors
    /// [`Error::input`] when there is no such replica; [`Error::try_again`] with the end of the log
    /// when it does not start.
    pub fn start(options: &ServerOptions, ports: &[u16], replica: u8) -> Result<Server> {
        let mut server = Server::spawn(options, ports, replica)?;
        server.wait_listening(options.start_timeout)?;
        Ok(server)
    }

    /// Starts a cluster of one on a free port and waits until it serves.
    ///
    /// # Errors
    /// As [`Server::start`] and [`wait_serving`].
    pub fn start_solo(options: &ServerOptions, cluster: u128) -> Result<Server> {
        let mut tries = 1;
        loop {
            let ports = process::free_ports(1)?;
            match Server::start(options, &ports, 0) {
                Err(error) if tries < PORT_TRIES && error.message.contains(ADDRESS_IN_USE) => tries += 1,
                Err(error) => return Err(error),
                Ok(server) => {
                    let serving = wait_serving(cluster, &server.address(), options.start_timeout);
                    return serving.map_err(|error| server.process.failure(&error.message)).map(|()| server);
                }
            }
        }
    }

    /// Starts a replica and does not wait. Use it with [`Server::wait_listening`] for several that
    /// start at the same time.
    ///
    /// # Errors
    /// As [`Guarded::spawn`].
    pub fn spawn(options: &ServerOptions, ports: &[u16], replica: u8) -> Result<Server> {
        let Some(&port) = ports.get(usize::from(replica)) else {
            return Err(Error::input(format!("there is no replica {replica} in a cluster of {}", ports.len())));
        };
        let mut command = Command::new(options.binary.path());
        command.arg("start").arg(format!("--addresses={}", addresses(ports))).arg(format!("--cache-grid={}MiB", options.cache_grid_mib));
        command.args(&options.extra).arg(&options.data_file);
        let name = format!("the TigerBeetle server on {}", options.data_file.display());
        let process = Guarded::spawn(name, &command, &options.log_file)?;
        Ok(Server { process, port })
    }

    /// Waits until the server listens.
    ///
    /// # Errors
    /// [`Error::try_again`] with the end of its log.
    pub fn wait_listening(&mut self, timeout: Duration) -> Result<()> {
        self.process.wait_until(timeout, |log| log.contains(LISTENING))
    }

    /// The port on which this replica listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of this replica, for a client.
    pub fn address(&self) -> String {
        addresses(&[self.port])
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Sends SIGKILL, which leaves what a crash of the process leaves. Waits for the end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM. TigerBeetle ends at once; its data file is intact whenever it ends.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// What it has logged since its start.
    pub fn log_text(&self) -> String {
        self.process.log_text()
    }
}

/// `127.0.0.1:3000,127.0.0.1:3001`: the ports of a cluster as servers and clients take them.
pub fn addresses(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

/// Waits until the cluster answers a request. (The request is an ordinary one, so the cluster's op
/// is one or two higher afterwards.)
///
/// # Errors
/// [`Error::try_again`] when it does not within `timeout`.
pub fn wait_serving(cluster: u128, addresses: &str, timeout: Duration) -> Result<()> {
    let session = Session::new(cluster, addresses)?;
    session.lookup_accounts(&[1], Instant::now() + timeout).map(drop)
}

fn all_output(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    process::last_lines(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// The file is written by another process. A file that this process has had open for writing
    /// may be "busy" when it is to be run, because a child that another test has just forked still
    /// holds it.
    fn fake(folder: &Path, script: &str) -> Binary {
        let path = folder.join("tigerbeetle");
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod +x "$2""#;
        assert!(Command::new("sh").args(["-c", write, "write", script]).arg(&path).status().unwrap().success());
        Binary::new(path).unwrap()
    }

    #[test]
    fn the_version_is_the_release() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fake(folder.path(), "echo TigerBeetle version 0.16.78+c3d9b09").version().unwrap(), "0.16.78");
        let error = fake(folder.path(), "echo I am a teapot; exit 4").version().unwrap_err();
        assert!(error.message.contains("teapot"), "{error}");
        assert_eq!(Binary::new(folder.path().join("none")).unwrap_err().kind, Kind::Input);
    }

    #[test]
    fn a_failed_inspection_is_damage_in_the_words_of_tigerbeetle() {
        let folder = tempfile::tempdir().unwrap();
        let data_file = folder.path().join("0.tb");
        let inspect = |script| fake(folder.path(), script).inspect_integrity(&data_file);
        assert_eq!(inspect("exit 0").unwrap_err().kind, Kind::Input, "no data file");
        std::fs::write(&data_file, "").unwrap();
        inspect("echo all is well >&2").unwrap();
        let error = inspect("echo \"$@\"; echo block 7 is bad >&2; exit 1").unwrap_err();
        assert_eq!(error.kind, Kind::Damaged);
        let ran = format!("inspect integrity --memory-lsm-manifest=16MiB {}\n", data_file.display());
        assert!(error.message.contains(&ran) && error.message.contains("block 7 is bad"), "{error}");
    }

    #[test]
    fn an_inspection_that_waits_for_a_repair_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let data_file = folder.path().join("0.tb");
        std::fs::write(&data_file, "").unwrap();
        let stuck = "echo 'warning(grid): 0: invalid_checksum_body: expected address=29' >&2; exec sleep 600";
        let start = Instant::now();
        let error = fake(folder.path(), stuck).inspect_integrity(&data_file).unwrap_err();
        assert_eq!(error.kind, Kind::Damaged);
        assert!(error.message.contains("address=29") && start.elapsed() < INSPECT_PATIENCE, "{error}");
    }

    #[test]
    fn a_server_is_started_with_all_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let binary = fake(folder.path(), "echo \"$@\"; echo '1: cluster=7: listening on 127.0.0.1:2'; exec sleep 600");
        let data_file = folder.path().join("1.tb");
        let options = ServerOptions { extra: vec!["--experimental".into()], ..ServerOptions::new(&binary, &data_file) };
        let server = Server::start(&options, &[1, 2], 1).unwrap();
        let expected = format!("start --addresses=127.0.0.1:1,127.0.0.1:2 --cache-grid=64MiB --experimental {}\n", data_file.display());
        assert!(server.log_text().starts_with(&expected), "{}", server.log_text());
        assert_eq!((server.port(), server.address().as_str()), (2, "127.0.0.1:2"));
        assert!(folder.path().join("1.tb.log").exists());
        let error = Server::start(&options, &[1], 1).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
    }
}
