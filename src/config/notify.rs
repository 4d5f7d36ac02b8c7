//! `[notify]`: who else learns that the agent is alive. The heartbeat file is always written;
//! nobody is called unless `heartbeat_url` is written.

use super::bounds;
use super::origin::Text;
use crate::config::value::Value;
use crate::error::Result;
use http::Uri;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySection {
    /// The URL that is called.
    pub heartbeat_url: Value<String>,
    /// The file that is written.
    pub heartbeat_file: Value<String>,
    /// How often.
    pub heartbeat_interval_s: Value<i64>,
}

/// `[notify]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyPlan {
    /// What is called while the agent is alive and nothing is in danger.
    pub url: Option<Uri>,
    /// The file that is written; `heartbeat` in the state directory if none is named.
    pub file: Option<PathBuf>,
    /// How often.
    pub interval: Duration,
}

/// Checks the section.
///
/// # Errors
/// [`crate::error::Error::input`] with the line and what to write. The URL is not repeated: whoever
/// has it can pretend to be the agent.
pub(super) fn read(text: &Text<'_>, section: &NotifySection) -> Result<NotifyPlan> {
    let interval = Duration::from_secs(bounds::HEARTBEAT_INTERVAL_S.check(text, &section.heartbeat_interval_s)?);
    let url = section.heartbeat_url.as_ref().map(|url| {
        let advice = "write a whole URL, \"https://hc-ping.com/...\", without user and password";
        place(url.get_ref()).ok_or_else(|| text.origin(url.span()).refuse(advice))
    });
    let file = section.heartbeat_file.as_ref().map(|file| {
        let path = PathBuf::from(file.get_ref());
        let advice = "write a whole path: what is relative depends on where the agent was started";
        if path.is_absolute() { Ok(path) } else { Err(text.origin(file.span()).refuse(advice)) }
    });
    Ok(NotifyPlan { url: url.transpose()?, file: file.transpose()?, interval })
}

fn place(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?.as_str();
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_web && !authority.is_empty() && !authority.contains('@')).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_does_not_repeat_the_url() {
        let text = "data_file = \"/d\"\nstate_directory = \"/s\"\n[repository]\nurl = \"/r\"\npassphrase_file = \"/p\"\n\
                    [notify]\nheartbeat_url = \"https://me:word@hc/0b5c\"\n";
        let error = crate::config::AgentConfig::parse(std::path::Path::new("amber.toml"), text).map(|_| ()).unwrap_err();
        assert!(error.message.starts_with("amber.toml:7: `heartbeat_url = ...`"), "{error}");
        assert!(!error.message.contains("me:word") && !error.message.contains("0b5c"), "{error}");
    }

    #[test]
    fn a_url_is_whole_and_has_no_user() {
        for good in ["https://hc-ping.com/0b5c", "http://127.0.0.1:8080/", "https://a.example/p?x=1"] {
            assert!(place(good).is_some(), "{good}");
        }
        for bad in ["hc-ping.com/0b5c", "ftp://a.example/", "https://me:word@a.example/", "https://", "", "https://a b/"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
