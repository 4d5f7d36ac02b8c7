//! Why a file could not be read, in words for the person who runs the capture.

use crate::error::{Error, Kind};
use std::path::{Path, PathBuf};

/// Why reading a data file stopped.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The data file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path names something that cannot be a data file.
    #[error("{}: {reason}", path.display())]
    NotADataFile {
        /// The path.
        path: PathBuf,
        /// What it is instead, and what to do.
        reason: String,
    },
    /// Bytes do not match their checksum although the node stands still: they are damaged.
    #[error("{}: offset {offset}: {what}: {reason}", path.display())]
    Damaged {
        /// The data file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// Which structure (block address and tree, superblock, op).
        what: String,
        /// What does not match.
        reason: String,
    },
    /// The node is in a state that does not allow a capture now, or it is moving too fast for one.
    #[error("{}: {reason}", path.display())]
    NotNow {
        /// The data file.
        path: PathBuf,
        /// What is going on, and what to do.
        reason: String,
    },
    /// The consumer of the bytes failed.
    #[error(transparent)]
    Sink(#[from] Error),
}

impl SourceError {
    /// An error of the system, with the file it concerns.
    pub(crate) fn io(path: &Path, action: &'static str, error: std::io::Error) -> SourceError {
        SourceError::Io { path: path.to_owned(), action, source: error }
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Error {
        let message = error.to_string();
        let kind = match error {
            SourceError::Sink(error) => return error,
            SourceError::Io { ref source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Kind::Input,
                // EIO: the disk cannot return the bytes.
                _ if source.raw_os_error() == Some(5) => Kind::Damaged,
                _ => Kind::TryAgain,
            },
            SourceError::NotADataFile { .. } => Kind::Input,
            SourceError::Damaged { .. } => Kind::Damaged,
            SourceError::NotNow { .. } => Kind::TryAgain,
        };
        Error::new(kind, message).caused_by(error)
    }
}
