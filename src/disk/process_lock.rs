//! One agent for one state directory: a lock on a file in it. The lock ends with the process,
//! however the process ends.
//!
//! Flow: [`ProcessLock::take`] locks `lock` and writes the process's number into it, for the
//! message that a second agent prints. The file stays when the agent ends; only the lock counts.
//! [`running`] only asks, and holds the lock for a moment at most.

use crate::error::{Error, Result};
use rustix::fs::{Access, FlockOperation, access, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The lock's name in the state directory.
pub const LOCK_FILE: &str = "lock";
/// How long a held lock is retried. A process that only asks whether an agent runs, or an agent
/// that is just ending, has released it by then.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct ProcessLock {
    _file: File,
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
    pub fn take(directory: &Path) -> Result<ProcessLock> {
        prepare(directory)?;
        let path = directory.join(LOCK_FILE);
        let failed = |error: std::io::Error| Error::input(format!("{}: {error}", path.display())).caused_by(error);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path).map_err(failed)?;
        if !lock(&file, FlockOperation::NonBlockingLockExclusive, PATIENCE).map_err(failed)? {
            return Err(held(directory, read_pid(&mut file)));
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
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
pub fn prepare(directory: &Path) -> Result<()> {
    let failed = |what: String| Error::input(format!("{}: {what}", directory.display()));
    match std::fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => return Err(failed("it is no directory: name one".to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new()
            .mode(0o750)
            .create(directory)
            .map_err(|error| failed(format!("it is not there and cannot be made ({error}): make it, writable for the agent's user")))?,
        Err(error) => return Err(failed(error.to_string())),
    }
    access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| failed(format!("it may not be written to ({error}): let it belong to the agent's user")))
}

/// Whether an agent holds the lock of a state directory.
///
/// # Errors
/// [`Error::input`] where the directory is not there or the lock may not be read.
pub fn running(directory: &Path) -> Result<Running> {
    let path: PathBuf = directory.join(LOCK_FILE);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && directory.is_dir() => return Ok(Running::No),
        Err(error) => return Err(Error::input(format!("{}: {error}", path.display())).caused_by(error)),
    };
    let free = lock(&file, FlockOperation::NonBlockingLockShared, Duration::ZERO)
        .map_err(|error| Error::input(format!("{}: {error}", path.display())).caused_by(error))?;
    Ok(if free { Running::No } else { Running::Yes { pid: read_pid(&mut file) } })
}

/// Tries to take the lock within `patience`. Returns whether it was taken.
fn lock(file: &File, operation: FlockOperation, patience: Duration) -> std::io::Result<bool> {
    let began = Instant::now();
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() >= patience => return Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
