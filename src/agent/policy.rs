//! When the next checkpoint is due.
//!
//! A checkpoint bounds how long a restore takes: the log behind it must be replayed. So one is due at an interval, and earlier when replaying the log since the
//! last would take longer than the recovery-time budget allows; at once where the log alone does not join (a new repository, a gap, a new timeline).

use crate::config::plan::CheckpointPlan;
use crate::observe::status::CheckpointStatus;
use std::time::Duration;

/// What the decision is made from.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// By this machine's clock.
    pub now_ns: u64,
    /// The timeline that is shipped.
    pub timeline: u32,
    /// Everything up to here is durable.
    pub durable_op: u64,
    /// The newest checkpoint of the history.
    pub last: Option<CheckpointStatus>,
    /// Something else wants one.
    pub wanted: Option<String>,
    /// This agent has taken one since it leads.
    pub taken: bool,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Now, for this reason.
    Now(String),
    /// Not yet; when, in words.
    Later(String),
}

/// Decides.
pub fn due(plan: &CheckpointPlan, situation: &Situation) -> Due {
    if let Some(wanted) = &situation.wanted {
        return Due::Now(wanted.clone());
    }
    let Some(last) = situation.last.as_ref().filter(|last| last.timeline == situation.timeline) else {
        return Due::Now(format!("timeline {} has no checkpoint of its own yet", situation.timeline));
    };
    if plan.on_start && !situation.taken {
        return Due::Now("the agent has begun to ship".into());
    }
    let replay_ops = situation.durable_op.saturating_sub(last.op);
    let budget_ops = plan.replay_ops_per_s.saturating_mul(plan.replay_budget.as_secs());
    if replay_ops > budget_ops {
        return Due::Now(format!("replaying the {replay_ops} ops since the last one would take longer than {:?}", plan.replay_budget));
    }
    // A clock that was set back makes it come later, never a flood of them.
    let age = Duration::from_nanos(situation.now_ns.saturating_sub(last.ended_ns));
    match plan.interval.checked_sub(age) {
        None | Some(Duration::ZERO) => Due::Now(format!("the last one is {} min old", age.as_secs() / 60)),
        Some(left) => Due::Later(format!("in {} min, or after {} more ops", left.as_secs().div_ceil(60), budget_ops - replay_ops)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> CheckpointPlan {
        CheckpointPlan {
            interval: Duration::from_secs(3600),
            replay_budget: Duration::from_secs(100),
            replay_ops_per_s: 10,
            on_start: false,
        }
    }

    fn situation() -> Situation {
        let last = CheckpointStatus { op: 1000, timeline: 1, ended_ns: 5_000_000_000 };
        Situation { now_ns: 5_000_000_000, timeline: 1, durable_op: 1000, last: Some(last), wanted: None, taken: false }
    }

    fn reason(due: Due) -> Option<String> {
        match due {
            Due::Now(reason) => Some(reason),
            Due::Later(_) => None,
        }
    }

    #[test]
    fn the_interval_and_the_replay_budget_make_one_due() {
        assert_eq!(due(&plan(), &situation()), Due::Later("in 60 min, or after 1000 more ops".into()));
        let later = |seconds: u64| Situation { now_ns: 5_000_000_000 + seconds * 1_000_000_000, ..situation() };
        assert_eq!(reason(due(&plan(), &later(3599))), None);
        assert!(reason(due(&plan(), &later(3600))).is_some_and(|reason| reason.contains("60 min old")));
        assert_eq!(reason(due(&plan(), &Situation { now_ns: 1, ..situation() })), None, "a clock that was set back");
        assert_eq!(reason(due(&plan(), &Situation { durable_op: 2000, ..situation() })), None);
        assert!(reason(due(&plan(), &Situation { durable_op: 2001, ..situation() })).is_some_and(|reason| reason.contains("1001 ops")));
    }

    #[test]
    fn a_history_without_a_checkpoint_a_wish_and_a_start_make_one_due() {
        assert!(reason(due(&plan(), &Situation { last: None, ..situation() })).is_some());
        assert!(reason(due(&plan(), &Situation { timeline: 2, ..situation() })).is_some_and(|reason| reason.contains("timeline 2")));
        let wanted = Situation { wanted: Some("a gap at op 7".into()), ..situation() };
        assert_eq!(reason(due(&plan(), &wanted)).as_deref(), Some("a gap at op 7"));
        let on_start = CheckpointPlan { on_start: true, ..plan() };
        assert!(reason(due(&on_start, &situation())).is_some());
        assert_eq!(reason(due(&on_start, &Situation { taken: true, ..situation() })), None);
    }
}
