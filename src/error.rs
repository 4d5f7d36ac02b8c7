//! Errors, sorted by what the reader does next.
//!
//! Every room has its own error type with the facts (file, offset, op, object). At the edge of the
//! program they all become one [`Error`], whose [`Kind`] decides the exit code: a script reads the
//! code, a person reads the message.

use std::fmt;
use std::sync::Arc;

/// What the reader of an error does next. The numbers are the exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Amber is wrong: report it.
    Bug = 1,
    /// The command, a path, a key or an input file is not what it must be: fix it.
    Input = 2,
    /// The store or the node is not available now: try again.
    TryAgain = 3,
    /// Bytes that used to be intact no longer are: the repository or the data file is damaged.
    Damaged = 4,
}

impl Kind {
    /// The exit code of a command that ends with this kind of error.
    pub fn exit_code(self) -> u8 {
        self as u8
    }

    /// The word used for this kind in `--json` output.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Bug => "bug",
            Kind::Input => "input",
            Kind::TryAgain => "try_again",
            Kind::Damaged => "damaged",
        }
    }
}

/// An error with its kind, what happened (which object, file, offset or op) and what to do next.
#[derive(Debug, Clone)]
pub struct Error {
    /// What the reader does next.
    pub kind: Kind,
    /// What happened and where, then what to do. One or two sentences, never a secret.
    pub message: String,
    /// The error that this one was made of. `message` has its words already; this is for code that
    /// asks what it was.
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that a command calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    /// The input is wrong; `message` says which and what to write instead.
    pub fn input(message: impl Into<String>) -> Self {
        Error::new(Kind::Input, message)
    }

    /// Something outside is not available; trying again may help.
    pub fn try_again(message: impl Into<String>) -> Self {
        Error::new(Kind::TryAgain, message)
    }

    /// Bytes are damaged; `message` names the object or file and the position.
    pub fn damaged(message: impl Into<String>) -> Self {
        Error::new(Kind::Damaged, message)
    }

    /// An invariant of Amber itself does not hold.
    pub fn bug(message: impl Into<String>) -> Self {
        Error::new(Kind::Bug, message)
    }

    /// The same error with `context` (which file, which step) in front of its message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The same error with the one that it was made of.
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

/// Errors are equal if their reader does the same next and reads the same words.
impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        (self.kind, &self.message) == (other.kind, &other.message)
    }
}

impl Eq for Error {}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn an_error_keeps_what_it_was_made_of() {
        let cause = std::io::Error::from_raw_os_error(28);
        let error = Error::try_again(format!("file: {cause}")).caused_by(cause).context("step");
        let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(28));
        assert_eq!(error, Error::try_again("step: file: No space left on device (os error 28)"));
        assert_ne!(error, Error::input(error.message.clone()));
        assert_ne!(error, Error::try_again("another"));
    }
}
