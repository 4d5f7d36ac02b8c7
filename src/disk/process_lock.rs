//! One agent for one state directory: a lock on a file in it. The lock ends with the process,
//! however the process ends.
//!
//! Flow: [`ProcessLock::take`] locks `lock` and writes the process's number into it, for the
//! message that a second agent prints. The file stays when the agent ends; only the lock counts.
//! [`running`] only asks, and holds the lock for a moment at most.

use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::disk::{Disk, LockedFile};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// The lock's name in the state directory.
pub const LOCK_FILE: &str = "lock";
/// How long a held lock is retried. A process that only asks whether an agent runs, or an agent
/// that is just ending, has released it by then.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct ProcessLock {
    _file: Box<dyn LockedFile>,
}

/// Whether an agent runs in a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// Nobody holds the lock.
    No,
    /// Somebody does. The number is the one in the lock's file.
    Yes {
        /// The process's number, if the file holds one.
        pid: Option<u32>,
    },
}

impl ProcessLock {
    /// Takes the lock. Creates the directory if only the last part of its path is missing.
    ///
    /// # Errors
    /// [`Error::input`] where another agent holds it or the directory cannot be written to.
    pub fn take(host: Host, directory: &Path) -> Result<ProcessLock> {
        prepare(host.disk, directory)?;
        let path = directory.join(LOCK_FILE);
        let failed = |error: std::io::Error| Error::input(format!("{}: {error}", path.display())).caused_by(error);
        let began = host.clock.now();
        let mut file = loop {
            match host.disk.lock(&path, 0o644).map_err(failed)? {
                Some(file) => break file,
                None if host.clock.since(began) >= PATIENCE => return Err(held(directory, read_pid(host.disk, &path))),
                None => host.clock.sleep(PAUSE),
            }
        };
        file.cut(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(ProcessLock { _file: file })
    }
}

fn held(directory: &Path, pid: Option<u32>) -> Error {
    let process = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    Error::input(format!(
        "{}: {process} is an agent with this state directory: stop it first, or give each replica's agent a state_directory of its own",
        directory.display()
    ))
}

/// Makes sure that the state directory exists and may be written to.
///
/// # Errors
/// [`Error::input`] with what to do. Only the last part of the path is created: a spool below a
/// disk that is not mounted helps nobody.
pub fn prepare(disk: Disk, directory: &Path) -> Result<()> {
    let failed = |what: String| Error::input(format!("{}: {what}", directory.display()));
    match disk.make_folder(directory, 0o750) {
        Ok(()) => {}
        Err(_) if disk.is_folder(directory) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(failed("it is no directory: name one".to_owned())),
        Err(error) => {
            return Err(failed(format!("it is not there and cannot be made ({error}): make it, writable for the agent's user")));
        }
    }
    disk.may_write(directory).map_err(|error| failed(format!("it may not be written to ({error}): let it belong to the agent's user")))
}

/// Whether an agent holds the lock of a state directory.
///
/// # Errors
/// [`Error::input`] where the directory is not there or the lock may not be read.
pub fn running(disk: Disk, directory: &Path) -> Result<Running> {
    let path = directory.join(LOCK_FILE);
    match disk.is_locked(&path) {
        Ok(false) => Ok(Running::No),
        Ok(true) => Ok(Running::Yes { pid: read_pid(disk, &path) }),
        Err(error) if error.kind() == ErrorKind::NotFound && disk.is_folder(directory) => Ok(Running::No),
        Err(error) => Err(Error::input(format!("{}: {error}", path.display())).caused_by(error)),
    }
}

fn read_pid(disk: Disk, path: &Path) -> Option<u32> {
    let text = disk.read(path, 32).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}
