//! `[jobs.NAME]`: when a job runs, if not by its default.
//!
//! Only the content of a section is checked here. The agent knows which jobs there are, and refuses
//! the others.

use super::bounds;
use super::origin::{Origin, Text};
use crate::config::value::Value;
use crate::error::Result;
use crate::schedule::cadence::{Cadence, TIME_ZONE_DEFAULT};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;

/// The job whose interval is written in a section of its own, `[checkpoint]`.
pub const CHECKPOINT_JOB: &str = "checkpoint";

/// `[jobs.NAME]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSection {
    /// The time between two runs.
    pub interval_s: Value<i64>,
    /// Times of day instead.
    pub cron: Value<String>,
    /// The time zone of these times.
    pub time_zone: Value<String>,
    /// By how much later it may begin at most.
    pub jitter_s: Value<i64>,
    /// Whether it runs by itself.
    pub enabled: Value<bool>,
}

/// All sections, by the names of their jobs.
pub type JobSections = BTreeMap<String, Spanned<JobSection>>;

/// What is written of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPlan {
    /// When it is due; its default where nothing is written.
    pub cadence: Option<Cadence>,
    /// By how much later it may begin at most.
    pub jitter: Duration,
    /// Whether it runs by itself.
    pub is_enabled: bool,
    /// Where that is written.
    pub origin: Origin,
}

/// The jobs of which something is written.
pub type JobsPlan = BTreeMap<String, JobPlan>;

/// Checks all sections. Whether `[checkpoint]` says an interval, too, is asked for because only one
/// place may.
///
/// # Errors
/// [`crate::error::Error::input`] with the line and what to write instead.
pub fn read(text: &Text<'_>, sections: &JobSections, has_checkpoint_interval: bool) -> Result<JobsPlan> {
    let plans = sections.iter().map(|(name, section)| {
        let origin = text.origin(section.span());
        let section = section.get_ref();
        if let (CHECKPOINT_JOB, Some(interval), true) = (name.as_str(), &section.interval_s, has_checkpoint_interval) {
            return Err(text
                .origin(interval.span())
                .refuse("the interval of checkpoints is written in [checkpoint], too: remove one of the two lines"));
        }
        Ok((name.clone(), read_one(text, name, section, origin)?))
    });
    plans.collect()
}

fn read_one(text: &Text<'_>, name: &str, section: &JobSection, origin: Origin) -> Result<JobPlan> {
    let bound = if name == CHECKPOINT_JOB { bounds::CHECKPOINT_INTERVAL_S } else { bounds::JOB_INTERVAL_S };
    let cadence = match (&section.interval_s, &section.cron, &section.time_zone) {
        (Some(_), Some(cron), _) => {
            return Err(text
                .origin(cron.span())
                .refuse("there are an interval_s and a cron: one of them says when the job runs, remove the other"));
        }
        (_, None, Some(time_zone)) => {
            return Err(text
                .origin(time_zone.span())
                .refuse("a time zone belongs to times of day: write cron = \"30 2 * * *\" too, or remove the line"));
        }
        (Some(_), None, None) => Some(Cadence::Interval(Duration::from_secs(bound.check(text, &section.interval_s)?))),
        (None, Some(cron), time_zone) => {
            let zone = time_zone.as_ref().map_or(TIME_ZONE_DEFAULT, |zone| zone.get_ref().as_str());
            let place = || match time_zone {
                Some(time_zone) if Cadence::times("@daily", zone).is_err() => text.origin(time_zone.span()),
                _ => text.origin(cron.span()),
            };
            Some(Cadence::times(cron.get_ref(), zone).map_err(|error| place().refuse(error))?)
        }
        (None, None, None) => None,
    };
    let jitter = Duration::from_secs(bounds::JITTER_S.check(text, &section.jitter_s)?);
    Ok(JobPlan { cadence, jitter, is_enabled: section.enabled.as_ref().is_none_or(|value| *value.get_ref()), origin })
}

#[cfg(test)]
mod tests;
