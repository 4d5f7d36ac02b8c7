//! Errors, sorted by what the reader does next.
//!
//! Every room has its own error type with the facts (file, offset, op, object). At the edge of the
//! program they all become one [`Error`], whose [`Kind`] decides the exit code: a script reads the
//! code, a person reads the message.

use std::fmt;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What the reader does next.
    pub kind: Kind,
    /// What happened and where, then what to do. One or two sentences, never a secret.
    pub message: String,
}

/// The result of everything that a command calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The input is wrong; `message` says which and what to write instead.
    pub fn input(message: impl Into<String>) -> Self {
        Error { kind: Kind::Input, message: message.into() }
    }

    /// Something outside is not available; trying again may help.
    pub fn try_again(message: impl Into<String>) -> Self {
        Error { kind: Kind::TryAgain, message: message.into() }
    }

    /// Bytes are damaged; `message` names the object or file and the position.
    pub fn damaged(message: impl Into<String>) -> Self {
        Error { kind: Kind::Damaged, message: message.into() }
    }

    /// An invariant of Amber itself does not hold.
    pub fn bug(message: impl Into<String>) -> Self {
        Error { kind: Kind::Bug, message: message.into() }
    }

    /// The same error with `context` (which file, which step) in front of its message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
