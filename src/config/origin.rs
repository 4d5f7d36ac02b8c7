//! Where a value of the configuration is written, so that every error names the file, the line and
//! its content.
//!
//! A line is repeated only if it cannot contain a secret: people do write passphrases and access
//! keys into configurations, and errors go into logs.

use crate::error::Error;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Keys whose values may contain credentials although they should not.
const UNSHOWN: [&str; 3] = ["url", "endpoint", "heartbeat_url"];

/// The text of a configuration and the file that it came from.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The file, as the user named it.
    pub path: &'a Path,
    /// Its content.
    pub text: &'a str,
    /// Whether a key has a value of its own: the table of keys, which is built from the sections
    /// and therefore handed in. Lines of other keys are not repeated.
    pub has_value: fn(&str) -> bool,
}

/// The place of one value: `amber.toml:12: flush_interval_ms = 5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    file: PathBuf,
    line: Option<usize>,
    shown: Option<String>,
}

impl<'a> Text<'a> {
    /// The place of the bytes `span`.
    pub fn origin(&self, span: Range<usize>) -> Origin {
        let start = span.start.min(self.text.len());
        let line = self.text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        Origin { file: self.path.to_owned(), line: Some(line), shown: self.shown(self.line_at(start).0) }
    }

    /// The file as a whole.
    pub fn whole(&self) -> Origin {
        Origin { file: self.path.to_owned(), line: None, shown: None }
    }

    /// The line that contains the byte `start`, and the byte's position in it.
    pub fn line_at(&self, start: usize) -> (&'a str, usize) {
        let start = start.min(self.text.len());
        let begin = self.text.as_bytes()[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(begin..).unwrap_or_default().lines().next().unwrap_or_default();
        (line, start - begin)
    }

    /// The line as far as it may be shown.
    fn shown(&self, line: &str) -> Option<String> {
        let line = line.trim();
        let Some((key, value)) = line.split_once('=') else {
            return line.starts_with('[').then(|| line.split('#').next().unwrap_or_default().trim().to_owned());
        };
        let (key, value) = (key.trim(), value.trim());
        let plain = key.chars().all(|character| character.is_ascii_alphanumeric() || "_-.".contains(character));
        let last = key.rsplit('.').next().unwrap_or_default();
        let harmless = (self.has_value)(last) && !UNSHOWN.contains(&last);
        match (plain, harmless) {
            (true, true) => Some(format!("{key} = {value}")),
            (true, false) => Some(format!("{key} = ...")),
            (false, _) => None,
        }
    }
}

impl Origin {
    /// The error for a wrong value at this place; `advice` says why it is wrong and what to write
    /// instead.
    pub fn refuse(&self, advice: impl fmt::Display) -> Error {
        Error::input(advice.to_string()).context(self)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        match &self.shown {
            Some(shown) => write!(formatter, ": `{shown}`"),
            None => Ok(()),
        }
    }
}
