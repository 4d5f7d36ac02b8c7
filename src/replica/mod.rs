//! Reading a running replica's data file: the ring, the pre-copy walk, the log's tail.
//!
//! [`crate::disk::file::Reader`] reads through io_uring with O_DIRECT where the system allows it, and says what it fell back to where not.
//! [`checkpoint`] walks the blocks reachable from the newest checkpoint while the server goes on writing. [`log`] is what every source of prepares can do;
//! [`tail`] follows them in the data file, [`aof`] in a server's append-only file, at the [`pace`] of the load. [`objects`] decodes accounts
//! and transfers. All hand checked bytes on; none knows where they go.

pub mod aof;
pub mod checkpoint;
pub mod extent;
pub mod log;
mod no_blocks;
pub mod objects;
pub mod pace;
pub mod quiet;
pub mod tail;
pub mod witness;

use crate::error::{Error, Kind};
use std::path::{Path, PathBuf};

/// Why reading a data file stopped.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("{}: {action}: {error}", path.display())]
    Io {
        /// The data file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The path names something that cannot be a data file.
    #[error("{}: {reason}", path.display())]
    NotADataFile {
        /// The path.
        path: PathBuf,
        /// What it is instead, and what to do.
        reason: String,
    },
    /// Bytes at a place do not have their checksum while the node stands still: they are damaged.
    #[error("{}: offset {offset}: {what}: {reason}", path.display())]
    Damaged {
        /// The data file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// Which structure (block address and tree, superblock, op).
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// The node is in a state, or is moving too fast, for a capture now.
    #[error("{}: {reason}", path.display())]
    NotNow {
        /// The data file.
        path: PathBuf,
        /// What is going on, and what to do.
        reason: String,
    },
    /// Whoever takes the bytes failed.
    #[error(transparent)]
    Sink(#[from] Error),
}

impl SourceError {
    /// An error of the system, with the file it concerns.
    pub(crate) fn io(path: &Path, action: &'static str, error: std::io::Error) -> SourceError {
        SourceError::Io { path: path.to_owned(), action, error }
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Error {
        let message = error.to_string();
        let kind = match error {
            SourceError::Sink(error) => return error,
            SourceError::Io { error, .. } => match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Kind::Input,
                // EIO: the disk cannot give the bytes back.
                _ if error.raw_os_error() == Some(5) => Kind::Damaged,
                _ => Kind::TryAgain,
            },
            SourceError::NotADataFile { .. } => Kind::Input,
            SourceError::Damaged { .. } => Kind::Damaged,
            SourceError::NotNow { .. } => Kind::TryAgain,
        };
        Error { kind, message }
    }
}

#[cfg(test)]
pub(crate) mod tests;
