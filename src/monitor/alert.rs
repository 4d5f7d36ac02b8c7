//! What is wrong right now, each topic once: on the page, in `amber status`, in `status.json`.
//!
//! Whoever notices something raises an alert of its topic and withdraws it when it is over. The
//! verdict reads topics and never words, so that a text can be made better without moving a
//! decision.

use crate::monitor::level::Level;
use serde::{Deserialize, Serialize};

/// What an alert is about; at most one of each stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The log has a hole.
    Gap,
    /// Checkpoints do not succeed.
    Checkpoint,
    /// Segments are not merged.
    Merge,
    /// The lease cannot be kept.
    Lease,
    /// The recovery point is older than it may be.
    Lag,
    /// The limits leave too little for the log, or for a checkpoint in time.
    Limits,
    /// Where this agent and the repository join.
    Join,
    /// Records of runs and their events do not arrive.
    Events,
    /// Jobs fail again and again.
    Jobs,
    /// What the newest verification found.
    Verification,
    /// Backups that nothing has verified within a day.
    Unverified,
    /// The wall clock was set.
    Clock,
    /// The page cannot be served.
    Page,
    /// The store takes nothing.
    Store,
    /// What is written to is no longer the repository that was opened.
    Place,
    /// The store refuses a segment.
    Refused,
    /// The spool cannot be used.
    Spool,
    /// Amber met a bug of its own and goes on.
    Bug,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// Something that is wrong right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about.
    pub topic: Topic,
    /// How bad it is.
    pub level: Level,
    /// What happened.
    pub text: String,
    /// What is safe and what to do; empty where the text says it.
    pub advice: String,
}

impl Alert {
    /// An alert with the level and the advice of its topic.
    pub fn new(topic: Topic, text: impl Into<String>) -> Alert {
        Alert { topic, level: topic.level(), text: text.into(), advice: topic.advice().to_owned() }
    }
}

impl Topic {
    fn level(self) -> Level {
        match self {
            Topic::Lag | Topic::Place => Level::Danger,
            _ => Level::Attention,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Topic::Checkpoint => "What is stored is safe; the agent tries again by itself, and its log has each attempt.",
            Topic::Merge => "Nothing is lost; the agent tries again by itself.",
            Topic::Lag => "The other reasons say what keeps it back.",
            Topic::Events => "They are kept and delivered in order.",
            Topic::Unverified => "`amber verify` does it now; `amber jobs` says when it is due.",
            Topic::Jobs => "`amber jobs` lists them, and `amber history` has each failure.",
            Topic::Spool => "Look at the disk of the state directory: its room, and its errors.",
            // Their texts say what to do.
            Topic::Gap
            | Topic::Lease
            | Topic::Limits
            | Topic::Join
            | Topic::Verification
            | Topic::Clock
            | Topic::Page
            | Topic::Store
            | Topic::Place
            | Topic::Refused
            | Topic::Bug
            | Topic::Other => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_goes_through_json_and_one_of_a_later_release_is_read() {
        let alert = Alert::new(Topic::Lag, "the oldest op has waited for 901 s");
        assert_eq!(alert.level, Level::Danger);
        let json = serde_json::to_value(&alert).unwrap();
        assert_eq!((&json["topic"], &json["level"]), (&"lag".into(), &"danger".into()));
        assert_eq!(serde_json::from_value::<Alert>(json.clone()).unwrap(), alert);
        let mut later = json;
        later["topic"] = "of a later release".into();
        assert_eq!(serde_json::from_value::<Alert>(later).unwrap().topic, Topic::Other);
    }
}
