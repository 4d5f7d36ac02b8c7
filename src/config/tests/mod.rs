//! The configuration: what is accepted, what is refused and with which words.

mod example;
mod refusals;
mod values;

use super::AgentConfig;
use crate::error::Kind;
use std::path::Path;

/// What every configuration needs.
pub(crate) const LEAST: &str = "data_file = \"/d\"\nstate_directory = \"/s\"\n[repository]\nurl = \"/r\"\n";

pub(crate) fn parse(text: &str) -> crate::error::Result<AgentConfig> {
    AgentConfig::parse(Path::new("/etc/amber.toml"), text)
}

/// The message that refuses `more`, which begins on line 5.
pub(crate) fn refused(more: &str) -> String {
    let error = parse(&format!("{LEAST}{more}\n")).unwrap_err();
    assert_eq!(error.kind, Kind::Input, "{error}");
    error.message
}
