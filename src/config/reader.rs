//! Reads values that several sections have: paths, words, durations.

use crate::config::bounds;
use crate::config::origin::Origin;
use crate::config::origin::Text;
use crate::config::value::Value;
use crate::error::Result;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// Reads the sections of one file.
pub(crate) struct Reader<'a> {
    pub(super) text: Text<'a>,
}

impl Reader<'_> {
    pub(crate) fn path(&self, value: &Value<String>) -> Result<Option<PathBuf>> {
        let Some(value) = value else { return Ok(None) };
        if value.get_ref().is_empty() {
            return Err(self.text.origin(value.span()).refuse("the path is empty: write one, or remove the line"));
        }
        Ok(Some(self.resolved(Path::new(value.get_ref()))))
    }

    pub(super) fn resolved(&self, path: &Path) -> PathBuf {
        self.text.path.parent().map_or_else(|| path.to_owned(), |directory| directory.join(path))
    }

    pub(super) fn path_required(&self, value: &Value<String>, key: &str, example: &str) -> Result<(PathBuf, Origin)> {
        let missing = || self.text.whole().refuse(format!("{key} is missing: write {key} = \"{example}\" above the first section"));
        let path = self.path(value)?.ok_or_else(missing)?;
        Ok((path, self.origin(value)))
    }

    pub(crate) fn origin<T>(&self, value: &Value<T>) -> Origin {
        value.as_ref().map_or_else(|| self.text.whole(), |value| self.text.origin(value.span()))
    }

    /// Reads a value that is one of a few words; the error of `read` lists them.
    pub(super) fn word<T>(&self, value: &Value<String>, default: T, read: impl Fn(&str) -> Result<T, &'static str>) -> Result<T> {
        let Some(value) = value else { return Ok(default) };
        read(value.get_ref()).map_err(|advice| self.text.origin(value.span()).refuse(advice))
    }

    pub(super) fn milliseconds(&self, bound: &bounds::Bound, value: &Value<i64>) -> Result<Duration> {
        bound.check(&self.text, value).map(Duration::from_millis)
    }
}
