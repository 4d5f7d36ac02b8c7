//! How bad something is.

use serde::Deserialize;
use serde::Serialize;

/// How safe the ledger is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to do.
    #[default]
    Safe,
    /// What is stored is safe, but something needs attention.
    Attention,
    /// A disaster now would lose more than was promised, or might.
    Danger,
}

impl Level {
    /// The word for it.
    pub fn text(self) -> &'static str {
        match self {
            Level::Safe => "safe",
            Level::Attention => "attention",
            Level::Danger => "danger",
        }
    }
}
